"""A suite on a real Ray cluster of two nodes on one machine, one of which is lost in the middle."""

import json
import sys
import warnings
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kmod
from kmod.experiments import runner
from kmod.experiments.cost import Device
from kmod.experiments.on_ray import device, execute
from kmod.experiments.settings import model_name
from kmod.experiments.suites import PROFILES

SMALL = replace(PROFILES["smoke"], seeds=(0, 1), deltas=(4e-3,), block_deltas=(1e-2,), steps=3)
VARIES = ("seconds", "time", "peak_bytes", "hardware", "commit", "dirty")  # the last: of who works on it meanwhile


def finished(out) -> list[dict]:
    file = out / "rq5_scale" / "smoke.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({line["id"] for line in lines}) == len(lines), "a run is recorded twice"
    rows = [{name: value for name, value in line.items() if name not in VARIES} for line in lines]
    return sorted(rows, key=lambda row: row["id"])


@pytest.fixture
def one_thread():
    """As in Ray's workers: sums in another order are other sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


NODE = {"num_cpus": 1, "object_store_memory": 200 * 2**20}


@pytest.fixture
def cluster(monkeypatch):
    ray = pytest.importorskip("ray", reason='CLUSTER TEST SKIPPED: pip install "kmod[cluster]"')
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_health_check_period_ms", "500")  # a lost node is noticed in seconds
    monkeypatch.setenv("RAY_health_check_failure_threshold", "4")
    made = None
    for attempt in range(4):  # a node whose helpers take more than 15 s to start gives up: on a busy machine, again
        try:
            made = made or Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
            made.add_node(**NODE)
            break
        except Exception:
            if attempt == 3:
                raise
    yield made
    ray.shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.shutdown()


class Task:
    """A task of a cluster that stands still until it is waited for."""

    def __init__(self, *needs):
        self.needs, self.done = [need for need in needs if isinstance(need, Task)], False


class StandIn:
    """What `execute` uses of Ray. `slots` are the cores of the cluster, one answer after the other."""

    def __init__(self, slots):
        self.slots, self.tasks, self.cancelled, self.asked = list(slots), [], [], False

    def cluster_resources(self):
        assert not self.asked, "it asks for the cluster for ever, and waits for nothing"
        self.asked = bool(self.tasks)
        return {"CPU": self.slots.pop(0)}

    def remote(self, **options):
        return lambda function: SimpleNamespace(remote=lambda *args: self._begun(function, args))

    def _begun(self, function, args):
        task = Task(*args)
        task.name, task.args = function.__name__, args
        self.tasks.append(task)
        return task

    def wait(self, tasks, num_returns, fetch_local):
        self.asked = False
        done = next(task for task in tasks if not task.done and all(need.done for need in task.needs))
        done.done = True
        return [done], [task for task in tasks if task is not done]

    def get(self, task):
        return [asdict(run) for run in task.args[1]]

    def cancel(self, task):
        self.cancelled.append(task)


STATES = [replace(SMALL.setting("FTM", "all", "Linf", 1e-3), model=name) for name in ("nano", "mini", "small")]
GROUPS = [("s", [replace(run, seed=seed)]) for run in STATES for seed in range(4)]


@given(st.lists(st.integers(1, 4), min_size=60, max_size=60))
@settings(max_examples=40, deadline=None)
def test_groups_are_spread_whatever_nodes_come_and_go(slots):
    ray = StandIn([1, *slots])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "ray", ray)
        done = list(execute(GROUPS, [run.state for run in STATES]))
    assert sorted(map(str, (group for group, _ in done))) == sorted(map(str, GROUPS))
    assert all(found == [asdict(run) for run in group[1]] for group, found in done)
    trained = [task.args[1] for task in ray.tasks if task.name == "_train"]
    assert len(trained) == len(set(trained)) and ray.cancelled == []


def test_states_are_trained_ahead_and_what_is_not_needed_is_cancelled(monkeypatch):
    ray = StandIn([3] * 9)
    monkeypatch.setitem(sys.modules, "ray", ray)
    spread = execute(GROUPS, [run.state for run in STATES])
    next(spread)
    assert [task.args[1] for task in ray.tasks if task.name == "_train"] == [run.state for run in STATES]
    spread.close()
    assert set(ray.cancelled) == {task for task in ray.tasks if not task.done}


def test_the_estimate_is_for_the_devices_of_the_cluster(monkeypatch, tmp_path):
    """Not for the machine that the command is typed on, which may have no GPU."""
    ray = StandIn([2] * 9)
    ray.get = lambda task: Device("NVIDIA H200", "cuda", 4e14)
    monkeypatch.setitem(sys.modules, "ray", ray)
    found = device()
    assert ray.tasks[0].name == "_measured" and found == Device("NVIDIA H200", "cuda", 4e14, slots=2)
    alone = runner.plan(["cost"], SMALL, tmp_path, on=replace(found, slots=1))
    both, slow = (runner.plan(["cost"], SMALL, tmp_path, on=on) for on in (found, Device("CPU", "cpu", 1e9)))
    assert both.seconds == alone.seconds and sum(slow.seconds) > 10 * sum(both.seconds)
    states = dict.fromkeys(both.states, 90.0)  # of which there is one, that both wait for
    told = [str(replace(plan, seconds=[200.0, 400.0], states=states)) for plan in (alone, both)]
    assert "about 12 min, of which 2 min" in told[0] and "about 6 min on 2 devices, of which 2 min" in told[1]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a node without GPU would find no work")
def test_a_lost_node_loses_nothing(tmp_path, cluster, one_thread):
    from kmod.experiments.on_ray import executor

    folder = tmp_path / "of-mine"  # a model that the workers find by the name alone
    kmod.load_model("nano", kmod.load_facts(SMALL.facts)).save(folder)
    suite = replace(SMALL, model=model_name(str(folder)))
    (second,) = cluster.worker_nodes
    cluster.wait_for_nodes()
    lost = []

    def falling(groups, states):
        for number, done in enumerate(execute(groups, states)):
            yield done
            if number == 1:
                cluster.remove_node(second, allow_graceful=False)
                lost.append(second)

    with executor(cluster.address):
        left = runner.run(
            ["rq5_scale"], suite, tmp_path / "cluster", execute=falling, tell=lambda _: None, progress=False
        )
    assert lost and not left.groups and left.failed == 0
    runner.run(["rq5_scale"], suite, tmp_path / "local", tell=lambda _: None, progress=False)
    assert finished(tmp_path / "cluster") == finished(tmp_path / "local")
