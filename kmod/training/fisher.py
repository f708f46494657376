"""The diagonal of the Fisher information: how much the unmodified facts depend on each parameter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from ..checks import check_whole
from ..facts import Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel, evaluating
from ..models.statements import Examples
from ..parts import Block, select
from ..progress import silent
from .effort import count


def fisher_diagonal(
    model: LanguageModel,
    change: Modification,
    *,
    block: Block = "all",
    component: str | Sequence[str] | None = None,
    evidences: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Tensor]:
    """The mean of squared per-example gradients over `evidences` evidences of F∖S, for each parameter that `block`
    and `component` choose (see `kmod.plan`).

    An example is one evidence; its loss is the mean over its masked slots, with the known object as the target (the
    empirical Fisher). The square of the gradient of a *batch mean*, a common short cut, would shrink with the batch
    size. Evidences are drawn without replacement from `seed`; all are used if there are fewer. A parameter that no
    answer depends on has 0.

    Raises ValueError unless `evidences` is a whole number from 1.
    """
    check_model(model, change, learns=True)
    check_whole("evidences", evidences)
    examples = drawn_evidences(model, change, evidences, seed)
    weights = {f"net.{name}": p.detach() for name, p in model.net.named_parameters()}
    # detach() gives other tensors on the same memory, so that the model's own need no gradients.
    params = {name: weights[f"net.{name}"].requires_grad_() for name in select(model.net, block, component)}
    total = {name: torch.zeros_like(theta, requires_grad=False) for name, theta in params.items()}
    with evaluating(model):
        for i in tqdm(range(len(examples)), desc="Fisher information", leave=False, disable=silent(progress)):
            count(1)
            batch = examples.collate(np.array([i]), model.device)
            logits = functional_call(model, weights, (batch.input_ids, batch.attention_mask, batch.slots))
            loss = cross_entropy(logits.float(), batch.targets)
            if not loss.requires_grad:  # no answer depends on these parameters
                break
            gradients = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
            for name, gradient in zip(params, gradients, strict=True):
                if gradient is not None:
                    total[name] += gradient.square()
    return {name: value / len(examples) for name, value in total.items()}


def drawn_evidences(model: LanguageModel, change: Modification, most: int, seed: int) -> Examples:
    """`most` evidences of F∖S, drawn without replacement from `seed`; all, if there are fewer."""
    facts = change.unmodified
    count = sum(len(change.base.evidences(fact)) for fact in facts)
    chosen = np.random.default_rng(seed).permutation(count)[:most]  # chosen before tokenising: F can be large
    return model.examples(change.base, "evidences", facts, only=chosen)
