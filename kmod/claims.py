"""The paper's claims C1–C6, C11 and C12, each put to the test on the memorised atlas by one function and one command.

    python -m kmod claim C2 --seeds 3

A function gives records, one for each setting and seed, and a reading. A seed draws S, the new objects and the batches.
Where a setting has a radius, it is chosen by Ā on one separate modification, never on the reported ones. A reading
rests on differences within a seed: their mean against twice its standard error over seeds, and none from fewer than
three seeds. It speaks of a small BERT and its atlas, not of the paper's models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from .constraints import L2, Fisher, Linf
from .editing.choose import choose
from .editing.finetune import finetune
from .editing.knn import knn
from .evaluation import Scores, evaluate, score
from .facts import FactBase, Modification
from .fisher import fisher_diagonal
from .memorise import memorise
from .models import PRESETS, MaskedLM, build_tokenizer, load_model
from .sources import load_facts

DELTAS = (1.5e-3, 2.5e-3, 4e-3, 6e-3)  # of Linf over all blocks of nano
BLOCK_DELTAS = (2.5e-3, 5e-3, 1e-2, 2e-2)  # over one block
BLOCKS = (0, 1, 2, 3)
LEAST_SEEDS = 3


@dataclass
class Bench:
    """A memorised model, the modifications to report (one a seed), and the records so far."""

    model: MaskedLM
    facts: FactBase
    before: Scores
    changes: list[Modification]
    records: list[dict] = field(default_factory=list)

    @classmethod
    def of(cls, model: MaskedLM, facts: FactBase, seeds: int, n: int = 32) -> Bench:
        """Memorise `facts` (kept on disk) and draw `seeds` modifications of `n` facts."""
        memorise(model, facts)
        before = score(model, facts, ["tests"])
        return cls(model, facts, before, [facts.modify(n, seed, known=before.known) for seed in range(seeds)])

    def run(self, setting: str, method: Callable, **settings) -> None:
        """Add a record for each seed: `method(model, change, **settings)`, judged."""
        for change in self.changes:
            edit = method(self.model, change, **settings)
            result = evaluate(self.model, self.facts, change, edit=edit, before=self.before, answers=False).record()
            self.records.append({"setting": setting, "seed": change.seed, "n": len(change)} | result)

    def run_best(self, setting: str, method: Callable, grid: Sequence[Mapping]) -> dict:
        """Choose among `grid` on a separate modification, then `run`; what was chosen."""
        found = choose(
            self.model, self.changes, grid, method=method, reported=False, before=self.before, progress=False
        )
        chosen = found.grid[found.separate]
        self.run(setting, method, **chosen)
        return chosen

    def values(self, setting: str, metric: str = "A_mean") -> np.ndarray:
        return np.array([r[metric] for r in self.records if r["setting"] == setting])


def nano(seeds: int, n: int = 32) -> Bench:
    facts = load_facts("atlas")
    return Bench.of(load_model("nano", facts), facts, seeds, n)


def albert(facts: FactBase, seed: int = 0) -> MaskedLM:
    """A model of nano's depth, width and vocabulary whose blocks share one set of weights; random, from `seed`."""
    from transformers import AlbertConfig, AlbertForMaskedLM

    depth, width, heads = PRESETS["nano"]
    tokenizer = build_tokenizer(facts)
    config = AlbertConfig(
        vocab_size=len(tokenizer),
        embedding_size=width,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=512,
        initializer_range=0.02 * (768 / width) ** 0.5,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MaskedLM(AlbertForMaskedLM(config).eval(), tokenizer)


def tuned(model: MaskedLM, change: Modification, **settings):
    """FTM or FTA; the seed of the modification orders the batches as well."""
    return finetune(model, change, seed=change.seed, **settings)


def linf(block="all", deltas=DELTAS, **settings) -> list[dict]:
    return [dict(block=block, constraint=Linf(delta), **settings) for delta in deltas]


def difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The mean of a − b, paired by seed, and twice its standard error."""
    gap = a - b
    return float(gap.mean()), 2 * float(gap.std(ddof=1)) / math.sqrt(len(gap)) if len(gap) > 1 else math.inf


def holds(*gaps: tuple[float, float], seeds: int, least: float = 0.0) -> str:
    """ "in line with the claim" if every difference is above `least` beyond its error, "against it" if one is below."""
    if seeds < LEAST_SEEDS:
        return f"no reading from {seeds} seed{'s' * (seeds > 1)}: it takes {LEAST_SEEDS}"
    if all(mean - error > least for mean, error in gaps):
        return "in line with the claim"
    return "against the claim" if any(mean + error < least for mean, error in gaps) else "undecided"


def points(gap: tuple[float, float]) -> str:
    return f"{100 * gap[0]:+.1f} ± {100 * gap[1]:.1f} points"


def c1(seeds: int) -> tuple[list[dict], str]:
    """Unconstrained fine-tuning on the modified facts forgets the rest, even when one block only is tuned."""
    bench = nano(seeds)
    for block in ("all", *BLOCKS):
        bench.run(f"FTM, block {block}", tuned, block=block)
    lost = {block: -bench.values(f"FTM, block {block}", "delta_A_FS") for block in ("all", *BLOCKS)}
    gaps = {block: difference(values, np.zeros_like(values)) for block, values in lost.items()}
    least = min(gaps, key=lambda block: gaps[block][0])
    verdict = holds(*gaps.values(), seeds=seeds, least=0.1)  # "catastrophic", for us: more than ten points
    return bench.records, f"A_F∖S falls by {points(gaps[least])} or more (block {least} least; 10 asked): {verdict}"


def c2(seeds: int) -> tuple[list[dict], str]:
    """ℓ∞-constrained FTM has a better Ā than unconstrained FTM and than mixing (FTA) alone."""
    bench = nano(seeds)
    bench.run("FTM", tuned)
    bench.run("FTA", tuned, mix=True)
    bench.run_best("FTM, Linf", tuned, linf())
    ours = bench.values("FTM, Linf")
    forgets, mixes = (difference(ours, bench.values(other)) for other in ("FTM", "FTA"))
    return bench.records, (
        f"Ā of Linf − FTM {points(forgets)}: {holds(forgets, seeds=seeds)}; "
        f"− FTA {points(mixes)}: {holds(mixes, seeds=seeds)}"
    )


def c3(seeds: int) -> tuple[list[dict], str]:
    """ℓ∞ is more stable than ℓ2, and the Fisher form is no better than ℓ∞.

    Stable, for us: Ā falls less when the chosen radius is halved or doubled.
    """
    bench = nano(seeds)
    diagonals: dict[tuple, dict] = {}

    def inside(model, change, ball, radius):
        if ball is Fisher and change.indices not in diagonals:
            diagonals[change.indices] = fisher_diagonal(model, change)
        constraint = Fisher(radius, diagonals[change.indices]) if ball is Fisher else ball(radius)
        return tuned(model, change, constraint=constraint)

    drops = {}
    for ball, radii in ((Linf, DELTAS), (L2, (1.0, 1.5, 2.0, 3.0)), (Fisher, (1e-4, 1.5e-4, 2e-4, 3e-4))):
        name = ball.__name__
        radius = bench.run_best(name, inside, [dict(ball=ball, radius=radius) for radius in radii])["radius"]
        for times in (0.5, 2):
            bench.run(f"{name}, radius × {times:g}", inside, ball=ball, radius=times * radius)
        moved = (bench.values(f"{name}, radius × 0.5") + bench.values(f"{name}, radius × 2")) / 2
        drops[name] = bench.values(name) - moved
    stability = difference(drops["L2"], drops["Linf"])
    better = difference(bench.values("Linf"), bench.values("Fisher"))
    return bench.records, (
        f"off the chosen radius Ā falls {points(stability)} more in L2 than in Linf: {holds(stability, seeds=seeds)}; "
        f"Ā of Linf − Fisher {points(better)}: {holds(better, seeds=seeds)}"
    )


def c4(seeds: int) -> tuple[list[dict], str]:
    """For few modified facts one constrained block beats tuning all blocks."""
    bench = nano(seeds)
    bench.run_best("Linf, all blocks", tuned, linf())
    grid = [setting for block in BLOCKS for setting in linf(block, BLOCK_DELTAS)]
    chosen = bench.run_best("Linf, one block", tuned, grid)
    gap = difference(bench.values("Linf, one block"), bench.values("Linf, all blocks"))
    return bench.records, (
        f"Ā of the block chosen ({chosen['block']}) − all blocks {points(gap)}: {holds(gap, seeds=seeds)}"
    )


def c5(seeds: int) -> tuple[list[dict], str]:
    """The best block depends on the number of modified facts. (The claim's other half, the starting state, needs a
    pretrained model and is not tested here.)"""
    records, best, values = [], {}, {}
    for n in (16, 256):
        bench = nano(seeds, n)
        for block in BLOCKS:
            name = f"{n} facts, Linf, block {block}"
            bench.run_best(name, tuned, linf(block, BLOCK_DELTAS, steps=60 if n < 100 else 120))
            values[n, block] = bench.values(name)
        best[n] = max(BLOCKS, key=lambda block, n=n: values[n, block].mean())
        records += bench.records
    text = ", ".join(f"block {block} for {n} facts" for n, block in best.items())
    if best[16] == best[256]:
        return records, f"the same block is best ({text}): " + (
            "against the claim" if seeds >= LEAST_SEEDS else holds(seeds=seeds)
        )
    gaps = [difference(values[n, best[n]], values[n, best[272 - n]]) for n in best]
    return records, f"best are {text}, by {points(gaps[0])} and {points(gaps[1])}: {holds(*gaps, seeds=seeds)}"


def c6(seeds: int) -> tuple[list[dict], str]:
    """Mixing in unmodified facts (FTA) on top of the constraint gains little."""
    bench = nano(seeds)
    bench.run_best("FTM, Linf", tuned, linf())
    bench.run_best("FTA, Linf", tuned, linf(mix=True))
    gain = difference(bench.values("FTA, Linf"), bench.values("FTM, Linf"))
    little = (0.02 - gain[0], gain[1])  # "little", for us: under two points
    return bench.records, f"FTA adds {points(gain)} to Ā (under 2 asked): {holds(little, seeds=seeds)}"


def c11(seeds: int) -> tuple[list[dict], str]:
    """A kNN datastore of the modified facts alone reaches low A_M."""
    bench = nano(seeds)
    bench.run_best("FTM, Linf", tuned, linf())
    for epsilon in (2, 4, 8, 16):
        bench.run(f"kNN, ε = {epsilon}", knn, epsilon=epsilon)
    bench.run_best("kNN, ε chosen by Ā", knn, [dict(epsilon=e) for e in (1, 2, 3, 4, 6, 8, 12, 16)])
    learnt = bench.values("kNN, ε chosen by Ā", "A_M")
    low = difference(np.full_like(learnt, 0.5), learnt)  # "low", for us: under a half
    behind = difference(bench.values("FTM, Linf", "A_M"), learnt)
    return bench.records, (
        f"A_M {100 * learnt.mean():.1f} % (under 50 asked), {points(behind)} behind FTM in Linf: "
        f"{holds(low, behind, seeds=seeds)}"
    )


def c12(seeds: int) -> tuple[list[dict], str]:
    """Sharing weights over all blocks (ALBERT) makes the trade-off much worse."""
    ours = nano(seeds)
    ours.run_best("blocks of their own, Linf", tuned, linf())
    shared = Bench.of(albert(ours.facts), ours.facts, seeds)
    shared.run_best("shared blocks, Linf", tuned, linf(deltas=(*DELTAS, 1e-2)))
    gap = difference(ours.values("blocks of their own, Linf"), shared.values("shared blocks, Linf"))
    verdict = holds(gap, seeds=seeds, least=0.05)  # "much", for us: more than five points
    return ours.records + shared.records, f"Ā of own − shared blocks {points(gap)} (5 asked): {verdict}"


CLAIMS = {"C1": c1, "C2": c2, "C3": c3, "C4": c4, "C5": c5, "C6": c6, "C11": c11, "C12": c12}


def claim(name: str, seeds: int = 3) -> tuple[list[dict], str]:
    """The records and the reading of one claim. Raises ValueError that lists the claims, or for a wrong `seeds`."""
    if str(name).upper() not in CLAIMS:
        raise ValueError(f"unknown claim {name!r}; known: {', '.join(CLAIMS)}")
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"seeds must be a whole number from 1, got {seeds!r}")
    return CLAIMS[str(name).upper()](seeds)


def table(records: list[dict]) -> str:
    """A line a setting: means over seeds, and twice the standard error of Ā, in percent."""
    settings = list(dict.fromkeys(r["setting"] for r in records))
    width = max(map(len, settings))
    lines = [f"{'':{width}}     A_M   A_F∖S  before      Ā"]
    for setting in settings:
        mine = [r for r in records if r["setting"] == setting]
        means = [100 * np.mean([r[name] for r in mine]) for name in ("A_M", "A_FS", "A_FS_before", "A_mean")]
        values = np.array([r["A_mean"] for r in mine])
        error = f" ± {100 * difference(values, 0 * values)[1]:.1f}" if len(mine) > 1 else ""
        lines.append(f"{setting:{width}}  " + "  ".join(f"{mean:6.1f}" for mean in means) + error)
    seeds = len({r["seed"] for r in records})
    lines.append(f"percent, means over {seeds} seed{'s' * (seeds > 1)}; ± two standard errors")
    return "\n".join(lines)
