"""The best cell of a grid, such as the best radius: chosen on the seeds shown, or for each seed on the other seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from functools import cached_property
from statistics import fmean

from .records import metric

Cell = Mapping[int, Mapping]
"""Seed → record (or row) of one setting."""


class Selection:
    """A choice between the cells of a grid, key → seed → record or row, by a metric, the higher the better. Keys are
    radii, or whatever tells cells apart.

        choice = Selection({radius: {seed: record, ...}, ...})
        choice.best()             # the radius with the highest mean Ā, over the seeds that each cell has
        choice.held_out("A_M")    # seed → A_M at the radius that is best on the other seeds

    Raises ValueError if there is no cell or an empty one.
    """

    def __init__(self, cells: Mapping[Hashable, Cell], by: str = "A_mean"):
        if not cells or not all(cells.values()):
            raise ValueError("nothing to choose from: a selection needs cells with at least one seed each")
        self.cells, self.by = dict(cells), by

    def best(self) -> Hashable:
        """The key of the cell with the highest mean; of equal ones the first."""
        return self._best(self.cells)

    @cached_property
    def chosen(self) -> dict[int, Hashable]:
        """Seed → key of the cell with the highest mean over the other seeds (a single seed chooses for itself).

        Only cells with as many seeds as any other take part, and only seeds that all of them have.
        """
        most = max(map(len, self.cells.values()))
        whole = {key: cell for key, cell in self.cells.items() if len(cell) == most}
        seeds = sorted(set.intersection(*map(set, whole.values())))
        return {seed: self._best(whole, without=seed) for seed in seeds}

    def records(self) -> dict[int, Mapping]:
        """Seed → its record in the cell chosen on the other seeds."""
        return {seed: self.cells[key][seed] for seed, key in self.chosen.items()}

    def held_out(self, name: str | None = None, missing: bool = False) -> dict[int, float]:
        """Seed → the metric called `name` (by default the one that is chosen by) at the cell chosen on the other seeds:
        a comparison that gains nothing from the choice.

        Raises LookupError for a record that lacks the metric; `missing` leaves such seeds out."""
        name, records = name or self.by, self.records()
        if missing:
            records = {seed: record for seed, record in records.items() if metric(record, name) is not None}
        return {seed: _measured(record, name) for seed, record in records.items()}

    def scores(self) -> dict[int, float]:
        """Seed → the mean over the other seeds that the cell was chosen for."""
        return {seed: self._mean(self.cells[key], without=seed) for seed, key in self.chosen.items()}

    def prefers(self, key: Hashable) -> bool:
        """Whether more than half of the seeds choose the cell `key`. At the end of a grid, a cell beyond it, which was
        not run, may be better."""
        return Counter(self.chosen.values())[key] > len(self.chosen) / 2

    def _best(self, cells: Mapping[Hashable, Cell], without: int | None = None) -> Hashable:
        return max(cells, key=lambda key: self._mean(cells[key], without))

    def _mean(self, cell: Cell, without: int | None) -> float:
        others = [record for seed, record in cell.items() if seed != without] or cell.values()
        return fmean(_measured(record, self.by) for record in others)


def _measured(record: Mapping, name: str) -> float:
    if (value := metric(record, name)) is None:
        raise LookupError(f"record {record.get('id', '')} has no {name}: it was not measured; choose by another metric")
    return value
