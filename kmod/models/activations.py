"""Run a model from one of its blocks upwards, from the kept hidden states that enter that block.

When only blocks from b upwards change, everything below gives the same hidden states at every step: they are computed
once, without dropout, and kept. The blocks below are passed through, so that the model's own code still makes the
attention masks; the result is that of the whole model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..parts import blocks
from .statements import Batch, Examples


@dataclass(frozen=True, eq=False)
class Activations:
    """The hidden states of N statements as they enter block `block`."""

    block: int
    hidden: Tensor  # (total tokens, width), unpadded
    starts: Tensor  # (N + 1,): statement i is hidden[starts[i]:starts[i + 1]]
    parts: int  # how many values a block of this family returns, the hidden states first; 0 if not a tuple

    @contextmanager
    def entering(self, net: nn.Module, chosen, batch: Batch) -> Iterator[None]:
        """Inside, `net` passes over the blocks below; the kept hidden states of `chosen` come out of them."""
        hidden = self.collate(chosen, batch)
        result = (hidden, *[None] * (self.parts - 1)) if self.parts else hidden
        passed = [module for _, module in blocks(net)[: self.block]]
        try:
            for module in passed:
                module.forward = lambda *_, **__: result  # shadows the method on this one module; deleted below
            yield
        finally:
            for module in passed:
                vars(module).pop("forward", None)

    def collate(self, chosen, batch: Batch) -> Tensor:
        """(B, T, width) for the statements at positions `chosen`, zero where `batch` is padding."""
        chosen = torch.as_tensor(chosen)
        first, lengths = self.starts[chosen], self.starts[chosen + 1] - self.starts[chosen]
        column = torch.arange(int(lengths.max()))
        inside = column < lengths[:, None]
        rows = (first[:, None] + column)[inside].to(self.hidden.device)
        out = self.hidden.new_zeros(*batch.input_ids.shape, self.hidden.shape[-1])
        out[inside.to(out.device)] = self.hidden[rows]
        return out


@torch.no_grad()
def activations(
    model, examples: Examples, block: int, most_bytes: int = 2**31, batch_size: int = 256
) -> Activations | None:
    """The hidden states that enter `block` for all statements; None if they would take more than `most_bytes`, or the
    block is the first or shared by several depths, so that there is nothing to keep."""
    found = blocks(model.net)
    width, item = model.net.config.hidden_size, next(model.net.parameters()).element_size()
    tokens = int(examples.starts[-1])
    if block == 0 or len(found) != model.net.config.num_hidden_layers or tokens * width * item > most_bytes:
        return None
    out, caught, parts = None, [], 0
    handle = found[block - 1][1].register_forward_hook(lambda _, __, result: caught.append(result))
    starts = torch.from_numpy(examples.starts)
    try:
        for chosen in examples.by_length(batch_size):
            batch = examples.collate(chosen, model.device)
            model(batch.input_ids, batch.attention_mask, batch.slots)
            result = caught.pop()
            hidden, parts = (result[0], len(result)) if isinstance(result, tuple) else (result, 0)
            out = hidden.new_empty(tokens, hidden.shape[-1]) if out is None else out
            rows = torch.cat([torch.arange(int(starts[i]), int(starts[i + 1])) for i in chosen])
            out[rows.to(out.device)] = hidden[batch.attention_mask.bool()]
    finally:
        handle.remove()
    return Activations(block, out, starts, parts)
