"""The ladder from the literature's fine-tuning baseline (FT-L) to the paper's, one ingredient a rung.

Every rung takes `PER_FACT` gradients of one statement for each modified fact, at most, and has a grid of four settings:
four learning rates, or, where the ball is tuned, two learning rates by two radii. The first rung is the baseline as it
is published, of which nothing is tuned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .settings import OWN, Setting

if TYPE_CHECKING:
    from .suites import Profile

PER_FACT = 64
EVIDENCES = 8
BATCH = 16
RATES = (1.5e-4, 5e-4, 1.5e-3, 5e-3)
PUBLISHED = 5e-4
"""The radius of FT-L, for matrices of GPT-2 XL with 6,400 inputs."""
SCALED = 6e-3
"""The same for matrices of 512 inputs: an output moves by at most the radius times the sum of the inputs' sizes."""
BLOCK_RADII, ALL_RADII = (6e-3, 1.5e-2), (2.5e-3, 6e-3)


@dataclass(frozen=True)
class Rung:
    """One rung: its name, what it adds, and the settings it is chosen from. `on` is the rung that it is compared with:
    they differ in what the rung adds."""

    name: str
    adds: str
    on: str | None
    settings: tuple[Setting, ...]


def rungs(p: Profile) -> list[Rung]:
    """The rungs, from the lowest up; after them what the same costs and gives without a ball, and in all blocks."""
    last, steps = p.blocks[-1], p.n * PER_FACT // BATCH

    def own(**how) -> Setting:
        return replace(p.setting("FTM", last, training=OWN), **how)

    def one(evidences: int, slots: str, delta: float, rates=RATES, most: int | None = None) -> tuple[Setting, ...]:
        options = {"evidences": evidences, "slots": slots}
        each = {"method": "FT-L", "constraint": "Linf", "delta": delta, "options": options, "batch_size": None}
        return tuple(own(**each, steps=most or PER_FACT // evidences, lr=lr) for lr in rates)

    def many(deltas=(None,), rates=RATES, **how) -> tuple[Setting, ...]:
        return tuple(
            own(**how, constraint="Linf" if delta else None, delta=delta, lr=lr, steps=steps, batch_size=BATCH)
            for delta in deltas
            for lr in rates
        )

    matrix = {"method": "FT-L", "options": {"evidences": EVIDENCES, "slots": "every", "order": "together"}}
    tuned = RATES[1:3]
    return [
        Rung("FT-L as published", "", None, one(1, "first", PUBLISHED, (5e-4,), 25)),
        Rung("FT-L, ball scaled", "a radius to the scale of this model, four learning rates", "FT-L as published",
             one(1, "first", SCALED)),
        Rung("every slot", "the objective at every slot of the object", "FT-L, ball scaled", one(1, "every", SCALED)),
        Rung("several evidences", "eight evidences a fact in place of one", "every slot",
             one(EVIDENCES, "every", SCALED)),
        Rung("mini-batches", "all facts together, the ball around θ₀", "several evidences", many((SCALED,), **matrix)),
        Rung("whole block", "attention and norms of the block as well", "mini-batches", many((SCALED,))),
        Rung("tuned ball (FTM)", "the radius chosen", "whole block", many(BLOCK_RADII, tuned)),
        Rung("mixing (FTA)", "half of each batch unmodified facts", "tuned ball (FTM)",
             many(BLOCK_RADII, tuned, method="FTA")),
        Rung("mini-batches, no ball", "the ball taken away", "mini-batches", many(**matrix)),
        Rung("whole block, no ball", "the ball taken away", "tuned ball (FTM)", many()),
        Rung("mixing, no ball", "the ball taken away", "mixing (FTA)", many(method="FTA")),
        Rung("all blocks, tuned ball", "all blocks in place of one", "tuned ball (FTM)",
             many(ALL_RADII, tuned, block="all")),
        Rung("all blocks, no ball", "the ball taken away", "all blocks, tuned ball", many(block="all")),
    ]  # fmt: skip
