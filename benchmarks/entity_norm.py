"""Does UPDATE alone suffice? It may depend on the norm that the entities of a FaE's memory start training with.

    python benchmarks/entity_norm.py --out results/benchmarks/entity_norm.jsonl

For each norm a FaE nano is trained on the atlas and edited: by UPDATE alone, and by UPDATE with constrained fine-tuning
of AWT, with the settings of RQ3's suite. The facts to change are drawn from those that the FaE answers right. A norm
takes some minutes on one CPU core; runs that are in the file of records are not repeated.
"""

from dataclasses import asdict

from _record import add, argument_parser, read

import kmod
from kmod.experiments.suites import PROFILES
from kmod.fae import build_fae

RATES = ("A_M", "A_FS", "A_FS_before")


def edits(model, change, seed):
    """(method, radius, edit) of each edit."""
    profile = PROFILES["cpu"]
    yield "UPDATE", None, kmod.update_facts(model, change)
    for delta in profile.radii("AWT", fewer=True):
        yield "UPDATE + FTM", delta, kmod.finetune_fae(
            model, change, where="AWT", symbolic=True, constraint=kmod.Linf(delta), steps=profile.steps,
            batch_size=profile.batch_size, lr=profile.lr, seed=seed,
        )  # fmt: skip


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--norms", nargs="+", type=float, default=[1, 1.5, 2, 5])
    parser.add_argument("--seeds", type=int, default=3, help="draws of the facts to change")
    args = parser.parse_args()

    done = {(record["entity_norm"], record["seed"]) for record in read(args.out)}
    facts, n = kmod.load_facts("atlas"), PROFILES["cpu"].n
    for norm in args.norms:
        missing = [seed for seed in range(args.seeds) if (norm, seed) not in done]
        if not missing:
            continue
        model = build_fae("nano", facts, entity_norm=norm)
        learnt = kmod.train_fae(model, facts)
        print(f"entity norm {norm:g}\n{learnt}", flush=True)
        known = kmod.known(model, facts)
        for seed in missing:
            change = facts.modify(n, seed=seed, known=known)
            record = {
                "benchmark": "entity_norm", "entity_norm": norm, "seed": seed, "facts": len(facts),
                "facts_fingerprint": facts.fingerprint(), "n": n, "learnt": learnt.tests, "edits": [],
            }  # fmt: skip
            for method, delta, edit in edits(model, change, seed):
                result = kmod.evaluate(model, facts, change, edit=edit, answers=False)
                rates = {name: asdict(getattr(result, name)) for name in RATES} | {"A_mean": result.A_mean}
                record["edits"].append({"method": method, "delta": delta} | rates)
                print(f"  seed {seed}, {method} {delta or ''}: A_M {result.A_M}, A_F∖S {result.A_FS}", flush=True)
            add(args.out, record, model.device)


if __name__ == "__main__":
    main()
