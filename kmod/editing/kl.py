"""KL to the original: fine-tune on M while the predictions on unmodified evidences stay those of the original model.

    minimise   mean over D_M of L(x; θ)  +  λ · mean over slots of D_{F∖S} of KL(p(·; θ₀) ‖ p(·; θ))

Sources: Li & Hoiem 2016, "Learning without forgetting" (arXiv 1606.09282), for keeping to the old outputs; as a penalty
on editing knowledge, De Cao et al. 2021 (arXiv 2104.08164) and Mitchell et al. 2022 (arXiv 2110.11309).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from ..checks import check_weight
from ..facts import Modification
from ..models.language_model import LanguageModel
from .common import Tuning
from .edit import Edit
from .finetune import finetune


def kl(model: LanguageModel, change: Modification, *, weight: float = 1.0, **settings) -> Edit:
    """Fine-tune on the modified facts with a penalty on the change of the other answers; `model` is not changed.

    Each step draws a batch of unmodified evidences as large as that of M.

    Args:
        weight: λ; 0 is plain fine-tuning.
        settings: those of `finetune`.

    Raises ValueError for a weight below 0, and as `finetune` does.
    """
    check_weight("weight", weight)

    def penalty(tuning: Tuning):
        now, original, batches = tuning.unmodified()

        def divergence(step: int) -> Tensor:
            chosen = next(batches)
            with torch.no_grad():
                target = original(chosen)[0].float().log_softmax(-1)
            ours = now(chosen)[0].float().log_softmax(-1)
            return weight * kl_div(ours, target, reduction="batchmean", log_target=True)

        return divergence

    return finetune(model, change, penalty=penalty, made={"method": "KL", "weight": weight}, **settings)
