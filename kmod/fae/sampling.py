"""A part of the memories to train on: what a batch needs, and a uniform sample of the rest.

With a million entities, a step would spend most of its time on the softmax over all of them and on their dense
gradient. A sampled entity counts for as many as it stands for, so that the partition function is right on average; it
is exact if all others are sampled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Sample:
    """Entities and rows of the memories, in ascending order, and the logarithm of how many each stands for."""

    entities: Tensor  # (C,)
    rows: Tensor  # (R,)
    entity_weight: Tensor  # (C,)
    row_weight: Tensor  # (R,)

    def local(self, ids: Tensor) -> Tensor:
        """Entity numbers as positions in the sample; −1 stays −1. All must be in the sample."""
        return torch.where(ids < 0, ids, torch.searchsorted(self.entities, ids))

    def local_rows(self, rows: Tensor) -> Tensor:
        """Row numbers as positions in the sample. All must be in the sample."""
        return torch.searchsorted(self.rows, rows.contiguous())


def _draw(n: int, needed: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`needed` (sorted, distinct) and about `size` others of n numbers, with the log of how many each stands for."""
    rest = n - len(needed)
    if size >= rest:
        ids = torch.arange(n, device=needed.device)
        return ids, torch.zeros(n, device=needed.device)
    # Drawing with replacement needs no list of n numbers; distinct ones are fewer than `size` by a share of size / n.
    drawn = torch.randint(n, (size,), generator=generator).unique().to(needed.device)
    if len(needed):
        at = torch.searchsorted(needed, drawn).clamp(max=len(needed) - 1)
        drawn = drawn[needed[at] != drawn]
    ids, order = torch.cat([needed, drawn]).sort()
    weight = torch.zeros(len(ids), device=needed.device)
    weight[len(needed) :] = math.log(rest / max(len(drawn), 1))
    return ids, weight[order]


def sample_memory(net, entities: Tensor, rows: Tensor, size: int, generator: torch.Generator) -> Sample:
    """A sample of `net`'s memories: the given entities and rows, their subjects and tails, and about `size` others of
    each. Rows that hold no fact may be drawn; they score −∞."""
    facts = net.fact_memory
    rows, row_weight = _draw(len(facts.subjects), rows.unique(), size, generator)
    needed = torch.cat([entities, facts.subjects[rows], facts.tails[rows].flatten()])
    ids, weight = _draw(net.config.entities, needed[needed >= 0].unique(), size, generator)
    return Sample(ids, rows, weight, row_weight)
