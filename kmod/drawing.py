"""The paper's rule for drawing a modification (see `FactBase.modify`): which facts change, to which new objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from .names import alike, composed, normal


class Alternatives:
    """The objects that could replace those of the facts of `base`, with their weights.

    Names that are `alike` are never drawn for one another, as some models cannot tell them apart.
    """

    def __init__(self, base):
        self.base = base
        spellings: dict[str, Counter[str]] = {}  # relation → how many of its facts have each object, as it is written
        total: Counter[str] = Counter()  # "Apple" and "apple" are counted apart
        for fact in base:
            spellings.setdefault(fact.relation, Counter())[fact.object] += 1
            total[composed(fact.object)] += 1
        # relation → its objects, their weights, and the positions of each name among them
        self.by_relation: dict[str, tuple[np.ndarray, np.ndarray, dict[str, list[int]]]] = {}
        for relation, counts in spellings.items():
            ordered, positions, here = sorted(counts), {}, Counter()
            for i, name in enumerate(ordered):
                positions.setdefault(alike(name), []).append(i)
                here[composed(name)] += counts[name]
            # Where one object has two Unicode forms, they share its weight.
            weights = [total[composed(name)] * counts[name] / here[composed(name)] for name in ordered]
            self.by_relation[relation] = np.array(ordered, dtype=object), np.array(weights), positions

    def of(self, fact) -> tuple[np.ndarray, np.ndarray]:
        """The objects that could replace `fact`'s and their probabilities; both are empty if there is none."""
        if fact.relation not in self.by_relation:
            return np.array([], dtype=object), np.array([])
        names, weights, positions = self.by_relation[fact.relation]
        taken = {alike(other.object) for other in (fact, *self.base.siblings(fact))}
        removed = [i for name in taken for i in positions.get(name, ())]
        weights = np.delete(weights, removed)
        return np.delete(names, removed), weights / max(weights.sum(), 1)


def draw(
    alternatives: Alternatives, n: int, seed: int, known: Sequence[bool] | None
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The positions of `n` facts of a base and their new objects; see `FactBase.modify`.

    Raises ValueError if fewer than `n` facts can be modified.
    """
    base, rng = alternatives.base, np.random.default_rng(seed)
    candidates = np.arange(len(base)) if known is None else np.flatnonzero(np.asarray(known, dtype=bool))
    chosen: list[int] = []
    without_alternative = None
    in_group: Counter[tuple[str, str]] = Counter()  # chosen facts by subject and relation: they share the alternatives
    for i in rng.permutation(candidates):
        if len(chosen) == n:
            break
        fact = base[i]
        if not base.tests(fact):
            continue
        names, _ = alternatives.of(fact)
        group = normal(fact.subject), fact.relation
        if len(names) and (not in_group[group] or len({alike(name) for name in names}) > in_group[group]):
            chosen.append(int(i))
            in_group[group] += 1
        else:
            without_alternative = fact
    if len(chosen) < n:
        message = f"cannot modify {n} facts of {base.name}: only {len(chosen)} of {len(base)} qualify"
        if known is not None:
            message += f" ({len(candidates)} are answered correctly)"
        if without_alternative:
            message += f"; {without_alternative} and the like have no other object in their relation"
        raise ValueError(message)
    objects: list[str] = []
    given: dict[tuple[str, str], set[str]] = {}
    for i in chosen:
        names, weights = alternatives.of(base[i])
        name = str(rng.choice(names, p=weights))
        taken = given.setdefault((normal(base[i].subject), base[i].relation), set())
        if alike(name) in taken:  # draw again with another generator, so that the later draws stay as they are
            weights = weights * [alike(other) not in taken for other in names]
            name = str(np.random.default_rng([seed, i]).choice(names, p=weights / weights.sum()))
        taken.add(alike(name))
        objects.append(name)
    return tuple(chosen), tuple(objects)
