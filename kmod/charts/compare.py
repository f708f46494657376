"""Which is best, and whether the seeds can tell: what the titles of the charts say."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..experiments.selection import Selection
from ..experiments.statistics import Mean, difference
from .runs import RATES, Cell, around, ascending, cells, complete, values
from .words import delta_text, percent_columns

Grid = dict[float | None, Cell]  # δ → seed → row, δ ascending and no limit last
Grids = dict[str, Grid]  # by label or method


@dataclass(frozen=True)
class Lead:
    """Which of several things has the highest mean over its seeds, and which comes second.

    `by` is the difference of the two, paired by seed; None without a second or a common seed. The first is `decided`
    if the interval of that difference lies above 0.
    """

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
        return "one seed cannot tell" if self.by is None or self.by.n < 2 else "within the interval"


def lead(options: Mapping[object, Mapping[int, float]]) -> Lead:
    """Compare the two of `options` (name → seed → value) that have the highest means."""
    means = {name: fmean(option.values()) for name, option in options.items()}
    first, *others = sorted(means, key=means.get, reverse=True)
    if not others:
        return Lead(first, means[first])
    a, b = options[first], options[others[0]]
    return Lead(first, means[first], others[0], difference(a, b) if a.keys() & b.keys() else None)


def by_delta(groups: Mapping[tuple, Cell]) -> dict[object, Grid]:
    """Cells keyed by (group, δ) as {group: grid}."""
    grids: dict[object, Grid] = {group: {} for group, _ in groups}
    for group, delta in sorted(groups, key=lambda key: ascending(key[1])):
        grids[group][delta] = groups[group, delta]
    return grids


def grids(rows: Iterable[Mapping], need: Sequence[str]) -> Grids:
    """Rows as {label: {δ: {seed: row}}}. Raises ValueError as `runs.cells` does."""
    return by_delta(cells(rows, ("label", "delta"), need))


def rate_table(grids: Grids, kind: str) -> list[dict]:
    """The mean and interval of each rate, a row a label and δ. `kind` heads the labels."""
    table = []
    for label, grid in grids.items():
        for delta, cell in grid.items():
            row = {kind: label, "δ": delta_text(delta)}
            for name, title in RATES.items():
                row |= percent_columns(around(values(cell, name).values()), title)
            table.append(row | {"seeds": len(cell)})
    return table


def at_best(rows: Iterable[Mapping]) -> list[Mapping]:
    """The rows at the δ of each label that has the highest mean Ā (paper, section 4: δ is chosen by Ā).

    Rows without a finite Ā are left out, with a warning."""
    rows, left_out = complete(rows, ("A_mean",))
    if left_out:
        warnings.warn(f"the highest Ā is that of finite values{left_out}", stacklevel=2)
    return [row for grid in grids(rows, ("A_mean",)).values() for row in grid[Selection(grid).best()].values()]
