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
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from . import drawing
from .checks import WrongTypeError, check_whole, is_whole
from .names import UnknownNameError, accentless, composed, listed, normal, shown
from .relations import MASK, OBJECT, SUBJECT, Relation, Relations, check_texts, fill


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
        triple = (self.subject, self.relation, self.object)
        for field, value in zip(("subject", "relation", "object"), triple, strict=True):
            if not isinstance(value, str) or not composed(value):
                raise ValueError(f"the {field} of a fact must be text that is not empty, got {value!r} in {triple!r}")
            if any(slot in value for slot in (SUBJECT, OBJECT, MASK)):
                raise ValueError(f"the {field} {value!r} holds a slot: {SUBJECT}, {OBJECT}, {MASK} are for phrasings")
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
            raise WrongTypeError(f"relations must map ids to Relation objects, got {relations!r}")
        self.name, self.relations, self.notes = name, Relations(relations), tuple(notes)
        self.duplicates, self._lazy, self._untested = 0, lazy, untested
        self.aliases = dict(aliases or {})
        if lazy:
            self._facts = facts
            return
        unique: dict[tuple[str, str, str], Fact] = {}
        for fact in facts:
            if not isinstance(fact, Fact):
                raise WrongTypeError(f"a fact base is made of Fact(subject, relation, object), got {fact!r}")
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
                        f"{fact} has no {kind}: give it masked statements, or its relation {kind} phrasings "
                        f"(relations known here: {', '.join(self.relations) or 'none'})"
                    )
            if (fact.evidences or fact.tests) and (seen := set(self.evidences(fact)) & set(self.tests(fact))):
                raise ValueError(f"{fact}: the test {seen.pop()!r} is one of its evidences; tests must be unseen")

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
    def codes(self) -> dict[str, np.ndarray]:
        """ "subject", "relation", "object" → (facts,) numbers that are equal where the names are (`names.normal`)."""
        found: dict[str, list[int]] = {}
        for column in ("subject", "relation", "object"):
            numbers: dict[str, int] = {}
            found[column] = [numbers.setdefault(normal(getattr(fact, column)), len(numbers)) for fact in self]
        return {column: np.array(numbers, dtype=np.int64) for column, numbers in found.items()}

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
            raise UnknownNameError(f"no fact ({name}, {relation}); of {name} these relations are known: {listed(own)}")
        subjects = list(dict.fromkeys(f.subject for f in self if f.relation == relation))
        if not subjects:
            known = listed(sorted({f.relation for f in self}))
            raise UnknownNameError(f"unknown relation {shown(relation)}; known: {known}")
        near = listed(difflib.get_close_matches(subject, subjects, 5, 0))
        raise UnknownNameError(
            f"unknown subject {shown(subject)}; nearest of {len(subjects):,} with a {relation}: {near}"
        )

    def subset(self, facts: Iterable[Fact], name: str, note: str) -> FactBase:
        """A base of `facts`, which are some of these, with the same relations; `note` says which, and why."""
        notes = (*self.notes, note)
        return FactBase(facts, self.relations, name, untested=self._untested, notes=notes, aliases=self.aliases)

    def sample(self, n: int, seed: int = 0) -> FactBase:
        """`n` facts drawn uniformly from `seed`, in their order here. Raises ValueError unless 1 ≤ n ≤ len(self)."""
        if not is_whole(n) or not 1 <= n <= len(self):
            raise ValueError(f"a sample of {self.name} has 1 to {len(self):,} facts, got {n!r}")
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

        Raises KeyError for a fact that is not in the base. Raises ValueError for an empty object, an object that the
        subject has already, a fact that is given twice, or one without tests.
        """
        objects: dict[int, str] = {}  # position → new object
        for change in changes:
            if not isinstance(change, (tuple, list)) or len(change) != 3:
                raise ValueError(f"a change is (subject, relation, new object), got {change!r}")
            subject, relation, new = change
            Fact(subject, relation, new)  # checks the three names
            i = self.find(subject, relation)
            if any(normal(fact.object) == normal(new) for fact in self.siblings(self[i])):
                raise ValueError(f"{self[i]} already has the object {new!r}")
            if i in objects:
                raise ValueError(f"{self[i]} is given twice in one modification")
            if not self.tests(self[i]):
                raise ValueError(f"{self[i]} has no tests, so its change could not be measured; change another fact")
            objects[i] = new.strip()
        return Modification(self, tuple(objects), tuple(objects.values()))

    def alternatives(self, fact: Fact) -> list[str]:
        """The objects that could replace `fact`'s under the paper's rule. Raises ValueError if there is none."""
        if names := list(self._alternatives.of(fact)[0]):
            return names
        raise ValueError(f"{fact} cannot be modified: relation {fact.relation} has no other object")


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
            raise ValueError(f"indices must be {positions}, got {wrong[0] if wrong else 'one of them twice'}")

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
        name = f"{self.base.name}, {len(self)} modified"
        base = self.base
        return FactBase(facts, base.relations, name, untested=base._untested, aliases=base.aliases)
