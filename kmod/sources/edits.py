"""Published edit sets, with the new objects (targets) that their authors chose."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..checks import brief, check_whole, is_whole
from ..facts import FactBase, Modification
from ..names import normal
from .counterfact import counterfact, records
from .zsre import EDITS, edit_rows, stand_in

EDIT_SETS = ("counterfact", *(f"zsre:{name}" for name in EDITS))


def load_edits(
    name: str, n: int | None = None, seed: int = 0, *, folder: str | Path | None = None
) -> tuple[FactBase, Modification]:
    """The facts of an edit set's source, and the modification of `n` of them (None: of all) to the set's own targets.

    `name` is "counterfact", or "zsre:knowedit", "zsre:mend" or "zsre:ke", whose facts are those of the stand-in that
    `load_facts("zsre")` describes. The new objects are the set's targets; those of `FactBase.modify` follow the paper's
    rule. An edit's fact is that of its subject, relation and true object. Edits of a fact that is not in the base, or
    to an object that its subject already has or is given in the relation, are left out. Of several edits of one fact
    the first counts.

    Raises ValueError for an unknown set, or more edits than there are.
    """
    if name not in EDIT_SETS:
        raise ValueError(brief(f"unknown edit set {name!r}; known: {', '.join(EDIT_SETS)}"))
    if name == "counterfact":
        base = counterfact(folder)
        rows = ((subject, relation, true, new) for subject, relation, true, _, _, new in records(folder))
    else:
        base = stand_in(folder, seed)
        edits = edit_rows(folder, name.removeprefix("zsre:"))
        rows = ((subject, relation, true, new) for subject, relation, _, true, new in edits)
    return base, _modification(base, rows, name, n, seed)


def _modification(base: FactBase, rows, name: str, n: int | None, seed: int) -> Modification:
    positions: dict[tuple[str, str], dict[str, int]] = {}  # subject and relation → objects, and where their facts are
    for i, fact in enumerate(base):
        positions.setdefault((normal(fact.subject), fact.relation), {})[normal(fact.object)] = i
    changes: dict[int, str] = {}
    for subject, relation, true, new in rows:
        objects = positions.get((normal(subject), relation), {})
        i = objects.get(normal(true)) if isinstance(true, str) else None
        taken = {*objects, *(normal(changes[j]) for j in objects.values() if j in changes)}
        if i is not None and i not in changes and base.tests(base[i]) and normal(new) not in {"", *taken}:
            changes[i] = new.strip()
    chosen = list(changes)
    if n is not None:
        if not is_whole(n) or not 1 <= n <= len(chosen):
            raise ValueError(
                brief(f"n must be from 1 to the {len(chosen):,} edits of {name}, or None for all; got {n!r}")
            )
        rng = np.random.default_rng(check_whole("seed", seed, 0))
        chosen = [chosen[i] for i in rng.choice(len(chosen), n, replace=False)]
    return Modification(base, tuple(chosen), tuple(changes[i] for i in chosen), seed)
