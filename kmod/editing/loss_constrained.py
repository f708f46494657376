"""The paper's ideal: learn M, subject to a bound on how much the loss of the unmodified facts may rise.

    minimise   mean over D_M of L(x; θ)   subject to   g(θ) = mean over D_{F∖S} of L(x; θ) − L(x; θ₀)  ≤  δ

The balls around θ₀ are its cheap surrogate. Source: Zhu et al. 2020 (arXiv 2012.00363), who do not train it. Here it is
trained by dual ascent: Adam descends on the Lagrangian L_M + λ·g, and each step sets λ ← max(0, λ + η·(g − δ)), with g
estimated on a batch of unmodified evidences as large as that of M. δ is in nats per word piece.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..checks import check_delta, check_positive
from ..facts import Modification
from ..models.language_model import LanguageModel
from ..training.loop import Forward
from .common import Tuning
from .edit import Edit
from .finetune import finetune


class DualAscent:
    """λ·g(θ) on the next batch at each call; λ (`multiplier`) rises while the batches' g is above δ and falls below.

    `risen` holds the estimate of g at every step."""

    def __init__(self, now: Forward, original: Forward, batches: Iterator[np.ndarray], delta: float, rate: float):
        self.now, self.original, self.batches = now, original, batches
        self.delta, self.rate, self.multiplier = delta, rate, 0.0
        self.risen: list[float] = []

    def __call__(self, step: int) -> Tensor:
        g = rise(self.now, self.original, next(self.batches))
        self.risen.append(g.item())
        # Ascent comes first, so that the next step already takes this batch into account.
        self.multiplier = max(0.0, self.multiplier + self.rate * (self.risen[-1] - self.delta))
        return self.multiplier * g


def rise(now: Forward, original: Forward, chosen: np.ndarray) -> Tensor:
    """The mean over masked slots of L(x; θ) − L(x; θ₀), in nats."""
    with torch.no_grad():
        logits, batch = original(chosen)
        before = cross_entropy(logits.float(), batch.targets)
    return cross_entropy(now(chosen)[0].float(), batch.targets) - before


def loss_constrained(
    model: LanguageModel, change: Modification, *, delta: float, multiplier_rate: float = 1.0, **settings
) -> Edit:
    """Fine-tune on the modified facts while the loss of the unmodified ones rises by at most δ; `model` is not changed.

    Dual ascent approaches the constraint, but does not keep it at every step. Two entries of `made` show how it ended:
    "multiplier" is the last λ, and "rise" the mean of g over the last ten batches.

    Args:
        delta: δ, by how much the mean loss of D_{F∖S} may rise, in nats; ∞ is plain fine-tuning.
        multiplier_rate: η, by how much λ rises per step and nat above δ.
        settings: those of `finetune`; a `constraint` on the weights holds as well.

    Raises TypeError or ValueError for a wrong δ or rate, and as `finetune` does.
    """
    delta = check_delta(delta)
    check_positive(multiplier_rate=(multiplier_rate, numbers.Real))
    duals: list[DualAscent] = []

    def penalty(tuning: Tuning) -> DualAscent:
        duals.append(DualAscent(*tuning.unmodified(), delta, multiplier_rate))
        return duals[-1]

    made = {"method": "loss-constrained", "multiplier_rate": multiplier_rate}
    edit = finetune(model, change, penalty=penalty, made=made, **settings)
    (dual,) = duals
    edit.made["delta_loss"] = delta if math.isfinite(delta) else None
    edit.made["multiplier"], edit.made["rise"] = dual.multiplier, float(np.mean(dual.risen[-10:]))
    return edit
