"""The tables of a suite, from its records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import records
from .settings import Setting
from .statistics import mean
from .suites import Profile, settings

METRICS = {"A_M": "A_M", "A_FS": "A_F∖S", "delta_A_FS": "ΔA_F∖S", "A_mean": "Ā"}


def cells(suite: str, profile: Profile, out: str | Path) -> dict[Setting, list[dict]]:
    """The finished records of each cell of a suite, of whatever seeds there are, in the suite's order; the setting that
    stands for a cell has seed 0."""
    table: dict[Setting, list[dict]] = {run.cell: [] for run in settings(suite, profile)}
    for record in sorted(records.read(Path(out)), key=lambda record: record["settings"]["seed"]):
        rows = table.get(Setting(**record["settings"]).cell)
        if rows is not None and record["status"] == "done":
            rows.append(record)
    return table


def table(suite: str, profile: Profile, out: str | Path) -> str:
    """A line a cell: means over the seeds and their 95 % intervals, in percent; seconds of an edit; "–" where nothing
    was run."""
    rows = cells(suite, profile, out)
    width = max(len(cell.label) for cell in rows)
    lines = [f"{'':{width}} " + "".join(f"{name:>22}" for name in METRICS.values()) + f"{'s an edit':>11}  seeds"]
    for cell, found in rows.items():
        lines.append(f"{cell.label:{width}} " + _line(found))
    lines.append("means over seeds with 95 % intervals (Student's t), in percent; on unseen phrasings")
    return "\n".join(lines)


def _line(found: Sequence[dict]) -> str:
    if not found:
        return "".join(f"{'–':>22}" for _ in METRICS) + f"{'–':>11}  0"
    if "A_M" not in found[0]["metrics"]:
        return "  ".join(f"{name} {100 * rate['value']:.1f}" for name, rate in found[0]["metrics"].items())
    columns = []
    for name in METRICS:
        got = mean(records.metric(record, name) for record in found)
        around = f" [{100 * got.low:.1f}, {100 * got.high:.1f}]" if got.n > 1 else ""
        columns.append(f"{f'{100 * got.value:.1f}{around}':>22}")
    seconds = mean(record["seconds"]["edit"] for record in found).value
    return "".join(columns) + f"{seconds:>11.2f}  {len(found)}"
