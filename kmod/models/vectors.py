"""Word vectors from co-occurrence, as a start for pretraining where compute is scarce.

A masked LM from random weights spends its first ten million tokens on finding out which words are alike. Counting finds
that out in seconds: the vectors are those of the positive pointwise mutual information of words and their neighbours,
by truncated SVD. Source: Levy, Goldberg & Dagan 2015, "Improving distributional similarity with lessons learned from
word embeddings" (TACL), whose settings these are (context distribution smoothed by 0.75, vectors U·√Σ).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..parts import plan
from .masked_lm import MaskedLM


def word_vectors(
    tokens: np.ndarray, vocab_size: int, width: int, *, window: int = 4, contexts: int = 10_000, seed: int = 0
) -> Tensor:
    """(vocab_size, width) vectors, mean 0, of the tokens of one long array; rows of tokens that do not occur are 0.

    Neighbours at distance d ≤ `window` count 1/d; the `contexts` most frequent tokens serve as neighbours.
    """
    a = torch.from_numpy(np.asarray(tokens).astype(np.int64))
    frequent = torch.bincount(a, minlength=vocab_size).argsort(descending=True)[:contexts]
    column = torch.full((vocab_size,), -1).scatter_(0, frequent, torch.arange(len(frequent)))
    counts = torch.zeros(vocab_size * len(frequent))
    for d in range(1, window + 1):
        for words, neighbours in ((a[:-d], column[a[d:]]), (a[d:], column[a[:-d]])):
            inside = neighbours >= 0
            pairs = words[inside] * len(frequent) + neighbours[inside]
            counts += torch.bincount(pairs, minlength=len(counts)) / d
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
def warm_start(model: MaskedLM, tokens: np.ndarray, most: int = 12_000_000, seed: int = 0) -> None:
    """Set the word embeddings of `model`, **in place**, to vectors of the first `most` of `tokens`, as long as its own
    rows are, and the bias of its decoder to the logarithm of the frequencies.

    Raises ValueError for fewer tokens than the embeddings are wide.
    """
    table = model.net.get_input_embeddings().weight
    tokens = tokens[:most]
    if len(tokens) < table.shape[1]:
        raise ValueError(f"{len(tokens)} tokens are too few for vectors of width {table.shape[1]}")
    vectors = word_vectors(tokens, *table.shape, seed=seed).to(table.device)
    length = vectors.norm(dim=1, keepdim=True)
    seen = length[:, 0] > 0
    table[seen] = (vectors / length * table.norm(dim=1).mean())[seen]
    frequency = np.bincount(tokens, minlength=len(table)) + 1.0
    bias = torch.from_numpy(np.log(frequency / frequency.sum())).to(table)
    for name in plan(model.net, component="decoder_bias").names:
        model.net.get_parameter(name).copy_(bias - bias.mean())
