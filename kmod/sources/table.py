"""Your own facts, from a data frame or a file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..checks import WrongTypeError
from ..facts import OBJECT, SUBJECT, Fact, FactBase, Relation, fill
from ..files import user_path
from ..names import normal
from .cells import name, statements
from .lines import ending, fault, lines
from .rows import NEEDED, SUFFIXES, file_rows, frame_rows, is_frame

__all__ = ["SUFFIXES", "table"]


def table(source: object, relations: str | Path | Mapping[str, Relation] | None = None) -> FactBase:
    """The facts of a table with the columns subject, relation and object: a row for each object of a subject.

    Masked statements come from the columns evidences and tests (lists, text with | between statements, or lists that
    pandas wrote as text), or from `relations`, or both: a row's own statements come before those of its relation. A
    statement has [MASK] in the place of the object; [Y] stands for it too, and [X] for the row's subject.

    Args:
        source: a pandas or polars DataFrame, or a path ending in .csv, .tsv, .json (a list of objects) or .jsonl, which
            may be compressed (.gz, .bz2, .xz, .zst). In UTF-8, or in UTF-16 with a byte order mark. A .csv may have
            semicolons or tabs between its cells.
        relations: `Relation` objects by id, or the path of a TOML file with a table for each relation (label,
            evidences, tests, and hops if there are any; such as the atlas' relations.toml).

    Raises FileNotFoundError or IsADirectoryError. Raises ValueError that names the file and the line, or the row of the
    frame, of what is wrong: a column that is missing or named twice, a cell that is not text, a relation without
    phrasings, a line that is damaged or cannot be decoded.
    """
    known = _relations(relations)
    if isinstance(source, (str, Path)):
        path = user_path(source)
        if path.is_file() and ending(path) not in SUFFIXES:
            raise fault(path, f"a table ends in {', '.join(SUFFIXES)}, or one of these with .gz, .bz2, .xz or .zst")
        rows, title = file_rows(path), path.name
    elif is_frame(source):
        rows, title = frame_rows(source), "a data frame"
    else:
        kind, advice = type(source).__name__, "; give its data frame" * hasattr(source, "to_pandas")
        raise ValueError(f"facts are a name, a path, or a pandas or polars DataFrame, not {kind}{advice}")
    facts, places = [], []
    listed = f"; {relations if isinstance(relations, (str, Path)) else 'relations='} has {', '.join(known)}"
    for where, row in rows:
        try:
            subject, relation, obj = (name(row[column], column) for column in NEEDED)
            own = {kind: _filled(statements(row.get(kind), kind), subject) for kind in ("evidences", "tests")}
            for kind in ("evidences", "tests"):
                if not own[kind] and not (relation in known and getattr(known[relation], kind)):
                    there = f"relation {relation!r} has no phrasings for {kind}, and the row has none"
                    raise ValueError(there + (listed if known else ": add the column, or give relations="))
            facts.append(Fact(subject, relation, obj, own["evidences"], own["tests"]))
            places.append(where)
        except (ValueError, TypeError) as error:
            raise fault(where, error) from None
    if not facts:
        raise ValueError(f"{title} holds no facts")
    for fact in facts:
        known.setdefault(fact.relation, Relation(fact.relation, fact.relation))
    used = {fact.relation for fact in facts}
    known = {id: relation for id, relation in known.items() if id in used}
    try:
        base = FactBase(facts, known, title)
    except ValueError as error:
        raise fault(_place_of_fault(facts, places, known), error) from None
    if base.duplicates:
        base.notes = (f"{base.duplicates:,} rows repeat a fact and are merged with it",)
    return base


def _filled(texts: Sequence[str], subject: str) -> tuple[str, ...]:
    return tuple(fill(text, subject) if SUBJECT in text or OBJECT in text else text for text in texts)


def _place_of_fault(facts: Sequence[Fact], places: Sequence[str], relations: Mapping[str, Relation]) -> str:
    """Where the first row stands with which its fact, merged with those that repeat it, cannot be part of a base."""
    merged: dict[tuple[str, str, str], list[Fact]] = {}
    for fact, place in zip(facts, places, strict=True):
        rows = merged.setdefault((normal(fact.subject), fact.relation, normal(fact.object)), [])
        rows.append(fact)
        try:
            FactBase(rows, relations)
        except ValueError:
            return place
    return "the table"


def _relations(source: str | Path | Mapping[str, Relation] | None) -> dict[str, Relation]:
    if source is None:
        return {}
    if isinstance(source, Mapping):
        if not all(isinstance(relation, Relation) for relation in source.values()):
            raise WrongTypeError("relations must map ids to Relation objects, or be the path of a TOML file")
        return dict(source)
    path = user_path(source)
    text = "\n".join(line.rstrip("\r\n") for _, line in lines(path))
    try:
        rows = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise fault(path, f"not TOML ({error})") from None
    known = {}
    for id, row in rows.items():
        if not isinstance(row, dict) or not isinstance(row.get("label", id), str):
            raise fault(path, f"{id!r} is not a table; write [{id}] with label, evidences and tests")
        try:
            texts = (row.get(kind, ()) for kind in ("evidences", "tests"))
            known[id] = Relation(id, row.get("label", id), *texts, row.get("hops", {}))
        except ValueError as error:
            raise fault(path, error) from None
    return known
