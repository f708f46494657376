"""RQ3: is a symbolic memory easier to edit? FaE against the plain model of the same size, in one command.

    python -m kmod.rq3                                  the atlas, from random weights: minutes on two CPU cores
    python -m kmod.rq3 --facts trex --model folder      any facts and any BERT to start both from; on a GPU

Both models memorise the same facts. S is drawn from what both know, so that both change the same facts. Every part at
every δ is tried on a modification of its own; the δ with the best Ā there is then measured on the others. Accuracy is
P@1 on unseen phrasings: over the vocabulary, every word piece of the object, for the plain model; over the entities of
the memory for FaE.

    python -m kmod.rq3 --add 100                        instead: what a fact that was never trained on gains by ADD
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from . import add_facts, evaluate, finetune, finetune_fae, load_facts, load_model, memorise, score, update_facts
from .constraints import Linf
from .editing import Edit
from .editing.finetune_fae import PLACES
from .evaluation import Rate, Scores
from .facts import FactBase, Modification, normal
from .models import PRESETS, MaskedLM
from .parts import blocks
from .versions import versions

DELTAS = (1e-3, 3e-3, 8e-3, 1.6e-2)
TRIAL = 1000  # the seed of the modification on which δ is chosen; the measured ones count from 0


@dataclass(frozen=True)
class Setting:
    """One way to edit: of the plain model or of FaE, which part, and how far. `delta` None: nothing to choose."""

    model: str  # "plain" or "FaE"
    edit: str
    delta: float | None
    run: Callable[[MaskedLM, Modification], Edit]

    @property
    def label(self) -> str:
        return f"{self.model}: {self.edit}"


def settings(plain: MaskedLM, deltas: Sequence[float] = DELTAS, **training) -> Iterator[Setting]:
    """All settings that are compared; `training` goes to `finetune` and `finetune_fae`."""

    def plain_edit(block, delta):
        return lambda model, change: finetune(model, change, block=block, constraint=Linf(delta), **training)

    def fae_edit(where, symbolic, delta):
        return lambda model, change: finetune_fae(
            model, change, where=where, symbolic=symbolic, constraint=Linf(delta), **training
        )

    yield Setting("FaE", "symbolic", None, update_facts)
    for delta in deltas:
        for block in ("all", *range(len(blocks(plain.net)))):
            yield Setting(
                "plain", f"block {block}" if block != "all" else "all blocks", delta, plain_edit(block, delta)
            )
        for where in PLACES:
            yield Setting("FaE", f"symbolic + {where}", delta, fae_edit(where, True, delta))
        yield Setting("FaE", "AWT alone", delta, fae_edit("AWT", False, delta))


def compare(
    models: dict[str, MaskedLM],
    facts: FactBase,
    *,
    n: int = 32,
    seeds: Sequence[int] = (0, 1, 2),
    deltas: Sequence[float] = DELTAS,
    tell: Callable[[str], None] = print,
    **training,
) -> list[dict]:
    """Records of the comparison: one a setting and modification, with `chosen` true for the δ that the trial chose.

    `models` are "plain" and "FaE", both trained. Raises ValueError if fewer than `n` facts are known to both.
    """
    before: dict[str, Scores] = {name: score(model, facts, ["tests"]) for name, model in models.items()}
    known = np.logical_and.reduce([scores.known for scores in before.values()])

    def measure(setting: Setting, seed: int, chosen: bool) -> dict:
        change = facts.modify(n, seed=seed, known=known)
        model = models[setting.model]
        edit = setting.run(model, change)
        result = evaluate(model, facts, change, edit=edit, before=before[setting.model], answers=False)
        tell(
            f"{setting.label:26} δ {setting.delta or 0:<7g} seed {seed:<5} A_M {100 * result.A_M.value:5.1f} %   "
            f"A_F∖S {100 * result.A_FS.value:5.1f} %   Δ {100 * result.delta_A_FS.value:+6.2f}   "
            f"Ā {100 * result.A_mean:5.1f} %"
        )
        where = {"model": setting.model, "edit": setting.edit, "delta": setting.delta, "seed": seed, "chosen": chosen}
        return where | {"n": n, "seconds": edit.made.get("seconds"), **result.record()}

    every = list(settings(models["plain"], deltas, **training))
    trials = [measure(setting, TRIAL, False) for setting in every]
    best: dict[str, int] = {}
    for i, record in enumerate(trials):
        label = every[i].label
        if label not in best or record["A_mean"] > trials[best[label]]["A_mean"]:
            best[label] = i
    return trials + [measure(every[i], seed, True) for i in best.values() for seed in seeds]


def hold_out(facts: FactBase, n: int, seed: int = 0) -> tuple[FactBase, FactBase]:
    """`facts` without n drawn facts, and those: of their subjects, objects and relations each stands in others as well.

    Raises ValueError if fewer than `n` facts can be spared.
    """
    parts = [((0, normal(f.subject)), (0, normal(f.object)), (1, f.relation)) for f in facts]
    left = Counter(part for three in parts for part in three)
    subjects = Counter(three[0] for three in parts)  # a subject stays a subject: its entity is met as one in training
    held: list[int] = []
    for i in np.random.default_rng(seed).permutation(len(facts)).tolist():
        if len(held) == n:
            break
        if subjects[parts[i][0]] > 1 and all(left[part] > 1 for part in parts[i]):
            held.append(i)
            left.subtract(parts[i])
            subjects[parts[i][0]] -= 1
    if len(held) < n:
        raise ValueError(f"only {len(held)} facts of {facts.name} can be held out, not {n}")
    out = set(held)
    kept = [fact for i, fact in enumerate(facts) if i not in out]
    return (
        FactBase(kept, facts.relations, f"{facts.name} without {n} ({seed})"),
        FactBase([facts[i] for i in held], facts.relations, f"{n} of {facts.name} ({seed})"),
    )


def add(model: MaskedLM, held: FactBase, rest: FactBase) -> dict[str, Rate]:
    """How many statements of facts never trained on are right without them in the fact memory and with them added, and
    what that does to the rest."""
    before, rest_before = score(model, held), score(model, rest, ["tests"])
    with add_facts(model, held)(model):
        after, rest_after = score(model, held), score(model, rest, ["tests"], rest_before.examples)
    return {
        "held out, tests, before": before.rate("tests"),
        "held out, tests, added": after.rate("tests"),
        "held out, evidences, before": before.rate("evidences"),
        "held out, evidences, added": after.rate("evidences"),
        "the rest, tests, before": rest_before.rate("tests"),
        "the rest, tests, added": rest_after.rate("tests"),
    }


def table(records: Sequence[dict]) -> str:
    """The chosen settings, each one's mean over the modifications, and the spread (least to most) of A_M."""
    lines = [f"{'':26}{'δ':>8}{'A_M':>8}{'least–most':>16}{'A_F∖S':>9}{'ΔA_F∖S':>9}{'Ā':>8}"]
    chosen: dict[str, list[dict]] = {}
    for record in records:
        if record["chosen"]:
            chosen.setdefault(f"{record['model']}: {record['edit']}", []).append(record)
    for label, rows in sorted(chosen.items(), key=lambda item: -np.mean([r["A_mean"] for r in item[1]])):
        mean = {key: 100 * np.mean([row[key] for row in rows]) for key in ("A_M", "A_FS", "delta_A_FS", "A_mean")}
        spread = f"{100 * min(r['A_M'] for r in rows):.1f}–{100 * max(r['A_M'] for r in rows):.1f}"
        delta = "–" if rows[0]["delta"] is None else f"{rows[0]['delta']:g}"
        lines.append(
            f"{label:26}{delta:>8}{mean['A_M']:>8.1f}{spread:>16}{mean['A_FS']:>9.1f}{mean['delta_A_FS']:>+9.2f}"
            f"{mean['A_mean']:>8.1f}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    from . import build_fae, train_fae

    parser = argparse.ArgumentParser(
        prog="python -m kmod.rq3", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--facts", default="atlas", help="fact base; default atlas")
    parser.add_argument("--model", default="nano", help="nano, mini or base; or a BERT folder or id to start from")
    parser.add_argument("--n", type=int, default=32, help="facts to modify; default 32")
    parser.add_argument("--seeds", type=int, default=3, help="how many modifications to measure; default 3")
    parser.add_argument("--epochs", type=float, default=11, help="at most this many passes to memorise; default 11")
    parser.add_argument("--add", type=int, default=0, metavar="N", help="train FaE without N facts, then ADD them")
    parser.add_argument(
        "--entity-norm", type=float, default=5.0, help="norm of FaE's entities at the start: how loud its memory is; 5"
    )
    parser.add_argument("--out", type=Path, help="write the records to this file, one a line")
    args = parser.parse_args(argv)

    about = {"facts": args.facts, "start": args.model, "epochs": args.epochs, "entity_norm": args.entity_norm}
    about |= {"cores": os.cpu_count(), "versions": versions()}
    facts = load_facts(args.facts)
    if args.add:
        kept, held = hold_out(facts, args.add)
        start = args.model if args.model in PRESETS else load_model(args.model, kept)
        model = build_fae(start, kept, spare=0.25 + args.add / len(kept), entity_norm=args.entity_norm)
        if torch.cuda.is_available():
            model.to("cuda")
        print(train_fae(model, kept, epochs=args.epochs), "\n")
        rates = add(model, held, kept)
        print("\n".join(f"{name:30}{value}" for name, value in rates.items()))
        write(args.out, [about | {"experiment": "add", "n": args.add} | {k: vars(v) for k, v in rates.items()}])
        return
    plain = load_model(args.model, facts)
    start = args.model if args.model in PRESETS else plain
    fae = build_fae(start, facts, entity_norm=args.entity_norm).to(plain.device)
    print(memorise(plain, facts, epochs=args.epochs), "\n")
    print(train_fae(fae, facts, epochs=args.epochs), "\n")
    records = compare({"plain": plain, "FaE": fae}, facts, n=args.n, seeds=range(args.seeds))
    print(f"\n{args.n} facts modified, {args.seeds} times; δ chosen on another modification\n\n{table(records)}")
    about |= {"experiment": "rq3", "device": plain.device.type}
    write(args.out, [about | record for record in records])


def write(path: Path | None, records: Sequence[dict]) -> None:
    """Records as lines of JSON, the whole file at once; nothing if `path` is None."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".kmod-") as folder:
        (Path(folder) / "records").write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
        os.replace(Path(folder) / "records", path)


if __name__ == "__main__":
    main()
