"""The recorded modification sets: |M| = 32, 128, 512, 2048 with five seeds each, drawn from all facts of a source.

Their checksums in `sets.json` show that a draw made anywhere is the same, without publishing facts whose licence
forbids it.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import numpy as np

from ..checks import brief
from ..facts import FactBase, Modification
from ..files import appearing

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
        raise ValueError(brief(f"no recorded sets for {base.name!r}; known: {', '.join(known['sources'])}"))
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
    drawn: dict[str, dict] = {str(seed): {} for seed in SEEDS}
    for seed, sets in drawn.items():
        for n in SIZES:
            with suppress(ValueError):  # so many facts cannot be modified
                sets[str(n)] = checksums(base.modify(n, int(seed)))
    return {"fingerprint": base.fingerprint(), "facts": len(base), "sets": drawn}


def write(bases: list[FactBase]) -> None:
    """Record the sets of `bases` in `sets.json`, beside those of other sources there."""
    sources = recorded()["sources"] if path().exists() else {}
    sources |= {base.name: make(base) for base in bases}
    record = {"version": 1, "numpy": np.__version__, "sources": dict(sorted(sources.items()))}
    with appearing(path()) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def verify(base: FactBase) -> list[str]:
    """Draw every recorded set of `base` again; a line for each seed. Raises ValueError as `modification_set` does."""
    source = recorded()["sources"].get(base.name)
    drawn = {seed: list(sets) for seed, sets in source["sets"].items()} if source else {"0": [SIZES[0]]}
    for seed, sizes in drawn.items():
        for n in sizes:
            modification_set(base, int(n), int(seed))
    return [f"{base.name}, seed {seed}: |M| = {', '.join(sizes)} as recorded" for seed, sizes in drawn.items()]
