"""The same runs, spread over a Ray cluster: `python -m kmod run SUITE --executor ray --address HOST:PORT`.

A group of runs is a task on one GPU, or on one core where the cluster has none. A starting state is trained once, by a
task of its own, and reaches the others through Ray's object store. The tasks of a lost node are repeated on another.
Only the process that started the tasks writes records, so that none is lost or written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

from .cost import Device, here
from .groups import work
from .machine import tensor_cores
from .runner import Group
from .settings import FOLDERS, Setting, State
from .starts import Bench, CannotStart, PortableState

RETRIES = 5  # of a task whose node was lost


@contextmanager
def executor(address: str | None = None) -> Iterator[Callable]:
    """Connect to the cluster at `address`, or start one on this machine; gives the `execute` for `runner.run`.

    Raises ModuleNotFoundError that says what to install, and ConnectionError if no cluster answers.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise ModuleNotFoundError('Ray is not installed: pip install "kmod[cluster]"') from None
    own = not ray.is_initialized()
    if own:
        ray.init(address=address, log_to_driver=False, include_dashboard=False if address is None else None)
    try:
        yield execute
    finally:
        if own:
            ray.shutdown()


def device() -> Device:
    """What the tasks of the connected cluster work on: a device, measured by a task, and how many there are."""
    import ray

    resource, needs = _resource(ray)
    return replace(ray.get(ray.remote(**needs)(_measured).remote()), slots=_slots(ray, resource))


@tensor_cores()
def _measured() -> Device:
    return here()


def _resource(ray) -> tuple[str, dict]:
    """What the cluster works on, and how much of it a task needs."""
    gpu = ray.cluster_resources().get("GPU", 0) >= 1
    return ("GPU", {"num_gpus": 1}) if gpu else ("CPU", {"num_cpus": 1})


def _slots(ray, resource: str) -> int:
    """How many tasks the cluster does side by side."""
    return max(1, int(ray.cluster_resources().get(resource, 1)))


def execute(groups: Iterable[Group], states: Iterable[State] = ()) -> Iterator[tuple[Group, list[dict]]]:
    """Groups with their records, as they are finished.

    No more tasks are submitted than the cluster has GPUs, or else cores, so that a budget or a signal stops the rest.
    While groups wait for their starting state, free slots train the next of `states`."""
    import ray

    resource, needs = _resource(ray)
    train, edit = (ray.remote(**needs, max_retries=RETRIES)(task) for task in (_train, _edit))
    trained: dict[State, object] = {}  # state → the task that trains it
    training: set = set()  # those tasks that are not finished
    waiting: dict[object, Group] = {}  # task → the group that it does
    groups, states = iter(groups), iter(states)

    def ready(state: State):
        if state not in trained:
            trained[state] = train.remote(FOLDERS, state)
            training.add(trained[state])
        return trained[state]

    def blocked() -> int:
        waited_for = (runs[0].state for _, runs in waiting.values())
        return sum(not training.isdisjoint({trained[state], trained[state.reference]}) for state in waited_for)

    more = True
    try:
        while more or waiting:
            slots = _slots(ray, resource)
            while more and len(training) + len(waiting) - blocked() < slots:
                if blocked() < slots:
                    group = next(groups, None)
                    if more := group is not None:
                        state = group[1][0].state
                        waiting[edit.remote(FOLDERS, group[1], ready(state), ready(state.reference))] = group
                elif ahead := next((state for state in states if state not in trained), None):
                    ready(ahead)
                else:
                    break
            if waiting or training:
                # States stay where they are; only records come here.
                (done, *_), _ = ray.wait([*training, *waiting], num_returns=1, fetch_local=False)
                if done in training:
                    training.remove(done)
                else:
                    yield waiting.pop(done), ray.get(done)
    finally:
        for task in (*waiting, *training):  # the caller stopped, or what was trained ahead does not fit the budget
            ray.cancel(task)


_own = cache(Bench)  # one bench a worker process, which Ray uses for many tasks


def _bench(folders: dict[str, Path], *given: PortableState) -> Bench:
    FOLDERS.update(folders)
    _own().given = {portable.state: portable for portable in given}
    return _own()


@tensor_cores()
def _train(folders: dict[str, Path], state: State) -> PortableState:
    try:
        return _bench(folders).portable(state)
    except (CannotStart, OSError) as error:
        return PortableState(state, failure=str(error), passing=isinstance(error, OSError))


@tensor_cores()
def _edit(folders: dict[str, Path], runs: list[Setting], start: PortableState, reference: PortableState) -> list[dict]:
    return work(_bench(folders, start, reference), runs)
