"""How an edit is made: the methods the lab offers, what each of them takes, and the call as a line of Python."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import kmod

from ..facts import Modification
from ..models.masked_lm import MaskedLM
from ..parts import INSIDE, OUTSIDE


@dataclass(frozen=True)
class Method:
    """A function of `kmod` that gives an `Edit`, and which of the lab's settings it takes.

    `cost` is the time of a step relative to a plain one, until the first edit has shown what it is.
    """

    function: str
    takes: frozenset[str]
    fixed: tuple[tuple[str, object], ...] = ()
    cost: float = 1.0
    fae: bool = False


def _method(function: str, takes: str, cost: float = 1.0, fae: bool = False, **fixed) -> Method:
    return Method(function, frozenset(takes.split()), tuple(fixed.items()), cost, fae)


METHODS = {
    "FTM": _method("finetune", "block constraint steps"),
    "FTA": _method("finetune", "block constraint steps", 1.3, mix=True),
    "KL to the original": _method("kl", "block constraint steps", 3),
    "EWC": _method("ewc", "block constraint steps", 1.2, weight=1e7, evidences=200),
    "loss-constrained": _method("loss_constrained", "block delta steps", 3),
    "LayerNorm tuning": _method("layernorm_tuning", "block constraint steps"),
    "LoRA": _method("lora", "block steps", 1.5),
    "ROME": _method("rome", "block steps", 1.2),
}
METHODS_FAE = {
    "UPDATE (symbolic)": _method("update_facts", "", fae=True),
    "UPDATE + FTM": _method("finetune_fae", "where constraint steps", fae=True),
    "FTM": METHODS["FTM"],
}
CONSTRAINTS = {"L∞": "Linf", "L2": "L2", "L2 per tensor": "L2PerTensor", "Fisher": "Fisher", "none": None}


def methods_for(model: MaskedLM) -> dict[str, Method]:
    """The methods that this model can be edited by, with what is installed."""
    if model.net.config.model_type == "fae":
        return METHODS_FAE
    return {name: m for name, m in METHODS.items() if m.function != "lora" or find_spec("peft")}


@dataclass(frozen=True)
class Settings:
    """What the lab's controls say. A setting that the method does not take has no effect.

    Args:
        block: a block's number from 0, or "all"; of a FaE's parts also "AWT".
        constraint: a name of `CONSTRAINTS`; `delta` its radius.
    """

    method: str = "FTM"
    block: int | str = "all"
    constraint: str = "L∞"
    delta: float = 3e-3
    steps: int = 60
    seed: int = 0

    def _of(self) -> Method:
        known = METHODS | METHODS_FAE
        if self.method not in known:
            raise ValueError(f"no method {self.method!r}; known: {', '.join(known)}")
        if self.constraint not in CONSTRAINTS:
            raise ValueError(f"no constraint {self.constraint!r}; known: {', '.join(CONSTRAINTS)}")
        if self.block == "AWT" and self.method not in METHODS_FAE:
            raise ValueError(f"{self.method} takes no part AWT: that is of a FaE, and for {', '.join(METHODS_FAE)}")
        return known[self.method]

    def __str__(self) -> str:
        takes, parts = self._of().takes, [self.method]
        if takes & {"block", "where"}:
            names = {"all": "all blocks" if "block" in takes else "all parts", "AWT": "AWT"}
            parts.append(names.get(self._place, f"block {self._place}"))
        if "delta" in takes or ("constraint" in takes and CONSTRAINTS[self.constraint]):
            parts.append(("" if "delta" in takes else f"{self.constraint} ") + f"δ = {self.delta:.3g}")
        if "steps" in takes:
            parts.append(f"{self.steps} steps")
        return ", ".join(parts)

    @property
    def _place(self) -> int | str:
        """The block; for ROME, which changes a single one, the first in the place of all."""
        return 0 if self.method == "ROME" and self.block == "all" else self.block

    @property
    def part(self) -> dict[str, object]:
        """Which parameters are trained, as `kmod.plan` and `kmod.fisher_diagonal` take them. AWT is all that lies
        outside the blocks, and UPDATE + FTM trains it with whichever block."""
        if self.block == "AWT":
            return {"component": list(OUTSIDE)}
        if "where" in self._of().takes:
            whole = self.block == "all"
            return {"component": "everything"} if whole else {"block": self.block, "component": [*INSIDE, *OUTSIDE]}
        return {"block": self._place} | ({"component": "layernorm"} if self.method == "LayerNorm tuning" else {})

    def call(self, model: str = "model", change: str = "change") -> str:
        """The edit as a Python expression over `kmod` and the two names: what the lab itself evaluates."""
        method, parts = self._of(), []
        if "block" in method.takes:
            parts += _arguments(self.part) if self.block == "AWT" else [f"block={self._place!r}"]
        if "where" in method.takes:
            parts.append(f"where={self.block!r}")
        if "constraint" in method.takes and (name := CONSTRAINTS[self.constraint]):
            parts.append(f"constraint=kmod.{name}({self.delta!r}{self._diagonal(name, model, change)})")
        if "delta" in method.takes:
            parts.append(f"delta={self.delta!r}")
        if "steps" in method.takes:
            parts += [f"steps={self.steps!r}", f"seed={self.seed!r}"]
        parts += _arguments(dict(method.fixed))
        return f"kmod.{method.function}({', '.join([model, change, *parts])})"

    def _diagonal(self, constraint: str, model: str, change: str) -> str:
        if constraint != "Fisher":
            return ""
        return f", kmod.fisher_diagonal({', '.join([model, change, *_arguments(self.part)])}, evidences=200)"

    def make(self, model: MaskedLM, change: Modification) -> kmod.Edit:
        """Make the edit; `model` is not changed. Every value in the expression is written by `repr`."""
        return eval(self.call(), {"kmod": kmod, "model": model, "change": change})


def _arguments(values: dict[str, object]) -> list[str]:
    return [f"{name}={value!r}" for name, value in values.items()]
