"""What the records of `sequences` say: the curves over the number of edits, and the verdict on the claim of 2026."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean

from .index import Index, Missing, Values
from .ledger import Part, Verdict, decide, effect
from .sequences import CHOSEN, LAST, PORTIONS, START, arm
from .suites import Profile

CLAIM = "In a sequence of edits, bounds on the increments fail as they add up; an anchor at the original weights holds."
"""Of the literature of 2025 and 2026 (ENCORE, arXiv 2502.01636; NAS, arXiv 2602.02543), in our words. It is none of the
paper's twelve, and stands apart from them."""


def curves(p: Profile, index: Index) -> list[dict]:
    """A row for each measured portion of each finished run of `sequences`: "label" (the arm), "size" (facts at a time),
    "seed", and the numbers of the record's "rows"."""
    return [
        {"label": name, "size": portion, "seed": seed, "id": record["id"]} | row
        for portion, (n, *_) in PORTIONS.items()
        for name, number in CHOSEN.items()
        for seed, record in index.cell(arm(p, name, number, portion, n)).items()
        for row in record["rows"]
    ]


def verdict(rows: Iterable[Mapping]) -> Verdict:
    """What `curves` says of `CLAIM`, after the last portion of each sequence: a part holds or fails by its whole
    interval over seeds."""
    rows, parts = list(rows), []

    def at_end(size: int, name: str, metric: str) -> Values:
        mine = [row for row in rows if (row["size"], row["label"]) == (size, name)]
        most = max((row["edited"] for row in mine), default=0)
        return Values({row["seed"]: row[metric] for row in mine if row["edited"] == most})

    missing = ""
    for size, (n, *_) in sorted(PORTIONS.items()):
        where, ours, theirs = f"{n:,} facts, {size} at a time", *((size, name) for name in (START, LAST))
        try:
            lost = at_end(*theirs, "A_FS_before") - at_end(*theirs, "A_FS")
            kept = at_end(*ours, "A_FS_before") - at_end(*ours, "A_FS")
            more, mean = (at_end(*ours, metric) - at_end(*theirs, metric) for metric in ("A_M", "A_mean"))
        except Missing as error:
            missing = f"it needs {error}"
            continue
        parts += [
            Part(f"{where}: A_F∖S lost under bounded increments", effect(lost), 0.1),
            Part(f"{where}: A_F∖S lost under the anchor at θ₀", effect(kept), 0.1, below=True),
            Part(f"{where}: A_M of all edits, θ₀ − increments", effect(more)),
            Part(f"{where}: Ā, θ₀ − increments", effect(mean)),
        ]
    ids = tuple(dict.fromkeys(row["id"] for row in rows))
    return Verdict("2026", CLAIM, "sequences", decide(parts), tuple(parts), ids, missing)


def general(rows: Iterable[Mapping]) -> str:
    """General ability before → after, as mean pseudo-perplexities over seeds; "–" where it was not measured."""
    rows = list(rows)
    if not rows or any("pseudo_perplexity" not in row for row in rows):
        return "–"
    before, after = (fmean(row[name] for row in rows) for name in ("pseudo_perplexity_before", "pseudo_perplexity"))
    return f"{before:,.0f} → {after:,.0f}"
