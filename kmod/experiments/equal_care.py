"""Editors at equal care: the suite `methods`, and what its records say.

Each editor has the same number of settings (`editing.grids`). For each seed it runs at the one with the best Ā on the
other seeds, so that nothing is gained by the choice; the setting, and the Ā that chose it, stand beside the result.
Every seed starts from a training of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING

from ..editing.grids import GRIDS
from .index import Index
from .selection import Selection
from .settings import OWN, Setting

if TYPE_CHECKING:
    from .suites import Profile

USUAL_STEPS = 60
"""The steps of a profile for which the steps in `GRIDS` are meant."""
RETRAIN = "retrain"


def sizes(p: Profile) -> tuple[int, ...]:
    """|M| in the order in which they are run: the profile's own, one fact, and the most."""
    return tuple(dict.fromkeys((p.n, 1, p.sizes[-1])))


def batch(p: Profile, n: int) -> int:
    """Statements a batch: twice as many where there are many facts, as each must be seen."""
    return p.batch_size if n <= 2 * p.n else 2 * p.batch_size


def settings(p: Profile, n: int) -> dict[str, tuple[Setting, ...]]:
    """Editor → the settings it is chosen from, at |M| = n, in the order of `GRIDS`."""
    return {name: tuple(setting(p, n, one) for one in grid) for name, grid in GRIDS.items()}


def setting(p: Profile, n: int, chosen: Mapping) -> Setting:
    """One setting of a grid, in the sizes of a profile: its own number of blocks, and steps in proportion to its."""
    run = replace(p.setting("FTM", n=n, training=OWN), **{name: None for name in ("steps", "batch_size", "lr")})
    run = replace(run, **chosen)
    takes = run.registered.takes
    trained = "batch_size" in takes
    return replace(
        run, batch_size=batch(p, n) if trained else None,
        steps=max(1, run.steps * p.steps // USUAL_STEPS) if trained else run.steps,
    )  # fmt: skip


def methods(p: Profile) -> Iterator[Setting]:
    """Every editor at every setting of its grid, at three sizes of |M|; and retraining, which has nothing to choose."""
    for n in sizes(p):
        for grid in settings(p, n).values():
            yield from grid
    for n in sizes(p):
        yield p.setting(RETRAIN, n=n, training=OWN)


@dataclass(frozen=True)
class Compared:
    """An editor on the seeds that all its settings have: `cells` is setting → seed → record."""

    editor: str
    cells: Mapping[Setting, Mapping[int, dict]]

    @property
    def seeds(self) -> int:
        return len(next(iter(self.cells.values())))

    @cached_property
    def choice(self) -> Selection:
        """Between its settings, by Ā."""
        return Selection(self.cells)

    def values(self, metric: str) -> dict[int, float]:
        """Seed → the metric at the setting chosen for it; seeds whose record lacks it are left out."""
        return self.choice.held_out(metric, missing=True)

    def cost(self, what: str) -> dict[int, float]:
        """Seed → "seconds" of the edit, "gradients" (`training.effort`), "bytes" of the edit or "peak_bytes"."""
        records = self.choice.records().items()
        return {seed: _cost(record, what) for seed, record in records if _cost(record, what) is not None}

    @property
    def chosen(self) -> str:
        """The settings that were chosen, with how many seeds chose each, and the mean Ā on the other seeds by which."""
        counts, scores = Counter(self.choice.chosen.values()), self.choice.scores()
        words = []
        for cell, times in counts.most_common():
            score = fmean(scores[seed] for seed, own in self.choice.chosen.items() if own == cell)
            words.append(f"{cell.dials or 'as it is'} ({times}×, by Ā {100 * score:.1f} %)")
        return "; ".join(words)

    def over_rates(self, metric: str = "A_mean") -> dict[float, dict[int, float]]:
        """Learning rate → seed → the metric at the best of the settings with that rate, chosen on the other seeds; for
        editors with one rate or none, nothing."""
        by_rate: dict[float, dict] = {}
        for cell, records in self.cells.items():
            if cell.lr is not None:
                by_rate.setdefault(cell.lr, {})[cell] = records
        rates = sorted(by_rate) if len(by_rate) > 1 else []
        return {lr: Selection(by_rate[lr]).held_out(metric) for lr in rates}

    def rate_off(self) -> dict[int, float]:
        """Seed → how much Ā falls at the next learning rates of the grid, up and down, on average: each some three
        times off the rate that was chosen. At an end of the grid there is one."""
        means, rates = self.over_rates(), list(self.over_rates())
        lost = {}
        for seed, cell in self.choice.chosen.items():
            at = rates.index(cell.lr)
            near = [means[rates[i]][seed] for i in (at - 1, at + 1) if 0 <= i < len(rates)]
            lost[seed] = means[cell.lr][seed] - fmean(near)
        return lost


def compare(p: Profile, index: Index, n: int) -> dict[str, Compared]:
    """Editor → what the records say of it at |M| = n; editors with a setting that has no record are left out. The seeds
    of an editor are those that all its settings have."""
    grids = settings(p, n) | {RETRAIN: (p.setting(RETRAIN, n=n, training=OWN),)}
    found = {}
    for name, grid in grids.items():
        cells = {setting: index.cell(setting) for setting in grid}
        seeds = sorted(set.intersection(*map(set, cells.values())))
        if seeds:
            found[name] = Compared(name, {cell: {s: runs[s] for s in seeds} for cell, runs in cells.items()})
    return found


def _cost(record: Mapping, what: str) -> float | None:
    return record["seconds"].get("edit") if what == "seconds" else record.get(what)
