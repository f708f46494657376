"""Means over seeds with intervals, and differences paired by seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Student's t: the 97.5 % point by degrees of freedom; for more than 30, that of 30, which is the wider."""


@dataclass(frozen=True)
class Mean:
    """A mean over n seeds with its 95 % interval (Student's t); fractions of 1. One seed has no interval; what was not
    measured has no seeds (`MISSING`) and reads "–"."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return self.text()

    def points(self) -> str:
        """As a difference, in percentage points."""
        return self.text("+", " points")

    def text(self, sign: str = "", unit: str = " %") -> str:
        if not self.n:
            return "–"
        value, low, high = (f"{100 * x:{sign}.1f}" for x in (self.value, self.low, self.high))
        return f"{value}{unit}" + f" [{low}, {high}]" * (self.n > 1)


MISSING = Mean(math.nan, math.nan, math.nan, 0)


def mean(values: Iterable[float]) -> Mean:
    """Raises ValueError for no values."""
    values = list(values)
    if not values:
        raise ValueError("no values to take the mean of")
    middle, n = fmean(values), len(values)
    half = T[min(n - 1, len(T)) - 1] * stdev(values) / math.sqrt(n) if n > 1 else math.inf
    return Mean(middle, middle - half, middle + half, n)


def difference(a: Mapping[int, float], b: Mapping[int, float]) -> Mean:
    """The mean of a − b over the seeds that both have. Raises ValueError if they share none."""
    return mean(a[seed] - b[seed] for seed in sorted(a.keys() & b.keys()))


def seeds_to_decide(seen: Mean, bound: float, most: int = 1000) -> int | None:
    """How many seeds the 95 % interval needs to leave `bound` on one side, if mean and spread stay as they were seen: a
    power calculation, rough as the spread of few seeds is. None for more than `most`, and where no spread was seen."""
    if seen.n < 2:
        return None
    spread = (seen.high - seen.low) / 2 / T[min(seen.n - 1, len(T)) - 1] * math.sqrt(seen.n)
    away = abs(seen.value - bound)
    return next((n for n in range(2, most + 1) if T[min(n - 1, len(T)) - 1] * spread / math.sqrt(n) < away), None)
