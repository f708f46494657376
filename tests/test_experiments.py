"""Suites, records, the runner, and what is read from records; work that takes a model: `test_experiments_work.py`."""

import itertools
import json
import math
import multiprocessing
import os
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from synthetic_runs import PAST, as_claimed, careful_runs, record, runs

from kmod import book
from kmod.cli import main
from kmod.experiments import known, records, runner, suites
from kmod.experiments.claims import CLAIMS, claim, ledger
from kmod.experiments.cost import Estimate, text
from kmod.experiments.index import Index, Missing, Runs, Values
from kmod.experiments.known import Known, modification
from kmod.experiments.ledger import Effect, Part, decide, effect
from kmod.experiments.report import table
from kmod.experiments.selection import Selection
from kmod.experiments.settings import FOLDERS, Setting
from kmod.experiments.statistics import T, difference, mean, seeds_to_decide
from kmod.experiments.suites import PROFILES, SUITES, profile, settings

SMOKE = PROFILES["smoke"]
RESULTS = Path(__file__).parents[1] / "results"
PLAIN = Setting(facts="atlas", model="nano", start="RI+FT", method="FTM", n=32)


# ---------------------------------------------------------------- settings and suites


def test_ids_are_those_of_the_records_that_exist():
    assert PLAIN.id == "b6bce6b7ff48aee0"
    assert settings("rq2_where", PROFILES["cpu"])[0].id == "b0b95389ccc5fa68"
    assert replace(PLAIN, lr=None, least_steps=None).id == PLAIN.id != replace(PLAIN, seed=1).id
    with pytest.raises(ValueError, match="unknown start 'FT'; known: RI, "):
        replace(PLAIN, start="FT")
    with pytest.raises(ValueError, match="unknown constraint 'L3'; known: Linf"):
        replace(PLAIN, constraint="L3")


def test_equal_settings_have_one_id_and_no_number_is_taken_for_another():
    at = replace(PLAIN, constraint="Linf", delta=4)
    for delta in (4.0, np.float32(4), np.int64(4)):
        assert replace(at, delta=delta) == at and replace(at, delta=delta).id == at.id
    knn = [replace(PLAIN, method="kNN", delta=delta) for delta in (4, 4.0, np.int64(4))]
    assert len({run.id for run in knn}) == len(set(knn)) == 1 and '"delta": 4,' in json.dumps(knn[1].record())
    assert replace(PLAIN, n=np.int64(32), block=np.int32(0), epochs=11.0).id == replace(PLAIN, block=0).id
    assert replace(PLAIN, training=0) == PLAIN
    for name, value in (("delta", True), ("lr", np.nan), ("delta", -1), ("n", 3.0), ("n", True), ("seed", "1"),
                        ("block", True), ("steps", 0), ("epochs", np.inf), ("options", {"weight": True})):  # fmt: skip
        with pytest.raises(ValueError, match=f"{'weight' if name == 'options' else name} must be a"):
            replace(PLAIN, **{name: value})


def test_options_are_part_of_a_setting_and_no_old_id_moves():
    run = replace(PLAIN, method="KL", options={"weight": np.float64(2), "a": None})
    assert run == replace(PLAIN, method="KL", options=[("weight", 2)]) and run.id != replace(run, options=None).id
    assert run.record()["options"] == {"weight": 2} and ", weight 2," in run.label
    assert Setting(**json.loads(json.dumps(run.record()))) == run and hash(run)
    assert replace(PLAIN, options={}) == PLAIN and "options" not in PLAIN.record()
    committed = records.read(RESULTS)
    assert len(committed) >= 1906
    assert all(Setting(**row["settings"]).id == row["id"] for row in committed)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_does_every_cell_at_one_seed_before_the_next(suite, name):
    found = settings(suite, PROFILES[name])
    assert found and len({run.id for run in found}) == len(found)
    seeds = [PROFILES[name].seeds.index(run.seed) for run in found]
    assert seeds == sorted(seeds)
    first = {run.cell for run in found if run.seed == PROFILES[name].seeds[0]}
    assert first == {run.cell for run in found}
    for run in found:
        assert run.group.delta is None and run.label and run.state.reference == run.state.reference.reference


def test_suites_share_runs():
    ids = {suite: {run.id for run in settings(suite, PROFILES["cpu"])} for suite in SUITES}
    assert ids["rq1_reliability"] & ids["rq2_where"] and ids["rq2_where"] & ids["rq3_fae"]
    assert len(runs(PROFILES["cpu"])) < sum(map(len, ids.values()))


def test_unknown_names_list_the_known(capsys, tmp_path):
    with pytest.raises(ValueError, match="unknown profile 'tpu'; known: smoke, cpu, gpu"):
        profile("tpu")
    out = ["--out", str(tmp_path)]
    for argv, message in (
        (["run", "rq9", *out], "unknown suite 'rq9'; known: rq1_reliability, "),
        (["report", "rq9", *out], "unknown suite 'rq9'"),
        (["run", "cost", "--budget", "soon", *out], "write the budget as 90s, 9m or 1.5h"),
        (["run", "cost", "--address", "auto", *out], "add --executor ray"),
        (["status", "cost", "--on", "abacus", *out], "no rate is known for 'abacus'; known: h200"),
        (["merge", str(tmp_path / "no"), *out], "is no folder of records"),
    ):
        assert main(argv) == 2
        err = capsys.readouterr().err
        assert message in err and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
    assert profile("gpu", model="mine").pretrained == "mine" and profile("cpu", pretrained="past").pretrained == "past"


def test_budgets():
    assert [runner.seconds(b) for b in ("90s", "9m", "1.5h", "20")] == [90, 540, 5400, 20]


# ---------------------------------------------------------------- records


def test_records_are_appended_whole_and_a_torn_last_line_is_dropped(tmp_path):
    file = tmp_path / "s" / "cpu.jsonl"
    a, b, c = (record(replace(PLAIN, seed=seed), curve=["δ" * 40_000]) for seed in range(3))
    records.append(file, [])
    assert not file.exists()
    records.append(file, [a, b])
    whole = file.read_bytes()
    for torn in (len(whole) - 1, len(whole) - 50_000, whole.index(b"\n") + 1 + 70_000):
        file.write_bytes(whole[:torn])
        with pytest.warns(UserWarning, match=r"cpu.jsonl: left out a torn last line"):
            assert records.read(tmp_path) == records.read(file) == [a]
        with pytest.warns(UserWarning, match=r"cpu.jsonl: dropped a torn last line"):
            records.append(file, [c])
        assert records.read(tmp_path) == [a, c]
    file.write_bytes(whole[:50])
    with pytest.warns(UserWarning, match="dropped a torn"):
        records.append(file, [b])
    assert records.read(tmp_path) == [b] and records.read(tmp_path / "nowhere") == []


def _append(file, writer):
    for i in range(50):
        records.append(file, [{"schema": 1, "id": f"{writer}.{i}", "status": "done", "curve": "x" * 5000}])


def test_two_writers_at_once_lose_nothing(tmp_path):
    file, fork = tmp_path / "s" / "cpu.jsonl", multiprocessing.get_context("fork")
    writers = [fork.Process(target=_append, args=(file, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = [row["id"] for row in records.read(file)]
    for name in "ab":
        assert [id for id in found if id.startswith(name)] == [f"{name}.{i}" for i in range(50)]


def test_what_is_no_record_is_named_or_left_alone(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "speed.jsonl").write_text('{"seconds": 3}\n{"seconds": 4}\n')
    assert records.read(tmp_path) == []
    file = tmp_path / "s" / "cpu.jsonl"
    records.append(file, [record(PLAIN)])
    good = file.read_text()
    for line, message in (
        ('{"schema": 2, "id": "x"}', "line 2: schema 2 is not known to this version of kmod"),
        ("{oh", "line 2: no JSON"),
        ('{"id": 3}', "line 2: not a record of a run"),
    ):
        file.write_text(good + line + "\n")
        with pytest.raises(ValueError, match=message):
            records.read(tmp_path)


def test_records_of_machines_merge_by_id(tmp_path, capsys):
    here, there = tmp_path / "here", tmp_path / "there"
    a, b, c, d = (record(replace(PLAIN, seed=seed)) for seed in range(4))
    failed = {name: record(replace(PLAIN, seed=seed), status="failed") for seed, name in ((1, "b"), (3, "d"))}
    records.append(here / "rq2_where" / "cpu.jsonl", [a, failed["b"], d])
    records.append(there / "rq2_where" / "cpu.jsonl", [a | {"commit": "another"}, b, c, failed["d"]])
    assert main(["merge", str(there), "--out", str(here)]) == 0
    assert "2 new records" in capsys.readouterr().out
    assert records.merge(there, here) == 0
    assert sorted(records.read(here), key=lambda r: r["settings"]["seed"]) == [a, b, c, d]
    assert records.flat(a)["A_M"] == 0.8 and records.flat(a)["A_mean"] == 0.8


def test_what_an_old_record_lacks_is_missing_and_the_names_of_the_field_are_known():
    old = {seed: record(replace(PLAIN, seed=seed)) for seed in range(3)}
    assert records.metric(old[0], "generalisation") == records.metric(old[0], "A_M") == 0.8
    assert records.metric(old[0], "locality") == 0.8 and records.metric(old[0], "portability") is None
    assert str(book.percent(old.values(), "portability")) == "–" and "[" in str(book.percent(old.values(), "locality"))
    with pytest.raises(LookupError, match="has no portability: it was not measured"):
        Selection({1: old}, by="portability").best()
    with pytest.raises(Missing, match="portability in the records of"):
        Runs(PAST, Index(old.values())).values("portability", old)


def test_what_committed_records_changed_is_drawn_again_from_them():
    kept = {Known.of(line).state for line in known.stored(RESULTS)}
    rows = {(run.state.reference, run.n, run.state.plain): row for row in records.read(RESULTS)
            if row.get("change") and (run := Setting(**row["settings"])).facts == "atlas"}  # fmt: skip
    rows = [row for (reference, _, _), row in rows.items() if reference in kept]
    assert len(rows) >= 5
    for row in rows:
        change = modification(row, RESULTS)
        assert len(change) == row["settings"]["n"] and change.base.fingerprint().startswith(row["facts"])


# ---------------------------------------------------------------- statistics


def test_means_have_the_intervals_of_the_textbook():
    found = mean([1.0, 2.0, 3.0, 4.0])  # sd 1.29099, t(3) 3.182
    assert (found.value, found.n) == (2.5, 4)
    assert found.low == pytest.approx(2.5 - 3.182 * 1.290994 / 2, abs=1e-5)
    assert found.high == pytest.approx(4.55397, abs=1e-4)
    assert mean([5.0]).low == -np.inf and str(mean([0.5])) == "50.0 %"
    wide = mean([0.0, 1.0] * 20)
    assert wide.high - 0.5 == pytest.approx(2.042 * np.std([0.0, 1.0] * 20, ddof=1) / 40**0.5)
    with pytest.raises(ValueError, match="no values"):
        mean([])


@given(st.dictionaries(st.integers(0, 9), st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1))
@hypothesis_settings(max_examples=30, deadline=None)
def test_differences_pair_by_seed(pairs):
    a = {seed: x for seed, (x, _) in pairs.items()} | {98: 0.3}
    b = {seed: y for seed, (_, y) in reversed(pairs.items())} | {99: 0.7}
    found = difference(a, b)
    assert found.n == len(pairs) and found.value == pytest.approx(np.mean([x - y for x, y in pairs.values()]))


def test_the_best_cell_is_chosen_on_the_seeds_shown_or_on_the_others():
    cells = {1: (0.9, 0.1, 0.1), 2: (0.0, 0.5, 0.5), 3: (0.2, 0.2, 0.2)}
    cells = {
        key: {seed: {"A_mean": x, "A_M": {"value": x / 2}} for seed, x in enumerate(means)}
        for key, means in cells.items()
    }
    choice = Selection(cells)
    assert choice.best() == 1 and choice.chosen == {0: 2, 1: 1, 2: 1}
    assert choice.held_out() == {0: 0.0, 1: 0.1, 2: 0.1} and choice.held_out("A_M") == {0: 0.0, 1: 0.05, 2: 0.05}
    assert choice.prefers(1) and not choice.prefers(2)
    fewer = Selection(cells | {4: {0: {"A_mean": 1.0}}})
    assert fewer.best() == 4 and fewer.held_out() == choice.held_out()  # one seed is shown, but not compared with
    alone = Selection({key: {0: cell[0]} for key, cell in cells.items()})
    assert alone.chosen == {0: 1}
    with pytest.raises(ValueError, match="nothing to choose from"):
        Selection({})


def test_a_metric_is_read_from_records_and_rows():
    rate, plain = {"value": 0.5, "low": 0.4}, 0.25
    for found in ({"metrics": {"A_M": rate, "A_mean": plain}}, {"A_M": rate, "A_mean": plain}):
        assert (records.metric(found, "A_M"), records.metric(found, "A_mean")) == (0.5, 0.25)


# ---------------------------------------------------------------- claims


@pytest.fixture(scope="module")
def world():
    return [as_claimed(run) for run in runs() + careful_runs()]


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_is_read_from_records(name, world):
    verdict = claim(name, PAST, world)
    assert verdict.verdict == "reproduced", str(verdict)
    assert verdict.seeds == 3 and set(verdict.ids) <= {row["id"] for row in world} and verdict.ids
    assert all(part.effect.low <= part.effect.value <= part.effect.high for part in verdict.parts)
    json.dumps(verdict.record(), allow_nan=False)
    nothing = claim(name, PAST, [])
    assert nothing.verdict == "not yet run" and nothing.missing and nothing.missing in str(nothing)
    few = claim(name, PAST, [row for row in world if row["settings"]["seed"] < 2])
    assert few.verdict == "not yet run" and "2 of 3 seeds" in str(few) and not few.parts
    crashed = claim(name, PAST, [row | {"status": "failed"} for row in world])
    assert crashed.verdict == "not yet run"
    # the ids are those the verdict rests on: no other record changes it
    assert claim(name, PAST, [row for row in world if row["id"] in verdict.ids]) == verdict


def changed(world, what, **metrics):
    return [record(Setting(**row["settings"]), **metrics) if what(row["settings"]) else row for row in world]


def test_a_record_that_changes_changes_the_verdict(world):
    whole = claim("C2", PAST, world)
    mixing = changed(world, lambda s: s["method"] == "FTA" and not s["constraint"], A_M=0.9, A_FS=0.9)
    mixed = claim("C2", PAST, mixing)
    assert mixed.verdict == "mixed" and str(mixed) != str(whole) and "✗ Ā of FTM in ℓ∞ − FTA: -" in str(mixed)
    both = changed(mixing, lambda s: s["method"] == "FTM" and not s["constraint"], A_M=0.9, A_FS=0.9)
    assert claim("C2", PAST, both).verdict == "not reproduced"
    # within 2 points, as C6 asks, by 1.9 and not by 2.1
    ours = claim("C6", PAST, world).parts[0].effect.value
    for more, verdict in ((0.013, "reproduced"), (0.017, "not reproduced")):
        shifted = []
        for row in world:
            s = Setting(**row["settings"])
            value = row["metrics"].get("A_mean", 0) + more
            shifted.append(record(s, value, value) if s.method == "FTA" and s.constraint else row)
        found = claim("C6", PAST, shifted)
        assert found.verdict == verdict and found.parts[0].effect.value == pytest.approx(ours + more)
    noisy = changed(world, lambda s: s["method"] == "FTM" and not s["constraint"] and s["seed"] == 0, A_M=1.0, A_FS=1.0)
    assert claim("C2", PAST, noisy).verdict == "undecided"


def test_where_the_widest_radius_is_best_nothing_is_decided(world):
    widest = PAST.radii("all")[-1]
    wide = changed(world, lambda s: s["constraint"] == "Linf" and s["delta"] == widest and s["n"] == PAST.n, A_FS=1.0)
    found = claim("C2", PAST, wide)
    assert found.verdict == "undecided" and "the best radius of nano RI+FT: FTM, all blocks, Linf" in str(found)
    assert not any(part.open for part in claim("C9", PAST, wide).parts)  # there, no limit at all was run as well
    first = changed(world, lambda s: s["block"] == 0 and s["delta"] == PAST.radii(0)[-1] and s["n"] == PAST.n, A_FS=1.0)
    assert [bool(part.open) for part in claim("C6", PAST, first).parts] == [False, False, True]  # block 0 alone


def test_grids_are_tighter_where_fewer_facts_change():
    tightest = {n: min(delta for _, delta in PAST.balls("all", n) if delta) for n in PAST.sizes}
    assert list(tightest.values()) == [PAST.deltas[i] for i in (0, 1, 2, 2)] and PAST.n == PAST.sizes[1]
    assert PAST.balls("all") == PAST.balls("all", PAST.n)


@pytest.mark.parametrize("others", [dict(steps=999), dict(lr=1e-4), dict(batch_size=8), dict(least_steps=9)], ids=str)
def test_a_claim_reads_runs_of_the_profile_s_settings_alone(world, others):
    effort = "least_steps" not in others
    usual = [row for row in world if row["settings"]["training"] != "seed"]  # others have several learning rates
    tuned = [row for row in usual if row["settings"]["steps"] or not effort]
    other = {replace(Setting(**row["settings"]), **others) for row in tuned}
    other = [record(run, A_M=0, A_FS=0) for run in other]
    for name in CLAIMS:
        assert claim(name, PAST, world + other) == claim(name, PAST, world) == claim(name, PAST, other + world)


def test_runs_from_a_training_of_their_own_count_among_those_where_each_seed_has_one(tmp_path, capsys):
    each = profile("cpu", training="seed", seeds=4)
    run, apart = replace(PLAIN, training="seed", seed=2), replace(PLAIN, training=2, seed=2)
    rows = [record(replace(PLAIN, seed=0)), record(replace(PLAIN, seed=1)), record(apart), record(replace(run, seed=3))]
    index = Index(rows)
    assert {seed: row["id"] for seed, row in index.cell(run).items()} == {
        0: rows[0]["id"], 2: rows[2]["id"], 3: rows[3]["id"],
    }  # fmt: skip
    assert list(index.cell(PLAIN)) == [0, 1] and list(index.cell(apart)) == [2]
    assert Index([*rows, record(run)]).cell(run)[2]["id"] == run.id
    before = runner.plan(["rq1_reliability"], each, tmp_path)
    asked = {one.id: one for _, group in before.groups for one in group}
    known = next(one for one in asked.values() if one.seed == 2)
    records.append(tmp_path / "rq1_reliability" / "cpu.jsonl", [record(replace(known, training=2))])
    after = runner.plan(["rq1_reliability"], each, tmp_path)
    assert after.runs == before.runs - 1 and after.done == 1
    where = ["--out", str(tmp_path), "--profile", "cpu", "--seeds", "4"]
    assert main(["status", "rq1_reliability", "--training", "seed", *where]) == 0
    assert f"{after.runs} runs missing, 1 done" in capsys.readouterr().out
    assert main(["status", "rq1_reliability", "--training", "-1", *where]) != 0
    with pytest.raises(SystemExit):
        main(["status", "rq1_reliability", "--training", "each", *where])


def test_two_records_of_one_run_are_refused_by_name(world, tmp_path):
    twice = [*world, world[0] | {"id": "another"}]
    with pytest.raises(ValueError, match=f"two records of .*, seed 0: {world[0]['id']} and another"):
        claim("C1", PAST, twice)
    records.append(tmp_path / "rq1_reliability" / "cpu.jsonl", twice)
    with pytest.raises(ValueError, match="two records of"):
        table("rq1_reliability", PAST, tmp_path)


def test_a_commit_with_changed_files_says_so():
    rows = [{"commit": "b1", "dirty": True}, {"commit": "b1", "dirty": False}, {"commit": "a2"}, {"commit": "b1"}]
    assert records.commits(rows) == ["a2", "b1", "b1+"]


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_reads_runs_of_the_profile_s_training_alone(name, world):
    others = [record(replace(Setting(**row["settings"]), training=2), A_M=0, A_FS=0) for row in world]
    assert claim(name, PAST, world + others) == claim(name, PAST, world)
    assert claim(name, replace(PAST, training=2), world).verdict == "not yet run"
    again = [row | {"settings": row["settings"] | {"training": 2}} for row in world]
    usual = [part for part in claim(name, PAST, world).parts if "at equal care" not in part.what]
    assert list(claim(name, replace(PAST, training=2), again).parts) == usual


def test_one_seed_that_changes_other_facts_is_not_paired(world):
    drawn = [row | {"change": f"{row['settings']['n']} {row['settings']['seed']}"} for row in world]
    assert claim("C2", PAST, drawn).parts == claim("C2", PAST, world).parts
    for row in drawn:
        if row["settings"]["method"] == "FTA":
            row["change"] += " drawn elsewhere"
    found = claim("C2", PAST, drawn)
    assert found.verdict == "undecided" and "seed 0 that change the same facts" in found.missing


def test_seeds_that_do_not_meet_give_no_verdict(world):
    """Three seeds of each side are not enough if they are not the same three."""
    apart = []
    for row in world:
        s = Setting(**row["settings"])
        later = replace(s, seed=s.seed + 10)
        apart.append(as_claimed(later) if s.method == "FTM" and not s.constraint else row)
    found = claim("C2", PAST, apart)
    assert found.verdict == "not yet run" and "0 of 3" in found.missing


def test_one_seed_is_shown_without_an_interval():
    one = mean([0.25])
    assert str(one) == "25.0 %" and one.points() == "+25.0 points"


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3, unique=True), st.floats(-1, 1))
@hypothesis_settings(max_examples=50, deadline=None)
def test_the_seeds_to_decide_are_the_fewest_that_do(values, bound):
    seen = mean(values)
    needed = seeds_to_decide(seen, bound)
    half = (seen.high - seen.low) / 2 / T[1] * math.sqrt(3)  # the spread

    def decides(n):
        return T[min(n - 1, len(T)) - 1] * half / math.sqrt(n) < abs(seen.value - bound)

    if needed is None:
        assert not decides(1000)
    else:
        assert decides(needed) and (needed == 2 or not decides(needed - 1))
        assert (needed <= 3) == (not seen.low <= bound <= seen.high) or math.isclose(half, 0, abs_tol=1e-12)


def test_a_part_that_is_not_decided_says_what_would_decide_it():
    assert "some 6 seeds would decide it" in str(Part("x", effect(Values({0: 0.2, 1: 0.0, 2: 0.13}))))
    assert Part("x", Effect(0.2, 0.1, 0.3, 3)).decided_by == "" and Part("x", Effect(0, -1, 1, 2)).decided_by == ""
    assert Part("x", Effect(0, -1, 1, 3)).decided_by == "no 1,000 seeds would decide it"
    assert "the widest" in Part("x", Effect(0.2, -0.1, 0.3, 3, ends=("FTM",))).decided_by


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 0.5)), min_size=1, max_size=4))
@hypothesis_settings(max_examples=50, deadline=None)
def test_verdicts_follow_from_the_parts(found):
    parts = [Part("", Effect(x, x - half, x + half, 3), margin=0.1) for x, half in found]
    holds = ["yes" if x - half > 0.1 else "no" if x + half < 0.1 else "open" for x, half in found]
    want = (
        "reproduced" if set(holds) == {"yes"} else "undecided" if "no" not in holds
        else "mixed" if "yes" in holds else "not reproduced"
    )  # fmt: skip
    assert decide(parts) == want
    assert decide([*parts, Part("", Effect(1, 1, 1, 2))]) == "not yet run"


def test_the_ledger_and_its_command(world, tmp_path, capsys):
    cpu = [row for row in world if row["settings"]["model"] != "nano-wiki"]
    records.append(tmp_path / "rq2_where" / "cpu.jsonl", cpu)
    assert [v.claim for v in ledger(tmp_path, PROFILES["cpu"])] == list(CLAIMS)
    assert main(["claims", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "C2 (RQ1)" in out and "points [" in out and "(3 seeds, above +10 points asked)" in out
    assert "not yet run: it needs nano-wiki" in out
    assert main(["claims", "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 12 and found[1]["ids"] and found[1]["parts"][0]["low"] > 0
    with pytest.raises(ValueError, match="unknown claim 'C13'; known: C1, "):
        claim("C13", PAST, [])


def test_a_report_is_a_line_a_cell(world, tmp_path, capsys):
    before = table("rq1_reliability", PAST, tmp_path)
    cells = len({run.cell for run in settings("rq1_reliability", PAST)})
    assert len(before.splitlines()) == cells + 2 and before.count("  0\n") == cells
    records.append(tmp_path / "rq2_where" / "cpu.jsonl", world)
    after = table("rq1_reliability", PAST, tmp_path).splitlines()
    assert all("–" not in line for line in after) and "A_F∖S" in after[0] and after[1].endswith("3")
    added = record(next(run for run in runs() if run.method == "ADD"))
    added["metrics"] = {"held_out_before": {"value": 0.25}, "rest_added": {"value": 0.5}}
    (tmp_path / "rq2_where" / "cpu.jsonl").write_text(json.dumps(added) + "\n")
    assert "held_out_before 25.0  rest_added 50.0" in table("rq3_fae", PAST, tmp_path)
    assert main(["report", "all", "--out", str(tmp_path)]) == 0
    assert all(suite in capsys.readouterr().out for suite in ["rq1_reliability"])


# ---------------------------------------------------------------- cost


def test_estimates_grow_with_what_is_asked():
    here = Estimate()
    one = SMOKE.setting("FTM", "all", "Linf", 1e-3)
    for more in (dict(steps=800), dict(model="base"), dict(batch_size=10**6, n=48), dict(facts="bios:200")):
        assert here.run(replace(one, **more)) > here.run(one) > 0
    assert here.run(replace(one, method="retrain")) > here.run(one) > here.run(replace(one, block=3))
    states = [replace(one, epochs=1000).state, one.state, replace(one, start="RI").state]
    assert all(here.state(longer) > here.state(state) for longer, state in pairwise(states))
    fast = Estimate(on="h200")
    assert fast.run(replace(one, model="large")) < here.run(replace(one, model="large"))
    with pytest.raises(ValueError, match="no rate is known for 'abacus'; known: h200, h100, a100, t4"):
        Estimate(on="abacus")
    assert [text(s) for s in (12.2, 600, 7200)] == ["12 s", "10 min", "2.0 h"]


def test_estimates_are_corrected_by_what_was_measured_on_this_device():
    plain, run = Estimate(), SMOKE.setting("FTM", "all", "Linf", 1e-3)
    took = {"prepare": 9.0, "edit": 2 * plain.run(run), "evaluate": plain.run(run)}
    rows = [record(run, seconds=took, hardware={"device": plain.name})]
    assert Estimate(rows).run(run) == pytest.approx(3 * plain.run(run))
    assert Estimate(rows).run(replace(run, method="FTA")) == pytest.approx(plain.run(replace(run, method="FTA")))
    elsewhere = [record(run, seconds=took), record(run, seconds=took, status="failed")]
    assert Estimate(elsewhere).run(run) == pytest.approx(plain.run(run))


def test_status_says_what_is_missing_and_asks_for_no_other_facts(tmp_path, capsys):
    foreign = record(replace(PLAIN, facts="/no/such/table.csv"), hardware={"device": Estimate().name})
    gone = record(SMOKE.setting("FTM", 0, model="gone@1a2b3c4d"), hardware=foreign["hardware"])
    records.append(tmp_path / "rq2_where" / "gpu.jsonl", [foreign, gone])
    assert main(["status", "all", "--profile", "smoke", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == len(SUITES) + 1 and "runs missing, 0 done: about" in out
    argv = ["status", "paper_grid", "--profile", "smoke", "--on", "h200", "--json", "--out", str(tmp_path)]
    assert main(argv) == 0
    held = json.loads(capsys.readouterr().out)
    assert held["on"] == "h200" and held["time"] and len(held["lines"]) == 1 and "paper_grid" in held["lines"][0]


# ---------------------------------------------------------------- the runner, with work that is none


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when a test says so; every group is expected to take 1 s, and a state 5 s."""
    now = [0.0]
    monkeypatch.setattr(runner, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    stub = SimpleNamespace(run=lambda run: 1.0, state=lambda state: 5.0, slots=1)
    monkeypatch.setattr(runner, "Estimate", lambda *a: stub)
    return now


SEEDS = replace(SMOKE, seeds=(0, 1), deltas=(1e-3, 2e-3))


def go(tmp_path, do, said=None, **options):
    """Run a suite whose groups are done by `do(runs)` → records."""

    def execute(groups, states):
        for group in groups:
            yield group, do(group[1])

    tell = (said if said is not None else []).append
    return runner.run(["rq5_scale"], SEEDS, tmp_path, execute=execute, tell=tell, progress=False, **options)


def test_groups_are_run_in_order_and_once(tmp_path, clock):
    order, said = [], []

    def do(group):
        order.extend(group)
        assert len({run.group for run in group}) == 1
        return [record(run, status="failed" if run.n == 8 and run.block == 0 else "done") for run in group]

    left = go(tmp_path, do, said)
    assert [run.seed for run in order] == sorted(run.seed for run in order)
    assert sorted(order, key=str) == sorted(settings("rq5_scale", SEEDS), key=str)
    assert not left.groups and left.failed == 4 and "nothing is missing" in str(left)
    assert any("failed: nano RI+FT: FTM, block 0" in line and "it fell" in line for line in said)
    rows = records.read(tmp_path / "rq5_scale" / "smoke.jsonl")
    assert [(row["suite"], row["profile"]) for row in rows] == [("rq5_scale", "smoke")] * len(order)
    done = len(order)
    go(tmp_path, do)
    assert len(order) == done  # not even those that failed


def test_a_budget_stops_in_time_by_the_pace_so_far(tmp_path, clock):
    done = []

    def do(group):
        clock[0] += (2 if done else 12) * len(group)  # twice the estimate, at first with 5 s for the state
        done.append(group)
        return [record(run) for run in group]

    said: list[str] = []
    left = go(tmp_path, do, said, budget=30)
    assert left.groups and done and 20 < clock[0] <= 30
    assert "does not fit the time left" in said[-2]
    clock[0] = 0
    none = go(tmp_path / "none", do, budget=5)  # the starting state alone takes as long
    assert none.runs == len(settings("rq5_scale", SEEDS))


def test_a_budget_holds_where_groups_are_done_side_by_side(tmp_path, clock):
    """Four at a time, each as long as was thought: four in that time do not make one of them quicker."""

    def execute(groups, states):
        while four := list(itertools.islice(groups, 4)):
            clock[0] += max(len(runs) for _, runs in four) + (0 if clock[0] else 5)  # the first wait for the state
            yield from ((group, [record(run) for run in group[1]]) for group in four)

    many = replace(SEEDS, seeds=tuple(range(40)))
    left = runner.run(["rq5_scale"], many, tmp_path, execute=execute, budget=18.5, tell=lambda _: None, progress=False)
    assert left.groups and 17 < clock[0] <= 18.5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_group_in_hand_finish_and_a_second_one_drops_it(tmp_path, clock, number):
    handler, said, done = signal.getsignal(number), [], []

    def do(group, times=1):
        done.append(group)
        if len(done) == 2:
            for _ in range(times):
                os.kill(os.getpid(), number)
        return [record(run) for run in group]

    left = go(tmp_path, do, said)
    assert len(done) == 2 and left.done == sum(map(len, done)) and left.groups
    assert any("stopping after the runs in hand" in line for line in said)
    done.clear()
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "two", lambda group: do(group, 2))
    kept = records.read(tmp_path / "two")
    assert len(done) == 2 and [row["id"] for row in kept] == [run.id for run in done[0]]
    assert signal.getsignal(number) == handler


def test_groups_that_end_in_another_order_are_recorded_as_well(tmp_path, clock):
    def backwards(groups, states):
        for group in reversed(list(groups)):
            yield group, [record(run) for run in group[1]]

    left = runner.run(["cost"], SEEDS, tmp_path, execute=backwards, tell=lambda _: None, progress=False, budget=10**6)
    assert not left.groups and left.done == len(settings("cost", SEEDS))


def test_the_plan_shares_what_suites_have_in_common(tmp_path, clock):
    suites = list(SUITES)
    together = runner.plan(suites, SEEDS, tmp_path)
    assert together.runs == len(runs(SEEDS)) < sum(runner.plan([s], SEEDS, tmp_path).runs for s in suites)
    firsts = [group[1][0].seed for group in together.groups]
    assert all(a <= b for a, b in pairwise(firsts))


def test_a_model_in_a_folder_is_known_by_its_contents(tmp_path, monkeypatch):
    def train(place, weights):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "config.json").write_text("{}")
        (tmp_path / place / "model.safetensors").write_bytes(weights)
        return suites.profile("gpu", model=str(tmp_path / place))

    first = train("a/my-bert", b"1")
    assert first.model == first.pretrained and first.model.startswith("my-bert@") and len(first.model) == 16
    assert suites.profile("gpu", model=str(tmp_path / "a" / "my-bert")) == first == train("b/my-bert", b"1")
    again, elsewhere = train("a/my-bert", b"2"), train("b/my-bert", b"3")
    assert len({first.model, again.model, elsewhere.model}) == 3
    for sizes, place in ((again, "a"), (elsewhere, "b")):
        assert FOLDERS[sizes.model] == tmp_path / place / "my-bert"
    out = tmp_path / "results"
    records.append(out / "cost" / "gpu.jsonl", [record(run) for run in settings("cost", first)])
    assert {run.id for run in settings("cost", again)}.isdisjoint(row["id"] for row in records.read(out))
    with pytest.raises(ValueError, match="rename the folder"):
        train("a/fae-bert", b"1")
    train("nano", b"1")
    monkeypatch.chdir(tmp_path)
    assert suites.profile("cpu", model="nano").model == "nano"  # a preset's name is the preset's
    assert suites.profile("cpu", model="bert-base-uncased").model == "bert-base-uncased"


def test_facts_of_a_suite_have_a_name():
    assert suites.profile("cpu", facts="bios:9").facts == "bios:9"
    with pytest.raises(ValueError, match=r"facts with a name, such as .*; got '/some/mine.csv'"):
        suites.profile("cpu", facts="/some/mine.csv")
