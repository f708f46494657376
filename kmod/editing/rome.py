"""ROME/MEMIT: write new associations into the second matrix W of one block's MLP, in closed form.

    ΔW = R Kᵀ (λ C + K Kᵀ)⁻¹        minimises  Σ ‖ΔW kᵢ − rᵢ‖²  +  λ · E ‖ΔW k‖²

K holds the inputs of W where the facts are read, one per evidence. R holds what W's output there lacks to give the new
object: one vector per fact, found by gradient descent with all weights fixed. C = E[k kᵀ] over the tokens of unmodified
evidences keeps W's outputs for them.

Sources: Meng et al. 2022, "Locating and editing factual associations in GPT" (ROME, arXiv 2202.05262), section 3.1;
Meng et al. 2023, "Mass-editing memory in a Transformer" (MEMIT, arXiv 2210.07229), equation 14, for the batch. Their
models are causal, with one key per fact, averaged over contexts; here the evidences give the contexts.

Facts are read at the last token of the subject, where it is mentioned last, as there. On the memorised atlas this is
far better than reading at the [MASK] in every block but the last: of its output, only the [MASK] reaches the answer.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..checks import brief, check_positive
from ..facts import Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel, evaluating
from ..models.statements import Batch, Examples, last_tokens, statements_of
from ..names import shown
from ..parts import block_indices, blocks, is_linear, select, turned, unshared
from ..training.loop import Forward, Gradients, descend
from .common import modified, record, unmodified
from .edit import Edit

POSITIONS = ("subject", "mask")


def rome(
    model: LanguageModel,
    change: Modification,
    *,
    block: int = 0,
    position: str = "subject",
    keep: float = 1000.0,
    steps: int = 25,
    lr: float = 0.02,
    evidences: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> Edit:
    """Change one matrix so that it gives the modified facts, and return the edit; `model` is not changed.

    Args:
        block: the one block whose MLP is changed.
        position: where the facts are read: at the last token of the "subject", one vector per fact; or at the "mask",
            one vector per word piece of the new object.
        keep: λ, the weight of the unmodified evidences; MEMIT's is 15,000.
        steps, lr: of the descent to the vectors R. They are in units of the norm of W's own output, and at most 4.
        evidences: the number of unmodified evidences for C, drawn from `seed`.

    Raises ValueError, before any work, for wrong settings, a family whose blocks have no MLP of two matrices or share
    them over depths, and an evidence that does not contain its subject.
    """
    check_model(model, change, learns=True)
    check_positive(keep=(keep, numbers.Real), lr=(lr, numbers.Real))
    check_positive(steps=(steps, numbers.Integral), evidences=(evidences, numbers.Integral))
    name, lowest = second_matrix(model, block)
    check_position(model, position, lowest)
    layer = model.net.get_submodule(name)
    examples = modified(model, change)
    places = find_places(model, change, examples, position)
    rest = Forward(model, unmodified(model, change, evidences, seed), {}, lowest, own_code=True)
    forward = Forward(model, examples, {}, lowest, own_code=True)  # own code, as hooks need it
    with evaluating(model):
        C = covariance(rest, layer)
        K, column = keys(forward, layer, places)
        R, loss = residuals(forward, layer, places, K, column, steps, lr, progress)
    new = moved(layer, update(K, R[column], C, keep))
    made = record(
        "ROME", change, blocks=[lowest], position=position, keep=keep, steps=steps, lr=lr, evidences=evidences,
        seed=seed, loss=loss,
    )  # fmt: skip
    return Edit.between(model, {f"{name}.weight": new}, made)


def check_position(model: LanguageModel, position: str, block: int) -> None:
    """Raise ValueError for an unknown position, and for one that the answers do not hang on from this block."""
    if position not in POSITIONS:
        raise ValueError(brief(f"position must be one of {', '.join(POSITIONS)}, got {position!r}"))
    if position == "subject" and block == len(blocks(model.net)) - 1:
        raise ValueError('only the [MASK] passes from the last block to the answer: position="mask", or another block')


def second_matrix(model: LanguageModel, block: int, method: str = "ROME") -> tuple[str, int]:
    """The name of the second linear layer of the block's MLP, and the block counted from 0."""
    net = model.net
    if isinstance(block, bool) or not isinstance(block, numbers.Integral):
        raise TypeError(brief(f"{method} needs one block: block must be its number, got {block!r}"))
    (index,) = block_indices(net, int(block))
    name = type(net).__name__
    if not unshared(net):
        raise ValueError(f"{name} shares its blocks over depths, or has two stacks of them; {method} needs one stack")
    if model.apart:
        raise ValueError(f"{name} sees padding; {method} needs batches of statements of several lengths")
    modules = dict(net.named_modules())
    names = [name.removesuffix(".weight") for name in select(net, index, "mlp") if name.endswith(".weight")]
    if len(names) not in (2, 3) or not all(is_linear(modules[name]) for name in names):
        raise ValueError(f"{name}: its blocks have no MLP of two linear layers, which {method} needs")
    return names[-1], index  # of a gated MLP's three the last, too: its output is the block's


def sizes(layer: nn.Module) -> tuple[int, int]:
    """How many inputs and outputs a linear layer has."""
    return tuple(layer.weight.shape if turned(layer) else layer.weight.shape[::-1])


def moved(layer: nn.Module, change: Tensor) -> Tensor:
    """The weight of a linear layer with the change ΔW (out, in)."""
    weight = layer.weight.detach()
    return (weight.double().cpu() + (change.T if turned(layer) else change)).to(weight)


@dataclass(frozen=True)
class Places:
    """For each statement, the tokens at which W's output is to change, and the column of R that belongs to each."""

    tokens: list[list[int]]
    columns: list[list[int]]

    def of(self, chosen: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """The rows, tokens and columns of a batch, as index tensors of the same length."""
        rows = [row for row, i in enumerate(chosen) for _ in self.tokens[i]]
        flat = ([value for i in chosen for value in part[i]] for part in (self.tokens, self.columns))
        return torch.tensor(rows), *(torch.tensor(part) for part in flat)


def find_places(model: LanguageModel, change: Modification, examples: Examples, position: str) -> Places:
    """Raises ValueError, naming the statement, for a subject that is not found in it."""
    tokens, columns, number = [], [], {}
    statements, objects, owners = statements_of(change.base, change.modified, "evidences")
    subjects = [change.originals[owner].subject for owner in owners]
    last = []
    if position == "subject":
        last = last_tokens(model.tokenizer, statements, model.texts(statements, objects), subjects)
    for i, owner in enumerate(examples.owner.tolist()):
        if position == "mask":
            places = examples.columns[examples.target_starts[i] : examples.target_starts[i + 1]].tolist()
        else:
            if last[i] is None:
                fault = f"the subject {shown(subjects[i])} is not found in {shown(statements[i], 120)}"
                raise ValueError(f'{fault}: use position="mask"')
            places = [last[i]]
        tokens.append(places)
        columns.append([number.setdefault((owner, rank), len(number)) for rank in range(len(places))])
    return Places(tokens, columns)


def entering(forward: Forward, layer: nn.Module, chosen: np.ndarray) -> tuple[Tensor, Batch]:
    """The inputs (B, T, in) of `layer` for the statements `chosen`, and their batch."""
    states: list[Tensor] = []
    with layer.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0])), torch.no_grad():
        _, batch = forward(chosen)
    return states[0][:, : batch.input_ids.shape[1]], batch  # Longformer pads its batches further


def covariance(forward: Forward, layer: nn.Module) -> Tensor:
    """C = E[k kᵀ] (in, in) over all tokens of the statements, in double precision."""
    width, _ = sizes(layer)
    total, n = torch.zeros(width, width, dtype=torch.float64), 0
    for chosen in forward.examples.by_length(256):
        inputs, batch = entering(forward, layer, chosen)
        k = inputs[batch.attention_mask.bool()].double().cpu()
        total += k.T @ k
        n += len(k)
    return total / n


def keys(forward: Forward, layer: nn.Module, places: Places) -> tuple[Tensor, Tensor]:
    """K (places, in), and the column of R that belongs to each of its rows."""
    inputs, columns = [], []
    for chosen in forward.examples.by_length(256):
        rows, tokens, column = places.of(chosen)
        inputs.append(entering(forward, layer, chosen)[0][rows, tokens])
        columns.append(column)
    return torch.cat(inputs), torch.cat(columns)


def residuals(
    forward: Forward, layer: nn.Module, places: Places, K: Tensor, column: Tensor, steps: int, lr: float, progress: bool
) -> tuple[Tensor, float]:
    """R (columns, out), which added to the layer's output gives the new objects, and the loss that it reaches. Each
    vector is at most four times as long as the mean output that it is added to, as in ROME."""
    with torch.no_grad():
        n = int(column.max()) + 1
        norms = layer(K).norm(dim=1)
        count = torch.bincount(column, minlength=n).to(norms)
        scale = (torch.zeros(n).to(norms).index_add_(0, column.to(norms.device), norms) / count)[:, None]
    x = torch.zeros(n, sizes(layer)[1], device=K.device, requires_grad=True)  # R in units of `scale`
    total = len(forward.examples.targets)

    def gradients(step: int, _: None) -> Gradients:
        loss, gradient = 0.0, 0.0
        for chosen in forward.examples.by_length(64):
            rows, tokens, wanted = places.of(chosen)

            def add(_, __, output, rows=rows, tokens=tokens, wanted=wanted):
                return output.index_put((rows, tokens), (x * scale)[wanted].to(output), accumulate=True)

            with layer.register_forward_hook(add):
                logits, batch = forward(chosen)
            part = cross_entropy(logits.float(), batch.targets, reduction="sum") / total
            gradient = gradient + torch.autograd.grad(part, x)[0]
            loss += part.item()
        return loss, {"loss": loss}, [gradient]

    @torch.no_grad()
    def shorten() -> None:
        x.mul_((4 / x.norm(dim=1, keepdim=True).clamp_min(1e-9)).clamp_max(1))

    history = descend(
        {"x": x}, gradients, repeat(None), steps=steps, lr=lr, optimizers=[torch.optim.Adam([x], lr=lr)],
        project=shorten, progress="values" if progress else None,
    )  # fmt: skip
    return (x * scale).detach(), history.loss[-1]


def update(K: Tensor, R: Tensor, C: Tensor, keep: float) -> Tensor:
    """ΔW (out, in) of the least squares above, for keys K (n, in) and residuals R (n, out); in double precision."""
    K, R = K.double().cpu(), R.double().cpu()
    # A small multiple of the identity: without it, inputs that no evidence uses would make the system singular.
    ridge = 1e-6 * C.trace() / len(C) * torch.eye(len(C), dtype=C.dtype)
    return torch.linalg.solve(keep * (C + ridge) + K.T @ K, K.T @ R).T
