"""Choosing block and δ by Ā: on modifications apart from the reported ones, and, as the paper does, on those
themselves. The paper (Zhu et al. 2020, arXiv 2012.00363) tunes on what it reports; the difference is what that gains.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from ..evaluation import Scores, evaluate, score
from ..facts import Modification
from ..models.masked_lm import MaskedLM
from ..progress import silent
from .finetune import finetune


@dataclass(frozen=True)
class Choice:
    """What was chosen, and from what: `records` has one entry for each setting and modification.

    `separate` and `reported` are positions in `grid`: the best mean Ā on the separate modifications, and on the
    reported ones (None if those were not asked for).
    """

    grid: list[dict]
    records: list[dict]
    separate: int
    reported: int | None

    def mean(self, setting: int, of: str = "reported", metric: str = "A_mean") -> float:
        return _mean(self.records, setting, of, metric)

    def __str__(self) -> str:
        lines = [f"{len(self.grid)} settings, chosen by Ā"]
        for how, i in (("separate", self.separate), ("reported", self.reported)):
            if i is not None:
                found = ", ".join(f"{name}={value}" for name, value in self.grid[i].items())
                where = "reported" if self.reported is not None else "separate"
                lines.append(f"  on the {how} modifications: {found}   Ā {100 * self.mean(i, where):.1f} % ({where})")
        return "\n".join(lines)


def choose(
    model: MaskedLM,
    changes: Sequence[Modification],
    grid: Sequence[Mapping],
    *,
    method: Callable = finetune,
    apart: int = 1,
    reported: bool = True,
    before: Scores | None = None,
    seed: int = 1000,
    progress: bool = True,
) -> Choice:
    """Try every setting of `grid` and choose by Ā, twice: see `Choice`. `model` is not changed.

    Args:
        changes: the modifications that will be reported, all of one base.
        grid: settings of `method`, such as `[dict(block=b, constraint=Linf(d)) for b in (0, -1) for d in deltas]`.
        method: of (model, change, **settings), gives an `Edit`.
        apart: how many separate modifications to draw, of as many facts, that the model knows and that no reported one
            touches, from `seed` on.
        reported: whether to try the settings on `changes` as well.
        before: `score(model, base)`, to spare asking again.

    Raises ValueError if there is nothing to choose from, or too few facts are known to draw from.
    """
    if not changes or not grid or apart < 1:
        raise ValueError("choosing needs modifications, settings, and at least one separate modification")
    base, grid = changes[0].base, [dict(settings) for settings in grid]
    before = before or score(model, base, ["tests"])
    sets = [("separate", change) for change in separate(changes, before.known, apart, seed)]
    sets += [("reported", change) for change in changes if reported]
    records, started = [], time.perf_counter()
    runs = [(i, of, change) for i in range(len(grid)) for of, change in sets]
    with tqdm(runs, desc="choosing", leave=False, disable=silent(progress)) as bar:
        for i, of, change in bar:
            edit = method(model, change, **grid[i])
            result = evaluate(model, base, change, edit=edit, before=before, answers=False).record()
            records.append({"setting": i, "of": of, "change_seed": change.seed} | result)
            if progress and len(records) == 1:
                minutes = (time.perf_counter() - started) * len(runs) / 60
                print(f"{len(grid)} settings on {len(sets)} modifications: about {minutes:.1f} minutes")

    def best(of: str) -> int:
        return int(np.argmax([_mean(records, i, of, "A_mean") for i in range(len(grid))]))

    return Choice(grid, records, best("separate"), best("reported") if reported else None)


def separate(changes: Sequence[Modification], known: np.ndarray, n: int, seed: int) -> list[Modification]:
    """`n` modifications of known facts, each as large as the first of `changes`, that touch no fact of any."""
    left = np.array(known, dtype=bool)
    for change in changes:
        left[list(change.indices)] = False
    return [changes[0].base.modify(len(changes[0]), seed + i, known=left) for i in range(n)]


def _mean(records: list[dict], setting: int, of: str, metric: str) -> float:
    return float(np.mean([r[metric] for r in records if (r["setting"], r["of"]) == (setting, of)]))
