"""The twelve claims of the paper, each as a function of finished runs, and what the runs say of them.

A claim is split into parts, each a number with its 95 % interval over seeds (Student's t) and a bound that we set. A
part holds if the whole interval lies on the claimed side of the bound, fails if it lies on the other, and is undecided
between, or where the best radius is the widest of its grid. Radii are chosen for each seed by Ā on the other seeds (but
for the stability in C3, which is about a seed's own best). Parts "at equal care" are of the suite `methods`, where each
editor has a learning rate, steps and radius of its own and each seed a training of its own. The claims are stated in
our words; that they are the paper's is recalled from it (Zhu et al. 2020, arXiv 2012.00363).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from ..checks import brief
from ..fae import FaEConfig
from . import equal_care, records
from .index import LEAST_SEEDS, Cell, Index, Missing, Runs, Values, common
from .ledger import MIXED, NOT_RUN, UNDECIDED, Effect, Part, Verdict, decide, effect, share
from .settings import FAE, OWN
from .suites import Profile


def c1(r: Runs) -> Iterable[Part]:
    """Unconstrained fine-tuning on the modified facts forgets the rest catastrophically, even when one block only is
    tuned."""
    for block in ("all", *r.profile.blocks):
        gained = r.free("delta_A_FS", "FTM", block)
        yield Part(f"A_F∖S lost, {_where(block)}", -effect(gained), 0.1)
    if care := _care(r):
        yield Part("at equal care: A_F∖S lost, all blocks", -effect(care("delta_A_FS", "FTM")), 0.1)


def _care(r: Runs) -> Callable[..., Values] | None:
    """Of (metric, editor): seed → the metric, at equal care; and of ("rate", editor): how much Ā falls at a learning
    rate three times off. None for starting states of one other training, of which that suite has none."""
    if r.profile.training not in (None, OWN):
        return None

    def care(metric: str, editor: str) -> Values:
        found = equal_care.compare(r.profile, r.index, r.profile.n).get(editor)
        if found is None or found.seeds < LEAST_SEEDS:
            raise Missing("the suite methods")
        r.use(found.cells.values(), found.choice.chosen)
        return Values(found.rate_off() if metric == "rate" else found.values(metric))

    return care


def _where(block: str | int) -> str:
    return "all blocks" if block == "all" else f"block {block} alone"


def c2(r: Runs) -> Iterable[Part]:
    """ℓ∞-constrained FTM has a better Ā than unconstrained FTM and than mixing (FTA) alone."""
    ours = r.tuned("A_mean", r.radii("FTM", "all", "Linf"))
    yield Part("Ā of FTM in ℓ∞ − FTM", effect(ours - r.free("A_mean", "FTM")))
    yield Part("Ā of FTM in ℓ∞ − FTA", effect(ours - r.free("A_mean", "FTA")))
    if care := _care(r):
        for other in ("FTM", "FTA"):
            yield Part(f"at equal care: Ā of FTM in ℓ∞ − {other}", _better(care, "FTM in ℓ∞", other))
        off = effect(care("rate", "FTM") - care("rate", "FTM in ℓ∞"))
        yield Part("at equal care: Ā lost at a learning rate three times off: FTM − FTM in ℓ∞", off)


def _better(care: Callable[..., Values], ours: str, theirs: str) -> Effect:
    return effect(care("A_mean", ours) - care("A_mean", theirs))


def c3(r: Runs) -> Iterable[Part]:
    """ℓ∞ is more stable than ℓ2, and the Fisher form is no better than ℓ∞."""
    balls = {name: r.radii("FTM", "all", name) for name in ("Linf", "L2", "Fisher")}
    seeds = {name: common(grid.values()) for name, grid in balls.items()}
    linf, l2 = (Values({seed: drop(balls[name], seed) for seed in seeds[name]}) for name in ("Linf", "L2"))
    r.use(balls["L2"].values(), seeds["L2"])
    yield Part("Ā lost a radius 1.5 times off the best: ℓ2 − ℓ∞", effect(l2 - linf))
    ours, fisher = (r.tuned("A_mean", balls[name]) for name in ("Linf", "Fisher"))
    yield Part("Ā of ℓ∞ − Fisher", effect(ours - fisher), -0.01)
    if care := _care(r):
        off = effect(care("rate", "FTM in ℓ2") - care("rate", "FTM in ℓ∞"))
        yield Part("at equal care: Ā lost at a learning rate three times off: ℓ2 − ℓ∞", off)
        for name in ("Fisher", "K-FAC"):
            yield Part(f"at equal care: Ā of ℓ∞ − {name}", _better(care, "FTM in ℓ∞", f"FTM in {name}"), -0.01)


def drop(grid: dict[float, Cell], seed: int) -> float:
    """How much Ā falls, on average, at 1.5 times and at 1/1.5 of the best radius; between radii of the grid, Ā is
    interpolated linearly in the logarithm, and a radius outside of it counts as its end."""
    radii = sorted(grid)
    means = [records.metric(grid[radius][seed], "A_mean") for radius in radii]
    top = int(np.argmax(means))
    near = np.interp(np.log([radii[top] * 1.5, radii[top] / 1.5]), np.log(radii), means)
    return means[top] - float(near.mean())


def c4(r: Runs) -> Iterable[Part]:
    """For few modified facts one constrained block beats tuning all blocks."""
    single = r.tuned("A_mean", *(r.radii("FTM", block, "Linf") for block in r.profile.blocks))
    yield Part("Ā of the best block − all blocks", effect(single - r.tuned("A_mean", r.radii("FTM", "all", "Linf"))))


def last_and_first(r: Runs, **others) -> Effect:
    """Ā of the last block minus Ā of the first, each at its best radius."""
    first, last = (r.tuned("A_mean", r.grid(r.profile.blocks[i], **others)) for i in (0, -1))
    return effect(last - first)


def c5(r: Runs) -> Iterable[Part]:
    """The best block depends on the starting state (pretrained: first; fine-tuned: last) and on the number of modified
    facts."""
    few, many, model = r.profile.sizes[0], r.profile.sizes[-1], r.profile.pretrained
    small, large = last_and_first(r, n=few), last_and_first(r, n=many)
    better, worse = ("last", "first") if small.value > 0 else ("first", "last")
    yield Part(f"at {few} facts: Ā of the {better} block − the {worse}", small if better == "last" else -small)
    yield Part(f"at {many} facts: Ā of the {worse} block − the {better}", large if worse == "last" else -large)
    if not model:
        raise Missing("a pretrained model (--pretrained) for its other half")
    yield Part("pretrained: Ā of the first block − the last", -last_and_first(r, model=model, start="PT"))
    yield Part("fine-tuned: Ā of the last block − the first", last_and_first(r, model=model, start="PT+FT"))


def c6(r: Runs) -> Iterable[Part]:
    """Mixing in unmodified facts (FTA) on top of the constraint gains little."""
    for block in ("all", r.profile.blocks[-1], r.profile.blocks[0]):
        both, alone = (r.tuned("A_mean", r.radii(method, block, "Linf")) for method in ("FTA", "FTM"))
        yield Part(f"Ā in ℓ∞, {_where(block)}: FTA − FTM", effect(both - alone), 0.02, below=True)


def c7(r: Runs) -> Iterable[Part]:
    """FaE: editing the symbolic memory alone is not enough; tuning parameters as well gives a better trade-off."""
    alone = r.radii("UPDATE", model=FAE + r.profile.model)[None]
    share_alone, norm = share(r.values("A_M", alone)), FaEConfig().entity_norm  # records are of the default norm
    yield Part(f"A_M of the symbolic edit alone (entity norm {norm:g})", share_alone, 0.9, below=True, level=True)
    both = r.tuned("A_mean", r.radii("UPDATE + FTM", "AWT", "Linf", model=FAE + r.profile.model))
    yield Part("Ā of symbolic + AWT − symbolic alone", effect(both - r.values("A_mean", alone)))


def c8(r: Runs) -> Iterable[Part]:
    """FaE reaches competitive A_M but is not always ahead of a constrained plain Transformer."""
    parts = ("AWT", "block 3 + AWT", "block 7 + AWT", "all")
    memory = [r.radii("UPDATE + FTM", part, "Linf", model=FAE + r.profile.model) for part in parts]
    plain = [r.radii("FTM", block, "Linf") for block in ("all", r.profile.blocks[-1])]
    yield Part("A_M of FaE − plain", effect(r.tuned("A_M", *memory) - r.tuned("A_M", *plain)), -0.05)
    ahead = r.tuned("A_mean", *plain) - r.tuned("A_mean", *memory)
    yield Part("the plain model is ahead: its Ā − FaE's", effect(ahead))


def c9(r: Runs) -> Iterable[Part]:
    """Fine-tuning before the edit raises A_{F∖S} and keeps more of it after the edit; a randomly initialised model is
    poor on both."""
    if not r.profile.pretrained:
        raise Missing("a pretrained model (--pretrained)")
    grids = {start: r.grid("all", model=r.profile.pretrained, start=start) for start in ("RI", "PT", "PT+FT")}
    before, after, learnt = (
        {start: r.tuned(metric, grid) for start, grid in grids.items()} for metric in ("A_FS_before", "A_FS", "A_M")
    )
    yield Part("A_F∖S before the edit: fine-tuned − pretrained", effect(before["PT+FT"] - before["PT"]))
    yield Part("A_F∖S after the edit: fine-tuned − pretrained", effect(after["PT+FT"] - after["PT"]))
    yield Part("A_F∖S after the edit: fine-tuned − random", effect(after["PT+FT"] - after["RI"]))
    yield Part("A_M: fine-tuned − random", effect(learnt["PT+FT"] - learnt["RI"]))


def c10(r: Runs) -> Iterable[Part]:
    """The task gets harder as the number of modified facts grows, and large |M| wants more trainable parameters."""
    few, many = r.profile.sizes[0], r.profile.sizes[-1]
    grids = {n: [r.grid(block, n=n) for block in r.profile.ends] for n in (few, many)}
    easy, hard = (r.tuned("A_mean", *grids[n]) for n in (few, many))
    yield Part(f"Ā at {few} facts − at {many}", effect(easy - hard))
    small, large = (r.tuned("A_mean", whole) - r.tuned("A_mean", *single) for whole, *single in grids.values())
    yield Part(f"at {many} facts: Ā of all blocks − one block", effect(large))
    yield Part(f"... and that it is more than at {few}", effect(large - small))


def c11(r: Runs) -> Iterable[Part]:
    """A kNN datastore of the modified facts alone reaches low A_M."""
    learnt = r.tuned("A_M", r.radii("kNN"))
    yield Part("A_M of kNN", share(learnt), 0.5, below=True, level=True)
    yield Part("A_M of FTM in ℓ∞ − kNN", effect(r.tuned("A_M", r.radii("FTM", "all", "Linf")) - learnt))


def c12(r: Runs) -> Iterable[Part]:
    """Sharing weights over all blocks (ALBERT) makes the trade-off much worse."""
    if not r.profile.albert:
        raise Missing("a model with shared blocks")
    ours = r.tuned("A_mean", r.radii("FTM", "all", "Linf"))
    shared = r.tuned("A_mean", r.radii("FTM", "all", "Linf", model=r.profile.albert))
    yield Part("Ā of own blocks − shared blocks", effect(ours - shared), 0.05)


CLAIMS: dict[str, tuple[str, Callable[[Runs], Iterable[Part]]]] = {
    "C1": ("RQ1", c1), "C2": ("RQ1", c2), "C3": ("RQ2", c3), "C4": ("RQ2", c4), "C5": ("RQ2", c5), "C6": ("RQ2", c6),
    "C7": ("RQ3", c7), "C8": ("RQ3", c8), "C9": ("RQ4", c9), "C10": ("RQ5", c10), "C11": ("RQ1", c11),
    "C12": ("RQ2", c12),
}  # fmt: skip


def claim(name: str, profile: Profile, rows: Index | Sequence[dict]) -> Verdict:
    """The verdict on one claim from records. Raises ValueError that lists the claims for an unknown one."""
    if name not in CLAIMS:
        raise ValueError(brief(f"unknown claim {name!r}; known: {', '.join(CLAIMS)}"))
    question, test = CLAIMS[name]
    runs, parts, missing = Runs(profile, rows if isinstance(rows, Index) else Index(rows)), [], ""
    try:
        for part in test(runs):
            parts.append(part)
    except Missing as error:
        missing = f"it needs {error}"
    verdict = decide(parts)
    if missing and verdict != MIXED:  # what is not there can still turn it, unless it has both held and failed
        verdict = UNDECIDED if parts else NOT_RUN
    return Verdict(name, " ".join(test.__doc__.split()), question, verdict, tuple(parts), tuple(runs.used), missing)


def ledger(out: str | Path, profile: Profile) -> list[Verdict]:
    """The verdict on every claim, from the records under `out` of the profile's facts and models."""
    index = Index(records.read(out))
    return [claim(name, profile, index) for name in CLAIMS]
