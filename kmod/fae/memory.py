"""The two memories: entities, attended to between two stacks of blocks, and facts, looked up at the masked mention.

Shapes: M mentions, K asked (masked) mentions, N entities, R rows of the fact memory, T tail entities a row, H the
model's width, d the width of an entity. Sources: EaE (Févry et al. 2020, arXiv 2004.07202) and FaE (Verga et al. 2020,
arXiv 2007.00849). Where those leave a choice open, the docstrings say what was chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

BLOCK = 65_536  # rows of a memory that are scored at a time; a block of 256 queries takes 64 MiB


@dataclass(frozen=True, eq=False)
class Memory:
    """What a forward pass sees of both memories: all of them, or a sample to train on.

    Entities are numbered within `entities`; −1 in `subjects` is a free row, −1 in `tails` is no entity. The weights are
    the log of how many entities, or rows, a sampled one stands for; None if nothing was sampled.
    """

    entities: Tensor  # (N, d)
    subjects: Tensor  # (R,)
    relations: Tensor  # (R,)
    tails: Tensor  # (R, T)
    entity_weight: Tensor | None = None  # (N,)
    row_weight: Tensor | None = None  # (R,)

    def values(self, rows: Tensor) -> Tensor:
        """(..., d) for rows (...): the mean of a row's tail entities, zero where there is none."""
        tails = self.tails[rows]  # (..., T)
        held = (tails >= 0).unsqueeze(-1)
        values = embedding(tails.clamp(min=0), self.entities) * held  # (..., T, d)
        return values.sum(-2) / held.sum(-2).clamp(min=1)


def spans_of(hidden: Tensor, mentions: Tensor) -> Tensor:
    """[x_s ‖ x_t] (M, 2H) of the mentions (M, 3): statement, first token, last token."""
    row, first, last = mentions.unbind(-1)
    return torch.cat([hidden[row, first], hidden[row, last]], -1)


def largest(queries: Tensor, score, n: int, k: int, block: int = BLOCK) -> Tensor:
    """Exact search: the numbers (Q, k) of the k largest of n scores for each query, best first.

    `score(queries, start, stop)` gives (Q, stop − start); no more than `block` columns are held at a time.
    """
    with torch.no_grad():
        k = min(k, n)
        best, ids = queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.long)
        ids = ids.to(queries.device)
        for start in range(0, n, block):
            part, at = score(queries, start, min(start + block, n)).topk(min(k, min(start + block, n) - start))
            best, ids = torch.cat([best, part], 1), torch.cat([ids, at + start], 1)
            best, keep = best.topk(min(k, best.shape[1]))
            ids = ids.gather(1, keep)
        return ids


class EntityMemory(nn.Module):
    """EaE's layer: a mention's pseudo-embedding attends over all entities, and what it finds is added to the mention.

    h = W_f [x_s ‖ x_t];   α = softmax(h·E);   m = W_b Σ α E;   x′_s = LayerNorm(x_s + m) at the mention's first token.

    Tokens at which no mention starts stay as they are, and so do those for which the memory holds nothing (m = 0): with
    a zeroed memory the model is its BERT to the bit. Mentions must not start at the same token.
    """

    def __init__(self, config):
        super().__init__()
        self.query = nn.Linear(2 * config.hidden_size, config.entity_size, bias=False)  # W_f
        self.back = nn.Linear(config.entity_size, config.hidden_size, bias=False)  # W_b
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self, hidden: Tensor, mentions: Tensor, memory: Memory, top: int | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The hidden states (B, T, H) with what the memory adds, the scores h·E (M, N), and None; or, if the attention
        is over the `top` entities alone, their scores (M, top), and which they are (M, top), best first."""
        h = self.query(spans_of(hidden, mentions))  # (M, d)
        if top is None:
            scores = h @ memory.entities.T  # (M, N)
            if memory.entity_weight is not None:
                scores = scores + memory.entity_weight
            attended, ids = scores.softmax(-1) @ memory.entities, None
        else:
            ids = largest(h, lambda h, i, j: h @ memory.entities[i:j].T, len(memory.entities), top)
            near = embedding(ids, memory.entities)  # (M, top, d)
            scores = torch.einsum("md,mkd->mk", h, near)
            attended = torch.einsum("mk,mkd->md", scores.softmax(-1), near)
        added = self.back(attended)  # (M, H)
        at = (mentions[:, 0], mentions[:, 1])
        before = hidden[at]
        after = torch.where(added.any(-1, keepdim=True), self.LayerNorm(before + added), before)
        return hidden.index_put(at, after), scores, ids


@dataclass(frozen=True, eq=False)
class Retrieved:
    """What K queries found in the fact memory. In `log_weights` the null row comes first; `rows` says which row each
    further column is: (K, k) of the best, or None if the columns are all rows in order."""

    log_weights: Tensor  # (K, 1 + k)
    rows: Tensor | None
    found: Tensor  # (K, d): Σ over rows of weight · value, the null row left out: λ·f

    @property
    def null(self) -> Tensor:
        """(K, 1): the weight of the null row, 1 − λ."""
        return self.log_weights[:, :1].exp()


class FactMemory(nn.Module):
    """FaE's memory: a row for each (subject, relation), whose value is the set of its tail entities.

    key a = W_a [e_subject ; r_relation];   query v = W_v [h_s ‖ h_t] at the masked mention's last-layer span;
    p = softmax over the rows and the null row of v·a;   λ = 1 − p_null;   λ·f = Σ p_i · value_i.

    Chosen where the sources are silent: the null row's key is learnt; a set of tails counts as their mean; relations
    are as wide as entities.

    The rows are integers in buffers, so that a fact is edited without a gradient, and is saved with the model.
    """

    def __init__(self, config):
        super().__init__()
        d, capacity = config.entity_size, config.fact_capacity
        self.query = nn.Linear(2 * config.hidden_size, d, bias=False)  # W_v
        self.key = nn.Linear(d + config.relation_size, d, bias=False)  # W_a
        self.relation_embeddings = nn.Embedding(config.relations, config.relation_size)
        self.null = nn.Parameter(torch.zeros(d))
        self.register_buffer("subjects", torch.full((capacity,), -1))
        self.register_buffer("relations", torch.full((capacity,), -1))
        self.register_buffer("tails", torch.full((capacity, config.tail_width), -1))

    def forward(self, spans: Tensor, memory: Memory, top: int | None, without: Tensor | None = None) -> Retrieved:
        """Look up the span embeddings (K, 2H) of the asked mentions.

        Args:
            top: retrieve this many rows; None takes all.
            without: (K, R) bool: rows that a query must not see (only with `top` None).
        """
        v = self.query(spans)  # (K, d)
        # v·(W_a [e ; r]) = (W_aᵀ v)·[e ; r]: no key is ever made, and an entity that changes needs no new one.
        entity, relation = (v @ self.key.weight).split(
            [memory.entities.shape[1], self.relation_embeddings.embedding_dim], -1
        )
        relation = relation @ self.relation_embeddings.weight.T  # (K, relations)

        def score(_, start: int, stop: int) -> Tensor:
            subjects, relations = memory.subjects[start:stop], memory.relations[start:stop]
            keys = embedding(subjects.clamp(min=0), memory.entities)
            scores = entity @ keys.T + relation[:, relations.clamp(min=0)]
            return scores.masked_fill(subjects < 0, -math.inf)

        null = (v @ self.null).unsqueeze(-1)  # (K, 1)
        if top is None:
            scores = score(v, 0, len(memory.subjects))
            if memory.row_weight is not None:
                scores = scores + memory.row_weight
            if without is not None:
                scores = scores.masked_fill(without, -math.inf)
            log_weights = torch.cat([null, scores], -1).log_softmax(-1)
            values = memory.values(torch.arange(len(memory.subjects), device=v.device))  # (R, d)
            return Retrieved(log_weights, None, log_weights[:, 1:].exp() @ values)
        rows = largest(v, score, len(memory.subjects), top)  # (K, k)
        subjects = memory.subjects[rows]
        keys = embedding(subjects.clamp(min=0), memory.entities)  # (K, k, d)
        scores = torch.einsum("kd,krd->kr", entity, keys) + relation.gather(1, memory.relations[rows].clamp(min=0))
        log_weights = torch.cat([null, scores.masked_fill(subjects < 0, -math.inf)], -1).log_softmax(-1)
        found = torch.einsum("kr,krd->kd", log_weights[:, 1:].exp(), memory.values(rows))
        return Retrieved(log_weights, rows, found)
