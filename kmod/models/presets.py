"""BERT shapes to start from random weights.

The shapes are those of Google's BERT miniatures (Turc et al. 2019, arXiv 1908.08962) and of BERT (Devlin et al. 2019);
nano is ours: small enough to memorise the atlas on two CPU cores within minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:  # imported where it is used: `import kmod` stays quick
    from transformers import AlbertForMaskedLM, BertForMaskedLM, GPT2LMHeadModel

PRESETS = {  # name: (blocks, width, attention heads)
    "nano": (4, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}
SHARED = "albert-"  # before a preset: one set of weights for all blocks, as in ALBERT (Lan et al. 2020)
DECODER = "gpt-"  # before a preset: a decoder built as GPT-2 is (Radford et al. 2019)


def is_preset(name: object, family: str | None = None) -> bool:
    """Whether `name` is a preset, alone or after "albert-" or "gpt-"; with a `family` such as "fae": a preset of that
    family. A path is none, whatever it is called."""
    prefix = f"{family}-" if family else ""
    if not isinstance(name, str) or not name.startswith(prefix):
        return False
    return _shape(name.removeprefix(prefix)) in PRESETS


def _shape(preset: str) -> str:
    return preset.removeprefix(DECODER if preset.startswith(DECODER) else SHARED)


def build_net(preset: str, vocab_size: int, seed: int) -> BertForMaskedLM | AlbertForMaskedLM | GPT2LMHeadModel:
    """A BERT of the preset's shape, an ALBERT ("albert-nano") or a GPT-2 ("gpt-nano"), with random weights drawn from
    `seed`; the global random state is left as it was."""
    from transformers import AlbertConfig, AlbertForMaskedLM, BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

    depth, width, heads = PRESETS[_shape(preset)]
    shape = dict(
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
        if preset.startswith(DECODER):
            own = dict(bos_token_id=None, eos_token_id=None, pad_token_id=0, max_position_embeddings=512)
            return GPT2LMHeadModel(GPT2Config(**shape, **own)).eval()
        if preset.startswith(SHARED):
            return AlbertForMaskedLM(AlbertConfig(embedding_size=width, pad_token_id=0, **shape)).eval()
        return BertForMaskedLM(BertConfig(**shape)).eval()
