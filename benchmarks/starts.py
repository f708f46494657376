"""Memorising the atlas from random weights and from pretrained ones, the same otherwise.

    python benchmarks/starts.py --starts nano my-pretrained-folder --out results/benchmarks/starts.jsonl

About three minutes a run on two CPU cores.
"""

import argparse
import json
from pathlib import Path

import kmod
from kmod.training.flops import device_name
from kmod.versions import commit, versions


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", nargs="+", default=["nano"], help="models to start from")
    parser.add_argument("--seeds", type=int, default=1, help="of random weights and of the batches")
    parser.add_argument("--out", type=Path, help="append the records to this file, as lines of JSON")
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
                "device": device_name(model.device),
                "versions": versions(),
                "commit": commit(),
            }
            if args.out:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                with args.out.open("a") as file:
                    file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
