r"""Balls around θ₀ that an edit must stay in: validate, project, measure; nothing else.

        ·───────────·           After every optimiser step θ is put back on the nearest point of the ball.
        │   ╭───╮ θ │
        │  ╱     ╲  │           □  Linf    |θᵢ − θ₀ᵢ| ≤ δ for every parameter: clamp each
        │ │  θ₀   │ │           ○  L2      ‖θ − θ₀‖₂ ≤ δ: pull θ straight back towards θ₀
        │  ╲     ╱  │              Fisher  √Σᵢ Fᵢ (θᵢ − θ₀ᵢ)² ≤ δ: the same pull, with a weight for each parameter
        │   ╰───╯   │
        ·───────────·

Source: Zhu et al. 2020 (arXiv 2012.00363). The ball stands in for a bound on the loss of the unmodified facts; for
small steps that bound is the Fisher form. Parameters and their origin are dictionaries from full name to tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from .checks import check_delta

Tensors = Mapping[str, Tensor]


class Constraint(Protocol):
    """What an edit needs of a constraint."""

    delta: float

    def check(self, origin: Tensors) -> None:
        """Raise ValueError if the constraint does not fit these parameters; called before any training."""

    def project_(self, params: Tensors, origin: Tensors) -> None:
        """Move `params` in place to the ball around `origin`."""

    def norm(self, params: Tensors, origin: Tensors) -> float:
        """The size of `params − origin` in the constraint's own norm: at most `delta` inside the ball."""


@dataclass(frozen=True)
class _Ball:
    delta: float

    def __post_init__(self):
        object.__setattr__(self, "delta", check_delta(self.delta))

    def check(self, origin: Tensors) -> None:
        return None


@dataclass(frozen=True)
class Linf(_Ball):
    """|θᵢ − θ₀ᵢ| ≤ delta for every touched parameter. delta = 0 changes nothing; delta = ∞ is no constraint.

    The bounds θ₀ ± δ are rounded once to the parameters' precision, so that the difference is at most δ up to half a
    unit in the last place of θ₀, and projecting twice is the same as once.
    """

    @torch.no_grad()
    def project_(self, params: Tensors, origin: Tensors) -> None:
        for name, theta in params.items():
            theta.clamp_(origin[name] - self.delta, origin[name] + self.delta)

    @torch.no_grad()
    def norm(self, params: Tensors, origin: Tensors) -> float:
        return max((float((p - origin[name]).abs().max()) for name, p in params.items() if p.numel()), default=0.0)


@dataclass(frozen=True)
class L2(_Ball):
    """‖θ − θ₀‖₂ ≤ delta over all touched parameters together."""

    @torch.no_grad()
    def project_(self, params: Tensors, origin: Tensors) -> None:
        _pull_back(params, origin, self.delta, self.norm(params, origin))

    @torch.no_grad()
    def norm(self, params: Tensors, origin: Tensors) -> float:
        return math.sqrt(sum(float((p - origin[name]).double().square().sum()) for name, p in params.items()))


@dataclass(frozen=True)
class L2PerTensor(_Ball):
    """‖θ_t − θ₀_t‖₂ ≤ delta·√numel(t) for each touched tensor t: delta bounds the root mean square of its change, and
    so compares with the delta of `Linf`. The form of a later public implementation of the paper's method."""

    @torch.no_grad()
    def project_(self, params: Tensors, origin: Tensors) -> None:
        for name, theta in params.items():
            one, at = {name: theta}, {name: origin[name]}
            _pull_back(one, at, self.delta, self.norm(one, at))

    @torch.no_grad()
    def norm(self, params: Tensors, origin: Tensors) -> float:
        each = ((p - origin[name]).double().square().mean() for name, p in params.items() if p.numel())
        return max((math.sqrt(float(mean)) for mean in each), default=0.0)


@dataclass(frozen=True)
class Fisher(_Ball):
    """√Σᵢ Fᵢ (θᵢ − θ₀ᵢ)² ≤ delta, with F the diagonal of the Fisher information of the unmodified evidences
    (`kmod.fisher_diagonal`), a tensor for each touched parameter.

    `project_` scales θ − θ₀ by one factor, as the paper does; a parameter that no evidence uses (F = 0) is scaled with
    the others. Raises ValueError if `diagonal` lacks a touched parameter or holds negative or non-finite values.
    """

    diagonal: Tensors = field(repr=False, default_factory=dict)

    def check(self, origin: Tensors) -> None:
        for name, theta in origin.items():
            if name not in self.diagonal:
                raise ValueError(f"the Fisher diagonal lacks {name}: compute it for the blocks that are edited")
            if self.diagonal[name].shape != theta.shape:
                raise ValueError(f"the Fisher diagonal of {name} has shape {tuple(self.diagonal[name].shape)}")
            if not (self.diagonal[name] >= 0).all() or not self.diagonal[name].isfinite().all():
                raise ValueError(f"the Fisher diagonal of {name} must be finite and zero or more")

    @torch.no_grad()
    def project_(self, params: Tensors, origin: Tensors) -> None:
        _pull_back(params, origin, self.delta, self.norm(params, origin))

    @torch.no_grad()
    def norm(self, params: Tensors, origin: Tensors) -> float:
        parts = (((p - origin[name]).double().square() * self.diagonal[name]).sum() for name, p in params.items())
        return math.sqrt(sum(float(part) for part in parts))


def _pull_back(params: Tensors, origin: Tensors, delta: float, norm: float) -> None:
    """θ ← θ₀ + (θ − θ₀)·min(1, δ/norm). Inside the ball nothing is touched, so projecting is idempotent there."""
    if norm <= delta:
        return
    for name, theta in params.items():
        if delta == 0:
            theta.copy_(origin[name])
        else:
            torch.add(origin[name], theta - origin[name], alpha=delta / norm, out=theta)


CONSTRAINTS: dict[str, type[_Ball]] = {"Linf": Linf, "L2": L2, "L2PerTensor": L2PerTensor, "Fisher": Fisher}
"""The registry of constraints: suites, lab and command line take what there is from here. To add one, write its class
above and its entry here; if it needs statistics of the model, its function in `editing.balls`."""
