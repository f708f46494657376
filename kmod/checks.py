"""Checks of arguments, and the length of messages.

NumPy's numbers count as Python's; booleans and NaN do not count as numbers.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping

import numpy as np

LONGEST = 300
"""Characters of a message."""


class WrongTypeError(TypeError):
    """An argument of a type that is not accepted, found by a check: a mistake of the caller, not a fault of kmod."""


def brief(message: object) -> str:
    """A message on one line. One of more than 300 characters loses its middle: it ends with what to do."""
    text = " ".join(str(message).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[3 - LONGEST // 2 :]}"


def native(value: object) -> object:
    """Numbers of NumPy and torch, alone or in lists and mappings, as Python's: float32 0.1 is 0.1."""
    if isinstance(value, Mapping):
        return {native(key): native(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [native(each) for each in value]
    if isinstance(value, np.floating):
        return float(str(value))
    if hasattr(value, "tolist"):
        value = value.tolist()
        return native(value) if isinstance(value, list) else value
    return value


def is_number(value: object) -> bool:
    """Whether `value` is a real number."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)


def is_whole(value: object) -> bool:
    """Whether `value` is of an integer type: 3 is, 3.0 is not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_whole(name: str, value: object, low: int = 1) -> int:
    """`value` as an int. Raises ValueError, which names the argument, unless it is a whole number from `low`."""
    if not is_whole(value) or value < low:
        raise ValueError(brief(f"{name} must be a whole number from {low}, got {value!r}"))
    return int(value)


def check_positive(**values: tuple[object, type]) -> None:
    """Raise ValueError for an argument that is not a finite number above 0 of its type; name=(value, type)."""
    for name, (value, kind) in values.items():
        if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < math.inf:
            raise ValueError(brief(f"{name} must be a number above 0, got {value!r}"))


def check_weight(name: str, value: float) -> None:
    """Raise ValueError unless `value` is a finite number, zero or more."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
        raise ValueError(brief(f"{name} must be a number, zero or more, got {value!r}"))


def check_share(name: str, value: float) -> float:
    """`value` as a float. Raises ValueError, which names the argument, unless it is a number from 0 to 1."""
    if not is_number(value) or not 0 <= value <= 1:
        raise ValueError(brief(f"{name} must be a number from 0 to 1, got {value!r}"))
    return float(value)


def check_delta(delta: float) -> float:
    """δ as a float. Raises TypeError for a string or boolean, ValueError for a negative number or NaN.

    Without this check a wrong δ can mean no constraint at all, unnoticed.
    """
    if isinstance(delta, bool) or not isinstance(delta, numbers.Real):
        raise WrongTypeError(brief(f"delta must be a number, got {delta!r} ({type(delta).__name__})"))
    delta = float(delta)
    if math.isnan(delta) or delta < 0:
        raise ValueError(f"delta must be zero or more, got {delta}")
    return delta


def check_facts(facts: object) -> None:
    """Raise TypeError unless `facts` is a `FactBase`."""
    if "FactBase" not in {kind.__name__ for kind in type(facts).__mro__}:  # which is defined above this module
        raise WrongTypeError(f"facts are needed, such as kmod.load_facts('atlas'); got a {type(facts).__name__}")
