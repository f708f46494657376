"""LoRA: train a product of two thin matrices for each matrix of the blocks, then add it to the matrix.

    W  ←  W₀ + (α / r) · B A        A: (r, in), B: (out, r)

Source: Hu et al. 2021, "LoRA: low-rank adaptation of large language models" (arXiv 2106.09685), through peft, which
makes and merges the adapters (`pip install kmod[baselines]`); they are trained by kmod's own loop.
"""

from __future__ import annotations

import copy
import numbers

import torch

from ..checks import check_positive
from ..facts import Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel
from ..parts import Block, linear_layers, plan, turned
from ..training.history import Stop
from ..training.loop import fit
from .common import check_training, modified, record
from .edit import Edit


def lora(
    model: LanguageModel,
    change: Modification,
    *,
    rank: int = 8,
    alpha: float | None = None,
    block: Block = "all",
    component: str | list[str] | None = None,
    steps: int = 60,
    batch_size: int = 64,
    lr: float = 5e-3,
    stop: Stop | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Edit:
    """Train LoRA adapters on the modified facts and return what they add to the weights; `model` is not changed.

    Args:
        rank: r, of each product.
        alpha: α; the product is scaled by α / r. None takes r.
        block, component: which parameters (see `kmod.plan`); every matrix of a linear layer among them gets an adapter.
        seed: of the adapters' first values and of the batches.

    The others are those of `finetune`.

    Raises ValueError for wrong settings, or if no linear layer is chosen, before any training, and ImportError, saying
    what to install, without peft.
    """
    check_model(model, change, learns=True)
    alpha = rank if alpha is None else alpha
    check_positive(rank=(rank, numbers.Integral), alpha=(alpha, numbers.Real))
    check_training(steps, batch_size, lr, stop)
    part = plan(model.net, block, component)
    linear = linear_layers(model.net, part.names)
    targets = [name.removesuffix(".weight") for name in linear if name.endswith(".weight")]
    if not targets:
        raise ValueError("none of the chosen parameters is the matrix of a linear layer, which LoRA needs")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError("LoRA needs peft: pip install 'kmod[baselines]'") from error
    examples = modified(model, change)
    adapted = copy.deepcopy(model)
    turns = any(map(turned, linear.values()))
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets, fan_in_fan_out=turns)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, adapted.net)
    params = {n: p.detach().requires_grad_() for n, p in adapted.net.named_parameters() if ".lora_" in n}
    history = fit(
        adapted, examples, params, lowest=part.lowest, steps=steps, batch_size=batch_size, lr=lr, stop=stop, seed=seed,
        progress=f"editing {len(change)} facts" if progress else None,
    )  # fmt: skip
    new = {}
    for name in targets:
        layer = adapted.net.get_submodule(name)
        layer.merge()
        new[f"{name}.weight"] = layer.base_layer.weight.detach()
    made = record(
        "LoRA", change, history, rank=rank, alpha=alpha, blocks=part.blocks, component=component,
        batch_size=batch_size, lr=lr, seed=seed,
    )  # fmt: skip
    return Edit.between(model, new, made)
