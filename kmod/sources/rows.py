"""The rows of a table: a file, or a data frame. Each comes with the place where it stands."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from .lines import ending, fault, lines
from .read import json_lines, json_list, need

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
NEEDED = ("subject", "relation", "object")
LONGEST = (1 << 31) - 1  # of a cell: the most that the csv module takes on every system


def file_rows(path: Path) -> Iterator[tuple[str, dict]]:
    """(file and line, row) for each row of a table."""
    if ending(path) == ".jsonl":
        yield from json_lines(path, *NEEDED)
    elif ending(path) == ".json":
        yield from json_list(path, *NEEDED)
    else:
        yield from _csv_rows(path)


def is_frame(source: object) -> bool:
    """Whether `source` is a data frame of pandas (itertuples) or of polars (iter_rows)."""
    return (hasattr(source, "itertuples") or hasattr(source, "iter_rows")) and hasattr(source, "columns")


def frame_rows(frame) -> Iterator[tuple[str, dict]]:
    """("row i", row) for each row of a data frame."""
    columns = _columns(frame.columns, "the data frame")
    rows = frame.itertuples(index=False, name=None) if hasattr(frame, "itertuples") else frame.iter_rows()
    for i, values in enumerate(rows):
        yield f"row {i}", dict(zip(columns, values, strict=True))


def _columns(heading: Sequence, where: str) -> list:
    """The names in a heading. Raises ValueError if one that is needed is missing, or one that is used stands twice."""
    columns = [column.strip("\ufeff \t") if isinstance(column, str) else column for column in heading]
    need(columns, NEEDED, where)
    if twice := next((name for name in (*NEEDED, "evidences", "tests") if columns.count(name) > 1), None):
        raise fault(where, f"the heading names {twice!r} twice; give one of the columns another name")
    return columns


def _csv_rows(path: Path) -> Iterator[tuple[str, dict]]:
    numbered = (text for _, text in lines(path))
    heading = next(numbered, "")
    delimiter = "\t" if ending(path) == ".tsv" else max(",;\t", key=heading.count)
    reader, columns = csv.reader(chain([heading], numbered), delimiter=delimiter, strict=True), None
    while True:
        where = f"{path}, line {reader.line_num + 1}"
        before = csv.field_size_limit(LONGEST)  # a setting of the whole process: changed for this row alone
        try:
            values = next(reader, None)
        except csv.Error as error:
            advice = 'a cell with a quote (") stands in quotes, and the quote in it is written twice'
            raise fault(where, f"{error}; {advice}") from None
        finally:
            csv.field_size_limit(before)
        if values is None:
            return
        if columns is None:
            columns = _columns(values, where)
        elif len(values) != len(columns) and values:
            raise fault(where, f"{len(values)} values for {len(columns)} columns ({', '.join(columns)})")
        elif any(value.strip() for value in values):
            yield where, dict(zip(columns, values, strict=True))
