"""The atlas: some 2,200 true, well-known facts, written for this project; relations have the ids of Wikidata.

A line of `facts.tsv` is a fact: relation, subject, object. `relations.toml` holds the phrasings of each relation, and
`aliases.tsv` other names of subjects (a surname that no other name holds, "Burma" for Myanmar), which only probe edits.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.resources import files

from ...facts import Fact, FactBase, Relation


def atlas() -> FactBase:
    """The embedded fact base."""
    described = tomllib.loads(files(__package__).joinpath("relations.toml").read_text("utf-8"))
    relations = {id: Relation(id, **row) for id, row in described.items()}
    facts = (Fact(subject, relation, object) for relation, subject, object in _rows("facts.tsv"))
    aliases = {subject: (alias,) for subject, alias in _rows("aliases.tsv")}
    return FactBase(facts, relations, "atlas", aliases=aliases)


def _rows(name: str) -> Iterator[list[str]]:
    text = files(__package__).joinpath(name).read_text("utf-8")
    return (line.split("\t") for line in text.splitlines())
