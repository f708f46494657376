"""The same runs, spread over a Ray cluster: `python -m kmod run SUITE --executor ray --address HOST:PORT`.

A group of runs is a task on one GPU, or on one core where the cluster has none. A starting state is trained by a task
of its own, once, and handed to the tasks that need it through Ray's object store. What a lost node was doing is done
again elsewhere; only this process, which started the tasks, writes records: nothing is lost and nothing stands there
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from .runner import Group
from .settings import Setting, State
from .work import Bench, Trained, tensor_cores, work

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


def execute(groups: Iterable[Group]) -> Iterator[tuple[Group, list[dict]]]:
    """Groups with their records, as they are finished. As many are in flight as the cluster has GPUs, or else cores, so
    that a budget or a signal stops the rest."""
    import ray

    has_gpus = ray.cluster_resources().get("GPU", 0) >= 1
    resources = {"num_gpus": 1} if has_gpus else {"num_cpus": 1}
    train = ray.remote(**resources, max_retries=RETRIES)(_train)
    edit = ray.remote(**resources, max_retries=RETRIES)(_edit)
    trained: dict[State, object] = {}

    def ready(state: State):
        if state not in trained:
            others = () if state == state.reference else (ready(state.reference),)
            trained[state] = train.remote(state, *others)
        return trained[state]

    waiting: dict[object, Group] = {}
    groups = iter(groups)
    more = True
    while more or waiting:
        slots = int(ray.cluster_resources().get("GPU" if has_gpus else "CPU", 1))
        while more and len(waiting) < max(1, slots):
            group = next(groups, None)
            more = group is not None
            if more:
                state = group[1][0].state
                waiting[edit.remote(group[1], ready(state), ready(state.reference))] = group
        if waiting:
            (done, *_), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)


_here: list[Bench] = []  # one bench a worker process, which Ray uses for many tasks


def _bench(*given: Trained) -> Bench:
    if not _here:
        tensor_cores()
        _here.append(Bench())
    for trained in given:
        _here[0].given[trained.state] = trained
    return _here[0]


def _train(state: State, *reference: Trained) -> Trained:
    return Trained.of(_bench(*reference).prepared(state))


def _edit(runs: list[Setting], trained: Trained, reference: Trained) -> list[dict]:
    return work(_bench(trained, reference), runs)
