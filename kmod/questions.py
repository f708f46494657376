"""Questions that probe an edit beside the tests of its facts, and those that follow from the edited facts.

An edit is *portable* if the model also draws on it where the fact is asked for in another way (Yao et al. 2023,
"Editing Large Language Models"; Cohen et al. 2024, "Evaluating the Ripple Effects of Knowledge Editing"): under an
*alias* of the subject, by the *inverse* relation, or as one step of two (*one hop*). Such a question says something
about the edit only if the unedited model could answer the corresponding one about the old object: that is what its
`needs` ask.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .checks import brief
from .facts import Fact, FactBase, Modification
from .names import alike, normal, shown
from .relations import MASK, OBJECT, SUBJECT, fill

JUDGED_BY = ("answer", "pieces", "rival", "unchanged")
PORTABILITY = ("alias", "inverse", "one hop")


@dataclass(frozen=True)
class Question:
    """A masked statement and its right answer after an edit.

    Args:
        statement: a sentence with exactly one [MASK].
        answer: what [MASK] stands for.
        also: other right answers. They are left out of the ranking, in which `answer` must be first (the "filtered"
            rank of link prediction: Bordes et al. 2013).
        by: what counts as right. "answer": every word piece is the best. "pieces": the share of the word pieces that
            are the best (EasyEdit's accuracy). "rival": the answer has a higher mean log-probability a word piece than
            `rival` (ROME's success). "unchanged": the share of the word pieces whose best is as before the edit (MEND's
            locality).
        rival: the answer to compare with.
        needs: questions that the unedited model must answer; if not, this one is not counted.
        fact: position of the modified fact that it is about; intervals are over facts.

    Raises ValueError, which shows the statement, unless it has [MASK] once and `by` fits.
    """

    statement: str
    answer: str
    also: tuple[str, ...] = ()
    by: str = "answer"
    rival: str | None = None
    needs: tuple[Question, ...] = ()
    fact: int | None = None

    def __post_init__(self):
        if not isinstance(self.statement, str) or self.statement.count(MASK) != 1:
            raise ValueError(brief(f"a question is a statement with one {MASK}, got {shown(str(self.statement), 120)}"))
        about = f"the question {shown(self.statement, 120)}"
        if not isinstance(self.answer, str) or not self.answer.strip():
            raise ValueError(brief(f"{about} needs an answer, got {self.answer!r}"))
        if self.by not in JUDGED_BY or (self.by == "rival") != (self.rival is not None):
            ways = f"one of {', '.join(JUDGED_BY)}, and rival= with 'rival' alone"
            raise ValueError(brief(f"{about}: by= must be {ways}, got {self.by!r}, {self.rival!r}"))


def as_questions(name: str, statements: Iterable[Question | Sequence[str]]) -> list[Question]:
    """The questions of probe `name`: questions as they are, pairs (statement, answer) as questions about facts of their
    own. Raises ValueError that names the probe for anything else, or for none."""
    questions = []
    for item in statements:
        if not isinstance(item, Question):
            if not isinstance(item, (tuple, list)) or len(item) != 2:
                given = shown(str(item))
                raise ValueError(brief(f"probe {name!r}: give kmod.Question or (statement, answer), got {given}"))
            item = Question(*item)
        questions.append(item)
    if not questions:
        raise ValueError(brief(f"probe {name!r} has no statements"))
    return questions


def portability(change: Modification) -> dict[str, list[Question]]:
    """The questions "alias", "inverse" and "one hop" that follow from `change`, each kind of those facts that have any.

    - alias: the tests of the fact with another name of its subject (`FactBase.aliases`) ask for the new object.
    - inverse: the relation's first test with the subject masked and the new object in place asks for the subject. Other
      subjects with that object in F′ are right as well, and are not ranked (`Question.also`).
    - one hop: the relation's `hops` ask for what F′ holds of the new object in a second relation, where that differs
      from what it holds of the old one. The model must also know that second fact.
    """
    base, asked = change.base, {kind: [] for kind in PORTABILITY}
    after = _Facts(base, change)
    for position, (fact, new) in enumerate(zip(change.originals, change.objects, strict=True)):
        asked["alias"] += _aliases(base, fact, new, position)
        asked["inverse"] += _inverse(after, fact, new, position)
        asked["one hop"] += _hops(after, fact, new, position)
    return asked


def neighbours(change: Modification) -> dict[str, np.ndarray]:
    """Kind → (facts,) bool: the facts of F∖S that an edit of these might damage. They have the "same subject" as a
    modified fact or, with another subject, the "same relation" or the "same old object"."""
    codes, at = _codes(change.base), np.array(change.indices)
    rest = ~np.isin(np.arange(len(change.base)), at)
    same = {kind: np.isin(codes[kind], codes[kind][at]) for kind in ("subject", "relation", "object")}
    others = rest & ~same["subject"]
    return {
        "same subject": rest & same["subject"],
        "same relation": others & same["relation"],
        "same old object": others & same["object"],
    }


def _codes(base: FactBase) -> dict[str, np.ndarray]:
    """ "subject", "relation", "object" → (facts,) numbers that are equal where the names are (`names.normal`)."""
    found: dict[str, list[int]] = {}
    for column in ("subject", "relation", "object"):
        numbers: dict[str, int] = {}
        found[column] = [numbers.setdefault(normal(getattr(fact, column)), len(numbers)) for fact in base]
    return {column: np.array(numbers, dtype=np.int64) for column, numbers in found.items()}


class _Facts:
    """The facts before and after a change, by subject and by object."""

    def __init__(self, base: FactBase, change: Modification):
        self.base = base
        new = dict(zip(change.indices, change.objects, strict=True))
        self.objects: dict[tuple[str, str], list[tuple[Fact, str]]] = defaultdict(list)  # → (fact, its object in F′)
        self.subjects: tuple[dict, dict] = (defaultdict(list), defaultdict(list))  # in F, in F′
        for i, fact in enumerate(base):
            now = new.get(i, fact.object)
            self.objects[normal(fact.subject), fact.relation].append((fact, now))
            for held, obj in zip(self.subjects, (fact.object, now), strict=True):
                held[fact.relation, normal(obj)].append(fact.subject)

    def others(self, time: int, fact: Fact, obj: str) -> tuple[str, ...]:
        """The subjects other than the fact's that have `obj` in its relation, in F (0) or F′ (1)."""
        return tuple(s for s in self.subjects[time][fact.relation, normal(obj)] if normal(s) != normal(fact.subject))


def _aliases(base: FactBase, fact: Fact, new: str, position: int) -> list[Question]:
    found = []
    for alias in base.aliases.get(fact.subject, ()):
        tests = [test.replace(fact.subject, alias) for test in fact.tests if fact.subject in test]
        if not fact.tests:
            tests = [fill(phrasing, alias) for phrasing in base.relations[fact.relation].tests]
        found += [Question(t, new, needs=(Question(t, fact.object),), fact=position) for t in tests]
    return found


def _inverse(after: _Facts, fact: Fact, new: str, position: int) -> list[Question]:
    relation = after.base.relations.get(fact.relation)
    if relation is None or not relation.tests:
        return []

    def ask(time: int, obj: str, **more) -> Question:
        statement = relation.tests[0].replace(OBJECT, obj).replace(SUBJECT, MASK)
        return Question(statement, fact.subject, after.others(time, fact, obj), **more)

    return [ask(1, new, needs=(ask(0, fact.object),), fact=position)]


def _hops(after: _Facts, fact: Fact, new: str, position: int) -> list[Question]:
    base, found = after.base, []
    relation = base.relations.get(fact.relation)
    for second, phrasing in (relation.hops if relation else {}).items():
        old_ends, new_ends = (after.objects.get((normal(o), second), []) for o in (fact.object, new))
        if len(old_ends) != 1 or len(new_ends) != 1:
            continue  # nothing follows, or more than one answer does
        (before, end_before), (step, end) = old_ends[0], new_ends[0]
        if end_before != before.object or end != step.object or alike(end) == alike(end_before):
            continue  # the second fact changes too, or the answer stays
        if not base.tests(step):
            continue  # nothing says whether the model knows it
        statement = fill(phrasing, fact.subject)
        known = Question(base.tests(step)[0], end)
        found.append(Question(statement, end, needs=(Question(statement, end_before), known), fact=position))
    return found
