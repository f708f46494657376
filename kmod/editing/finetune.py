"""FTM and FTA: fine-tune on the evidences of the modified facts, freely or inside a ball around the original weights.

    minimise   mean over D_M of L(x; θ)   subject to   ‖θ − θ₀‖ ≤ δ                 (FTM)

by Adam; after every step θ is projected back into the ball, Adam's moments untouched. FTA fills each batch with as many
evidences of unmodified facts as of modified ones. Source: Zhu et al. 2020 (arXiv 2012.00363).
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
    mix: bool = False,
    steps: int = 60,
    batch_size: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
    progress: bool = False,
) -> Edit:
    """Fine-tune on the modified facts and return the edit; `model` is not changed.

    Args:
        block: the Transformer block to train, by number (negative from the last), several, or "all" blocks. Embeddings
            and decoder stay as they are.
        constraint: `Linf(delta)` or another of `kmod.constraints`, or None for none. To reach the edge of the ball,
            `steps * lr` must be well over δ.
        mix: False trains on the modified facts alone (FTM); True fills half of each batch with evidences of unmodified
            facts (FTA).
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
    blocks = block_indices(model.net, block)
    current = dict(model.net.named_parameters())
    origin = {name: current[name].detach() for name in select(model.net, block)}
    if constraint is not None:
        constraint.check(origin)
    examples = model.examples(change.base, "evidences", change.modified)
    rest = model.examples(change.base, "evidences", change.unmodified) if mix else None
    params = {name: theta.clone().requires_grad_() for name, theta in origin.items()}
    history = fit(
        model,
        examples,
        params,
        mix=rest,
        lowest=min(blocks),
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        project=(lambda: constraint.project_(params, origin)) if constraint is not None else None,
        progress=f"editing {len(change)} facts" if progress else None,
    )
    made = {
        "method": "FTA" if mix else "FTM",
        "facts": [
            [f.subject, f.relation, f.object, new] for f, new in zip(change.originals, change.objects, strict=True)
        ],
        "base": change.base.name,
        "base_fingerprint": change.base.fingerprint(),
        "indices": list(change.indices),
        "change_seed": change.seed,
        "blocks": blocks,
        "constraint": repr(constraint) if constraint is not None else None,
        "delta": constraint.delta if constraint is not None else None,
        "norm": constraint.norm(params, origin) if constraint is not None else None,
        "steps": history.steps,
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
        "loss": history.loss[-1],
        "seconds": round(history.seconds, 3),
        "versions": versions(),
    }
    return Edit.between(model, params, made)
