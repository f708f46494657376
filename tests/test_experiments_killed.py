"""kill -9 at random moments: in the end the records are those of an uninterrupted run."""

import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace

import pytest

from kmod.experiments import known, records, runner
from kmod.experiments.suites import PROFILES

SMALL = replace(PROFILES["smoke"], seeds=(0, 1), deltas=(2e-3, 4e-3), block_deltas=(5e-3, 1e-2), steps=3)
VARIES = ("seconds", "time", "peak_bytes", "commit", "dirty")  # the last two: the code may change meanwhile


def suite(out, cache):
    os.environ["KMOD_CACHE"] = cache
    runner.run(["rq5_scale"], SMALL, out, tell=lambda line: None, progress=False)


@pytest.fixture(scope="module")
def start():
    """Function of two folders: the suite in a process of its own, forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kmod.experiments.runner", "torch", "transformers.models.bert"])

    def begin(out, cache) -> multiprocessing.Process:
        process = context.Process(target=suite, args=(str(out), str(cache)))
        process.start()
        return process

    return begin


def ended(process) -> bool:
    """Whether it ran to its end, which is waited for."""
    process.join(600)
    return process.exitcode == 0


def finished(out) -> list[dict]:
    """The records, without what no two runs share. None stands there twice."""
    file = out / "rq5_scale" / "smoke.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({line["id"] for line in lines}) == len(lines) and records.read(out) == lines
    rows = [{name: value for name, value in line.items() if name not in VARIES} for line in lines]
    return sorted(rows, key=lambda row: row["id"])


@pytest.mark.slow
def test_kills_change_nothing(tmp_path, start):
    began = time.perf_counter()
    assert ended(start(tmp_path / "unbroken", tmp_path / "cache"))
    cold = time.perf_counter() - began
    expected = finished(tmp_path / "unbroken")
    assert len(expected) == 28 and all(row["status"] == "done" for row in expected)
    warm = sum(sum(row["seconds"].values()) for row in records.read(tmp_path / "unbroken"))

    draw, kills, rounds = random.Random(0), 0, 0
    while kills < 3:
        out = tmp_path / f"broken {rounds}"
        early = kills == 0  # during memorising, whose result is kept on disk as well; the other kills during the runs
        process = start(out, tmp_path / ("another cache" if early else "cache"))
        time.sleep(draw.uniform(0, cold if early else warm / 2))
        process.kill()
        if ended(process):  # before the kill: start the suite again in another folder
            assert finished(out) == expected
            rounds += 1
        else:
            assert process.exitcode == -signal.SIGKILL
            kills += 1
    out = tmp_path / f"broken {rounds}"
    assert ended(start(out, tmp_path / "cache"))
    assert finished(out) == expected
    assert known.stored(out) == known.stored(tmp_path / "unbroken") and len(known.stored(out)) == 1
