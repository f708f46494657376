"""Useful work and what a device can do: for utilisation figures."""

from __future__ import annotations

import time

import torch

from ..models.masked_lm import MaskedLM
from ..parts import blocks


def flops_a_token(model: MaskedLM, length: int, predicted: float) -> float:
    """Useful FLOPs a token of a training step: 6 for each weight of the blocks (2 forward, 4 backward), 12·T·H a block
    for attention, and the decoder for the `predicted` share of tokens alone. As in appendix B of PaLM (Chowdhery et al.
    2022)."""
    found, config = blocks(model.net), model.net.config
    depth, width = config.num_hidden_layers, config.hidden_size
    weights = sum(p.numel() for _, block in found for p in block.parameters() if p.ndim > 1) * depth / len(found)
    decoder = predicted * width * (config.vocab_size + width)
    return 6 * (weights + decoder) + 12 * depth * length * width


def matmul_flops(device: torch.device, dtype: torch.dtype | None = None) -> float:
    """FLOPs a second of a large square matrix product, the best of five; by default bf16 on a GPU, float32 on a CPU."""
    n = 8192 if device.type == "cuda" else 1024
    dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    best = float("inf")
    for _ in range(6):
        wait(device)
        started = time.perf_counter()
        for _ in range(4):
            a @ a
        wait(device)
        best = min(best, (time.perf_counter() - started) / 4)
    return 2 * n**3 / best


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """Such as "NVIDIA H200" or "CPU, 2 threads"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
