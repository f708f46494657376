"""Models: any masked or causal LM behind one small interface; presets to start from random weights."""

from .causal_lm import CausalLM, left_to_right
from .language_model import LanguageModel, evaluating
from .loading import FAMILIES, PACKAGED, load_model, packaged_record
from .masked_lm import MaskedLM
from .presets import PRESETS
from .vocabulary import build_tokenizer

__all__ = [
    "FAMILIES",
    "PACKAGED",
    "PRESETS",
    "CausalLM",
    "LanguageModel",
    "MaskedLM",
    "build_tokenizer",
    "evaluating",
    "left_to_right",
    "load_model",
    "packaged_record",
]
