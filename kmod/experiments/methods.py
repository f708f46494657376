"""From settings to edits: the call of a method of the registry that a run stands for."""

from __future__ import annotations

from collections.abc import Sequence

from ..checks import brief
from ..editing.balls import make_ball
from ..editing.methods import Method
from ..facts import Modification
from ..fae.finetune import fae_parts
from ..training.sharing import sharing
from .settings import Setting
from .starts import BATCH, Prepared, build


def edits(prepared: Prepared, change: Modification, runs: Sequence[Setting]) -> list:
    """The edits of runs that differ in their radius alone. Raises ValueError for a method or setting that the model or
    method does not have, and ModuleNotFoundError for a package that is not installed."""
    model, run, method = prepared.model, runs[0], runs[0].registered
    if not method.available:
        raise ModuleNotFoundError(f"{run.method} needs {method.package}: pip install 'kmod[baselines]'")
    for each in runs:
        check(method, each)
    settings = arguments(method, run)
    if method.from_start:  # the model as it was before it memorised, and how it memorised
        settings |= {
            "start": build(run.state, prepared.facts), "epochs": run.state.epochs, "seed": run.state.training,
            "least_steps": run.state.least_steps, "batch_size": prepared.batch_size or BATCH, "cache": False,
            "progress": False,
        }  # fmt: skip
    dials, statistics = [{method.dial: each.delta} if each.delta is not None else {} for each in runs], {}
    if method.dial == "constraint":
        part = {"component": fae_parts(model, run.block)} if run.state.fae else {"block": run.block}
        part = {} if run.block is None else part  # the method's own default
        balls = (make_ball(r.constraint, r.delta, model, change, statistics, **part, seed=r.seed) for r in runs)
        dials = [{"constraint": ball} for ball in balls]
    with sharing():
        return [method.function(model, change, **settings | dial) for dial in dials]


def check(method: Method, run: Setting) -> None:
    """Raise ValueError, by name, for a setting that the method does not take: it would be recorded and change
    nothing."""
    options = dict(run.options or ())
    method.check(options)
    if method.dial in options:
        raise ValueError(f"{method.dial} is the radius of {run.method}: give it as delta, not as an option")
    if method.dial in method.options and run.delta is not None:
        method.options[method.dial].check(method.dial, run.delta)
    ball = method.dial == "constraint"
    takes = {"block": bool({"block", "where"} & method.takes), "constraint": ball, "delta": method.dial is not None}
    for name in ("block", "steps", "batch_size", "lr", "constraint", "delta"):
        if getattr(run, name) is not None and not takes.get(name, name in method.takes):
            raise ValueError(brief(f"{run.method} takes no {name}, got {getattr(run, name)!r}"))
    if ball and (run.delta is None) != (run.constraint is None):
        raise ValueError(
            brief(f"{run.method} takes constraint and delta together, got {run.constraint!r} and {run.delta!r}")
        )


def arguments(method: Method, run: Setting) -> dict:
    """What the method takes of `run`, but for the radius; options that are not given have the registry's default, and
    what else is None is left to the method."""
    defaults = {name: option.default for name, option in method.options.items() if option.default is not None}
    given = {name: getattr(run, name) for name in ("block", "steps", "batch_size", "lr", "seed")} | {"where": run.block}
    given = {name: value for name, value in given.items() if name in method.takes and value is not None}
    return defaults | given | dict(run.options or ()) | dict(method.fixed)
