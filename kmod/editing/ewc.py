"""EWC: fine-tune on M with a quadratic penalty on moving the parameters that the unmodified facts depend on.

    minimise   mean over D_M of L(x; θ)  +  λ/2 · Σᵢ Fᵢ (θᵢ − θ₀ᵢ)²

F is the diagonal of the Fisher information of the unmodified evidences, per example (`kmod.fisher_diagonal`). Source:
Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks" (arXiv 1612.00796), equation 3. The
`Fisher` ball bounds the same quadratic form; here it is a penalty.
"""

from __future__ import annotations

from torch import Tensor

from ..checks import check_weight
from ..constraints import Fisher, Tensors
from ..facts import Modification
from ..models.language_model import LanguageModel
from ..training.fisher import fisher_diagonal
from .common import Tuning
from .edit import Edit
from .finetune import finetune


def ewc(
    model: LanguageModel,
    change: Modification,
    *,
    weight: float,
    diagonal: Tensors | None = None,
    evidences: int = 1000,
    **settings,
) -> Edit:
    """Fine-tune on the modified facts under the penalty of elastic weight consolidation; `model` is not changed.

    Args:
        weight: λ; 0 is plain fine-tuning. F is small if the facts are memorised, so λ must be large: try 1e5 to 1e9 on
            a memorised model.
        diagonal: F, a tensor for each trained parameter; None computes it from `evidences` evidences of F∖S.
        settings: those of `finetune`.

    Raises ValueError for a weight below 0 or a diagonal that does not fit, and as `finetune` does.
    """
    check_weight("weight", weight)

    def penalty(tuning: Tuning):
        F = diagonal
        if F is None:
            F = fisher_diagonal(model, change, component=list(tuning.origin), evidences=evidences, seed=tuning.seed)
        Fisher(0, F).check(tuning.origin)

        def quadratic(step: int) -> Tensor:
            moved = ((p - tuning.origin[n]).square().mul(F[n]).sum() for n, p in tuning.params.items())
            return weight / 2 * sum(moved)

        return quadratic

    return finetune(model, change, penalty=penalty, made={"method": "EWC", "weight": weight}, **settings)
