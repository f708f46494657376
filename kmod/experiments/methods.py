"""From settings to edits: the call of a method of the registry that a run stands for."""

from __future__ import annotations

from collections.abc import Sequence

from ..editing import finetune, sweep
from ..editing.balls import make_ball
from ..editing.methods import Method
from ..facts import Modification
from .settings import Setting
from .starts import BATCH, Prepared, build


def edits(prepared: Prepared, change: Modification, runs: Sequence[Setting]) -> list:
    """The edits of runs that differ in their radius alone. Raises ValueError for a method or setting that the model or
    method does not have, and ModuleNotFoundError for a package that is not installed."""
    model, run = prepared.model, runs[0]
    method = run.registered
    if not method.available:
        raise ModuleNotFoundError(f"{run.method} needs {method.package}: pip install 'kmod[baselines]'")
    for each in runs:
        check(method, each)
    settings = shared_settings(method, run)
    if method.from_start:
        settings |= from_start(prepared)
    statistics: dict = {}  # of the model, for one radius and the next
    radii = [radius(method, prepared, change, each, statistics) for each in runs]
    if method.function is finetune:  # all radii at once, so that they share what they have in common
        settings.pop("seed")
        return sweep(model, [(change, each["constraint"], run.seed) for each in radii], **settings)
    return [method.function(model, change, **settings | each) for each in radii]


def check(method: Method, run: Setting) -> None:
    """Raise ValueError, by name, for a setting that the method does not take: it would be recorded and change
    nothing."""
    options = dict(run.options or ())
    method.check(options)
    if method.dial in options:
        raise ValueError(f"{method.dial} is the radius of {run.method}: give it as delta, not as an option")
    if method.dial in method.options and run.delta is not None:
        method.options[method.dial].check(method.dial, run.delta)
    takes = {name: name in method.takes for name in ("block", "steps", "batch_size", "lr")}
    takes |= {"constraint": method.dial == "constraint", "delta": method.dial is not None}
    takes["block"] |= "where" in method.takes
    for name, taken in takes.items():
        if getattr(run, name) is not None and not taken:
            raise ValueError(f"{run.method} takes no {name}, got {getattr(run, name)!r}")
    if method.dial == "constraint" and (run.delta is None) != (run.constraint is None):
        raise ValueError(f"{run.method} takes constraint and delta together, got {run.constraint!r} and {run.delta!r}")


def shared_settings(method: Method, run: Setting) -> dict:
    """What the method takes of `run`, but for the radius; options that are not given have the registry's default, and
    what else is None is left to the method."""
    defaults = {name: option.default for name, option in method.options.items() if option.default is not None}
    settings = {name: getattr(run, name) for name in ("block", "steps", "batch_size", "lr", "seed")}
    settings = {name: value for name, value in settings.items() if name in method.takes and value is not None}
    if "where" in method.takes and run.block is not None:
        settings["where"] = run.block
    return defaults | settings | dict(run.options or ()) | dict(method.fixed)


def radius(method: Method, prepared: Prepared, change: Modification, run: Setting, statistics: dict) -> dict:
    """A run's radius as an argument of the method: a constraint, or the method's own dial."""
    if method.dial == "constraint":
        where = {"block": run.block} if "block" in method.takes and run.block is not None else {}
        ball = make_ball(run.constraint, run.delta, prepared.model, change, statistics, **where, seed=run.seed)
        return {"constraint": ball}
    return {} if run.delta is None else {method.dial: run.delta}


def from_start(prepared: Prepared) -> dict:
    """The model as it was before it memorised, and how it memorised: what retraining needs."""
    state = prepared.state
    return {
        "start": build(state, prepared.facts), "epochs": state.epochs,
        "least_steps": state.least_steps, "seed": state.training, "batch_size": prepared.batch_size or BATCH,
        "cache": False, "progress": False,
    }  # fmt: skip
