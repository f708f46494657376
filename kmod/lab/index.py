"""Search facts by words, find the neighbours of a fact, and turn a statement of one's own into a fact."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cached_property, lru_cache
from itertools import product

import numpy as np

from ..checks import brief
from ..facts import MASK, OBJECT, SUBJECT, Fact, FactBase
from ..mentions import Finder, words
from ..models.language_model import LanguageModel
from ..models.statements import check_statement
from ..names import accentless as plain
from ..names import alike, normal, pieces_of

OWN = "own"  # the relation of a statement of one's own
ASKING = frozenset(
    "a about an and are at by did do does for from has have in is it its of on s that the their to was were what when "
    "where which who whose with".split()
)
"""Words of a question that say nothing of which fact is meant."""
SHORTEST = 4  # letters of a word that may be misspelt
CLOSE, CLOSER = 0.7, 0.75  # least likeness (difflib) of a word, and of an object, to one that it may stand for


class FactIndex:
    """The positions of facts by words, subject, relation and object. Built in one pass over the base."""

    def __init__(self, facts: FactBase):
        self.facts = facts
        self.lines: list[str] = []  # subject, relation and object as `plain` text, a space around each
        self.subjects: dict[str, list[int]] = {}
        self.relations: dict[str, list[int]] = {}
        self.objects: dict[str, list[int]] = {}
        labels = {id: plain(f"{relation.label} {id}") for id, relation in facts.relations.items()}
        for i, fact in enumerate(facts):
            label = labels.get(fact.relation) or plain(fact.relation)
            self.lines.append(f" {plain(fact.subject)} {label} {plain(fact.object)} ")
            self.subjects.setdefault(normal(fact.subject), []).append(i)
            self.relations.setdefault(fact.relation, []).append(i)
            self.objects.setdefault(normal(fact.object), []).append(i)

    def search(self, query: str, most: int = 50) -> list[int]:
        """Positions of the facts that `query` means, the best first: see `find`."""
        return self.find(query, most)[0]

    def find(self, query: str, most: int = 50) -> tuple[list[int], str]:
        """Positions of the facts that `query` means, the best first, and the words that they were found by.

        Those are all words of the query; if no fact has them all, the words that are no `ASKING` ones ("What is the
        capital of France?"), the misspelt ones as they were probably meant. Facts that have a word as a whole come
        before those that have it as a part. Without words, the first facts.
        """
        asked = plain(query).split()
        if not asked:
            return list(range(min(most, len(self.lines)))), ""
        if hits := self._with(asked):
            return self._ranked(hits, asked)[:most], " ".join(asked)
        asked = [word for word in re.findall(r"\w+", plain(query)) if word not in ASKING]
        for meant in product(*map(self._meant, asked)) if asked else ():
            if hits := self._with(meant):
                return self._ranked(hits, meant)[:most], " ".join(meant)
        return [], ""

    def _with(self, asked: Sequence[str]) -> list[int]:
        """Positions of the facts with all of these words, whole or as a part of others."""
        longest = max(asked, key=len)  # excludes most lines
        return [i for i, line in enumerate(self.lines) if longest in line and all(word in line for word in asked)]

    def _ranked(self, hits: list[int], asked: Sequence[str]) -> list[int]:
        start = f" {' '.join(asked)}"

        def rank(i: int) -> tuple:
            line = self.lines[i]
            whole = sum(f" {word} " in line for word in asked)
            return -whole, not line.startswith(start), f" {asked[0]}" not in line, line.find(asked[0]), len(line), i

        return sorted(hits, key=rank)

    def _meant(self, word: str) -> list[str]:
        """The word itself if a fact has it, else the words of facts that it may be a misspelling of."""
        if len(word) < SHORTEST or any(word in line for line in self.lines):
            return [word]
        near = [other for other in self._words if abs(len(other) - len(word)) <= 2]
        close = get_close_matches(word, near, 5, CLOSE)
        return sorted(close, key=lambda other: abs(len(other) - len(word)))  # a wrong letter before a missing one

    @cached_property
    def _words(self) -> list[str]:
        """The words of all facts."""
        return sorted({word for line in self.lines for word in line.split()})

    def likely(self, fact: Fact, name: str) -> str | None:
        """An object that `name` may be a misspelling of, of the fact's relation if there is one; None for a name that
        is an object, or like none."""
        known = self.suggestions(fact, len(self.facts.object_counts))
        spelt = {plain(each): each for each in reversed(known)}
        if (wanted := plain(name)) in spelt or wanted == plain(fact.object):
            return None
        own = {plain(self.facts[i].object) for i in self.relations.get(fact.relation, ())}
        for names in ([each for each in spelt if each in own], list(spelt)):
            if near := get_close_matches(wanted, names, 1, CLOSER):
                return spelt[near[0]]
        return None

    def label(self, relation: str) -> str:
        """A relation in words: "capital" for P36."""
        return self.facts.relations[relation].label if relation in self.facts.relations else relation

    def name(self, i: int) -> str:
        """A fact in one line."""
        fact = self.facts[i]
        return f"{fact.subject} · {self.label(fact.relation)} · {fact.object}"

    def suggestions(self, fact: Fact, most: int = 400) -> list[str]:
        """Objects that could replace that of `fact`: those of its relation, then others; frequent ones first."""
        counts = self.facts.object_counts
        of = {normal(name): count for name, count in counts.items()}
        objects = (self.facts[i].object for i in reversed(self.relations.get(fact.relation, ())))
        same = {normal(name): name for name in objects}  # one spelling of each
        ordered = sorted(same.values(), key=lambda name: (-of[normal(name)], name))
        ordered += [name for name, _ in counts.most_common(most + len(same)) if normal(name) not in same]
        return [name for name in ordered if alike(name) != alike(fact.object)][:most]

    def neighbours(self, fact: Fact, avoid: Iterable[int] = (), each: int = 4) -> dict[str, list[int]]:
        """Kind → positions of facts that an edit of `fact` might damage: at most `each`, drawn at random but the same
        for the same subject, none of `avoid`, no fact twice."""
        subject, taken = normal(fact.subject), set(avoid)
        rng = np.random.default_rng([0, *subject.encode()])

        def of_others(positions: list[int]) -> list[int]:
            return [j for j in positions if normal(self.facts[j].subject) != subject]

        kinds = {
            "same subject": [j for j in self.subjects.get(subject, ()) if self.facts[j].relation != fact.relation],
            "same old object": of_others(self.objects.get(normal(fact.object), [])),
            "same relation": of_others(self.relations.get(fact.relation, [])),
        }
        chosen = {}
        for kind, candidates in kinds.items():
            left = [j for j in candidates if j not in taken]
            chosen[kind] = sorted(rng.choice(left, min(each, len(left)), replace=False).tolist()) if left else []
            taken.update(chosen[kind])
        return chosen

    def subject_in(self, statement: str) -> str:
        """The longest name of a known subject in a statement; if there is none, its words beside the [MASK]."""
        mentions = self._finder.all(statement.replace(MASK, "\ufffc"))
        if mentions:
            longest = max(mentions, key=lambda mention: len(words(mention.name)))
            return self.facts[self.subjects[normal(longest.name)][0]].subject
        return statement.replace(MASK, " ").strip(" .,;:!?") or "it"

    def short_object(self, model: LanguageModel) -> str:
        """A frequent object of one word piece, so that a statement asked with it has one slot."""
        names = [name for name, _ in self.facts.object_counts.most_common(2000)]
        return next((name for name in names if len(pieces_of(model.tokenizer, [name])[0]) == 1), names[0])

    @cached_property
    def _finder(self) -> Finder:
        return Finder(self.subjects)


def own_statement(statement: str, old: str, tests: Sequence[str], subject: str) -> Fact:
    """A fact whose only evidence is `statement`, with `tests` as its other phrasings.

    Raises ValueError for a statement without exactly one [MASK].
    """
    for text in (statement, *tests):
        check_statement(text)
        if SUBJECT in text or OBJECT in text:
            raise ValueError(
                brief(f"a statement needs {MASK} exactly once, and neither {SUBJECT} nor {OBJECT}: {text!r}")
            )
    if statement in tests:
        raise ValueError(brief(f"another phrasing is the statement itself: {statement!r}"))
    return Fact(subject, OWN, old, (statement,), tuple(tests))


@lru_cache(1)  # joining a large base takes a while
def joined(facts: FactBase, own: Fact) -> FactBase:
    """`facts` with a statement of one's own at the end. The recipe of an edit (`Session.recipe`) repeats this line."""
    return FactBase([*facts, own], facts.relations, f"{facts.name} and a statement", untested=True)
