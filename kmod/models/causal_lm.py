"""Any Hugging Face causal LM, such as GPT-2, Llama or Qwen: a statement is the text before its [MASK], and the pieces
of the object follow it. The slot of a piece is the token before it, so that the argmax is right at every slot exactly
when greedy decoding gives the object.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from ..checks import brief
from ..facts import FactBase, Relation
from ..mentions import before_mask
from ..names import cannot_be_written, inner, marks, pieces_of, shown
from ..relations import MASK, OBJECT
from .language_model import LanguageModel, evaluating
from .statements import Examples, check_statement, end_to_end

LENGTHS = (7, 4, 7, 12)  # tokens of `probes`: equal and different, odd and even
MORE_TESTS = {"P103": ("The language that [X] grew up with is [Y].",)}
"""Relation of the atlas → tests that end in [Y], where none of its own does."""


class CausalLM(LanguageModel):
    """A causal (decoder) language model with its tokeniser. It reads from left to right, so that no statement may have
    words after its [MASK]: `left_to_right` leaves those of a base out.

    `net` is the plain Hugging Face model and can be used as such at any time; its parameters are not wrapped.

    Raises ValueError, in one line, for a model that cannot be edited, and for a tokeniser that does not belong to it.
    """

    causal = True

    @property
    def pad_id(self) -> int:
        """A token to fill batches with; none of it is ever attended to."""
        ids = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0
        return next(i for i in ids if i is not None)

    def encode(self, statements: Sequence[str], objects: Sequence[str], owner: Sequence[int]) -> Examples:
        fronts, pieces = [], []
        for text, (front, own) in zip(statements, self._laid(statements, objects), strict=True):
            if len(front) + len(own) - 1 > self.limit:
                length = len(front) + len(own) - 1
                raise ValueError(brief(f"{length} tokens are more than this model's {self.limit}: {shown(text, 120)}"))
            fronts.append(front)
            pieces.append(own)
        return self.following(fronts, pieces, owner)

    def following(self, fronts: Sequence[list[int]], pieces: Sequence[list[int]], owner: Sequence[int]) -> Examples:
        """Examples in which `pieces` follow `fronts`. The last piece is a target alone: nothing is read after it."""
        ids = [[*front, *own[:-1]] for front, own in zip(fronts, pieces, strict=True)]
        columns = [range(len(front) - 1, len(front) - 1 + len(own)) for front, own in zip(fronts, pieces, strict=True)]
        arrays = *end_to_end(ids), *end_to_end(pieces), np.asarray(owner, dtype=np.int64)
        return Examples(*arrays, -1, self.pad_id, columns=end_to_end(columns, np.int64)[0])

    def takes(self, statement: str) -> bool:
        return ends_in(statement, MASK)

    def _laid(self, statements: Sequence[str], objects: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """For each statement the tokens before its object, and the pieces of the object after them."""
        tokenizer, not_names, laid = self.tokenizer, marks(self.tokenizer), []
        texts = self.texts(statements, objects)
        offsets = {"return_offsets_mapping": True} if tokenizer.is_fast else {}
        encoded = tokenizer(texts, **offsets) if texts else {"input_ids": [], "offset_mapping": []}
        places = encoded["offset_mapping"] if tokenizer.is_fast else [()] * len(texts)
        for statement, name, text, ids, spans in zip(
            statements, objects, texts, encoded["input_ids"], places, strict=True
        ):
            at = inner(text, spans, len(text) - len(name.strip()), len(text)) if spans else None
            if at is not None and at.start and not_names.isdisjoint(ids[at]):
                laid.append((ids[: at.start], ids[at]))
                continue
            # The object's pieces run into those before it: the two are tokenised one by one.
            (own,) = pieces_of(tokenizer, [name], before_mask(statement))
            if not own or not not_names.isdisjoint(own):
                raise cannot_be_written(tokenizer, "object", name)
            front = tokenizer(statement[: statement.index(MASK)].rstrip())["input_ids"]
            if front and front[-1] in (tokenizer.sep_token_id, tokenizer.eos_token_id):
                front = front[:-1]  # the end of a text, which this is not
            if not front:
                raise ValueError(
                    f"nothing stands before the {MASK}, and this tokeniser has no token to begin with: {text!r}"
                )
            laid.append((front, own))
        return laid

    def texts(self, statements: Sequence[str], objects: Sequence[str]) -> list[str]:
        for statement in statements:
            check_statement(statement)
            if not self.takes(statement):
                text = f"this model reads from left to right, and words follow the {MASK} in {shown(statement, 80)}"
                raise ValueError(brief(f"{text}: kmod.left_to_right(facts) leaves such statements out"))
        pairs = zip(statements, objects, strict=True)
        return [statement[: statement.index(MASK)] + name.strip() for statement, name in pairs]

    def probes(self) -> Examples:
        rng = np.random.default_rng(0)
        ordinary = sorted(set(self.tokenizer.get_vocab().values()) - set(self.tokenizer.all_special_ids))
        fronts = [[ordinary[n] for n in rng.integers(len(ordinary), size=n)] for n in LENGTHS]
        fronts = [front[: max(1, self.limit - 1)] for front in fronts]
        pieces = [[ordinary[0]] * (1 + i % 2) for i in range(len(fronts))]
        return self.following(fronts, pieces, range(len(fronts)))

    @torch.no_grad()
    def ranked(self, examples: Examples, k: int = 5) -> list[list[tuple[list[int], float]]]:
        """Answers to each statement, as (word pieces, log-probability), of as many pieces as its object has: first the
        one that greedy decoding gives, then the most probable others that a beam of k finds."""
        counts = np.diff(examples.target_starts)
        fronts = [
            examples.ids[a:b][: int(examples.columns[c]) + 1].tolist()
            for (a, b), c in zip(pairwise(examples.starts.tolist()), examples.target_starts[:-1].tolist(), strict=True)
        ]
        beams: list[list[tuple[list[int], float, bool]]] = [[([], 0.0, True)] for _ in fronts]  # pieces, score, greedy
        with evaluating(self):
            for step in range(int(counts.max(initial=0))):
                going = [i for i, n in enumerate(counts) if n > step]
                asked = [(i, *beam) for i in going for beam in beams[i]]
                found = self._next([[*fronts[i], *pieces] for i, pieces, *_ in asked], k)
                longer: dict[int, list] = {i: [] for i in going}
                for (i, pieces, score, greedy), (tops, scores) in zip(asked, found, strict=True):
                    for rank, (token, more) in enumerate(zip(tops, scores, strict=True)):
                        longer[i].append(([*pieces, token], score + more, greedy and rank == 0))
                for i, every in longer.items():
                    beams[i] = sorted(every, key=lambda beam: (not beam[2], -beam[1]))[:k]
        return [[(pieces, score) for pieces, score, _ in beam] for beam in beams]

    def _next(self, rows: Sequence[list[int]], k: int) -> list[tuple[list[int], list[float]]]:
        """The k most probable next tokens of each row, with their log-probabilities."""
        examples = self.following(rows, [[0]] * len(rows), range(len(rows)))
        found: list = [None] * len(rows)
        for positions, logits, _ in self.logits(examples):
            top, ids = self.named(logits.float().log_softmax(-1)).topk(min(k, logits.shape[-1]))
            for position, tokens, scores in zip(positions.tolist(), ids.tolist(), top.tolist(), strict=True):
                found[position] = tokens, scores
        return found


def ends_in(text: str, slot: str) -> bool:
    """Whether no word follows the slot."""
    return not re.search(r"\w", text.partition(slot)[2])


def left_to_right(facts: FactBase) -> FactBase:
    """The facts with those statements alone that end in their object, for a `CausalLM`; `notes` say how many statements
    and facts were left out. A relation of the atlas without such a test gets one of its own.

    Raises ValueError if no fact has an evidence and a test that end so.
    """
    relations, left, total = {}, 0, 0
    for id, relation in facts.relations.items():
        own = {kind: tuple(p for p in getattr(relation, kind) if ends_in(p, OBJECT)) for kind in ("evidences", "tests")}
        total += len(relation.evidences) + len(relation.tests)
        left += len(relation.evidences) + len(relation.tests) - len(own["evidences"]) - len(own["tests"])
        if not own["tests"] and relation.tests and set(own["evidences"]).isdisjoint(MORE_TESTS.get(id, ())):
            own["tests"] = MORE_TESTS.get(id, ())
        relations[id] = Relation(id, relation.label, **own, hops=relation.hops)
    kept = []
    for fact in facts:
        own = {kind: tuple(s for s in getattr(fact, kind) if ends_in(s, MASK)) for kind in ("evidences", "tests")}
        relation = relations.get(fact.relation)
        if all(own[kind] or (not getattr(fact, kind) and relation and getattr(relation, kind)) for kind in own):
            kept.append(replace(fact, **own))
    if not kept:
        raise ValueError(brief(f"no fact of {facts.name} has an evidence and a test that end in its object"))
    note = f"left to right: {left} of {total} phrasings and {len(facts) - len(kept):,} of {len(facts):,} facts left out"
    name = f"{facts.name}, left to right"
    return FactBase(kept, relations, name, notes=(*facts.notes, note), aliases=facts.aliases)
