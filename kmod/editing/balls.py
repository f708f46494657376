"""A constraint by name, with the statistics of the model that it needs."""

from __future__ import annotations

from collections.abc import Callable

from ..checks import brief
from ..constraints import CONSTRAINTS, Constraint
from ..facts import Modification
from ..models.language_model import LanguageModel
from ..training.fisher import fisher_diagonal
from ..training.kfac import kfac_factors

STATISTICS: dict[str, Callable] = {"Fisher": fisher_diagonal, "KFAC": kfac_factors}
"""Constraint → the function of (model, modification, block=, component=, evidences=, seed=) that gives its second
argument."""


def make_ball(
    name: str | None,
    delta: float,
    model: LanguageModel,
    change: Modification,
    statistics: dict | None = None,
    **settings,
) -> Constraint | None:
    """The constraint called `name` of radius `delta`, or None for None.

    Args:
        statistics: a dictionary that keeps what was computed for one radius, for use with the next.
        settings: those of the function in `STATISTICS`.

    Raises ValueError that lists the constraints for an unknown name.
    """
    if name is None:
        return None
    if name not in CONSTRAINTS:
        raise ValueError(brief(f"no constraint {name!r}; known: {', '.join(CONSTRAINTS)}"))
    if name not in STATISTICS:
        return CONSTRAINTS[name](delta)
    statistics = {} if statistics is None else statistics
    if name not in statistics:
        statistics[name] = STATISTICS[name](model, change, **settings)
    return CONSTRAINTS[name](delta, statistics[name])
