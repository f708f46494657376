"""Your own facts, from a data frame or a file."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..facts import MASK, OBJECT, Fact, FactBase, Relation, fill
from .read import json_lines, json_list, lines, need

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
NEEDED = ("subject", "relation", "object")


def table(source: object, relations: str | Path | Mapping[str, Relation] | None = None) -> FactBase:
    """The facts of a table with the columns subject, relation and object.

    Masked statements come from the columns evidences and tests (lists, or text with | between statements), or from
    `relations`, or both: a row's own statements come before those of its relation. A statement has [MASK] in the place
    of the object; one with [X] and [Y] instead is a phrasing, and is filled with the row's subject.

    Args:
        source: a pandas DataFrame, or a path ending in .csv, .tsv, .json (a list of objects) or .jsonl, which may be
            gzipped (.gz); UTF-8.
        relations: `Relation` objects by id, or the path of a TOML file with a table for each relation (label,
            evidences, tests, and hops if there are any; such as the atlas' relations.toml).

    Raises ValueError that names a missing column and the columns there are, a relation without phrasings, or the line
    that is damaged or not UTF-8.
    """
    known = dict(relations) if isinstance(relations, Mapping) else _relations(relations)
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}")
        rows, name = _file_rows(path), path.name
    elif hasattr(source, "columns") and hasattr(source, "to_dict"):
        need(source.columns, NEEDED, "the data frame")
        rows = ((f"row {i}", row) for i, row in enumerate(source.to_dict("records")))
        name = "a data frame"
    else:
        raise ValueError(f"facts are a name, a pandas DataFrame or a path, not {type(source).__name__}: {source!r}")
    facts, listed = [], relations if isinstance(relations, (str, Path)) else "relations="
    for where, row in rows:
        subject, relation, obj = (row[c].strip() if isinstance(row[c], str) else row[c] for c in NEEDED)
        try:
            own = {kind: _statements(row.get(kind), subject) for kind in ("evidences", "tests")}
            for kind in ("evidences", "tests"):
                if not own[kind] and not (relation in known and getattr(known[relation], kind)):
                    there = f"; {listed} has {', '.join(known)}" if known else ""
                    raise ValueError(f"relation {relation!r} has no phrasings for {kind}, and the row has none{there}")
            facts.append(Fact(subject, relation, obj, own["evidences"], own["tests"]))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from None
    if not facts:
        raise ValueError(f"{name} holds no facts")
    for fact in facts:
        known.setdefault(fact.relation, Relation(fact.relation, fact.relation))
    used = {fact.relation for fact in facts}
    base = FactBase(facts, {id: relation for id, relation in known.items() if id in used}, name)
    if base.duplicates:
        base.notes = (f"{base.duplicates:,} rows repeat a fact and are merged with it",)
    return base


def _relations(path: str | Path | None) -> dict[str, Relation]:
    if path is None:
        return {}
    text = "".join(line for _, line in lines(Path(path)))
    try:
        rows = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not TOML ({error})") from None
    known = {}
    for id, row in rows.items():
        if not isinstance(row, dict):
            raise ValueError(f"{path}: {id!r} is not a table; write [{id}] with label, evidences and tests")
        known[id] = Relation(
            id, row.get("label", id), row.get("evidences", ()), row.get("tests", ()), row.get("hops", {})
        )
    return known


def _file_rows(path: Path) -> Iterator[tuple[str, dict]]:
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix == ".jsonl":
        for number, row in enumerate(json_lines(path, *NEEDED), 1):
            yield f"{path}, fact {number}", row
    elif suffix == ".json":
        yield from json_list(path, *NEEDED)
    elif suffix in (".csv", ".tsv"):
        reader = csv.reader((text for _, text in lines(path)), delimiter="\t" if suffix == ".tsv" else ",", strict=True)
        try:
            columns = [column.strip() for column in next(reader, [])]
            need(columns, NEEDED, str(path))
            for values in filter(None, reader):
                where = f"{path}, line {reader.line_num}"
                if len(values) != len(columns):
                    raise ValueError(f"{where}: {len(values)} values for {len(columns)} columns ({', '.join(columns)})")
                yield where, dict(zip(columns, values, strict=True))
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from None
    else:
        raise ValueError(f"{path}: a table ends in {', '.join(SUFFIXES)}, or one of these with .gz")


def _statements(value: object, subject: str) -> tuple[str, ...]:
    """The statements of a cell: a list or an array of them, text with | between, or nothing (None, NaN)."""
    if value is None or isinstance(value, float):
        return ()
    texts = value.split("|") if isinstance(value, str) else value
    if not isinstance(texts, Iterable) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"statements are text with | between, or a list of text, not {value!r}")
    texts = dict.fromkeys(text.strip() for text in texts if text.strip())
    return tuple(fill(text, subject) if OBJECT in text and MASK not in text else text for text in texts)
