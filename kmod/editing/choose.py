"""Choosing block and δ by Ā: on separate modifications, and, as the paper does, on the reported ones themselves.

The paper (Zhu et al. 2020, arXiv 2012.00363) tunes on what it reports; the difference shows what that gains.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from ..checks import brief
from ..evaluation import Scores, evaluate, score
from ..facts import Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel
from ..progress import silent
from .finetune import finetune
from .grids import GRIDS, edit_with


@dataclass(frozen=True)
class Choice:
    """The best settings of a grid, and the records they were chosen by: one for each setting and modification.

    `separate` and `reported` are positions in `grid`: the best mean Ā on the separate modifications, and on the
    reported ones (None if they were not tried). Where editors were chosen among, each setting names its "editor".
    """

    grid: list[dict]
    records: list[dict]
    separate: int
    reported: int | None

    def mean(self, setting: int, modifications: str = "reported", metric: str = "A_mean") -> float:
        """The mean of a metric over the "reported" or "separate" modifications."""
        return _mean(self.records, setting, modifications, metric)

    def best(self, modifications: str = "separate") -> dict[str, int]:
        """Editor → the position in `grid` of its best setting on the "separate" or the "reported" modifications, the
        best editor first."""
        top: dict[str, int] = {}
        for i in sorted(range(len(self.grid)), key=lambda i: -self.mean(i, modifications)):  # stable
            top.setdefault(self.grid[i].get("editor", ""), i)
        return top

    def __str__(self) -> str:
        lines = [f"{len(self.grid)} settings, chosen by Ā"]
        shown = "reported" if self.reported is not None else "separate"
        for group, i in (("separate", self.separate), ("reported", self.reported)):
            if i is not None:
                setting = ", ".join(f"{name}={value}" for name, value in self.grid[i].items())
                mean = 100 * self.mean(i, shown)
                lines.append(f"  on the {group} modifications: {setting}   Ā {mean:.1f} % ({shown})")
        if len(editors := self.best()) > 1:
            lines += ["  each editor at its best on the separate modifications:"]
            lines += [f"    {name:<18} Ā {100 * self.mean(i, shown):.1f} % ({shown})" for name, i in editors.items()]
        return "\n".join(lines)


def choose(
    model: LanguageModel,
    changes: Sequence[Modification],
    grid: Sequence[Mapping | str],
    *,
    method: Callable | None = None,
    apart: int = 1,
    reported: bool = True,
    before: Scores | None = None,
    seed: int = 1000,
    progress: bool = True,
) -> Choice:
    """Try every setting of `grid` and choose by Ā, twice: see `Choice`. `model` is not changed.

    Args:
        changes: the modifications that will be reported, all of one base.
        grid: settings of `method`, such as `[dict(block=b, constraint=Linf(d)) for b in (0, -1) for d in deltas]`; or
            names of editors at equal care (`kmod.editing.grids.GRIDS`), such as `["FTM", "FTM in ℓ∞", "ROME"]`, each of
            which is tried at the same number of settings.
        method: of (model, change, **settings), gives an `Edit`; by default `kmod.finetune`.
        apart: how many separate modifications to draw, of as many facts, that the model knows and that no reported one
            touches, with seeds from `seed` on.
        reported: whether to try the settings on `changes` as well.
        before: `score(model, base)`, if it is known already.

    Raises ValueError if there is nothing to choose from, for an unknown editor or one beside settings, and if too few
    facts are known to draw from.
    """
    check_model(model)
    if not changes or not grid or apart < 1:
        raise ValueError("choosing needs modifications, settings, and at least one separate modification")
    base, (grid, method) = changes[0].base, _whole(grid, method)
    before = before or score(model, base, ["tests"])
    sets = [("separate", change) for change in separate(changes, before.known, apart, seed)]
    sets += [("reported", change) for change in changes if reported]
    records, started = [], time.perf_counter()
    runs = [(i, group, change) for i in range(len(grid)) for group, change in sets]
    with tqdm(runs, desc="choosing", leave=False, disable=silent(progress)) as bar:
        for i, group, change in bar:
            edit = method(model, change, **{name: value for name, value in grid[i].items() if name != "editor"})
            result = evaluate(model, base, change, edit=edit, before=before, answers=False).record()
            records.append({"setting": i, "modifications": group, "change_seed": change.seed} | result)
            if progress and len(records) == 1:
                minutes = (time.perf_counter() - started) * len(runs) / 60
                print(f"{len(grid)} settings on {len(sets)} modifications: about {minutes:.1f} minutes")

    def best(group: str) -> int:
        return int(np.argmax([_mean(records, i, group, "A_mean") for i in range(len(grid))]))

    return Choice(grid, records, best("separate"), best("reported") if reported else None)


def _whole(grid: Sequence[Mapping | str], method: Callable | None) -> tuple[list[dict], Callable]:
    """The settings of a grid, those of editors in place of their names, and the function that takes them."""
    names = [name for name in grid if isinstance(name, str)]
    if not names:
        return [dict(settings) for settings in grid], method or finetune
    if len(names) < len(grid) or method is not None:
        raise ValueError("choose among editors by name, or among settings of one method: not both at once")
    if unknown := [name for name in names if name not in GRIDS]:
        raise ValueError(brief(f"no editor {unknown[0]!r}; known: {', '.join(GRIDS)}"))
    return [{"editor": name} | setting for name in names for setting in GRIDS[name]], edit_with


def separate(changes: Sequence[Modification], known: np.ndarray, n: int, seed: int) -> list[Modification]:
    """`n` modifications of known facts, each as large as the first of `changes`, that touch no fact of `changes`."""
    free = np.array(known, dtype=bool)
    for change in changes:
        free[list(change.indices)] = False
    return [changes[0].base.modify(len(changes[0]), seed + i, known=free) for i in range(n)]


def _mean(records: list[dict], setting: int, group: str, metric: str) -> float:
    return float(np.mean([r[metric] for r in records if (r["setting"], r["modifications"]) == (setting, group)]))
