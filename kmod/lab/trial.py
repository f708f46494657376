"""One edit of one fact, from the question to what broke: `python -m kmod try France P36 Rome`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from ..constraints import Linf
from ..editing import Edit, finetune
from ..evaluation import judge, score
from ..facts import Fact, FactBase
from ..models.language_model import LanguageModel

SETTINGS = {"block": -1, "steps": 25, "batch_size": 8}
DELTA = 4e-3
"""Settings that teach nano-atlas most single facts and break few others; from the edits that `kmod play` records."""
SHOWN = 8  # broken facts that are listed


@dataclass(frozen=True)
class Answer:
    """The best answer to a statement and its probability, before and after the edit; `right` after it."""

    statement: str
    before: tuple[str, float]
    after: tuple[str, float]
    right: bool


@dataclass(frozen=True)
class Trial:
    """What an edit of one fact did.

    `answers` are those to the fact's tests. `broken` lists the other facts whose tests were all right before and are
    not all right after, the first ones with the answer to a test that is wrong now; `known` counts those that could
    break.
    """

    fact: Fact
    new: str
    edit: Edit
    answers: tuple[Answer, ...]
    broken: tuple[tuple[Fact, str], ...]
    relations: dict[str, str]  # id → label
    known: int
    seconds: float

    @property
    def learnt(self) -> int:
        """How many tests are answered with the new object."""
        return sum(answer.right for answer in self.answers)

    def __str__(self) -> str:
        mark = "✓ learnt" if self.learnt == len(self.answers) else "✗ not learnt"
        lines = [
            f"{self.fact.subject}: {self.fact.object} → {self.new}",
            f"{mark}: {self.learnt} of {len(self.answers)} unseen phrasings; "
            f"{len(self.broken):,} of {self.known:,} other facts broke; {self.seconds:.1f} s",
            "",
        ]
        for answer in self.answers:
            before, after = (f"{name} {100 * p:.0f} %" for name, p in (answer.before, answer.after))
            lines.append(f"  {'✓' if answer.right else '✗'} {answer.statement}  {before} → {after}")
        if not self.broken and all(answer.before[0] == answer.after[0] for answer in self.answers):
            lines.append("This edit changes no best answer.")
        if self.broken:
            lines += ["", "broken:"]
            lines += [
                f"  {fact.subject}, {self.relations.get(fact.relation, fact.relation)}: {fact.object} → {wrong}"
                for fact, wrong in self.broken[:SHOWN]
            ]
            if (more := len(self.broken) - SHOWN) > 0:
                lines.append(f"  and {more:,} more")
        return "\n".join(lines)


def try_edit(
    model: LanguageModel,
    facts: FactBase,
    subject: str,
    relation: str,
    new: str,
    *,
    delta: float | None = DELTA,
    **settings,
) -> Trial:
    """Give one fact a new object by fine-tuning in an ℓ∞ ball, and ask every fact again; `model` is not changed.

    Args:
        delta: radius of the ball; None for no limit.
        settings: those of `kmod.finetune`, in place of `SETTINGS`.

    Raises KeyError for a fact that is not in the base, and ValueError for an object that the fact already has or that
    the model cannot write.
    """
    started = time.perf_counter()
    change = facts.modify_to([(subject, relation, new)])
    (index,), (fact,), (new,) = change.indices, change.originals, change.objects
    settings = SETTINGS | settings
    edit = finetune(model, change, constraint=None if delta is None else Linf(delta), **settings)
    before = score(model, facts, ["tests"], keep=settings["block"] if isinstance(settings["block"], int) else None)
    tests = list(facts.tests(fact))
    was = [answers[0] for answers in model.answers(tests, [fact.object] * len(tests), 1)]
    with edit(model):
        after = score(model, facts, ["tests"], before.examples, kept=before.kept)
        ranked, right = judge(model, tests, [new] * len(tests), 1)
        others = np.arange(len(facts)) != index
        broken = np.flatnonzero(before.known & ~after.known & others).tolist()
        wrong = _wrong_answers(model, facts, broken[:SHOWN])
    now = [answers[0] for answers in ranked]
    names = {model.written(name): name for name in [*facts.object_counts, new]}

    def named(answer: tuple[str, float]) -> tuple[str, float]:
        return names.get(answer[0], answer[0]), answer[1]

    return Trial(
        fact=fact,
        new=new,
        edit=edit,
        answers=tuple(Answer(s, named(w), named(n), r) for s, w, n, r in zip(tests, was, now, right, strict=True)),
        broken=tuple((facts[i], names.get(answer, answer)) for i, answer in zip_longest(broken, wrong, fillvalue="")),
        relations={i: relation.label for i, relation in facts.relations.items()},
        known=int((before.known & others).sum()),
        seconds=time.perf_counter() - started,
    )


def _wrong_answers(model: LanguageModel, facts: FactBase, indices: list[int]) -> list[str]:
    """For each fact, the model's answer to the first of its tests that it gets wrong."""
    found = []
    for i in indices:
        tests = list(facts.tests(facts[i]))
        ranked, right = judge(model, tests, [facts[i].object] * len(tests), 1)
        found.append(ranked[right.index(False) if False in right else 0][0][0])
    return found
