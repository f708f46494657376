"""ADD: what a fact that was never trained on gains by standing in a FaE's fact memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from ..evaluation import score
from ..facts import Fact, FactBase
from ..models.masked_lm import MaskedLM
from ..names import normal
from .symbolic import add_facts


def hold_out(facts: FactBase, n: int, seed: int = 0) -> tuple[FactBase, FactBase]:
    """`facts` without n drawn facts, and those: they have tests, and of their subjects, objects and relations each
    stands in others as well.

    Raises ValueError if fewer than `n` facts can be spared.
    """
    parts = [((0, normal(f.subject)), (0, normal(f.object)), (1, f.relation)) for f in facts]
    left = Counter(part for three in parts for part in three)
    subjects = Counter(three[0] for three in parts)  # a subject stays a subject: its entity is met as one in training
    held: list[int] = []
    for i in np.random.default_rng(seed).permutation(len(facts)).tolist():
        if len(held) == n:
            break
        if subjects[parts[i][0]] > 1 and all(left[part] > 1 for part in parts[i]) and facts.tests(facts[i]):
            held.append(i)
            left.subtract(parts[i])
            subjects[parts[i][0]] -= 1
    if len(held) < n:
        raise ValueError(f"only {len(held)} facts of {facts.name} can be held out, not {n}")
    out = set(held)
    kept = [fact for i, fact in enumerate(facts) if i not in out]
    return (
        facts.subset(kept, f"{facts.name} without {n} ({seed})", f"without {n} facts, drawn by seed {seed}"),
        facts.subset([facts[i] for i in held], f"{n} of {facts.name} ({seed})", f"{n} facts, drawn by seed {seed}"),
    )


def widest(facts: Iterable[Fact]) -> int:
    """The most objects that a subject has in a relation."""
    return max(Counter((normal(fact.subject), fact.relation) for fact in facts).values())


def rates(model: MaskedLM, held: FactBase, rest: FactBase) -> dict[str, dict]:
    """How many statements of the facts `held` out are right without them in the fact memory and with them added, and
    what that does to the rest; each a rate with its interval."""
    before, rest_before = score(model, held), score(model, rest, ["tests"])
    with add_facts(model, held)(model):
        after, rest_after = score(model, held), score(model, rest, ["tests"], rest_before.examples)
    found = {
        "held_out_before": before.rate("tests"),
        "held_out_added": after.rate("tests"),
        "held_out_evidences_before": before.rate("evidences"),
        "held_out_evidences_added": after.rate("evidences"),
        "rest_before": rest_before.rate("tests"),
        "rest_added": rest_after.rate("tests"),
    }
    return {name: asdict(rate) for name, rate in found.items()}
