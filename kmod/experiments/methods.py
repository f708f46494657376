"""From settings to edits: the call of a method of the registry that a run stands for."""

from __future__ import annotations

from collections.abc import Sequence

from ..editing import finetune, sweep
from ..editing.balls import make_ball
from ..editing.methods import Method, find
from ..facts import Modification
from .settings import Setting
from .starts import BATCH, Prepared, build


def edits(prepared: Prepared, change: Modification, runs: Sequence[Setting]) -> list:
    """The edits of runs that differ in their radius alone. Raises ValueError for a method, an option or a constraint
    that the model does not have."""
    model, run = prepared.model, runs[0]
    method = find(model, run.method)
    options = dict(run.options or ())
    method.check(options)
    if run.constraint is not None and "constraint" not in method.takes:
        raise ValueError(f"{run.method} takes no constraint; got {run.label}")
    settings = common(method, run) | options | dict(method.fixed)
    if method.from_start:
        settings |= from_start(prepared)
    dials = [dial(method, prepared, change, one, statistics) for statistics in [{}] for one in runs]
    if method.function is finetune:  # all radii at once, so that they share what they have in common
        settings.pop("seed")
        triples = [(change, one["constraint"], run.seed) for one in dials]
        return sweep(model, triples, **settings)
    return [method.function(model, change, **settings, **one) for one in dials]


def common(method: Method, run: Setting) -> dict:
    """The settings of `run` that the method takes; what is None is left to the method's own default."""
    names = ("block", "steps", "batch_size", "lr", "seed")
    found = {name: getattr(run, name) for name in names if name in method.takes}
    if "where" in method.takes:
        found["where"] = run.block
    return {name: value for name, value in found.items() if value is not None}


def dial(method: Method, prepared: Prepared, change: Modification, run: Setting, statistics: dict) -> dict:
    """The argument that a run's radius is: a ball, or an option of the method's own."""
    if method.dial is None or (method.dial != "constraint" and run.delta is None):
        return {}
    if method.dial != "constraint":
        return {method.dial: run.delta}
    where = {"block": run.block} if "block" in method.takes and run.block is not None else {}
    ball = make_ball(run.constraint, run.delta, prepared.model, change, statistics, **where, seed=run.seed)
    return {"constraint": ball}


def from_start(prepared: Prepared) -> dict:
    """The model as it was before it memorised, and how it memorised: what retraining needs."""
    state = prepared.state
    fresh = build(state.model, state.start, prepared.facts, state.training)
    return {
        "start": fresh, "epochs": state.epochs, "least_steps": state.least_steps, "seed": state.training,
        "batch_size": prepared.batch_size or BATCH, "cache": False, "progress": False,
    }  # fmt: skip
