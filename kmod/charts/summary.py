"""Runs over a grid of δ, averaged over their seeds: what `tradeoff` and `frontier` draw.

A record here is a dict that describes one run:

    method         str             how the edit was made, such as "FTM"
    delta          float or None   radius of the constraint; None when there was none
    seed           int             tells the runs of one (method, delta) apart
    A_M            fraction 0..1   modified facts answered with the new object, phrasings not trained on
    A_M_evidences  fraction 0..1   the same, on the sentences that were trained on
    A_FS           fraction 0..1   facts outside S still answered rightly after the edit
    A_FS_before    fraction 0..1   the same facts before the edit
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from ..experiments.statistics import mean as mean_of

METRICS = {
    "A_M": "new facts, new phrasings (A_M)",
    "A_M_evidences": "new facts, as trained",
    "A_FS": "unmodified facts (A_F∖S)",
}
KEYS = ("method", "delta", "seed", *METRICS, "A_FS_before")
UNCONSTRAINED = "no limit"


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of `values` and its 95 % t-interval (low, high), cut to 0..1; one has no width."""
    found = mean_of(values)
    if found.n == 1:
        return found.value, found.value, found.value
    return found.value, max(0.0, found.low), min(1.0, found.high)


def summarise(records: Iterable[Mapping]) -> list[dict]:
    """Average runs over their seeds: a row for each method, delta and metric, deltas ascending.

    A row holds `method`, `at` (index of the delta), `delta` (as text), `x` (where it stands on the axis),
    `unconstrained` (these come last), `metric`, `mean`, `low`, `high`, `n` and `before` (mean A_FS_before);
    accuracies are fractions. Raises ValueError on records that are empty, lack a key, hold a value out of
    range, or repeat a run.
    """
    records = checked(records)
    finite = sorted({r["delta"] for r in records if r["delta"] is not None})
    deltas = finite + [None] * any(r["delta"] is None for r in records)
    span = math.log(finite[-1] / finite[0]) if finite else 0.0
    beyond = finite[-1] * math.exp(max(0.22 * span, 0.7)) if finite else 1.0
    rows = []
    for method in dict.fromkeys(r["method"] for r in records):
        for at, delta in enumerate(deltas):
            runs = [r for r in records if r["method"] == method and r["delta"] == delta]
            for metric, label in METRICS.items() if runs else ():
                mean, low, high = interval([r[metric] for r in runs])
                rows.append(
                    {
                        "method": method,
                        "at": at,
                        "delta": delta_text(delta),
                        "x": beyond if delta is None else delta,
                        "unconstrained": delta is None,
                        "metric": label,
                        "mean": mean,
                        "low": low,
                        "high": high,
                        "n": len(runs),
                        "before": statistics.fmean(r["A_FS_before"] for r in runs),
                    }
                )
    return rows


def delta_text(delta: float | None) -> str:
    """How a radius is printed: 0.5, 2e-3, or "no limit"."""
    if delta is None:
        return UNCONSTRAINED
    mantissa, exponent = f"{delta:.6e}".split("e")
    return f"{delta:g}" if int(exponent) >= -2 else f"{float(mantissa):g}e{int(exponent)}"


def checked(records: Iterable[Mapping]) -> list[Mapping]:
    records, seen = list(records), set()
    if not records:
        raise ValueError("no records to draw")
    for i, record in enumerate(records):
        missing = [key for key in KEYS if key not in record]
        if missing:
            raise ValueError(f"record {i} lacks {', '.join(missing)}")
        for key in (*METRICS, "A_FS_before"):
            if not 0 <= record[key] <= 1:  # also catches nan
                raise ValueError(f"record {i}: {key} is {record[key]!r}, not a fraction between 0 and 1")
        if record["delta"] is not None and not 0 < record["delta"] < math.inf:
            raise ValueError(f"record {i}: delta is {record['delta']!r}; give a positive number, or None for no limit")
        run = (record["method"], record["delta"], record["seed"])
        if run in seen:
            raise ValueError(
                f"record {i} repeats method {run[0]}, delta {run[1]}, seed {run[2]}: records of two settings?"
            )
        seen.add(run)
    return records
