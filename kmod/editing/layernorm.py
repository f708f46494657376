"""LayerNorm tuning: train the LayerNorms of the blocks and nothing else.

Sources: Qi et al. 2022, "Parameter-efficient tuning on layer normalization for pre-trained language models" (arXiv
2211.08682); Zhao et al. 2023, "Tuning LayerNorm in attention" (arXiv 2312.11420), which peft's LNTuning follows.
It is fine-tuning of one component, so that constraints, stopping and kept activations hold for it as they are; a test
shows that peft's LNTuning gives the same weights.
"""

from __future__ import annotations

from ..facts import Modification
from ..models.language_model import LanguageModel
from .edit import Edit
from .finetune import finetune


def layernorm_tuning(model: LanguageModel, change: Modification, *, lr: float = 1e-2, **settings) -> Edit:
    """Fine-tune the LayerNorms of the chosen blocks on the modified facts; `model` is not changed.

    `settings` are those of `finetune`, without `component`. So few parameters need a larger learning rate. Raises as
    `finetune` does.
    """
    return finetune(model, change, component="layernorm", lr=lr, made={"method": "LayerNorm tuning"}, **settings)
