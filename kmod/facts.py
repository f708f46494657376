"""Facts, and what it means to modify some of them.

A fact is (subject, relation, object). Its *evidences* are the masked statements a model learns it from; its *tests* are
masked statements phrased differently, by which it is examined. A `Modification` picks S ⊂ F and gives every fact of S a
new object: M. The model wanted afterwards stores F′ = (F∖S) ∪ M. Notation and sampling rules: Zhu et al. 2020,
"Modifying Memories in Transformer Models" (arXiv 2012.00363).

A masked statement is a sentence with exactly one "[MASK]", which stands for the whole object, however many word
pieces a model's tokeniser makes of it. A phrasing is a statement of a relation, with [X] for the subject and [Y] for
the object.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .names import normal

SUBJECT, OBJECT, MASK = "[X]", "[Y]", "[MASK]"


def _one_of_each(text: str, slots: Sequence[str], what: str) -> None:
    wrong = [f"{slot} {text.count(slot)} times" for slot in slots if text.count(slot) != 1]
    if wrong:
        raise ValueError(f"{what} {text!r} needs {' and '.join(slots)} exactly once; it has {', '.join(wrong)}")


@dataclass(frozen=True, slots=True)
class Relation:
    """A kind of fact, named by its Wikidata property id, with the phrasings that ask for it.

    Raises ValueError if a phrasing lacks [X] or [Y], or if a test phrasing is also an evidence phrasing.
    """

    id: str
    label: str
    evidences: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()

    def __post_init__(self):
        for phrasing in (*self.evidences, *self.tests):
            _one_of_each(phrasing, (SUBJECT, OBJECT), f"relation {self.id}: the phrasing")
        if shared := set(self.evidences) & set(self.tests):
            raise ValueError(f"relation {self.id}: {shared.pop()!r} is an evidence and a test; tests must be unseen")


def fill(phrasing: str, subject: str) -> str:
    """The masked statement of `phrasing` about `subject`: "[X] is in [Y]." about Peru is "Peru is in [MASK]."."""
    text = phrasing.replace(OBJECT, MASK).replace(SUBJECT, subject)
    first = text.split(" ", 1)[0]
    return text[0].upper() + text[1:] if first == first.lower() else text  # "Cobra is ...", but "iPhone is ..."


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact. `evidences` and `tests` are masked statements of its own; if empty, the relation's phrasings serve.

    Raises ValueError for an empty field or a statement without exactly one [MASK].
    """

    subject: str
    relation: str
    object: str
    evidences: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()

    def __post_init__(self):
        for field in ("subject", "relation", "object"):
            value = getattr(self, field)
            if not isinstance(value, str) or not value.strip():
                raise ValueError(
                    f"a fact needs a {field}, got {value!r} in ({self.subject!r}, {self.relation!r}, {self.object!r})"
                )
            if any(slot in value for slot in (SUBJECT, OBJECT, MASK)):
                raise ValueError(
                    f"the {field} {value!r} holds a slot; {SUBJECT}, {OBJECT} and {MASK} belong to phrasings"
                )
        if isinstance(self.evidences, str) or isinstance(self.tests, str):
            raise ValueError(
                f"({self.subject}, {self.relation}): evidences and tests are tuples of statements, not text"
            )
        for statement in (*self.evidences, *self.tests):
            _one_of_each(statement, (MASK,), f"({self.subject}, {self.relation}): the statement")

    def __str__(self) -> str:
        return f"({self.subject}, {self.relation}, {self.object})"


class FactBase(Sequence[Fact]):
    """F: a sequence of facts with their relations.

    Triples that repeat (without regard to case) are merged, their statements united; `duplicates` counts them.

    With `lazy`, `facts` is a sequence that makes its facts on demand and promises that no subject has a relation twice;
    it is used as it is, so that a generated base can be larger than memory.

    With `untested`, facts may lack tests: they are learnt, but never drawn into S (zsRE's facts with one question).
    `notes` are lines that say what was read, and what was left out.

    Raises ValueError if a fact has no evidence or no test, by itself or through its relation, or a test that is one of
    its evidences.
    """

    def __init__(
        self,
        facts: Iterable[Fact],
        relations: Mapping[str, Relation] | None = None,
        name: str = "facts",
        *,
        lazy: bool = False,
        untested: bool = False,
        notes: Iterable[str] = (),
    ):
        self.notes, self._untested = tuple(notes), untested
        self.name, self.relations, self.duplicates = name, dict(relations or {}), 0
        self._positions: dict[tuple[str, str], list[int]] | None = None
        self._object_counts: Counter[str] | None = None
        self._fingerprint: str | None = None
        self._lazy = lazy
        if lazy:
            self._facts = facts
            return
        unique: dict[tuple[str, str, str], Fact] = {}
        for fact in facts:
            key = (normal(fact.subject), fact.relation, normal(fact.object))
            if (old := unique.get(key)) is not None:
                self.duplicates += 1
                evidences = dict.fromkeys((*old.evidences, *fact.evidences))
                tests = dict.fromkeys((*old.tests, *fact.tests))
                fact = Fact(old.subject, old.relation, old.object, tuple(evidences), tuple(tests))
            unique[key] = fact
        self._facts = list(unique.values())
        for fact in self._facts:
            relation = self.relations.get(fact.relation)
            for kind in ("evidences",) if untested else ("evidences", "tests"):
                if not getattr(fact, kind) and not (relation and getattr(relation, kind)):
                    raise ValueError(
                        f"{fact} has no {kind}: give it masked statements, or its relation {kind} phrasings "
                        f"(relations known here: {', '.join(self.relations) or 'none'})"
                    )
            if (fact.evidences or fact.tests) and (seen := set(self.evidences(fact)) & set(self.tests(fact))):
                raise ValueError(f"{fact}: the test {seen.pop()!r} is one of its evidences; tests must be unseen")

    def __len__(self) -> int:
        return len(self._facts)

    def __getitem__(self, i):
        return self._facts[i]

    def __iter__(self) -> Iterator[Fact]:
        return iter(self._facts)

    def __repr__(self) -> str:
        return f"FactBase({self.name!r}: {len(self):,} facts, {len(self.relations)} relations)"

    def evidences(self, fact: Fact) -> tuple[str, ...]:
        """The masked statements that `fact` is learnt from."""
        return fact.evidences or tuple(fill(p, fact.subject) for p in self.relations[fact.relation].evidences)

    def tests(self, fact: Fact) -> tuple[str, ...]:
        """The masked statements, phrased differently, by which `fact` is examined."""
        return fact.tests or tuple(fill(p, fact.subject) for p in self.relations[fact.relation].tests)

    def _by_subject(self) -> dict[tuple[str, str], list[int]]:
        """(subject, relation) → positions of its facts; several where a relation has several objects. In memory."""
        if self._positions is None:
            self._positions = {}
            for i, fact in enumerate(self):
                self._positions.setdefault((normal(fact.subject), fact.relation), []).append(i)
        return self._positions

    def find(self, subject: str, relation: str) -> int:
        """The position of the fact about `subject` in `relation`. Raises KeyError that lists what is known instead."""
        found = self._by_subject().get((normal(subject), relation))
        if found:
            return found[0]
        of_subject = sorted({f.relation for f in self if normal(f.subject) == normal(subject)})
        if of_subject:
            raise KeyError(
                f"no fact ({subject}, {relation}); of {subject} these relations are known: {', '.join(of_subject)}"
            )
        if relation not in self.relations:
            raise KeyError(f"unknown relation {relation!r}; known: {', '.join(sorted(self.relations))}")
        subjects = list(dict.fromkeys(f.subject for f in self if f.relation == relation))
        near = ", ".join(difflib.get_close_matches(subject, subjects, 5, 0))
        raise KeyError(f"unknown subject {subject!r}; the nearest of {len(subjects):,} with a {relation}: {near}")

    def subset(self, facts: Iterable[Fact], name: str, note: str) -> FactBase:
        """A base of some of these facts, with the same relations; `note` says which, and why."""
        return FactBase(facts, self.relations, name, untested=self._untested, notes=(*self.notes, note))

    def sample(self, n: int, seed: int = 0) -> FactBase:
        """`n` facts drawn uniformly from `seed`, in their order here. Raises ValueError unless 1 ≤ n ≤ len(self)."""
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 1 <= n <= len(self):
            raise ValueError(f"a sample of {self.name} has 1 to {len(self):,} facts, got {n!r}")
        chosen = np.sort(np.random.default_rng(seed).choice(len(self), n, replace=False))
        note = f"{n:,} of {len(self):,} facts, drawn by seed {seed}"
        return self.subset((self[int(i)] for i in chosen), f"{self.name}, {n} sampled by seed {seed}", note)

    @property
    def object_counts(self) -> Counter[str]:
        """How many facts, over all relations, have each object: the weights by which new objects are drawn."""
        if self._object_counts is None:
            self._object_counts = Counter(fact.object for fact in self)
        return self._object_counts

    def objects(self, relation: str) -> list[str]:
        """The distinct objects of `relation`, sorted."""
        return sorted({fact.object for fact in self if fact.relation == relation})

    def fingerprint(self) -> str:
        """SHA-256 over the facts and their statements: two bases with the same fingerprint train and test the same. Of
        a lazy base, whose name says how it was made, over its name, its phrasings and its ends."""
        if self._fingerprint is not None:
            return self._fingerprint
        digest = hashlib.sha256(f"{self.name} {len(self)}".encode() if self._lazy else b"")
        for relation in sorted(self.relations.values(), key=lambda r: r.id):
            digest.update(json.dumps([relation.id, relation.evidences, relation.tests]).encode())
        for fact in (self[0], self[-1]) if self._lazy else self:
            digest.update(json.dumps([fact.subject, fact.relation, fact.object, fact.evidences, fact.tests]).encode())
        self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def modify(self, n: int, seed: int = 0, known: Sequence[bool] | None = None) -> Modification:
        """Draw a modification of `n` facts by the paper's rules, from `seed` alone.

        S is drawn uniformly from the facts that the model answers correctly (`known`: one boolean a fact, as
        `kmod.known(model, facts)` gives it; None takes all facts). The new object of each is drawn among the objects of
        the same relation, weighted by how many facts over all relations have that object; the original, and any other
        object the fact already has, weighs nothing, nor does one that another fact of S with the same subject and
        relation was given. Facts whose relation offers no object that is left, and facts without a test, cannot be
        drawn.

        Raises ValueError if fewer than `n` facts can be modified.
        """
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"the number of facts to modify must be a whole number from 1, got {n!r}")
        if known is not None and len(known) != len(self):
            raise ValueError(f"`known` needs one boolean for each of the {len(self)} facts, got {len(known)}")
        rng = np.random.default_rng(seed)
        candidates = np.arange(len(self)) if known is None else np.flatnonzero(np.asarray(known, dtype=bool))
        choices = _Alternatives(self)
        chosen: list[int] = []
        stuck: Fact | None = None
        siblings: Counter[tuple[str, str]] = Counter()  # chosen facts of a subject and relation: they share a choice
        for i in rng.permutation(candidates):
            if len(chosen) == n:
                break
            if self._untested and not self.tests(self[i]):
                continue
            names, _ = choices.of(self[i])
            both = normal(self[i].subject), self[i].relation
            if len(names) and (not siblings[both] or len({normal(name) for name in names}) > siblings[both]):
                chosen.append(int(i))
                siblings[both] += 1
            else:
                stuck = self[i]
        if len(chosen) < n:
            reason = f"; {stuck} and the like have no other object in their relation" if stuck else ""
            raise ValueError(
                f"cannot modify {n} facts of {self.name}: only {len(chosen)} of {len(self)} qualify"
                + (f" ({len(candidates)} are answered correctly)" if known is not None else "")
                + reason
            )
        new: list[str] = []
        given: dict[tuple[str, str], set[str]] = {}
        for i in chosen:
            names, weights = choices.of(self[i])
            name = str(rng.choice(names, p=weights))
            taken = given.setdefault((normal(self[i].subject), self[i].relation), set())
            if normal(name) in taken:  # drawn again by a generator of its own: what is drawn after it stays as it was
                weights = weights * [normal(other) not in taken for other in names]
                name = str(np.random.default_rng([seed, i]).choice(names, p=weights / weights.sum()))
            taken.add(normal(name))
            new.append(name)
        return Modification(self, tuple(chosen), tuple(new), int(seed))

    def modify_to(self, changes: Iterable[tuple[str, str, str]]) -> Modification:
        """A modification chosen by hand: triples (subject, relation, new object).

        The new object may be any name, seen before or not. Raises KeyError for a fact that is not in the base and
        ValueError for an empty object, an object that the fact already has, a fact named twice or one without a test.
        """
        indices, objects = [], []
        for subject, relation, new in changes:
            i = self.find(subject, relation)
            Fact(subject, relation, new)  # checks the new object
            if any(normal(self[j].object) == normal(new) for j in self._by_subject()[(normal(subject), relation)]):
                raise ValueError(f"{self[i]} already has the object {new!r}")
            if i in indices:
                raise ValueError(f"{self[i]} is named twice in one modification")
            if not self.tests(self[i]):
                raise ValueError(f"{self[i]} has no test, so nothing could tell whether the change was learnt")
            indices.append(i)
            objects.append(new.strip())
        if not indices:
            raise ValueError("a modification needs at least one (subject, relation, new object)")
        return Modification(self, tuple(indices), tuple(objects), None)

    def alternatives(self, fact: Fact) -> list[str]:
        """The objects that could replace `fact`'s under the paper's rule. Raises ValueError if there is none."""
        names, _ = _Alternatives(self).of(fact)
        if not len(names):
            raise ValueError(f"{fact} cannot be modified: relation {fact.relation} has no other object")
        return list(names)


class _Alternatives:
    """The same-relation objects of a fact with their weights; computed once a relation."""

    def __init__(self, base: FactBase):
        self.base = base
        objects: dict[str, set[str]] = {}
        for fact in base:
            objects.setdefault(fact.relation, set()).add(fact.object)
        self.by_relation: dict[str, tuple[np.ndarray, np.ndarray, dict[str, list[int]]]] = {}
        for relation, names in objects.items():
            ordered, places = sorted(names), {}
            for place, name in enumerate(ordered):
                places.setdefault(normal(name), []).append(place)
            weights = np.array([base.object_counts[name] for name in ordered], dtype=float)
            self.by_relation[relation] = np.array(ordered, dtype=object), weights, places

    def of(self, fact: Fact) -> tuple[np.ndarray, np.ndarray]:
        if fact.relation not in self.by_relation:
            return np.array([], dtype=object), np.array([])
        names, weights, places = self.by_relation[fact.relation]
        taken = {normal(fact.object)}
        if not self.base._lazy:  # a lazy base promises one object for a subject and relation
            positions = self.base._by_subject().get((normal(fact.subject), fact.relation), [])
            taken |= {normal(self.base[i].object) for i in positions}
        gone = [place for name in taken for place in places.get(name, ())]
        weights = np.delete(weights, gone)
        return np.delete(names, gone), weights / max(weights.sum(), 1)


@dataclass(frozen=True)
class Modification:
    """S and M: which facts of `base` change (`indices`), to which new objects. `seed` is None if chosen by hand."""

    base: FactBase
    indices: tuple[int, ...]
    objects: tuple[str, ...]
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        first = f"{self.originals[0]} → {self.objects[0]}"
        return f"Modification({len(self)} of {len(self.base):,} facts of {self.base.name!r}: {first}, …)"

    @property
    def originals(self) -> list[Fact]:
        """S, in order."""
        return [self.base[i] for i in self.indices]

    @property
    def modified(self) -> list[Fact]:
        """M: the facts of S with their new objects and the same statements (the paper relabels all evidences)."""
        return [
            Fact(f.subject, f.relation, new, f.evidences, f.tests)
            for f, new in zip(self.originals, self.objects, strict=True)
        ]

    @property
    def unmodified(self) -> list[Fact]:
        """F∖S, in order."""
        changed = set(self.indices)
        return [fact for i, fact in enumerate(self.base) if i not in changed]

    def result(self) -> FactBase:
        """F′ = (F∖S) ∪ M, in the order of F."""
        new = dict(zip(self.indices, self.modified, strict=True))
        facts = [new.get(i, fact) for i, fact in enumerate(self.base)]
        return FactBase(
            facts, self.base.relations, f"{self.base.name}, {len(self)} modified", untested=self.base._untested
        )
