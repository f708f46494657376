"""Trainings that are kept: under way, every few minutes, with weights, Adam's moments and the curve; and finished."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from ..files import save_whole
from .history import FaEHistory, History

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
                if f"step.{name}" in kept:
                    state = {key: kept[f"{key}.{name}"].to(leaf.device) for key in MOMENTS}
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
        except OSError as error:
            warnings.warn(f"the training goes on, but is not kept on disk: {error}", stacklevel=2)
            self.minutes = math.inf
        self.written = time.perf_counter()

    def drop(self) -> None:
        """The training is over."""
        self.path.unlink(missing_ok=True)


@contextmanager
def kept_if_interrupted(checkpoint: Checkpoint | None, params, optimizers, history) -> Iterator[None]:
    """Inside, KeyboardInterrupt and TimeoutError write the file before they go on their way, unless they came in the
    middle of a step."""
    try:
        yield
    except (KeyboardInterrupt, TimeoutError):
        taken = [int(state["step"]) for one in optimizers for state in one.state.values() if "step" in state]
        if checkpoint and history.steps and max(taken) == history.steps:
            checkpoint.keep(params, optimizers, history, now=True)
        raise


def deadline(within: float | None, steps: int) -> Callable[[History | FaEHistory], None]:
    """To be called after each of `steps` steps: raises TimeoutError once `within` seconds have passed from now."""
    started = time.perf_counter()

    def on_time(history: History | FaEHistory) -> None:
        if within is not None and time.perf_counter() - started > within and history.steps < steps:
            raise TimeoutError(f"the time is up after {history.steps:,} of at most {steps:,} steps; run again to go on")

    return on_time


def save_trained(net: Module, path: Path, metadata: dict[str, str]) -> None:
    """Keep the parameters of a model that is trained, with its `report` (JSON) among the metadata."""
    save_whole(path, {name: p.detach().cpu().contiguous() for name, p in net.named_parameters()}, metadata)


def load_trained(net: Module, path: Path) -> dict | None:
    """Put kept parameters into the model and give the report; None, and nothing done, if the file is not there or is
    damaged: it is then made again."""
    try:
        with safe_open(path, framework="pt") as file:
            report = json.loads(file.metadata()["report"])
            tensors = {name: file.get_tensor(name) for name, _ in net.named_parameters()}
    except (OSError, SafetensorError, KeyError, TypeError):
        return None
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(tensors[name])
    return report
