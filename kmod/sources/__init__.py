"""Where facts come from."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..checks import brief
from ..facts import FactBase
from ..files import user_path
from .atlas import atlas
from .bios import bios
from .counterfact import counterfact
from .edits import load_edits, load_probes
from .lines import ending
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
    "load_probes",
    "modification_set",
    "single_token",
    "table",
    "trex",
    "writable",
    "zsre",
]

KNOWN = (
    "atlas (some 2,200 well-known facts), bios:N (N generated people), trex, trex+pararel, zsre, counterfact (read "
    "from the folder $KMOD_DATA; trex:2000 is a sample), or your own table (" + ", ".join(SUFFIXES) + ")"
)
PARAREL = partial(trex, pararel="evidences", evidences_per_fact=3)
NAMED = {"atlas": atlas, "trex": trex, "trex+pararel": PARAREL, "zsre": zsre, "counterfact": counterfact}


def load_facts(name: object = "atlas", **options) -> FactBase:
    """The fact base called `name`; its `notes` say what was read and what was left out.

    Args:
        name: "atlas", "trex", "trex+pararel" (with three sentences a fact, and ParaRel's phrasings to learn from),
            "zsre" or "counterfact"; any of these with ":N" or ":N:SEED" for a sample of N facts; "bios:N" or
            "bios:N:SEED" for N generated people; a pandas or polars DataFrame, or the path of a table.
        options: those of `kmod.sources.trex`, `zsre`, `counterfact` (such as `folder=`; else $KMOD_DATA says where the
            files are) or `table`.

    Raises ValueError, which lists the known sources, for another name.
    """
    if not isinstance(name, str) or ending(name) in SUFFIXES:
        return table(Path(name) if isinstance(name, str) else name, **options)
    source, *numbers = name.split(":")
    if source in NAMED or source == "bios":
        if len(numbers) > 2 or not all(part.isdecimal() for part in numbers) or (source == "bios" and not numbers):
            wanted = "generated people" if source == "bios" else f"a sample of {source}"
            raise ValueError(
                brief(f"write {wanted} as {source}:N or {source}:N:SEED, such as {source}:1000; got {name!r}")
            )
        if source == "bios":
            return bios(*map(int, numbers), **options)
        facts = NAMED[source](**options)
        return facts.sample(*map(int, numbers)) if numbers else facts
    if name and user_path(name).exists():
        return table(Path(name), **options)  # says which endings a table has
    raise ValueError(brief(f"unknown facts {name!r}; known: {KNOWN}"))
