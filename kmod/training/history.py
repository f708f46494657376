"""What a training did, step by step, and when it stops early."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, field


@dataclass
class History:
    """What happened: one entry an optimiser step (loss, share of the batch's statements right), seconds, why it
    ended. Both are those of `examples`, without penalty; `recall` without the statements of `mix`."""

    loss: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)
    seconds: float = 0.0
    stopped: str = "step budget"

    @property
    def steps(self) -> int:
        return len(self.loss)


@dataclass(frozen=True)
class Stop:
    """When to end before the step budget: whichever comes first.

    Args:
        loss: the loss of the batch is at most this, ...
        recall: the share of the batch's statements answered right before the step is at least this, ...
        in_a_row: ... at this many steps in a row. A batch is not all of M: a pass over |D_M| evidences takes
            |D_M| / batch_size steps.
        seconds: this much wall-clock time has gone by.

    Raises ValueError for values that are no numbers or out of range.
    """

    loss: float | None = None
    recall: float | None = None
    in_a_row: int = 1
    seconds: float | None = None

    def __post_init__(self):
        for name, most in (("loss", math.inf), ("recall", 1), ("seconds", math.inf)):
            value = getattr(self, name)
            if value is not None and (not _is_number(value) or not 0 < value <= most):
                raise ValueError(f"stop: {name} must be above 0{' and at most 1' * (most == 1)}, got {value!r}")
        if not isinstance(self.in_a_row, int) or isinstance(self.in_a_row, bool) or self.in_a_row < 1:
            raise ValueError(f"stop: in_a_row must be a whole number from 1, got {self.in_a_row!r}")

    def __call__(self, history: History) -> str | None:
        k = self.in_a_row
        if history.steps >= k:
            if self.loss is not None and max(history.loss[-k:]) <= self.loss:
                return f"loss {self.loss:g}"
            if self.recall is not None and min(history.recall[-k:]) >= self.recall:
                return f"recall {self.recall:g}"
        if self.seconds is not None and history.seconds >= self.seconds:
            return f"{self.seconds:g} seconds"
        return None


@dataclass
class FaEHistory:
    """One entry a step of each loss (before its weight) and of the shares right in the batch; one a validation."""

    losses: dict[str, list[float]] = field(default_factory=dict)
    validation: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        return len(next(iter(self.losses.values()), []))

    def note(self, step: dict[str, float]) -> None:
        for name, value in step.items():
            self.losses.setdefault(name, []).append(value)


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)
