"""WordPiece vocabularies: built from facts, trained on text, or read from a published list of pieces. All uncased."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from ..checks import brief
from ..facts import MASK, FactBase
from ..files import user_path

if TYPE_CHECKING:  # imported where it is used: `import kmod` stays quick
    from transformers import BertTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def statements_with_objects(facts: FactBase) -> Iterator[str]:
    """Every evidence with its object in place. The tests are left out: their words get no pieces of their own."""
    for fact in facts:
        for statement in facts.evidences(fact):
            yield statement.replace(MASK, fact.object)


def build_tokenizer(facts: FactBase, vocab_size: int = 16_384) -> BertTokenizer:
    """An uncased WordPiece tokeniser with at most `vocab_size` pieces: every character of the evidences and their
    objects, alone and as a continuation, then their words, the most frequent first.

    The same facts always give the same vocabulary; a trained WordPiece does not, as it breaks ties by hash order.
    """
    words = words_of(statements_with_objects(facts))
    characters = sorted({character for word in words for character in word})
    if vocab_size < (least := len(SPECIAL) + 2 * len(characters)):
        raise ValueError(f"vocab_size must be at least {least}, the characters of these facts; got {vocab_size}")
    frequent = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    pieces = [*SPECIAL, *characters, *(f"##{character}" for character in characters), *frequent][:vocab_size]
    return tokenizer_of(pieces)


def words_of(texts: Iterable[str]) -> Counter[str]:
    """How often each word (as BERT splits text: lower case, no accents, punctuation apart) occurs."""
    normalize, split = BertNormalizer(lowercase=True).normalize_str, BertPreTokenizer().pre_tokenize_str
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in split(normalize(text)))
    return words


def train_tokenizer(texts: Iterable[str], vocab_size: int, facts: FactBase | None = None) -> BertTokenizer:
    """A WordPiece tokeniser of `vocab_size` pieces trained on `texts`. With `facts`, every word of their evidences and
    objects that is not a piece becomes one on top, so that an object of one word stays one slot.

    Not reproducible to the piece, as ties are broken by hash order: keep the tokeniser with the model.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.trainers import WordPieceTrainer

    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    settings = dict(vocab_size=vocab_size, limit_alphabet=200, min_frequency=2, show_progress=False)
    tokenizer.train_from_iterator(texts, WordPieceTrainer(special_tokens=SPECIAL, **settings))
    ids = tokenizer.get_vocab()
    pieces = sorted(ids, key=ids.__getitem__)
    if facts is not None:
        pieces += sorted(words_of(statements_with_objects(facts)).keys() - ids.keys())
    return tokenizer_of(pieces)


def read_tokenizer(path: str | Path) -> BertTokenizer:
    """A WordPiece tokeniser from a list of pieces, one a line, such as BERT's vocab.txt, or from a folder that
    `save_pretrained` wrote. Raises ValueError if a special token is missing, FileNotFoundError if nothing is there."""
    from transformers import AutoTokenizer

    path = user_path(path)
    if path.is_dir():
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    if not path.is_file():
        raise FileNotFoundError(f"no vocabulary at {path}: give a vocab.txt (a piece a line) or a tokeniser's folder")
    pieces = path.read_text("utf-8").splitlines()
    if missing := [token for token in SPECIAL if token not in pieces]:
        raise ValueError(brief(f"{path} is no BERT vocabulary: it lacks {', '.join(missing)}"))
    return tokenizer_of(pieces)


def tokenizer_of(pieces: list[str]) -> BertTokenizer:
    from transformers import BertTokenizer

    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=512)
