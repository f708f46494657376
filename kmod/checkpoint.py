"""A training that outlives an interruption: weights, Adam's moments and the curve, in one file, every few minutes."""

from __future__ import annotations

import json
import math
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .cache import save_whole

if TYPE_CHECKING:
    from .training import History

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of Adam, for each parameter


class Checkpoint:
    """A place on disk for a training under way. `key` says which training it is: a file of another one is not read.

    Args:
        minutes: write a file this often.
    """

    def __init__(self, path: Path, key: str, minutes: float = 3):
        self.path, self.key, self.minutes = path, key, minutes
        self.written = time.perf_counter()

    def load(self, params: dict[str, Tensor], optimizer: torch.optim.Adam, history: History) -> None:
        """Put what is kept into the parameters (in place), the optimiser and the history; nothing if nothing is."""
        try:
            with safe_open(self.path, framework="pt") as file:
                about = json.loads(file.metadata()["about"])
                kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError):
            return
        if about["key"] != self.key or {f"weight.{name}" for name in params} - kept.keys():
            return
        with torch.no_grad():
            for name, leaf in params.items():
                leaf.copy_(kept[f"weight.{name}"])
                state = {key: kept[f"{key}.{name}"].to(leaf.device) for key in MOMENTS if f"{key}.{name}" in kept}
                if state:
                    optimizer.state[leaf] = state
        history.loss, history.recall = kept["loss"].tolist(), kept["recall"].tolist()
        history.seconds = about["seconds"]

    def keep(self, params: dict[str, Tensor], optimizer: torch.optim.Adam, history: History, now: bool = False) -> None:
        """Write the file if it is time, or `now`; it appears whole or not at all. A full disk is warned of, once."""
        if not now and time.perf_counter() - self.written < 60 * self.minutes:
            return
        tensors = {f"weight.{name}": leaf.detach().cpu().contiguous() for name, leaf in params.items()}
        for name, leaf in params.items():
            for key, value in optimizer.state.get(leaf, {}).items():
                tensors[f"{key}.{name}"] = value.detach().cpu().contiguous()
        tensors |= {name: torch.tensor(getattr(history, name), dtype=torch.float64) for name in ("loss", "recall")}
        about = json.dumps({"key": self.key, "seconds": history.seconds})
        try:
            save_whole(self.path, tensors, {"about": about})
        except (OSError, SafetensorError) as error:
            warnings.warn(f"the training goes on, but is not kept on disk: {error}", stacklevel=2)
            self.minutes = math.inf
        self.written = time.perf_counter()

    def drop(self) -> None:
        """The training is over."""
        self.path.unlink(missing_ok=True)
