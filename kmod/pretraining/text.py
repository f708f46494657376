"""Text to pretrain on: documents from local files or the Hugging Face hub, tokenised once into one long array.

`without` and `with_facts` decide which facts a model meets in pretraining.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator
from glob import glob
from itertools import groupby, islice
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..checks import brief
from ..facts import MASK, FactBase
from ..files import appearing, cache_dir, file_sha256, user_path
from ..mentions import spoken
from ..models.vocabulary import read_tokenizer, train_tokenizer
from ..progress import silent
from ..sources.lines import COMPRESSED, ending, fault, lines
from ..sources.read import json_lines, need, text_of

CHECKPOINT = "checkpoint.safetensors"
"""The file of an unfinished training, in its folder."""
ENDINGS = (".txt", ".jsonl")
KNOWN = f"{' and '.join(ENDINGS)}, plain or compressed ({', '.join(COMPRESSED)})"


def read_text(
    source: str | Path,
    out: str | Path,
    *,
    vocab=None,
    vocab_size: int = 8000,
    words_of: FactBase | None = None,
    leave_out: FactBase | None = None,
    put_in: FactBase | None = None,
    times: int = 1,
    progress: bool = True,
) -> tuple[object, np.ndarray]:
    """(tokeniser, token ids) of the text at `source`, made once and kept in the folders `out`/tokenizer and
    `cache_dir()`/text. Of several processes, one makes them first.

    Args:
        vocab: a tokeniser, or the path of one (a folder or a vocab.txt); None trains one of `vocab_size` pieces on the
            first 20,000 documents, and adds every word of the facts `words_of` as a piece.
        leave_out: leave out the paragraphs that mention subjects of these facts (`without`).
        put_in, times: insert these facts, each `times` times (`with_facts`).
    """
    from accelerate import PartialState

    with PartialState().main_process_first():
        if vocab is None:
            vocab = _trained_once(source, user_path(out), vocab_size, words_of)
        tokenizer = read_tokenizer(vocab) if isinstance(vocab, str | Path) else vocab
        pieces = json.dumps(sorted(tokenizer.get_vocab().items()))
        bases = [f"{base.fingerprint()} {times if base is put_in else 0}" for base in (leave_out, put_in) if base]
        bases += ["accentless"] if leave_out else []  # how mentions are found; before, fewer were
        texts = documents(source)
        texts = without(texts, leave_out) if leave_out else texts
        texts = with_facts(texts, put_in, times) if put_in else texts
        path = cache_dir() / "text" / f"{source_key(source, pieces, *bases)}.npy"
        return tokenizer, tokenise(texts, tokenizer, path, "tokenising" if progress else None)


def _trained_once(source: str | Path, out: Path, size: int, words_of: FactBase | None) -> Path:
    """The folder `out`/tokenizer, with a tokeniser that was trained on this text. Raises ValueError if an unfinished
    training there needs the one of another text."""
    folder = out / "tokenizer"
    made_from, wanted = folder / "made_from.json", {"text": source_key(source), "pieces": size}
    wanted["words_of"] = words_of.fingerprint() if words_of else None
    made = json.loads(made_from.read_text("utf-8")) if made_from.is_file() else {}
    if folder.is_dir() and made.get("text", wanted["text"]) == wanted["text"]:
        if made != wanted:
            about = f"vocabulary of {made['pieces']} pieces" if made else "vocabulary, whose text is not known"
            warnings.warn(f"{folder} keeps its {about}; choose another folder for a new one", stacklevel=3)
        return folder
    if (out / CHECKPOINT).exists():
        raise ValueError(f"{out} holds a training on another text: choose another folder, or delete its {CHECKPOINT}")
    tokenizer = train_tokenizer(islice(documents(source), 20_000), size, words_of)
    with appearing(folder) as draft:
        tokenizer.save_pretrained(draft)
        (draft / made_from.name).write_text(json.dumps(wanted), "utf-8")
    return folder


def text_files(source: str | Path) -> list[Path]:
    """The files of `source`: a file, a pattern such as "wiki-*.jsonl.zst", or all files of a known ending in a folder
    but hidden ones. Raises FileNotFoundError if there is none, ValueError for an unknown ending."""
    place = user_path(source)
    paths = [place] if place.is_file() else sorted(map(Path, glob(str(place))))
    if place.is_dir():
        paths = sorted(p for p in place.iterdir() if ending(p) in ENDINGS and p.name[0] != "." and p.is_file())
    if not paths:
        raise FileNotFoundError(brief(f"no text at {source}: give a file, a pattern or a folder of {KNOWN}"))
    for path in paths:
        if path.is_file() and ending(path) not in ENDINGS:
            raise fault(path, f"not a text that can be read; known are {KNOWN}")
    return paths


def documents(source: str | Path) -> Iterator[str]:
    """The documents of local files, or of a hub dataset with a "text" column ("hub:ID" or "hub:ID:CONFIGURATION").

    In .txt files an empty line ends a document; in .jsonl files a line is an object with its text under "text".

    Raises ValueError that names file and line for what cannot be decoded, is not JSON, lacks "text" or has something
    else there, for a compressed file that is cut short, and for a source without any text.
    """
    if str(source).startswith("hub:"):
        from datasets import load_dataset

        _, id, *config = str(source).split(":")
        for number, row in enumerate(load_dataset(id, *config, split="train", streaming=True)):
            need(row, ["text"], where := f"{source}, row {number}")
            yield text_of(row, "text", where)
        return
    empty = True
    for path in text_files(source):
        for text in _of_file(path):
            empty = empty and not text.strip()
            yield text
    if empty:
        raise fault(source, "there is no text in it")


def _of_file(path: Path) -> Iterator[str]:
    if ending(path) == ".jsonl":
        yield from (text_of(row, "text", where) for where, row in json_lines(path, "text"))
        return
    stripped = (line.removeprefix("\ufeff").strip() for _, line in lines(path))
    for filled, group in groupby(stripped, bool):
        if filled:
            yield "\n".join(group)


def without(texts: Iterable[str], facts: FactBase) -> Iterator[str]:
    """`texts` without the paragraphs (lines) that mention a subject of `facts`, as `mentions` finds names, but without
    regard to punctuation ("St Louis" mentions "St. Louis")."""
    names: dict[str, set[tuple[str, ...]]] = {}  # first word → the names that begin with it, as tuples of words
    for fact in facts:
        if name := tuple(spoken(fact.subject)):
            names.setdefault(name[0], set()).add(name)

    def mentions(paragraph: str) -> bool:
        found = spoken(paragraph)
        return any(tuple(found[i : i + len(n)]) == n for i, word in enumerate(found) for n in names.get(word, ()))

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
        for start in range(0, len(order), 8):
            statements = []
            for i in order[start : start + 8].tolist():
                evidences = facts.evidences(facts[i])
                statements.append(evidences[(turns[i] + seen[i]) % len(evidences)].replace(MASK, facts[i].object))
                seen[i] += 1
            yield " ".join(statements)

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
    if not Path(path).is_file():
        dtype = np.uint16 if len(tokenizer) <= 1 << 16 else np.int32
        parts, texts = [], iter(texts)
        with tqdm(desc=progress, unit=" documents", leave=False, disable=silent(progress)) as bar:
            while group := list(islice(texts, 1000)):
                encoded = tokenizer(group, add_special_tokens=False, verbose=False)["input_ids"]
                parts += [np.array([*ids, tokenizer.sep_token_id], dtype=dtype) for ids in encoded if ids]
                bar.update(len(group))
        if not parts:
            raise ValueError("no text to tokenise: the source holds no document")
        tokens = np.concatenate(parts)
        try:
            with appearing(path) as draft:
                np.save(draft, tokens)
        except OSError as error:  # a full or read-only disk
            warnings.warn(f"the text is tokenised, but not kept on disk: {error}", stacklevel=3)
            return tokens
    return np.load(path, mmap_mode="r")


def source_key(source: str | Path, *more: str) -> str:
    """A key for the content of `source`: of the bytes of its files, in order; of a hub dataset its name alone."""
    files = [str(source)]
    if not files[0].startswith("hub:"):
        files = [f"{''.join(path.suffixes[-2:])} {file_sha256(path)}" for path in text_files(source)]
    return hashlib.sha256("\n".join([*files, *more]).encode()).hexdigest()[:32]
