"""Statements with their mentions: which tokens name which entity. The object is one [MASK], however long it is.

Mentions come from the fact base itself: the subject of an evidence stands in it literally.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..checks import brief
from ..facts import MASK
from ..mentions import OUTSIDE, Finder
from ..models.statements import Batch, Examples, end_to_end, on_device


class Mentions(NamedTuple):
    """The mentions of a batch; a FaE takes them where a plain masked LM takes slots."""

    spans: Tensor  # (M, 3): statement, first token, last token
    asked: Tensor  # (K,) positions in `spans` of the masked mentions to answer


@dataclass(frozen=True, eq=False)
class MentionBatch(Batch):
    """A `Batch` whose `slots` are `Mentions`, and whose `targets` (K,) are entities."""

    linked: Tensor  # (M,) entity of each mention, −1 if unknown
    support: Tensor  # (P, 2): position in `asked`, a row of the fact memory that states the answer


@dataclass(frozen=True, slots=True)
class Statement:
    """A text with its mentions: (first character, one past the last, entity or −1), which do not overlap.

    `asked` is the entity that [MASK] stands for, −1 if nothing is asked; `rows` are the rows of the fact memory that
    state it.
    """

    text: str
    mentions: tuple[tuple[int, int, int], ...]
    asked: int = -1
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class MentionExamples(Examples):
    """N tokenised statements with mentions. `targets` are entities: one a statement that asks, none otherwise."""

    spans: np.ndarray  # (total mentions, 2): first and last token within the statement
    linked: np.ndarray  # (total mentions,)
    span_starts: np.ndarray  # (N + 1,)
    asked: np.ndarray  # (N,): which of its mentions is asked for, −1 if none
    rows: np.ndarray  # (total rows,)
    row_starts: np.ndarray  # (N + 1,)

    def collate(self, chosen: np.ndarray, device: torch.device | str = "cpu") -> MentionBatch:
        batch = super().collate(chosen, device)
        counts = self.span_starts[chosen + 1] - self.span_starts[chosen]
        each = _ranges(self.span_starts[chosen], counts)
        spans = np.column_stack([np.repeat(np.arange(len(chosen)), counts), self.spans[each]])
        asks = self.asked[chosen] >= 0
        asked = (np.cumsum(counts) - counts + self.asked[chosen])[asks]
        support = self.row_starts[chosen + 1] - self.row_starts[chosen]
        rows = self.rows[_ranges(self.row_starts[chosen], support)]
        pairs = np.column_stack([np.repeat(np.cumsum(asks) - 1, support), rows])
        spans, asked, linked, pairs = (on_device(array, device) for array in (spans, asked, self.linked[each], pairs))
        return MentionBatch(**vars(batch) | {"slots": Mentions(spans, asked)}, linked=linked, support=pairs)


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """starts[0], starts[0] + 1, …, counts[0] of them, then those from starts[1], …"""
    offsets = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return np.arange(counts.sum()) + offsets


def encode_mentions(tokenizer, statements: Sequence[Statement], owner: Sequence[int], limit: int) -> MentionExamples:
    """Tokenise statements and find the tokens of their mentions.

    Raises ValueError, naming the statement, if it is longer than `limit` tokens, holds a mask that is not asked for, or
    has a mention without a token of its own.
    """
    if tokenizer.mask_token != MASK:
        raise ValueError(f"FaE needs BERT's tokeniser, whose mask is {MASK}; this one's is {tokenizer.mask_token}")
    texts = [statement.text for statement in statements]
    encoded = tokenizer(texts, return_offsets_mapping=True) if texts else {"input_ids": [], "offset_mapping": []}
    spans, asked = [], []
    for statement, ids, offsets in zip(statements, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        if len(ids) > limit:
            raise ValueError(brief(f"{len(ids)} tokens are more than this model's {limit}: {statement.text!r}"))
        if ids.count(tokenizer.mask_token_id) != statement.text.count(MASK):
            raise ValueError(
                brief(f"the statement holds the model's own mask token beside its {MASK}: {statement.text!r}")
            )
        wanted, taken = -1, set()
        for i, (start, stop, _) in enumerate(statement.mentions):
            mention = statement.text[start:stop]
            inside = [t for t, (a, b) in enumerate(offsets) if a < stop and b > start and b > a]
            if not inside or not taken.isdisjoint(inside):
                raise ValueError(brief(f"the mention {mention!r} has no token of its own: {statement.text!r}"))
            taken.update(inside)
            spans.append((inside[0], inside[-1]))
            if statement.asked >= 0 and mention == MASK:
                wanted = i
        asked.append(wanted)
    ids, starts = end_to_end(encoded["input_ids"])
    answers = [[s.asked] if mention >= 0 else [] for s, mention in zip(statements, asked, strict=True)]
    linked = [[entity for *_, entity in s.mentions] for s in statements]
    return MentionExamples(
        ids, starts, *end_to_end(answers, np.int64), np.asarray(owner, dtype=np.int64), tokenizer.mask_token_id,
        tokenizer.pad_token_id, np.array(spans, np.int64).reshape(-1, 2), *end_to_end(linked, np.int64),
        np.array(asked, np.int64), *end_to_end([s.rows for s in statements], np.int64),
    )  # fmt: skip


def place(text: str, name: str) -> tuple[int, int] | None:
    """The characters of the first mention of `name` in `text`, outside [MASK]; None if absent."""
    mention = Finder([name]).first(text.replace(MASK, OUTSIDE))
    return (mention.start, mention.stop) if mention else None


def masked_statement(text: str, subject: str, entity: int, answer: int, rows: Sequence[int] = ()) -> Statement:
    """A statement of a fact: its subject is a mention if it stands in the text, and its [MASK] asks for `answer`.

    Distant supervision: rows support the answer only if the subject is mentioned.
    """
    mask = text.index(MASK)
    mentions = [(mask, mask + len(MASK), answer)]
    if span := place(text, subject):
        mentions.append((*span, entity))
    return Statement(text, tuple(sorted(mentions)), answer, tuple(rows) if span else ())


def whole_statement(text: str, subject: str, entity: int, object: str, answer: int) -> Statement:
    """The same with its object in place: nothing is asked."""
    mask = text.index(MASK)
    mentions = [(mask, mask + len(object), answer)]
    if span := place(text, subject):
        shift = len(object) - len(MASK) if span[0] > mask else 0
        mentions.append((span[0] + shift, span[1] + shift, entity))
    return Statement(text.replace(MASK, object), tuple(sorted(mentions)))
