"""Run every chapter, two at a time, and build the book from what they gave: `make book`.

    python book/_ext/build_book.py            # runs the chapters, then renders them
    python book/_ext/build_book.py --stored   # renders the stored notebooks, which `make test` has just checked

The chapters run where they lie, so that they find the records; what they gave is written to _build/source and rendered
from there. The stored notebooks are not touched. The notebooks that readers download know where this book lives.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import colab  # beside this file
import kernels
import nbformat
import repository
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "_build" / "source"
TIMES = ROOT / "results" / "benchmarks" / "chapters.jsonl"
AT_A_TIME = 2
UNKNOWN = 20.0  # seconds of a chapter without a record


def recorded_seconds() -> dict[str, float]:
    """Chapter → seconds of its last record."""
    lines = TIMES.read_text("utf-8").splitlines() if TIMES.is_file() else []
    return {record["chapter"]: record["seconds"] for record in map(json.loads, lines)}


def run(path: Path) -> float:
    """Run a chapter and write it, with its outputs, into SOURCE; the seconds it took."""
    started = time.perf_counter()
    chapter = nbformat.read(path, as_version=4)
    NotebookClient(chapter, timeout=1800, record_timing=False, resources={"metadata": {"path": path.parent}}).execute()
    nbformat.write(chapter, SOURCE / "book" / path.name)
    return time.perf_counter() - started


def run_all(chapters: list[Path]) -> None:
    """Run the chapters, the longest first, and print how far it is. Raises the first error once all have ended."""
    seconds = recorded_seconds()
    expected = {path: seconds.get(path.stem, UNKNOWN) for path in chapters}
    started, errors = time.perf_counter(), []
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // AT_A_TIME)))
    kernels.fork()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        running = {pool.submit(run, path): path for path in sorted(chapters, key=expected.get, reverse=True)}
        left = dict(expected)
        print(f"{len(chapters)} chapters, about {sum(left.values()) / AT_A_TIME:.0f} s", flush=True)
        for done, future in enumerate(as_completed(running), 1):
            path = running[future]
            del left[path]
            try:
                said = f"{future.result():.0f} s"
            except Exception as error:
                errors.append((path, error))
                said = "FAILED"
            pace = (time.perf_counter() - started) / max(sum(expected.values()) - sum(left.values()), 1)
            print(
                f"[{done}/{len(chapters)}] {path.stem}: {said}; about {pace * sum(left.values()):.0f} s left",
                flush=True,
            )
    for path, error in errors:
        print(f"{path}: {error}", file=sys.stderr)
    if errors:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stored", action="store_true", help="render the stored notebooks as they are")
    args = parser.parse_args()
    for folder in ("html", ".doctrees", "source"):
        shutil.rmtree(ROOT / "_build" / folder, ignore_errors=True)
    shutil.copytree(ROOT / "book", SOURCE / "book", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__"))
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, SOURCE / name)
    if not args.stored:
        run_all(sorted((ROOT / "book").glob("*.ipynb")))
    address = repository.address(fallback=repository.setting())
    for path in colab.chapters(SOURCE / "book"):
        colab.stamp(path, address)
    build = ["jupyter-book", "build", str(SOURCE), "--path-output", str(ROOT), "-W", "-n", "--keep-going"]
    raise SystemExit(subprocess.run(build, cwd=ROOT).returncode)


if __name__ == "__main__":
    main()
