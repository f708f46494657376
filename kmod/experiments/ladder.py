"""The ladder from the literature's fine-tuning baseline (FT-L) to the paper's, one ingredient a rung.

Every rung takes `PER_FACT` gradients of one statement for each modified fact, at most, and has a grid of four settings:
four learning rates, or, where the ball is tuned, two learning rates by two radii. The first rung is the baseline as it
is published, of which nothing is tuned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .selection import Selection
from .settings import OWN, Setting
from .statistics import MISSING, Mean, difference

if TYPE_CHECKING:
    from .index import Index
    from .suites import Profile

PER_FACT = 64
EVIDENCES = 8
BATCH = 16
RATES = (1.5e-4, 5e-4, 1.5e-3, 5e-3)
PUBLISHED = 5e-4
"""The radius of FT-L, for matrices of GPT-2 XL with 6,400 inputs."""
SCALED = 6e-3
"""The same for matrices of 512 inputs: an output moves by at most the radius times the sum of the inputs' sizes."""
MATRIX_RADII, BLOCK_RADII, ALL_RADII = (3e-2, 6e-2), (6e-3, 1.5e-2), (2.5e-3, 6e-3)
"""The fewer parameters, the further each must go."""


@dataclass(frozen=True)
class Rung:
    """One rung: its name, what it adds, and the settings it is chosen from. `on` is the rung that it is compared with:
    they differ in what the rung adds."""

    name: str
    adds: str
    on: str | None
    settings: tuple[Setting, ...]


def rungs(p: Profile) -> list[Rung]:
    """The rungs, from the lowest up; then the way up without a ball, and all blocks."""
    last, steps = p.blocks[-1], p.n * PER_FACT // BATCH

    def own(**how) -> Setting:
        return replace(p.setting("FTM", last, training=OWN), **how)

    def one(evidences: int, slots: str, deltas=(SCALED,), rates=RATES, most: int | None = None) -> tuple[Setting, ...]:
        each = {"method": "FT-L", "options": {"evidences": evidences, "slots": slots}, "batch_size": None}
        each["steps"] = most or PER_FACT // evidences
        return tuple(
            own(**each, constraint="Linf" if delta else None, delta=delta, lr=lr) for delta in deltas for lr in rates
        )

    def many(deltas=(None,), rates=RATES, **how) -> tuple[Setting, ...]:
        return tuple(
            own(**how, constraint="Linf" if delta else None, delta=delta, lr=lr, steps=steps, batch_size=BATCH)
            for delta in deltas
            for lr in rates
        )

    matrix = {"method": "FT-L", "options": {"evidences": EVIDENCES, "slots": "every", "order": "together"}}
    tuned = RATES[1:3]
    return [
        Rung("FT-L as published", "", None, one(1, "first", (PUBLISHED,), (5e-4,), 25)),
        Rung("FT-L, ball scaled", "a radius to the scale of this model, four learning rates", "FT-L as published",
             one(1, "first")),
        Rung("every slot", "the objective at every slot of the object", "FT-L, ball scaled", one(1, "every")),
        Rung("several evidences", "eight evidences a fact in place of one", "every slot",
             one(EVIDENCES, "every")),
        Rung("mini-batches", "all facts together, the ball around θ₀", "several evidences", many((SCALED,), **matrix)),
        Rung("whole block", "attention and norms of the block as well", "mini-batches", many((SCALED,))),
        Rung("tuned ball (FTM)", "the radius chosen", "whole block", many(BLOCK_RADII, tuned)),
        Rung("mixing (FTA)", "half of each batch unmodified facts", "tuned ball (FTM)",
             many(BLOCK_RADII, tuned, method="FTA")),
        Rung("one by one, no ball", "the ball taken away", "several evidences", one(EVIDENCES, "every", (None,))),
        Rung("mini-batches, no ball", "all facts together", "one by one, no ball", many(**matrix)),
        Rung("mini-batches, tuned ball", "a ball around θ₀, its radius chosen", "mini-batches, no ball",
             many(MATRIX_RADII, tuned, **matrix)),
        Rung("whole block, no ball", "the whole block", "mini-batches, no ball", many()),
        Rung("mixing, no ball", "half of each batch unmodified facts", "whole block, no ball", many(method="FTA")),
        Rung("all blocks, no ball", "all blocks in place of one", "whole block, no ball", many(block="all")),
        Rung("all blocks, tuned ball", "a ball around θ₀, its radius chosen", "all blocks, no ball",
             many(ALL_RADII, tuned, block="all")),
    ]  # fmt: skip


@dataclass(frozen=True)
class Climbed:
    """What the records say of a rung: metric → seed → value, each at the setting that is best by Ā on the other
    seeds; and what was chosen, in words."""

    rung: Rung
    values: dict[str, dict[int, float]]
    chosen: str

    @property
    def seeds(self) -> int:
        return len(self.values["A_mean"])


def climb(p: Profile, index: Index) -> dict[str, Climbed]:
    """Name → what the records say, of the rungs that have records; the seeds are those that all its settings have."""
    found = {}
    for rung in rungs(p):
        cells = {setting: index.cell(setting) for setting in rung.settings}
        common = set.intersection(*map(set, cells.values()))
        if not common:
            continue
        choice = Selection({setting: {seed: cells[setting][seed] for seed in sorted(common)} for setting in cells})
        values = {metric: choice.held_out(metric) for metric in ("A_M", "A_M_evidences", "A_FS", "A_mean")}
        counts = Counter(_dial(setting) for setting in choice.chosen.values())
        words = "; ".join(f"{dial} ({times}×)" for dial, times in counts.most_common())
        found[rung.name] = Climbed(rung, values, words)
    return found


def _dial(setting: Setting) -> str:
    ball = f", δ {setting.delta:g}" if setting.delta else ""
    return f"lr {setting.lr:g}{ball}"


def gain(found: Mapping[str, Climbed], name: str, metric: str = "A_mean") -> Mean:
    """What a rung adds to the one that it stands on."""
    return compare(found, name, found[name].rung.on, metric)


def compare(found: Mapping[str, Climbed], ours: str, theirs: str | None, metric: str = "A_mean") -> Mean:
    """The difference of two rungs, paired by seed; `MISSING` where either has no records, or they share no seed."""
    if not {ours, theirs} <= found.keys():
        return MISSING
    a, b = (found[name].values[metric] for name in (ours, theirs))
    return difference(a, b) if a.keys() & b.keys() else MISSING
