"""Constrained fine-tuning of the parts of a FaE that the paper compares, alone or on top of the symbolic edit.

AWT, the additional weights, are all that stands outside the Transformer blocks. Source: Zhu et al. 2020 (arXiv
2012.00363), the experiment on Facts as Experts.
"""

from __future__ import annotations

from contextlib import nullcontext

from ..checks import brief
from ..editing.edit import Edit
from ..editing.finetune import finetune
from ..facts import Modification
from ..models.door import check_model
from ..parts import INSIDE, OUTSIDE, blocks, select
from .fae import FaE
from .symbolic import update_facts

PLACES = ("AWT", "block 3 + AWT", "block 7 + AWT", "all")


def parts_of(place: str | int) -> dict:
    """The arguments of `kmod.plan` that choose "AWT", "all", or the block of a number and AWT."""
    if place == "AWT":
        return {"component": list(OUTSIDE)}
    return {"component": "everything"} if place == "all" else {"block": place, "component": [*INSIDE, *OUTSIDE]}


def fae_parts(model: FaE, where: str | int) -> list[str]:
    """Full parameter names of a part: "AWT" (all outside the blocks); "block 3 + AWT" or "block 7 + AWT" (of 12 blocks,
    or those as far up in a smaller model; block 3 is the last below the entity memory); a number b (that block and
    AWT); or "all". Raises ValueError that lists the parts."""
    if isinstance(where, str) and where not in PLACES:
        raise ValueError(
            brief(f"no part {where!r} of a FaE; known: {', '.join(PLACES)}, or a block's number for it and AWT")
        )
    if where in PLACES[1:3]:
        where = proportional(int(where.split()[1]), len(blocks(model.net)))
    return select(model.net, **parts_of(where))


def proportional(block: int, depth: int) -> int:
    """The block that stands as far up among `depth` blocks as `block` does among BERT-Base's 12."""
    return max(0, round((block + 1) * depth / 12) - 1)


def finetune_fae(
    model: FaE, change: Modification, *, where: str | int = "AWT", symbolic: bool = True, **settings
) -> Edit:
    """Fine-tune part of a FaE on the modified facts and return the edit; `model` is not changed.

    Args:
        where: the part, as for `fae_parts`.
        symbolic: first write the new objects to the fact memory (`update_facts`); the edit holds both changes.
        settings: those of `kmod.finetune`, without block and component.

    Raises ValueError for a wrong part or number, or an object that is not an entity of the memory, before any training.
    """
    check_model(model, change, learns=True, family="FaE")
    names = fae_parts(model, where)
    update = update_facts(model, change) if symbolic else None
    made = {"method": "UPDATE + FTM" if symbolic else "FTM", "where": where}
    with update(model) if update else nullcontext():
        edit = finetune(model, change, component=names, made=made, **settings)
    return Edit(update.xor | edit.xor, update.before, edit.after, edit.made) if update else edit
