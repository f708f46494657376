"""Read a million cells and lines of any text as facts and as a corpus: each is read, or refused in one line.

    python benchmarks/fuzz.py 1000000       # cells and lines in all; some minutes

A file has rows that are right, rows of any text, or both; it may be compressed, cut short or damaged in one byte. Every
tenth file also goes through the command line.
"""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import zstandard
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import kmod
from kmod.cli import main as command
from kmod.pretraining.text import ENDINGS, documents
from kmod.sources import SUFFIXES

COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
TRICKY = ["France", "P36", "Paris", "[MASK]", "[X] is [Y].", "NaN", "\ufeff", "", "|", "{}", "null", '"', "['a', 'b']"]
CELL = st.text(max_size=30) | st.sampled_from(TRICKY)
RIGHT = st.sampled_from(["Oslo", "Lima", "Perú", "日本"]).map(
    lambda name: [name, "lies in", "x", f"{name} is [MASK].", f"In [MASK] is {name}."]
)
ANY = st.lists(CELL, min_size=5, max_size=5)
ROWS = st.sampled_from([RIGHT, ANY, RIGHT | ANY]).flatmap(lambda row: st.lists(row, min_size=20, max_size=20))
STATES = ["whole", "whole", "whole", "cut", "damaged"]
HEAD = ["subject", "relation", "object", "evidences", "tests"]


def content(rows: list[list[str]], ending: str) -> bytes:
    """The rows as a table, as JSON lines or as lines of text."""
    if ending.startswith(".json"):
        lines = [json.dumps(dict(zip(HEAD, row, strict=True)) | {"text": row[0]}) for row in rows]
        text = f"[{','.join(lines)}]" if ending == ".json" else "\n".join(lines)
    else:
        text = "\n".join(("\t" if ending == ".tsv" else ",").join(row) for row in [HEAD, *rows])
    return text.encode("utf-8", "surrogatepass")


def main(total: int) -> None:
    done, counts = 0, Counter()
    folder = Path(tempfile.mkdtemp())
    quiet = dict(deadline=None, database=None, suppress_health_check=list(HealthCheck))
    endings = st.sampled_from(sorted({*SUFFIXES, *ENDINGS}))

    @seed(0)
    @settings(max_examples=max(1, total // 100), **quiet)
    @given(ROWS, endings, st.sampled_from(sorted(COMPRESS)), st.sampled_from(STATES), st.data())
    def read(rows: list[list[str]], ending: str, packed: str, state: str, data) -> None:
        nonlocal done
        raw = bytearray(COMPRESS[packed](content(rows, ending)))
        if state != "whole":
            at = data.draw(st.integers(0, len(raw) - 1))
            raw = raw[:at] if state == "cut" else raw[:at] + bytes([raw[at] ^ 0x55]) + raw[at + 1 :]
        path = folder / f"any{ending}{packed}"
        path.write_bytes(raw)
        for name, reader in {"facts": kmod.load_facts, "corpus": lambda path: list(documents(path))}.items():
            try:
                reader(str(path))
                counts[f"{name} read"] += 1
            except (ValueError, OSError) as error:
                counts[f"{name} refused"] += 1
                assert 0 < len(str(error)) <= 300 and "\n" not in str(error), str(error)
        done += 5 * len(rows)
        if done % 1000 == 0:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
                counts[f"command {command(['facts', 'list', '--facts', str(path)])}"] += 1
            assert "Traceback" not in said.getvalue() and len(said.getvalue().splitlines()) <= 1, said.getvalue()
        assert {file.name for file in folder.iterdir()} == {path.name}, "a file was left behind"
        path.unlink()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read()
    print(f"{done:,} cells: {dict(counts)}; no crash")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
