"""A start for pretraining with little compute: word vectors from co-occurrence, and heads that attend to neighbours.

The vectors are a truncated SVD of the positive pointwise mutual information of words and their neighbours (Levy,
Goldberg & Dagan 2015, "Improving distributional similarity with lessons learned from word embeddings", TACL: context
distribution smoothed by 0.75, vectors U·√Σ). The heads follow Trockman & Kolter 2023, "Mimetic initialization of
self-attention layers", arXiv 2305.09828. The model starts as a rough naive Bayes of the words around a slot.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..models.masked_lm import MaskedLM
from ..parts import plan

FREQUENCIES = 12  # of the sinusoids that encode positions; each takes two directions
SHARPNESS = 2.0  # of the attention to a neighbour
CONFIDENCE = 2.5  # the scale of the head's last LayerNorm, and so of the first logits


def word_vectors(
    tokens: np.ndarray, vocab_size: int, width: int, *, window: int = 4, contexts: int = 10_000, seed: int = 0
) -> Tensor:
    """(vocab_size, width) vectors, mean 0, of the tokens of one long array; rows of tokens that do not occur are 0.

    Neighbours at distance d ≤ `window` count 1/d; the `contexts` most frequent tokens serve as neighbours.
    """
    frequent = torch.from_numpy(np.bincount(tokens, minlength=vocab_size)).argsort(descending=True)[:contexts]
    column = torch.full((vocab_size,), -1).scatter_(0, frequent, torch.arange(len(frequent)))
    counts = torch.zeros(vocab_size * len(frequent))
    for at in range(0, len(tokens), 5_000_000):  # a part at a time: pairs take more memory than tokens
        a = torch.from_numpy(np.asarray(tokens[at : at + 5_000_000]).astype(np.int64))
        for d in range(1, window + 1):
            for words, neighbours in ((a[:-d], column[a[d:]]), (a[d:], column[a[:-d]])):
                inside = neighbours >= 0
                pairs = words[inside] * len(frequent) + neighbours[inside]
                counts.index_add_(0, pairs, torch.full((1,), 1 / d).expand(len(pairs)))
    counts = counts.view(vocab_size, len(frequent))
    of_word, of_context = counts.sum(1, keepdim=True).clamp_min(1), counts.sum(0, keepdim=True) ** 0.75
    information = (counts * of_context.sum() / (of_word * of_context.clamp_min(1))).log().clamp_min(0)  # log 0 → 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        u, s, _ = torch.svd_lowrank(information, q=min(width + 32, *information.shape), niter=3)
    vectors = (u * s.sqrt())[:, :width]
    seen = counts.sum(1) > 0
    vectors[seen] -= vectors[seen].mean(0)
    return vectors.masked_fill(~seen[:, None], 0)


@torch.no_grad()
def warm_start(model: MaskedLM, tokens: np.ndarray, most: int = 50_000_000, seed: int = 0) -> None:
    """Initialise `model`, a BERT with random weights, **in place**:

    - word embeddings: the vectors of the first `most` of `tokens`, as long as the model's own rows are, in a random
      subspace that leaves `2 · FREQUENCIES` directions free;
    - position embeddings: sinusoids (Vaswani et al. 2017) in those directions;
    - attention: by position alone, each head to a neighbour before or behind, whose vector it carries over;
    - the head: near the identity, so that a slot's logits are the products of the words with the vectors around it,
      plus the logarithm of the words' frequencies as the decoder's bias.

    All other matrices keep their random values, scaled to BERT's standard deviation of 0.02.

    Raises ValueError for other architectures, and for fewer tokens than the embeddings are wide.
    """
    net, config = model.net, model.net.config
    if config.model_type != "bert":
        raise ValueError(f"a warm start is for a BERT with random weights, not for {config.model_type}")
    embeddings, transform = net.bert.embeddings, net.cls.predictions.transform
    table, width = embeddings.word_embeddings.weight, config.hidden_size
    tokens = tokens[:most]
    if len(tokens) < width:
        raise ValueError(f"{len(tokens)} tokens are too few for vectors of width {width}")
    size, device = width // config.num_attention_heads, table.device
    count = min(FREQUENCIES, size // 2, width // 8)  # of the sinusoids
    generator = torch.Generator().manual_seed(seed)
    bases = torch.linalg.qr(torch.randn(2, width, width, generator=generator))[0].to(device)  # two rotations
    places, words = bases[0, :, : 2 * count], bases[0, :, 2 * count :]

    length = table.norm(dim=1).mean()
    vectors = word_vectors(tokens, len(table), words.shape[1], seed=seed).to(device)
    norms = vectors.norm(dim=1, keepdim=True)
    seen = norms[:, 0] > 0
    table[seen] = (vectors / norms * length)[seen] @ words.T
    frequency = torch.from_numpy(np.bincount(tokens, minlength=len(table)) + 1.0).to(table)
    bias = (frequency / frequency.sum()).log()
    for name in plan(net, component="decoder_bias").names:
        net.get_parameter(name).copy_(bias - bias.mean())

    speeds = torch.pi / 1.5 * torch.logspace(0, -2, count, device=device)  # radians a token
    positions = embeddings.position_embeddings.weight
    angles = torch.arange(len(positions), device=device)[:, None] * speeds
    positions.copy_(length / count**0.5 * torch.cat([angles.cos(), angles.sin()], 1) @ places.T)
    embeddings.token_type_embeddings.weight.mul_(0.1)

    for name, parameter in net.named_parameters():
        if parameter.ndim == 2 and ("encoder" in name or "transform" in name):
            parameter.mul_(0.02 / config.initializer_range)
    carried = bases[1] - places @ (places.T @ bases[1])  # a head's share of the directions, without the positions'
    for i, block in enumerate(net.bert.encoder.layer):
        attention = block.attention
        for head in range(config.num_attention_heads):
            shift = (1 + i // 2) * (1 if (i + head) % 2 else -1) * speeds
            cos, sin = shift.cos().diag(), shift.sin().diag()
            turned = torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)])  # a position to its neighbour's
            rows = slice(head * size, head * size + 2 * count)
            attention.self.query.weight[rows] += SHARPNESS**0.5 * turned @ places.T
            attention.self.key.weight[rows] += SHARPNESS**0.5 * places.T
            share = slice(head * size, (head + 1) * size)
            attention.self.value.weight[share] += carried[:, share].T
            attention.output.dense.weight[:, share] += carried[:, share]
    transform.dense.weight += torch.eye(width, device=device)
    transform.dense.bias += 1.0  # where GELU is nearly linear
    transform.LayerNorm.weight.mul_(CONFIDENCE)
