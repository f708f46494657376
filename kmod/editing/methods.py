"""The registry of methods: suites, lab, command line and docs take what there is from here.

A method is a function of (model, modification, settings) that returns an `Edit`. To add one, write its file beside this
one and its line in `METHODS` below. Families of models with methods of their own register them with `register`.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

from ..checks import brief
from ..models.door import check_model
from ..models.language_model import LanguageModel
from .alphaedit import alphaedit
from .ewc import ewc
from .finetune import finetune
from .ft_l import ORDERS, SLOTS, ft_l
from .kl import kl
from .knn import knn
from .layernorm import layernorm_tuning
from .lora import lora
from .loss_constrained import loss_constrained
from .low_curvature import low_curvature
from .memit import memit
from .retrain import retrain
from .rome import POSITIONS, rome


@dataclass(frozen=True)
class Option:
    """A setting of one method alone: its default and the values it may have, a range or a list of `choices`."""

    default: float | str | None
    low: float = 0.0
    high: float = math.inf
    choices: tuple[str, ...] = ()
    whole: bool = False

    def check(self, name: str, value: object) -> None:
        """Raise ValueError, by name, for a value that is not allowed."""
        if self.choices:
            if value not in self.choices:
                raise ValueError(brief(f"{name} must be one of {', '.join(self.choices)}, got {value!r}"))
            return
        kind = numbers.Integral if self.whole else numbers.Real
        if isinstance(value, bool) or not isinstance(value, kind) or not self.low <= value <= self.high:
            what = "whole number" if self.whole else "number"
            raise ValueError(brief(f"{name} must be a {what} from {self.low:g} to {self.high:g}, got {value!r}"))


@dataclass(frozen=True)
class Method:
    """One way to edit.

    Args:
        function: of (model, modification, **settings), gives an `Edit` (or, for kNN, a `Datastore`).
        takes: which of the common settings the function takes: block, constraint, steps, batch_size, lr, seed, and
            `where`, a block or part of a FaE.
        options: settings of its own.
        dial: the setting that a suite varies as the radius: "constraint" for δ of a ball, or the name of an option;
            None if it has none.
        fixed: arguments that tell this method from others of the same function.
        cost: time of a step relative to plain fine-tuning, for estimates.
        package: a package that must be installed.
        from_start: the function needs the model as it was before it memorised (`start=`), and how it memorised.
        gives_edit: False for kNN, whose `Datastore` changes no weight.
        places: names that its `block` or `where` may be, beside the number of a block.
        parts: place → the `block` and `component` of `kmod.plan` that choose the parameters trained there.
    """

    function: Callable
    takes: frozenset[str] = frozenset()
    options: Mapping[str, Option] = field(default_factory=dict)
    dial: str | None = None
    fixed: Mapping[str, object] = field(default_factory=dict)
    cost: float = 1.0
    package: str | None = None
    from_start: bool = False
    gives_edit: bool = True
    places: tuple[str, ...] = ("all",)
    parts: Callable[[int | str], dict] = lambda place: {"block": place}

    @property
    def available(self) -> bool:
        """Whether the package it needs is installed."""
        return self.package is None or find_spec(self.package) is not None

    @property
    def descends(self) -> bool:
        """Whether it takes optimiser steps on the evidences of the modified facts."""
        return "steps" in self.takes

    def check(self, options: Mapping[str, object]) -> None:
        """Raise ValueError, by name, for an option that the method does not have or a value that is not allowed."""
        for name, value in options.items():
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise ValueError(brief(f"{self.function.__name__} has no option {name!r}; it has: {known}"))
            self.options[name].check(name, value)


TUNING = frozenset({"block", "constraint", "steps", "batch_size", "lr", "seed"})
CLOSED = TUNING - {"constraint", "batch_size"}  # closed forms, whose descent finds vectors
EVIDENCES = {"evidences": Option(1000, 1, whole=True)}
READ = {"position": Option("subject", choices=POSITIONS), "spread": Option(2, 1, whole=True)}
METHODS: dict[str, Method] = {
    "FTM": Method(finetune, TUNING, dial="constraint"),
    "FTA": Method(finetune, TUNING, dial="constraint", fixed={"mix": True}, cost=1.3),
    "loss-constrained": Method(
        loss_constrained, TUNING, dial="delta",
        options={"delta": Option(0.01), "multiplier_rate": Option(1.0, low=1e-6)}, cost=3,
    ),
    "KL": Method(kl, TUNING, dial="constraint", options={"weight": Option(1.0)}, cost=3),
    "EWC": Method(ewc, TUNING, dial="constraint", options={"weight": Option(1e7)} | EVIDENCES, cost=1.2),
    "low-curvature": Method(
        low_curvature, TUNING - {"constraint"}, dial="curvature", options={"curvature": Option(1e-4, 0, 1)} | EVIDENCES,
        cost=1.5,
    ),
    "FT-L": Method(
        ft_l, TUNING, dial="constraint", cost=1.5, places=(),
        options={
            "slots": Option("first", choices=SLOTS), "evidences": Option(1, 1, whole=True),
            "order": Option("one by one", choices=ORDERS),
        },
    ),
    "LayerNorm tuning": Method(layernorm_tuning, TUNING, dial="constraint"),
    "LoRA": Method(
        lora, TUNING - {"constraint"}, package="peft", cost=1.5,
        options={"rank": Option(8, 1, whole=True), "alpha": Option(None, low=1e-6)},
    ),
    "ROME": Method(
        rome, CLOSED, cost=1.2, places=(),
        options={"position": READ["position"], "keep": Option(1000.0, low=1e-6)} | EVIDENCES,
    ),
    "MEMIT": Method(
        memit, CLOSED, cost=1.5, places=(), options=READ | {"keep": Option(1000.0, low=1e-6)} | EVIDENCES,
    ),
    "AlphaEdit": Method(
        alphaedit, CLOSED, cost=1.5, places=(), dial="energy",
        options=READ | {"energy": Option(0.01, 0, 1), "ridge": Option(1.0, low=1e-6)} | EVIDENCES,
    ),
    "kNN": Method(
        knn, dial="epsilon", options={"epsilon": Option(4.0), "most": Option(10, 1, whole=True)}, gives_edit=False,
    ),
    "retrain": Method(retrain, from_start=True),
}  # fmt: skip
"""Name → method, for a plain masked LM."""

_OF: dict[type, dict[str, Method]] = {LanguageModel: METHODS}


def register(family: type, methods: dict[str, Method]) -> None:
    """Models of class `family` are edited by `methods` in place of those of its parent class."""
    _OF[family] = methods


def methods_for(model: LanguageModel | type) -> dict[str, Method]:
    """Name → method, for a model or its class."""
    if not isinstance(model, type):
        check_model(model)
    family = model if isinstance(model, type) else type(model)
    return next(_OF[parent] for parent in family.__mro__ if parent in _OF)


def find(model: LanguageModel | type, name: str) -> Method:
    """The method called `name`. Raises ValueError that lists those there are, or says what to install."""
    known = methods_for(model)
    if name not in known:
        raise ValueError(brief(f"no method {name!r}; known: {', '.join(known)}"))
    if not known[name].available:
        raise ValueError(f"{name} needs {known[name].package}: pip install 'kmod[baselines]'")
    return known[name]
