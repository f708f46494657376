"""Text to pretrain on: documents from local files or the Hugging Face hub, tokenised once into one long array.

Two functions decide which facts a model meets in pretraining: `without` leaves out the paragraphs that mention the
facts' subjects, and `with_facts` inserts every fact a given number of times.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from glob import glob
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..facts import MASK, FactBase
from ..progress import silent

ENDINGS = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz", ".txt.zst", ".jsonl.zst")


def text_files(source: str | Path) -> list[Path]:
    """The files of `source`: a file, a pattern such as "wiki-*.jsonl.zst", or all files of a known ending in a folder.
    Raises FileNotFoundError if there is none, ValueError for an unknown ending."""
    path = Path(source)
    if path.is_dir():
        paths = sorted(p for p in path.iterdir() if p.name.endswith(ENDINGS))
    else:
        paths = [path] if path.is_file() else sorted(map(Path, glob(str(source))))
    if not paths:
        raise FileNotFoundError(f"no text at {source}: give a file, a pattern or a folder of {', '.join(ENDINGS)}")
    for path in paths:
        if not path.name.endswith(ENDINGS):
            raise ValueError(f"{path.name} is not a text that can be read; known endings: {', '.join(ENDINGS)}")
    return paths


def documents(source: str | Path) -> Iterator[str]:
    """The documents of local files, or of a hub dataset with a "text" column ("hub:ID" or "hub:ID:CONFIGURATION").

    In .txt files an empty line ends a document; in .jsonl files a line is an object with its text under "text".

    Raises ValueError that names file and line for what is not UTF-8, not JSON or lacks "text".
    """
    if str(source).startswith("hub:"):
        from datasets import load_dataset

        _, id, *config = str(source).split(":")
        for row in load_dataset(id, *config, split="train", streaming=True):
            yield row["text"]
        return
    for path in text_files(source):
        with _open(path) as file:
            yield from _lines_as_documents(file, path)


def _open(path: Path) -> io.BufferedIOBase:
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".zst":
        import zstandard

        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(path.open("rb")))
    return path.open("rb")


def _lines_as_documents(file: Iterable[bytes], path: Path) -> Iterator[str]:
    json_lines = ".jsonl" in path.name
    paragraph: list[str] = []
    for number, raw in enumerate(file, 1):
        try:
            line = raw.decode("utf-8").strip()
            if json_lines and line:
                yield json.loads(line)["text"]
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start})") from None
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f'{path}, line {number}: no JSON object with "text" ({error})') from None
        if json_lines:
            continue
        if line:
            paragraph.append(line)
        elif paragraph:
            yield "\n".join(paragraph)
            paragraph = []
    if paragraph:
        yield "\n".join(paragraph)


def without(texts: Iterable[str], facts: FactBase) -> Iterator[str]:
    """`texts` without the paragraphs (lines) that mention a subject of `facts`: whole words, in any case."""
    words = re.compile(r"\w+")
    names: dict[str, set[tuple[str, ...]]] = {}  # first word → the names that begin with it, as tuples of words
    for fact in facts:
        if name := tuple(words.findall(fact.subject.casefold())):
            names.setdefault(name[0], set()).add(name)

    def mentions(paragraph: str) -> bool:
        text = words.findall(paragraph.casefold())
        return any(
            tuple(text[i : i + len(name)]) == name for i, word in enumerate(text) for name in names.get(word, ())
        )

    for text in texts:
        if kept := [paragraph for paragraph in text.split("\n") if not mentions(paragraph)]:
            yield "\n".join(kept)


def with_facts(texts: Iterable[str], facts: FactBase, times: int, seed: int = 0, every: int = 20) -> Iterator[str]:
    """`texts`, and among them every fact of `facts` `times` times.

    A document of 8 statements (evidences with their objects in place) follows every `every`-th text; the remaining
    documents follow at the end. The phrasings of a fact take turns; order and turns depend on `seed` alone.
    """
    rng = np.random.default_rng(seed)
    turns = rng.integers(0, 1 << 30, len(facts))
    order = rng.permutation(np.repeat(np.arange(len(facts)), times))
    seen = np.zeros(len(facts), dtype=np.int64)

    def inserts() -> Iterator[str]:
        for group in _batched(order.tolist(), 8):
            lines = []
            for i in group:
                evidences = facts.evidences(facts[i])
                lines.append(evidences[(turns[i] + seen[i]) % len(evidences)].replace(MASK, facts[i].object))
                seen[i] += 1
            yield " ".join(lines)

    waiting = inserts()
    for number, text in enumerate(texts, 1):
        yield text
        if number % every == 0 and (insert := next(waiting, None)):
            yield insert
    yield from waiting


def tokenise(texts: Iterable[str], tokenizer, path: str | Path, progress: str | None = None) -> np.ndarray:
    """All documents as one array of token ids, with [SEP] after each: (tokens,) uint16, or int32 for vocabularies of
    more than 65,536 pieces. It is kept at `path` (.npy), and read from there, as a memory map, if it exists.

    Raises ValueError if there is no text.
    """
    path = Path(path)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        dtype = np.uint16 if len(tokenizer) <= 1 << 16 else np.int32
        parts = []
        bar = tqdm(desc=progress, unit=" documents", leave=False, disable=silent(progress))
        with bar:
            for group in _batched(texts, 1000):
                encoded = tokenizer(list(group), add_special_tokens=False, verbose=False)["input_ids"]
                parts += [np.array([*ids, tokenizer.sep_token_id], dtype=dtype) for ids in encoded if ids]
                bar.update(len(group))
        if not parts:
            raise ValueError("no text to tokenise: the source holds no document")
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".kmod-") as folder:
            np.save(Path(folder) / "tokens.npy", np.concatenate(parts))
            os.replace(Path(folder) / "tokens.npy", path)
    return np.load(path, mmap_mode="r")


def source_key(source: str | Path, *more: str) -> str:
    """A key for the content of `source`; it changes with the name, size or time of any of its files."""
    if str(source).startswith("hub:"):
        files = [str(source)]
    else:
        files = [f"{p.resolve()} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in text_files(source)]
    return hashlib.sha256("\n".join([*files, *more]).encode()).hexdigest()[:32]


def _batched(items: Iterable, size: int) -> Iterator[list]:
    items = iter(items)
    while group := list(islice(items, size)):
        yield group
