"""Low-curvature fine-tuning: fine-tune on M, but only along directions that the loss of the unmodified facts hardly
feels.

    minimise   mean over D_M of L(x; θ)   subject to   W − W₀ ∈ span{u_G u_Aᵀ : λ_G λ_A small}    for each matrix W

A ⊗ G is the K-FAC of the unmodified evidences (`kmod.kfac_factors`); u_A, λ_A and u_G, λ_G are the eigenvectors and
eigenvalues of its factors. After each step of Adam the change of W is projected on the open directions:

    Δ  ←  U_G ((U_Gᵀ Δ U_A) ∘ M) U_Aᵀ        M is 1 where λ_G λ_A is small, else 0

Source: Ikram et al. 2026, "CrispEdit: low-curvature projections for scalable non-destructive LLM editing" (arXiv
2602.15823). Their code projects the gradients; Adam, which scales each parameter by itself, then leaves the open
directions. Here the change itself is projected, so that it never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ..checks import check_share
from ..constraints import KFAC, Constraint, Tensors
from ..facts import Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel
from ..parts import Block, linear_layers, plan
from ..training.history import Stop
from ..training.kfac import Factors, flattest, kfac_factors
from ..training.sharing import shared
from .common import check_training
from .edit import Edit
from .finetune import finetune


@dataclass(frozen=True)
class OpenDirections(Constraint):
    """Changes along the directions left open by `delta`, the share of the curvature tr(A) tr(G) that these directions
    have in each matrix: 0 opens those without any curvature, 1 opens all."""

    factors: Factors = field(repr=False, default_factory=dict)

    def __post_init__(self):
        super().__post_init__()
        bases = {}
        for name, (A, G) in self.factors.items():
            (values_A, U_A), (values_G, U_G) = (torch.linalg.eigh(part.double()) for part in (A, G))
            mask = flattest(torch.outer(values_G.clamp_min(0), values_A.clamp_min(0)), self.delta)
            bases[name] = U_A.to(A), U_G.to(G), mask
        object.__setattr__(self, "bases", bases)

    @property
    def open(self) -> float:
        """The share of all directions that are open."""
        masks = [mask for *_, mask in self.bases.values()]
        return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)

    @torch.no_grad()
    def project_(self, params: Tensors, origin: Tensors) -> None:
        for name, theta in params.items():
            U_A, U_G, mask = self.bases[name]
            if not mask.all():
                within = U_G.T @ (theta - origin[name]).to(U_G) @ U_A
                theta.copy_(origin[name] + U_G @ (within * mask) @ U_A.T)

    @torch.no_grad()
    def norm(self, params: Tensors, origin: Tensors) -> float:
        """‖θ − θ₀‖₂: the directions bound no length."""
        return torch.stack([(theta - origin[name]).double().norm() for name, theta in params.items()]).norm().item()


def low_curvature(
    model: LanguageModel,
    change: Modification,
    *,
    curvature: float = 1e-4,
    factors: Factors | None = None,
    block: Block = "all",
    component: str | Sequence[str] | None = None,
    evidences: int = 1000,
    steps: int = 60,
    batch_size: int = 64,
    lr: float = 1e-3,
    stop: Stop | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Edit:
    """Fine-tune matrices on the modified facts along directions of low curvature; `model` is not changed.

    Args:
        curvature: the share of the curvature of the unmodified facts that the open directions may have together, in
            each matrix: from 0 (only directions without curvature) to 1 (plain fine-tuning). It is 1 − γ for the energy
            threshold γ of the paper's code, which is 0.9 or 0.99. A model that has memorised its facts has nearly all
            its curvature in few directions: try 1e-5 to 1e-3.
        factors: those of `kmod.kfac_factors`; None computes them from `evidences` evidences of F∖S and `seed`.
        block, component: which parameters (see `kmod.plan`); the matrices of linear layers among them are trained. One
            without factors, as no answer depends on it, stays as it is.

    The others are those of `finetune`.

    Cost: the factors, and their eigenvectors, once. A step takes four more matrix products a matrix, about as many
    operations as its forward pass over 2 (in + out) tokens. Kept are in² + out² numbers and out × in truth values a
    matrix. `made["open"]` is the share of the directions that were open.

    Raises ValueError for a share outside 0 to 1, for factors that lack a matrix, if no linear layer is chosen, and as
    `finetune` does.
    """
    check_model(model, change, learns=True)
    curvature = check_share("curvature", curvature)
    check_training(steps, batch_size, lr, stop)
    names = matrices(model, block, component)
    if factors is None:
        factors = computed(model, change, block, component, evidences, seed)
    KFAC(0, factors).check({name: model.net.get_parameter(name) for name in names})
    names = [name for name in names if isinstance(factors[name], tuple)]
    if not names:
        raise ValueError("none of the chosen matrices has the two factors that low curvature needs")
    directions = OpenDirections(curvature, {name: factors[name] for name in names})
    made = {"method": "low-curvature", "curvature": curvature, "open": directions.open, "norm": None}
    return finetune(
        model, change, component=names, constraint=directions, steps=steps, batch_size=batch_size, lr=lr, stop=stop,
        seed=seed, progress=progress, made=made,
    )  # fmt: skip


def matrices(model: LanguageModel, block: Block, component: str | Sequence[str] | None) -> list[str]:
    """The matrices of linear layers among the chosen parameters. Raises ValueError if there is none."""
    linear = linear_layers(model.net, plan(model.net, block, component).names)
    names = [name for name in linear if name.endswith(".weight")]
    if not names:
        raise ValueError("none of the chosen parameters is the matrix of a linear layer, which low curvature needs")
    return names


@shared
def computed(model: LanguageModel, change: Modification, block: Block, component, evidences: int, seed: int) -> Factors:
    """The factors of all matrices; inside `sharing`, once for several shares."""
    return kfac_factors(model, change, component=matrices(model, block, component), evidences=evidences, seed=seed)
