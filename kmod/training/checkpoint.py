"""Trainings kept on disk: unfinished ones every few minutes (weights, Adam's moments, curves), and finished ones."""

from __future__ import annotations

import hashlib
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from ..facts import FactBase
from ..files import cache_dir, save_whole
from ..models.language_model import LanguageModel
from ..models.loading import start_of
from ..versions import code_digest, versions
from .history import History

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # Adam's state of a parameter


class Checkpoint:
    """The file of an unfinished training.

    As a context manager it treats interruptions: KeyboardInterrupt and TimeoutError write the file before they
    propagate, unless they arrived in the middle of an optimiser step.

    Args:
        key: identifies the training; a file with another key is not read.
        minutes: how often to write the file.
        within: seconds from now after which `step_done` raises TimeoutError; None for no limit.
    """

    def __init__(self, path: Path, key: str, minutes: float = 3, within: float | None = None):
        self.path, self.key, self.minutes = path, key, minutes
        self.written = time.perf_counter()
        self.until = math.inf if within is None else self.written + within

    @staticmethod
    def stored_key(path: Path) -> str | None:
        """The key of the file at `path`; None if it is missing, damaged or no checkpoint."""
        try:
            with safe_open(path, framework="pt") as file:
                return (file.metadata() or {}).get("key")
        except (OSError, SafetensorError):
            return None

    def resume(self, params: dict[str, Tensor], optimizers: Sequence[Optimizer], history: History) -> bool:
        """Write the state of these objects from now on. First load the file into them, in place; False, and nothing is
        loaded, if there is no whole file of this key for parameters of these names and shapes."""
        self.params, self.optimizers, self.history = params, optimizers, history
        if self.stored_key(self.path) != self.key:
            return False
        with safe_open(self.path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        weights = {name: stored.get(f"weight.{name}") for name in params}
        if any(weight is None or weight.shape != params[name].shape for name, weight in weights.items()):
            return False
        owner = {leaf: o for o in optimizers for group in o.param_groups for leaf in group["params"]}
        with torch.no_grad():
            for name, leaf in params.items():
                leaf.copy_(weights[name])
                if f"step.{name}" in stored:
                    state = {moment: stored[f"{moment}.{name}"].to(leaf.device) for moment in MOMENTS}
                    if not state["step"].is_floating_point():
                        state["step"] = int(state["step"])  # SparseAdam counts in Python integers
                    owner[leaf].state[leaf] = state
        vars(history).update(json.loads(stored["history"].numpy().tobytes()))
        return True

    def write(self) -> None:
        """Write the file, whole or not at all. A full disk only causes a warning, once."""
        tensors = {f"weight.{name}": leaf.detach().cpu().contiguous() for name, leaf in self.params.items()}
        states = {leaf: state for optimizer in self.optimizers for leaf, state in optimizer.state.items()}
        for name, leaf in self.params.items():
            for moment, value in states.get(leaf, {}).items():
                tensors[f"{moment}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
        history = json.dumps(asdict(self.history)).encode()
        tensors["history"] = torch.from_numpy(np.frombuffer(history, np.uint8).copy())
        try:
            save_whole(self.path, tensors, {"key": self.key})
        except OSError as error:
            warnings.warn(f"the training goes on, but is not kept on disk: {error}", stacklevel=2)
            self.minutes = math.inf
        self.written = time.perf_counter()

    @property
    def due(self) -> bool:
        return time.perf_counter() - self.written >= 60 * self.minutes

    def step_done(self, steps: int) -> None:
        """Write the file if it is due. Raises TimeoutError if the time is up before the last of `steps` steps."""
        if time.perf_counter() > self.until and self.history.steps < steps:
            done = f"{self.history.steps:,} of at most {steps:,} steps"
            raise TimeoutError(f"the time is up after {done}; run again to go on")
        if self.due:
            self.write()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        if kind and issubclass(kind, (KeyboardInterrupt, TimeoutError)):
            steps = [int(s["step"]) for o in self.optimizers for s in o.state.values() if "step" in s]
            if self.history.steps and max(steps) == self.history.steps:
                self.write()


def train_once(
    model: LanguageModel,
    facts: FactBase,
    settings: dict,
    train: Callable[[Checkpoint | None], object],
    *,
    folder: str,
    code: Sequence[str],
    cache: bool,
    within: float | None,
) -> dict:
    """The report of `train`, which trains the parameters of `model` in place, as a dictionary.

    With `cache`, weights and report are kept under `cache_dir()`/`folder`, and the same call loads them and adds
    "cached": True. An unfinished training is kept as well, by the `Checkpoint` that `train` is given.

    Args:
        train: returns its report as a dataclass.
        code: the packages of kmod that decide the result; a change of their code makes another training.
        within: seconds until TimeoutError (see `Checkpoint`).

    Raises ValueError for `within` without `cache`.
    """
    if within is not None and not cache:
        raise ValueError("within needs cache=True: a training that is not kept cannot go on")
    if not cache:
        return asdict(train(None))
    frozen = [name for name, p in model.net.named_parameters() if not p.requires_grad]
    key = [start_of(model), facts.fingerprint(), settings, frozen, versions(), code_digest(*code)]
    key = json.dumps(key, sort_keys=True)
    path = cache_dir() / folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    if (report := load_trained(model.net, path)) is not None:
        return report | {"cached": True}
    checkpoint = Checkpoint(path.with_suffix(".partial"), key, within=within)
    report = asdict(train(checkpoint))
    try:
        tensors = {name: p.detach().cpu().contiguous() for name, p in model.net.named_parameters()}
        save_whole(path, tensors, {"report": json.dumps(report), "key": key})
        checkpoint.path.unlink(missing_ok=True)
    except OSError as error:  # a full or read-only disk must not cost the training
        warnings.warn(f"trained, but not kept on disk: {error}", stacklevel=3)
    return report


def load_trained(net: Module, path: Path) -> dict | None:
    """Load the parameters of a finished training into `net` and return its report; None, and nothing is loaded, if the
    file is missing or damaged."""
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
