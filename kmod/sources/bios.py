"""Generated people with attributes: any number, from a seed.

They serve questions of scale, and are facts that no pretraining can have seen. Names are drawn without replacement from
all combinations of given name, middle names and family name; the attributes of person i are a hash of (seed, i).
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from math import gcd

from ..checks import check_whole
from ..facts import Fact, FactBase, Relation


@cache
def content() -> tuple[list[str], list[str], list[tuple[Relation, list[str]]]]:
    """Given names, family names, and relations with the values that their objects are drawn from: those of
    `bios.toml`."""
    table = tomllib.loads(files(__package__).joinpath("bios.toml").read_text("utf-8"))
    given, family = table.pop("given").split(), table.pop("family").split()
    values = [row.pop("values").split() for row in table.values()]
    return given, family, [(Relation(id, **row), words) for (id, row), words in zip(table.items(), values, strict=True)]


class People(Sequence[Fact]):
    """The facts of `people` generated people, one person after the other; each fact is made on demand."""

    def __init__(self, people: int, seed: int):
        self.people, self.seed = people, seed
        self.given, self.family, self.attributes = content()
        # A name is the digits of a number below `space`: family, given, then as many middle names as n needs.
        self.middles, self.space = 1, len(self.family) * len(self.given) ** 2
        while self.space < 4 * people:
            self.middles, self.space = self.middles + 1, self.space * len(self.given)
        # i → (a·i + b) mod space is one-to-one when a and the space share no factor.
        self.b = int.from_bytes(hashlib.sha256(f"bios {seed}".encode()).digest()[:8], "big") % self.space
        self.a = (int(self.space * 0.618) + 2 * self.b) % self.space | 1
        while gcd(self.a, self.space) != 1:
            self.a += 2

    def __len__(self) -> int:
        return self.people * len(self.attributes)

    def name(self, person: int) -> str:
        number = (self.a * person + self.b) % self.space
        number, family = divmod(number, len(self.family))
        given = []
        for _ in range(self.middles + 1):
            number, digit = divmod(number, len(self.given))
            given.append(self.given[digit])
        return " ".join([*given, self.family[family]])

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(f"fact {i} of {len(self)}")
        person, kind = divmod(int(i) % len(self), len(self.attributes))
        relation, values = self.attributes[kind]
        draw = hashlib.blake2b(f"{self.seed} {person} {kind}".encode(), digest_size=8).digest()
        return Fact(self.name(person), relation.id, values[int.from_bytes(draw, "big") % len(values)])


def bios(n: int, seed: int = 0) -> FactBase:
    """`n` generated people with six attributes each: 6n facts, the same for the same seed.

    Facts are made when they are asked for, so memory does not grow with n. Finding a fact by name, or evaluating a
    model, needs memory for all of them.

    Raises ValueError unless `n` is a whole number from 1 and `seed` one from 0.
    """
    n, seed = check_whole("the number of people", n), check_whole("seed", seed, 0)
    people = People(n, seed)
    relations = {relation.id: relation for relation, _ in people.attributes}
    return FactBase(people, relations, f"bios:{n}" + (f":{seed}" if seed else ""), lazy=True)
