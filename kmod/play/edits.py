"""What a model answers after an edit of one fact: about the fact, about its neighbours, and where else it errs now."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..constraints import Linf
from ..editing import Edit, finetune
from ..facts import Fact, FactBase, Modification
from ..models.activations import Activations, activations
from ..models.masked_lm import MaskedLM
from ..models.statements import Examples
from ..parts import blocks as blocks_of

BLOCKS = {"all": "all", "first": 0, "last": -1}
TRAINING = {"steps": 25, "batch_size": 8, "lr": 1e-3}
TOP, LISTED, NEAR = 3, 40, 4
"""How many answers of a statement, broken facts of an edit, and neighbours of each kind are written down."""


@dataclass(frozen=True, eq=False)
class Asked:
    """The tests of all facts, how the model answers them unedited, and the states that enter the first and last
    block."""

    model: MaskedLM
    facts: FactBase
    tests: Examples
    kept: dict[str, Activations]
    right: np.ndarray  # (statements,) bool
    names: dict[str, str]  # what the vocabulary writes → the object's name
    seconds: float

    @classmethod
    def of(cls, model: MaskedLM, facts: FactBase) -> Asked:
        tests, last = model.examples(facts, "tests"), len(blocks_of(model.net)) - 1
        kept = {block: activations(model, tests, last if block == "last" else 0) for block in BLOCKS}
        right = model.correct(tests, kept=kept["all"]).numpy()  # which also fills what is kept
        started = time.perf_counter()
        model.correct(tests, kept=kept["all"])
        names = {model.written(name): name for name, _ in reversed(facts.object_counts.most_common())}
        return cls(model, facts, tests, kept, right, names, time.perf_counter() - started)

    @property
    def known(self) -> np.ndarray:
        return self.whole(self.right)

    def label(self, j: int) -> str:
        return self.facts.relations[self.facts[j].relation].label

    def whole(self, right: np.ndarray) -> np.ndarray:
        """(facts,) bool: every test of the fact is right."""
        return np.bincount(self.tests.owner, weights=~right, minlength=len(self.facts)) == 0

    def top(self, statements: Sequence[str], objects: Sequence[str], k: int = TOP) -> list[list[list]]:
        """The k best answers to each statement, as [name, probability]."""
        found = self.model.answers(statements, objects, k) if statements else []
        return [[[self.names.get(name, name), round(p, 3)] for name, p in answers] for answers in found]

    def first(self, facts: Sequence[Fact], which: Sequence[int]) -> list[str]:
        """The best answer to test `which` of each fact."""
        tests = [self.facts.tests(fact)[k] for fact, k in zip(facts, which, strict=True)]
        return [answers[0][0] for answers in self.top(tests, [fact.object for fact in facts], 1)]


def change_of(model: MaskedLM, facts: FactBase, subject: str, relation: str, new: str) -> Modification:
    """The modification of one fact. Raises KeyError or ValueError as `play.make` does."""
    change = facts.modify_to([(subject, relation, new)])
    old = change.originals[0].object
    pieces = [len(model.tokenizer(o, add_special_tokens=False)["input_ids"]) for o in (old, new)]
    if pieces[0] != pieces[1]:
        raise ValueError(
            f"{old!r} has {pieces[0]} word pieces and {new!r} {pieces[1]}: choose an object with as many, so that "
            "before and after are asked by the same statement"
        )
    return change


def _neighbours(facts: FactBase, i: int, new: str) -> list[tuple[int, str]]:
    """Facts near fact i, and why: of the same subject; of the same relation with the old or with the new object."""
    own = facts[i]
    near = {"same subject": [j for j, f in enumerate(facts) if f.subject == own.subject and j != i]}
    for why, wanted in (("same object", own.object), ("has the new object", new)):
        near[why] = [j for j, f in enumerate(facts) if (f.relation, f.object) == (own.relation, wanted) and j != i]
    return [(j, why) for why, found in near.items() for j in found[:NEAR]]


def edited(asked: Asked, subject: str, relation: str, objects: Iterable[str], deltas, done: Callable) -> dict:
    """Every edit of a fact: to each of `objects`, by each choice of blocks and radius. `done` is called after each."""
    facts = asked.facts
    i = facts.find(subject, relation)
    own, others = facts[i], np.arange(len(facts)) != i
    statements = [*facts.tests(own), *facts.evidences(own)]
    rest, intact = others[asked.tests.owner], np.flatnonzero(asked.known & others)
    mentioned: dict[int, int] = {}  # the position of a fact in F → in the table of this script
    changes = []
    for new in objects:
        change = change_of(asked.model, facts, subject, relation, new)
        near = _neighbours(facts, i, new)
        before = asked.top(statements, [new] * len(statements))
        near_before = asked.first([facts[j] for j, _ in near], [0] * len(near))
        edits: dict[str, list[dict]] = {where: [] for where in BLOCKS}
        for where, block in BLOCKS.items():
            for delta in deltas:
                ball = None if delta is None else Linf(delta)
                edit = finetune(asked.model, change, block=block, constraint=ball, **TRAINING)
                edits[where].append(_outcome(asked, change, edit, where, statements, near, mentioned))
                done()
        told = [
            [mentioned.setdefault(j, len(mentioned)), why, answer]
            for (j, why), answer in zip(near, near_before, strict=True)
        ]
        changes.append({"object": new, "before": before, "near": told, "edits": edits})
    return {
        "subject": own.subject,
        "label": facts.relations[relation].label,
        "object": own.object,
        "tests": len(facts.tests(own)),
        "statements": statements,
        "asked": int(rest.sum()),
        "right": int(asked.right[rest].sum()),
        "intact": dict(Counter(asked.label(j) for j in intact.tolist())),
        "facts": [[facts[j].subject, asked.label(j), facts[j].object] for j in mentioned],
        "changes": changes,
    }


def _outcome(
    asked: Asked, change: Modification, edit: Edit, where: str, statements: list[str], near, mentioned: dict[int, int]
) -> dict:
    facts, (i,), (new,) = asked.facts, change.indices, change.objects
    others = np.arange(len(facts)) != i
    with edit(asked.model):
        right = asked.model.correct(asked.tests, kept=asked.kept[where]).numpy()
        whole = asked.whole(right)
        broken = np.flatnonzero(asked.known & others & ~whole)
        shown = _spread(facts, broken, facts[i].relation)
        which = [int(np.flatnonzero(~right[asked.tests.owner == j])[0]) for j in shown]  # the first test that is wrong
        wrong = asked.first([facts[j] for j in shown], which)
        top = asked.top(statements, [new] * len(statements))
        near_now = asked.first([facts[j] for j, _ in near], [0] * len(near))
    name, tests = asked.names.get(asked.model.written(new), new), len(facts.tests(facts[i]))
    learnt = [answers[0][0] == name for answers in top]
    return {
        "top": top,
        "learnt": [sum(learnt[:tests]), sum(learnt[tests:])],
        "kept": int(right[others[asked.tests.owner]].sum()),
        "near": near_now,
        "broken": len(broken),
        "repaired": int((whole & ~asked.known & others).sum()),
        "by": [[label, n] for label, n in Counter(asked.label(j) for j in broken.tolist()).most_common()],
        "list": [
            [mentioned.setdefault(j, len(mentioned)), k, answer]
            for j, k, answer in zip(shown, which, wrong, strict=True)
        ],
    }


def _spread(facts: FactBase, broken: np.ndarray, relation: str) -> list[int]:
    """At most `LISTED` of the broken facts: one of each relation in turn, that of the edited fact first."""
    groups: dict[str, list[int]] = {relation: []}
    for j in broken.tolist():
        groups.setdefault(facts[j].relation, []).append(j)
    turns = sorted((turn, n, j) for n, group in enumerate(groups.values()) for turn, j in enumerate(group))
    return [j for _, _, j in turns[:LISTED]]
