"""Reading data files: every mistake in one is a line that names the file, the line and what to do."""

from __future__ import annotations

import gzip
import json
import os
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..facts import MASK, OBJECT, SUBJECT


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of every line; a .gz is read through.

    Raises ValueError naming the first line that is not UTF-8, or the line after which the file breaks off.
    """
    number = 0
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
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
            raise ValueError(f"{path} is no whole gzip file (line {number:,} is its last); get it again") from None


def json_lines(path: Path, *fields: str) -> Iterator[dict]:
    """The objects of a JSON Lines file.

    Raises ValueError naming the first line that is not a JSON object, or lacks one of `fields`.
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


def need(row: Iterable[str], fields: Iterable[str], where: str) -> None:
    """Raises ValueError that names what `row` lacks of `fields`, and what it has."""
    if missing := [repr(field) for field in fields if field not in row]:
        raise ValueError(f"{where}: no {' and no '.join(missing)}; found: {', '.join(map(str, row)) or 'nothing'}")


def local_folder(folder: str | Path | None) -> Path | None:
    """The folder that data is looked for in: `folder`, or $KMOD_DATA, or None. Raises NotADirectoryError."""
    place = folder or os.environ.get("KMOD_DATA")
    if not place:
        return None
    place = Path(place)
    if not place.is_dir():
        raise NotADirectoryError(f"no folder {place} (given as {'folder=' if folder else '$KMOD_DATA'})")
    return place


def find(folder: Path | None, *names: str) -> Path | None:
    """The first of the files `names` in `folder`, plain or gzipped."""
    for name in names if folder else ():
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def usable(*names: object) -> bool:
    """Whether these can be the names of a fact: text, not empty, without slots."""
    return all(
        isinstance(name, str) and name.strip() and not any(slot in name for slot in (SUBJECT, OBJECT, MASK))
        for name in names
    )


def draw(items: Sequence[str], n: int, *key: object) -> list[str]:
    """`n` of `items`, in their order, drawn from `key` alone: a fact's draw does not depend on which others are
    read."""
    chosen = random.Random("\t".join(map(str, key))).sample(range(len(items)), n)
    return [items[i] for i in sorted(chosen)]
