"""The recorded modification sets: |M| = 32, 128, 512, 2048 with five seeds each, known by checksum.

What `FactBase.modify` draws depends only on the facts, n and the seed. For each source, `sets.json` holds the
fingerprint of its facts, and for each set the SHA-256 of S (the positions of its facts) and of M (its triples). These
show that a draw made anywhere is the same, without publishing facts whose licence forbids it. A smaller set of a seed
is the beginning of a larger one. The sets are drawn from all facts, not from those that some model knows.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib.resources import files
from pathlib import Path

import numpy as np

from ..facts import FactBase, Modification

VERSION = 1
SIZES = (32, 128, 512, 2048)
SEEDS = (0, 1, 2, 3, 4)  # the paper makes five runs


def path() -> Path:
    return Path(str(files(__package__).joinpath("sets.json")))


def recorded() -> dict:
    """The content of `sets.json`: {"version", "numpy", "sources": {name: {"fingerprint", "facts", "sets"}}}."""
    return json.loads(path().read_text("utf-8"))


def checksums(change: Modification) -> dict[str, str]:
    """SHA-256 of S, as the positions of its facts in order, and of M, as its triples in order."""
    triples = [(fact.subject, fact.relation, fact.object) for fact in change.modified]
    sets = {"S": change.indices, "M": triples}
    return {name: hashlib.sha256(json.dumps(items).encode()).hexdigest() for name, items in sets.items()}


def modification_set(base: FactBase, n: int, seed: int = 0) -> Modification:
    """The recorded set of `n` facts of `base` drawn by `seed`: `base.modify(n, seed)`, compared with its checksum.

    Raises ValueError if no such set is recorded, if it was drawn from other facts, or if the draw differs (another
    version of NumPy may draw differently).
    """
    known = recorded()
    source = known["sources"].get(base.name)
    if source is None:
        raise ValueError(f"no recorded sets for {base.name!r}; known: {', '.join(known['sources'])}")
    if source["fingerprint"] != base.fingerprint():
        raise ValueError(
            f"the recorded sets for {base.name} were drawn from {source['facts']:,} facts that are not these "
            f"{len(base):,}; draw your own with facts.modify(n, seed)"
        )
    expected = source["sets"].get(str(seed), {}).get(str(n))
    if expected is None:
        sizes = ", ".join(source["sets"].get("0", ()))
        raise ValueError(f"no set of {n} facts by seed {seed} for {base.name}; sizes {sizes}, seeds {SEEDS}")
    change = base.modify(n, seed)
    if checksums(change) != expected:
        raise ValueError(
            f"the draw of {n} facts of {base.name} by seed {seed} is not the recorded one, made with numpy "
            f"{known['numpy']}; this is numpy {np.__version__}"
        )
    return change


def make(base: FactBase) -> dict:
    """The record of the sets of `base`, of every size that it has enough facts for."""
    drawn: dict[str, dict] = {}
    for seed in SEEDS:
        drawn[str(seed)] = {}
        for n in SIZES:
            try:
                drawn[str(seed)][str(n)] = checksums(base.modify(n, seed))
            except ValueError:
                break  # so many facts cannot be modified
    return {"fingerprint": base.fingerprint(), "facts": len(base), "sets": drawn}


def write(bases: list[FactBase]) -> None:
    """Record the sets of `bases` in `sets.json`, beside those of other sources there."""
    sources = recorded()["sources"] if path().exists() else {}
    sources |= {base.name: make(base) for base in bases}
    record = {"version": VERSION, "numpy": np.__version__, "sources": dict(sorted(sources.items()))}
    draft = path().with_suffix(".tmp")
    draft.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    os.replace(draft, path())


def verify(base: FactBase) -> list[str]:
    """Draw every recorded set of `base` again; a line for each seed. Raises ValueError as `modification_set` does."""
    source = recorded()["sources"].get(base.name)
    if source is None:
        modification_set(base, SIZES[0])  # raises the error that lists the known sources
    return [
        f"{base.name}, seed {seed}: |M| = {', '.join(str(len(modification_set(base, int(n), int(seed)))) for n in ns)}"
        " as recorded"
        for seed, ns in source["sets"].items()
    ]
