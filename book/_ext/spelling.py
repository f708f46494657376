"""Common misspellings in what the chapters say, by codespell: `python book/_ext/spelling.py`.

A notebook's file also holds outputs, which quote what others wrote; so codespell gets the cells alone. For all other
files `make lint` calls codespell itself.
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
    # In the project's folder, where codespell finds the words that it is to let pass.
    done = subprocess.run(["codespell", "-"], input=text, capture_output=True, text=True, cwd=ROOT)
    if done.stderr:
        raise RuntimeError(f"codespell: {done.stderr.strip()}")
    # A line with the mistake follows upon a line of its number and text.
    return [f"{path.relative_to(ROOT)}: {line.strip()}" for line in done.stdout.splitlines() if "==>" in line]


if __name__ == "__main__":
    found = [line for path in sorted((ROOT / "book").glob("*.ipynb")) for line in mistakes(path)]
    print("\n".join(found) or "no misspelling in the chapters")
    sys.exit(bool(found))
