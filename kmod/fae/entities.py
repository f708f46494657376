"""The names of a memory's entities and relations, and the rows of its facts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch

from ..checks import brief
from ..facts import Fact
from ..names import accentless, normal


@dataclass(frozen=True, eq=False)
class Names:
    """Entities and relations, numbered in order. Names of entities are compared by `names.normal`."""

    entities: Sequence[str]
    relations: Sequence[str]
    _entity: dict[str, int] = field(init=False, repr=False)
    _relation: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self):
        for kind, names, key in (("entity", self.entities, normal), ("relation", self.relations, str)):
            index = {key(name): i for i, name in enumerate(names)}
            object.__setattr__(self, f"_{kind}", index)
            if len(index) != len(names):
                raise ValueError(f"{len(names) - len(index)} {kind} names repeat; each may stand once")

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> Names:
        """All subjects, objects and relations of `facts`, in order of appearance."""
        entities: dict[str, str] = {}
        relations: dict[str, None] = {}
        for fact in facts:
            relations[fact.relation] = None
            for name in (fact.subject, fact.object):
                entities.setdefault(normal(name), name.strip())
        return cls(tuple(entities.values()), tuple(relations))

    def find(self, name: str) -> int:
        """The number of the entity called `name` or, if there is none, of the only one whose name differs by accents
        alone; −1 if there is neither."""
        if (number := self._entity.get(normal(name))) is not None:
            return number
        near = self._accentless.get(accentless(name), ())
        return near[0] if len(near) == 1 else -1

    @cached_property
    def _accentless(self) -> dict[str, list[int]]:
        numbers: dict[str, list[int]] = {}
        for name, number in self._entity.items():
            numbers.setdefault(accentless(name), []).append(number)
        return numbers

    def entity(self, name: str) -> int:
        """The number of the entity called `name`. Raises ValueError, naming it and one that is spelt alike."""
        if (number := self.find(name)) < 0:
            near = difflib.get_close_matches(normal(name), self._entity, 1)
            hint = f"; did you mean {self.entities[self._entity[near[0]]]!r}?" if near else ""
            raise ValueError(
                brief(f"{name!r} is not among the {len(self.entities):,} entities of this model's memory{hint}")
            )
        return number

    def relation(self, name: str) -> int:
        """The number of a relation. Raises ValueError that lists those there are."""
        if name not in self._relation:
            known = ", ".join(self.relations[:40]) + (", …" if len(self.relations) > 40 else "")
            raise ValueError(brief(f"the relation {name!r} is not in this model's table; known: {known}"))
        return self._relation[name]


@dataclass(eq=False)
class Rows:
    """A copy of a fact memory to write to: its buffers as tensors, and the row of each (subject, relation)."""

    names: Names
    subjects: torch.Tensor  # (R,)
    relations: torch.Tensor  # (R,)
    tails: torch.Tensor  # (R, T)

    def __post_init__(self):
        self.used = int((self.subjects >= 0).sum())  # rows are filled from the first and never freed
        pairs = zip(self.subjects[: self.used].tolist(), self.relations[: self.used].tolist(), strict=True)
        self.at = {pair: i for i, pair in enumerate(pairs)}

    @classmethod
    def empty(cls, names: Names, capacity: int, width: int) -> Rows:
        return cls(names, torch.full((capacity,), -1), torch.full((capacity,), -1), torch.full((capacity, width), -1))

    @classmethod
    def of(cls, names: Names, fact_memory) -> Rows:
        """A copy of the rows of a `FactMemory`."""
        return cls(names, *(b.detach().cpu().clone() for b in tensors(fact_memory).values()))

    def find(self, subject: str, relation: str) -> int:
        """The row of (subject, relation), or −1. Raises ValueError for a name that the memory does not have."""
        return self.at.get((self.names.entity(subject), self.names.relation(relation)), -1)

    def add(self, subject: str, relation: str, object: str) -> int:
        """Write a fact: to the set of tails of its row, or to a free row. Gives the row.

        Raises ValueError, naming the fact, if an entity or the relation is unknown, the fact is already there, or
        there is no room.
        """
        fact = f"({subject}, {relation}, {object})"
        row, tail = self.find(subject, relation), self.names.entity(object)
        if row < 0:
            if self.used == len(self.subjects):
                raise ValueError(f"no room for {fact}: all {self.used:,} rows of the memory (fact_capacity) are used")
            row, self.used = self.used, self.used + 1
            self.subjects[row], self.relations[row] = self.names.entity(subject), self.names.relation(relation)
            self.at[int(self.subjects[row]), int(self.relations[row])] = row
        held = int((self.tails[row] >= 0).sum())
        if tail in self.tails[row]:
            raise ValueError(f"{fact} is already in the fact memory")
        if held == self.tails.shape[1]:
            raise ValueError(f"no room for {fact}: its row holds {held} objects already (tail_width)")
        self.tails[row, held] = tail
        return row

    def update(self, subject: str, relation: str, old: str, new: str) -> int:
        """Put `new` in the place of `old` among the tails of a row. Gives the row.

        Raises ValueError, naming the fact, if a name is unknown, the row or `old` is not there, or `new` already is.
        """
        row, before, after = self.find(subject, relation), self.names.entity(old), self.names.entity(new)
        if row < 0 or before not in self.tails[row]:
            raise ValueError(f"({subject}, {relation}, {old}) is not in the fact memory: add it, or name what it holds")
        if after in self.tails[row]:
            raise ValueError(f"({subject}, {relation}, {new}) is already in the fact memory")
        self.tails[row][self.tails[row] == before] = after
        return row


def tensors(fact_memory) -> dict[str, torch.Tensor]:
    """The buffers of a `FactMemory`, in the order of `Rows`."""
    return {name: getattr(fact_memory, name) for name in ("subjects", "relations", "tails")}
