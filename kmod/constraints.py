r"""Balls around θ₀ that an edit must stay in: validate, project, measure; nothing else.

        ·───────────·
        │     θ     │      ℓ∞:  |θᵢ − θ₀ᵢ| ≤ δ for every parameter i
        │    ╱      │
        │  θ₀       │      After each optimiser step θ is put back on the nearest point of the ball:
        │           │      θ ← min(max(θ, θ₀ − δ), θ₀ + δ), element by element.
        ·───────────·
            2δ

Source: Zhu et al. 2020 (arXiv 2012.00363): the ℓ∞ ball stands in for a bound on the loss of the unmodified
facts.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Constraint(Protocol):
    """What an edit needs of a constraint."""

    delta: float

    def project_(self, params: Sequence[Tensor], origin: Sequence[Tensor]) -> None:
        """Move `params` in place to the nearest point of the ball around `origin`."""

    def norm(self, params: Sequence[Tensor], origin: Sequence[Tensor]) -> float:
        """The size of `params − origin` in the constraint's own norm."""


def check_delta(delta: float) -> float:
    """δ as a float. Raises TypeError for a string or boolean, ValueError for a negative or NaN: a constraint that is
    silently skipped is the oldest fault of this method's baselines."""
    if isinstance(delta, bool) or not isinstance(delta, numbers.Real):
        raise TypeError(f"delta must be a number, got {delta!r} ({type(delta).__name__})")
    delta = float(delta)
    if math.isnan(delta) or delta < 0:
        raise ValueError(f"delta must be zero or more, got {delta}")
    return delta


@dataclass(frozen=True)
class Linf:
    """|θᵢ − θ₀ᵢ| ≤ delta for every touched parameter. delta = 0 changes nothing; delta = ∞ is no constraint.

    The bounds θ₀ ± δ are rounded once to the parameters' precision, so that the difference is at most δ up to half a
    unit in the last place of θ₀, and projecting twice is the same as once.
    """

    delta: float

    def __post_init__(self):
        object.__setattr__(self, "delta", check_delta(self.delta))

    @torch.no_grad()
    def project_(self, params: Sequence[Tensor], origin: Sequence[Tensor]) -> None:
        for theta, theta0 in zip(params, origin, strict=True):
            theta.clamp_(theta0 - self.delta, theta0 + self.delta)

    @torch.no_grad()
    def norm(self, params: Sequence[Tensor], origin: Sequence[Tensor]) -> float:
        return max((float((a - b).abs().max()) for a, b in zip(params, origin, strict=True) if a.numel()), default=0.0)
