"""A training that outlives an interruption: weights, Adam's moments and the curve, in one file, every few minutes."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import Optimizer

from .cache import save_whole

if TYPE_CHECKING:
    from .training import History
    from .training_fae import FaEHistory

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of Adam, for each parameter


class Checkpoint:
    """A place on disk for a training under way. `key` says which training it is: a file of another one is not read.

    Args:
        minutes: write a file this often.
    """

    def __init__(self, path: Path, key: str, minutes: float = 3):
        self.path, self.key, self.minutes = path, key, minutes
        self.written = time.perf_counter()

    def load(self, params: dict[str, Tensor], optimizers: Sequence[Optimizer], history: History | FaEHistory) -> None:
        """Put what is kept into the parameters (in place), the Adams and the history; nothing if nothing is."""
        try:
            with safe_open(self.path, framework="pt") as file:
                key = file.metadata()["key"]
                kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError):
            return
        if key != self.key or {"history", *(f"weight.{name}" for name in params)} - kept.keys():
            return
        owner = {leaf: one for one in optimizers for group in one.param_groups for leaf in group["params"]}
        with torch.no_grad():
            for name, leaf in params.items():
                leaf.copy_(kept[f"weight.{name}"])
                state = {key: kept[f"{key}.{name}"].to(leaf.device) for key in MOMENTS if f"{key}.{name}" in kept}
                if state:
                    if not state["step"].is_floating_point():
                        state["step"] = int(state["step"])  # SparseAdam counts in whole numbers
                    owner[leaf].state[leaf] = state
        vars(history).update(json.loads(kept["history"].numpy().tobytes()))

    def keep(
        self,
        params: dict[str, Tensor],
        optimizers: Sequence[Optimizer],
        history: History | FaEHistory,
        now: bool = False,
    ) -> None:
        """Write the file if it is time, or `now`; it appears whole or not at all. A full disk is warned of, once."""
        if not now and time.perf_counter() - self.written < 60 * self.minutes:
            return
        tensors = {f"weight.{name}": leaf.detach().cpu().contiguous() for name, leaf in params.items()}
        states = {leaf: state for one in optimizers for leaf, state in one.state.items()}
        for name, leaf in params.items():
            for key, value in states.get(leaf, {}).items():
                tensors[f"{key}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
        tensors["history"] = torch.from_numpy(np.frombuffer(json.dumps(asdict(history)).encode(), np.uint8).copy())
        try:
            save_whole(self.path, tensors, {"key": self.key})
        except (OSError, SafetensorError) as error:
            warnings.warn(f"the training goes on, but is not kept on disk: {error}", stacklevel=2)
            self.minutes = math.inf
        self.written = time.perf_counter()

    def drop(self) -> None:
        """The training is over."""
        self.path.unlink(missing_ok=True)


@contextmanager
def kept_if_interrupted(checkpoint: Checkpoint | None, params, optimizers, history) -> Iterator[None]:
    """Inside, a KeyboardInterrupt writes the file before it goes on its way, unless it came in the middle of a step."""
    try:
        yield
    except KeyboardInterrupt:
        taken = {int(state["step"]) for one in optimizers for state in one.state.values()}
        if checkpoint and taken and max(taken) == history.steps:
            checkpoint.keep(params, optimizers, history, now=True)
        raise
