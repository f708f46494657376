"""K-FAC: the Fisher information of a linear layer's matrix as a Kronecker product of two small matrices.

    F ≈ A ⊗ G      A = E[a aᵀ] over tokens      G = Σ over tokens of g gᵀ, a slot

a is the input of the layer at a token, g the gradient there of the loss, the sum over the slots, with respect to the
layer's output. A change Δ (out, in) of the matrix has the curvature Σ (G Δ A) ∘ Δ: to second order, and as far as a and
g are independent, twice the mean KL divergence of a slot.

Sources: Martens & Grosse 2015, "Optimizing neural networks with Kronecker-factored approximate curvature" (arXiv
1503.05671); for layers that see many tokens, the form "expand" of Eschenhagen et al. 2023 (arXiv 2311.00636). The
library `curvlinops-for-pytorch` computes the same, but counts padding as tokens and needs as many slots in every
statement. So the factors are gathered here by hooks; a test compares the two where the library is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from tqdm.auto import tqdm

from ..checks import check_whole
from ..facts import Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel, evaluating
from ..parts import Block, linear_layers, plan, turned
from ..progress import silent
from .fisher import drawn_evidences, fisher_diagonal
from .loop import Forward

Factors = dict[str, tuple[Tensor, Tensor] | Tensor]
"""Full name of a parameter → (A, G), or the diagonal where there are no factors."""


def kfac_factors(
    model: LanguageModel,
    change: Modification,
    *,
    block: Block = "all",
    component: str | Sequence[str] | None = None,
    evidences: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> Factors:
    """The curvature of the unmodified facts for each parameter that `block` and `component` choose (see `kmod.plan`),
    from `evidences` evidences of F∖S, drawn from `seed` as by `fisher_diagonal`.

    A matrix of a linear layer has the factors A (in, in) and G (out, out); its bias has A = 1 and the same G. Any other
    parameter, such as a LayerNorm's, has the diagonal of `fisher_diagonal`. The labels of the loss are drawn from the
    model's own predictions, also from `seed`: this is the Fisher information itself, not the empirical one.

    Cost: a forward and a backward pass over the evidences, in batches, besides those of `fisher_diagonal` if a
    parameter needs it. Kept are in² + out² numbers a layer, in the parameters' precision: 25 million for a block of
    BERT-Base, which has 7 million parameters.

    Raises ValueError unless `evidences` is a whole number from 1.
    """
    check_model(model, change, learns=True)
    check_whole("evidences", evidences)
    what = plan(model.net, block, component)
    examples = drawn_evidences(model, change, evidences, seed)
    layers = linear_layers(model.net, what.names)
    params = {name: model.net.get_parameter(name).detach().requires_grad_() for name in layers}
    forward = Forward(model, examples, params, what.lowest, own_code=True)  # own code, as hooks need it
    A, G, tokens = dict.fromkeys(layers.values(), 0.0), dict.fromkeys(layers.values(), 0.0), {}
    caught: list[tuple[nn.Module, Tensor, Tensor]] = []
    draw = torch.Generator(model.device).manual_seed(seed)
    with evaluating(model), ExitStack() as hooks:
        for layer in A:
            hooks.enter_context(layer.register_forward_hook(lambda m, inputs, out: caught.append((m, inputs[0], out))))
        batches = list(examples.by_length(64)) if layers else []
        for chosen in tqdm(batches, desc="K-FAC", leave=False, disable=silent(progress)):
            logits, batch = forward(chosen)
            labels = torch.multinomial(logits.detach().float().softmax(-1), 1, generator=draw)[:, 0]
            loss = cross_entropy(logits.float(), labels, reduction="sum")
            slopes = torch.autograd.grad(loss, [output for *_, output in caught], allow_unused=True)
            for (layer, a, _), g in zip(caught, slopes, strict=True):
                inside = _tokens(a, batch.attention_mask.bool())
                a = a.detach()[inside].flatten(0, -2)
                A[layer], tokens[layer] = A[layer] + a.T @ a, tokens.get(layer, 0) + len(a)
                if g is not None:
                    g = g[inside].flatten(0, -2)
                    G[layer] = G[layer] + g.T @ g
            caught.clear()
    factors: Factors = {}
    for name, layer in layers.items():
        if isinstance(G[layer], Tensor):  # else the model never runs the layer as a module, or no answer hangs on it
            own = A[layer] / tokens[layer]
            own = own if name.endswith("weight") else own.new_ones(1, 1)
            both = own, G[layer] / len(examples.targets)
            factors[name] = both[::-1] if turned(layer) and name.endswith("weight") else both  # as Δ is: (in, out)
    rest = [name for name in what.names if name not in factors]
    if rest:
        given = {"evidences": evidences, "seed": seed, "progress": progress}
        factors |= fisher_diagonal(model, change, component=rest, **given)
    return {name: factors[name] for name in what.names}


def _tokens(states: Tensor, mask: Tensor):
    """What selects the tokens among the inputs or outputs of a layer, given the batch's mask (B, T): all of them where
    a layer sees slots, or statements of one length. Longformer pads its batches beyond T."""
    if states.ndim == 3 and len(states) == len(mask) and states.shape[1] >= mask.shape[1]:
        return pad(mask, (0, states.shape[1] - mask.shape[1]))
    return ...


def flattest(values: Tensor, share: float) -> Tensor:
    """Which of `values`, zero or more, are the smallest that make up at most `share` of their sum: a bool mask."""
    order = values.flatten().argsort()
    sums = values.flatten()[order].double().clamp_min(0).cumsum(0)
    chosen = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    chosen[order] = sums <= (share + 1e-12) * sums[-1]  # a little more, as eigenvalues of 0 are rounded
    return chosen.view(values.shape)
