"""Where results of long computations and downloads are kept."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def cache_dir() -> Path:
    """$KMOD_CACHE, or ~/.cache/kmod."""
    return Path(os.environ.get("KMOD_CACHE") or Path.home() / ".cache" / "kmod")


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A path to write to. What is written there appears at `path` when the block ends, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".kmod-") as folder:
        yield (draft := Path(folder) / path.name)
        os.replace(draft, path)


def save_whole(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that appears whole or not at all. Raises OSError if it cannot be written."""
    with appearing(path) as draft:
        try:
            save_file(dict(tensors), draft, dict(metadata))
        except SafetensorError as error:  # a full disk, among others
            raise OSError(str(error)) from error


def append(path: str | Path, rows: Iterable[Mapping]) -> None:
    """Add lines of JSON to a file, in one write, with no other writer; on file systems without locks, with a warning.

    A torn last line, left by a writer that was killed, is cut off first.
    """
    import fcntl

    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if not lines:
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+", buffering=0) as file:  # closing it unlocks it
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            warnings.warn(f"{path}: this file system has no locks; let one process write at a time", stacklevel=2)
        size = os.fstat(file.fileno()).st_size
        whole = _end_of_last_line(file.fileno(), size)
        if whole < size:
            warnings.warn(f"{path}: dropped a torn last line ({size - whole} bytes)", stacklevel=2)
            file.truncate(whole)
        written = file.write(lines)
        while written < len(lines):  # a signal, or a disk that fills up
            written += file.write(lines[written:])
        os.fsync(file.fileno())


def _end_of_last_line(handle: int, size: int) -> int:
    for end in range(size, 0, -65536):
        begin = max(0, end - 65536)
        newline = os.pread(handle, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
    return 0
