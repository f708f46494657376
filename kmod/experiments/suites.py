"""The suites: one grid of settings a research question, at the sizes of a profile.

A suite is a function of a profile that yields settings; `settings` crosses them with the profile's seeds. Runs that two
suites share are done once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..checks import brief, check_whole
from ..sources.table import SUFFIXES
from . import equal_care
from .ladder import rungs
from .sequences import arms, grid
from .settings import FAE, OWN, Setting, model_name


@dataclass(frozen=True)
class Profile:
    """Sizes. The names of the fields are the paper's; `deltas` are radii of ℓ∞ over all blocks, `block_deltas` over
    one block."""

    name: str
    facts: str
    model: str
    pretrained: str | None  # a pretrained model, for RQ4; None if there is none
    start: str  # of RQ1–RQ3 and RQ5
    blocks: tuple[int, ...]
    n: int
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    deltas: tuple[float, ...]
    block_deltas: tuple[float, ...]
    l2: tuple[float, ...]
    fisher: tuple[float, ...]
    epsilons: tuple[float, ...]
    epochs: float = 11
    least_steps: int | None = None
    steps: int = 60
    batch_size: int = 64
    lr: float = 1e-3
    albert: str | None = None  # a model whose blocks share their weights
    training: int | str | None = None  # the seed that starting states are trained from; None is 0, OWN the run's own

    def setting(self, method: str, block=None, constraint=None, delta=None, **others) -> Setting:
        """A setting of this profile, with `others` in place of its own; methods that take optimiser steps get its
        effort: steps in proportion to |M| (`effort`), batch size and learning rate."""
        given = {"facts": self.facts, "model": self.model, "start": self.start, "epochs": self.epochs, "n": self.n}
        given |= {"least_steps": self.least_steps, "training": self.training} | others
        run = Setting(**given, method=method, block=block, constraint=constraint, delta=delta)
        effort = {"steps": self.effort(run.n), "batch_size": self.batch_size, "lr": self.lr}
        takes = run.registered.takes if run.registered else ()
        return replace(run, **{name: effort[name] for name in effort.keys() - others.keys() if name in takes})

    def sweep(self, method: str, block=None, constraint="Linf", radii=None, **others) -> Iterator[Setting]:
        """`setting` for each of the radii, by default those of ℓ∞."""
        return (self.setting(method, block, constraint, delta, **others) for delta in radii or self.radii(block))

    @property
    def ends(self) -> tuple[str | int, ...]:
        """All blocks, the first and the last."""
        return ("all", self.blocks[0], self.blocks[-1])

    def effort(self, n: int) -> int:
        """Optimiser steps for |M| = n: `steps` for `self.n` facts, doubled for every fourfold |M| beyond."""
        steps, size = self.steps, self.n
        while size * 4 <= n:
            steps, size = 2 * steps, 4 * size
        return steps

    def radii(self, block, fewer: bool = False) -> tuple[float, ...]:
        """Radii for all blocks or for one; `fewer` leaves out the tightest and the widest."""
        radii = self.deltas if block == "all" else self.block_deltas
        return radii[1:-1] if fewer and len(radii) > 2 else radii

    def balls(self, block, n: int | None = None) -> list[tuple[str | None, float | None]]:
        """Constraint and radius, from a tight ball to none, so that a grid holds its optimum: of the radii all for
        fewer facts than usual, all but the tightest for as many, and but the two tightest for more."""
        radii, n = self.radii(block), n or self.n
        return [("Linf", delta) for delta in radii[(n >= self.n) + (n > self.n) :] or radii[-1:]] + [(None, None)]


def rq1_reliability(p: Profile) -> Iterator[Setting]:
    """Can chosen facts be changed reliably while the rest stays? The naive ways, and the ball."""
    for block in ("all", *p.blocks):
        yield p.setting("FTM", block)
    yield p.setting("FTA", "all")
    yield from p.sweep("FTM", "all", "Linf", p.deltas)
    yield from p.sweep("kNN", None, None, p.epsilons)
    yield p.setting("retrain")


def rq2_where(p: Profile) -> Iterator[Setting]:
    """Which blocks, constraints and training schemes trade off best?"""
    for block in ("all", *p.blocks):
        yield from p.sweep("FTM", block)
    yield from p.sweep("FTM", "all", "L2", p.l2)
    yield from p.sweep("FTM", "all", "Fisher", p.fisher)
    for block in p.ends:
        yield from p.sweep("FTA", block)
    if p.albert:
        yield from p.sweep("FTM", "all", model=p.albert)


def rq3_fae(p: Profile) -> Iterator[Setting]:
    """FaE's explicit memory against plain Transformers."""
    fae = {"model": FAE + p.model, "start": p.start}
    yield p.setting("UPDATE", **fae)
    for part in ("AWT", "block 3 + AWT", "block 7 + AWT", "all"):
        yield from p.sweep("UPDATE + FTM", part, radii=p.radii(part, fewer=True), **fae)
    yield from p.sweep("FTM", "AWT", radii=p.radii("AWT", fewer=True), **fae)
    yield p.setting("ADD", n=100 if p.n >= 32 else p.n, **fae)
    for block in ("all", p.blocks[-1]):  # the plain model of the same size
        yield from p.sweep("FTM", block)


def rq4_phases(p: Profile) -> Iterator[Setting]:
    """The role of pretraining and of fine-tuning: the same edits from four starts of one and the same network."""
    starts = ("RI", "RI+FT", "PT", "PT+FT") if p.pretrained else ("RI", "RI+FT")
    for start in starts:
        state = {"model": p.pretrained or p.model, "start": start}
        for block in p.ends if start != "RI" else ("all",):
            for ball in p.balls(block):
                yield p.setting("FTM", block, *ball, **state)
        if start == starts[-1]:
            yield from p.sweep("FTA", "all", radii=p.radii("all", fewer=True), **state)


def rq5_scale(p: Profile) -> Iterator[Setting]:
    """How does it scale with the number of modified facts?"""
    for n in p.sizes:
        for block in p.ends:
            for ball in p.balls(block, n):
                yield p.setting("FTM", block, *ball, n=n)
    most = p.sizes[-1]
    for ball in p.balls("all")[-2:]:  # the same number of passes as |M| = p.n gets: is it the size or the effort?
        yield p.setting("FTM", "all", *ball, n=most, steps=p.steps * most // p.n)


def cost(p: Profile) -> Iterator[Setting]:
    """What it costs: time and memory of the methods, one setting each, on the same |M|."""

    def middle(radii: tuple[float, ...]) -> float:
        return radii[len(radii) // 2]

    for block in ("all", *p.blocks):
        for method in ("FTM", "FTA"):
            yield p.setting(method, block, "Linf", middle(p.radii(block)))
    yield p.setting("FTM", "all", "L2", middle(p.l2))
    yield p.setting("FTM", "all", "Fisher", middle(p.fisher))
    yield p.setting("kNN", delta=middle(p.epsilons))
    yield p.setting("retrain")


def ladder(p: Profile) -> Iterator[Setting]:
    """From the literature's fine-tuning baseline to the paper's, one ingredient a rung."""
    return (setting for rung in rungs(p) for setting in rung.settings)


def sequences(p: Profile) -> Iterator[Setting]:
    """Edits one after the other: what holds the model, over 1 to 1,024 facts?"""
    return arms(p)


def sequences_grid(p: Profile) -> Iterator[Setting]:
    """The settings that those of `sequences` are chosen from, on a shorter sequence and another seed."""
    return grid(p)


def methods(p: Profile) -> Iterator[Setting]:
    """Every editor at equal care: the same number of settings for each, for a few facts, one and many."""
    return equal_care.methods(p)


def paper_grid(p: Profile) -> Iterator[Setting]:
    """The paper's whole grid: |M| × block × δ × FTM and FTA × starting state. The suites above are a choice from it."""
    state = {"model": p.pretrained} if p.pretrained else {}
    for start in ("PT", "PT+FT") if p.pretrained else (p.start,):
        for n in p.sizes:
            for block in ("all", *p.blocks):
                for method in ("FTM", "FTA"):
                    yield from p.sweep(method, block, n=n, start=start, **state)


SUITES = {suite.__name__: suite for suite in (rq1_reliability, rq2_where, rq3_fae, rq4_phases, rq5_scale, cost)}
OWN_SEEDS = {"ladder": range(5), "methods": range(5), "sequences": range(3), "sequences_grid": (3,)}
"""Suites with seeds of their own, each from a training of its own."""
NAMED = SUITES | {
    "ladder": ladder, "methods": methods, "sequences_grid": sequences_grid, "sequences": sequences,
    "paper_grid": paper_grid,
}  # fmt: skip
"""All suites by name, those that are too large for the book among them."""

PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke", facts="bios:8", model="nano", pretrained=None, start="RI+FT", blocks=(0, 3), n=4,
            sizes=(4, 8), seeds=(0,), deltas=(4e-3,), block_deltas=(1e-2,), l2=(1.5,), fisher=(1e-4,), epsilons=(4,),
            epochs=1, least_steps=60, steps=8, batch_size=16,
        ),
        Profile(
            name="cpu", facts="atlas", model="nano", pretrained="nano-wiki", start="RI+FT", blocks=(0, 1, 2, 3), n=32,
            sizes=(8, 32, 128, 512), seeds=(0, 1, 2), deltas=(1e-3, 1.5e-3, 2.5e-3, 4e-3, 6e-3, 1e-2),
            block_deltas=(1.5e-3, 2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2), l2=(0.5, 1.0, 1.5, 2.0, 3.0, 4.5),
            fisher=(5e-5, 1e-4, 1.5e-4, 2e-4, 3e-4, 6e-4), epsilons=(1, 2, 4, 8, 16), albert="albert-nano",
        ),
        Profile(
            name="gpu", facts="trex", model="bert-base-uncased", pretrained="bert-base-uncased", start="PT+FT",
            blocks=(0, 5, 11), n=32, sizes=(32, 128, 512, 2048), seeds=(0, 1, 2, 3, 4),
            deltas=(2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3), block_deltas=(5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
            l2=(0.25, 0.5, 1.0, 2.0, 4.0, 8.0), fisher=(1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3), epsilons=(1, 2, 4, 8, 16),
            epochs=5, steps=100, batch_size=128, lr=3e-4, albert="albert-base-v2",
        ),
    )
}  # fmt: skip


def settings(suite: str, profile: Profile) -> list[Setting]:
    """All runs of a suite, the most informative first: every cell at one seed before any at the next. Runs that train a
    model of their own (`trains`) get one seed.

    Raises ValueError that lists the suites for an unknown one.
    """
    if suite not in NAMED:
        raise ValueError(brief(f"unknown suite {suite!r}; known: {', '.join(NAMED)}"))
    cells = list(dict.fromkeys(NAMED[suite](profile)))
    repeated = [cell for cell in cells if not cell.trains]
    seeds = OWN_SEEDS[suite] if suite in OWN_SEEDS and len(profile.seeds) > 1 else profile.seeds
    return [replace(cell, seed=seed) for i, seed in enumerate(seeds) for cell in (repeated if i else cells)]


def profile(
    name: str, model: str | None = None, pretrained: str | None = None, seeds: int | None = None,
    facts: str | None = None, training: int | str = 0,
) -> Profile:  # fmt: skip
    """A profile by name, with another model, other facts, another number of seeds or starting states from another
    training if asked (`OWN`: one for each seed). Raises ValueError that lists the profiles, for less than one seed, for
    a training below 0, and for facts in a file, whose path would get into the records."""
    if name not in PROFILES:
        raise ValueError(brief(f"unknown profile {name!r}; known: {', '.join(PROFILES)}"))
    if training != OWN:
        training = check_whole("training", training, 0) or None
    sizes, changes = PROFILES[name], {"training": training}
    if model:
        changes["model"] = model_name(model)
        if sizes.pretrained == sizes.model:
            changes["pretrained"] = changes["model"]
    if pretrained:
        changes["pretrained"] = model_name(pretrained)
    if facts:
        if Path(facts).name != facts or facts.removesuffix(".gz").endswith(SUFFIXES):
            raise ValueError(
                brief(f"suites run on facts with a name, such as atlas, bios:1000 or trex:2000; got {facts!r}")
            )
        changes["facts"] = facts
    if seeds is not None:
        changes["seeds"] = tuple(range(check_whole("seeds", seeds)))
    return replace(sizes, **changes)
