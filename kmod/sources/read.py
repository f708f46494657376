"""Reading data files. Errors are one line that names the file and the line, and says what to do."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ..facts import MASK, OBJECT, SUBJECT
from ..files import user_path


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".zst":
        import zstandard

        return io.BufferedReader(zstandard.open(path))
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of every line of a file that is plain, gzipped (.gz) or compressed by Zstandard (.zst).

    Raises ValueError that names the first line that is not UTF-8, or the last line of a file that is cut short.
    """
    number = 0
    with _open(path) as file:
        try:
            for number, raw in enumerate(file, 1):
                try:
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    byte = error.object[error.start]
                    raise ValueError(
                        f"{path}, line {number}: byte 0x{byte:02x} is not UTF-8; save the whole file as UTF-8"
                    ) from None
                yield number, text
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise ValueError(f"{path} is not a whole gzip file (line {number:,} is its last); get it again") from None


def json_lines(path: Path, *fields: str) -> Iterator[dict]:
    """The objects of a JSON Lines file.

    Raises ValueError that names the first line that is not a JSON object, or lacks one of `fields`.
    """
    for number, text in lines(path):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error.msg}); the file may be cut short") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: a JSON object is needed, not {type(row).__name__}")
        need(row, fields, f"{path}, line {number}")
        yield row


def json_list(path: Path, *fields: str) -> Iterator[tuple[str, dict]]:
    """(where it stands, object) for each object of a JSON file that holds a list of objects.

    Raises ValueError for a file that is not such a list, or the first object that lacks one of `fields`.
    """
    try:
        rows = json.loads("".join(text for _, text in lines(path)))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error}); the file may be cut short") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: a list of JSON objects is needed")
    for number, row in enumerate(rows, 1):
        where = f"{path}, fact {number}"
        need(row, fields, where)
        yield where, row


def need(row: Iterable[str], fields: Iterable[str], where: str) -> None:
    """Raise ValueError unless `row` has all `fields`; it names those that are missing and those that are there."""
    if missing := [repr(field) for field in fields if field not in row]:
        raise ValueError(f"{where}: no {' and no '.join(missing)}; found: {', '.join(map(str, row)) or 'nothing'}")


def local_folder(folder: str | Path | None) -> Path | None:
    """The folder with the data: `folder`, or $KMOD_DATA, or None. Raises NotADirectoryError if it does not exist."""
    path = folder or os.environ.get("KMOD_DATA")
    if path and not user_path(path).is_dir():
        raise NotADirectoryError(f"no folder {path} (given as {'folder=' if folder else '$KMOD_DATA'})")
    return user_path(path) if path else None


def find(folder: Path | None, *names: str) -> Path | None:
    """The first of the files `names` in `folder`, plain or gzipped."""
    paths = [folder / file for name in names for file in (name, f"{name}.gz")] if folder else []
    return next((path for path in paths if path.is_file()), None)


def data_file(folder: str | Path | None, *names: str) -> Path:
    """The first of the files `names` in the folder with the data. Raises FileNotFoundError if none is there."""
    local = local_folder(folder)
    if (path := find(local, *names)) is None:
        place = f" in {local}" if local else ": give folder= or set $KMOD_DATA to where it is"
        raise FileNotFoundError(f"no {' or '.join(names)} (.gz){place}")
    return path


def usable(*names: object) -> bool:
    """Whether all `names` can be names of a fact: text that is not empty and holds no slots."""
    return all(
        isinstance(name, str) and name.strip() and not any(slot in name for slot in (SUBJECT, OBJECT, MASK))
        for name in names
    )


def draw(items: Sequence[str], n: int, *key: object) -> list[str]:
    """`n` of `items`, in their order, drawn from `key` alone: the draw of a fact does not depend on other facts."""
    chosen = random.Random("\t".join(map(str, key))).sample(range(len(items)), n)
    return [items[i] for i in sorted(chosen)]
