"""Many edits of the same parameters at once: one batched computation over stacked weights.

A sweep over δ, seeds and modification sets repeats one training with other numbers. Here the trained tensors of R edits
are stacked, (R, ...), and `torch.func.vmap` runs the upper blocks of all of them as one: the same edits as one by one,
to float tolerance, by fewer and larger operations. What enters the lowest trained block is computed once for all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from ..constraints import Constraint
from ..facts import Modification
from ..models.activations import Activations, activations
from ..models.masked_lm import MaskedLM, evaluating
from ..models.statements import Examples
from ..models.upper import upper
from ..parts import Block, Plan, plan
from ..progress import silent
from ..training.history import History
from ..training.loop import random_batches
from .common import check_constraint, check_training, described, unmodified
from .edit import Edit
from .finetune import finetune

Run = tuple[Modification, Constraint | None, int]
"""What differs between the edits of a sweep: the modification, the constraint, the seed."""


def sweep(
    model: MaskedLM,
    runs: Sequence[Run],
    *,
    block: Block = "all",
    component: str | Sequence[str] | None = None,
    mix: bool = False,
    steps: int = 60,
    batch_size: int = 64,
    lr: float = 1e-3,
    most_bytes: int | None = None,
    progress: bool = False,
) -> list[Edit]:
    """`[finetune(model, change, constraint=constraint, seed=seed, ...) for change, constraint, seed in runs]`, at once.

    Args:
        most_bytes: memory for the stacked tensors; by default half of what is free on a GPU, and on a CPU one run at a
            time, where larger operations are no quicker. If not all runs fit, they are done in parts. If the model is
            not BERT-like, or embeddings are trained, each is a `finetune`.

    The other settings are those of `finetune`. `made["seconds"]` of an edit is its share of the time. Raises as
    `finetune` does, for all runs before any training, and FloatingPointError that names the run which diverged.
    """
    check_training(steps, batch_size, lr, None)
    what = plan(model.net, block, component)
    current = dict(model.net.named_parameters())
    origin = {name: current[name].detach() for name in what.names}
    for _, constraint, _ in runs:
        check_constraint(constraint, origin)
    at_once = _fitting(model, what, most_bytes)
    settings = dict(block=block, component=component, mix=mix, steps=steps, batch_size=batch_size, lr=lr)
    if what.lowest is None or upper(model, what.lowest) is None:
        bar = tqdm(runs, desc="editing", leave=False, disable=silent(progress))
        return [finetune(model, change, constraint=ball, seed=seed, **settings) for change, ball, seed in bar]
    data = _Data(model, runs, what.lowest, mix, steps, batch_size)
    edits: list[Edit] = []
    with tqdm(total=len(runs) * steps, desc="editing", leave=False, disable=silent(progress)) as bar:
        for first in range(0, len(runs), at_once):
            part = range(first, min(first + at_once, len(runs)))
            params, histories = _train(model, [runs[r] for r in part], part, data, origin, what, steps, lr, bar)
            for i, r in enumerate(part):
                change, constraint, seed = runs[r]
                new = {name: stacked[i].detach() for name, stacked in params.items()}
                made = described(
                    "FTA" if mix else "FTM", change, histories[i], what, component, constraint, new, origin
                )
                edits.append(Edit.between(model, new, made | {"batch_size": batch_size, "lr": lr, "seed": seed}))
    return edits


def _fitting(model: MaskedLM, what: Plan, most_bytes: int | None) -> int:
    """How many runs fit: each has the tensors, their gradients, two moments, and two temporaries of projecting."""
    if most_bytes is None and model.device.type != "cuda":
        return 1
    most_bytes = most_bytes or torch.cuda.mem_get_info(model.device)[0] // 2
    return max(1, int(most_bytes // (6 * 4 * max(what.parameters, 1))))


class _Data:
    """The batches of every run, with the states that enter the lowest block; tokenised and kept once a modification."""

    def __init__(self, model: MaskedLM, runs: Sequence[Run], lowest: int, mix: bool, steps: int, batch_size: int):
        self.model, self.batch_size = model, batch_size
        self.of: list[tuple[Examples, Examples | None, Activations, int]] = []
        known: dict[tuple[int, int | None], tuple] = {}
        for change, _, seed in runs:
            key = (id(change), seed if mix else None)
            if key not in known:
                own = model.examples(change.base, "evidences", change.modified)
                rest = unmodified(model, change, steps * max(1, batch_size // 2), seed) if mix else None
                both = own if rest is None else Examples.join(own, rest)
                known[key] = own, rest, activations(model, both, lowest)
            self.of.append((*known[key], seed))

    def batches(self, run: int):
        own, rest, _, seed = self.of[run]
        return random_batches(own, rest, self.batch_size, np.random.default_rng(seed))

    def stack(self, runs: Sequence[int], chosen: Sequence[np.ndarray]) -> tuple[Tensor, ...]:
        """Hidden states (R, B, T, H), mask (R, B, T), and rows, columns, targets, weights (R, K) of the slots.

        Shorter batches are filled up with statements of padding, and slots of weight 0; the weights of a run sum to 1.
        """
        parts = []
        for run, positions in zip(runs, chosen, strict=True):
            kept = self.of[run][2]
            batch = kept.examples.collate(positions, self.model.device)
            parts.append((kept.entering(positions, batch), batch))
        B, T = (max(batch.input_ids.shape[i] for _, batch in parts) for i in (0, 1))
        K, R, device = max(len(batch.targets) for _, batch in parts), len(parts), self.model.device
        hidden = parts[0][0].new_zeros(R, B, T, parts[0][0].shape[-1])
        mask = torch.zeros(R, B, T, dtype=torch.long, device=device)
        rows, columns, targets = (torch.zeros(R, K, dtype=torch.long, device=device) for _ in range(3))
        weights = torch.zeros(R, K, device=device)
        for i, (states, batch) in enumerate(parts):
            (b, t), k = batch.input_ids.shape, len(batch.targets)
            hidden[i, :b, :t], mask[i, :b, :t] = states, batch.attention_mask
            rows[i, :k], columns[i, :k] = batch.slots.nonzero(as_tuple=True)
            targets[i, :k], weights[i, :k] = batch.targets, 1 / k
        return hidden, mask, rows, columns, targets, weights


def _train(model, runs: Sequence[Run], numbers: Sequence[int], data: _Data, origin, what: Plan, steps, lr, bar):
    """The stacked parameters (name → (R, ...)) after `steps` steps, and the history of each run."""
    params = {name: theta.expand(len(runs), *theta.shape).clone().requires_grad_() for name, theta in origin.items()}
    leaves = list(params.values())
    frozen = {name: p.detach() for name, p in model.net.named_parameters() if name not in params}
    above = upper(model, what.lowest)
    optimizer = torch.optim.Adam(leaves, lr=lr, fused=True)
    batches = [data.batches(r) for r in numbers]
    losses: list[Tensor] = []
    started = time.perf_counter()

    def loss_of(trained, hidden, mask, rows, columns, targets, weights):
        logits = above(frozen | trained, hidden, mask, rows, columns)
        return (cross_entropy(logits.float(), targets, reduction="none") * weights).sum()

    with evaluating(model):
        for step in range(steps):
            inputs = data.stack(numbers, [next(b) for b in batches])
            if len(runs) > 1:
                loss = vmap(loss_of)(params, *inputs)  # (R,)
            else:
                loss = loss_of({name: p[0] for name, p in params.items()}, *(x[0] for x in inputs))[None]
            losses.append(loss.detach())
            for leaf, gradient in zip(leaves, torch.autograd.grad(loss.sum(), leaves), strict=True):
                leaf.grad = gradient.contiguous()  # the fused Adam reads the memory as it lies
            optimizer.step()
            for i, (_, constraint, _) in enumerate(runs):
                if constraint is not None:
                    constraint.project_({name: stacked.detach()[i] for name, stacked in params.items()}, origin)
            bar.update(len(runs))
            if step % 10 == 0 or step == steps - 1:  # reading waits for the device
                _require_finite(losses[-1], runs, step, lr)
    seconds = (time.perf_counter() - started) / len(runs)
    each = torch.stack(losses, dim=1).tolist()
    return params, [History(loss=curve, recall=[math.nan] * steps, seconds=seconds) for curve in each]


def _require_finite(losses: Tensor, runs: Sequence[Run], step: int, lr: float) -> None:
    for loss, (change, constraint, seed) in zip(losses.tolist(), runs, strict=True):
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} by step {step} for {change}, {constraint or 'no constraint'}, seed {seed}: "
                f"lower the learning rate ({lr})"
            )
