"""Edits one after the other: what holds the model, over 1 to 1,024 facts? The settings of the suite.

Five arms, each with the setting of its grid of four that had the best Ā after 128 facts in portions of 8 (suite
`sequences_grid`), on a seed and a training that are not reported; of those that had learnt at least half of the first
portion, for by Ā alone the best is to leave the model almost as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from .settings import OWN, Setting

if TYPE_CHECKING:
    from .suites import Profile

FREE, START, LAST, MIXING, MEMIT = "no anchor", "ball around θ₀", "ball around the last θ", "mixing", "MEMIT"
RATES = (1e-4, 3e-4, 1e-3, 3e-3)


def _balls(anchor: str, *radii: float) -> list[dict]:
    ball = {"constraint": "Linf", "anchor": anchor}
    return [ball | {"lr": lr, "delta": delta} for lr in RATES[1:3] for delta in radii]


GRIDS: dict[str, list[dict]] = {
    FREE: [{"lr": lr} for lr in RATES],
    START: _balls("start", 1e-2, 3e-2),
    LAST: _balls("last", 1e-3, 4e-3),
    MIXING: [{"method": "FTA", "lr": lr} for lr in RATES],
    MEMIT: [{"method": "MEMIT", "options": {"keep": keep}} for keep in (10, 100, 1000, 10000)],
}
"""Arm → the settings that it is chosen from."""
CHOSEN = {FREE: 1, START: 0, LAST: 1, MIXING: 1, MEMIT: 2}
"""Arm → the position in its grid of what was chosen."""
PORTIONS = {8: (256, 30, 32), 64: (1024, 60, 64), 1: (64, 15, 8)}
"""Facts at a time → facts in all, steps for each portion, statements a batch: 120 gradients a fact, or 60 (of 64)."""
TRIED = (8, 128)
"""Facts at a time and in all, in the suite that the settings are chosen by."""


def arm(p: Profile, name: str, number: int, portion: int, n: int) -> Setting:
    """One setting of an arm's grid: `n` facts, `portion` at a time; fewer facts in a small profile."""
    how, (_, steps, batch_size) = {"method": "FTM"} | GRIDS[name][number], PORTIONS[portion]
    own = {"block": p.blocks[-1], "steps": steps, "batch_size": batch_size}
    own = own if how["method"] != "MEMIT" else {"block": None, "steps": 25, "batch_size": None, "lr": 0.02}
    return replace(p.setting("FTM", n=min(n, p.n**2), training=OWN), **own | how, portion=portion)


def grid(p: Profile) -> Iterator[Setting]:
    """Every setting of every arm, on a short sequence."""
    portion, n = TRIED
    return (arm(p, name, i, portion, n) for name, own in GRIDS.items() for i in range(len(own)))


def arms(p: Profile) -> Iterator[Setting]:
    """Each arm at the setting that was chosen, with facts 8, 64 and 1 at a time; MEMIT, the slowest, last."""
    for name in (FREE, START, LAST, MIXING, MEMIT):
        for portion, (n, *_) in PORTIONS.items():
            yield arm(p, name, CHOSEN[name], portion, n)
