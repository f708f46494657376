"""What a training did, step by step, and when it stops early."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..checks import brief, check_whole, is_number


@dataclass
class History:
    """The course of a training.

    Args:
        curves: name → one value per optimiser step. "loss" is that of the examples, without penalty; "recall" is the
            share of the batch's statements answered right before the step, without those of `mix`.
        validation: measures taken now and then, each with the "step" after which they were taken.
        seconds: wall-clock time, over all calls that took part.
        stopped: why the training ended.
    """

    curves: dict[str, list[float]] = field(default_factory=dict)
    validation: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    stopped: str = "step budget"

    @property
    def loss(self) -> list[float]:
        return self.curves.setdefault("loss", [])

    @property
    def recall(self) -> list[float]:
        return self.curves.setdefault("recall", [])

    @property
    def steps(self) -> int:
        return len(self.loss)

    def note(self, values: Mapping[str, float]) -> None:
        """Add the values of one step; "loss" must be among them."""
        for name, value in values.items():
            self.curves.setdefault(name, []).append(value)


@dataclass(frozen=True)
class Stop:
    """When to end before the step budget: whichever comes first.

    Args:
        loss: the loss of the batch is at most this, ...
        recall: the share of the batch's statements answered right before the step is at least this, ...
        in_a_row: ... at this many steps in a row. A batch is not all of M: a pass over |D_M| evidences takes
            |D_M| / batch_size steps.
        flat: the mean loss of the last `in_a_row` steps lies less than this share of the first step's loss below the
            mean of as many steps before them. The first step is not among either.
        seconds: this much wall-clock time has passed.

    Raises ValueError for values that are not numbers or out of range.
    """

    loss: float | None = None
    recall: float | None = None
    in_a_row: int = 1
    flat: float | None = None
    seconds: float | None = None

    def __post_init__(self):
        for name, most in (("loss", math.inf), ("recall", 1), ("flat", 1), ("seconds", math.inf)):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and 0 < value <= most):
                raise ValueError(brief(f"stop: {name} must be above 0{' and at most 1' * (most == 1)}, got {value!r}"))
        check_whole("stop: in_a_row", self.in_a_row)

    def __call__(self, history: History) -> str | None:
        k = self.in_a_row
        if history.steps >= k:
            if self.loss is not None and max(history.loss[-k:]) <= self.loss:
                return f"loss {self.loss:g}"
            if self.recall is not None and min(history.recall[-k:]) >= self.recall:
                return f"recall {self.recall:g}"
        if self.flat is not None and history.steps > 2 * k:
            before, last = (sum(history.loss[a:b]) / k for a, b in ((-2 * k, -k), (-k, None)))
            if before - last < self.flat * history.loss[0]:
                return f"flat loss ({self.flat:g} in {k} steps)"
        if self.seconds is not None and history.seconds >= self.seconds:
            return f"{self.seconds:g} seconds"
        return None
