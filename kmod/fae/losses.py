"""The six losses of a FaE, and its scores on evidences or tests.

A batch holds asked statements, which are evidences with the object masked, and whole sentences, which teach the words:

    answer       the masked mention's entity, with the fact memory                              asked
    retrieval    a row of the fact memory that states it (distant supervision), or the null row  asked
    link_memory  the entity of every mention, where it attends to the entity memory             both
    link_top     the entity of every mention, from the last block                               both
    detection    which tokens begin, continue or are outside a mention                          both
    tokens       masked tokens: 15 % of a sentence, and a fifth of its mentions whole           sentences

Sources: EaE and FaE (arXiv 2004.07202, 2007.00849). The weights of the losses and the hidden rows are our choices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..checks import check_weight
from ..models.language_model import evaluating
from .fae import FaE
from .memory import largest, spans_of
from .sampling import Sample
from .statements import MentionBatch, MentionExamples

MASKED_TOKENS, MASKED_MENTIONS = 0.15, 0.2  # of a whole sentence


@dataclass(frozen=True)
class Losses:
    """The weight of each loss; 0 leaves it out. Raises ValueError for a negative one, or if all are 0."""

    answer: float = 1.0
    retrieval: float = 2.0
    link_memory: float = 0.5
    link_top: float = 0.5
    detection: float = 0.2
    tokens: float = 0.5

    def __post_init__(self):
        for name, weight in vars(self).items():
            check_weight(f"the weight of {name}", weight)
        if not any(vars(self).values()):
            raise ValueError("at least one loss needs a weight above 0")


def step_losses(
    model: FaE,
    batch: MentionBatch,
    *,
    masked: tuple[Tensor, Tensor] | None = None,
    hidden_rows: Tensor | None = None,
    sample: Sample | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The mean of each loss over a batch, and which predictions were right: name → bool, one for each prediction. A
    loss without predictions in the batch is left out; a loss that is NaN is kept, so that the training notices it.

    Args:
        masked: (B, T) bool, the masked tokens, and (B, T) ids, the original tokens; None if no token is masked.
        hidden_rows: (K,) bool, the asked statements whose supporting rows are hidden, so that the null row is right.
        sample: the part of the memories to train on; it must hold all entities and rows of the batch.
    """
    net, spans, asked = model.net, batch.slots.spans, batch.slots.asked
    memory = net.memory(sample)
    linked, targets, support = batch.linked, batch.targets, batch.support
    if sample is not None:
        linked, targets = sample.local(linked), sample.local(targets)
        support = torch.stack([support[:, 0], sample.local_rows(support[:, 1])], 1)
    first, scores, _, hidden = net.encode(batch.input_ids, batch.attention_mask, spans, memory, None)
    at = spans_of(hidden, spans)

    known = linked >= 0
    link_top = net.linking(at[known]) @ memory.entities.T
    states = torch.zeros(len(asked), len(memory.subjects), dtype=torch.bool, device=asked.device)  # (K, R)
    states[support[:, 0], support[:, 1]] = True
    hide = None
    if hidden_rows is not None:
        hide = states & hidden_rows[:, None]
        states = states & ~hide
    answers, _, retrieved = net.answer(at[asked], memory, None, hide)
    if memory.entity_weight is not None:
        link_top, answers = link_top + memory.entity_weight, answers + memory.entity_weight
    null = ~states.any(1, keepdim=True)
    right_rows = torch.cat([null, states], 1)  # (K, 1 + R), the null row first
    tags = bio(batch.attention_mask, spans)

    losses = {
        "answer": cross_entropy(answers, targets),
        "retrieval": -retrieved.log_weights.masked_fill(~right_rows, -math.inf).logsumexp(1).mean(),
        "link_memory": cross_entropy(scores[known], linked[known]),
        "link_top": cross_entropy(link_top, linked[known]),
        "detection": cross_entropy(net.detection(first).flatten(0, 1), tags.flatten(), ignore_index=-100),
    }
    best = retrieved.log_weights.argmax(1)
    right = {
        "answer": answers.argmax(1) == targets,
        "retrieval": right_rows.gather(1, best[:, None]).squeeze(1),
        "null": best == 0,
        "link_memory": scores[known].argmax(1) == linked[known],
        "link_top": link_top.argmax(1) == linked[known],
    }
    if masked is not None and masked[0].any():
        logits = net.cls(hidden[masked[0]])
        losses["tokens"] = cross_entropy(logits, masked[1][masked[0]])
        right["tokens"] = logits.argmax(1) == masked[1][masked[0]]
    return {name: loss for name, loss in losses.items() if name == "detection" or len(right[name])}, right


def bio(attention_mask: Tensor, spans: Tensor) -> Tensor:
    """(B, T): 1 where a mention (M, 3) begins, 2 inside, 0 outside; −100 on padding."""
    positions = torch.arange(attention_mask.shape[1], device=spans.device)
    row, first, last = spans.unbind(-1)
    tags = torch.where(attention_mask > 0, 0, -100)
    inside = (positions > first[:, None]) & (positions <= last[:, None])  # (M, T)
    mention, at = inside.nonzero(as_tuple=True)
    tags[row[mention], at] = 2
    tags[row, first] = 1
    return tags


def mask_tokens(
    batch: MentionBatch, rng: np.random.Generator, mask_id: int, vocabulary: int, special: set[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Mask the whole sentences: 15 % of their tokens by BERT's rule (80 % become the mask, 10 % any token, 10 % stay)
    and all tokens of a fifth of their mentions. Returns (B, T): the new ids, which tokens were chosen, the old ids."""
    ids, spans = batch.input_ids.cpu(), batch.slots.spans.cpu()
    asks = torch.zeros(len(ids), dtype=torch.bool)
    asks[batch.rows.cpu()] = True
    free = ~torch.isin(ids, torch.tensor(sorted(special))) & ~asks[:, None]
    draw, kind = torch.from_numpy(rng.random((2, *ids.shape)))
    chosen = free & (draw < MASKED_TOKENS)
    new = torch.where(chosen & (kind < 0.8), mask_id, ids)
    other = torch.from_numpy(rng.integers(len(special), vocabulary, ids.shape))
    new = torch.where(chosen & (kind >= 0.9), other, new)
    for row, start, stop in spans[torch.from_numpy(rng.random(len(spans)) < MASKED_MENTIONS)].tolist():
        if not asks[row]:
            new[row, start : stop + 1], chosen[row, start : stop + 1] = mask_id, True
    device = batch.input_ids.device
    return new.to(device), chosen.to(device), batch.input_ids


@torch.no_grad()
def examine(model: FaE, examples: MentionExamples, batch_size: int = 256) -> dict[str, float]:
    """Shares over masked statements: answers right, with the fact memory and from the context alone; a supporting row
    (or null, where there is none) retrieved; null the best row; mentions linked right at the memory and at the top; and
    the mean of λ, the weight not on null. The search is that of inference."""
    sums: dict[str, list[float]] = {}
    net = model.net
    batch_size = max(1, min(batch_size, 2**27 // net.config.entities))  # scores of all entities: at most half a GiB
    with evaluating(model):
        for chosen in examples.by_length(batch_size):
            batch = examples.collate(chosen, model.device)
            spans, asked, memory = batch.slots.spans, batch.slots.asked, net.memory()
            encoded = net.encode(batch.input_ids, batch.attention_mask, spans, memory, net.config.entity_top)
            at = spans_of(encoded.hidden, spans)
            answers, context, retrieved = net.answer(at[asked], memory, net.config.fact_top)
            known = batch.linked >= 0
            linked = largest(net.linking(at[known]), lambda h, i, j: h @ net.entity_embeddings.weight[i:j].T,
                             net.config.entities, 1)  # fmt: skip
            best = retrieved.log_weights.argmax(1)  # 0 is the null row
            row = retrieved.rows.gather(1, (best - 1).clamp(min=0)[:, None])  # (K, 1)
            k, support = batch.support.T
            stated = torch.zeros_like(best).index_add_(0, k, (row[k, 0] == support).long()) > 0
            unsupported = torch.ones_like(best).index_fill_(0, k, 0) > 0
            right = {
                "answer": answers.argmax(1) == batch.targets,
                "context_answer": context.argmax(1) == batch.targets,
                "retrieval": torch.where(best == 0, unsupported, stated),
                "null": best == 0,
                "lambda": 1 - retrieved.null.flatten(),
                "link_memory": encoded.entities[known, 0] == batch.linked[known],
                "link_top": linked[:, 0] == batch.linked[known],
            }
            for name, values in right.items():
                entry = sums.setdefault(name, [0.0, 0])
                entry[0] += float(values.sum())
                entry[1] += len(values)
    return {name: total / n for name, (total, n) in sums.items() if n}
