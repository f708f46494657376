"""AlphaEdit: MEMIT, with each update projected on the null space of the kept keys.

    ΔW = R Kᵀ P (P K Kᵀ P + λ I)⁻¹        P = U Uᵀ

U holds those eigenvectors of C = E[k kᵀ], over the tokens of unmodified evidences, whose eigenvalues are about zero. So
P k ≈ 0 for a kept key k: ΔW k ≈ 0, and the output of the matrix stays. λ need not weigh the kept keys against the new
facts, as MEMIT's does; it only keeps ΔW short.

Source: Fang et al. 2025, "AlphaEdit: null-space constrained knowledge editing for language models" (arXiv 2410.02355),
for one edit of all facts at once. The paper takes the eigenvalues below a number, which hangs on the scale of the keys;
here they are the smallest that make up a share of the sum. The rest is that of `kmod.editing.memit`.
"""

from __future__ import annotations

import numbers
from functools import partial

import torch
from torch import Tensor

from ..checks import check_positive, check_share
from ..facts import Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel
from ..training.kfac import flattest
from .edit import Edit
from .memit import write


def alphaedit(
    model: LanguageModel,
    change: Modification,
    *,
    block: int = 1,
    spread: int = 2,
    position: str = "subject",
    energy: float = 0.01,
    ridge: float = 1.0,
    steps: int = 25,
    lr: float = 0.02,
    evidences: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> Edit:
    """Change one matrix in each of several blocks in the null space of the kept keys; `model` is not changed.

    Args:
        energy: the share of E ‖k‖² of the kept keys that counts as null. At 0, outputs for the kept keys stay as they
            are; if those span all directions, nothing is learnt. At 1, all directions are open.
        ridge: λ, the weight of ‖ΔW‖²; 10 in the authors' code.

    The others, and the errors raised, are those of `kmod.memit`.

    Cost: that of MEMIT, and the eigenvectors of C, in³ operations a block. Kept are C and its eigenvectors, 2 in²
    numbers in double precision, of one block at a time.
    """
    check_model(model, change, learns=True)
    energy = check_share("energy", energy)
    check_positive(ridge=(ridge, numbers.Real))
    return write(
        "AlphaEdit", model, change, partial(projected, energy=energy, ridge=ridge), block=block, spread=spread,
        position=position, steps=steps, lr=lr, evidences=evidences, seed=seed, progress=progress,
        made={"energy": energy, "ridge": ridge},
    )  # fmt: skip


def projected(K: Tensor, R: Tensor, C: Tensor, energy: float, ridge: float) -> Tensor:
    """ΔW (out, in) for keys K (n, in), residuals R (n, out) and the covariance C (in, in) of the kept keys."""
    values, vectors = torch.linalg.eigh(C)
    U = vectors[:, flattest(values.clamp_min(0), energy)]
    inside = K.double().cpu() @ U  # (n, null): in these coordinates P is the identity
    KK = inside.T @ inside + ridge * torch.eye(U.shape[1], dtype=U.dtype)
    return torch.linalg.solve(KK, inside.T @ R.double().cpu()).T @ U.T
