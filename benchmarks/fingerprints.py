"""What fingerprints cost beside an edit: every hashing in the life of one run.

    python benchmarks/fingerprints.py --preset base --out results/benchmarks/fingerprints.jsonl

The run is that of a suite: load, score, edit the last block (32 facts of 8 evidences, 60 steps of 64 statements),
evaluate with the edit applied and undone, measure its size. Weights are random and the vocabulary is padded to the
30,522 entries of BERT: time does not depend on what a model knows.
"""

import argparse
import json
import os
import time
from pathlib import Path
from unittest import mock

import numpy as np

import kmod
from kmod.models import MaskedLM
from kmod.training.flops import device_name, wait
from kmod.versions import commit, versions

VOCABULARY = 30_522


def now(model):
    """Seconds on the clock and of CPU time: on a busy machine only the latter can be compared."""
    wait(model.device)
    return np.array([time.perf_counter(), time.process_time()])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="base", choices=kmod.models.PRESETS)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path, help="append the record to this file, as a line of JSON")
    args = parser.parse_args()

    atlas = kmod.load_facts("atlas").sample(64)
    facts = kmod.FactBase([kmod.Fact(f.subject, f.relation, f.object, atlas.evidences(f)[:8], atlas.tests(f)[:1])
                           for f in atlas], atlas.relations)  # fmt: skip
    spent = []  # (seconds, CPU seconds) of each fingerprint

    def timed(name):
        function = getattr(MaskedLM, name)

        def call(model, *arguments, **settings):
            started = now(model)
            result = function(model, *arguments, **settings)
            spent.append(now(model) - started)
            return result

        return mock.patch.object(MaskedLM, name, call)

    model = kmod.load_model(args.preset, facts)
    model.net.resize_token_embeddings(VOCABULARY)
    change = facts.modify(32, seed=0)
    with timed("fingerprint"), timed("fingerprints"):
        before = kmod.score(model, facts, ["tests"], keep=-1)
        started = now(model)
        edit = kmod.finetune(model, change, block=-1, constraint=kmod.Linf(1e-3), steps=args.steps, batch_size=64)
        editing = now(model) - started
        kmod.evaluate(model, facts, change, edit=edit, before=before, answers=False)
        edit.difference(model, applied=False)  # as for a record, which names the model by `edit.before`
    seconds, cpu_seconds = np.array(spent).T.tolist()
    record = {
        "benchmark": "fingerprints",
        "preset": args.preset,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": args.steps,
        "edit_seconds": editing[0],
        "edit_cpu_seconds": editing[1],
        "hashing_seconds": seconds,
        "hashing_cpu_seconds": cpu_seconds,
        "share": sum(seconds) / editing[0],
        "cpu_share": sum(cpu_seconds) / editing[1],
        "device": device_name(model.device),
        "cores": os.cpu_count(),
        "versions": versions(),
        "commit": commit(),
    }
    for kind, edit, each in ("wall", editing[0], seconds), ("CPU", editing[1], cpu_seconds):
        milliseconds = ", ".join(f"{1000 * s:.0f}" for s in each)
        share = 100 * sum(each) / edit
        print(f"{kind:5} an edit {edit:.1f} s, {len(each)} fingerprints {milliseconds} ms: {share:.2f} % of it")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with args.out.open("a") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
