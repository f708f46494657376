"""What an edit changed: answers before and after, accuracy on a sample of the unmodified facts, size by part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..editing.edit import Edit
from ..evaluation import Ranked, Rate, judge, rate, right_counts
from ..facts import FactBase, Modification
from ..models.language_model import LanguageModel
from ..parts import layout
from .index import FactIndex
from .settings import place_name

SAMPLED = 500  # facts in the sample of the unmodified ones
SHOWN = 5  # modified facts whose statements and neighbours are listed


@dataclass(frozen=True)
class Line:
    """A statement before and after the edit. `kind` is "learnt from", "unseen phrasing", or a kind of neighbour
    (`FactIndex.neighbours`); `wanted` is the right answer after the edit, as the model writes it. `right` is whether
    the best answer is the right one: the old object before, the wanted one after."""

    kind: str
    statement: str
    wanted: str
    before: Ranked
    after: Ranked
    right: tuple[bool, bool]


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
    of their unseen phrasings or, for facts without any, of their evidences; `asked` says which. `kept`, `kept_before`
    and `lost` (a difference) are A_{F∖S} on the sample, None where no statement of it was asked."""

    lines: tuple[Line, ...]
    learnt: Rate
    kept: Rate | None
    kept_before: Rate | None
    lost: Rate | None
    moved: tuple[PartChange, ...]
    retrieved: tuple[Retrieval, ...]
    asked: str = "unseen phrasing"


class SampledFacts:
    """Some facts of a base with their tests, so that A_{F∖S} costs the same for any number of facts."""

    def __init__(self, model: LanguageModel, facts: FactBase):
        n = min(SAMPLED, len(facts))
        self.indices = np.sort(np.random.default_rng(0).choice(len(facts), n, replace=False))
        self.examples = model.examples(facts, "tests", [facts[int(i)] for i in self.indices])
        self.tests = np.bincount(self.examples.owner, minlength=n)  # (facts,) how many each fact has
        self._right: dict[str, np.ndarray] = {}

    def right(self, model: LanguageModel) -> np.ndarray:
        """(facts,) how many tests of each fact `model` answers right. Kept for each state of the model."""
        state = model.fingerprint()
        if state not in self._right:
            self._right[state] = right_counts(model, self.examples, len(self.indices))
        return self._right[state]


def measure(
    model: LanguageModel, index: FactIndex, sample: SampledFacts, change: Modification, edit: Edit, avoid: set[int]
) -> Report:
    """Measure an edit of `model`, which ends as it began. `avoid` are positions in the index's facts that earlier edits
    changed; they no longer count as unmodified."""
    base = change.base
    kinds, statements, olds, news = map(list, zip(*_questions(index, change, avoid), strict=True))
    rest = ~np.isin(sample.indices, list(avoid.union(change.indices)))
    kind = "tests" if any(base.tests(fact) for fact in change.originals) else "evidences"
    learnt = model.examples(base, kind, change.modified)
    asked = [(base.tests(fact) or base.evidences(fact))[0] for fact in change.originals[:SHOWN]]

    def ask(objects: list[str]) -> tuple[list[Ranked], list[bool], np.ndarray, list[Ranked]]:
        return *judge(model, statements, objects), sample.right(model), [model.retrieved(s) for s in asked]

    before, was_right, right_before, retrieved_before = ask(olds)
    with edit(model):
        after, is_right, right_after, retrieved_after = ask(news)
        right_learnt = right_counts(model, learnt, len(change))

    def kept(right: np.ndarray) -> Rate | None:
        return rate(right[rest], sample.tests[rest]) if sample.tests[rest].any() else None

    wanted = map(model.written, news)
    retrieved = zip(asked, retrieved_before, retrieved_after, strict=True)
    return Report(
        lines=tuple(map(Line, kinds, statements, wanted, before, after, zip(was_right, is_right, strict=True))),
        learnt=rate(right_learnt, np.bincount(learnt.owner, minlength=len(change))),
        kept=kept(right_after),
        kept_before=kept(right_before),
        lost=kept(right_after - right_before),
        moved=moved(model, edit),
        retrieved=tuple(Retrieval(*each) for each in retrieved if any(each[1:])),
        asked="unseen phrasing" if kind == "tests" else "known phrasing",
    )


def _questions(index: FactIndex, change: Modification, avoid: set[int]) -> list[tuple[str, str, str, str]]:
    """(kind, statement, object before, object after) for the first modified facts and their neighbours."""
    base, questions = change.base, []
    pairs = list(zip(change.originals, change.objects, strict=True))[:SHOWN]
    for fact, new in pairs:
        questions += [("learnt from", s, fact.object, new) for s in base.evidences(fact)[:3]]
        questions += [("unseen phrasing", s, fact.object, new) for s in base.tests(fact)[:3]]
    taken = avoid.union(change.indices)
    for fact, _ in pairs:
        for kind, near in index.neighbours(fact, taken, 4 if len(pairs) == 1 else 1).items():
            taken.update(near)
            for neighbour in (base[i] for i in near):
                statement = (base.tests(neighbour) or base.evidences(neighbour))[0]
                questions.append((kind, statement, neighbour.object, neighbour.object))
    return questions


def moved(model: LanguageModel, edit: Edit) -> tuple[PartChange, ...]:
    """The size of θ − θ₀ for each block, and for each part outside the blocks, that the edit touches."""
    places = layout(model.net)
    parts: dict[str, list[torch.Tensor]] = {}
    for name, difference in edit.difference(model).items():
        block, component = places.get(name, (None, name.split(".")[0]))  # a buffer, such as fact_memory.tails
        parts.setdefault(place_name(component if block is None else block), []).append(difference.flatten())

    def change(part: str) -> PartChange:
        difference = torch.cat(parts[part]).double()
        return PartChange(part, len(difference), float(difference.norm()), float(difference.abs().max()))

    return tuple(map(change, parts))
