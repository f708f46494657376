"""Which is best, and whether the seeds can tell: what the titles of the charts say."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from ..experiments.statistics import Mean, best, difference
from .runs import Cell, cells, values


@dataclass(frozen=True)
class Lead:
    """Which of several things is highest, and whether the seeds tell it from the next: `by` is their difference, paired
    by seed, None without a second or a common seed."""

    first: object
    value: float
    second: object = None
    by: Mean | None = None

    @property
    def decided(self) -> bool:
        return self.by is not None and self.by.n > 1 and self.by.low > 0

    @property
    def why_not(self) -> str:
        """Why it is undecided, for a title."""
        if self.by is None or self.by.n < 2:
            return "one seed cannot tell"
        return "within the interval"


def lead(options: Mapping[object, Mapping[int, float]]) -> Lead:
    """The thing with the highest mean over its seeds, against the next."""
    order = sorted(options, key=lambda name: -fmean(options[name].values()))
    first, value = order[0], fmean(options[order[0]].values())
    if len(order) == 1:
        return Lead(first, value)
    a, b = options[first], options[order[1]]
    return Lead(first, value, order[1], difference(a, b) if a.keys() & b.keys() else None)


def best_delta(grid: Mapping[object, Cell]) -> object:
    """The δ with the highest mean Ā; None if no limit at all is best."""
    return max(grid, key=lambda delta: fmean(values(grid[delta], "A_mean").values()))


def held_out(grid: Mapping[object, Cell]) -> dict[int, float]:
    """Ā by seed at the δ that is best on the other seeds: a comparison that does not gain from the choice of δ."""
    tried = [values(cell, "A_mean") for cell in grid.values()]
    whole = [cell for cell in tried if len(cell) == max(map(len, tried))]
    return {seed: whole[best(whole, seed)][seed] for seed in whole[0] if seed in whole[best(whole, seed)]}


def by_delta(found: Mapping[tuple, Cell]) -> dict[object, dict[object, Cell]]:
    """Cells keyed by (group, δ) as {group: {δ: cell}}, δ ascending and no limit last."""
    grids: dict[object, dict[object, Cell]] = {}
    for group, delta in sorted(found, key=lambda key: math.inf if key[1] is None else key[1]):
        grids.setdefault(group, {})[delta] = found[group, delta]
    order = dict.fromkeys(group for group, _ in found)
    return {group: grids[group] for group in order}


def at_best(rows: Iterable[Mapping]) -> list[Mapping]:
    """The rows at the δ of each label that has the highest mean Ā (paper, section 4: δ is chosen by Ā)."""
    grids = by_delta(cells(rows, ("label", "delta"), ("A_mean",)))
    return [row for grid in grids.values() for row in grid[best_delta(grid)].values()]
