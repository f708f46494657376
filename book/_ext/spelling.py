"""Find common misspellings in the chapters with codespell: `python book/_ext/spelling.py`.

codespell gets the source of the cells alone: outputs quote what others wrote. For all other files `make lint` calls
codespell itself.
"""

import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]


def mistakes(path: Path) -> list[str]:
    """What codespell finds in the cells of a notebook, one line each."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells)
    # In the project's folder, whose settings list the words that are right.
    done = subprocess.run(["codespell", "-"], input=text, capture_output=True, text=True, cwd=ROOT)
    if done.stderr:
        raise RuntimeError(f"codespell: {done.stderr.strip()}")
    # codespell prints two lines a mistake: its place, then the words with "==>".
    return [f"{path.relative_to(ROOT)}: {line.strip()}" for line in done.stdout.splitlines() if "==>" in line]


if __name__ == "__main__":
    faults = [line for path in sorted((ROOT / "book").glob("*.ipynb")) for line in mistakes(path)]
    print("\n".join(faults) or "no misspelling in the chapters")
    sys.exit(bool(faults))
