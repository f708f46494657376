"""Memorising the atlas from random weights and from pretrained ones, the same otherwise.

    python benchmarks/starts.py --starts nano my-pretrained-folder --out results/benchmarks/starts.jsonl

About three minutes a run on two CPU cores.
"""

from pathlib import Path

from _record import add, argument_parser

import kmod


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--starts", nargs="+", default=["nano"], help="models to start from")
    parser.add_argument("--seeds", type=int, default=1, help="of random weights and of the batches")
    args = parser.parse_args()

    facts = kmod.load_facts("atlas")
    for seed in range(args.seeds):
        for start in args.starts:
            model = kmod.load_model(start, facts, seed=seed)
            report = kmod.memorise(model, facts, seed=seed)
            print(f"{start}, seed {seed}\n{report}", flush=True)
            record = {
                "benchmark": "starts",
                "start": "random weights" if start in kmod.models.PRESETS else Path(start).name,
                "seed": seed,
                "facts": len(facts),
                "facts_fingerprint": facts.fingerprint(),
                "vocabulary": len(model.tokenizer),
                "evidences": vars(report.evidences),
                "tests": vars(report.tests),
                "steps": report.steps,
                "seconds": report.seconds,
                "stopped": report.stopped,
            }
            add(args.out, record, model.device)


if __name__ == "__main__":
    main()
