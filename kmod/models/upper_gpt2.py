"""The upper blocks and the head of GPT-2 as a plain function of a dictionary of weights, as `upper` is for BERT: the
last block computes only the rows of the slots, beyond keys and values."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from ..parts import blocks

PARTS = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
"""The parameters' names in a block; the matrices are (in, out)."""


class UpperGPT2:
    """Blocks `lowest` to last, and the head, of a `GPT2LMHeadModel`."""

    def __init__(self, net: nn.Module, lowest: int):
        layers = blocks(net)
        self.names = [name for name, _ in layers][lowest:]
        self.heads, self.eps, self.act = (
            net.config.num_attention_heads,
            net.config.layer_norm_epsilon,
            layers[0][1].mlp.act,
        )

    def __call__(
        self, weights: Mapping[str, Tensor], hidden: Tensor, mask: Tensor, rows: Tensor, columns: Tensor
    ) -> Tensor:
        """Logits (K, V) of the slots at `rows` (K,) and `columns` (K,) of the states (B, T, H) that enter `lowest`.
        Padding stands to the right, where no token of a statement looks, so that `mask` is of no use."""
        places = torch.arange(hidden.shape[1], device=hidden.device)
        for name in self.names[:-1]:
            hidden = self._block(weights, name, hidden, hidden, places <= places[:, None])
        slots = hidden[rows, columns]  # (K, H)
        if self.names:
            seen = (places <= columns[:, None])[:, None, None]  # (K, 1, 1, T)
            slots = self._block(weights, self.names[-1], slots[:, None], hidden, seen, rows)[:, 0]
        norm = weights["transformer.ln_f.weight"], weights["transformer.ln_f.bias"]
        head = weights.get("lm_head.weight", weights["transformer.wte.weight"])  # tied, as a rule
        return linear(layer_norm(slots, slots.shape[-1:], *norm, self.eps), head)

    def _block(
        self, weights, name: str, x: Tensor, context: Tensor, seen: Tensor, rows: Tensor | None = None
    ) -> Tensor:
        """A block's output for the queries `x` (N, Q, H), which attend to what is `seen` of `context` (N, T, H), or of
        `context[rows]`."""
        norm1, qkv, attended, norm2, widen, narrow = (
            (weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"]) for part in PARTS
        )
        width = x.shape[-1]

        def split(t: Tensor) -> Tensor:
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (N, heads, ·, H / heads)

        before, around = (layer_norm(t, (width,), *norm1, self.eps) for t in (x, context))
        q = split(before @ qkv[0][:, :width] + qkv[1][:width])
        k, v = map(split, (around @ qkv[0][:, width:] + qkv[1][width:]).chunk(2, -1))
        if rows is not None:
            k, v = k.index_select(0, rows), v.index_select(0, rows)
        scores = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).masked_fill(~seen, torch.finfo(x.dtype).min)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + mixed @ attended[0] + attended[1]
        widened = self.act(layer_norm(x, (width,), *norm2, self.eps) @ widen[0] + widen[1])
        return x + widened @ narrow[0] + narrow[1]
