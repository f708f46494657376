"""Numbers in words, for titles, descriptions and tables."""

import math
from collections.abc import Callable, Collection, Mapping

from ..experiments.statistics import Mean

UNCONSTRAINED = "no limit"


def pct(value: float) -> str:
    return f"{100 * value:.1f} %"


def points(value: float) -> str:
    return f"{100 * value:.1f} points"


def delta_text(delta: float | None) -> str:
    """How a radius is printed: 0.5, 2e-3, or "no limit"."""
    if delta in (None, math.inf):
        return UNCONSTRAINED
    mantissa, exponent = f"{delta:.6e}".split("e")
    return f"{delta:g}" if int(exponent) >= -2 else f"{float(mantissa):g}e{int(exponent)}"


def at(delta: float | None) -> str:
    return "without a limit" if delta in (None, math.inf) else f"at δ = {delta_text(delta)}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def to(numbers: Collection[int]) -> str:
    """The range of some numbers, such as "8 to 32"; of equal ones, the number."""
    return " to ".join(map(str, sorted({min(numbers), max(numbers)})))


def percent_columns(rate: Mean, name: str) -> dict:
    """Columns of a table for one rate: mean and interval, in percent."""
    return {f"{name}, %": f"{100 * rate.value:.1f}", f"{name} from–to": from_to(vars(rate))}


def from_to(point: Mapping, text: Callable[[float], str] = lambda value: f"{100 * value:.1f}") -> str | None:
    """The interval of a point, from its `low` to its `high`, as `text` writes numbers (in percent); None of one run."""
    return f"{text(point['low'])} to {text(point['high'])}" if point["n"] > 1 else None
