"""T-REx on a CPU: a small BERT memorises a sample of the facts, and some are changed within balls of several radii.

    KMOD_DATA=folder python benchmarks/trex_small.py --out results/benchmarks/trex_small.jsonl

Evidences are Wikipedia sentences, at most three a fact, and ParaRel's phrasings; the test is the relation's template,
which is none of them. It takes about half an hour on two cores, half of it for memorising. Runs that are in the file of
records are not repeated.
"""

import time

from _record import add, argument_parser, read

import kmod

MODIFIED = 32
DELTAS = {  # by block: one block alone needs larger changes
    "all": (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, None),
    -1: (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, None),
}


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--facts", type=int, default=2000, help="facts drawn from T-REx")
    parser.add_argument("--model", default="nano", help="a preset, or a folder")
    parser.add_argument("--sentences", type=int, default=3, help="Wikipedia sentences a fact, at most")
    parser.add_argument("--pararel", default="evidences", choices=("evidences", "tests", "none"))
    parser.add_argument("--epochs", type=float, default=11)
    parser.add_argument("--seeds", type=int, default=3, help="modifications to draw")
    args = parser.parse_args()

    pararel = None if args.pararel == "none" else args.pararel
    facts = kmod.load_facts("trex", evidences_per_fact=args.sentences, pararel=pararel)
    facts = facts.sample(args.facts, seed=0)
    model = kmod.load_model(args.model, facts)
    facts = kmod.writable(facts, model.tokenizer, limit=128)
    print(*facts.notes, sep="\n")
    report = kmod.memorise(model, facts, epochs=args.epochs)
    print(report)
    shared = {
        "benchmark": "trex_small",
        "facts": len(facts),
        "facts_fingerprint": facts.fingerprint(),
        "notes": facts.notes,
        "model": args.model,
        "n": MODIFIED,
        "evidences": report.evidences.statements,
        "pararel": args.pararel,
        "recall_evidences": vars(report.evidences),
        "recall_tests": vars(report.tests),
        "memorise_steps": report.steps,
        "memorise_seconds": report.seconds,
    }
    before = kmod.score(model, facts, ["tests"])
    same = ("facts_fingerprint", "model", "pararel", "memorise_steps")
    done = [r for r in read(args.out) if all(r[name] == shared[name] for name in same)]
    done = {(r["block"], r["delta"], r["seed"]) for r in done}
    for where, deltas in DELTAS.items():
        runs = [
            (facts.modify(MODIFIED, seed, before.known), kmod.Linf(delta) if delta else None, seed)
            for seed in range(args.seeds)
            for delta in deltas
            if (where, delta, seed) not in done
        ]
        if not runs:
            continue
        started = time.perf_counter()
        edits = kmod.sweep(model, runs, block=where)
        seconds = (time.perf_counter() - started) / len(runs)
        for (change, ball, seed), edit in zip(runs, edits, strict=True):
            result = kmod.evaluate(model, facts, change, edit=edit, before=before, answers=False).record()
            print(
                f"block {where}   δ {ball.delta if ball else float('inf'):7g}   seed {seed}   A_M {result['A_M']:.3f} "
                f"(evidences {result['A_M_evidences']:.3f})   A_F∖S {result['A_FS_before']:.3f} → {result['A_FS']:.3f}",
                flush=True,
            )
            record = {"block": where, "delta": ball.delta if ball else None, "seed": seed, "seconds_an_edit": seconds}
            add(args.out, shared | record | result, model.device)


if __name__ == "__main__":
    main()
