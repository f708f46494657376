"""Whether to show a progress bar, and who else watches a training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_watcher: ContextVar[Callable | None] = ContextVar("watcher", default=None)


def silent(progress: str | bool | None) -> bool:
    """Whether to show no progress bar: none is asked for, or TQDM_DISABLE=1, which tqdm's own notebook bar forgets."""
    return not progress or os.environ.get("TQDM_DISABLE") == "1"


@contextmanager
def watching(watch: Callable) -> Iterator[None]:
    """Inside, and in this thread alone, every training calls `watch(history)` after each step (`training.History`).

    An exception that `watch` raises ends the training; an edit then leaves the model as it was, as after any error.
    """
    token = _watcher.set(watch)
    try:
        yield
    finally:
        _watcher.reset(token)


def report(history) -> None:
    """Tell who watches, if anybody does, that a step is done."""
    if (watch := _watcher.get()) is not None:
        watch(history)
