"""What an edit changed: answers before and after, accuracy on a sample of the unmodified facts, size by part."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ..editing.edit import Edit
from ..evaluation import Rate, rate
from ..facts import FactBase, Modification
from ..models.masked_lm import MaskedLM
from ..parts import layout
from .index import FactIndex

Ranked = list[tuple[str, float]]
"""(text, probability or weight), best first."""


@dataclass(frozen=True)
class Line:
    """A statement before and after the edit. `wanted` is the right answer after it, as the model writes it."""

    kind: str  # "learnt from", "unseen phrasing", or a kind of neighbour (`FactIndex.neighbours`)
    statement: str
    wanted: str
    before: Ranked
    after: Ranked

    @property
    def right(self) -> tuple[bool, bool]:
        """Whether the best answer is the wanted one, before and after."""
        return self.before[0][0] == self.wanted, self.after[0][0] == self.wanted


@dataclass(frozen=True)
class PartChange:
    """How much a part of the model changed: θ − θ₀ over its `parameters` touched parameters."""

    part: str
    parameters: int
    l2: float
    largest: float


@dataclass(frozen=True)
class Retrieval:
    """The rows of the fact memory that a FaE retrieves for a statement, with their weights, before and after."""

    statement: str
    before: Ranked
    after: Ranked


@dataclass(frozen=True)
class Report:
    """What an edit changed. `learnt` is the share of the modified facts' statements now answered with the new object:
    of their unseen phrasings or, for facts without any, of their evidences. `kept`, `kept_before` and `lost` (a
    difference) are A_{F∖S} on the sample, None where no statement of it was asked."""

    lines: tuple[Line, ...]
    learnt: Rate | None
    kept: Rate | None
    kept_before: Rate | None
    lost: Rate | None
    moved: tuple[PartChange, ...]
    retrieved: tuple[Retrieval, ...]
    seconds: float


class SampledFacts:
    """At most `most` facts of a base with their tests, so that A_{F∖S} costs the same for any number of facts."""

    def __init__(self, model: MaskedLM, facts: FactBase, most: int = 500, seed: int = 0):
        n = min(most, len(facts))
        self.indices = np.sort(np.random.default_rng(seed).choice(len(facts), n, replace=False))
        self.examples = model.examples(facts, "tests", [facts[int(i)] for i in self.indices])
        self.tests = np.bincount(self.examples.owner, minlength=n)  # (facts,) how many each fact has
        self._right: dict[str, np.ndarray] = {}

    def right(self, model: MaskedLM) -> np.ndarray:
        """(facts,) how many tests of each fact `model` answers right. Kept for each state of the model."""
        state = model.fingerprint()
        if state not in self._right:
            answers = model.correct(self.examples).numpy()
            self._right[state] = np.bincount(self.examples.owner, weights=answers, minlength=len(self.indices))
        return self._right[state]


def top(model: MaskedLM, statements: list[str], objects: list[str], k: int = 5) -> list[Ranked]:
    """The k best answers to each statement, with as many masks as its object has word pieces."""
    return model.answers(statements, objects, k) if statements else []


def measure(
    model: MaskedLM,
    index: FactIndex,
    sample: SampledFacts,
    change: Modification,
    edit: Edit,
    avoid: set[int],
    shown: int = 5,
    seed: int = 0,
) -> Report:
    """Measure an edit of `model`, which ends as it began.

    Args:
        avoid: positions in the index's facts that earlier edits changed; they no longer count as unmodified.
        shown: for how many modified facts to list statements and neighbours.
    """
    started = time.perf_counter()
    base = change.base
    questions = _questions(index, change, avoid, shown, seed)
    kinds, statements, olds, news = (list(column) for column in zip(*questions, strict=True))
    rest = ~np.isin(sample.indices, list(set(change.indices) | avoid))
    kind = "tests" if any(base.tests(fact) for fact in change.originals) else "evidences"
    learnt = model.examples(base, kind, change.modified)
    asked = [(base.tests(fact) or base.evidences(fact))[0] for fact in change.originals[:shown]]

    before, right_before = top(model, statements, olds), sample.right(model)
    retrieved_before = [model.retrieved(statement) for statement in asked]
    with edit(model):
        after, right_after = top(model, statements, news), sample.right(model)
        retrieved_after = [model.retrieved(statement) for statement in asked]
        answers = model.correct(learnt).numpy()

    def kept(right: np.ndarray) -> Rate | None:
        return rate(right[rest], sample.tests[rest]) if sample.tests[rest].any() else None

    return Report(
        lines=tuple(
            Line(kind, statement, model.written(new), *ranked)
            for kind, statement, new, *ranked in zip(kinds, statements, news, before, after, strict=True)
        ),
        learnt=rate(
            np.bincount(learnt.owner, weights=answers, minlength=len(change)),
            np.bincount(learnt.owner, minlength=len(change)),
        ),
        kept=kept(right_after),
        kept_before=kept(right_before),
        lost=kept(right_after - right_before),
        moved=moved(model, edit),
        retrieved=tuple(
            Retrieval(*each) for each in zip(asked, retrieved_before, retrieved_after, strict=True) if any(each[1:])
        ),
        seconds=time.perf_counter() - started,
    )


def _questions(
    index: FactIndex, change: Modification, avoid: set[int], shown: int, seed: int
) -> list[tuple[str, str, str, str]]:
    """(kind, statement, object before, object after) for the first `shown` facts and their neighbours."""
    base, questions = change.base, []
    pairs = list(zip(change.originals, change.objects, strict=True))[:shown]
    for fact, new in pairs:
        questions += [("learnt from", s, fact.object, new) for s in base.evidences(fact)[:3]]
        questions += [("unseen phrasing", s, fact.object, new) for s in base.tests(fact)[:3]]
    taken = avoid | set(change.indices)
    for fact, _ in pairs:
        for kind, near in index.neighbours(fact, sorted(taken), 4 if len(pairs) == 1 else 1, seed).items():
            taken.update(near)
            for neighbour in (base[i] for i in near):
                statements = base.tests(neighbour) or base.evidences(neighbour)
                questions.append((kind, statements[0], neighbour.object, neighbour.object))
    return questions


def moved(model: MaskedLM, edit: Edit) -> tuple[PartChange, ...]:
    """The size of θ − θ₀ for each block, and for each part outside the blocks, that the edit touches."""
    places = layout(model.net)
    parts: dict[str, list] = {}
    for name, difference in edit.difference(model).items():
        block, component = places.get(name, (None, name.split(".")[0]))  # a buffer, such as fact_memory.tails
        part = component.replace("_", " ") if block is None else f"block {block}"
        parts.setdefault(part, []).append(difference.detach().double())
    return tuple(
        PartChange(
            part,
            sum(d.numel() for d in differences),
            sum(float(d.square().sum()) for d in differences) ** 0.5,
            max(float(d.abs().max()) for d in differences if d.numel()),
        )
        for part, differences in parts.items()
    )
