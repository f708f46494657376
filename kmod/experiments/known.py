"""Which facts a starting state knows, kept once: from them, what a run changed is drawn again, from its record alone.

A line of results/starts/known.jsonl is {"facts", "model", "state", "count", "known"}: fingerprints of the facts and of
the memorised model, how it came about, and a bit a fact, in hexadecimal.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..facts import FactBase, Modification
from ..files import append, user_path
from ..models import PRESETS, build_tokenizer, load_model
from ..sources import load_facts, writable
from ..sources.sets import checksums
from . import records
from .settings import FOLDERS, Setting, State

FILE = Path("starts") / "known.jsonl"


@dataclass(frozen=True, eq=False)
class Known:
    """What a reference state knows: a boolean a fact, with fingerprints of facts and model."""

    state: State
    facts: str
    model: str
    flags: np.ndarray

    def line(self) -> dict:
        given = vars(self.state)
        state = {field.name: given[field.name] for field in fields(State) if given[field.name] != field.default}
        bits = np.packbits(self.flags).tobytes().hex()
        return {"facts": self.facts, "model": self.model, "state": state, "count": len(self.flags), "known": bits}

    @classmethod
    def of(cls, line: dict) -> Known:
        bits = np.frombuffer(bytes.fromhex(line["known"]), np.uint8)
        flags = np.unpackbits(bits, count=line["count"]).astype(bool)
        return cls(State(**line["state"]), line["facts"], line["model"], flags)


def stored(out: str | Path) -> list[dict]:
    """The lines under the folder `out`."""
    file = user_path(out) / FILE
    return list(records.lines(file)) if file.is_file() else []


def keep(out: Path, *lines: dict) -> int:
    """Add the lines that the folder `out` lacks; how many those were."""
    old = stored(out)
    new = [line for line in lines if line not in old]
    append(user_path(out) / FILE, new)
    return len(new)


def modification(record: dict, out: str | Path) -> Modification:
    """Which facts a run changed, and to what: drawn from its settings and from what its reference state knows, which is
    kept under the folder `out`.

    Raises LookupError if that is not kept, or if the record holds no modification, and ValueError if the facts, or what
    is drawn from them, are not those of the record.
    """
    run = Setting(**record["settings"])
    if not record.get("change"):
        raise LookupError(f"{run.label}: the record holds no modification")
    reference = run.state.reference
    facts = _facts(run.facts, reference.model)
    if facts.fingerprint()[:16] != record["facts"]:
        raise ValueError(f"{run.facts} are other facts here than those of the record {record['id']}")
    asked = (record["facts"], reference)
    candidates = [known for known in map(Known.of, stored(out)) if (known.facts, known.state) == asked]
    if not candidates:
        raise LookupError(f"nothing is kept of what {reference} knows")
    for known in candidates:  # several, where machines memorised to different weights
        change = facts.modify(run.n, run.seed, known.flags)
        if checksums(change)["M"].startswith(record["change"]):
            return change
    raise ValueError(f"what is drawn is not what the record {record['id']} changed; another model may have drawn it")


@lru_cache(maxsize=4)
def _facts(name: str, model: str) -> FactBase:
    """The facts called `name` that the vocabulary of a reference model can write."""
    facts = load_facts(name)
    tokenizer = build_tokenizer(facts) if model in PRESETS else load_model(FOLDERS.get(model, model)).tokenizer
    return writable(facts, tokenizer)
