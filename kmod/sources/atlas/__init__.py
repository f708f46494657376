"""The atlas: some 2,200 true, well-known facts, written for this project; relations have the ids of Wikidata.

A line of `facts.tsv` is a fact: relation, subject, object. `relations.toml` holds the phrasings of each relation.
"""

from __future__ import annotations

import csv
import tomllib
from importlib.resources import files

from ...facts import Fact, FactBase, Relation


def atlas() -> FactBase:
    """The embedded fact base."""
    here = files(__package__)
    relations = {
        id: Relation(id, row["label"], tuple(row["evidences"]), tuple(row["tests"]))
        for id, row in tomllib.loads(here.joinpath("relations.toml").read_text("utf-8")).items()
    }
    rows = csv.reader(
        here.joinpath("facts.tsv").read_text("utf-8").splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE
    )
    return FactBase((Fact(subject, relation, object) for relation, subject, object in rows), relations, "atlas")
