"""Progress bars, observers of a training, and signals that let work in hand finish."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_watcher: ContextVar[Callable | None] = ContextVar("watcher", default=None)


def silent(progress: str | bool | None) -> bool:
    """Whether to show no progress bar: none is wanted, or TQDM_DISABLE=1, which tqdm's own notebook bar ignores."""
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
    """Call the function of `watching`, if there is one: a step is done."""
    if (watch := _watcher.get()) is not None:
        watch(history)


@contextmanager
def noted_signals(note: Callable[[], object] = lambda: None) -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM are added to the list, so that the work in hand can finish. `note` is called at the
    first one; the same signal again raises KeyboardInterrupt. Outside of the main thread, where Python takes no
    signals, nothing changes."""
    signals: list[int] = []

    def handle(number: int, frame: object) -> None:
        if number in signals:  # not any second signal: a launcher of several processes sends both
            raise KeyboardInterrupt
        signals.append(number)
        if len(signals) == 1:
            note()

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
