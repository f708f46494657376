"""What the methods that descend on the evidences of M share: their examples, the checks of settings, the record."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..checks import brief, check_positive
from ..constraints import Constraint
from ..facts import Modification
from ..models.language_model import LanguageModel
from ..models.statements import Examples
from ..names import alike, shown
from ..training.history import History, Stop
from ..training.loop import Forward, random_batches
from ..training.sharing import shared
from ..versions import versions


@dataclass(frozen=True, eq=False)
class Tuning:
    """A fine-tuning, as its penalty sees it: `params` are trained in place of the model's own, from `origin` (θ₀)."""

    model: LanguageModel
    change: Modification
    params: dict[str, Tensor]
    origin: dict[str, Tensor]
    lowest: int | None
    steps: int
    batch_size: int
    seed: int

    def unmodified(self) -> tuple[Forward, Forward, Iterator[np.ndarray]]:
        """Evidences of F∖S under θ, the same under θ₀, and endless random batches of them.

        The batches do not depend on those of M: a penalty of weight 0 leaves the training as it was.
        """
        rest = unmodified(self.model, self.change, self.steps * self.batch_size, self.seed)
        trained = Forward(self.model, rest, self.params, self.lowest)
        original = Forward(self.model, rest, self.origin)
        original.kept = trained.kept  # the states that enter the lowest block are the same
        return trained, original, random_batches(rest, None, self.batch_size, np.random.default_rng([self.seed, 1]))


Penalty = Callable[[Tuning], Callable[[int], Tensor]]
"""Called once before the training; gives a function of the step's number (from 0): what to add to the loss."""


@shared
def modified(model: LanguageModel, change: Modification) -> Examples:
    """The evidences of M. Raises ValueError, by name, for a new object that is the old one for the model."""
    for fact, new in zip(change.originals, change.objects, strict=True):
        same = fact.object != new and alike(fact.object) == alike(new)
        if same and model.written(fact.object) == model.written(new):
            fault = (
                f"{shown(fact.subject)} has the object {shown(fact.object)}, and this model reads {shown(new)} as it"
            )
            raise ValueError(f"{fault}: choose another object")
    return model.examples(change.base, "evidences", change.modified)


@shared
def unmodified(model: LanguageModel, change: Modification, most: int, seed: int) -> Examples:
    """`most` evidences of F∖S, drawn without replacement from `seed`; all, if there are fewer.

    No more than a training can see: tokenising all of a large F would cost more than the training. Raises ValueError
    if every fact is modified.
    """
    if len(change) == len(change.base):
        raise ValueError("every fact is modified: there are no unmodified facts to keep to")
    facts = change.unmodified
    count = sum(len(change.base.evidences(fact)) for fact in facts)
    chosen = np.sort(np.random.default_rng([seed, 2]).permutation(count)[:most])
    return model.examples(change.base, "evidences", facts, only=chosen)


def changed_facts(change: Modification) -> list[list[str]]:
    """[subject, relation, old object, new object] of each modified fact."""
    return [[f.subject, f.relation, f.object, new] for f, new in zip(change.originals, change.objects, strict=True)]


def record(method: str, change: Modification, history: History | None = None, **settings) -> dict:
    """How an edit was made, for `Edit.made`: method, facts, versions, what the training reached, settings."""
    made = {
        "method": method,
        "facts": changed_facts(change),
        "base": change.base.name,
        "base_fingerprint": change.base.fingerprint(),
        "indices": list(change.indices),
        "change_seed": change.seed,
        "versions": versions(),
    }
    if history is not None:
        made |= {
            "steps": history.steps,
            "loss": history.loss[-1],
            "curve": [float(f"{loss:.4g}") for loss in history.loss],
            "stopped": history.stopped,
            "seconds": round(history.seconds, 3),
        }
    return made | settings


def constraint_record(constraint: Constraint | None, params: dict[str, Tensor], origin: dict[str, Tensor]) -> dict:
    """A constraint and how far θ went, for `Edit.made`."""
    if constraint is None:
        return {"constraint": None, "delta": None, "norm": None}
    return {"constraint": repr(constraint), "delta": constraint.delta, "norm": constraint.norm(params, origin)}


def check_constraint(constraint: Constraint | None, origin: dict[str, Tensor]) -> None:
    """Raise TypeError for what is not a constraint, ValueError for one that does not fit the parameters."""
    if constraint is None:
        return
    if not (hasattr(constraint, "project_") and hasattr(constraint, "delta")):
        raise TypeError(brief(f"constraint must be a constraint such as kmod.Linf(2e-3), or None; got {constraint!r}"))
    constraint.check(origin)


def check_training(steps: int, batch_size: int, lr: float, stop: Stop | None = None) -> None:
    """Raise TypeError or ValueError, by name, for settings that the training loop cannot take."""
    check_positive(steps=(steps, numbers.Integral), batch_size=(batch_size, numbers.Integral), lr=(lr, numbers.Real))
    if stop is not None and not isinstance(stop, Stop):
        raise TypeError(brief(f"stop must be such as kmod.Stop(recall=1.0, in_a_row=3), or None; got {stop!r}"))
