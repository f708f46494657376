"""How many facts and statements each source holds, beside the paper's figures."""

from __future__ import annotations

import json
from pathlib import Path

from .. import files
from ..facts import FactBase
from ..versions import versions

# Paper, section 3. Figures marked "recalled" were not checked against its text, so nothing is tested against them.
PAPER = {
    "trex": {
        "facts": (34_039, "sure"),
        "relations": (41, "sure"),
        "evidences": (1_280_000, "recalled"),
        "tests": (34_039, "recalled"),
    },
    "zsre": {"facts": (147_905, "recalled"), "evidences": (197_829, "recalled"), "tests": (59_527, "recalled")},
}
COUNTED = ("facts", "relations", "evidences", "tests")


def count(base: FactBase) -> dict:
    """A record of what `base` holds: how many facts, relations, evidences, tests and untested facts."""
    evidences = [len(base.evidences(fact)) for fact in base]
    tests = [len(base.tests(fact)) for fact in base]
    return {
        "source": base.name,
        "facts": len(base),
        "relations": len({fact.relation for fact in base}),
        "evidences": sum(evidences),
        "tests": sum(tests),
        "most_evidences": max(evidences),
        "untested": sum(n == 0 for n in tests),
        "paper": {kind: list(figure) for kind, figure in PAPER.get(base.name, {}).items()},
        "notes": list(base.notes),
        "fingerprint": base.fingerprint(),
        "versions": {"kmod": versions()["kmod"]},
    }


def rows(records: list[dict]) -> list[str]:
    """The records as lines of a table, each count beside the paper's figure; ~ marks a recalled one."""
    lines = [f"{'':14}" + "".join(f"{kind:>12}{'paper':>13}" for kind in COUNTED)]
    for record in records:
        cells = []
        for kind in COUNTED:
            figure, tag = record["paper"].get(kind, (None, ""))
            paper = "–" if figure is None else ("~" if tag == "recalled" else "") + f"{figure:,}"
            cells.append(f"{record[kind]:>12,}{paper:>13}")
        lines.append(f"{record['source']:14}" + "".join(cells))
    return lines


def append(record: dict, path: Path) -> bool:
    """Append `record` to the JSON Lines file `path` unless it is there already. Returns whether it was appended."""
    if path.exists() and json.dumps(record, ensure_ascii=False) in path.read_text("utf-8").splitlines():
        return False
    files.append(path, [record])
    return True
