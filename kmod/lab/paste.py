"""A pasted table of changes: subject, relation, new object. Bad lines are refused by number, with the reason."""

from __future__ import annotations

import csv

from ..checks import brief
from ..facts import Modification
from ..names import normal
from .session import Session


def read_changes(text: str, session: Session) -> tuple[Modification | None, list[str]]:
    """Read a table with tabs, semicolons or commas, with or without a heading, relations by id or label.

    Where a subject has several objects in a relation, "old -> new" says which of them changes.

    Returns the changes, or None if no line can be used, and one message for each refused line.
    """
    relations = session.facts.relations
    ids = {normal(r.label): r.id for r in relations.values()} | {normal(id): id for id in relations}
    refused: list[str] = []
    changes: dict[int, tuple[str, int]] = {}  # position of a fact → its new object, and the line that says so
    rows = text.splitlines()
    delimiter = next((d for d in "\t;," if any(d in row for row in rows)), ",")
    for number, row in enumerate(rows, 1):
        try:
            cells = [cell.strip() for cell in next(csv.reader([row], delimiter=delimiter), [])]
            if not any(cells) or (number == 1 and normal(cells[0]) == "subject"):
                continue
            if len(cells) != 3 or not all(cells):
                raise ValueError(f"needs subject, relation and new object, three cells; it has {cells}")
            subject, relation, new = cells
            relation = relations[ids.get(normal(relation), relation)]  # the KeyError lists those that are known
            index, new = session.facts.change_of(subject, relation.id, new)
            if index in changes:
                raise ValueError(f"{session.facts[index]} is changed by line {changes[index][1]} already")
            siblings = session.facts.siblings(session.facts[index])
            for i, (other, line) in changes.items():
                if normal(other) == normal(new) and session.facts[i] in siblings:
                    raise ValueError(brief(f"({subject}, {relation.id}) is given {new!r} by line {line} already"))
            session.change(index, new)
            changes[index] = new, number
        except (ValueError, KeyError, csv.Error) as error:
            refused.append(f"line {number}: {error.args[0]}")
    objects = tuple(new for new, _ in changes.values())
    return Modification(session.facts, tuple(changes), objects) if changes else None, refused
