"""A share with its interval over facts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FIELD = {"reliability": "A_M_evidences", "generalisation": "A_M", "locality": "A_FS"}
"""The field's name for a metric → the paper's."""


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval, and the numbers of facts and statements that it counts."""

    value: float
    low: float
    high: float
    facts: int
    statements: int

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def rate(right: np.ndarray, asked: np.ndarray, resamples: int = 2000, seed: int = 0) -> Rate:
    """The micro-averaged share Σ right / Σ asked with its interval.

    `right` and `asked` are (facts,) counts of statements; `right` may be a difference, and negative. Facts without
    statements of this kind are excluded. Raises ValueError if no fact is left.

    """
    right, asked = np.asarray(right), np.asarray(asked)
    right, asked = right[asked > 0], asked[asked > 0]
    if len(asked) == 0:
        raise ValueError("nothing to rate: no fact has a statement of this kind")
    # Facts with equal counts are exchangeable: a resample is one multinomial draw over the distinct pairs.
    pairs, counts = np.unique(np.stack([right, asked]), axis=1, return_counts=True)
    # (resamples, pairs)
    draws = np.random.default_rng(seed).multinomial(len(asked), counts / len(asked), size=resamples)
    with np.errstate(invalid="ignore"):
        shares = (draws @ pairs[0]) / (draws @ pairs[1])
    low, high = np.nanpercentile(shares, [2.5, 97.5])
    return Rate(float(right.sum() / asked.sum()), float(low), float(high), len(asked), int(asked.sum()))
