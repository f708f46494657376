"""The atlas: some 2,200 true, well-known facts, written for this project; relations have the ids of Wikidata.

A line of `facts.tsv` is a fact: relation, subject, object. `relations.toml` holds the phrasings of each relation.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files

from ...facts import Fact, FactBase, Relation


def atlas() -> FactBase:
    """The embedded fact base."""
    here = files(__package__)
    described = tomllib.loads(here.joinpath("relations.toml").read_text("utf-8"))
    relations = {id: Relation(id, **row) for id, row in described.items()}
    rows = (line.split("\t") for line in here.joinpath("facts.tsv").read_text("utf-8").splitlines())
    return FactBase((Fact(subject, relation, object) for relation, subject, object in rows), relations, "atlas")
