"""What a run changed, from its record alone: the modification is drawn again, and checked against its checksum."""

from __future__ import annotations

from pathlib import Path

from ..facts import Modification
from ..sources import load_facts, writable
from ..sources.sets import checksums
from .known import Known, stored
from .settings import Setting
from .starts import build


def modification(record: dict, out: str | Path) -> Modification:
    """Which facts a run changed, and to what: drawn from its settings and from what its reference state knows, which is
    kept under the folder `out`.

    Raises LookupError if that is not kept, or if the record holds no modification, and ValueError if the facts, or what
    is drawn from them, are not those of the record.
    """
    run = Setting(**record["settings"])
    reference = run.state.reference
    if not record.get("change"):
        raise LookupError(f"{run.label}: the record holds no modification")
    facts = load_facts(run.facts)
    facts = writable(facts, build(reference, facts).tokenizer)
    if facts.fingerprint()[:16] != record["facts"]:
        raise ValueError(f"{run.facts} are other facts here than those of the record {record['id']}")
    candidates = [
        known
        for known in map(Known.of, stored(Path(out)))
        if (known.facts, known.state) == (record["facts"], reference)
    ]  # several, where machines memorised to different weights
    if not candidates:
        raise LookupError(f"nothing is kept of what {reference} knows")
    for known in candidates:
        change = facts.modify(run.n, run.seed, known.flags)
        if checksums(change)["M"].startswith(record["change"]):
            return change
    raise ValueError(f"what is drawn is not what the record {record['id']} changed; another model may have drawn it")
