"""FTM and FTA: fine-tune on the evidences of the modified facts, freely or inside a ball around the original weights.

    minimise   mean over D_M of L(x; θ)   subject to   ‖θ − θ₀‖ ≤ δ                 (FTM)

by Adam; after every step θ is projected back into the ball, Adam's moments untouched. FTA fills each batch with as many
evidences of unmodified facts as of modified ones. Source: Zhu et al. 2020 (arXiv 2012.00363).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..constraints import Constraint, Linf
from ..facts import Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel
from ..parts import Block, plan
from ..training.history import Stop
from ..training.loop import fit
from .common import Penalty, Tuning, check_constraint, check_training, constraint_record, modified, record, unmodified
from .edit import Edit


def finetune(
    model: LanguageModel,
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
    penalty: Penalty | None = None,
    made: dict | None = None,
) -> Edit:
    """Fine-tune on the modified facts and return the edit; `model` is not changed.

    The model may be in any state: one that has memorised F, a pretrained one that never saw its evidences, or one with
    random weights (the paper's RI setting; draw the modification without `known`, as such a model knows nothing).

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
        steps: optimiser steps; without `stop` there is no early end, so that settings compare at equal effort.
        stop: when to end earlier, such as `Stop(recall=1.0, in_a_row=3)`; `edit.made["stopped"]` says why it ended.
        reset_moments: set Adam's moments to zero where `Linf` has just clamped a parameter. Off, as in the paper: a
            parameter at its bound keeps its momentum, and may be slow to leave.
        seed: the order of the batches.
        penalty: what a method adds to the loss (`editing.common.Penalty`), such as that of `kmod.editing.kl`.
        made: entries for `edit.made` in place of the usual ones: a method that adds a penalty gives its name and
            settings.

    Raises TypeError or ValueError for a wrong block, component, constraint or number, and ValueError for an object
    outside the model's vocabulary, before any training; FloatingPointError if the training diverges.
    """
    check_model(model, change, learns=True)
    if reset_moments and not isinstance(constraint, Linf):
        raise ValueError("reset_moments needs the constraint Linf: the bounds of single parameters")
    check_training(steps, batch_size, lr, stop)
    part = plan(model.net, block, component)
    origin = {name: model.net.get_parameter(name).detach() for name in part.names}
    check_constraint(constraint, origin)
    examples = modified(model, change)
    rest = unmodified(model, change, steps * max(1, batch_size // 2), seed) if mix else None
    params = {name: theta.clone().requires_grad_() for name, theta in origin.items()}
    tuning = Tuning(model, change, params, origin, part.lowest, steps, batch_size, seed)

    def project() -> dict[str, Tensor] | None:
        before = {name: theta.detach().clone() for name, theta in params.items()} if reset_moments else {}
        constraint.project_(params, origin)
        return {name: params[name].detach() != theta for name, theta in before.items()}

    history = fit(
        model, examples, params, mix=rest, lowest=part.lowest, steps=steps, batch_size=batch_size, lr=lr, stop=stop,
        penalty=penalty(tuning) if penalty else None, project=project if constraint is not None else None, seed=seed,
        progress=f"editing {len(change)} facts" if progress else None,
    )  # fmt: skip
    about = record(
        "FTA" if mix else "FTM", change, history, blocks=part.blocks, reset_moments=reset_moments,
        component=component if component is None or isinstance(component, str) else list(component),
        batch_size=batch_size, lr=lr, seed=seed,
    )  # fmt: skip
    return Edit.between(model, params, about | constraint_record(constraint, params, origin) | (made or {}))
