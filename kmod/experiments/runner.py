"""Run what is missing of the suites, within a time budget, and keep every finished run.

The unit of work is a group: runs that differ in their radius alone, done as one sweep and appended to the records in
one write. A process that is killed loses the group in hand and nothing else.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm.auto import tqdm

from ..checks import brief
from ..files import user_path
from ..progress import noted_signals
from . import records
from .cost import Device, Estimate, here, text
from .groups import work
from .known import keep
from .machine import tensor_cores
from .settings import FAE, Setting, State
from .starts import Bench, kept
from .suites import Profile, settings

KEPT = 5.0  # seconds to load a starting state that is kept on disk
Group = tuple[str, list[Setting]]
"""The suite that a group of runs is recorded under, and the runs."""


@dataclass(frozen=True)
class Todo:
    """The runs that suites lack, in groups; how many are done; and the estimated seconds of each group and state."""

    groups: list[Group]
    done: int
    failed: int
    seconds: list[float]
    states: dict[State, float]
    slots: int = 1  # how many groups are done side by side

    @property
    def runs(self) -> int:
        return sum(len(runs) for _, runs in self.groups)

    def __str__(self) -> str:
        failed = f", {self.failed} failed" * bool(self.failed)
        if not self.groups:
            return f"nothing is missing: {self.done} runs are done{failed}"
        # One state is trained by one device, however many there are.
        training = max(sum(self.states.values()) / self.slots, *self.states.values(), 0.0)
        beside = f" on {self.slots} devices" * (self.slots > 1)
        return (
            f"{self.runs} runs missing, {self.done} done{failed}: about "
            f"{text(sum(self.seconds) / self.slots + training)}{beside}, of which {text(training)} to train "
            f"{len(self.states)} starting states, or to load those that are kept on disk"
        )


def plan(
    suites: Sequence[str], profile: Profile, out: Path, on: str | Device | None = None, retry: bool = False
) -> Todo:
    """What the suites lack in the records under `out`: all cells at one seed before any at the next; with an estimate
    for this machine, or `on` another (`cost.Estimate`). A run that failed is not lacking, unless `retry`. Raises
    ValueError if a model of the profile is a FaE."""
    for model in (profile.model, profile.pretrained or ""):
        if model.startswith(FAE):
            raise ValueError(f"suites name the plain model, not {model}; rq3_fae trains the FaE of it itself")
    usable = [record for record in records.read(out) if not retry or record["status"] != "failed"]
    recorded: dict[str, dict] = {}
    for record in usable:
        run = Setting(**record["settings"])
        recorded[run.id] = record
        if run.own:
            recorded.setdefault(run.own.id, record)
    same_facts = [record for record in recorded.values() if record["settings"]["facts"] == profile.facts]
    estimate = Estimate(same_facts, on)  # other facts may not be on this machine
    wanted: dict[Setting, str] = {}
    for suite in suites:
        for run in settings(suite, profile):
            wanted.setdefault(run, suite)
    groups: dict[Setting, Group] = {}
    for run, suite in sorted(wanted.items(), key=lambda item: item[0].seed):  # stable
        if run.id not in recorded:
            groups.setdefault(run.group, (suite, []))[1].append(run)
    statuses = [recorded[run.id]["status"] for run in wanted if run.id in recorded]
    failed = statuses.count("failed")
    needed = dict.fromkeys(state for _, (run, *_) in groups.values() for state in (run.state.reference, run.state))
    seconds = [sum(map(estimate.run, runs)) for _, runs in groups.values()]
    states = {state: KEPT if kept(state) else estimate.state(state) for state in needed if state.memorised}
    return Todo(list(groups.values()), len(statuses) - failed, failed, seconds, states, estimate.slots)


@tensor_cores()  # before the device is measured
def run(
    suites: Sequence[str],
    profile: Profile,
    out: str | Path = "results",
    *,
    budget: float | None = None,
    retry: bool = False,
    execute: Callable[[Iterable[Group], Iterable[State]], Iterator[tuple[Group, list[dict]]]] | None = None,
    on: Device | None = None,
    tell: Callable[[str], None] = print,
    progress: bool = True,
) -> Todo:
    """Run what is missing, append it to <suite>/<profile>.jsonl under `out`, and return what is still missing. What the
    starting states know, from which the modified facts were drawn, is kept there too (`known`).

    Args:
        retry: run what failed again, too.
        budget: seconds. A group is begun only if its estimate, corrected by the pace so far, still fits. Memorising
            that does not fit is begun all the same; it is kept when the time is up, and the next call continues it.
        execute: turns groups into their records, in any order, and is told which states they will need; by default one
            group after the other in this process (`on_ray.execute` spreads them over a cluster).
        on: the devices that `execute` uses, for the estimate; by default this machine's.

    SIGINT and SIGTERM let the group in hand finish and then stop; a second one drops it.
    """
    started, out, on = time.perf_counter(), user_path(out), on or here()
    todo = plan(suites, profile, out, on=on, retry=retry)
    tell(f"{', '.join(suites)} ({profile.name}): {todo}")
    if not todo.groups:
        return todo
    pace = Pace(todo, math.inf if budget is None else started + budget)
    done = {record["id"] for record in records.read(out) if record["status"] == "done"}

    def note() -> None:
        with suppress(RuntimeError):  # the signal may come in the middle of a print, which cannot be entered twice
            tell("stopping after the runs in hand; once more to drop them")

    bar = tqdm(total=todo.runs, desc="runs", disable=None if progress else True)
    with noted_signals(note) as signals, bar:

        def begun() -> Iterator[Group]:
            for group in todo.groups:
                if signals:
                    return
                if not pace.fits(group, training=execute is None):
                    tell(f"the next group needs about {text(pace.needs(group))}: it does not fit the time left")
                    return
                pace.begin(group)
                yield group

        executor = execute or partial(local, until=pace.until)
        for (suite, runs), made in executor(begun(), todo.states):
            for record in made:
                record |= {"suite": suite, "profile": profile.name}
                if record["status"] != "done":
                    tell(f"{record['status']}: {Setting(**record['settings']).label}: {record['reason']}")
            keep(out, *(record.pop("known") for record in made if "known" in record))
            new = [record for record in made if record["status"] != "skipped" and record["id"] not in done]
            records.append(out / suite / f"{profile.name}.jsonl", new)
            done |= {record["id"] for record in new if record["status"] == "done"}
            if all(record["status"] != "skipped" for record in made):
                pace.done((suite, runs))
            bar.update(len(runs))
    left = plan(suites, profile, out, on=on)
    tell(f"after {text(time.perf_counter() - started)}: {left}")
    return left


def local(
    groups: Iterable[Group], states: Iterable[State], until: Callable[[Group], float]
) -> Iterator[tuple[Group, list[dict]]]:
    """One group after the other, in this process. `until` gives the time at which memorising must end, to leave enough
    for a group's runs."""
    bench = Bench()
    for group in groups:
        bench.until = until(group)
        yield group, work(bench, group[1])


class Pace:
    """Whether a group still fits the budget: its estimate times measured over estimated time of the finished groups."""

    def __init__(self, todo: Todo, end: float):
        self.states, self.end = todo.states, end
        self.seconds = dict(zip(map(_key, todo.groups), todo.seconds, strict=True))
        self.ready: set[State] = set()
        self.begun: dict[Setting, tuple[float, float]] = {}  # when a group was begun, and its estimate then
        self.took = self.estimated = 0.0  # by the finished groups

    def _factor(self) -> float:
        return self.took / self.estimated if self.estimated else 1.0

    def _missing(self, group: Group) -> set[State]:
        """The starting states of a group that are not made yet."""
        state = group[1][0].state
        return {state, state.reference} & self.states.keys() - self.ready

    def _estimate(self, group: Group) -> float:
        return self.seconds[_key(group)] + sum(self.states[state] for state in self._missing(group))

    def needs(self, group: Group) -> float:
        """Seconds of a group, and of its starting states that are not made yet."""
        return self._factor() * self._estimate(group)

    def until(self, group: Group) -> float:
        """When the starting state of a group must be ready."""
        return self.end - self._factor() * self.seconds[_key(group)]

    def fits(self, group: Group, training: bool) -> bool:
        """Whether the time is enough; if `training`, half a minute is enough to begin with a missing starting state."""
        now, begins_training = time.perf_counter(), training and bool(self._missing(group))
        return now + self.needs(group) <= self.end or (begins_training and self.until(group) - now > 30)

    def begin(self, group: Group) -> None:
        self.begun[_key(group)] = time.perf_counter(), self._estimate(group)

    def done(self, group: Group) -> None:
        started, estimate = self.begun[_key(group)]
        self.took += time.perf_counter() - started
        self.estimated += estimate
        self.ready |= self._missing(group)


def _key(group: Group) -> Setting:
    return group[1][0].group


def seconds(budget: str) -> float:
    """ "90s", "9m", "1.5h" or a number of seconds. Raises ValueError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", budget.strip())
    if not match or not float(match[1]):
        raise ValueError(brief(f"write the budget as 90s, 9m or 1.5h; got {budget!r}"))
    return float(match[1]) * {"m": 60, "h": 3600}.get(match[2], 1)
