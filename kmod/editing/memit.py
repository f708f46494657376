"""MEMIT: write new associations into the second MLP matrices of several blocks, in closed form, from the lowest up.

What the highest of the blocks lacks to give the new objects is found as in ROME: one vector a fact, added to the output
of its matrix W_L. With it, the states that leave the block have a target z. Each block l ≤ L then writes its part:

    r = (z − h) / (L − l + 1)        ΔW_l = R Kᵀ (λ C_l + K Kᵀ)⁻¹

h are these states as the model is by then, K the inputs of W_l where the facts are read, R the vectors r. C_l = E[k kᵀ]
over the tokens of unmodified evidences keeps the outputs of W_l for them. Each evidence gives a key, as in
`kmod.editing.rome`, which is the same for one block.

Source: Meng et al. 2023, "Mass-editing memory in a Transformer" (arXiv 2210.07229), equation 14 for the update and
algorithm 1 for the order. In post-norm models, such as BERT, h and z are taken before the norm at the end of the block,
where W_L writes.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from ..checks import check_positive, check_whole
from ..facts import Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel, evaluating
from ..parts import blocks
from ..training.loop import Forward
from .common import modified, record, unmodified
from .edit import Edit
from .rome import Places, check_position, covariance, find_places, keys, moved, residuals, second_matrix, update

Solve = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From keys K (n, in), residuals R (n, out) and the covariance C (in, in) of the kept keys, ΔW (out, in)."""


def memit(
    model: LanguageModel,
    change: Modification,
    *,
    block: int = 1,
    spread: int = 2,
    position: str = "subject",
    keep: float = 1000.0,
    steps: int = 25,
    lr: float = 0.02,
    evidences: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> Edit:
    """Change one matrix in each of several blocks so that they give the modified facts; `model` is not changed.

    Args:
        block: the highest block that is changed.
        spread: the number of blocks, down from there; fewer if there are fewer.
        keep: λ, the weight of the unmodified evidences; the paper's is 15,000.

    The others, and the errors raised, are those of `kmod.rome`.

    Cost: beside the descent, a forward pass over the unmodified evidences and the solution of a linear system of the
    matrix's `in` unknowns a block. Kept are C_l and K of one block at a time: in² and n × in numbers.
    """
    check_model(model, change, learns=True)
    check_positive(keep=(keep, numbers.Real))
    return write(
        "MEMIT", model, change, partial(update, keep=keep), block=block, spread=spread, position=position, steps=steps,
        lr=lr, evidences=evidences, seed=seed, progress=progress, made={"keep": keep},
    )  # fmt: skip


def write(
    method: str, model: LanguageModel, change: Modification, solve: Solve, *, block: int, spread: int, position: str,
    steps: int, lr: float, evidences: int, seed: int, progress: bool, made: dict,
) -> Edit:  # fmt: skip
    """The edit of MEMIT, with `solve` for the update of each matrix."""
    check_positive(lr=(lr, numbers.Real), steps=(steps, numbers.Integral), evidences=(evidences, numbers.Integral))
    check_whole("spread", spread)
    top_name, top = second_matrix(model, block, method)
    check_position(model, position, top)
    names = {index: second_matrix(model, index, method)[0] for index in range(max(0, top - spread + 1), top + 1)}
    examples, lowest = modified(model, change), min(names)
    places = find_places(model, change, examples, position)
    rest = Forward(model, unmodified(model, change, evidences, seed), {}, lowest, own_code=True)
    forward = Forward(model, examples, {}, lowest, own_code=True)  # own code, as hooks need it
    new: dict[str, Tensor] = {}
    with evaluating(model):
        K, column = keys(forward, model.net.get_submodule(top_name), places)
        R, loss = residuals(forward, model.net.get_submodule(top_name), places, K, column, steps, lr, progress)
        target = leaving(forward, top, top_name, places) + R[column]
        for index, name in names.items():
            layer = model.net.get_submodule(name)
            now = Forward(model, examples, new, own_code=True)
            now.kept = forward.kept  # the states that enter the lowest block are the same
            K, _ = keys(now, layer, places)
            left = (target - leaving(now, top, top_name, places)) / (top - index + 1)
            new[f"{name}.weight"] = moved(layer, solve(K, left, covariance(rest, layer)))
    about = record(
        method, change, blocks=list(names), position=position, steps=steps, lr=lr, evidences=evidences, seed=seed,
        loss=loss,
    )  # fmt: skip
    return Edit.between(model, new, about | made)


@torch.no_grad()
def leaving(forward: Forward, block: int, matrix: str, places: Places) -> Tensor:
    """The states (places, width) that the block's matrix writes to, with its output in them, where facts are read: the
    input of the next norm or, if the block ends before, the block's output."""
    net, layer = forward.model.net, forward.model.net.get_submodule(matrix)
    norms = [
        module for module in net.modules() if "norm" in type(module).__name__.lower() and not any(module.children())
    ]
    written, states, parts = [], [], []  # `written` is not empty from the matrix's output until its states are taken

    def take(value: Tensor | tuple[Tensor, ...]) -> None:
        if written:
            written.clear()
            states.append(value[0] if isinstance(value, tuple) else value)

    with ExitStack() as hooks:
        hooks.enter_context(layer.register_forward_hook(lambda *_: written.append(True)))
        hooks.enter_context(blocks(net)[block][1].register_forward_hook(lambda _, __, output: take(output)))
        for norm in norms:
            hooks.enter_context(norm.register_forward_pre_hook(lambda _, inputs: take(inputs)))
        for chosen in forward.examples.by_length(256):
            rows, tokens, _ = places.of(chosen)
            forward(chosen)
            parts.append(states[-1][rows, tokens])
    return torch.cat(parts)
