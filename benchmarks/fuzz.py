"""Read a million cells and lines of any text as facts and as a corpus: each is read, or refused in words.

python benchmarks/fuzz.py 1000000       # cells and lines in all; some minutes
"""

import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import kmod
from kmod.pretraining.text import ENDINGS, documents
from kmod.sources import SUFFIXES

PLAIN = [ending for ending in ENDINGS if not ending.endswith((".gz", ".zst"))]
NAMES = st.sampled_from(["France", "P36", "Paris", "[MASK]", "[X] is [Y].", "NaN", "\ufeff", "", "|", "{}", "null"])
CELLS = st.lists(st.text(max_size=30) | NAMES, min_size=100, max_size=100)


def main(total: int) -> None:
    done, counts = 0, Counter()
    folder = Path(tempfile.mkdtemp())
    quiet = dict(deadline=None, database=None, suppress_health_check=list(HealthCheck))

    @seed(0)
    @settings(max_examples=max(1, total // 100), **quiet)
    @given(CELLS, st.sampled_from([*SUFFIXES, *PLAIN]))
    def read(cells: list[str], ending: str) -> None:
        nonlocal done
        path, comma = folder / f"any{ending}", "\t" if ending == ".tsv" else ","
        lines = [comma.join(cells[i : i + 5]) for i in range(0, len(cells), 5)]
        head = comma.join(("subject", "relation", "object", "evidences", "tests"))
        path.write_bytes("\n".join([head, *lines]).encode("utf-8", "surrogatepass"))
        try:
            _ = list(documents(path)) if ending in PLAIN else kmod.load_facts(str(path))
            counts["read"] += 1
        except (ValueError, OSError) as error:
            counts["refused"] += 1
            assert 0 < len(str(error)) <= 300 and "\n" not in str(error), str(error)
        done += len(cells)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read()
    print(f"{done:,} cells: {dict(counts)}; no crash")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
