"""FTM and FTA: fine-tune on the evidences of the modified facts, freely or inside a ball around the original weights.

    minimise   mean over D_M of L(x; θ)   subject to   ‖θ − θ₀‖ ≤ δ                 (FTM)

by Adam; after every step θ is projected back into the ball, Adam's moments untouched. FTA fills each batch with as many
evidences of unmodified facts as of modified ones. Source: Zhu et al. 2020 (arXiv 2012.00363).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..constraints import Constraint
from ..facts import Modification
from ..models.masked_lm import MaskedLM
from ..parts import Block
from ..training.history import Stop
from .common import tune
from .edit import Edit


def finetune(
    model: MaskedLM,
    change: Modification,
    *,
    block: Block = "all",
    component: str | Sequence[str] | None = None,
    constraint: Constraint | None = None,
    mix: bool = False,
    steps: int = 60,
    batch_size: int = 64,
    lr: float = 1e-3,
    stop: Stop | None = None,
    reset_moments: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Edit:
    """Fine-tune on the modified facts and return the edit; `model` is not changed.

    The model may be in any state: one that has memorised F, a pretrained one that never saw its evidences, or one with
    random weights (the paper's RI setting; draw the modification without `known`, for such a model knows nothing).

    Args:
        block: the Transformer block to train, by number (negative from the last), several, or "all" blocks. Embeddings
            and decoder stay as they are.
        component: which parts: "attention", "mlp", "layernorm" of those blocks; "embeddings", "head", "decoder_bias",
            "everything"; or full names of parameters; one or several. None trains the blocks whole.
            `print(kmod.plan(model.net, block, component))` lists what will change.
        constraint: `Linf(delta)` or another of `kmod.constraints`, or None for none. To reach the edge of the ball,
            `steps * lr` must be well over δ.
        mix: False trains on the modified facts alone (FTM); True fills half of each batch with evidences of unmodified
            facts (FTA).
        steps: optimiser steps; without `stop` no early end, so that settings compare at equal effort.
        stop: when to end earlier, such as `Stop(recall=1.0, in_a_row=3)`; why it ended is in `edit.made["stopped"]`.
        reset_moments: set Adam's moments to zero where `Linf` has just clamped a parameter. Off, as in the paper: a
            parameter at its bound keeps its momentum, and may be slow to leave.
        seed: the order of the batches.

    Raises TypeError or ValueError for a wrong block, component, constraint or number, and ValueError for an object
    outside the model's vocabulary, before any training.
    """
    return tune(
        model,
        change,
        method="FTA" if mix else "FTM",
        block=block,
        component=component,
        constraint=constraint,
        mix=mix,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        stop=stop,
        reset_moments=reset_moments,
        seed=seed,
        progress=progress,
    )
