"""How an edit is made: a method of the registry, its settings, and the call as a line of Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import kmod

from ..constraints import CONSTRAINTS
from ..editing.balls import STATISTICS
from ..editing.methods import Method, find, methods_for
from ..facts import Modification
from ..models.masked_lm import MaskedLM

EVIDENCES = 200  # for a ball's statistics: about a second on nano


def offered(model: MaskedLM) -> dict[str, Method]:
    """The methods of the registry that the lab can apply and undo: they give an `Edit`, from the model as it is."""
    return {
        name: method
        for name, method in methods_for(model).items()
        if method.available and method.gives_edit and not method.from_start
    }


@dataclass(frozen=True)
class Settings:
    """The values of the lab's controls. A value that the method does not take has no effect.

    Args:
        method: a name of the registry.
        block: a block's number from 0, or "all"; for a FaE, one of its places such as "AWT" (see `finetune_fae`).
        constraint: a name of `CONSTRAINTS`, or None.
        delta: radius of the constraint, or the method's own dial.
        options: the method's own settings, where they are not the defaults.
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
    family: type[MaskedLM] = field(default=MaskedLM, repr=False)

    def __post_init__(self):
        self.entry.check(dict(self.options))
        if self.constraint is not None and self.constraint not in CONSTRAINTS:
            raise ValueError(f"no constraint {self.constraint!r}; known: {', '.join(CONSTRAINTS)}")
        if isinstance(self.block, str) and self.block != "all" and "block" in self.entry.takes:
            raise ValueError(f"{self.method} takes a block's number or all, not {self.block!r}")

    @property
    def entry(self) -> Method:
        """The method as the registry describes it."""
        return find(self.family, self.method)

    @property
    def bounded(self) -> bool:
        """Whether `delta` has an effect."""
        method = self.entry
        return method.dial in method.options or ("constraint" in method.takes and self.constraint is not None)

    def __str__(self) -> str:
        method, parts = self.entry, [self.method]
        if method.takes & {"block", "where"}:
            place = f"block {self.block}" if isinstance(self.block, int) else self.block
            parts.append({"all": "all blocks" if "block" in method.takes else "all parts"}.get(place, place))
        if self.bounded:
            parts.append(f"{'' if method.dial in method.options else f'{self.constraint} '}δ = {self.delta:.3g}")
        if method.descends:
            parts.append(f"{self.steps} steps")
        return ", ".join([*parts, *(f"{name} = {value}" for name, value in self.options)])

    def call(self) -> str:
        """The edit as a Python expression over `kmod`, `model` and `change`: what the lab itself evaluates."""
        method = self.entry
        arguments = self._place()
        if "constraint" in method.takes and self.constraint is not None:
            arguments["constraint"] = _Code(self._ball())
        arguments |= {name: getattr(self, name) for name in ("steps", "seed") if name in method.takes}
        arguments |= {name: option.default for name, option in method.options.items()} | dict(self.options)
        if method.dial in method.options:
            arguments[method.dial] = self.delta
        return _call(method.function, "model", "change", **arguments, **method.fixed)

    def _place(self) -> dict[str, object]:
        """The argument that says where to edit. "all" is left out for a method of one block, which has a default."""
        method = self.entry
        if method.one_block and self.block == "all":
            return {}
        return {name: self.block for name in ("block", "where") if name in method.takes}

    def _ball(self) -> str:
        ball, statistics = CONSTRAINTS[self.constraint], STATISTICS.get(self.constraint)
        if statistics is None:
            return _call(ball, repr(self.delta))
        return _call(ball, repr(self.delta), _call(statistics, "model", "change", **self._place(), evidences=EVIDENCES))

    def names(self) -> dict[str, Callable]:
        """The functions in `call` that are not public in `kmod`, by name."""
        functions = (self.entry.function, CONSTRAINTS.get(self.constraint), STATISTICS.get(self.constraint))
        return {f.__name__: f for f in functions if f is not None and not _public(f)}

    def make(self, model: MaskedLM, change: Modification) -> kmod.Edit:
        """Make the edit; `model` is not changed. Every value in the expression is written by `repr`."""
        return eval(self.call(), {"kmod": kmod, "model": model, "change": change} | self.names())


class _Code(str):
    """Python code as an argument: its repr is the code itself."""

    __repr__ = str.__str__


def _public(function: Callable) -> bool:
    return getattr(kmod, function.__name__, None) is function


def _call(function: Callable, *code: str, **arguments: object) -> str:
    name = f"kmod.{function.__name__}" if _public(function) else function.__name__
    return f"{name}({', '.join([*code, *(f'{name}={value!r}' for name, value in arguments.items())])})"
