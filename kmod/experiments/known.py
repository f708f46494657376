"""Which facts a starting state knows, kept once: with them, what a run changed can be told from its record alone.

A line of results/starts/known.jsonl is {"facts", "model", "state", "count", "known"}: fingerprints of the facts and of
the memorised model, how it came about, and a bit a fact, in hexadecimal.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ..files import append
from . import records
from .settings import State

FILE = Path("starts") / "known.jsonl"


@dataclass(frozen=True, eq=False)
class Known:
    """What a reference state knows: a boolean a fact, with fingerprints of facts and model."""

    state: State
    facts: str
    model: str
    flags: np.ndarray

    def line(self) -> dict:
        state = {
            field.name: value for field in fields(State) if (value := getattr(self.state, field.name)) != field.default
        }
        bits = np.packbits(self.flags).tobytes().hex()
        return {"facts": self.facts, "model": self.model, "state": state, "count": len(self.flags), "known": bits}

    @classmethod
    def of(cls, line: dict) -> Known:
        bits = np.frombuffer(bytes.fromhex(line["known"]), np.uint8)
        flags = np.unpackbits(bits, count=line["count"]).astype(bool)
        return cls(State(**line["state"]), line["facts"], line["model"], flags)


def stored(out: Path) -> list[dict]:
    """The lines under the folder `out`."""
    file = Path(out) / FILE
    return list(records.lines(file)) if file.is_file() else []


def keep(out: Path, *lines: dict) -> int:
    """Add the lines that the folder `out` lacks; how many those were."""
    here = stored(out)
    new = [line for line in lines if line not in here]
    append(Path(out) / FILE, new)
    return len(new)
