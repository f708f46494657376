"""The claims ledger: each claim of the paper as a function of records, and what our runs say of it.

A claim is split into parts, each a number with its 95 % interval over seeds (Student's t) and a bound that we set. A
part holds if the whole interval lies on the claimed side of the bound, fails if it lies on the other, and is undecided
between. It is undecided, too, where the best radius is the widest of its grid: a wider one might do better. Radii are
chosen for each seed by Ā on the other seeds (but for the stability in C3, which is about a seed's own best). The claims
are stated in our words; that they are the paper's is recalled from it (Zhu et al. 2020, arXiv 2012.00363).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..fae import FaEConfig
from . import records, statistics
from .selection import Selection
from .settings import Setting
from .statistics import Mean, mean
from .suites import DESCENDS, Profile

LEAST_SEEDS = 3
REPRODUCED, NOT_REPRODUCED, MIXED, UNDECIDED = "reproduced", "not reproduced", "mixed", "undecided"
NOT_RUN = "not yet run"


@dataclass(frozen=True)
class Effect(Mean):
    """A mean over seeds; `ends` names the grids that it was chosen from and whose widest radius was the best."""

    ends: tuple[str, ...] = ()


class Values(dict):
    """Seed → value, with the `ends` of the grids that it was chosen from."""

    def __init__(self, values: Mapping[int, float], ends: Iterable[str]):
        super().__init__(values)
        self.ends = tuple(ends)


def effect(found: Mean, *of: Mapping[int, float]) -> Effect:
    """`found`, with the ends of the values it was made of."""
    ends = dict.fromkeys(end for values in of for end in getattr(values, "ends", ()))
    return Effect(found.value, found.low, found.high, found.n, tuple(ends))


@dataclass(frozen=True)
class Part:
    """One testable piece of a claim: the effect should lie above `margin`, or `below` it; it is a difference, or a
    `level`."""

    what: str
    effect: Effect
    margin: float = 0.0
    below: bool = False
    level: bool = False

    @property
    def open(self) -> str:
        """The grids it was chosen from that ended too early, in words."""
        return ", ".join(self.effect.ends)

    @property
    def holds(self) -> bool | None:
        above, under = self.effect.low > self.margin, self.effect.high < self.margin
        if self.open or not (above or under):
            return None
        return under if self.below else above

    @property
    def asked(self) -> str:
        """The bound in words, such as "above +5.0 points asked"."""
        bound = f"{100 * self.margin:g} %" if self.level else f"{100 * self.margin:+g} points" if self.margin else "0"
        return f"{'below' if self.below else 'above'} {bound} asked"

    @property
    def mark(self) -> str:
        return {True: "✓", False: "✗", None: "?"}[self.holds]

    @property
    def short(self) -> str:
        """The effect and its interval, in points or (a level) percent, such as "+36.5 [+9.9, +63.0]"."""
        sign, effect = "" if self.level else "+", self.effect
        low, high = (f"{100 * end:{sign}.1f}" for end in (effect.low, effect.high))
        return f"{100 * effect.value:{sign}.1f} [{low}, {high}]"

    def __str__(self) -> str:
        effect = str(self.effect) if self.level else self.effect.points()
        open = f"; open, for the best radius of {self.open} is the widest that was run" if self.open else ""
        return f"{self.mark} {self.what}: {effect} ({self.effect.n} seeds, {self.asked}{open})"


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim. `missing` says what would have to be run to test all of it."""

    claim: str
    text: str
    question: str
    verdict: str
    parts: tuple[Part, ...] = ()
    ids: tuple[str, ...] = ()
    missing: str = ""

    @property
    def seeds(self) -> int:
        return min((part.effect.n for part in self.parts), default=0)

    def __str__(self) -> str:
        lines = [
            f"{self.claim} ({self.question}) {self.text}",
            f"  {self.verdict}{': ' * bool(self.missing)}{self.missing}",
        ]
        return "\n".join(lines + [f"  {part}" for part in self.parts])

    def record(self) -> dict:
        told = [{**vars(p), **vars(p.effect), "open": p.open, "holds": p.holds} for p in self.parts]
        parts = [{k: v for k, v in one.items() if k not in ("effect", "ends")} for one in told]
        return {**{k: v for k, v in vars(self).items() if k != "parts"}, "seeds": self.seeds, "parts": parts}


class Missing(LookupError):
    """Records that a claim needs are not there."""


@dataclass
class Runs:
    """The finished runs of one profile's facts, and the ids of those that were looked at."""

    profile: Profile
    records: Sequence[dict]
    used: dict[str, None] = field(default_factory=dict)
    drawn: dict[tuple, str | None] = field(default_factory=dict)

    def radii(self, method: str, block=None, constraint=None, **others) -> dict[float | None, dict[int, dict]]:
        """Radius → seed → record, of the profile's model, start and |M| unless `others` say otherwise. Raises Missing
        unless some radius has at least three seeds."""
        p = self.profile
        want = {"method": method, "block": block, "constraint": constraint, "training": p.training}
        want |= {"facts": p.facts, "model": p.model, "start": p.start, "epochs": p.epochs, "n": p.n} | others
        if method in DESCENDS:
            want["steps"] = p.effort(want["n"])
        found: dict[float | None, dict[int, dict]] = {}
        for record in self.records:
            told = record["settings"]
            if record["status"] == "done" and all(told.get(name) == value for name, value in want.items()):
                found.setdefault(told["delta"], {})[told["seed"]] = record
        found = {radius: seeds for radius, seeds in sorted(found.items(), key=lambda item: item[0] or 0)}
        whole = {radius: seeds for radius, seeds in found.items() if len(seeds) >= LEAST_SEEDS}
        if not whole:
            label = Setting(**want).label
            raise Missing(f"{label}: {max(map(len, found.values()), default=0)} of {LEAST_SEEDS} seeds")
        return whole

    def grid(self, block, **others) -> dict[float | None, dict[int, dict]]:
        """FTM in ℓ∞ by radius, and (as None) without a limit."""
        return self.radii("FTM", block, "Linf", **others) | {None: self.radii("FTM", block, **others)[None]}

    def note(self, cells: Iterable[Mapping[int, dict]], seeds: Iterable[int]) -> None:
        """These records were looked at. Raises Missing where one seed stands for several sets of modified facts: runs
        on models that were memorised on different machines cannot be paired."""
        for runs in cells:
            for seed in seeds:
                told, change = runs[seed]["settings"], runs[seed].get("change")
                of = told["model"].removeprefix("fae-"), told["n"], seed
                if self.drawn.setdefault(of, change) != change:
                    raise Missing(f"runs of {of[0]}, |M| = {of[1]}, seed {seed} that change the same facts")
                self.used[runs[seed]["id"]] = None

    def values(self, metric: str, runs: Mapping[int, dict]) -> dict[int, float]:
        self.note([runs], runs)
        return {seed: records.metric(record, metric) for seed, record in runs.items()}

    def free(self, metric: str, method: str, block="all", **others) -> dict[int, float]:
        """Seed → metric without a constraint."""
        found = self.radii(method, block, **others)
        return self.values(metric, found.get(None) or next(iter(found.values())))

    def tuned(self, metric: str, *grids: dict[float | None, dict[int, dict]]) -> Values:
        """Seed → metric at the cell whose Ā was best on the other seeds, among all the cells of the grids."""
        cells = {(i, radius): runs for i, grid in enumerate(grids) for radius, runs in grid.items()}
        seeds = common(cells.values())
        self.note(cells.values(), seeds)
        choice = Selection({key: {seed: runs[seed] for seed in seeds} for key, runs in cells.items()})
        ends = []
        for i, grid in enumerate(grids):
            if len(grid) > 1 and None not in grid and choice.prefers((i, max(grid))):
                ends.append(Setting(**grid[max(grid)][seeds[0]]["settings"]).group.label)
        return Values(choice.held_out(metric), ends)


def common(cells: Iterable[Mapping[int, object]]) -> list[int]:
    """The seeds that all cells have. Raises Missing for fewer than three."""
    seeds = sorted(set.intersection(*(set(runs) for runs in cells)))
    if len(seeds) < LEAST_SEEDS:
        raise Missing(f"the same seeds of all that it compares: {len(seeds)} of {LEAST_SEEDS}")
    return seeds


def difference(a: Mapping[int, float], b: Mapping[int, float]) -> Effect:
    """The mean of a − b over the seeds that both have. Raises Missing for fewer than three."""
    common([a, b])
    return effect(statistics.difference(a, b), a, b)


def share(values: Mapping[int, float]) -> Effect:
    """The mean of shares; its interval ends at 0 and 1."""
    found = mean(values.values())
    return effect(replace(found, low=max(0.0, found.low), high=min(1.0, found.high)), values)


def minus(a: float, b: Mapping[int, float]) -> Effect:
    return effect(mean(a - x for x in b.values()), b)


def c1(r: Runs) -> Iterable[Part]:
    """Unconstrained fine-tuning on the modified facts forgets the rest catastrophically, even when one block only is
    tuned."""
    for block in ("all", *r.profile.blocks):
        lost = minus(0, r.free("delta_A_FS", "FTM", block))
        yield Part(f"A_F∖S lost, {_where(block)}", lost, 0.1)


def _where(block: str | int) -> str:
    return "all blocks" if block == "all" else f"block {block} alone"


def c2(r: Runs) -> Iterable[Part]:
    """ℓ∞-constrained FTM has a better Ā than unconstrained FTM and than mixing (FTA) alone."""
    ours = r.tuned("A_mean", r.radii("FTM", "all", "Linf"))
    yield Part("Ā of FTM in ℓ∞ − FTM", difference(ours, r.free("A_mean", "FTM")))
    yield Part("Ā of FTM in ℓ∞ − FTA", difference(ours, r.free("A_mean", "FTA")))


def c3(r: Runs) -> Iterable[Part]:
    """ℓ∞ is more stable than ℓ2, and the Fisher form is no better than ℓ∞."""
    balls = {name: r.radii("FTM", "all", name) for name in ("Linf", "L2", "Fisher")}
    seeds = {name: common(grid.values()) for name, grid in balls.items()}
    drops = {name: {seed: drop(balls[name], seed) for seed in seeds[name]} for name in ("Linf", "L2")}
    r.note(balls["L2"].values(), seeds["L2"])
    yield Part("Ā lost a radius 1.5 times off the best: ℓ2 − ℓ∞", difference(drops["L2"], drops["Linf"]))
    ours, fisher = (r.tuned("A_mean", balls[name]) for name in ("Linf", "Fisher"))
    yield Part("Ā of ℓ∞ − Fisher", difference(ours, fisher), -0.01)


def drop(grid: dict[float, dict[int, dict]], seed: int, times: float = 1.5) -> float:
    """How much Ā falls, on average, at 1.5 times and at 1/1.5 of the best radius; between radii of the grid, Ā is
    interpolated linearly in the logarithm, and a radius outside of it counts as its end."""
    radii = sorted(grid)
    means = [records.metric(grid[radius][seed], "A_mean") for radius in radii]
    top = int(np.argmax(means))
    near = np.interp(np.log([radii[top] * times, radii[top] / times]), np.log(radii), means)
    return means[top] - float(near.mean())


def c4(r: Runs) -> Iterable[Part]:
    """For few modified facts one constrained block beats tuning all blocks."""
    single = r.tuned("A_mean", *(r.radii("FTM", block, "Linf") for block in r.profile.blocks))
    yield Part("Ā of the best block − all blocks", difference(single, r.tuned("A_mean", r.radii("FTM", "all", "Linf"))))


def last_and_first(r: Runs, **others) -> Effect:
    """Ā of the last block minus Ā of the first, each at its best radius."""
    first, last = (r.tuned("A_mean", r.grid(r.profile.blocks[i], **others)) for i in (0, -1))
    return difference(last, first)


def c5(r: Runs) -> Iterable[Part]:
    """The best block depends on the starting state (pretrained: first; fine-tuned: last) and on the number of modified
    facts."""
    few, many = r.profile.sizes[0], r.profile.sizes[-1]
    model = r.profile.pretrained
    small, large = last_and_first(r, n=few), last_and_first(r, n=many)
    better, worse = ("last", "first") if small.value > 0 else ("first", "last")
    yield Part(f"at {few} facts: Ā of the {better} block − the {worse}", small if better == "last" else negative(small))
    yield Part(f"at {many} facts: Ā of the {worse} block − the {better}", large if worse == "last" else negative(large))
    if not r.profile.pretrained:
        raise Missing("a pretrained model (--pretrained) for its other half")
    yield Part("pretrained: Ā of the first block − the last", negative(last_and_first(r, model=model, start="PT")))
    yield Part("fine-tuned: Ā of the last block − the first", last_and_first(r, model=model, start="PT+FT"))


def negative(found: Effect) -> Effect:
    return replace(found, value=-found.value, low=-found.high, high=-found.low)


def c6(r: Runs) -> Iterable[Part]:
    """Mixing in unmodified facts (FTA) on top of the constraint gains little."""
    for block in ("all", r.profile.blocks[-1], r.profile.blocks[0]):
        both, alone = (r.tuned("A_mean", r.radii(method, block, "Linf")) for method in ("FTA", "FTM"))
        yield Part(f"Ā in ℓ∞, {_where(block)}: FTA − FTM", difference(both, alone), 0.02, below=True)


def fae(r: Runs) -> dict:
    return {"model": f"fae-{r.profile.model}"}


def c7(r: Runs) -> Iterable[Part]:
    """FaE: editing the symbolic memory alone is not enough; tuning parameters as well gives a better trade-off."""
    alone, norm = r.radii("UPDATE", **fae(r))[None], FaEConfig().entity_norm  # records are of the default norm
    yield Part(
        f"A_M of the symbolic edit alone (entity norm {norm:g})",
        share(r.values("A_M", alone)),
        0.9,
        below=True,
        level=True,
    )
    both = r.tuned("A_mean", r.radii("UPDATE + FTM", "AWT", "Linf", **fae(r)))
    yield Part("Ā of symbolic + AWT − symbolic alone", difference(both, r.values("A_mean", alone)))


def c8(r: Runs) -> Iterable[Part]:
    """FaE reaches competitive A_M but is not always ahead of a constrained plain Transformer."""
    parts = ("AWT", "block 3 + AWT", "block 7 + AWT", "all")
    memory = [r.radii("UPDATE + FTM", part, "Linf", **fae(r)) for part in parts]
    plain = [r.radii("FTM", block, "Linf") for block in ("all", r.profile.blocks[-1])]
    gap = difference(r.tuned("A_M", *memory), r.tuned("A_M", *plain))
    yield Part("A_M of FaE − plain", gap, -0.05)
    yield Part(
        "the plain model is ahead: its Ā − FaE's", difference(r.tuned("A_mean", *plain), r.tuned("A_mean", *memory))
    )


def c9(r: Runs) -> Iterable[Part]:
    """Fine-tuning before the edit raises A_{F∖S} and keeps more of it after the edit; a randomly initialised model is
    poor on both."""
    if not r.profile.pretrained:
        raise Missing("a pretrained model (--pretrained)")
    grids = {start: r.grid("all", model=r.profile.pretrained, start=start) for start in ("RI", "PT", "PT+FT")}
    before, after, learnt = (
        {start: r.tuned(metric, grid) for start, grid in grids.items()} for metric in ("A_FS_before", "A_FS", "A_M")
    )
    yield Part("A_F∖S before the edit: fine-tuned − pretrained", difference(before["PT+FT"], before["PT"]))
    yield Part("A_F∖S after the edit: fine-tuned − pretrained", difference(after["PT+FT"], after["PT"]))
    yield Part("A_F∖S after the edit: fine-tuned − random", difference(after["PT+FT"], after["RI"]))
    yield Part("A_M: fine-tuned − random", difference(learnt["PT+FT"], learnt["RI"]))


def c10(r: Runs) -> Iterable[Part]:
    """The task gets harder as the number of modified facts grows, and large |M| wants more trainable parameters."""
    few, many = r.profile.sizes[0], r.profile.sizes[-1]
    grids = {
        n: {block: r.grid(block, n=n) for block in ("all", r.profile.blocks[0], r.profile.blocks[-1])}
        for n in (few, many)
    }
    easy, hard = (r.tuned("A_mean", *grids[n].values()) for n in (few, many))
    yield Part(f"Ā at {few} facts − at {many}", difference(easy, hard))
    gaps = {}
    for n, grid in grids.items():
        whole = r.tuned("A_mean", grid["all"])
        one = r.tuned("A_mean", *(grid[block] for block in grid if block != "all"))
        gaps[n] = Values({s: whole[s] - one[s] for s in whole.keys() & one.keys()}, (*whole.ends, *one.ends))
    yield Part(f"at {many} facts: Ā of all blocks − one block", effect(mean(gaps[many].values()), gaps[many]))
    yield Part(f"... and that it is more than at {few}", difference(gaps[many], gaps[few]))


def c11(r: Runs) -> Iterable[Part]:
    """A kNN datastore of the modified facts alone reaches low A_M."""
    learnt = r.tuned("A_M", r.radii("kNN"))
    yield Part("A_M of kNN", share(learnt), 0.5, below=True, level=True)
    yield Part("A_M of FTM in ℓ∞ − kNN", difference(r.tuned("A_M", r.radii("FTM", "all", "Linf")), learnt))


def c12(r: Runs) -> Iterable[Part]:
    """Sharing weights over all blocks (ALBERT) makes the trade-off much worse."""
    if not r.profile.albert:
        raise Missing("a model with shared blocks")
    ours = r.tuned("A_mean", r.radii("FTM", "all", "Linf"))
    shared = r.tuned("A_mean", r.radii("FTM", "all", "Linf", model=r.profile.albert))
    yield Part("Ā of own blocks − shared blocks", difference(ours, shared), 0.05)


CLAIMS: dict[str, tuple[str, Callable[[Runs], Iterable[Part]]]] = {
    "C1": ("RQ1", c1), "C2": ("RQ1", c2), "C3": ("RQ2", c3), "C4": ("RQ2", c4), "C5": ("RQ2", c5), "C6": ("RQ2", c6),
    "C7": ("RQ3", c7), "C8": ("RQ3", c8), "C9": ("RQ4", c9), "C10": ("RQ5", c10), "C11": ("RQ1", c11),
    "C12": ("RQ2", c12),
}  # fmt: skip


def claim(name: str, profile: Profile, found: Sequence[dict]) -> Verdict:
    """The verdict on one claim from records. Raises ValueError that lists the claims for an unknown one."""
    if name not in CLAIMS:
        raise ValueError(f"unknown claim {name!r}; known: {', '.join(CLAIMS)}")
    question, test = CLAIMS[name]
    text = " ".join(test.__doc__.split())
    runs, parts, missing = Runs(profile, found), [], ""
    try:
        for part in test(runs):
            parts.append(part)
    except Missing as what:
        missing = f"it needs {what}"
    verdict = decide(parts)
    if missing:  # what is not there can still turn it, unless it has both held and failed
        verdict = verdict if verdict == MIXED else UNDECIDED if parts else NOT_RUN
    return Verdict(name, text, question, verdict, tuple(parts), tuple(runs.used), missing)


def decide(parts: Sequence[Part]) -> str:
    """Reproduced if every part holds; not reproduced if none does and some fail; mixed if some hold and others fail;
    undecided if what is not settled could still turn it."""
    found = [part.holds for part in parts]
    if any(part.effect.n < LEAST_SEEDS for part in parts) or not parts:
        return NOT_RUN
    if all(found):
        return REPRODUCED
    if False in found:
        return MIXED if True in found else NOT_REPRODUCED
    return UNDECIDED


def ledger(out: str | Path, profile: Profile) -> list[Verdict]:
    """The verdict on every claim, from the records under `out` of the profile's facts and models."""
    found = records.read(Path(out))
    return [claim(name, profile, found) for name in CLAIMS]
