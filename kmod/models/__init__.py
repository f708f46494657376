"""Models: any masked LM behind one small interface; presets to start from random weights."""

from .loading import FAMILIES, PACKAGED, load_model, packaged_record
from .masked_lm import MaskedLM, evaluating
from .presets import PRESETS
from .vocabulary import build_tokenizer

__all__ = [
    "FAMILIES",
    "PACKAGED",
    "PRESETS",
    "MaskedLM",
    "build_tokenizer",
    "evaluating",
    "load_model",
    "packaged_record",
]
