"""BERT shapes to start from random weights, and a WordPiece vocabulary built from the facts.

The shapes are those of Google's BERT miniatures (Turc et al. 2019, arXiv 1908.08962) and of BERT (Devlin et al. 2019);
nano is ours: small enough to memorise the atlas on two CPU cores within minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from ..facts import MASK, FactBase

if TYPE_CHECKING:  # imported where it is used: `import kmod` stays quick
    from transformers import BertForMaskedLM, BertTokenizer

PRESETS = {  # name: (blocks, width, attention heads)
    "nano": (4, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def statements_with_objects(facts: FactBase) -> Iterator[str]:
    """Every evidence with its object in place. Words that occur in the tests alone get no piece of their own."""
    for fact in facts:
        for statement in facts.evidences(fact):
            yield statement.replace(MASK, fact.object)


def build_tokenizer(facts: FactBase, vocab_size: int = 16_384) -> BertTokenizer:
    """An uncased WordPiece tokeniser with at most `vocab_size` pieces: every character of the evidences and their
    objects, alone and as a continuation, then their words, the most frequent first.

    The same facts give the same vocabulary, which a trained WordPiece (ties broken by hash order) does not promise.
    """
    from transformers import BertTokenizer

    normalize, split = BertNormalizer(lowercase=True).normalize_str, BertPreTokenizer().pre_tokenize_str
    words: Counter[str] = Counter()
    for statement in statements_with_objects(facts):
        words.update(word for word, _ in split(normalize(statement)))
    characters = sorted({character for word in words for character in word})
    if vocab_size < (least := len(SPECIAL) + 2 * len(characters)):
        raise ValueError(f"vocab_size must be at least {least}, the characters of these facts; got {vocab_size}")
    frequent = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    pieces = [*SPECIAL, *characters, *(f"##{character}" for character in characters), *frequent][:vocab_size]
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=512)


def build_net(preset: str, vocab_size: int, seed: int) -> BertForMaskedLM:
    """A BERT of the preset's shape with random weights drawn from `seed`; the global random state is left as it was."""
    from transformers import BertConfig, BertForMaskedLM

    depth, width, heads = PRESETS[preset]
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        # BERT's 0.02 at its own width, scaled as 1/√width: a narrow model memorises more slowly from a fixed 0.02.
        initializer_range=0.02 * (768 / width) ** 0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return BertForMaskedLM(config).eval()
