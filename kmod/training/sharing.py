"""Work that several edits of one model have in common, done once."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps

_memo: ContextVar[dict | None] = ContextVar("memo", default=None)


@contextmanager
def sharing() -> Iterator[None]:
    """Inside, edits share tokenised statements and kept hidden states. The model must not change in between."""
    token = _memo.set({})
    try:
        yield
    finally:
        _memo.reset(token)


def shared(make: Callable) -> Callable:
    """`make`, called once for the same inputs inside `sharing`. Objects are the same if they are identical."""

    @wraps(make)
    def once(*inputs):
        if (memo := _memo.get()) is None:
            return make(*inputs)
        key = (make, *(x if isinstance(x, (numbers.Number, str, type(None))) else id(x) for x in inputs))
        if key not in memo:
            memo[key] = make(*inputs), inputs  # an object that is held keeps its id to itself
        return memo[key][0]

    return once
