"""Statements as token ids with their slots, ragged until batched. The slots of a masked LM are its masks, one a word
piece of the object; those of a causal LM are the tokens before the pieces.

Lengths differ little within a batch because batches are cut from statements sorted by length; nothing is truncated.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, takewhile
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from ..checks import brief
from ..facts import MASK, Fact, FactBase
from ..mentions import OUTSIDE, Finder, before_mask, unknown_in
from ..names import cannot_be_written, inner, is_wordpiece, marks, pieces_of, shown


@dataclass(frozen=True, eq=False)
class Batch:
    """A padded batch of B statements of at most T tokens with K slots in all."""

    input_ids: Tensor  # (B, T)
    attention_mask: Tensor  # (B, T)
    slots: Tensor  # (B, T) bool: where the K slots are
    targets: Tensor  # (K,) the object's word pieces, in the order of the slots
    rows: Tensor  # (K,) which statement of the batch a slot belongs to


@dataclass(frozen=True, eq=False)
class Examples:
    """N tokenised statements with their objects; statement i asks for the fact at position `owner[i]`. `columns` may be
    left out where the slots are the masks."""

    ids: np.ndarray  # (total tokens,) int32
    starts: np.ndarray  # (N + 1,) int64: statement i is ids[starts[i]:starts[i + 1]]
    targets: np.ndarray  # (total slots,) int32
    target_starts: np.ndarray  # (N + 1,) int64
    owner: np.ndarray  # (N,) int64
    mask_id: int  # -1 without masks
    pad_id: int
    columns: np.ndarray = field(default=None, kw_only=True)  # (total slots,) int64: the token of each, from the first

    def __post_init__(self):
        if self.columns is None:
            masks = np.flatnonzero(self.ids == self.mask_id)
            statement = np.searchsorted(self.starts, masks, "right") - 1
            object.__setattr__(self, "columns", masks - self.starts[statement])

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
        columns = np.concatenate([self.columns[self.target_starts[i] : self.target_starts[i + 1]] for i in chosen])
        rows = np.repeat(np.arange(len(chosen)), self.target_starts[chosen + 1] - self.target_starts[chosen])
        slots = np.zeros(inside.shape, dtype=bool)
        slots[rows, columns] = True
        ids, inside, targets, rows = (on_device(array, device) for array in (input_ids, inside, targets, rows))
        return Batch(ids, inside, torch.from_numpy(slots).to(device), targets, rows)

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
    """Tokenise masked statements, each with as many mask tokens as its object has word pieces there.

    Raises ValueError, naming the object or the statement, if a statement does not have exactly one [MASK] or has more
    than `limit` tokens, or an object cannot be written in the model's vocabulary.
    """
    for statement in statements:
        check_statement(statement)
    laid = lay_out(tokenizer, statements, objects)
    for (_, ids, pieces), statement in zip(laid, statements, strict=True):
        text = shown(statement, 120)
        if len(ids) > limit:
            raise ValueError(
                brief(f"{len(ids)} tokens are more than this model's {limit}: {text}; kmod.writable drops such")
            )
        if ids.count(tokenizer.mask_token_id) != len(pieces):
            raise ValueError(brief(f"the statement holds the model's own mask token beside its {MASK}: {text}"))
    ids, pieces = ([row[i] for row in laid] for i in (1, 2))
    arrays = *end_to_end(ids), *end_to_end(pieces), np.asarray(owner, dtype=np.int64)
    return Examples(*arrays, tokenizer.mask_token_id, tokenizer.pad_token_id)


class Laid(NamedTuple):
    """A masked statement in tokens: `ids` with one mask for each of the `pieces` of its object. `text` is what the
    tokeniser was given: its tokens are where `ids` has them."""

    text: str
    ids: list[int]
    pieces: list[int]


def lay_out(tokenizer, statements: Sequence[str], objects: Sequence[str]) -> list[Laid]:
    """Tokenise masked statements. The pieces of an object are those that the text has with the object in its place.

    Raises ValueError, naming the object, if one cannot be written in the model's vocabulary.
    """
    laid, not_names = {}, marks(tokenizer)
    written = [i for i, statement in enumerate(statements) if _depends_on_neighbours(tokenizer, statement)]
    if written:
        texts = [statements[i].replace(MASK, objects[i].strip()) for i in written]
        encoded = tokenizer(texts, return_offsets_mapping=True)
        for i, text, ids, offsets in zip(written, texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            start = statements[i].index(MASK)
            at = inner(text, offsets, start, start + len(objects[i].strip()))
            if at is not None and not_names.isdisjoint(ids[at]):
                masked = [*ids[: at.start], *[tokenizer.mask_token_id] * len(ids[at]), *ids[at.stop :]]
                laid[i] = Laid(text, masked, ids[at])
    # The others: most of a WordPiece vocabulary's, and objects whose pieces run into those of their neighbours.
    rest = [i for i in range(len(statements)) if i not in laid]
    fronts = [before_mask(statements[i]) for i in rest]
    pieces: dict[tuple[str, str], list[int]] = {}
    for before, name in dict.fromkeys((before, objects[i]) for before, i in zip(fronts, rest, strict=True)):
        (pieces[before, name],) = pieces_of(tokenizer, [name], before)
        if not pieces[before, name] or not not_names.isdisjoint(pieces[before, name]):
            raise cannot_be_written(tokenizer, "object", name)
    keys = [(before, objects[i]) for before, i in zip(fronts, rest, strict=True)]
    # In byte-level vocabularies the space before a word belongs to its first piece; WordPiece ignores it.
    texts = [
        statements[i].replace(before.strip("(") + MASK, tokenizer.mask_token * len(pieces[before, name]))
        for i, (before, name) in zip(rest, keys, strict=True)
    ]
    encoded = tokenizer(texts)["input_ids"] if texts else []
    for i, text, ids, key in zip(rest, texts, encoded, keys, strict=True):
        laid[i] = Laid(text, ids, pieces[key])
    return [laid[i] for i in range(len(statements))]


def _depends_on_neighbours(tokenizer, statement: str) -> bool:
    """Whether the tokens of an object, and those beside it, depend on one another. A WordPiece tokeniser splits at
    spaces, punctuation and Chinese characters, so that masks can stand in the text as words; others are asked."""
    if not tokenizer.is_fast or statement.count(MASK) != 1:
        return False
    if is_wordpiece(tokenizer):
        before, after = statement.split(MASK)
        return any(not c.isascii() and unicodedata.category(c)[0] in "LMN" for c in before[-1:] + after[:1])
    return True


def last_tokens(tokenizer, statements: Sequence[str], texts: Sequence[str], names: Sequence[str]) -> list[int | None]:
    """For each masked statement, the last token of the last mention of its name (`mentions`), None without one. `texts`
    are the statements as the tokeniser is given them (`MaskedLM.texts`)."""
    found: list[int | None] = []
    for statement, text, name in zip(statements, texts, names, strict=True):
        mentions = Finder([name]).all(statement.replace(MASK, OUTSIDE))
        if not mentions:
            found.append(None)
            continue
        shift = len(text) - len(statement) if mentions[-1].start > statement.index(MASK) else 0
        start, stop = mentions[-1].start + shift, mentions[-1].stop + shift
        if tokenizer.is_fast:
            offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
            inside = [t for t, (a, b) in enumerate(offsets) if a < stop and b > start and b > a]
        else:  # the tokens that the text has as far as the name
            pairs = zip(tokenizer(text)["input_ids"], tokenizer(text[:stop])["input_ids"], strict=False)
            inside = [t for t, _ in takewhile(lambda at: at[1][0] == at[1][1], enumerate(pairs))]
        found.append(inside[-1] if inside else None)
    return found


def check_subjects(tokenizer, examples: Examples, statements: Sequence[str], facts: Sequence[Fact]) -> None:
    """Raise ValueError, naming the subject, if the tokeniser makes unknown pieces of it in a statement: other such
    subjects would make the same statement."""
    if tokenizer.unk_token_id is None:
        return
    unknown = np.flatnonzero(examples.ids == tokenizer.unk_token_id)
    for row in np.unique(np.searchsorted(examples.starts, unknown, "right") - 1).tolist():
        fact = facts[examples.owner[row]]
        if unknown_in(tokenizer, statements[row], fact.subject):
            raise cannot_be_written(tokenizer, "subject", fact.subject)


def check_statement(statement: str) -> None:
    """Raise ValueError unless `statement` is text with exactly one [MASK]."""
    if not isinstance(statement, str):
        raise ValueError(brief(f"a statement is text with one {MASK}, got {shown(str(statement), 120)}"))
    if (n := statement.count(MASK)) != 1:
        needed = f"a statement needs {MASK} exactly once, in the place of the answer, whatever the model's own mask is"
        raise ValueError(brief(f"{needed}; this has it {n} times: {shown(statement, 120)}"))


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
