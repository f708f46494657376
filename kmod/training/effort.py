"""What an edit cost, in a unit that no machine changes: the statements that a gradient was taken of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch


@dataclass
class Effort:
    """How many statements went forward and back: each counts once a step that it is in, whatever it was for (the
    modified facts, unmodified ones that a method keeps to, statistics). Statements that only go forward do not."""

    gradients: int = 0


_effort: ContextVar[Effort | None] = ContextVar("effort", default=None)


@contextmanager
def counting() -> Iterator[Effort]:
    """Inside, and in this thread alone, the gradients of all edits are counted."""
    token = _effort.set(effort := Effort())
    try:
        yield effort
    finally:
        _effort.reset(token)


def count(statements: int) -> None:
    """So many statements are on their way forward; where gradients are on, they will go back."""
    if (effort := _effort.get()) is not None and torch.is_grad_enabled():
        effort.gradients += statements
