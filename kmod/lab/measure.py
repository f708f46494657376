"""What an edit did, as the lab shows it: statements before and after, the unmodified facts on a sample, the tensors."""

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
class Moved:
    """How far a part of the model moved: θ − θ₀ over `parameters` parameters."""

    part: str
    parameters: int
    l2: float
    most: float


@dataclass(frozen=True)
class Report:
    """What an edit did. `learnt` is the share of the modified facts' statements now answered with the new object, on
    unseen phrasings, or, where these facts have none, on those they were learnt from. `kept`, `kept_before` and
    `lost` (a difference) are A_{F∖S} on the sample."""

    lines: tuple[Line, ...]
    learnt: Rate | None
    kept: Rate | None
    kept_before: Rate | None
    lost: Rate | None
    moved: tuple[Moved, ...]
    retrieved: tuple[tuple[str, list[tuple[str, float]], list[tuple[str, float]]], ...]
    seconds: float


class Sample:
    """Some facts of a base, asked by their tests: for A_{F∖S} at a price that does not grow with F."""

    def __init__(self, model: MaskedLM, facts: FactBase, most: int = 500, seed: int = 0):
        n = min(most, len(facts))
        self.indices = np.sort(np.random.default_rng(seed).choice(len(facts), n, replace=False))
        chosen = [facts[int(i)] for i in self.indices]
        self.examples = model.examples(facts, "tests", chosen)
        self.asked = np.bincount(self.examples.owner, minlength=n)
        self._right: dict[str, np.ndarray] = {}

    def right(self, model: MaskedLM) -> np.ndarray:
        """(facts,) tests that `model` answers right; asked once for each state of the model."""
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
    sample: Sample,
    change: Modification,
    edit: Edit,
    avoid: set[int],
    shown: int = 5,
    seed: int = 0,
) -> Report:
    """Judge an edit of `model`, which is left as it was.

    Args:
        avoid: positions in the index's facts of what earlier edits changed: no longer facts to be kept.
        shown: of how many modified facts to show statements and neighbours.
    """
    started = time.perf_counter()
    base, asked = change.base, _questions(index, change, avoid, shown, seed)
    kinds, statements, olds, news = (list(column) for column in zip(*asked, strict=True))
    changed = set(change.indices) | avoid
    rest = ~np.isin(sample.indices, list(changed))
    kind = "tests" if any(base.tests(fact) for fact in change.originals) else "evidences"
    learnt = model.examples(base, kind, change.modified)
    before, right_before = top(model, statements, olds), sample.right(model)
    told = _retrieved(model, change, kind, shown)
    with edit(model):
        after, right = top(model, statements, news), sample.right(model)
        answers = model.correct(learnt).numpy()
        told_after = _retrieved(model, change, kind, shown)
    counts = np.bincount(learnt.owner, minlength=len(change))
    whole = (sample.asked[rest] > 0).any()
    return Report(
        lines=tuple(
            Line(kind, statement, model.written(new), was, now)
            for kind, statement, new, was, now in zip(kinds, statements, news, before, after, strict=True)
        ),
        learnt=rate(np.bincount(learnt.owner, weights=answers, minlength=len(change)), counts),
        kept=rate(right[rest], sample.asked[rest]) if whole else None,
        kept_before=rate(right_before[rest], sample.asked[rest]) if whole else None,
        lost=rate((right - right_before)[rest], sample.asked[rest]) if whole else None,
        moved=moved(model, edit),
        retrieved=tuple((s, was, now) for (s, was), (_, now) in zip(told, told_after, strict=True)),
        seconds=time.perf_counter() - started,
    )


def _questions(index, change: Modification, avoid: set[int], shown: int, seed: int) -> list[tuple[str, str, str, str]]:
    """(kind, statement, object asked for before, and after), for the first `shown` facts and their neighbours."""
    base, asked = change.base, []
    pairs = list(zip(change.originals, change.objects, strict=True))[:shown]
    for fact, new in pairs:
        asked += [("learnt from", s, fact.object, new) for s in base.evidences(fact)[:3]]
        asked += [("unseen phrasing", s, fact.object, new) for s in base.tests(fact)[:3]]
    taken = avoid | set(change.indices)
    for fact, _ in pairs:
        for kind, near in index.neighbours(fact, sorted(taken), 4 if len(pairs) == 1 else 1, seed).items():
            taken.update(near)
            for other in (base[j] for j in near):
                statements = base.tests(other) or base.evidences(other)
                asked.append((kind, statements[0], other.object, other.object))
    return asked


def moved(model: MaskedLM, edit: Edit) -> tuple[Moved, ...]:
    """The size of θ − θ₀ for each block and each part outside the blocks that the edit touches."""
    places = layout(model.net)
    found: dict[str, list] = {}
    for name, difference in edit.difference(model).items():
        block, component = places.get(name, (None, "fact memory"))
        part = component.replace("_", " ") if block is None else f"block {block}"
        found.setdefault(part, []).append(difference.detach().double())
    return tuple(
        Moved(
            part,
            sum(d.numel() for d in parts),
            sum(float(d.square().sum()) for d in parts) ** 0.5,
            max(float(d.abs().max()) for d in parts if d.numel()),
        )
        for part, parts in found.items()
    )


def _retrieved(model: MaskedLM, change: Modification, kind: str, shown: int) -> list[tuple[str, list]]:
    """Of a FaE: for a statement of each shown fact, the rows of the fact memory that it retrieves, with weights."""
    if model.net.config.model_type != "fae":
        return []
    from ..fae import explain

    found = []
    for fact in change.originals[:shown]:
        statement = getattr(change.base, kind)(fact)[0]
        rows = explain(model, statement).rows
        found.append((statement, [(str(row), row.weight) for row in rows]))
    return found
