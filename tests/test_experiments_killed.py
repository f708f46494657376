"""kill -9 at random moments: in the end the records are those of an uninterrupted run."""

import json
import os
import random
import subprocess
import sys
import time

import pytest

from kmod.experiments import known, records

SUITE = """
import sys
from dataclasses import replace
from kmod.experiments import groups, runner
from kmod.experiments.suites import PROFILES

small = replace(PROFILES["smoke"], seeds=(0, 1), deltas=(2e-3, 4e-3), block_deltas=(5e-3, 1e-2), steps=3)
print("ready", flush=True)
runner.run(["rq5_scale"], small, sys.argv[1], tell=lambda line: None, progress=False)
"""
VARIES = ("seconds", "time", "peak_bytes", "commit", "dirty")  # the last two: the code may change meanwhile


def start(out, cache) -> subprocess.Popen:
    """The suite in a process of its own, once it has imported everything."""
    environment = os.environ | {"KMOD_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SUITE, str(out)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def finished(out) -> list[dict]:
    """The records, without what no two runs share. None stands there twice."""
    file = out / "rq5_scale" / "smoke.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({line["id"] for line in lines}) == len(lines) and records.read(out) == lines
    rows = [{name: value for name, value in line.items() if name not in VARIES} for line in lines]
    return sorted(rows, key=lambda row: row["id"])


@pytest.mark.slow
def test_kills_change_nothing(tmp_path):
    began = time.perf_counter()
    unbroken = start(tmp_path / "unbroken", tmp_path / "cache")
    assert unbroken.wait(600) == 0
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
        if process.poll() is None:
            process.kill()
            kills += 1
        else:  # it ended before the kill: start the suite again in another folder
            assert process.returncode == 0 and finished(out) == expected
            rounds += 1
        process.wait(60)
    out = tmp_path / f"broken {rounds}"
    assert start(out, tmp_path / "cache").wait(600) == 0
    assert finished(out) == expected
    assert known.stored(out) == known.stored(tmp_path / "unbroken") and len(known.stored(out)) == 1
