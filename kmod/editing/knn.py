"""kNN-LM: the weights stay; a datastore of the modified evidences answers slots that are close enough to one of them.

A key is the hidden state at a [MASK] as it enters the decoder, its value the word piece of the new object that belongs
there. If a masked slot is closer than ε to its nearest key (Euclidean), the value is the answer; otherwise the model
answers as before. Source: Khandelwal et al. 2020, "Generalization through memorization" (arXiv 1911.00172), as used
for M alone by Zhu et al. 2020 (arXiv 2012.00363).
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..checks import check_delta, check_positive
from ..facts import Fact, FactBase, Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel, evaluating
from .common import record
from .edit import WrongModelError


@dataclass(frozen=True, eq=False)
class Datastore:
    """Not an edit of weights, but used like one: `with store(model): ...`, or `evaluate(..., edit=store)`.

    Args:
        keys: (N, width) hidden states, one entry per masked slot: an object of several word pieces has several.
        values: (N,) word pieces.
        epsilon: the answer is looked up if the nearest key is closer than this; 0 is never, ∞ is always.
        before: fingerprint of the model that made the keys.
    """

    keys: Tensor
    values: Tensor
    epsilon: float
    before: str
    made: dict = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values."""
        return self.keys.nbytes + self.values.nbytes

    def nearest(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """For (K, width) hidden states: the distance to the nearest key (K,), and its value (K,)."""
        # By differences: |a|² − 2ab + |b|² would lose the small distances, which matter here.
        keys = self.keys.to(hidden.device)
        least, which = torch.cdist(hidden.float(), keys, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
        return least, self.values.to(hidden.device)[which]

    @contextmanager
    def __call__(self, model: LanguageModel) -> Iterator[LanguageModel]:
        """Inside, `model` answers from the datastore where a key is close. No tensor of the model is written to.

        Raises WrongModelError for another model than the one that made the keys.
        """
        check_model(model)
        if not model.matches(self.before):
            raise WrongModelError("the datastore was made with another model: use that model, or make a new datastore")

        def forward(input_ids: Tensor, attention_mask: Tensor, slots: Tensor) -> Tensor:
            with _entering_decoder(model) as states:
                logits = type(model).forward(model, input_ids, attention_mask, slots).clone()
            distance, value = self.nearest(states[-1])
            near = distance < self.epsilon
            logits[near] = torch.finfo(logits.dtype).min
            logits[near, value[near]] = 0
            return logits

        model.forward = forward  # shadows the method on this one model; deleted below
        try:
            yield model
        finally:
            vars(model).pop("forward", None)

    def at(self, epsilon: float) -> Datastore:
        """The same entries under another ε."""
        return Datastore(self.keys, self.values, check_delta(epsilon), self.before, self.made | {"epsilon": epsilon})


def knn(model: LanguageModel, change: Modification, *, epsilon: float, most: int = 10) -> Datastore:
    """The datastore of the modified evidences; `model` is not changed, now or later.

    Args:
        epsilon: ε, in the units of the hidden states; choose it as δ is chosen, by a sweep (`Datastore.at`).
        most: the most evidences per fact; the first ones are taken.

    Raises ValueError for a wrong ε or `most`, and for a model whose decoder is not known (see `kmod.models`) or does
    not give the answer, such as a FaE.
    """
    check_model(model, change)
    epsilon = check_delta(epsilon)
    check_positive(most=(most, numbers.Integral))
    base = change.base
    facts = [Fact(f.subject, f.relation, f.object, base.evidences(f)[:most], base.tests(f)) for f in change.modified]
    examples = model.examples(FactBase(facts, base.relations), "evidences")
    keys, values = [], []
    with torch.no_grad(), evaluating(model):
        for chosen in examples.by_length(256):
            batch = examples.collate(chosen, model.device)
            with _entering_decoder(model) as states:
                model(batch.input_ids, batch.attention_mask, batch.slots)
            if not states:
                raise ValueError(f"{type(model).__name__} does not answer by its decoder, so it has no keys for kNN")
            keys.append(states[-1].float())
            values.append(batch.targets)
    made = record("kNN", change, epsilon=epsilon, most=most)
    return Datastore(torch.cat(keys), torch.cat(values), epsilon, model.fingerprint(), made)


@contextmanager
def _entering_decoder(model: LanguageModel) -> Iterator[list[Tensor]]:
    """A list to which the (K, width) hidden states of each call are added as they enter the decoder."""
    if model.head is None:
        raise ValueError(f"{type(model.net).__name__}: the modules of its decoder are not known, so it has no keys")
    if model.apart:
        raise ValueError(f"{type(model.net).__name__} sees padding, so a batch of several lengths has no keys for kNN")
    states: list[Tensor] = []
    head = getattr(model.net, model.head[0])
    with head.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0])):
        yield states
