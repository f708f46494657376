"""How an edit is made: a method of the registry, its settings, and the call as a line of Python."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import kmod

from ..checks import brief
from ..constraints import CONSTRAINTS
from ..editing.balls import STATISTICS
from ..editing.methods import Method, find, methods_for
from ..facts import Modification
from ..models.language_model import LanguageModel

EVIDENCES = 200  # for the statistics of a ball: about a second on nano
FEW = 5  # passes over the evidences whose mean loss is compared with that of as many before; a batch has some 8 facts
FLAT = 0.01  # share of the first loss by which the mean of some steps must fall, or the edit ends
PLACE = frozenset({"block", "where"})  # the arguments that say where to edit; a method takes at most one


def offered(model: LanguageModel | type) -> dict[str, Method]:
    """The methods of the registry that the lab can apply and undo: they give an `Edit`, from the model as it is."""
    methods = methods_for(model)
    return {name: m for name, m in methods.items() if m.available and m.gives_edit and not m.from_start}


def place_name(place: int | str) -> str:
    return f"block {place}" if isinstance(place, int) else place.replace("_", " ")


@dataclass(frozen=True)
class Settings:
    """The values of the lab's controls. A value that the method does not take has no effect.

    Args:
        method: a name of the registry.
        block: the place to edit: a block's number from 0, or a name among the method's `places`, such as "all".
        constraint: a name of `CONSTRAINTS`, or None; used if the method's dial is the constraint.
        delta: radius of the constraint, or the value of the method's own dial.
        options: the method's own settings, where they are not the defaults.
        early: end before `steps` when the loss is flat, where the method can.
        family: the class of the model: it decides which methods there are.

    Raises ValueError for an unknown method, constraint, option or place.
    """

    method: str = "FTM"
    block: int | str = "all"
    constraint: str | None = "Linf"
    delta: float = 3e-3
    steps: int = 60
    seed: int = 0
    options: tuple[tuple[str, object], ...] = ()
    early: bool = False
    family: type[LanguageModel] = field(default=LanguageModel, repr=False)

    def __post_init__(self):
        method = self.entry
        method.check(dict(self.options) | self._dial)
        if self.constraint is not None and self.constraint not in CONSTRAINTS:
            raise ValueError(brief(f"no constraint {self.constraint!r}; known: {', '.join(CONSTRAINTS)}"))
        if isinstance(self.block, str) and method.takes & PLACE and self.block not in method.places:
            places = " or ".join(["a block's number", *method.places])
            raise ValueError(f"{self.method} edits {places}, not {self.block}")

    @property
    def entry(self) -> Method:
        """The method as the registry describes it."""
        return find(self.family, self.method)

    @property
    def bounded(self) -> bool:
        """Whether the edit stays in a ball."""
        return self.entry.dial == "constraint" and self.constraint is not None

    @property
    def ends_early(self) -> bool:
        """Whether the edit may end before its last step."""
        return self.early and "stop" in inspect.signature(self.entry.function).parameters

    @property
    def _dial(self) -> dict[str, float]:
        """`delta` as one of the method's own settings, if its dial is one."""
        return {self.entry.dial: self.delta} if self.entry.dial in self.entry.options else {}

    def __str__(self) -> str:
        takes, parts = self.entry.takes, [self.method]
        if takes & PLACE:
            everything = "all blocks" if "block" in takes else "all parts"
            parts.append(everything if self.block == "all" else place_name(self.block))
        if self._dial or self.bounded:
            parts.append(f"{self.constraint} δ = {self.delta:.3g}" if self.bounded else f"δ = {self.delta:.3g}")
        if self.entry.descends:
            parts.append(f"{'at most ' * self.ends_early}{self.steps} steps")
        return ", ".join([*parts, *(f"{name} = {value}" for name, value in self.options)])

    def call(self, facts: int = 1) -> str:
        """The edit of so many facts as a Python expression over `kmod`, `model` and `change`: what the lab itself
        evaluates."""
        method = self.entry
        arguments = {name: repr(self.block) for name in PLACE & method.takes}
        if self.bounded:
            ball = [repr(self.delta)]
            if statistics := STATISTICS.get(self.constraint):
                chosen = {name: repr(value) for name, value in method.parts(self.block).items()}
                ball.append(_call(statistics, "model", "change", **chosen, evidences=EVIDENCES))
            arguments["constraint"] = _call(CONSTRAINTS[self.constraint], *ball)
        own = {name: option.default for name, option in method.options.items()} | dict(self.options) | self._dial
        own = {name: getattr(self, name) for name in ("steps", "seed") if name in method.takes} | own | method.fixed
        if self.ends_early:
            arguments["stop"] = _call(kmod.Stop, flat=FLAT, in_a_row=FEW * math.ceil(facts / 8))
        return _call(method.function, "model", "change", **arguments, **{k: repr(value) for k, value in own.items()})

    def names(self) -> dict[str, Callable]:
        """The functions in `call` that are not public in `kmod`, by name."""
        functions = (self.entry.function, CONSTRAINTS.get(self.constraint), STATISTICS.get(self.constraint))
        return {f.__name__: f for f in functions if f is not None and not _public(f)}

    def make(self, model: LanguageModel, change: Modification) -> kmod.Edit:
        """Make the edit; `model` is not changed. Every value in the expression is written by `repr`."""
        return eval(self.call(len(change)), {"kmod": kmod, "model": model, "change": change} | self.names())


def _public(function: Callable) -> bool:
    return getattr(kmod, function.__name__, None) is function


def _call(function: Callable, *arguments: str, **named: object) -> str:
    """A call as code; the arguments are code, too."""
    name = f"kmod.{function.__name__}" if _public(function) else function.__name__
    return f"{name}({', '.join([*arguments, *(f'{name}={value}' for name, value in named.items())])})"
