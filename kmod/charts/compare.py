"""Which is best, and whether the seeds can tell: what the titles of the charts say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..experiments.selection import Selection
from ..experiments.statistics import Mean, difference
from .runs import RATES, Cell, around, ascending, cells, values
from .words import delta_text, percent_columns


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
        if self.by is None or self.by.n < 2:
            return "one seed cannot tell"
        return "within the interval"


def lead(options: Mapping[object, Mapping[int, float]]) -> Lead:
    """Compare the two of `options` (name → seed → value) that have the highest means."""
    order = sorted(options, key=lambda name: -fmean(options[name].values()))
    first, value = order[0], fmean(options[order[0]].values())
    if len(order) == 1:
        return Lead(first, value)
    a, b = options[first], options[order[1]]
    return Lead(first, value, order[1], difference(a, b) if a.keys() & b.keys() else None)


def by_delta(groups: Mapping[tuple, Cell]) -> dict[object, dict[float | None, Cell]]:
    """Cells keyed by (group, δ) as {group: {δ: cell}}, δ ascending and no limit last."""
    grids: dict[object, dict[float | None, Cell]] = {group: {} for group, _ in groups}
    for group, delta in sorted(groups, key=lambda key: ascending(key[1])):
        grids[group][delta] = groups[group, delta]
    return grids


def grids(rows: Iterable[Mapping], need: Sequence[str]) -> dict[str, dict[float | None, Cell]]:
    """Rows as {label: {δ: {seed: row}}}. Raises ValueError as `runs.cells` does."""
    return by_delta(cells(rows, ("label", "delta"), need))


def rate_table(grids: Mapping[str, Mapping[float | None, Cell]], kind: str) -> list[dict]:
    """The numbers of {label: {δ: cell}}: a row a label and δ, with the mean and interval of each rate. `kind` heads the
    labels."""
    return [
        {kind: label, "δ": delta_text(delta)}
        | {
            column: text
            for name, title in RATES.items()
            for column, text in percent_columns(around(values(cell, name).values()), title).items()
        }
        | {"seeds": len(cell)}
        for label, grid in grids.items()
        for delta, cell in grid.items()
    ]


def at_best(rows: Iterable[Mapping]) -> list[Mapping]:
    """The rows at the δ of each label that has the highest mean Ā (paper, section 4: δ is chosen by Ā)."""
    return [row for grid in grids(rows, ("A_mean",)).values() for row in grid[Selection(grid).best()].values()]
