"""Where facts come from."""

from __future__ import annotations

from pathlib import Path

from ..facts import FactBase
from .atlas import atlas
from .bios import bios
from .counterfact import counterfact
from .edits import load_edits
from .sets import modification_set
from .table import SUFFIXES, table
from .tokens import single_token, writable
from .trex import trex
from .zsre import zsre

__all__ = [
    "atlas",
    "bios",
    "counterfact",
    "load_edits",
    "load_facts",
    "modification_set",
    "single_token",
    "table",
    "trex",
    "writable",
    "zsre",
]

SOURCES = {
    "atlas": "some 2,200 true, well-known facts, embedded in the package",
    "bios:N": "N generated people with six attributes each (bios:N:SEED for another seed)",
    "trex": "LAMA's T-REx: facts with Wikipedia sentences",
    "zsre": "zero-shot relation extraction: facts with questions",
    "counterfact": "CounterFact: facts with prompts",
    "a data frame, or a path": "facts of your own, " + ", ".join(SUFFIXES),
}
NAMED = {"atlas": atlas, "trex": trex, "zsre": zsre, "counterfact": counterfact}


def load_facts(name: object = "atlas", **options) -> FactBase:
    """The fact base called `name`; its `notes` say what was read and what left out.

    "atlas"; "bios:N" (optionally "bios:N:SEED") for N generated people; "trex", "zsre" or "counterfact", with the
    options of the functions of these names (`folder=` says where the files are, else $KMOD_DATA); or a pandas DataFrame
    or the path of a table, with the options of `kmod.sources.table`.

    Raises ValueError that lists the known sources.
    """
    if not isinstance(name, str) or name.removesuffix(".gz").endswith(SUFFIXES):
        return table(Path(name) if isinstance(name, str) else name, **options)
    source, _, rest = name.partition(":")
    if source in NAMED and not rest:
        return NAMED[source](**options)
    if source == "bios":
        numbers = rest.split(":")
        if len(numbers) <= 2 and all(part.isdecimal() for part in numbers):
            return bios(*map(int, numbers), **options)
        raise ValueError(f"write generated people as bios:N or bios:N:SEED, such as bios:1000; got {name!r}")
    raise ValueError(
        f"unknown facts {name!r}; known: " + "; ".join(f"{key} ({about})" for key, about in SOURCES.items())
    )
