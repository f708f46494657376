"""What the command line prints. A console that cannot show it, or a reader who has gone, does not end the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Output:
    """A text stream that raises no error: what its encoding lacks is escaped, and after an error the rest is dropped.

    `lost` is that error, or None.
    """

    def __init__(self, stream):
        self.stream = stream or open(os.devnull, "w")  # noqa: SIM115 (takes the place of a stream that is closed)
        self.lost: Exception | None = None

    def __getattr__(self, name: str):
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        try:
            self._do(self.stream.write, text)
        except UnicodeEncodeError:
            encoding = self.stream.encoding
            self._do(self.stream.write, text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        self._do(self.stream.flush)

    def _do(self, method: Callable, *args: str) -> None:
        if self.lost:
            return
        try:
            method(*args)
        except UnicodeEncodeError:
            raise
        except (OSError, ValueError) as error:  # no reader, a full disk; a closed stream
            self.lost = error
            with suppress(OSError, ValueError, AttributeError):  # what Python still holds goes nowhere
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


@contextmanager
def kept_going() -> Iterator[Output]:
    """Inside, printing to stdout and stderr raises no error. Gives stdout's `Output`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = streams = [Output(stream) for stream in before]
    try:
        yield streams[0]
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before
