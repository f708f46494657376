"""Reading data files: rows of JSON, the fields of a row, where files are. Errors are one line with file and line."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from ..checks import brief
from ..facts import MASK, OBJECT, SUBJECT
from ..files import user_path
from ..names import composed
from .cells import shown, text
from .lines import COMPRESSED, fault, lines


def json_lines(path: Path, *fields: str) -> Iterator[tuple[str, dict]]:
    """(file and line, object) for each object of a JSON Lines file.

    Raises ValueError that names the first line that is not a JSON object, or lacks one of `fields`.
    """
    for number, line in lines(path):
        if line := line.removeprefix("\ufeff").strip():  # files with marks, joined: a mark may begin any line
            where = f"{path}, line {number}"
            row = _json(line, where, "; the file may be cut short")
            if not isinstance(row, dict):
                raise fault(where, f"a JSON object is needed, not {type(row).__name__}")
            need(row, fields, where)
            yield where, row


def json_list(path: Path, *fields: str) -> Iterator[tuple[str, dict]]:
    """(file and number, object) for each object of a JSON file that holds a list of objects.

    Raises ValueError for a file that is not such a list, or the first object that lacks one of `fields`.
    """
    advice = "; the file may be cut short, or hold an object a line: then its name must end in .jsonl"
    rows = _json("".join(line for _, line in lines(path)), str(path), advice)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise fault(path, "a list of JSON objects is needed, as pandas writes with orient='records'")
    for number, row in enumerate(rows, 1):
        where = f"{path}, fact {number}"
        need(row, fields, where)
        yield where, row


def _json(content: str, where: str, advice: str) -> object:
    try:
        return json.loads(content, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, " * (error.lineno > 1) + f"column {error.colno}"
        raise fault(where, f"not JSON ({error.msg}, {place}){advice}") from None
    except RecursionError:
        raise fault(where, "JSON that is nested too deeply") from None
    except ValueError as error:  # a field twice, or a number of thousands of digits
        raise fault(where, error) from None


def _once(pairs: list[tuple[str, object]]) -> dict:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            brief(f"the field {next(name for name in names if names.count(name) > 1)!r} stands there twice")
        )
    return row


def need(row: Iterable[str], fields: Iterable[str], where: str) -> None:
    """Raise ValueError unless `row` has all `fields`; it names those that are missing and those that are there."""
    if missing := [repr(field) for field in fields if field not in row]:
        raise fault(where, f"no {' and no '.join(missing)}; found: {', '.join(map(str, row)) or 'nothing'}")


def text_of(row: Mapping, field: str, where: str) -> str:
    """The text in a field of `row`. Raises ValueError for anything else, also for null."""
    try:
        return text(row[field], repr(field))
    except ValueError as error:
        raise fault(where, error) from None


def texts_of(row: Mapping, field: str, where: str) -> list[str]:
    """The list of texts in a field of `row`. Raises ValueError for anything else."""
    try:
        return [text(each, f"one of {field!r}") for each in part_of(row, field, list, where)]
    except ValueError as error:
        raise fault(where, error) from None


def part_of(row: Mapping, field: str, kind: type, where: str):
    """The list or the object (`kind` is list or dict) in a field of `row`. Raises ValueError for anything else."""
    if not isinstance(value := row[field], kind):
        raise fault(where, f"{field!r} must be {'a list' if kind is list else 'an object'}, not {shown(value)}")
    return value


def asked_in(row: Mapping, field: str, where: str) -> list[tuple[str, object]]:
    """(prompt, answer) of each question in a field of `row`: a list of objects, or an object of such lists. Of several
    answers the first; none if the field is missing. Raises ValueError for anything else."""
    value = row.get(field) or []
    lists = list(value.values()) if isinstance(value, dict) else [value]
    if not all(isinstance(each, list) and all(isinstance(asked, dict) for asked in each) for each in lists):
        raise fault(where, f"{field!r} must be a list of objects, or an object of such lists, not {shown(value)}")
    found = []
    for asked in chain.from_iterable(lists):
        need(asked, ("prompt",), f"{where}, {field}")
        answer = asked.get("ground_truth")
        while isinstance(answer, list):
            answer = answer[0] if answer else None
        found.append((text_of(asked, "prompt", f"{where}, {field}"), answer))
    return found


def local_folder(folder: str | Path | None) -> Path | None:
    """The folder with the data: `folder`, or $KMOD_DATA, or None. Raises NotADirectoryError if it does not exist."""
    path = folder or os.environ.get("KMOD_DATA")
    if path and not user_path(path).is_dir():
        raise NotADirectoryError(f"no folder {path} (given as {'folder=' if folder else '$KMOD_DATA'})")
    return user_path(path) if path else None


def find(folder: Path | None, *names: str) -> Path | None:
    """The first of the files `names` in `folder`, plain or compressed."""
    paths = [folder / f"{name}{end}" for name in names for end in ("", *COMPRESSED)] if folder else []
    return next((path for path in paths if path.is_file()), None)


def data_file(folder: str | Path | None, *names: str) -> Path:
    """The first of the files `names` in the folder with the data. Raises FileNotFoundError if none is there."""
    local = local_folder(folder)
    if (path := find(local, *names)) is None:
        place = f" in {local}" if local else ": give folder= or set $KMOD_DATA to where it is"
        raise FileNotFoundError(brief(f"no {' or '.join(names)} (.gz){place}"))
    return path


def usable(*names: object) -> bool:
    """Whether all `names` can be names of a fact: text that is not empty and holds no slots."""
    return all(
        isinstance(name, str) and composed(name) and not any(slot in name for slot in (SUBJECT, OBJECT, MASK))
        for name in names
    )


def draw(items: Sequence[str], n: int, *key: object) -> list[str]:
    """`n` of `items`, in their order, drawn from `key` alone: the draw of a fact does not depend on other facts."""
    chosen = random.Random("\t".join(map(str, key))).sample(range(len(items)), n)
    return [items[i] for i in sorted(chosen)]
