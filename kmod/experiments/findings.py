"""What the records come to, in a few sentences. Each number in them is read from the ledger or the suite `methods`.

Of a difference a sentence says which way it goes only if the whole interval does; of the editors at the largest |M|,
only if their means are `SURE` points apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import equal_care
from .index import Index
from .ledger import Part, Verdict
from .statistics import Mean, mean

if TYPE_CHECKING:
    from .suites import Profile

REHEARSE = ("FTA", "KL", "loss-constrained")
"""Editors that go on asking the model about facts that do not change."""
SURE = 10.0  # points that count as much


def findings(p: Profile, index: Index, ledger: Mapping[str, Verdict]) -> list[str]:
    """The sentences, those of what has records, in Markdown."""
    found = [forgetting(ledger), ball(ledger), many(p, index)]
    return [sentence for sentence in found if sentence]


def _part(ledger: Mapping[str, Verdict], claim: str, what: str) -> Part | None:
    return next((part for part in ledger[claim].parts if part.what == what and part.effect.n > 1), None)


def forgetting(ledger: Mapping[str, Verdict]) -> str:
    """How much of what is lost without a limit is the learning rate's."""
    common = _part(ledger, "C1", "A_F∖S lost, all blocks")
    own = _part(ledger, "C1", "at equal care: A_F∖S lost, all blocks")
    if common is None or own is None:
        return ""
    most = common.effect.low > own.effect.high
    head = (
        "Most of the forgetting is the learning rate's." if most else "The learning rate matters less than was hoped."
    )
    return (
        f"**{head}** Fine-tuned on the new facts alone, without a limit, the model loses {_points(common)} of what it "
        f"knew at one common rate, and {_points(own)} at a rate of its own, chosen as those of all methods were."
    )


def ball(ledger: Mapping[str, Verdict]) -> str:
    """What the paper's ball adds to that, and whether mixing in old facts does more."""
    gain = _part(ledger, "C2", "at equal care: Ā of FTM in ℓ∞ − FTM")
    mixing = _part(ledger, "C2", "at equal care: Ā of FTM in ℓ∞ − FTA")
    if gain is None or mixing is None:
        return ""
    helps, ahead = _sign(gain), _sign(mixing)
    first = {1: "The ball helps", -1: "The ball hurts", 0: "Whether the ball helps is not sure"}[helps]
    second = {1: "mixing helps less", -1: "old facts mixed in help more", 0: "mixing is not surely better"}[ahead]
    return (
        f"**{first}; {second}.** At equal care a bound on how far each weight may move changes "
        f"the mean of learnt and kept by {gain.effect.points()}; beside mixing it is {mixing.effect.points()}."
    )


def many(p: Profile, index: Index) -> str:
    """Which editors still work on the most facts at once."""
    n = max(equal_care.sizes(p))
    scores = {name: mean(editor.values("A_mean").values()) for name, editor in equal_care.compare(p, index, n).items()}
    scores = {name: score for name, score in scores.items() if score.n > 1}
    asking = {name: score for name, score in scores.items() if name in REHEARSE}
    others = {name: score for name, score in scores.items() if name not in (*REHEARSE, equal_care.RETRAIN, "kNN")}
    if len(asking) < len(REHEARSE) or not others:
        return ""
    best = max(others, key=lambda name: others[name].value)
    gap = 100 * (min(score.value for score in asking.values()) - others[best].value)
    only = gap > SURE
    head = "With many facts, rehearse." if only else "With many facts, several ways still work."
    words = ", ".join(f"{name} {_percent(scores[name])}" for name in sorted(asking, key=lambda a: -asking[a].value))
    return (
        f"**{head}** With {n:,} facts changed at once, the editors that keep asking about the rest hold: {words}. "
        f"The best of those that do not is {best}, at {_percent(others[best])}."
    )


def _sign(part: Part) -> int:
    return 1 if part.effect.low > 0 else -1 if part.effect.high < 0 else 0


def _points(part: Part) -> str:
    return f"{100 * part.effect.value:.0f} points"


def _percent(score: Mean) -> str:
    return f"{100 * score.value:.0f} %"
