"""The one descent loop (`descend`), and its most frequent use (`fit`): the masked-LM loss of statements.

Both train a dictionary of tensors and write to nothing else. In `fit` these stand in for parameters of the model
(`torch.func.functional_call`): an edit trains copies of some parameters, memorising the model's own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from tqdm.auto import tqdm

from ..models.activations import activations
from ..models.language_model import LanguageModel, all_slots_right, evaluating
from ..models.statements import Batch, Examples
from ..progress import report, silent
from .checkpoint import Checkpoint
from .effort import count
from .history import History
from .sharing import shared

Item = TypeVar("Item")
Gradients = tuple[float, Mapping[str, float], Sequence[Tensor | None]]
"""The value that is minimised, what the history notes of the step, and the gradient of each parameter (None: none)."""


def descend(
    params: dict[str, Tensor],
    gradients: Callable[[int, Item], Gradients],
    batches: Iterable[Item],
    *,
    steps: int,
    lr: float,
    optimizers: Sequence[Optimizer] | None = None,
    warmup: int = 0,
    decay: bool = False,
    clip: float | None = None,
    project: Callable[[], Mapping[str, Tensor] | None] | None = None,
    stop: Callable[[History], str | None] | None = None,
    checkpoint: Checkpoint | None = None,
    progress: str | None = None,
) -> History:
    """Descend on `params` (name → leaf tensor), in place, by at most `steps` steps.

    Args:
        gradients: function of the step's number (from 0) and its batch.
        batches: one item per step. All that is random must be drawn here: a training that continues from a checkpoint
            draws the batches of the steps already done once more and skips them.
        optimizers: None for Adam.
        warmup, decay: the learning rate rises linearly over `warmup` steps, then, with `decay`, falls to 0 as a cosine.
        clip: the norm to which a longer gradient (of the dense ones) is cut; None leaves it.
        project: called after every optimiser step. Adam's moments stay as they are, except those that it returns:
            parameter name → bool mask of the elements whose moments are set to zero.
        stop: called after every step with the history; a reason to stop, or None.
        checkpoint: where the training is kept; it continues from there as if it had not been interrupted.
        progress: label of a progress bar; None shows none.

    `progress.watching` sees every step, and may end the training by an exception. No gradient is left behind.

    Raises FloatingPointError if the loss, or a parameter after the last step, is not finite.
    """
    leaves, history = list(params.values()), History()
    optimizers = optimizers or [torch.optim.Adam(leaves, lr=lr, fused=True)]  # fused: one pass over many small tensors
    if checkpoint:
        checkpoint.resume(params, optimizers, history)
    done, started = history.steps, time.perf_counter() - history.seconds
    reason = stop(history) if stop and done else None  # the interruption may have come before this call
    bar = tqdm(total=steps, initial=done, desc=progress, leave=False, disable=silent(progress))
    try:
        with bar, checkpoint or nullcontext():
            for step, batch in zip(range(0 if reason else steps), batches, strict=False):
                if step < done:
                    continue
                loss, values, slopes = gradients(step, batch)
                if not math.isfinite(loss):
                    raise FloatingPointError(f"the loss became {loss} at step {step}: lower the learning rate ({lr})")
                for leaf, gradient in zip(leaves, slopes, strict=True):  # contiguous, as the fused Adam reads it
                    leaf.grad = gradient if gradient is None or gradient.is_sparse else gradient.contiguous()
                if clip:
                    dense = [leaf for leaf in leaves if leaf.grad is not None and not leaf.grad.is_sparse]
                    torch.nn.utils.clip_grad_norm_(dense, clip)
                for optimizer in optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] = lr * schedule(step, steps, warmup, decay)
                    optimizer.step()
                for name, mask in (project() or {}).items() if project else ():
                    for moment in ("exp_avg", "exp_avg_sq"):
                        optimizers[0].state[params[name]][moment].masked_fill_(mask, 0)
                history.note(values)
                history.seconds = time.perf_counter() - started
                bar.update()
                if step % 20 == 0:
                    bar.set_postfix_str(f"loss {history.loss[-1]:.3f}")
                report(history)
                reason = stop(history) if stop else None
                if checkpoint:
                    checkpoint.step_done(history.steps if reason else steps)
                if reason:
                    break
    finally:
        for leaf in leaves:
            leaf.grad = None
    if not all(leaf.isfinite().all() for leaf in leaves):
        raise FloatingPointError(f"the last step left weights that are not finite: lower the learning rate ({lr})")
    history.stopped = reason or history.stopped
    return history


class Forward:
    """The model with `params` (full name of a parameter of `model.net` → tensor) in place of its own, on statements of
    `examples` given by position. Gradients reach `params` alone.

    Args:
        lowest: the lowest trained block (`Plan.lowest`); the hidden states entering it do not depend on `params`, so
            they are kept. None keeps nothing.
        own_code: run the model's own modules from there on, so that hooks on them are called.
    """

    def __init__(
        self,
        model: LanguageModel,
        examples: Examples,
        params: dict[str, Tensor],
        lowest: int | None = None,
        own_code: bool = False,
    ):
        self.model, self.examples = model, examples
        # Everything else is detached, so that the backward pass ends at the lowest trained parameter.
        self.weights = {name: p.detach() for name, p in model.net.named_parameters()} | params
        self.prefixed = {f"net.{name}": p for name, p in self.weights.items()}
        self.kept = shared(activations)(model, examples, lowest, 2**31, own_code)

    def __call__(self, chosen: np.ndarray) -> tuple[Tensor, Batch]:
        """Logits (K, vocabulary) of the K masked slots of the statements `chosen`, and the batch they make."""
        count(len(chosen))
        batch = self.examples.collate(chosen, self.model.device)
        if self.kept:
            return self.kept.logits(self.weights, chosen, batch), batch
        return functional_call(self.model, self.prefixed, (batch.input_ids, batch.attention_mask, batch.slots)), batch


def fit(
    model: LanguageModel,
    examples: Examples,
    params: dict[str, Tensor],
    *,
    mix: Examples | None = None,
    lowest: int | None = None,
    steps: int,
    batch_size: int,
    penalty: Callable[[int], Tensor] | None = None,
    seed: int = 0,
    **settings,
) -> History:
    """Minimise the mean masked-LM cross-entropy of `examples` over `params` with Adam.

    Args:
        params: full parameter name of `model.net` → the leaf tensor to train in its place, in place.
        mix: fill half of each batch with these.
        lowest: the lowest trained block; the hidden states entering it are computed once. None if `params` hold
            embeddings.
        steps: the most optimiser steps.
        penalty: function of the step's number (from 0): what to add to the loss, a scalar that depends on `params`.
        settings: lr (required), warmup, decay, clip, project, stop, checkpoint, progress: those of `descend`.

    Dropout is off. The order of the batches depends on `seed` alone; global random state is neither used nor changed.

    Raises ValueError if there are no examples, and FloatingPointError as `descend` does.
    """
    if len(examples) == 0 or (mix is not None and len(mix) == 0):
        raise ValueError("nothing to train on: no fact has an evidence")
    forward = Forward(model, examples if mix is None else shared(Examples.joined)(examples, mix), params, lowest)

    def gradients(step: int, chosen: np.ndarray) -> Gradients:
        logits, batch = forward(chosen)
        loss = cross_entropy(logits.float(), batch.targets)
        right = all_slots_right(logits, batch.targets, batch.rows, len(chosen))
        total = loss + penalty(step) if penalty else loss
        slopes = torch.autograd.grad(total, list(params.values()), allow_unused=True)
        recall = right[torch.from_numpy(chosen < len(examples))].float().mean()
        return total.item(), {"loss": loss.item(), "recall": recall.item()}, slopes

    batches = random_batches(examples, mix, batch_size, np.random.default_rng(seed))
    with evaluating(model):
        return descend(params, gradients, batches, steps=steps, **settings)


def random_batches(
    examples: Examples, mix: Examples | None, size: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Endless batches of positions; each pass holds every statement once. With `mix`, a batch holds as many statements
    of `mix` as of `examples`; their positions follow those of `examples`."""
    if mix is None:
        while True:
            yield from examples.shuffled(size, rng)
    half = max(1, size // 2)
    pairs = zip(random_batches(examples, None, half, rng), random_batches(mix, None, half, rng), strict=False)
    for ours, others in pairs:
        n = min(len(ours), len(others))
        yield np.concatenate([ours[:n], len(examples) + others[:n]])


def seconds_a_step(model: LanguageModel, examples: Examples, params: dict[str, Tensor], batch_size: int) -> float:
    """Seconds of a training step on this machine, measured on one batch after a warm-up; nothing is changed."""
    chosen = next(examples.shuffled(batch_size, np.random.default_rng(0)))
    batch = examples.collate(chosen, model.device)
    with evaluating(model):
        for _ in range(2):
            started = time.perf_counter()
            loss = cross_entropy(model(batch.input_ids, batch.attention_mask, batch.slots).float(), batch.targets)
            torch.autograd.grad(loss, list(params.values()), allow_unused=True)[0].sum().item()
    return time.perf_counter() - started


def schedule(step: int, steps: int, warmup: int, decay: bool) -> float:
    """The share of the full learning rate at `step` (from 0)."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))) if decay else 1.0
