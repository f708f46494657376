"""The first minutes of a newcomer, from a fresh clone in a fresh home: seconds of each step.

    python benchmarks/first_minutes.py                # installation, `make book`, the first edit, import
    python benchmarks/first_minutes.py --tests        # and every stage of `make test`
    python benchmarks/first_minutes.py --tests-only   # installation and every stage of `make test`

Meant for a machine that does nothing else; run it three times and take the medians. Uncommitted changes are not seen.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from kmod.files import append
from kmod.training.flops import device_name
from kmod.versions import commit, versions

ROOT = Path(__file__).parents[1]
SLOWEST = 12  # tests that are shown of each stage
OUT = ROOT / "results" / "benchmarks" / "first_minutes.jsonl"


def stages() -> list[str]:
    """The targets that `make test` is made of, in order."""
    return re.search(r"^test: (.*?)\s+##", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()


def seconds(command: str, folder: Path, environment: dict[str, str], failed: list[str]) -> float:
    """Run a shell command and time it. If it fails, show the end of its output and note it in `failed`."""
    started = time.perf_counter()
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
    took = time.perf_counter() - started
    print(f"{command}: {took:.1f} s{'' if done.returncode == 0 else ', FAILED'}", flush=True)
    for line in re.findall(r"^[0-9.]+s (?:call|setup|teardown) .*", done.stdout, re.MULTILINE)[:SLOWEST]:
        print("   ", line, flush=True)
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-3000:], sep="\n", flush=True)
        failed.append(command)
    return round(took, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", action="store_true", help="time the stages of `make test` as well")
    parser.add_argument("--tests-only", action="store_true", help="time the installation and those stages alone")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home, clone = Path(folder) / "home", Path(folder) / "clone"
        home.mkdir()
        own = ("KMOD_", "VIRTUAL_ENV", "PYTHON", "OMP_", "MKL_")  # what a newcomer's shell does not set
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        environment = kept | {"HOME": str(home)}
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
        commands = {
            "install": "make .venv/.book",
            "book": "make book",
            "try": ".venv/bin/python -m kmod try France P36 Rome",
            "import": '.venv/bin/python -c "import kmod"',
            "book again": "make book",
        }
        if args.tests_only:
            commands = {}
        if args.tests or args.tests_only:
            commands["test: install"] = "make .venv/.installed"  # after the book: what that does not need
            commands |= {f"test: {stage}": f"make {stage}" for stage in stages()}
        failed: list[str] = []
        parts = {name: seconds(command, clone, environment, failed) for name, command in commands.items()}
    if failed:
        raise SystemExit(f"failed, so nothing is recorded: {', '.join(failed)}")
    import torch

    device = device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    record = {"benchmark": "first_minutes", "seconds": parts, "cores": os.cpu_count(), "device": device}
    append(OUT, [record | {"versions": versions(), "commit": commit()}])


if __name__ == "__main__":
    main()
