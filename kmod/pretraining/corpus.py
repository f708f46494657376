"""A tokeniser and one array of token ids from a source of text, made once and kept."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np

from ..facts import FactBase
from ..files import cache_dir
from ..models.vocabulary import read_tokenizer, train_tokenizer
from .text import documents, source_key, tokenise, with_facts, without


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
        leave_out: leave out the paragraphs that mention subjects of these facts (`kmod.pretraining.text.without`).
        put_in, times: insert these facts, each `times` times (`kmod.pretraining.text.with_facts`).
    """
    from accelerate import PartialState

    with PartialState().main_process_first():
        folder = Path(out) / "tokenizer"
        if vocab is None and folder.is_dir():
            vocab = folder
        if vocab is None:
            tokenizer = train_tokenizer(islice(documents(source), 20_000), vocab_size, words_of)
            tokenizer.save_pretrained(folder)
        else:
            tokenizer = read_tokenizer(vocab) if isinstance(vocab, str | Path) else vocab
        pieces = json.dumps(sorted(tokenizer.get_vocab().items()))
        bases = [f"{base.fingerprint()} {times if base is put_in else 0}" for base in (leave_out, put_in) if base]
        texts = documents(source)
        texts = without(texts, leave_out) if leave_out else texts
        texts = with_facts(texts, put_in, times) if put_in else texts
        path = cache_dir() / "text" / f"{source_key(source, pieces, *bases)}.npy"
        return tokenizer, tokenise(texts, tokenizer, path, "tokenising" if progress else None)
