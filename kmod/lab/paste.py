"""A pasted table of changes: subject, relation, new object. Bad lines are refused by number, with the reason."""

from __future__ import annotations

import csv

from ..facts import Modification
from ..names import normal
from .session import Session

COLUMNS = ("subject", "relation", "object")


def read_changes(text: str, session: Session) -> tuple[Modification | None, list[str]]:
    """Read a table with tabs, semicolons or commas, with or without a heading, relations by id or label.

    Returns the changes, or None if no line can be used, and one message for each refused line.
    """
    relations = {normal(id): id for id in session.facts.relations}
    relations |= {normal(r.label): r.id for r in session.facts.relations.values() if normal(r.label) not in relations}
    refused: list[str] = []
    objects: dict[int, str] = {}  # position of a fact → its new object
    lines: dict[int, int] = {}  # position of a fact → the line that changes it
    rows = text.splitlines()
    delimiter = next((d for d in "\t;," if any(d in row for row in rows)), ",")
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in next(csv.reader([row], delimiter=delimiter), [])]
        if not any(cells) or (number == 1 and normal(cells[0]) == COLUMNS[0]):
            continue
        try:
            if len(cells) != len(COLUMNS) or not all(cells):
                raise ValueError(f"needs {', '.join(COLUMNS[:2])} and new {COLUMNS[2]}, three cells; it has {cells}")
            subject, relation, new = cells
            if normal(relation) not in relations:
                raise ValueError(f"unknown relation {relation!r}; known: {_first(list(session.facts.relations))}")
            index = session.facts.find(subject, relations[normal(relation)])
            if index in lines:
                raise ValueError(f"{session.facts[index]} is changed by line {lines[index]} already")
            session.change(index, new)
        except (ValueError, KeyError) as error:
            refused.append(f"line {number}: {error.args[0]}")
        else:
            objects[index], lines[index] = new, number
    change = Modification(session.facts, tuple(objects), tuple(objects.values())) if objects else None
    return change, refused


def _first(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
