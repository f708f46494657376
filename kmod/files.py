"""Files: the paths that users give, what appears whole or not at all, and lines added by several processes."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from .checks import brief

PATIENCE = 60  # seconds to wait for another writer of the same file


def user_path(path: str | Path) -> Path:
    """A path as a user writes it: ~ is the home folder, if there is one.

    Raises FileNotFoundError for a name that no file system takes.
    """
    found = Path(os.path.expanduser(path))
    if any(len(os.fsencode(part)) > 255 for part in found.parts) or "\0" in str(found):
        raise FileNotFoundError(brief(f"no file has a name like {str(path)!r}"))
    return found


def cache_dir() -> Path:
    """$KMOD_CACHE, or ~/.cache/kmod; a folder for temporary files, with a warning, for a user without a home."""
    folder = user_path(os.environ.get("KMOD_CACHE") or Path("~", ".cache", "kmod"))
    if folder.parts[:1] != ("~",):
        return folder
    folder = Path(tempfile.gettempdir()) / f"kmod-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
    warnings.warn(f"there is no home folder: results are kept in {folder}; set KMOD_CACHE to choose", stacklevel=2)
    return folder


@contextmanager
def appearing(path: str | Path, outdated: Iterable[str] = ()) -> Iterator[Path]:
    """A path to write a file or a folder to. It appears at `path` when the block ends, whole or not at all.

    What is new has the modes that the user's umask gives; what replaces an older file has the mode of that. In a folder
    that exists, files of the same names are replaced, those that match one of the patterns `outdated` are deleted, and
    all others stay.

    Raises OSError if it cannot be written, for Rust's libraries as well.
    """
    path = Path(os.path.realpath(user_path(path)))  # what a link leads to is replaced, not the link
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(f"{path} is a device; give the path of a file or a folder")
    beside = path if path.is_dir() else path.parent
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside, prefix=".kmod-") as folder:
        draft = Path(folder) / path.name
        try:
            yield draft
        except Exception as error:
            if type(error) in (SafetensorError, Exception):  # as safetensors and tokenizers call a full disk
                raise OSError(f"{path} cannot be written: {error}") from error
            raise
        _take_modes(draft, path)
        if path.is_dir() and draft.is_dir():
            _replace_files(draft, path, outdated)
        else:
            os.replace(draft, path)


def _files(folder: Path) -> list[Path]:
    """The files in and under a folder, relative to it; config.json last, as it makes the folder a model."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()]
    return sorted(files, key=lambda file: (file.name == "config.json", file))


def _take_modes(draft: Path, path: Path) -> None:
    """Give each file of the draft the mode and group of the file that it replaces, or what the umask says."""
    (plain := draft.with_name(f"{draft.name}.mode")).touch()
    for file in _files(draft) if draft.is_dir() else [Path()]:
        new = draft / file
        try:
            old = (path / file).stat()
        except OSError:
            old = plain.stat()
        with suppress(OSError, AttributeError):  # a group that the user is not in; Windows
            os.chown(new, -1, old.st_gid)
        with suppress(OSError):
            new.chmod(stat.S_IMODE(old.st_mode))


def _replace_files(draft: Path, path: Path, outdated: Iterable[str]) -> None:
    """Move the files of a draft into the folder `path`; if that fails, the older ones are back as they were."""
    new, older = _files(draft), draft.with_name(f"{draft.name}.older")
    leaving = {file.relative_to(path) for pattern in outdated for file in path.glob(pattern)} - {*new}
    moved: list[tuple[Path, Path]] = []  # (from, to)

    def move(source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
        moved.append((source, target))

    try:
        for file in [*reversed(new), *leaving]:  # config.json first: half a model is no model
            if os.path.lexists(path / file):
                move(path / file, older / file)
        for file in new:
            move(draft / file, path / file)
    except BaseException:
        for source, target in reversed(moved):
            os.replace(target, source)
        raise


def file_sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_whole(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that appears whole or not at all. Raises OSError if it cannot be written."""
    with appearing(path) as draft:
        save_file(dict(tensors), draft, dict(metadata))


def append(path: str | Path, rows: Iterable[Mapping]) -> None:
    """Add lines of JSON to a file, in one write, with no other writer; on file systems without locks, with a warning.

    A torn last line, left by a writer that was killed, is cut off first.
    """
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if not lines:
        return
    path = user_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path), open(path, "ab+", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        whole = _end_of_last_line(file, size)
        if whole < size:
            warnings.warn(f"{path}: dropped a torn last line ({size - whole} bytes)", stacklevel=2)
            file.truncate(whole)
        written = file.write(lines)
        while written < len(lines):  # a signal, or a disk that fills up
            written += file.write(lines[written:])
        os.fsync(file.fileno())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Inside, no other process that asks for it has the lock of the file; where locks do not work, with a warning."""
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=PATIENCE)
    try:
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        warnings.warn(f"{path} has no lock ({error}); let one process write at a time", stacklevel=4)
    try:
        yield
    finally:
        lock.release()


def _end_of_last_line(file, size: int) -> int:
    for end in range(size, 0, -65536):
        begin = max(0, end - 65536)
        file.seek(begin)
        newline = file.read(end - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
    return 0
