"""A suite on a real Ray cluster of two nodes on one machine, one of which is lost in the middle."""

import json
import warnings
from dataclasses import replace

import pytest
import torch

import kmod
from kmod.experiments import runner
from kmod.experiments.settings import named
from kmod.experiments.suites import PROFILES

SMALL = replace(PROFILES["smoke"], seeds=(0, 1), deltas=(4e-3,), block_deltas=(1e-2,), steps=3)
VARIES = ("seconds", "time", "peak_bytes", "hardware", "commit", "dirty")  # the last: of who works on it meanwhile


def finished(out) -> list[dict]:
    (file,) = out.glob("*/*.jsonl")
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


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a node without GPU would find no work")
def test_a_lost_node_loses_nothing(tmp_path, cluster, one_thread):
    from kmod.experiments.on_ray import execute, executor

    folder = tmp_path / "of-mine"  # a model that the workers find by the name alone
    kmod.load_model("nano", kmod.load_facts(SMALL.facts)).save(folder)
    suite = replace(SMALL, model=named(str(folder)))
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
