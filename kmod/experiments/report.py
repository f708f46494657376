"""The tables of a suite, from its records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import records
from .index import Index
from .settings import Setting
from .statistics import MISSING, mean
from .suites import Profile, settings

METRICS = {"A_M": "A_M", "A_FS": "A_F∖S", "delta_A_FS": "ΔA_F∖S", "A_mean": "Ā"}


def cells(suite: str, profile: Profile, out: str | Path) -> dict[Setting, list[dict]]:
    """The finished records of each cell of a suite, of whatever seeds there are, in the suite's order; the setting that
    stands for a cell has seed 0."""
    index = Index(records.read(out))
    return {run.cell: list(index.cell(run).values()) for run in settings(suite, profile)}


def table(suite: str, profile: Profile, out: str | Path) -> str:
    """A line a cell: means over the seeds and their 95 % intervals, in percent; seconds of an edit; "–" where nothing
    was run."""
    rows = cells(suite, profile, out)
    width = max(len(cell.label) for cell in rows)
    head = f"{'':{width}} " + "".join(f"{name:>22}" for name in METRICS.values()) + f"{'s an edit':>11}  seeds"
    lines = [f"{cell.label:{width}} {_line(of_cell)}" for cell, of_cell in rows.items()]
    foot = "means over seeds with 95 % intervals (Student's t), in percent; on unseen phrasings"
    return "\n".join([head, *lines, foot])


def _line(of_cell: Sequence[dict]) -> str:
    if not of_cell:
        return "".join(f"{'–':>22}" for _ in METRICS) + f"{'–':>11}  0"
    if "A_M" not in of_cell[0]["metrics"]:
        return "  ".join(f"{name} {100 * rate['value']:.1f}" for name, rate in of_cell[0]["metrics"].items())
    columns = ([records.metric(record, name) for record in of_cell] for name in METRICS)
    means = ((MISSING if None in column else mean(column)).text(unit="") for column in columns)
    seconds = mean(record["seconds"]["edit"] for record in of_cell).value
    return "".join(f"{text:>22}" for text in means) + f"{seconds:>11.2f}  {len(of_cell)}"
