"""Run the chapters in place and store their outputs without time stamps.

    python book/_ext/store_outputs.py [--times] [CHAPTER.ipynb ...]

Strict nbval compares a later run with these outputs. Readers of the book never see them: its build runs every
chapter itself. With --times, what each took is added to results/benchmarks/chapters.jsonl, which the chapters read: for
a machine that does nothing else, and has the memorised atlas on disk.
"""

import argparse
import time
from pathlib import Path

import nbformat
import torch
from nbclient import NotebookClient

from kmod.experiments import records
from kmod.training.flops import device_name
from kmod.versions import commit, versions

BOOK = Path(__file__).parents[1]
TIMES = BOOK.parent / "results" / "benchmarks" / "chapters.jsonl"

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("chapters", nargs="*", type=Path, metavar="CHAPTER.ipynb", default=sorted(BOOK.glob("*.ipynb")))
parser.add_argument("--times", action="store_true", help="keep a record of how long each took")
args = parser.parse_args()
device = device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))

for path in args.chapters:
    chapter = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    started = time.perf_counter()
    NotebookClient(chapter, timeout=1800, record_timing=False, resources=where).execute()
    seconds = time.perf_counter() - started
    nbformat.write(chapter, path)
    print(f"{path}: stored, {seconds:.0f} s")
    if args.times:
        record = {"benchmark": "chapters", "chapter": path.stem, "seconds": round(seconds, 1), "device": device}
        records.append(TIMES, [record | {"versions": versions(), "commit": commit()}])
