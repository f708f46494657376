"""What the methods that descend on the evidences of M share: checking settings, training copies, the record."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..checks import check_positive
from ..constraints import Constraint, Linf
from ..facts import Modification
from ..models.masked_lm import MaskedLM
from ..models.statements import Examples
from ..parts import Block, Plan, plan
from ..training.history import History, Stop
from ..training.loop import Forward, fit, random_batches
from ..versions import versions
from .edit import Edit


@dataclass(frozen=True, eq=False)
class Trained:
    """What a penalty may look at: the model, the tensors that are trained in place of its own, and their origin θ₀."""

    model: MaskedLM
    change: Modification
    params: dict[str, Tensor]
    origin: dict[str, Tensor]
    lowest: int | None
    steps: int
    batch_size: int
    seed: int

    def unmodified(self) -> tuple[Forward, Forward, Iterator[np.ndarray]]:
        """Evidences of F∖S under θ, the same under θ₀, and random batches of them without end.

        The batches do not depend on those of M: a penalty of weight 0 leaves the training as it was.
        """
        rest = unmodified(self.model, self.change, self.steps * self.batch_size, self.seed)
        trained = Forward(self.model, rest, self.params, self.lowest)
        original = Forward(self.model, rest, self.origin)
        original.kept = trained.kept  # what enters the lowest block is the same
        return trained, original, random_batches(rest, None, self.batch_size, np.random.default_rng([self.seed, 1]))


Penalty = Callable[[Trained], Callable[[int], Tensor]]
"""Of what is trained, a function of the step's number that gives what to add to the loss."""


def tune(
    model: MaskedLM,
    change: Modification,
    *,
    method: str,
    settings: dict | None = None,
    penalty: Penalty | None = None,
    block: Block = "all",
    component: str | Sequence[str] | None = None,
    constraint: Constraint | None = None,
    mix: bool = False,
    steps: int = 60,
    batch_size: int = 64,
    lr: float = 1e-3,
    stop: Stop | None = None,
    reset_moments: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Edit:
    """Train copies of the planned parameters on the evidences of M and return the edit; see `finetune` for the
    settings. `settings` are those of the method itself, for the record."""
    if reset_moments and not isinstance(constraint, Linf):
        raise ValueError("reset_moments needs the constraint Linf: the bounds of single parameters")
    check_training(steps, batch_size, lr, stop)
    what = plan(model.net, block, component)
    current = dict(model.net.named_parameters())
    origin = {name: current[name].detach() for name in what.names}
    check_constraint(constraint, origin)
    examples = model.examples(change.base, "evidences", change.modified)
    rest = unmodified(model, change, steps * max(1, batch_size // 2), seed) if mix else None
    params = {name: theta.clone().requires_grad_() for name, theta in origin.items()}
    trained = Trained(model, change, params, origin, what.lowest, steps, batch_size, seed)

    def project() -> dict[str, Tensor] | None:
        before = {name: theta.detach().clone() for name, theta in params.items()} if reset_moments else {}
        constraint.project_(params, origin)
        return {name: theta.detach() != before[name] for name, theta in params.items()} if reset_moments else None

    history = fit(
        model,
        examples,
        params,
        mix=rest,
        lowest=what.lowest,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        penalty=penalty(trained) if penalty else None,
        project=project if constraint is not None else None,
        stop=stop,
        seed=seed,
        progress=f"editing {len(change)} facts" if progress else None,
    )
    made = described(method, change, history, what, component, constraint, params, origin) | (settings or {})
    numbers = {"reset_moments": reset_moments, "batch_size": batch_size, "lr": lr, "seed": seed}
    return Edit.between(model, params, made | numbers)


def described(method, change, history, what: Plan, component, constraint: Constraint | None, params, origin) -> dict:
    """`about` a training of the planned parameters under a constraint."""
    return about(method, change, history) | {
        "blocks": what.blocks,
        "component": component if component is None or isinstance(component, str) else list(component),
        "constraint": repr(constraint) if constraint is not None else None,
        "delta": constraint.delta if constraint is not None else None,
        "norm": constraint.norm(params, origin) if constraint is not None else None,
    }


def about(method: str, change: Modification, history: History | None = None, **settings) -> dict:
    """The record of how an edit was made: method, facts, what the training reached, versions."""
    made = {
        "method": method,
        "facts": [
            [f.subject, f.relation, f.object, new] for f, new in zip(change.originals, change.objects, strict=True)
        ],
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


def unmodified(model: MaskedLM, change: Modification, most: int, seed: int) -> Examples:
    """`most` evidences of F∖S, drawn without replacement from `seed`; all, if there are fewer.

    No more than a training can see: of a large F, tokenising all would cost more than the training. Raises ValueError
    if every fact is modified.
    """
    if len(change) == len(change.base):
        raise ValueError("every fact is modified: there are no unmodified facts to keep to")
    facts = change.unmodified
    count = sum(len(change.base.evidences(fact)) for fact in facts)
    chosen = np.sort(np.random.default_rng([seed, 2]).permutation(count)[:most])
    return model.examples(change.base, "evidences", facts, only=chosen)


def check_constraint(constraint: Constraint | None, origin: dict[str, Tensor]) -> None:
    """Raise TypeError for what is no constraint, ValueError for one that does not fit the parameters."""
    if constraint is None:
        return
    if not (hasattr(constraint, "project_") and hasattr(constraint, "delta")):
        raise TypeError(f"constraint must be a constraint such as kmod.Linf(2e-3), or None; got {constraint!r}")
    constraint.check(origin)


def check_training(steps: int, batch_size: int, lr: float, stop: Stop | None) -> None:
    """Raise TypeError or ValueError, by name, for settings that the training loop cannot take."""
    check_positive(steps=(steps, numbers.Integral), batch_size=(batch_size, numbers.Integral), lr=(lr, numbers.Real))
    if stop is not None and not isinstance(stop, Stop):
        raise TypeError(f"stop must be such as kmod.Stop(recall=1.0, in_a_row=3), or None; got {stop!r}")
