"""What to do when facts must change: the best editors for each number of facts, from the suite `methods`."""

from __future__ import annotations

from collections import Counter
from statistics import fmean
from typing import TYPE_CHECKING

from . import equal_care
from .index import Index
from .statistics import difference, mean

if TYPE_CHECKING:
    from .equal_care import Compared
    from .suites import Profile

BEST = 3  # editors that are named for each number of facts
LEFT_OUT = (equal_care.RETRAIN, "kNN")  # one needs all data, the other changes no weight


def ranked(p: Profile, index: Index, n: int) -> list[Compared]:
    """The editors with two seeds or more at |M| = n, by Ā, the best first."""
    found = equal_care.compare(p, index, n)
    found = {name: editor for name, editor in found.items() if editor.seeds > 1 and name not in LEFT_OUT}
    return sorted(found.values(), key=lambda editor: -fmean(editor.values("A_mean").values()))


def behind(best: Compared, editors: list[Compared]) -> int:
    """How many editors have an Ā that is surely lower: the whole interval of the difference, paired by seed."""
    own = best.values("A_mean")
    steps = [difference(own, other.values("A_mean")) for other in editors if other is not best]
    return sum(step.n > 1 and step.low > 0 for step in steps)


def best(p: Profile, index: Index) -> list[dict]:
    """Rows of a table: for each number of facts the best editors, what they reach, and what one edit costs."""
    rows = []
    for n in sorted(equal_care.sizes(p)):
        editors = ranked(p, index, n)
        for editor in editors[:BEST]:
            (cell, _), *_ = Counter(editor.choice.chosen.values()).most_common()
            values = {title: mean(editor.values(metric).values()) for title, metric in MEASURED.items()}
            rows.append(
                {"facts": f"{n:,}", "editor": editor.editor, "its usual choice": cell.dials or "as it is"}
                | {title: f"{100 * value.value:.1f} %" for title, value in values.items()}
                | {"seconds": f"{fmean(editor.cost('seconds').values()):.1f}" if editor.cost("seconds") else "–"}
                | {"surely behind": f"{behind(editor, editors)} of {len(editors) - 1}", "seeds": editor.seeds}
            )
    return rows


MEASURED = {"A_M": "A_M", "A_F∖S": "A_FS", "Ā": "A_mean"}


def sentence(p: Profile, index: Index) -> str:
    """The advice in a few words, for each number of facts."""
    words = []
    for n in sorted(equal_care.sizes(p)):
        if not (editors := ranked(p, index, n)):
            continue
        top, facts = editors[0], "One fact" if n == 1 else f"{n:,} facts"
        sure, others = behind(top, editors), len(editors) - 1
        score = f"{100 * fmean(top.values('A_mean').values()):.1f} %"
        if sure > others / 2:
            words.append(f"{facts}: {top.editor} ($\\bar A$ {score}), surely ahead of {sure} of the other {others}")
            continue
        peers = [editor for editor in editors if not behind(top, [top, editor]) and editor.cost("seconds")]
        quick = min(peers, key=lambda editor: fmean(editor.cost("seconds").values()))
        took = fmean(quick.cost("seconds").values())
        words.append(
            f"{facts}: {len(peers)} editors cannot be told apart ($\\bar A$ up to {score}); the quickest is "
            f"{quick.editor} ({took:.1f} s)"
        )
    return f"{'. '.join(words) or 'Nothing is known yet'}. Choose the rate, train together, ask everything again."
