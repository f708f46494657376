"""Runs that edit their facts in portions, one after the other (`kmod.sequence`)."""

from __future__ import annotations

import time
from dataclasses import asdict, is_dataclass
from functools import partial

from ..constraints import CONSTRAINTS
from ..editing.sequence import sequence
from ..facts import Modification
from ..sources.sets import checksums
from .methods import arguments, check
from .settings import Setting
from .starts import Prepared, general_sentences

ROW = (
    "portion", "edited", "linf", "l2", "seconds", "A_M", "A_M_evidences", "A_FS", "A_FS_before", "A_mean",
    "pseudo_perplexity", "pseudo_perplexity_before",
)  # fmt: skip


def portions(change: Modification, size: int) -> list[Modification]:
    """The facts of `change` in portions of `size`, in order."""
    pairs = list(zip(change.indices, change.objects, strict=True))
    parts = (pairs[i : i + size] for i in range(0, len(pairs), size))
    return [Modification(change.base, *map(tuple, zip(*part, strict=True))) for part in parts]


def measured(count: int) -> list[int]:
    """After which of `count` portions to measure: 1, 4, 16, ..., and the last."""
    return [*(4**i for i in range(count) if 4**i < count), count]


def in_portions(prepared: Prepared, change: Modification, run: Setting) -> dict:
    """What came of a run, with a row of "rows" for each portion that was measured (see `kmod.EditSequence.rows`).

    Raises ValueError as `kmod.sequence` does, for a setting that the method does not take, and for a constraint that
    needs statistics, which are those of the model at the start."""
    method, changes = run.registered, portions(change, run.portion)
    check(method, run)
    if run.constraint not in ("Linf", "L2", None):
        raise ValueError(f"a sequence of runs takes Linf or L2, got {run.constraint!r}")
    ball = CONSTRAINTS[run.constraint](run.delta) if run.constraint else None
    general = general_sentences() if run.start.startswith("PT") else False  # others have seen no such text
    settings = arguments(method, run)
    own = {name: settings.pop(name) for name in method.options if name in settings}  # "keep" of MEMIT is another one
    function, started = partial(method.function, **own), time.perf_counter()
    made = sequence(
        prepared.model, changes, method=function, constraint=ball, anchor=run.anchor or "start", keep=False,
        every=measured(len(changes)), general=general, **settings,
    )  # fmt: skip
    whole, editing = time.perf_counter() - started, sum(portion.seconds for portion in made.portions)
    rows = [{name: row[name] for name in ROW if name in row} for row in made.rows()]
    for row in rows:
        row |= {name: float(f"{value:.5g}") for name, value in row.items() if isinstance(value, float)}
    metrics = made.portions[-1].result.measures()
    return {
        "metrics": {name: asdict(value) if is_dataclass(value) else value for name, value in metrics.items()},
        "rows": rows, "change": checksums(change)["M"][:16], "model": made.edit.before[:16],
        "reference": prepared.known.model, "known": prepared.known.line(),
        "seconds": {"edit": round(editing, 3), "evaluate": round(whole - editing, 3)},
    }  # fmt: skip
