"""Recorded runs made again: what is the same is said to be, and what is not as well."""

import copy

import pytest

from kmod.cli import main
from kmod.experiments import records, rerun
from kmod.experiments.groups import work
from kmod.experiments.rerun import Again, sample, summary
from kmod.experiments.starts import Bench
from kmod.experiments.suites import PROFILES
from kmod.files import append

SMOKE = PROFILES["smoke"]
RUNS = [SMOKE.setting("FTM", "all", "Linf", 4e-3, seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def made():
    bench = Bench()
    return [record | {"suite": "rq2_where"} for run in RUNS for record in work(bench, [run])]


def test_records_are_made_again(made, tmp_path, capsys):
    changed = copy.deepcopy(made[1])
    changed["metrics"]["A_FS"]["value"] -= 0.25
    changed["metrics"]["A_mean"] -= 0.125
    changed["model"] = "0" * 16
    append(tmp_path / "rq2_where" / "smoke.jsonl", [made[0], changed])
    before = (tmp_path / "rq2_where" / "smoke.jsonl").read_bytes()
    kept = tmp_path / "again.jsonl"
    assert main(["rerun", "--sample", "9", "--out", str(tmp_path), "--json", str(kept)]) == 0
    said = capsys.readouterr().out
    assert (tmp_path / "rq2_where" / "smoke.jsonl").read_bytes() == before
    assert said.startswith("2 runs: about ") and "for 1 starting states" in said
    assert "the same start to the bit" in said and "identical in every metric\n" in said
    assert "another start" in said and "moved by 12.5 points" in said
    assert "2 of 2 made again: 1 identical in every metric; 1 of the 1 with the same start to the bit" in said
    lines = {line["id"]: line for line in records.lines(kept)}
    assert [lines[run.id]["identical"] for run in RUNS] == [True, False]
    assert [lines[run.id]["same_start"] for run in RUNS] == [True, False]
    assert lines[RUNS[1].id]["then"] == changed["metrics"] and lines[RUNS[1].id]["now"] == made[1]["metrics"]


def test_what_cannot_be_made_is_said_and_not_counted(made):
    failed = Again(made[0], {**made[0], "status": "skipped", "metrics": {}, "reason": "no such facts here"})
    assert not failed.identical and "not made: no such facts here" in str(failed)
    assert summary([failed]) == "none of 1 could be made again"
    assert summary([failed, Again(made[0], made[0])]).startswith("1 of 2 made again: 1 identical")


def test_within_is_by_the_intervals_of_the_record(made):
    rate = made[0]["metrics"]["A_FS"]
    for value, within in ((rate["high"], True), (rate["high"] + 1e-9, False), (rate["low"] - 1e-9, False)):
        new = copy.deepcopy(made[0])
        new["metrics"]["A_FS"]["value"] = value
        assert Again(made[0], new).within is within


def test_a_sample_is_drawn_by_its_seed_from_finished_runs(made, tmp_path):
    append(tmp_path / "rq2_where" / "smoke.jsonl", [made[0], {**made[1], "status": "failed"}])
    assert [record["id"] for record in sample(tmp_path, 5)] == [RUNS[0].id]
    append(tmp_path / "rq2_where" / "smoke.jsonl", [made[1]])
    draws = [sample(tmp_path, 1, seed)[0]["id"] for seed in range(20)]
    assert draws == [sample(tmp_path, 1, seed)[0]["id"] for seed in range(20)] and set(draws) == {r.id for r in RUNS}
    assert sample(tmp_path, 1, suites=["rq2_where"])
    with pytest.raises(ValueError, match="no finished run of rq1"):
        sample(tmp_path, 1, suites=["rq1"])
    with pytest.raises(ValueError, match="sample"):
        sample(tmp_path, 0)
    assert rerun.SHOWN.keys() >= {"A_M", "A_FS", "A_mean"}
