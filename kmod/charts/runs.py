"""Rows of runs, which the charts draw: how they are made from records, grouped and averaged.

A row is a dict of one run: `records.flat` of its record, with "curve", "norms", "peak_bytes", "device" and a "label":
runs of one label are drawn together. Rows made by hand need only what the chart draws, mostly label, seed, delta, A_M,
A_FS and A_mean.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace

from ..checks import brief, is_number, native
from ..experiments import records as _records
from ..experiments.settings import Setting
from ..experiments.statistics import Mean, mean
from .words import capital, delta_text, to

NORMS = {"Linf": "ℓ∞", "L2": "ℓ2", "Fisher": "Fisher", "KFAC": "K-FAC", None: "no limit"}
SETTINGS = [field.name for field in fields(Setting)]
RATES = {"A_mean": "Ā", "A_M": "A_M", "A_FS": "A_F∖S"}  # what a drop-down offers, the trade-off first
RATE_MENU = {"A_mean": "Ā", "A_M": "A_M, new facts", "A_FS": "A_F∖S, the others"}
RATE_TITLES = {
    "A_mean": "Ā, mean of the two accuracies",
    "A_M": "new facts learned (A_M)",
    "A_FS": "unmodified facts right (A_F∖S)",
}

Cell = dict[int, dict]  # the rows of one setting, by seed


def rows(records: Iterable[Mapping], by: str | Sequence[str] = "block") -> list[dict]:
    """A row for each finished record, labelled with the settings named in `by`, such as ("method", "block").

    Raises ValueError if no record is finished, and, with a list of the settings, for an unknown one.
    """
    by = [by] if isinstance(by, str) else list(by)
    for name in by:
        if name not in SETTINGS:
            raise ValueError(brief(f"unknown setting {name!r} in `by`; known: {', '.join(SETTINGS)}"))
    done = [record for record in records if record["status"] == "done"]
    if not done:
        raise ValueError("no finished records to draw; run the suite first: python -m kmod run <suite>")
    out = []
    for record in done:
        row, device = _records.flat(record), record.get("hardware", {}).get("device")
        row |= {name: record.get(name) for name in ("curve", "norms", "peak_bytes")}
        out.append(row | {"device": device, "label": label(row, by)})
    return out


def label(row: Mapping, by: Sequence[str]) -> str:
    """The settings of a row in words, such as "FTM, block 0"."""
    return ", ".join(filter(None, (_word(name, row[name], row["block"]) for name in by))) or "–"


def _word(name: str, value, block) -> str:
    if name == "constraint" and (value or block is not None):
        return NORMS.get(value, str(value))
    if value is None:
        return ""
    if name == "block":
        return "all blocks" if value == "all" else f"block {value}" if isinstance(value, int) else str(value)
    if name == "delta":
        return f"δ = {delta_text(value)}"
    return f"|M| = {value}" if name == "n" else str(value)


def complete(rows: Iterable[Mapping], need: Sequence[str]) -> tuple[list[dict], str]:
    """The rows with a finite value of each of `need`, their numbers as Python's, and what was left out, for a subtitle.

    A radius that is missing or infinite is None, no limit. Values of `need` may be numbers, curves (pairs of step and
    loss, of which the finite are kept) or mappings of numbers.

    Raises ValueError for a row that lacks one of `need`, and if no row is left.
    """
    kept, without, points = [], {}, 0
    for i, row in enumerate(map(native, rows)):
        if missing := [name for name in need if name not in row]:
            raise ValueError(brief(f"row {i} ({row.get('label', 'no label')}) lacks {', '.join(missing)}"))
        if "delta" in row and not isinstance(row["delta"], str) and not is_finite(row["delta"]):
            row["delta"] = None
        if isinstance(row.get("curve"), list):
            finite = [point for point in row["curve"] if is_finite(point)]
            points += len(row["curve"]) - len(finite)
            row["curve"] = finite
        if bad := [name for name in need if not is_finite(row[name])]:
            without |= {name: f"row {i}: {name} is {row[name]!r}, not a fraction; no rows are left" for name in bad}
            continue
        kept.append(row)
    dropped = i + 1 - len(kept) if kept or without else 0
    if without and not kept:
        raise ValueError(brief(next(iter(without.values()))))
    parts = [f"{dropped} rows without a finite {' or '.join(without)}"] * bool(dropped)
    parts += [f"{points} points of the curves that are not finite"] * bool(points)
    return kept, f". Left out: {', '.join(parts)}" * bool(parts)


def is_finite(value: object) -> bool:
    """Whether a value holds numbers, all of them finite; of text and mappings of mappings too."""
    if isinstance(value, Mapping):
        return bool(value) and all(map(is_finite, value.values()))
    if isinstance(value, list):
        return bool(value) and all(map(is_finite, value))
    return is_number(value) and not math.isinf(value)


def cells(rows: Iterable[Mapping], keys: Sequence[str], need: Sequence[str]) -> dict[tuple, Cell]:
    """Group rows by the values of `keys`. The rows of a group differ in their seed alone, and each seed has one row.

    Raises ValueError for no rows, a row that lacks a key or one of the values `need`, an accuracy that is no fraction,
    a radius that is not positive, a group that mixes settings, by name, and one that has two rows of a seed.
    """
    groups: dict[tuple, Cell] = {}
    for i, row in enumerate(rows):
        missing = [name for name in ("seed", *keys, *need) if name not in row or (name in need and row[name] is None)]
        if missing:
            label = row.get("label", "no label")
            raise ValueError(brief(f"row {i} ({label}) lacks {', '.join(missing)}; leave such rows out"))
        for name in need:
            if name.startswith("A_") and not 0 <= row[name] <= 1:  # also catches nan
                raise ValueError(brief(f"row {i}: {name} is {row[name]!r}, not a fraction between 0 and 1"))
        if "delta" in keys and row["delta"] is not None and not 0 < row["delta"] < math.inf:
            raise ValueError(brief(f"row {i}: delta is {row['delta']!r}; give a positive number, or None for no limit"))
        cell = groups.setdefault(tuple(row[key] for key in keys), {})
        other = next(iter(cell.values()), row)
        differ = [name for name in SETTINGS if name != "seed" and row.get(name) != other.get(name)]
        if differ or row["seed"] in cell:
            fault = f"differ in {', '.join(differ)}: choose one, or name it in `by`" if differ else "are one run twice"
            group = ", ".join(f"{key} {row[key]}" for key in (*keys, "seed"))
            raise ValueError(f"row {i}: rows of {group} {fault}")
        cell[row["seed"]] = row
    if not groups:
        raise ValueError("no rows to draw")
    return groups


def ascending(delta: float | None) -> float:
    """The key that sorts radii; no limit comes last."""
    return math.inf if delta is None else delta


def radii(grids: Iterable[Iterable[float | None]]) -> list[float | None]:
    """The radii of several grids, ascending."""
    return sorted({delta for grid in grids for delta in grid}, key=ascending)


def values(cell: Cell, name: str) -> dict[int, float]:
    """One value of a cell's rows, by seed."""
    return {seed: row[name] for seed, row in cell.items()}


def around(numbers: Iterable[float], log: bool = False, rate: bool = True) -> Mean:
    """Mean and 95 % t-interval over seeds; a single seed has an interval of no width.

    Args:
        log: average the logarithm, as for seconds and losses.
        rate: the interval of a rate ends at 0 and 1.
    """
    numbers = list(numbers)
    average = mean(map(math.log, numbers) if log else numbers)
    if average.n == 1:
        average = replace(average, low=average.value, high=average.value)
    if log:
        return Mean(*map(math.exp, (average.value, average.low, average.high)), average.n)
    return replace(average, low=max(0.0, average.low), high=min(1.0, average.high)) if rate else average


def spread(average: Mean, digits: int | None = None) -> dict:
    """A mean and its interval as fields of a drawn point, with so many significant digits."""
    ends = {"mean": average.value, "low": average.low, "high": average.high}
    return {name: float(f"{v:.{digits}g}") if digits else v for name, v in ends.items()} | {"n": average.n}


def places(deltas: Iterable[float | None]) -> dict[float | None, float]:
    """Where radii stand on a log axis: no limit beyond the largest radius."""
    finite = sorted({delta for delta in deltas if delta is not None})
    span = math.log(finite[-1] / finite[0]) if finite else 0.0
    return {delta: delta for delta in finite} | {None: finite[-1] * math.exp(max(0.22 * span, 0.7)) if finite else 1.0}


def left_alone(groups: Mapping[object, Cell]) -> float | None:
    """Ā of an edit that changes no answer: half of A_F∖S before the edit.

    None if a row lacks that accuracy, or if the rows differ by more than 2 points.
    """
    before = [row.get("A_FS_before") for cell in groups.values() for row in cell.values()]
    return None if None in before or max(before) - min(before) > 0.02 else sum(before) / len(before) / 2


def subtitle(groups: Mapping[object, Cell], marks: str = "Whiskers") -> str:
    """What was run, on how many facts and seeds, and what the intervals (drawn as `marks`) are, from the rows."""
    all_rows = [row for cell in groups.values() for row in cell.values()]
    names = [_several(row[name] for row in all_rows if row.get(name)) for name in ("model", "facts")]
    where = " on ".join(filter(None, names))
    sizes, counts = {row["n"] for row in all_rows if row.get("n")}, set(map(len, groups.values()))
    many = f"|M| = {to(sizes)}" if sizes else ""
    runs = f"means of n = {to(counts)} seeds. {marks} are 95 % t-intervals over the seeds"
    runs += "; one seed has none" * (min(counts) == 1)
    runs = "one seed each, so no intervals" if counts == {1} else runs
    text = ", ".join(filter(None, (where, many, runs)))
    return text if where else capital(text)


def _several(names: Iterable[str]) -> str:
    names = list(dict.fromkeys(names))
    return " and ".join(names) if len(names) < 3 else f"{len(names)} kinds"
