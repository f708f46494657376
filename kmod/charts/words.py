"""Numbers in words, for titles, descriptions and tables."""

from ..experiments.statistics import Mean
from .summary import delta_text


def pct(value: float) -> str:
    return f"{100 * value:.1f} %"


def points(value: float) -> str:
    return f"{100 * value:.1f} points"


def at(delta) -> str:
    return "without a limit" if delta is None else f"at δ = {delta_text(delta)}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def percent_columns(found: Mean, name: str) -> dict:
    """Columns of a table for one rate: mean and interval, in percent."""
    return {f"{name}, %": f"{100 * found.value:.1f}", f"{name} from–to": _interval(found)}


def _interval(found: Mean, factor: float = 100, form: str = ".1f") -> str | None:
    return f"{factor * found.low:{form}} to {factor * found.high:{form}}" if found.n > 1 else None
