"""FLOPs of a training step and of a device, for figures of utilisation."""

from __future__ import annotations

import time

import torch

from ..models.language_model import LanguageModel
from ..parts import blocks


def flops_a_token(model: LanguageModel, length: int, predicted: float) -> float:
    """Useful FLOPs per token of a training step: 6 for each weight of the blocks (2 forward, 4 backward), 12·T·H per
    block for attention, and the decoder only for the `predicted` share of tokens. Source: PaLM (Chowdhery et al. 2022),
    appendix B."""
    modules, config = blocks(model.net), model.net.config
    depth, width = config.num_hidden_layers, config.hidden_size
    weights = sum(p.numel() for _, block in modules for p in block.parameters() if p.ndim > 1)
    weights *= depth / len(modules)  # of a block that serves several depths, once each
    decoder = predicted * width * (config.vocab_size + width)
    return 6 * (weights + decoder) + 12 * depth * length * width


def matmul_flops(device: torch.device, dtype: torch.dtype | None = None) -> float:
    """FLOPs per second of a large square matrix product, the best of five; by default bf16 on a GPU and float32 on a
    CPU."""
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
    """Return once the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """Such as "NVIDIA H200" or "CPU, 2 threads"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
