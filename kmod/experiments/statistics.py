"""Means over seeds with intervals, and differences paired by seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

# Student's t: the 97.5 % point by degrees of freedom; of more, that of 30, which is the wider.
T = [
    float(t)
    for t in "12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262 2.228 2.201 2.179 2.160 2.145 2.131 2.120 2.110 "
    "2.101 2.093 2.086 2.080 2.074 2.069 2.064 2.060 2.056 2.052 2.048 2.045 2.042".split()
]


@dataclass(frozen=True)
class Mean:
    """A mean over n seeds with its 95 % interval (Student's t); fractions of 1. One seed has no interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if self.n < 2:
            return f"{100 * self.value:.1f} %"
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"

    def points(self) -> str:
        """As a difference, in percentage points."""
        if self.n < 2:
            return f"{100 * self.value:+.1f} points"
        return f"{100 * self.value:+.1f} points [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


def mean(values: Iterable[float]) -> Mean:
    """Raises ValueError for no values."""
    values = list(values)
    if not values:
        raise ValueError("no values to take the mean of")
    middle = fmean(values)
    if len(values) < 2:
        return Mean(middle, -math.inf, math.inf, len(values))
    half = T[min(len(values) - 1, len(T)) - 1] * stdev(values) / math.sqrt(len(values))
    return Mean(middle, middle - half, middle + half, len(values))


def difference(a: dict[int, float], b: dict[int, float]) -> Mean:
    """The mean of a − b over the seeds that both have. Raises ValueError if they share none."""
    return mean(a[seed] - b[seed] for seed in sorted(a.keys() & b.keys()))


def best(cells: Sequence[dict[int, float]], seed: int | None = None) -> int:
    """The position of the cell with the highest mean over the seeds other than `seed`; with that one alone, over it."""

    def value(cell: dict[int, float]) -> float:
        return fmean([v for s, v in cell.items() if s != seed] or cell.values())

    return max(range(len(cells)), key=lambda i: value(cells[i]))
