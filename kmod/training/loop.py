"""The one training loop: batches, schedule, penalty, projection, stopping, progress.

It trains a dictionary of tensors that stand in for parameters of the model (`torch.func.functional_call`) and writes to
nothing else: editing passes copies of some parameters, memorising the model's own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from ..models.activations import activations
from ..models.masked_lm import MaskedLM, all_slots_right, evaluating
from ..models.statements import Batch, Examples
from ..progress import report, silent
from .checkpoint import Checkpoint, kept_if_interrupted
from .history import History


class Forward:
    """The model with `params` (full name of a parameter of `model.net` → tensor) in place of its own, on statements of
    `examples` given by position. Gradients reach `params` alone.

    `lowest`: the block that the same hidden states enter whatever `params` are (`Plan.lowest`): they are kept. With
    `own_code` the model's modules run from there on, so that hooks on them fire.
    """

    def __init__(
        self,
        model: MaskedLM,
        examples: Examples,
        params: dict[str, Tensor],
        lowest: int | None = None,
        own_code: bool = False,
    ):
        self.model, self.examples = model, examples
        # Everything else is detached, so that the backward pass ends at the lowest trained parameter.
        self.weights = {name: p.detach() for name, p in model.net.named_parameters()} | params
        self.named = {f"net.{name}": p for name, p in self.weights.items()}
        self.kept = activations(model, examples, lowest, own_code=own_code)

    def __call__(self, chosen: np.ndarray) -> tuple[Tensor, Batch]:
        """Logits (K, vocabulary) of the K masked slots of the statements `chosen`, and the batch they make."""
        batch = self.examples.collate(chosen, self.model.device)
        if self.kept:
            return self.kept.logits(self.weights, chosen, batch), batch
        return functional_call(self.model, self.named, (batch.input_ids, batch.attention_mask, batch.slots)), batch


def fit(
    model: MaskedLM,
    examples: Examples,
    params: dict[str, Tensor],
    *,
    mix: Examples | None = None,
    lowest: int | None = None,
    steps: int,
    batch_size: int,
    lr: float,
    warmup: int = 0,
    decay: bool = False,
    clip: float | None = None,
    penalty: Callable[[int], Tensor] | None = None,
    project: Callable[[], Mapping[str, Tensor] | None] | None = None,
    stop: Callable[[History], str | None] | None = None,
    checkpoint: Checkpoint | None = None,
    seed: int = 0,
    progress: str | None = None,
) -> History:
    """Minimise the mean masked-LM cross-entropy of `examples` over `params` with Adam, by at most `steps` steps.

    Args:
        params: full parameter name of `model.net` → the leaf tensor to train in its place, updated in place.
        mix: fill half of each batch with these.
        lowest: the block that the same hidden states enter whatever `params` are; they are computed once. None: there
            is none, for `params` hold embeddings.
        warmup, decay: the learning rate rises linearly over `warmup` steps, then, with `decay`, falls to 0 as a cosine.
        clip: the norm to which a longer gradient is cut; None leaves it.
        penalty: of the step's number (from 0), what to add to the loss: a scalar that depends on `params`.
        project: called after every optimiser step. Adam's moments are left as they are, save for what it returns:
            parameter name → bool mask of the elements whose moments start anew.
        stop: called after every step with the history; a reason to stop, or None. A TimeoutError that it raises is an
            interruption.
        checkpoint: where the training goes on after an interruption, as if there had been none.
        progress: the label of a progress bar; None shows none.

    Dropout is off. The order of the batches depends on `seed` alone; global random state is neither used nor changed.
    `progress.watching` sees every step, and may end the training.
    """
    if len(examples) == 0 or (mix is not None and len(mix) == 0):
        raise ValueError("nothing to train on: no fact has an evidence")
    history, rng = History(), np.random.default_rng(seed)
    leaves = list(params.values())
    optimizer = torch.optim.Adam(leaves, lr=lr, fused=True)  # fused: one pass over many small tensors
    if checkpoint:
        checkpoint.load(params, [optimizer], history)
    done, started = history.steps, time.perf_counter() - history.seconds
    bar = tqdm(total=steps, initial=done, desc=progress, leave=False, disable=silent(progress))
    batches = random_batches(examples, mix, batch_size, rng)
    try:
        with evaluating(model), kept_if_interrupted(checkpoint, params, [optimizer], history), bar:
            forward = Forward(model, examples if mix is None else Examples.join(examples, mix), params, lowest)
            for step, chosen in zip(range(steps), batches, strict=False):
                if step < done:
                    continue
                for group in optimizer.param_groups:
                    group["lr"] = lr * schedule(step, steps, warmup, decay)
                logits, batch = forward(chosen)
                loss = cross_entropy(logits.float(), batch.targets)
                right = all_slots_right(logits, batch.targets, batch.rows, len(chosen))
                whole = loss + penalty(step) if penalty else loss
                if not math.isfinite(whole.item()):
                    raise FloatingPointError(f"the loss became {whole} at step {step}: lower the learning rate ({lr})")
                for leaf, gradient in zip(leaves, torch.autograd.grad(whole, leaves, allow_unused=True), strict=True):
                    leaf.grad = None if gradient is None else gradient.contiguous()  # as the fused Adam reads it
                if clip:
                    torch.nn.utils.clip_grad_norm_(leaves, clip)
                optimizer.step()
                for name, mask in (project() or {}).items() if project else ():
                    for moment in ("exp_avg", "exp_avg_sq"):
                        optimizer.state[params[name]][moment].masked_fill_(mask, 0)
                found = loss.item(), right[torch.from_numpy(chosen < len(examples))].float().mean().item()
                history.loss.append(found[0])
                history.recall.append(found[1])
                history.seconds = time.perf_counter() - started
                bar.update()
                if step % 20 == 0:
                    bar.set_postfix_str(f"loss {history.loss[-1]:.3f}")
                report(history)
                if stop and (reason := stop(history)):
                    history.stopped = reason
                    break
                if checkpoint:
                    checkpoint.keep(params, [optimizer], history)
    finally:
        optimizer.zero_grad()
    if not all(leaf.isfinite().all() for leaf in leaves):
        raise FloatingPointError(f"the last step left weights that are not finite: lower the learning rate ({lr})")
    return history


def random_batches(
    examples: Examples, mix: Examples | None, size: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Batches without end, all statements once in each pass. With `mix`, each batch holds as many statements of `mix`
    as of `examples`; those of `mix` are numbered on from the last of `examples`."""
    if mix is None:
        while True:
            yield from examples.shuffled(size, rng)
    half = max(1, size // 2)
    for ours, others in zip(
        random_batches(examples, None, half, rng), random_batches(mix, None, half, rng), strict=False
    ):
        n = min(len(ours), len(others))
        yield np.concatenate([ours[:n], len(examples) + others[:n]])


def seconds_a_step(model: MaskedLM, examples: Examples, params: dict[str, Tensor], batch_size: int) -> float:
    """How long a step takes on this machine, measured on one batch (after one to warm up); nothing is changed."""
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
