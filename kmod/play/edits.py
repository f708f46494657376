"""What a model answers after an edit of one fact: about the fact, about its neighbours, and which other facts break."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..constraints import Linf
from ..editing import Edit, finetune
from ..evaluation import judge
from ..facts import Fact, FactBase, Modification
from ..models.activations import Activations, activations
from ..models.language_model import LanguageModel
from ..models.statements import Examples
from ..names import normal, pieces_of
from ..parts import blocks as blocks_of

BLOCKS = {"all": "all", "first": 0, "last": -1}
TRAINING = {"steps": 25, "batch_size": 8, "lr": 1e-3}
TOP, LISTED, NEAR = 3, 40, 4
"""The most answers of a statement, broken facts of an edit, and neighbours of each kind that are written down."""


@dataclass(frozen=True, eq=False)
class Unedited:
    """A model before any edit: the tests of all facts, which it answers rightly, and the states kept for asking again.

    `kept` holds the states that enter the lowest edited block, for each choice in `BLOCKS`. A fact is known if all its
    tests are answered rightly.
    """

    model: LanguageModel
    facts: FactBase
    tests: Examples
    kept: dict[str, Activations]
    right: np.ndarray  # (statements,) bool
    names: dict[str, str]  # an object as the vocabulary writes it → its name
    seconds: float  # of asking all tests

    @classmethod
    def of(cls, model: LanguageModel, facts: FactBase) -> Unedited:
        tests, last = model.examples(facts, "tests"), len(blocks_of(model.net)) - 1
        kept = {blocks: activations(model, tests, last if blocks == "last" else 0) for blocks in BLOCKS}
        right = model.correct(tests, kept=kept["all"]).numpy()  # fills the kept states as well
        started = time.perf_counter()
        model.correct(tests, kept=kept["all"])
        names = {model.written(name): name for name, _ in reversed(facts.object_counts.most_common())}
        return cls(model, facts, tests, kept, right, names, time.perf_counter() - started)

    @property
    def known(self) -> np.ndarray:
        return self.all_right(self.right)

    def label(self, i: int) -> str:
        """The relation of fact i in words."""
        return self.facts.relations[self.facts[i].relation].label

    def all_right(self, right: np.ndarray) -> np.ndarray:
        """(facts,) bool: every test of the fact is right, given (statements,) which tests are."""
        return np.bincount(self.tests.owner, weights=~right, minlength=len(self.facts)) == 0

    def top(self, statements: Sequence[str], objects: Sequence[str], k: int = TOP) -> list[list[list]]:
        """The k best answers to each statement, as [name, probability]."""
        ranked = self.model.answers(statements, objects, k) if statements else []
        return [[[self.names.get(name, name), round(p, 3)] for name, p in answers] for answers in ranked]

    def best(self, facts: Sequence[Fact], tests: Sequence[int] | None = None) -> list[str]:
        """The best answer to one test of each fact: that with the number in `tests`, or the first."""
        numbers = tests or [0] * len(facts)
        statements = [self.facts.tests(fact)[k] for fact, k in zip(facts, numbers, strict=True)]
        return [answers[0][0] for answers in self.top(statements, [fact.object for fact in facts], 1)]


def single_change(model: LanguageModel, facts: FactBase, subject: str, relation: str, new: str) -> Modification:
    """The modification of one fact. Raises KeyError or ValueError as `play.make` does."""
    change = facts.modify_to([(subject, relation, new)])
    old = change.originals[0].object
    pieces = [len(ids) for ids in pieces_of(model.tokenizer, [old, new])]
    if pieces[0] != pieces[1]:
        fault = f"{old!r} has {pieces[0]} word pieces and {new!r} {pieces[1]}: choose an object with as many"
        raise ValueError(f"{fault}, so that the same statement can be asked before and after")
    return change


def _neighbours(facts: FactBase, i: int, new: str) -> list[tuple[int, str]]:
    """Facts near fact i, and why: of the same subject; of the same relation with the old or with the new object."""
    edited = facts[i]
    subject = normal(edited.subject)
    near = {"same subject": [j for j, fact in enumerate(facts) if normal(fact.subject) == subject and j != i]}
    for why, name in (("same object", edited.object), ("has the new object", new)):
        pair = (edited.relation, normal(name))
        near[why] = [j for j, fact in enumerate(facts) if (fact.relation, normal(fact.object)) == pair and j != i]
    return [(j, why) for why, indices in near.items() for j in indices[:NEAR]]


def edit_fact(unedited: Unedited, subject: str, relation: str, objects: Iterable[str], deltas, after_each: Callable):
    """All edits of one fact, as its script holds them: to each of `objects`, by each choice of blocks and radius.
    `after_each` is called after each edit."""
    facts = unedited.facts
    i = facts.find_one(subject, relation)
    fact, others = facts[i], np.arange(len(facts)) != i
    statements = [*facts.tests(fact), *facts.evidences(fact)]
    asked, intact = others[unedited.tests.owner], np.flatnonzero(unedited.known & others)
    rows: dict[int, int] = {}  # position of a fact in F → its row in the script's own table of facts
    changes = []
    for new in objects:
        change = single_change(unedited.model, facts, subject, relation, new)
        near = _neighbours(facts, i, new)
        before = unedited.top(statements, [new] * len(statements))
        near_before = unedited.best([facts[j] for j, _ in near])
        edits: dict[str, list[dict]] = {blocks: [] for blocks in BLOCKS}
        for blocks, block in BLOCKS.items():
            for delta in deltas:
                ball = None if delta is None else Linf(delta)
                edit = finetune(unedited.model, change, block=block, constraint=ball, **TRAINING)
                edits[blocks].append(_outcome(unedited, change, edit, blocks, statements, near, rows))
                after_each()
        pairs = zip(near, near_before, strict=True)
        neighbours = [[rows.setdefault(j, len(rows)), why, answer] for (j, why), answer in pairs]
        changes.append({"object": new, "before": before, "near": neighbours, "edits": edits})
    script = {"subject": fact.subject, "label": unedited.label(i), "object": fact.object}
    script |= {"tests": len(facts.tests(fact)), "statements": statements}
    script |= {"asked": int(asked.sum()), "right": int(unedited.right[asked].sum())}
    script["intact"] = dict(Counter(unedited.label(j) for j in intact.tolist()))
    listed = [[facts[j].subject, unedited.label(j), facts[j].object] for j in rows]
    return script | {"facts": listed, "changes": changes}


def _outcome(unedited: Unedited, change: Modification, edit: Edit, blocks: str, statements: list, near, rows: dict):
    """What the edited model answers; `rows` gets a row for each fact that is listed."""
    facts, (i,), (new,) = unedited.facts, change.indices, change.objects
    others = np.arange(len(facts)) != i
    with edit(unedited.model):
        right = unedited.model.correct(unedited.tests, kept=unedited.kept[blocks]).numpy()
        intact = unedited.all_right(right)
        broken = np.flatnonzero(unedited.known & others & ~intact)
        listed = _spread(facts, broken, facts[i].relation)
        first_wrong = [int(np.flatnonzero(~right[unedited.tests.owner == j])[0]) for j in listed]
        wrong = unedited.best([facts[j] for j in listed], first_wrong)
        top = unedited.top(statements, [new] * len(statements))
        learnt = judge(unedited.model, statements, [new] * len(statements), 1)[1]
        near_now = unedited.best([facts[j] for j, _ in near])
    tests = len(facts.tests(facts[i]))
    by = Counter(unedited.label(j) for j in broken.tolist()).most_common()
    outcome = {"top": top, "learnt": [sum(learnt[:tests]), sum(learnt[tests:])]}
    outcome |= {"kept": int(right[others[unedited.tests.owner]].sum()), "near": near_now, "broken": len(broken)}
    outcome |= {"repaired": int((intact & ~unedited.known & others).sum()), "by": list(map(list, by))}
    shown = zip(listed, first_wrong, wrong, strict=True)
    return outcome | {"list": [[rows.setdefault(j, len(rows)), test, answer] for j, test, answer in shown]}


def _spread(facts: FactBase, broken: np.ndarray, relation: str) -> list[int]:
    """At most `LISTED` of the broken facts, one of each relation in turn, the edited fact's relation first."""
    groups: dict[str, list[int]] = {relation: []}
    for j in broken.tolist():
        groups.setdefault(facts[j].relation, []).append(j)
    turns = sorted((turn, n, j) for n, group in enumerate(groups.values()) for turn, j in enumerate(group))
    return [j for _, _, j in turns[:LISTED]]
