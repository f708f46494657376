"""Finished runs by their settings: the one way in which ledger, tables, charts and chapters ask for records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import records
from .selection import Cell, Selection
from .settings import Setting

if TYPE_CHECKING:
    from .suites import Profile

LEAST_SEEDS = 3
Grid = Mapping[float | None, Cell]
"""Radius → seed → record."""


class Missing(LookupError):
    """Records that a claim needs are not there."""


class Index:
    """The finished runs among `rows`, records, by settings. A run of seed s from the starting state of training s
    counts among those with a training for each seed as well.

    Raises ValueError that names both, for two records of one seed of one cell.
    """

    def __init__(self, rows: Iterable[dict]):
        self._runs: dict[Setting, dict[float | None, dict[int, dict]]] = {}
        own: list[tuple[Setting, dict]] = []
        for record in rows:
            if record["status"] != "done":
                continue
            run = Setting(**record["settings"])
            seeds = self._runs.setdefault(run.cell.group, {}).setdefault(run.delta, {})
            if (other := seeds.setdefault(run.seed, record)) is not record:
                ids = f"{other['id']} and {record['id']}"
                raise ValueError(f"two records of {run.label}, seed {run.seed}: {ids}; take one of them out")
            if run.own:
                own.append((run.own, record))
        for run, record in own:
            self._runs.setdefault(run.cell.group, {}).setdefault(run.delta, {}).setdefault(run.seed, record)

    def cell(self, run: Setting) -> dict[int, dict]:
        """Seed → record, of the runs that differ from `run` in their seed alone; seeds ascending."""
        return dict(sorted(self._runs.get(run.cell.group, {}).get(run.delta, {}).items()))

    def grid(self, run: Setting) -> dict[float | None, dict[int, dict]]:
        """Radius → seed → record, of the runs that differ from `run` in radius and seed alone; no radius first, the
        others ascending."""
        return dict(sorted(self._runs.get(run.cell.group, {}).items(), key=lambda item: item[0] or 0))


class Values(dict):
    """Seed → value. `ends` names the grids that the values were chosen from and whose widest radius was the best."""

    def __init__(self, values: Mapping[int, float], ends: Iterable[str] = ()):
        super().__init__(values)
        self.ends = tuple(dict.fromkeys(ends))

    def __sub__(self, other: Values) -> Values:
        """Paired by seed. Raises Missing for fewer than three seeds that both have."""
        return Values({seed: self[seed] - other[seed] for seed in common([self, other])}, (*self.ends, *other.ends))


@dataclass
class Runs:
    """The finished runs that a claim asks for, of one profile, and the ids of those it used."""

    profile: Profile
    index: Index
    used: dict[str, None] = field(default_factory=dict)
    changes: dict[tuple, str | None] = field(default_factory=dict)  # (model, training, |M|, seed) → checksum of M

    def radii(self, method: str, block=None, constraint=None, **others) -> dict[float | None, dict[int, dict]]:
        """Radius → seed → record of the profile's setting with `others` in place of its own. Radii with fewer than
        three seeds are left out. Raises Missing if none is left."""
        run = self.profile.setting(method, block, constraint, **others)
        grid = self.index.grid(run)
        whole = {radius: seeds for radius, seeds in grid.items() if len(seeds) >= LEAST_SEEDS}
        if not whole:
            raise Missing(f"{run.label}: {max(map(len, grid.values()), default=0)} of {LEAST_SEEDS} seeds")
        return whole

    def grid(self, block, **others) -> dict[float | None, dict[int, dict]]:
        """FTM in ℓ∞ by radius, and (as None) without a limit."""
        return self.radii("FTM", block, "Linf", **others) | {None: self.radii("FTM", block, **others)[None]}

    def use(self, cells: Iterable[Cell], seeds: Iterable[int]) -> None:
        """Note that these records were used. Raises Missing where runs of one seed changed different facts: models
        that were memorised on different machines know different facts, and their runs cannot be paired."""
        for record in (cell[seed] for cell in cells for seed in seeds):
            run, change = Setting(**record["settings"]), record.get("change")
            if self.changes.setdefault((run.state.plain, run.state.training, run.n, run.seed), change) != change:
                raise Missing(f"runs of {run.state.plain}, |M| = {run.n}, seed {run.seed} that change the same facts")
            self.used[record["id"]] = None

    def values(self, metric: str, cell: Cell) -> Values:
        """Seed → metric."""
        self.use([cell], cell)
        values = {seed: records.metric(record, metric) for seed, record in cell.items()}
        if None in values.values():
            raise Missing(f"{metric} in the records of {Setting(**next(iter(cell.values()))['settings']).label}")
        return Values(values)

    def free(self, metric: str, method: str, block="all") -> Values:
        """Seed → metric without a constraint."""
        return self.values(metric, self.radii(method, block)[None])

    def tuned(self, metric: str, *grids: Grid) -> Values:
        """Seed → metric at the cell whose Ā was best on the other seeds, among all the cells of the grids."""
        cells = {(i, radius): cell for i, grid in enumerate(grids) for radius, cell in grid.items()}
        seeds = common(cells.values())
        self.use(cells.values(), seeds)
        choice = Selection({key: {seed: cell[seed] for seed in seeds} for key, cell in cells.items()})
        open = [
            grid[max(grid)][seeds[0]] for i, grid in enumerate(grids)
            if len(grid) > 1 and None not in grid and choice.prefers((i, max(grid)))
        ]  # fmt: skip
        return Values(choice.held_out(metric), [Setting(**record["settings"]).group.label for record in open])


def common(cells: Iterable[Mapping[int, object]]) -> list[int]:
    """The seeds that all cells have. Raises Missing for fewer than three."""
    seeds = sorted(set.intersection(*map(set, cells)))
    if len(seeds) < LEAST_SEEDS:
        raise Missing(f"the same seeds of all that it compares: {len(seeds)} of {LEAST_SEEDS}")
    return seeds
