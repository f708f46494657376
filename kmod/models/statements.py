"""Masked statements as token ids: one [MASK] a word piece of the object, ragged until batched.

Lengths differ little within a batch because batches are cut from statements sorted by length; nothing is truncated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ..facts import MASK, Fact, FactBase


@dataclass(frozen=True, eq=False)
class Batch:
    """A padded batch of B statements of at most T tokens with K masked slots in all."""

    input_ids: Tensor  # (B, T)
    attention_mask: Tensor  # (B, T)
    slots: Tensor  # (B, T) bool: where the K masks stand
    targets: Tensor  # (K,) the object's word pieces, in the order of the slots
    rows: Tensor  # (K,) which statement of the batch a slot belongs to


@dataclass(frozen=True, eq=False)
class Examples:
    """N tokenised masked statements with their objects; statement i asks for the fact at position `owner[i]`."""

    ids: np.ndarray  # (total tokens,) int32
    starts: np.ndarray  # (N + 1,) int64: statement i is ids[starts[i]:starts[i + 1]]
    targets: np.ndarray  # (total slots,) int32
    target_starts: np.ndarray  # (N + 1,) int64
    owner: np.ndarray  # (N,) int64
    mask_id: int
    pad_id: int

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    def joined(self, other: Self) -> Self:
        """These statements, then those of `other`; the owners are those of each."""

        def join(name: str, ours, theirs):
            if name.endswith("_id"):
                return ours
            return np.concatenate([ours, ours[-1] + theirs[1:]] if name.endswith("starts") else [ours, theirs])

        return type(self)(**{name: join(name, ours, getattr(other, name)) for name, ours in vars(self).items()})

    def collate(self, chosen: np.ndarray, device: torch.device | str = "cpu") -> Batch:
        """The statements at positions `chosen` as one padded batch on `device`."""
        lengths = self.starts[chosen + 1] - self.starts[chosen]
        inside = np.arange(lengths.max()) < lengths[:, None]
        input_ids = np.full(inside.shape, self.pad_id, dtype=np.int64)
        input_ids[inside] = np.concatenate([self.ids[self.starts[i] : self.starts[i + 1]] for i in chosen])
        targets = np.concatenate([self.targets[self.target_starts[i] : self.target_starts[i + 1]] for i in chosen])
        rows = np.repeat(np.arange(len(chosen)), self.target_starts[chosen + 1] - self.target_starts[chosen])
        ids, inside, targets, rows = (on_device(array, device) for array in (input_ids, inside, targets, rows))
        return Batch(ids, inside, ids == self.mask_id, targets, rows)

    def by_length(self, size: int) -> Iterator[np.ndarray]:
        """All statements once, in batches of similar length: for evaluation."""
        order = np.argsort(self.lengths, kind="stable")
        for i in range(0, len(order), size):
            yield order[i : i + size]

    def shuffled(self, size: int, rng: np.random.Generator, pool: int = 32) -> Iterator[np.ndarray]:
        """All statements once, in random batches; the last may be smaller. Within each pool of `pool` batches,
        statements of similar length share a batch, so that little of it is padding."""
        order = rng.permutation(len(self))
        for i in range(0, len(order), size * pool):
            part = order[i : i + size * pool]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            batches = [part[j : j + size] for j in range(0, len(part), size)]
            for j in rng.permutation(len(batches)):
                yield batches[j]


def on_device(array: np.ndarray, device: torch.device | str) -> Tensor:
    return torch.from_numpy(array.astype(np.int64, copy=False)).to(device)


def encode(tokenizer, statements: Sequence[str], objects: Sequence[str], owner: Sequence[int], limit: int) -> Examples:
    """Tokenise masked statements, each with as many mask tokens as its object has word pieces.

    Raises ValueError, naming the object or the statement, if a statement does not have exactly one [MASK] or has more
    than `limit` tokens, or an object cannot be written in the model's vocabulary.
    """
    for statement in statements:
        check_statement(statement)
    # In byte-level vocabularies the space before a word belongs to its first piece; WordPiece ignores it.
    spaced = [" " if MASK in s and s[: s.index(MASK)].endswith(" ") else "" for s in statements]
    keys = [space + name for space, name in zip(spaced, objects, strict=True)]
    pieces: dict[str, list[int]] = {}
    for name in dict.fromkeys(keys):
        ids = tokenizer(name, add_special_tokens=False)["input_ids"]
        if not ids or tokenizer.unk_token_id in ids:
            raise ValueError(
                f"the object {name.strip()!r} cannot be written in this model's vocabulary ({len(tokenizer):,} word "
                "pieces); choose another object, or a tokeniser built from facts that hold it"
            )
        pieces[name] = ids
    texts = [
        statement.replace(space + MASK, tokenizer.mask_token * len(pieces[key]))
        for statement, space, key in zip(statements, spaced, keys, strict=True)
    ]
    encoded = tokenizer(texts)["input_ids"] if texts else []
    for ids, statement, key in zip(encoded, statements, keys, strict=True):
        if len(ids) > limit:
            raise ValueError(f"{len(ids)} tokens are more than this model's {limit}: {statement!r}")
        if ids.count(tokenizer.mask_token_id) != len(pieces[key]):
            raise ValueError(f"the statement holds the model's own mask token beside its {MASK}: {statement!r}")
    arrays = *end_to_end(encoded), *end_to_end([pieces[key] for key in keys]), np.asarray(owner, dtype=np.int64)
    return Examples(*arrays, tokenizer.mask_token_id, tokenizer.pad_token_id)


def check_statement(statement: str) -> None:
    """Raise ValueError unless `statement` is text with exactly one [MASK]."""
    if not isinstance(statement, str):
        raise ValueError(f"a statement is text with one {MASK}, got {statement!r}")
    if (n := statement.count(MASK)) != 1:
        shown = statement if len(statement) <= 120 else f"{statement[:119]}…"
        needed = f"a statement needs {MASK} exactly once, in the place of the answer, whatever the model's own mask is"
        raise ValueError(f"{needed}; this has it {n} times: {shown!r}")


def end_to_end(parts: Sequence[Sequence[int]], dtype: type = np.int32) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of all parts in one array, and where each part starts; the last entry is the end of all."""
    return np.fromiter(chain.from_iterable(parts), dtype), np.cumsum([0, *map(len, parts)], dtype=np.int64)


def statements_of(
    base: FactBase, facts: Iterable[Fact], kind: str, only: Sequence[int] | None = None
) -> tuple[list[str], list[str], list[int]]:
    """The statements of `facts` (kind: "evidences" or "tests"), the object of each, and the position of its fact; with
    `only`, the statements at these positions among them."""
    statements_about = {"evidences": base.evidences, "tests": base.tests}[kind]
    rows = [(statement, fact.object, i) for i, fact in enumerate(facts) for statement in statements_about(fact)]
    rows = rows if only is None else [rows[i] for i in only]
    return tuple(map(list, zip(*rows, strict=True))) if rows else ([], [], [])
