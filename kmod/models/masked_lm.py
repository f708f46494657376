"""Any Hugging Face masked LM: a statement has a mask for each word piece of its object, and the masks are its slots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .language_model import LanguageModel
from .statements import Examples, encode, end_to_end, lay_out

LENGTHS = (7, 4, 7, 12)  # tokens of `probes` between the special ones: equal and different, odd and even


class MaskedLM(LanguageModel):
    """A masked language model with its tokeniser.

    `net` is the plain Hugging Face model and can be used as such at any time; its parameters are not wrapped.

    Raises ValueError, in one line, for a model that cannot be edited, and for a tokeniser that does not belong to it.
    """

    needs = ("mask_token", "pad_token")

    def encode(self, statements: Sequence[str], objects: Sequence[str], owner: Sequence[int]) -> Examples:
        return encode(self.tokenizer, statements, objects, owner, self.limit)

    def texts(self, statements: Sequence[str], objects: Sequence[str]) -> list[str]:
        return [laid.text for laid in lay_out(self.tokenizer, statements, objects)]

    def probes(self) -> Examples:
        tokenizer, rng = self.tokenizer, np.random.default_rng(0)
        mask = tokenizer.mask_token_id
        around = tokenizer(tokenizer.mask_token)["input_ids"]
        at = around.index(mask)
        ordinary = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
        room = self.limit - len(around) + 1
        ids, masks = [], []
        for i, length in enumerate(LENGTHS):
            length = max(1, min(length, room))
            body = [ordinary[n] for n in rng.integers(len(ordinary), size=length)]
            for place in rng.permutation(length)[: 1 + i % 2]:
                body[place] = mask
            ids.append([*around[:at], *body, *around[at + 1 :]])
            masks.append([ordinary[0]] * body.count(mask))
        owner = np.arange(len(LENGTHS))
        return Examples(*end_to_end(ids), *end_to_end(masks), owner, mask, tokenizer.pad_token_id)

    def ranked(self, examples: Examples, k: int = 5) -> list[list[tuple[list[int], float]]]:
        """The k most probable answers to each statement, as (word pieces, log-probability), best first.

        The slots are scored independently, so the probability of an answer is the product over its slots, and the k
        best are exact.
        """
        ranked: list[list[tuple[list[int], float]]] = [[] for _ in range(len(examples))]
        for positions, logits, batch in self.logits(examples):
            top, ids = self.named(logits.float().log_softmax(-1)).topk(min(k, logits.shape[-1]))  # (K, k)
            for row, position in enumerate(positions.tolist()):
                beam: list[tuple[float, list[int]]] = [(0.0, [])]
                for slot in (batch.rows == row).nonzero().flatten().tolist():
                    longer = [
                        (score + step, [*piece, token])
                        for score, piece in beam
                        for step, token in zip(top[slot].tolist(), ids[slot].tolist(), strict=True)
                    ]
                    beam = sorted(longer, key=lambda item: -item[0])[:k]
                ranked[position] = [(piece, score) for score, piece in beam]
        return ranked
