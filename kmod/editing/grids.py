"""Editors at equal care: for each the same number of settings to choose from.

A method that is compared at one learning rate is compared with that rate as much as with the method. Each editor here
has `SETTINGS` configurations: four learning rates by two values of its own dial (the radius of a ball, a weight, a
rank), or two by four, or, where it has no dial, rates by numbers of steps; those in closed form have eight of what they
do have. The rates of those that train whole matrices lie between 3e-5 and 1e-3, and the radii are those of a model like
nano: look at the range before you use them for another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from ..facts import Modification
from ..models.language_model import LanguageModel
from .balls import make_ball
from .edit import Edit
from .methods import find

RATES = (3e-5, 1e-4, 3e-4, 1e-3)
FEW = (3e-4, 1e-3, 3e-3, 1e-2)
"""Learning rates of editors that train few numbers: LayerNorms or adapters."""
SURE = (3e-4, 1e-3)
"""Learning rates of the balls that weigh by curvature. How large a radius must be there differs by a factor of 16 from
one training of a model to the next, so that they have four radii, and two rates, in place of the reverse."""
STEPS, MORE = 120, 240
SETTINGS = 8
CLOSED = {"steps": 25, "lr": 0.05}
"""The descent to the vectors that closed forms write. At 0.02 it ends too early; from 0.05 to 0.2 nothing changes."""


def _trained(method: str, rates=RATES, constraint: str | None = None, deltas=(None,), option="", values=(None,)):
    """Learning rates by radii or by values of an option; with neither, by numbers of steps."""
    steps = (STEPS,) if option or deltas != (None,) else (STEPS, MORE)
    return tuple(
        {"method": method, "block": "all", "constraint": constraint if delta else None, "delta": delta, "lr": lr}
        | {"steps": many, "options": {option: value} if option else {}}
        for lr, many, delta, value in product(rates, steps, deltas, values)
    )


def _closed(method: str, blocks, deltas=(None,), **options):
    return tuple(
        {"method": method, "block": block, "delta": delta, "options": dict(zip(options, values, strict=True))} | CLOSED
        for block, delta, *values in product(blocks, deltas, *options.values())
    )


GRIDS: dict[str, tuple[dict, ...]] = {
    "FTM": _trained("FTM"),
    "FTA": _trained("FTA"),
    "FTM in ℓ∞": _trained("FTM", constraint="Linf", deltas=(2.5e-3, 6e-3)),
    "FTM in ℓ2": _trained("FTM", constraint="L2", deltas=(1.5, 2.5)),
    "FTM in Fisher": _trained("FTM", SURE, constraint="Fisher", deltas=(1.5e-4, 3e-4, 6e-4, 1.2e-3)),
    "FTM in K-FAC": _trained("FTM", SURE, constraint="KFAC", deltas=(1e-3, 4e-3, 1.6e-2, 6.4e-2)),
    "loss-constrained": _trained("loss-constrained", deltas=(0.01, 0.1)),
    "KL": _trained("KL", option="weight", values=(1, 10)),
    "EWC": _trained("EWC", option="weight", values=(1e7, 1e8)),
    "low-curvature": _trained("low-curvature", deltas=(0.01, 0.05)),
    "LayerNorm tuning": _trained("LayerNorm tuning", rates=FEW),
    "LoRA": _trained("LoRA", rates=FEW, option="rank", values=(4, 16)),
    "ROME": _closed("ROME", (0, 1), keep=(100, 300, 1000, 3000)),
    "MEMIT": _closed("MEMIT", (1, 2), keep=(100, 300, 1000, 3000)),
    "AlphaEdit": _closed("AlphaEdit", (1,), deltas=(0.01, 0.03, 0.1, 0.3), ridge=(1, 10)),
    "kNN": tuple({"method": "kNN", "delta": delta} for delta in (1, 2, 3, 4, 5, 6, 8, 12)),
}  # fmt: skip
"""Editor → its settings: "method" with "block", "constraint", "delta", "lr", "steps" and "options", as it has them."""


def edit_with(
    model: LanguageModel,
    change: Modification,
    *,
    method: str,
    block: int | str | None = None,
    constraint: str | None = None,
    delta: float | None = None,
    options: Mapping[str, object] | None = None,
    seed: int = 0,
    **settings,
) -> Edit:
    """One edit by a setting of a grid: `edit_with(model, change, **GRIDS["FTM in ℓ∞"][3])`.

    Args:
        method: a name of the registry (`kmod.editing.methods`).
        constraint, delta: a ball by name, and its radius; without a constraint, δ is the method's own dial.
        settings: steps, lr and batch_size, for the methods that take them.

    Raises ValueError for a method that there is not, or whose package is missing, for an option it does not have, and
    as the method does.
    """
    entry, given = find(model, method), dict(options or {})
    entry.check(given)
    given |= settings | dict(entry.fixed) | ({"seed": seed} if "seed" in entry.takes else {})
    if block is not None:
        given["block"] = block
    if constraint is not None:
        part = {"block": block} if block is not None else {}
        given["constraint"] = make_ball(constraint, delta, model, change, **part, seed=seed)
    elif delta is not None:
        given[entry.dial] = delta
    return entry.function(model, change, **given)
