"""Text as training sequences: packed end to end, masked at random, the same for the same seed and step.

Every sequence is full and has the same number of masked tokens. So shapes never change, and the mean over a batch does
not depend on how it is split over processes or micro-batches.
"""

from __future__ import annotations

import numpy as np

MASKED = 0.15  # share of tokens that are predicted


class PackedText:
    """Sequences of `length` tokens from one long array of token ids; the last `held_out` are for validation.

    Raises ValueError if there are not enough tokens for one training batch.
    """

    def __init__(self, tokens: np.ndarray, tokenizer, length: int, batch_size: int, held_out: int, seed: int):
        self.tokens, self.length, self.batch_size, self.seed = tokens, length, batch_size, seed
        self.cls, self.sep, self.mask = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id
        self.special = np.array(tokenizer.all_special_ids)
        self.vocab_size, self.held_out = len(tokenizer), held_out
        self.n = len(tokens) // (length - 2) - held_out
        if self.n < batch_size:
            raise ValueError(
                f"{len(tokens):,} tokens are too few: sequences of {length} with {held_out} held out leave {self.n}, "
                f"and a batch has {batch_size}"
            )
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The masked sequences of `step`: ids (B, T), masked columns (B, K), their targets (B, K)."""
        numbers = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = numbers // self.n
        rows = np.concatenate([self._permuted(e)[numbers[epochs == e] % self.n] for e in np.unique(epochs).tolist()])
        return self._masked(rows, np.random.default_rng([self.seed, 1, step]))

    def validation(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The held-out sequences, masked the same way every time."""
        return self._masked(np.arange(self.n, self.n + self.held_out), np.random.default_rng([self.seed, 2]))

    def frequency_loss(self, most: int = 10_000_000) -> float:
        """Cross-entropy, in nats, of the validation's targets under the frequencies of the first `most` tokens."""
        counts = np.bincount(self.tokens[:most], minlength=self.vocab_size) + 1.0
        return float(-np.log(counts / counts.sum())[self.validation()[2]].mean())

    def _permuted(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng([self.seed, 0, epoch]).permutation(self.n)
        return self._order

    def _masked(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        inner = self.length - 2
        ids = np.empty((len(rows), self.length), dtype=np.int64)
        ids[:, 0], ids[:, -1] = self.cls, self.sep
        for i, row in enumerate(rows):
            ids[i, 1:-1] = self.tokens[row * inner : (row + 1) * inner]
        chance = rng.random((len(rows), inner))
        chance[np.isin(ids[:, 1:-1], self.special)] += 1  # special tokens are chosen last
        count = max(1, round(MASKED * inner))
        columns = np.sort(np.argpartition(chance, count - 1, axis=1)[:, :count], axis=1) + 1
        targets = np.take_along_axis(ids, columns, axis=1)
        kind = rng.random(columns.shape)
        random = rng.integers(0, self.vocab_size, kind.shape)
        shown = np.where(kind < 0.8, self.mask, np.where(kind < 0.9, random, targets))
        np.put_along_axis(ids, columns, shown, axis=1)
        return ids, columns, targets
