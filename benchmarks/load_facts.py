"""Time and memory of loading T-REx at the paper's size: 34,039 facts, 1.3 million generated sentences.

    python benchmarks/load_facts.py --out results/benchmarks/load_facts.jsonl

It writes files of that size into a temporary folder, in the layout of LAMA's archive and of the hub's Parquet, and
loads each in new processes, a first and a second time. The hub itself is not contacted. Peak memory is that of the
whole process. Sentences are random words, as many as T-REx's have on average.
"""

import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from _record import add, argument_parser

LOAD = """
import json, resource, sys, time
import kmod
place, where = sys.argv[1:]
options = {"folder": where}
if place == "hub":
    import datasets
    load = datasets.load_dataset
    files = f"{where}/trex.parquet"
    datasets.load_dataset = lambda *a, **k: load("parquet", data_files=files, split="train", cache_dir=f"{where}/cache")
    options = {}
started = time.perf_counter()
facts = kmod.load_facts("trex", **options)
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
sentences = sum(len(fact.evidences) for fact in facts)
print(json.dumps({"seconds": seconds, "peak_gib": peak, "facts": len(facts), "evidences": sentences}))
"""


def generate(folder: Path, facts: int, sentences: int) -> None:
    """LAMA's files and the hub's Parquet: `facts` facts over 41 relations with `sentences` sentences each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(20_000)]
    (folder / "TREx").mkdir()
    relations = [
        {"relation": f"P{i}", "template": f"[X] relates by {i} to [Y] .", "label": f"relation {i}"} for i in range(41)
    ]
    (folder / "relations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in relations))
    names = ("uuid", "sub_label", "predicate_id", "obj_label", "masked_sentence", "label", "template")
    schema = pa.schema([(name, pa.string()) for name in names])
    with pq.ParquetWriter(folder / "trex.parquet", schema) as writer:
        for relation in range(41):
            lines, rows = [], []
            for fact in range(relation, facts, 41):
                subject, obj = f"{rng.choice(words)} {fact}", rng.choice(words)
                masked = [" ".join([*rng.choices(words, k=24), "[MASK]."]) for _ in range(sentences)]
                evidences = [{"sub_surface": subject, "obj_surface": obj, "masked_sentence": s} for s in masked]
                row = {"uuid": str(fact), "predicate_id": f"P{relation}", "sub_label": subject, "obj_label": obj}
                lines.append(json.dumps(row | {"evidences": evidences}) + "\n")
                row |= {"label": relations[relation]["label"], "template": relations[relation]["template"]}
                rows += [row | {"masked_sentence": sentence} for sentence in masked]
            (folder / "TREx" / f"P{relation}.jsonl").write_text("".join(lines))
            writer.write_table(pa.Table.from_pylist(rows, schema))


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--facts", type=int, default=34_039)
    parser.add_argument("--sentences", type=int, default=38, help="of each fact")
    args = parser.parse_args()
    environment = {key: value for key, value in os.environ.items() if key != "KMOD_DATA"}
    runs = {}
    with tempfile.TemporaryDirectory() as temporary:
        generate(Path(temporary), args.facts, args.sentences)
        for place in ("folder", "hub"):
            for turn in ("first", "again"):
                command = [sys.executable, "-c", LOAD, place, temporary]
                done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                runs[f"{place}, {turn}"] = run = json.loads(done.stdout.splitlines()[-1])
                print(f"{place}, {turn}: {run['seconds']:.1f} s, {run['peak_gib']:.2f} GiB at most")
    record = {
        "benchmark": "load_facts",
        "facts": args.facts,
        "sentences": args.sentences,
        "runs": runs,
        "machine": platform.machine(),
    }
    add(args.out, record)


if __name__ == "__main__":
    main()
