"""Verdicts: an effect over seeds, the part of a claim that it tests, and what the parts say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .index import LEAST_SEEDS, Values
from .statistics import Mean, mean, seeds_to_decide

REPRODUCED, NOT_REPRODUCED, MIXED, UNDECIDED = "reproduced", "not reproduced", "mixed", "undecided"
NOT_RUN = "not yet run"


@dataclass(frozen=True)
class Effect(Mean):
    """A mean over seeds; `ends` names the grids that it was chosen from and whose widest radius was the best."""

    ends: tuple[str, ...] = ()

    def __neg__(self) -> Effect:
        return replace(self, value=-self.value, low=-self.high, high=-self.low)


def effect(values: Values) -> Effect:
    """The mean of values over seeds, such as a difference of two."""
    return Effect(**vars(mean(values.values())), ends=values.ends)


def share(values: Values) -> Effect:
    """The mean of shares; its interval ends at 0 and 1."""
    whole = effect(values)
    return replace(whole, low=max(0.0, whole.low), high=min(1.0, whole.high))


@dataclass(frozen=True)
class Part:
    """One testable piece of a claim: the effect should lie above `margin`, or `below` it. The effect is a difference,
    or a `level`."""

    what: str
    effect: Effect
    margin: float = 0.0
    below: bool = False
    level: bool = False

    @property
    def open(self) -> str:
        """The grids it was chosen from that ended too early, in words."""
        return ", ".join(self.effect.ends)

    @property
    def holds(self) -> bool | None:
        """Whether the whole interval lies on the claimed side; None if it holds the margin, or if a grid is open."""
        above, under = self.effect.low > self.margin, self.effect.high < self.margin
        if self.open or not (above or under):
            return None
        return under if self.below else above

    @property
    def asked(self) -> str:
        """The bound in words, such as "above +5.0 points asked"."""
        bound = f"{100 * self.margin:g} %" if self.level else f"{100 * self.margin:+g} points" if self.margin else "0"
        return f"{'below' if self.below else 'above'} {bound} asked"

    @property
    def mark(self) -> str:
        return {True: "✓", False: "✗", None: "?"}[self.holds]

    @property
    def short(self) -> str:
        """The effect and its interval, in points or (a level) percent, such as "+36.5 [+9.9, +63.0]"."""
        return self.effect.text("" if self.level else "+", unit="")

    @property
    def decided_by(self) -> str:
        """What would decide a part that holds neither way, in words; empty for the others."""
        if self.holds is not None or self.effect.n < LEAST_SEEDS:
            return ""
        if self.open:
            return f"open, for the best radius of {self.open} is the widest that was run"
        seeds = seeds_to_decide(self.effect, self.margin)
        if seeds is None:
            return "no 1,000 seeds would decide it"
        return f"some {seeds} seeds would decide it, if they are like these"

    def __str__(self) -> str:
        effect = str(self.effect) if self.level else self.effect.points()
        settle = f"; {self.decided_by}" * bool(self.decided_by)
        return f"{self.mark} {self.what}: {effect} ({self.effect.n} seeds, {self.asked}{settle})"

    def record(self) -> dict:
        values = vars(self) | vars(self.effect)
        values |= {"open": self.open, "holds": self.holds, "decided_by": self.decided_by}
        return {name: value for name, value in values.items() if name not in ("effect", "ends")}


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim. `missing` says what would have to be run to test all of it."""

    claim: str
    text: str
    question: str
    verdict: str
    parts: tuple[Part, ...] = ()
    ids: tuple[str, ...] = ()
    missing: str = ""

    @property
    def seeds(self) -> int:
        """The fewest seeds of a part."""
        return min((part.effect.n for part in self.parts), default=0)

    def __str__(self) -> str:
        head = f"{self.claim} ({self.question}) {self.text}\n  {self.verdict}{': ' * bool(self.missing)}{self.missing}"
        return "\n  ".join([head, *map(str, self.parts)])

    def record(self) -> dict:
        return vars(self) | {"seeds": self.seeds, "parts": [part.record() for part in self.parts]}


def decide(parts: Sequence[Part]) -> str:
    """Reproduced if every part holds; not reproduced if none does and some fail; mixed if some hold and others fail;
    undecided if what is not settled could still turn it."""
    if any(part.effect.n < LEAST_SEEDS for part in parts) or not parts:
        return NOT_RUN
    holds = {part.holds for part in parts}
    if holds == {True}:
        return REPRODUCED
    if False in holds:
        return MIXED if True in holds else NOT_REPRODUCED
    return UNDECIDED
