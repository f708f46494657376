"""FT-L, the fine-tuning baseline of the editing literature: one prompt, one matrix, one fact after the other.

For each fact, Adam minimises the loss of its prompt over the second matrix of one block's MLP (weight and bias), until
the loss is below 0.01 or the steps are used up. After each step the matrix is clamped to ±δ around what it was *before
this fact*, so that the whole edit may go further than δ. Zhu et al. 2020 (arXiv 2012.00363), whom its authors cite,
train on all facts together, on several evidences each, and clamp around the original weights: the settings here lead
from the one to the other.

Source: the code beside Meng et al. 2022 (ROME, arXiv 2202.05262; baselines/ft/ft_main.py), and EasyEdit's
(easyeditor/models/ft/ft_main.py), which differs in its objective (`slots`).
"""

from __future__ import annotations

from functools import partial
from itertools import repeat

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from ..checks import brief, check_whole
from ..constraints import Constraint, Linf
from ..facts import Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel, evaluating
from ..parts import select
from ..progress import silent
from ..training.history import History
from ..training.loop import Forward, Gradients, descend, random_batches
from .common import check_constraint, check_training, constraint_record, modified, record
from .edit import Edit
from .rome import second_matrix

SLOTS, ORDERS = ("first", "every"), ("one by one", "together")
ENOUGH = 1e-2
"""The loss at which a fact counts as learnt."""


def ft_l(
    model: LanguageModel,
    change: Modification,
    *,
    block: int = -1,
    constraint: Constraint | None = Linf(5e-4),  # noqa: B008 (a frozen value)
    slots: str = "first",
    evidences: int = 1,
    order: str = "one by one",
    steps: int = 25,
    batch_size: int = 64,
    lr: float = 5e-4,
    seed: int = 0,
    progress: bool = False,
) -> Edit:
    """Fine-tune one matrix as the literature's baseline does, and return the edit; `model` is not changed.

    Args:
        block: whose MLP; negative from the last.
        constraint: the ball, around the weights before each fact; None for none.
        slots: "first" asks the first mask for all word pieces of the object, as ROME's baseline asks the last token of
            the prompt; "every" asks each mask for its own piece, as EasyEdit's loop asks each token of the answer.
        evidences: how many of a fact's evidences are trained on, the first ones. A step takes all of a fact.
        order: "one by one": one fact after the other. "together": all facts in random batches of `batch_size`
            evidences, without an early end, as `kmod.finetune` does.
        steps: of Adam, for each fact, or ("together") in all.
        seed: the order of the batches ("together").

    Raises TypeError or ValueError for a wrong setting, and FloatingPointError if the training diverges.
    """
    check_model(model, change, learns=True)
    for name, value, known in (("slots", slots, SLOTS), ("order", order, ORDERS)):
        if value not in known:
            raise ValueError(brief(f"{name} must be one of {', '.join(known)}, got {value!r}"))
    check_training(steps, batch_size, lr)
    matrix, lowest = second_matrix(model, block, "FT-L")
    names = [name for name in select(model.net, lowest, "mlp") if name.startswith(f"{matrix}.")]
    origin = {name: model.net.get_parameter(name).detach() for name in names}
    check_constraint(constraint, origin)
    params = {name: theta.clone().requires_grad_() for name, theta in origin.items()}
    owner = modified(model, change).owner
    first = np.concatenate(
        [np.flatnonzero(owner == i)[: check_whole("evidences", evidences)] for i in np.unique(owner)]
    )
    examples = model.examples(change.base, "evidences", change.modified, only=first)
    forward, counts, histories = Forward(model, examples, params, lowest), [], []

    def gradients(step: int, chosen: np.ndarray) -> Gradients:
        logits, batch = forward(chosen)
        if slots == "first":
            logits = logits[torch.searchsorted(batch.rows, batch.rows)]  # in place of each slot the statement's first
        loss = cross_entropy(logits.float(), batch.targets)
        learnt = order == "one by one" and loss.item() < ENOUGH
        counts.append(0 if learnt else len(chosen))
        slopes = [None] * len(params) if learnt else torch.autograd.grad(loss, list(params.values()))
        return loss.item(), {"loss": loss.item()}, slopes

    def stop(history: History) -> str | None:
        return f"loss {ENOUGH:g}" if history.loss[-1] < ENOUGH else None

    if order == "together":
        portions, stop = [random_batches(examples, None, batch_size, np.random.default_rng(seed))], None
    else:
        portions = [repeat(np.flatnonzero(examples.owner == i)) for i in np.unique(examples.owner)]
    with evaluating(model):
        for batches in tqdm(portions, desc="facts", leave=False, disable=silent(progress)):
            start = {name: theta.detach().clone() for name, theta in params.items()}
            project = partial(constraint.project_, params, start) if constraint is not None else None
            histories.append(descend(params, gradients, batches, steps=steps, lr=lr, stop=stop, project=project))
    loss, seconds = [loss for each in histories for loss in each.loss], sum(each.seconds for each in histories)
    about = record(
        "FT-L", change, History({"loss": loss}, seconds=seconds, stopped=histories[-1].stopped), blocks=[lowest],
        slots=slots, evidences=evidences, order=order, most_steps=steps, batch_size=batch_size, lr=lr, seed=seed,
        gradients=sum(counts),
    )  # fmt: skip
    return Edit.between(model, params, about | constraint_record(constraint, params, origin))
