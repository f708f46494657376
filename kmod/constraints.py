"""Balls around θ₀ that an edit must stay in: after every optimiser step θ is put back on a point of the ball.

Source: Zhu et al. 2020 (arXiv 2012.00363). The ball stands in for a bound on the loss of the unmodified facts; for
small steps that bound is the Fisher form. Parameters and their origin are dictionaries from full name to tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .checks import check_delta

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Constraint:
    """What an edit needs of a constraint; a subclass gives at least the norm."""

    delta: float

    def __post_init__(self):
        object.__setattr__(self, "delta", check_delta(self.delta))

    def check(self, origin: Tensors) -> None:
        """Raise ValueError if the constraint does not fit these parameters; called before any training."""

    @torch.no_grad()
    def project_(self, params: Tensors, origin: Tensors) -> None:
        """Move `params` in place to the ball around `origin`: straight towards it, unless a subclass says otherwise."""
        _pull_back(params, origin, self.delta, self.norm)

    def norm(self, params: Tensors, origin: Tensors) -> float:
        """The size of `params − origin` in the constraint's own norm: at most `delta` inside the ball."""
        raise NotImplementedError


@dataclass(frozen=True)
class Linf(Constraint):
    """|θᵢ − θ₀ᵢ| ≤ delta for every touched parameter. delta = 0 changes nothing; delta = ∞ is no constraint.

    The bounds θ₀ ± δ are rounded once to the parameters' precision, so that the difference is at most δ up to half a
    unit in the last place of θ₀ (in 16 bits, where that unit is large, they are rounded towards θ₀), and projecting
    twice is the same as once.
    """

    @torch.no_grad()
    def project_(self, params: Tensors, origin: Tensors) -> None:
        for name, theta in params.items():
            theta.clamp_(self._bound(origin[name], -1), self._bound(origin[name], 1))

    def _bound(self, origin: Tensor, sign: int) -> Tensor:
        if not _is_coarse(origin):
            return origin + sign * self.delta
        bound = (origin.double() + sign * self.delta).to(origin.dtype)
        outside = (bound.double() - origin.double()).abs() > self.delta
        place = "cpu" if origin.dtype == torch.float16 else origin.device  # CUDA has no nextafter for float16
        inward = torch.nextafter(bound.to(place), origin.to(place)).to(origin.device)
        return torch.where(outside, inward, bound)

    @torch.no_grad()
    def norm(self, params: Tensors, origin: Tensors) -> float:
        moved = (_difference(p, origin[name]).abs().max() for name, p in params.items() if p.numel())
        return max(map(float, moved), default=0.0)


@dataclass(frozen=True)
class L2(Constraint):
    """‖θ − θ₀‖₂ ≤ delta over all touched parameters together."""

    @torch.no_grad()
    def norm(self, params: Tensors, origin: Tensors) -> float:
        each = (_difference(p, origin[name]).double().square().sum() for name, p in params.items())
        return math.sqrt(sum(map(float, each)))


@dataclass(frozen=True)
class L2PerTensor(Constraint):
    """‖θ_t − θ₀_t‖₂ ≤ delta·√numel(t) for each touched tensor t: delta bounds the root mean square of its change, and
    so compares with the delta of `Linf`. The form of a later public implementation of the paper's method."""

    @torch.no_grad()
    def project_(self, params: Tensors, origin: Tensors) -> None:
        for name, theta in params.items():
            _pull_back({name: theta}, {name: origin[name]}, self.delta, self.norm)

    @torch.no_grad()
    def norm(self, params: Tensors, origin: Tensors) -> float:
        each = (_difference(p, origin[name]).double().square().mean() for name, p in params.items() if p.numel())
        return max((math.sqrt(float(mean)) for mean in each), default=0.0)


@dataclass(frozen=True)
class Fisher(Constraint):
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
    def norm(self, params: Tensors, origin: Tensors) -> float:
        squares = ((name, _difference(p, origin[name]).double().square()) for name, p in params.items())
        return math.sqrt(sum(float((square * self.diagonal[name]).sum()) for name, square in squares))


@dataclass(frozen=True)
class KFAC(Constraint):
    """√Σ_W Σ (G Δ A) ∘ Δ ≤ delta, with Δ = W − W₀ and the K-FAC factors of the unmodified evidences
    (`kmod.kfac_factors`): (A, G) for each touched parameter of a linear layer, a diagonal, as in `Fisher`, for any
    other. Unlike `Fisher`, it knows how the parameters of a matrix act together.

    `project_` scales θ − θ₀ by one factor. A norm takes two matrix products a matrix, as many operations as its forward
    pass over in + out tokens; nothing is kept but the factors. Raises ValueError if `factors` lacks a touched parameter
    or does not fit it.
    """

    factors: Mapping[str, tuple[Tensor, Tensor] | Tensor] = field(repr=False, default_factory=dict)

    def check(self, origin: Tensors) -> None:
        for name, theta in origin.items():
            if name not in self.factors:
                raise ValueError(f"the K-FAC factors lack {name}: compute them with the edit's block and component")
            own = self.factors[name]
            shape = tuple(own.shape) if isinstance(own, Tensor) else (len(own[1]), len(own[0]))
            if shape not in (tuple(theta.shape), (*theta.shape, 1)):
                raise ValueError(f"the K-FAC factors of {name} are for shape {shape}, not {tuple(theta.shape)}")
            if not all(part.isfinite().all() for part in ([own] if isinstance(own, Tensor) else own)):
                raise ValueError(f"the K-FAC factors of {name} must be finite")

    @torch.no_grad()
    def norm(self, params: Tensors, origin: Tensors) -> float:
        total = 0.0
        for name, theta in params.items():
            moved, own = _difference(theta, origin[name]), self.factors[name]
            if isinstance(own, Tensor):
                form = moved.double().square() * own
            else:
                A, G = (part.to(moved) for part in own)
                moved = moved.reshape(len(G), len(A))
                form = (G @ moved).double() * (moved @ A)
            total += float(form.sum())
        return math.sqrt(max(total, 0.0))  # rounding can make a small form negative


@dataclass(frozen=True)
class Around(Constraint):
    """`ball` around other weights than those that the training starts from: name → tensor in `origin`."""

    ball: Constraint
    origin: Tensors = field(repr=False)

    def check(self, origin: Tensors) -> None:
        if missing := origin.keys() - self.origin.keys():
            raise ValueError(f"the ball's centre lacks {min(missing)}")
        self.ball.check({name: self.origin[name] for name in origin})

    @torch.no_grad()
    def project_(self, params: Tensors, origin: Tensors) -> None:
        self.ball.project_(params, self.origin)

    def norm(self, params: Tensors, origin: Tensors) -> float:
        return self.ball.norm(params, self.origin)


def _pull_back(params: Tensors, origin: Tensors, delta: float, norm: Callable[[Tensors, Tensors], float]) -> None:
    """θ ← θ₀ + (θ − θ₀)·min(1, δ/norm). Inside the ball nothing is touched, so projecting is idempotent there.

    In 16 bits rounding alone can lead out of the ball: there the factor is lowered until the rounded θ is inside."""
    size = norm(params, origin)
    if size <= delta:
        return
    if delta == 0:
        for name, theta in params.items():
            theta.copy_(origin[name])
    elif not any(map(_is_coarse, params.values())):
        for name, theta in params.items():
            torch.add(origin[name], theta - origin[name], alpha=delta / size, out=theta)
    else:
        differences, factor = {name: _difference(theta, origin[name]) for name, theta in params.items()}, 1.0
        while size > delta:
            factor *= delta / size * (1 if factor == 1 else 0.999)  # a little more, or rounding could undo it
            for name, theta in params.items():
                theta.copy_(origin[name] + factor * differences[name])
            size = norm(params, origin)


def _is_coarse(tensor: Tensor) -> bool:
    """Whether the tensor is of float16 or bfloat16."""
    return tensor.element_size() < 4


def _difference(theta: Tensor, origin: Tensor) -> Tensor:
    """θ − θ₀, in float32 at the least."""
    return theta.float() - origin.float() if _is_coarse(theta) else theta - origin


CONSTRAINTS: dict[str, type[Constraint]] = {
    "Linf": Linf, "L2": L2, "L2PerTensor": L2PerTensor, "Fisher": Fisher, "KFAC": KFAC,
}  # fmt: skip
"""The registry of constraints: suites, lab and command line take what there is from here. To add one, write its class
above and its entry here; if it needs statistics of the model, its function in `editing.balls`."""
