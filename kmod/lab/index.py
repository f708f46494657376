"""Search facts by words, find the neighbours of a fact, and turn a statement of one's own into a fact."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache

import numpy as np

from ..facts import MASK, OBJECT, SUBJECT, Fact, FactBase
from ..models.masked_lm import MaskedLM
from ..models.statements import check_statement
from ..names import normal

OWN = "own"  # the relation of a statement of one's own


def plain(text: str) -> str:
    """A text without case and accents, as the search compares it."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()


class FactIndex:
    """The positions of facts by words, subject, relation and object. Built in one pass over the base."""

    def __init__(self, facts: FactBase):
        self.facts = facts
        self.lines: list[str] = []  # subject, relation and object as `plain` text
        self.subjects: dict[str, list[int]] = {}
        self.relations: dict[str, list[int]] = {}
        self.objects: dict[str, list[int]] = {}
        labels = {id: plain(f"{relation.label} {id}") for id, relation in facts.relations.items()}
        for i, fact in enumerate(facts):
            label = labels.get(fact.relation) or plain(fact.relation)
            self.lines.append(f"{plain(fact.subject)}\t{label}\t{plain(fact.object)}")
            self.subjects.setdefault(normal(fact.subject), []).append(i)
            self.relations.setdefault(fact.relation, []).append(i)
            self.objects.setdefault(normal(fact.object), []).append(i)

    def search(self, query: str, most: int = 50) -> list[int]:
        """Positions of the facts that contain every word of `query`: first those whose subject begins with it, then
        those with the words nearest to the front. Without words, the first facts."""
        words = plain(query).split()
        if not words:
            return list(range(min(most, len(self.lines))))
        longest = max(words, key=len)  # excludes most lines
        hits = [i for i, line in enumerate(self.lines) if longest in line and all(word in line for word in words)]
        start = " ".join(words)

        def rank(i: int) -> tuple:
            line = self.lines[i]
            return not line.startswith(start), not f" {line}".count(f" {words[0]}"), line.find(words[0]), len(line), i

        return sorted(hits, key=rank)[:most]

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
        same = {self.facts[i].object for i in self.relations.get(fact.relation, ())}
        ordered = sorted(same, key=lambda name: (-counts[name], name))
        ordered += [name for name, _ in counts.most_common(most + len(same)) if name not in same]
        return [name for name in ordered if normal(name) != normal(fact.object)][:most]

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
        words = plain(statement.replace(MASK, "\n")).split(" ")
        for size in range(min(len(words), 8), 0, -1):
            for at in range(len(words) - size + 1):
                name = " ".join(words[at : at + size]).strip(".,;:!?\"'()")
                if name in self._plain_subjects:
                    return self._plain_subjects[name]
        return statement.replace(MASK, " ").strip(" .,;:!?") or "it"

    def short_object(self, model: MaskedLM) -> str:
        """A frequent object of one word piece, so that a statement asked with it has one slot."""
        names = [name for name, _ in self.facts.object_counts.most_common(2000)]
        short = (n for n in names if len(model.tokenizer(f" {n}", add_special_tokens=False)["input_ids"]) == 1)
        return next(short, names[0])

    @cached_property
    def _plain_subjects(self) -> dict[str, str]:
        return {plain(name): self.facts[positions[0]].subject for name, positions in self.subjects.items()}


def own_statement(statement: str, old: str, tests: Sequence[str], subject: str) -> Fact:
    """A fact whose only evidence is `statement`, with `tests` as its other phrasings.

    Raises ValueError for a statement without exactly one [MASK].
    """
    for text in (statement, *tests):
        check_statement(text)
        if SUBJECT in text or OBJECT in text:
            raise ValueError(f"a statement needs {MASK} exactly once, and neither {SUBJECT} nor {OBJECT}: {text!r}")
    if statement in tests:
        raise ValueError(f"another phrasing is the statement itself: {statement!r}")
    return Fact(subject, OWN, old, (statement,), tuple(tests))


@lru_cache(1)  # joining a large base takes a while
def joined(facts: FactBase, own: Fact) -> FactBase:
    """`facts` with a statement of one's own at the end. The recipe of an edit (`Session.recipe`) repeats this line."""
    return FactBase([*facts, own], facts.relations, f"{facts.name} and a statement", untested=True)
