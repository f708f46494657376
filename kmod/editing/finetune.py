"""FTM: fine-tune on the evidences of the modified facts, freely or inside a ball around the original weights.

    minimise   mean over D_M of L(x; θ)   subject to   ‖θ − θ₀‖ ≤ δ

by Adam; after every step θ is projected back into the ball, Adam's moments untouched. Source: Zhu et al. 2020
(arXiv 2012.00363).
"""

from __future__ import annotations

from ..constraints import Constraint
from ..facts import Modification
from ..models.masked_lm import MaskedLM
from ..parts import Block, block_indices, select
from ..training import fit
from ..versions import versions
from .edit import Edit


def finetune(
    model: MaskedLM,
    change: Modification,
    *,
    block: Block = "all",
    constraint: Constraint | None = None,
    steps: int = 60,
    batch_size: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
    progress: bool = False,
) -> Edit:
    """Fine-tune on the modified facts alone and return the edit; `model` is not changed.

    Args:
        block: the Transformer block to train, by number (negative from the last), several, or "all" blocks. Embeddings
            and decoder stay as they are.
        constraint: `Linf(delta)`, or None for none. To reach the edge of the ball, `steps * lr` must be well over δ.
        steps: optimiser steps; no early stop, so that settings compare at equal effort.
        seed: the order of the batches.

    Raises TypeError or ValueError for a wrong block, constraint or number, and ValueError for an object outside the
    model's vocabulary, before any training.
    """
    if constraint is not None and not (hasattr(constraint, "project_") and hasattr(constraint, "delta")):
        raise TypeError(f"constraint must be a constraint such as kmod.Linf(2e-3), or None; got {constraint!r}")
    for name, value, kind in (("steps", steps, int), ("batch_size", batch_size, int), ("lr", lr, (int, float))):
        if isinstance(value, bool) or not isinstance(value, kind) or not value > 0:
            raise ValueError(f"{name} must be a number above 0, got {value!r}")
    names = select(model.net, block)
    examples = model.examples(change.base, "evidences", change.modified)
    current = dict(model.net.named_parameters())
    params = {name: current[name].detach().clone().requires_grad_() for name in names}
    leaves, origin = list(params.values()), [current[name].detach() for name in names]
    history = fit(
        model,
        examples,
        params,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        project=(lambda: constraint.project_(leaves, origin)) if constraint else None,
        progress=f"editing {len(change)} facts" if progress else None,
    )
    made = {
        "method": "FTM",
        "facts": [
            [f.subject, f.relation, f.object, new] for f, new in zip(change.originals, change.objects, strict=True)
        ],
        "base": change.base.name,
        "change_seed": change.seed,
        "blocks": block_indices(model.net, block),
        "constraint": repr(constraint) if constraint else None,
        "delta": constraint.delta if constraint else None,
        "steps": history.steps,
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
        "loss": history.loss[-1],
        "seconds": round(history.seconds, 3),
        "versions": versions(),
    }
    return Edit.between(model, params, made)
