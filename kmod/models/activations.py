"""Run a model from one of its blocks upwards, from cached hidden states.

When only blocks from b upwards change, the states that enter block b are the same at every step. They are computed when
a statement is first used, without dropout or gradient, and kept. BERT-like models then run `upper`. Other models run
their own code with the lower blocks skipped, so that they still make their own attention masks. Either way the result
must be that of the whole model. `proof.holds` compares the two before the first use; a model that differs, or fails, is
run whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from ..parts import blocks, unshared
from . import proof
from .statements import Batch, Examples
from .upper import Upper, upper


class _Caught(Exception):
    """Ends a forward pass once the wanted states are computed."""


class Activations:
    """The hidden states of `examples` that enter block `block` of `model` as it is now; made by `activations`.

    At most `most_bytes` are kept; what does not fit is computed again each time.
    """

    def __init__(self, model, examples: Examples, block: int, most_bytes: int, upper: Upper | None):
        self.model, self.examples, self.block, self.most_bytes, self.upper = model, examples, block, most_bytes, upper
        self.parts = 0  # how many values a block of this family returns, the hidden states first; 0 if not a tuple
        self.place = np.full(len(examples), -1)  # first row in `store` of each statement's states
        self.used = 0
        self.store: Tensor | None = None  # (rows, width): unpadded states, in order of first use

    def logits(self, weights: Mapping[str, Tensor], chosen: np.ndarray, batch: Batch) -> Tensor:
        """Logits (K, V) of the slots of statements `chosen`, whose batch is `batch`, under `weights`: the full name of
        every parameter of `model.net` → tensor. The weights below `block` are ignored."""
        hidden = self.entering(chosen, batch)
        if self.upper:
            return self.upper(weights, hidden, batch.attention_mask, *batch.slots.nonzero(as_tuple=True))
        with self._skipping_lower_blocks(hidden):
            named = {f"net.{name}": w for name, w in weights.items()}
            return functional_call(self.model, named, (batch.input_ids, batch.attention_mask, batch.slots))

    @torch.no_grad()
    def entering(self, chosen: np.ndarray, batch: Batch) -> Tensor:
        """(B, T, width) for the statements at positions `chosen`, zero where `batch` is padding."""
        if len(missing := chosen[self.place[chosen] < 0]):
            part = batch if len(missing) == len(chosen) else self.examples.collate(missing, batch.input_ids.device)
            states = self._lower(part)
            if not self._keep(missing, states[part.attention_mask.bool()]):
                return states if part is batch else self._lower(batch)
        lengths = self.examples.lengths[chosen]
        inside = np.arange(batch.input_ids.shape[1]) < lengths[:, None]
        rows = (self.place[chosen][:, None] + np.arange(inside.shape[1]))[inside]
        padded = self.store.new_zeros(*inside.shape, self.store.shape[-1])
        padded[torch.from_numpy(inside).to(padded.device)] = self.store[torch.from_numpy(rows).to(padded.device)]
        return padded

    def _keep(self, statements: np.ndarray, states: Tensor) -> bool:
        """Store the unpadded `states` (tokens, width) of `statements`; False if there is no room for them."""
        if (self.used + len(states)) * states.shape[-1] * states.element_size() > self.most_bytes:
            return False
        if self.store is None or self.used + len(states) > len(self.store):
            most = self.most_bytes // (states.shape[-1] * states.element_size())
            room = min(int(self.examples.starts[-1]), 2 * (self.used + len(states)), most)
            grown = states.new_empty(room, states.shape[-1])
            if self.store is not None:
                grown[: self.used] = self.store[: self.used]
            self.store = grown
        self.store[self.used : self.used + len(states)] = states
        self.place[statements] = self.used + np.cumsum([0, *self.examples.lengths[statements][:-1]])
        self.used += len(states)
        return True

    def _lower(self, batch: Batch) -> Tensor:
        """The states (B, T, width) that enter the block: the model's own code runs until they are computed."""
        caught = []

        def take(result) -> None:
            self.parts = len(result) if isinstance(result, tuple) else 0
            caught.append(result[0] if self.parts else result)
            raise _Caught

        modules = [module for _, module in blocks(self.model.net)]
        if self.block:
            hook = modules[self.block - 1].register_forward_hook(lambda _, __, result: take(result))
        else:
            hook = modules[0].register_forward_pre_hook(lambda _, arguments: take(arguments[0]))
        with hook, suppress(_Caught):
            self.model(batch.input_ids, batch.attention_mask, batch.slots)
        return caught[0]

    @contextmanager
    def _skipping_lower_blocks(self, hidden: Tensor) -> Iterator[None]:
        """Inside, the lower blocks compute nothing and return `hidden`."""
        result = (hidden, *[None] * (self.parts - 1)) if self.parts else hidden
        lower = [module for _, module in blocks(self.model.net)[: self.block]]
        try:
            for module in lower:
                module.forward = lambda *_, **__: result  # shadows the method on this one module; deleted below
            yield
        finally:
            for module in lower:
                vars(module).pop("forward", None)


def activations(
    model, examples: Examples, block: int | None, most_bytes: int = 2**31, own_code: bool = False
) -> Activations | None:
    """The states that enter `block` (or the head, if `block` is the number of blocks), kept from their first use. With
    `own_code` the model's own modules run from there on, whatever the family.

    None where nothing can be kept: if `block` is None, if several depths share it, if it is the first and the model's
    own code runs, or if the model sees padding or does not give the same from kept states (a warning says so)."""
    if block is None or model.apart or not unshared(model.net):
        return None
    for above in [None] if own_code else [upper(model, block), None]:

        def keeping(statements: Examples, above: Upper | None = above) -> Activations:
            return Activations(model, statements, block, most_bytes, above)

        if (block or above) and proof.holds(model, block, keeping, above):
            return keeping(examples)
    if block:
        name = type(model.net).__name__
        text = (
            f"{name}: its blocks below {block} run in every step, as kept states give other logits; right, but slower"
        )
        warnings.warn(text, stacklevel=2)
    return None
