"""Facts and their modifications.

A fact is (subject, relation, object). Its *evidences* are the masked statements that a model learns it from; its
*tests* are masked statements phrased differently, by which it is examined (`relations`). A `Modification` picks S ⊂ F
and gives every fact of S a new object: M. The model wanted afterwards stores F′ = (F∖S) ∪ M. Notation and sampling
rules (`drawing`): Zhu et al. 2020, "Modifying Memories in Transformer Models" (arXiv 2012.00363).
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from . import drawing
from .checks import WrongTypeError, brief, check_whole, is_whole
from .names import UnknownNameError, accentless, composed, listed, normal, shown
from .relations import MASK, OBJECT, SUBJECT, Relation, Relations, check_texts, fill

ARROW = re.compile(r"\s*(?:→|->)\s*")  # between the old and the new object of a change written by hand


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
            if not isinstance(value, str) or not composed(value):
                raise ValueError(brief(f"the {field} of a fact must be text that is not empty, got {value!r}"))
            if any(slot in value for slot in (SUBJECT, OBJECT, MASK)):
                raise ValueError(brief(f"the {field} {value!r} holds a slot ({SUBJECT}, {OBJECT} or {MASK})"))
        check_texts(self, f"({self.subject}, {self.relation})", "statement", (MASK,))

    def __str__(self) -> str:
        return f"({self.subject}, {self.relation}, {self.object})"


class FactBase(Sequence[Fact]):
    """F: a sequence of facts with their relations.

    Repeated triples (their names compared by `names.normal`) are merged with all their statements; `duplicates` counts
    them.

    Args:
        relations: by id; needed for facts without statements of their own.
        lazy: `facts` is a sequence that makes facts on demand, in which no subject has a relation twice. It is not
            copied, so a generated base can be larger than memory.
        untested: facts may lack tests. They are learnt, but never drawn into S (zsRE's facts with one question).
        notes: lines that say what was read, and what was left out.
        aliases: subject → other names of it, by which `portability` asks.

    Raises ValueError if a fact has no evidences or no tests, by itself or through its relation, or a test that is one
    of its evidences.
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
        aliases: Mapping[str, Sequence[str]] | None = None,
    ):
        relations = relations or {}
        if not isinstance(relations, Mapping) or not all(isinstance(r, Relation) for r in relations.values()):
            raise WrongTypeError(brief(f"relations must map ids to Relation objects, got {relations!r}"))
        self.name, self.relations, self.notes = name, Relations(relations), tuple(notes)
        self.duplicates, self._lazy, self._untested, self.aliases = 0, lazy, untested, dict(aliases or {})
        if lazy:
            self._facts = facts
            return
        unique: dict[tuple[str, str, str], Fact] = {}
        for fact in facts:
            if not isinstance(fact, Fact):
                raise WrongTypeError(brief(f"a fact base is made of Fact(subject, relation, object), got {fact!r}"))
            key = (normal(fact.subject), fact.relation, normal(fact.object))
            if (old := unique.get(key)) is not None:
                self.duplicates += 1
                evidences, tests = (*old.evidences, *fact.evidences), (*old.tests, *fact.tests)
                fact = replace(old, evidences=tuple(dict.fromkeys(evidences)), tests=tuple(dict.fromkeys(tests)))
            unique[key] = fact
        self._facts = list(unique.values())
        for fact in self._facts:
            relation = self.relations.get(fact.relation)
            for kind in ("evidences",) if untested else ("evidences", "tests"):
                if not getattr(fact, kind) and not (relation and getattr(relation, kind)):
                    raise ValueError(
                        brief(
                            f"{fact} has no {kind}: give it masked statements, or its relation {kind} phrasings "
                            f"(relations known here: {', '.join(self.relations) or 'none'})"
                        )
                    )
            if (fact.evidences or fact.tests) and (seen := set(self.evidences(fact)) & set(self.tests(fact))):
                raise ValueError(brief(f"{fact}: test {seen.pop()!r} is one of its evidences; tests must be unseen"))

    def __len__(self) -> int:
        return len(self._facts)

    def __getitem__(self, i):
        return self._facts[i]

    def __repr__(self) -> str:
        return f"FactBase({self.name!r}: {len(self):,} facts, {len(self.relations)} relations)"

    def evidences(self, fact: Fact) -> tuple[str, ...]:
        """The masked statements that `fact` is learnt from: its own, or its relation's, which must be known."""
        return fact.evidences or tuple(fill(p, fact.subject) for p in self.relations[fact.relation].evidences)

    def tests(self, fact: Fact) -> tuple[str, ...]:
        """The masked statements, phrased differently, by which `fact` is examined; none where tests may be lacking."""
        if not fact.tests and self._untested and fact.relation not in self.relations:
            return ()
        return fact.tests or tuple(fill(p, fact.subject) for p in self.relations[fact.relation].tests)

    @cached_property
    def _positions(self) -> dict[tuple[str, str], list[int]]:
        """(subject, relation) → positions of its facts; several where a relation has several objects. In memory."""
        positions: dict[tuple[str, str], list[int]] = {}
        for i, fact in enumerate(self):
            positions.setdefault((normal(fact.subject), fact.relation), []).append(i)
        return positions

    @cached_property
    def _accentless(self) -> dict[tuple[str, str], set[str]]:
        """(subject without accents, relation) → the `normal` subjects that read so."""
        known: dict[tuple[str, str], set[str]] = {}
        for subject, relation in self._positions:
            known.setdefault((accentless(subject), relation), set()).add(subject)
        return known

    def siblings(self, fact: Fact) -> list[Fact]:
        """The facts with the subject and relation of `fact`, itself included: several where a relation has several
        objects. A lazy base has one, and is not searched."""
        if self._lazy:
            return [fact]
        return [self[i] for i in self._positions.get((normal(fact.subject), fact.relation), ())]

    def find(self, subject: str, relation: str) -> int:
        """The position of the fact about `subject` in `relation`: the subject of this name or, if there is none, the
        only one that differs from it by accents alone. Raises KeyError that lists what is known instead."""
        if positions := self._positions.get((normal(subject), relation)):
            return positions[0]
        if len(near := self._accentless.get((accentless(subject), relation), ())) == 1:
            return self._positions[next(iter(near)), relation][0]
        if own := sorted({f.relation for f in self if normal(f.subject) == normal(subject)}):
            name = shown(subject)[1:-1]
            raise UnknownNameError(brief(f"no fact ({name}, {relation}); of {name} these are known: {listed(own)}"))
        subjects = list(dict.fromkeys(f.subject for f in self if f.relation == relation))
        if not subjects:
            known = listed(sorted({f.relation for f in self}))
            raise UnknownNameError(brief(f"unknown relation {shown(relation)}; known: {known}"))
        near = listed(difflib.get_close_matches(subject, subjects, 5, 0))
        raise UnknownNameError(
            brief(f"unknown subject {shown(subject)}; nearest of {len(subjects):,} with a {relation}: {near}")
        )

    def find_one(self, subject: str, relation: str, object: str | None = None) -> int:
        """The position of the fact about `subject` in `relation`; where these have several objects, that with `object`.

        Raises KeyError as `find` does, and ValueError, which names the objects, where several leave open which one is
        meant, or none is `object`.
        """
        first = self[self.find(subject, relation)]
        positions = self._positions[normal(first.subject), relation]
        names = [self[i].object for i in positions]
        listed = textwrap.shorten(", ".join(names), 100, placeholder=" …")
        if object is None and len(positions) > 1:
            ask = f'say which one: "{first.object}", or in a change "{first.object} -> NEW OBJECT"'
            raise ValueError(brief(f"{first.subject} has {len(names)} objects in {relation} ({listed}): {ask}"))
        for i, name in zip(positions, names, strict=True):
            if object is None or normal(name) == normal(object):
                return i
        raise ValueError(brief(f"{first.subject} has no object {object!r} in {relation}; it has: {listed}"))

    def change_of(self, subject: str, relation: str, new: str) -> tuple[int, str]:
        """(position of the fact, new object) of a change written by hand, as `modify_to` takes it."""
        *old, told = ARROW.split(new, maxsplit=1) if isinstance(new, str) else [new]
        Fact(subject, relation, told)  # checks the three names
        first = self[self.find(subject, relation)]
        if any(normal(fact.object) == normal(told) for fact in self.siblings(first)):
            raise ValueError(brief(f"{first} already has the object {told!r}"))
        return self.find_one(subject, relation, *old), told.strip()

    def subset(self, facts: Iterable[Fact], name: str, note: str) -> FactBase:
        """A base of `facts`, which are some of these, with the same relations; `note` says which, and why."""
        notes = (*self.notes, note)
        return FactBase(facts, self.relations, name, untested=self._untested, notes=notes, aliases=self.aliases)

    def sample(self, n: int, seed: int = 0) -> FactBase:
        """`n` facts drawn uniformly from `seed`, in their order here. Raises ValueError unless 1 ≤ n ≤ len(self)."""
        if not is_whole(n) or not 1 <= n <= len(self):
            raise ValueError(brief(f"a sample of {self.name} has 1 to {len(self):,} facts, got {n!r}"))
        chosen = np.sort(np.random.default_rng(check_whole("seed", seed, 0)).choice(len(self), n, replace=False))
        note = f"{n:,} of {len(self):,} facts, drawn by seed {seed}"
        return self.subset((self[int(i)] for i in chosen), f"{self.name}, {n} sampled by seed {seed}", note)

    @cached_property
    def object_counts(self) -> Counter[str]:
        """How many facts, over all relations, have each object. An object of several spellings (`names.normal`) stands
        here once, as it is written first, with the facts of them all."""
        first: dict[str, str] = {}
        return Counter(first.setdefault(normal(fact.object), fact.object) for fact in self)

    def objects(self, relation: str) -> list[str]:
        """The distinct objects of `relation`, sorted."""
        return sorted({fact.object for fact in self if fact.relation == relation})

    @cached_property
    def _alternatives(self) -> drawing.Alternatives:
        return drawing.Alternatives(self)

    def fingerprint(self) -> str:
        """SHA-256 over the facts and their statements: two bases with the same fingerprint train and test the same.

        A lazy base, whose name says how it was made, is known by its name, its phrasings, and its first and last fact.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.name} {len(self)}".encode() if self._lazy else b"")
        for relation in sorted(self.relations.values(), key=lambda r: r.id):
            digest.update(json.dumps([relation.id, relation.evidences, relation.tests]).encode())
        for fact in (self[0], self[-1]) if self._lazy else self:
            digest.update(json.dumps([fact.subject, fact.relation, fact.object, fact.evidences, fact.tests]).encode())
        return digest.hexdigest()

    def modify(self, n: int, seed: int = 0, known: Sequence[bool] | None = None) -> Modification:
        """Draw a modification of `n` facts by the paper's rules, from `seed` alone.

        S is drawn uniformly from the facts that the model answers correctly (`known`: one boolean a fact, as
        `kmod.known(model, facts)` gives it; None takes all facts). The new object of each is drawn among the objects of
        the same relation, weighted by how many facts over all relations have that object. An object that the subject
        has already, or was given by another change of S in the same relation, is not drawn, nor one that some model
        reads as the same ("Sao Paulo" for "São Paulo"; `names.alike`). Facts without tests, and facts for which no
        object is left, are not drawn.

        Raises ValueError if fewer than `n` facts can be modified.
        """
        n, seed = check_whole("the number of facts to modify", n), check_whole("seed", seed, 0)
        if known is not None and np.shape(known) != (len(self),):
            raise ValueError(f"`known` needs one boolean for each of {len(self)} facts, got shape {np.shape(known)}")
        return Modification(self, *drawing.draw(self._alternatives, n, seed, known), seed)

    def modify_to(self, changes: Iterable[tuple[str, str, str]]) -> Modification:
        """A modification chosen by hand: triples (subject, relation, new object), whose object may be any name.

        Where a subject has several objects in the relation, "old → new" (or "old -> new") in place of the new object
        says which of them changes.

        Raises KeyError for a fact that is not in the base. Raises ValueError for an empty object, an object that the
        subject has already or is given twice, a fact that is given twice, one without tests, and for a subject with
        several objects where none is said to change.
        """
        objects: dict[int, str] = {}  # position → new object
        for change in changes:
            if not isinstance(change, (tuple, list)) or len(change) != 3:
                raise ValueError(brief(f"a change is (subject, relation, new object), got {change!r}"))
            i, new = self.change_of(*change)
            if i in objects:
                raise ValueError(brief(f"{self[i]} is given twice in one modification"))
            named = normal(self[i].subject), self[i].relation
            if any(normal(objects[j]) == normal(new) for j in self._positions[named] if j in objects):
                raise ValueError(brief(f"({self[i].subject}, {self[i].relation}) is given the object {new!r} twice"))
            if not self.tests(self[i]):
                raise ValueError(brief(f"{self[i]} has no tests to measure its change by; change another fact"))
            objects[i] = new
        return Modification(self, tuple(objects), tuple(objects.values()))

    def alternatives(self, fact: Fact) -> list[str]:
        """The objects that could replace `fact`'s under the paper's rule. Raises ValueError if there is none."""
        if not isinstance(fact, Fact):
            raise WrongTypeError(f"a fact is needed, such as facts[0]; got a {type(fact).__name__}")
        if names := list(self._alternatives.of(fact)[0]):
            return names
        raise ValueError(brief(f"{fact} cannot be modified: relation {fact.relation} has no other object"))


@dataclass(frozen=True)
class Modification:
    """S and M: which facts of `base` change (`indices`), to which new objects. `seed` is None if chosen by hand.

    Raises ValueError if there are no facts, if the numbers of positions and new objects differ, or for a position that
    is not in the base or is given twice.
    """

    base: FactBase
    indices: tuple[int, ...]
    objects: tuple[str, ...]
    seed: int | None = None

    def __post_init__(self):
        if len(self.indices) == 0:
            raise ValueError("a modification needs at least one fact")
        if len(self.indices) != len(self.objects):
            raise ValueError(f"{len(self.indices)} facts and {len(self.objects)} new objects: give one for each fact")
        wrong = [i for i in self.indices if not is_whole(i) or not 0 <= i < len(self.base)]
        if wrong or len(set(self.indices)) < len(self.indices):
            positions = f"different positions from 0 to {len(self.base) - 1} in {self.base.name}"
            raise ValueError(brief(f"indices must be {positions}, got {wrong[0] if wrong else 'one of them twice'}"))

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
        return [replace(fact, object=new) for fact, new in zip(self.originals, self.objects, strict=True)]

    @property
    def unmodified(self) -> list[Fact]:
        """F∖S, in order."""
        changed = set(self.indices)
        return [fact for i, fact in enumerate(self.base) if i not in changed]

    def result(self) -> FactBase:
        """F′ = (F∖S) ∪ M, in the order of F."""
        new = dict(zip(self.indices, self.modified, strict=True))
        facts = (new.get(i, fact) for i, fact in enumerate(self.base))
        base, name = self.base, f"{self.base.name}, {len(self)} modified"
        return FactBase(facts, base.relations, name, untested=base._untested, aliases=base.aliases)
