"""The suites `ladder` and `sequences`: what is run, and what is read from the records."""

import json
from dataclasses import replace

import pytest

from kmod import charts
from kmod.experiments import drift, ladder, records, runner, sequences
from kmod.experiments.index import Index
from kmod.experiments.ledger import NOT_RUN
from kmod.experiments.portions import measured, portions
from kmod.experiments.settings import Setting
from kmod.experiments.statistics import mean
from kmod.experiments.suites import profile, settings

CPU = profile("cpu")


def test_every_rung_has_a_grid_of_one_size_and_at_most_the_same_gradients():
    rungs = ladder.rungs(CPU)
    for rung in rungs[1:]:
        assert len(rung.settings) == 4 and rung.on in {other.name for other in rungs}
        for run in rung.settings:
            options = dict(run.options or ())
            one = run.method == "FT-L" and options.get("order") != "together"
            each = options["evidences"] if one else run.batch_size
            assert run.steps * each * (run.n if one else 1) == ladder.PER_FACT * run.n
    published = dict(rungs[0].settings[0].options)
    assert published == {"evidences": 1, "slots": "first"} and rungs[0].settings[0].delta == 5e-4
    runs = settings("ladder", CPU)
    assert len({run.id for run in runs}) == len(runs) and {run.seed for run in runs} == set(range(5))
    assert {run.state.training for run in runs if run.seed == 3} == {3}
    assert replace(runs[0], training=None).state == runs[0].state  # seed 0
    assert Setting(**json.loads(json.dumps(runs[0].record()))) == runs[0]


def made(run: Setting, A_M: float, A_FS: float, rows: list | None = None) -> dict:
    rates = {"A_M": A_M, "A_M_evidences": A_M, "A_FS": A_FS, "A_mean": (A_M + A_FS) / 2}
    return {"schema": 1, "id": run.id, "settings": run.record(), "status": "done", "metrics": rates, "rows": rows}


def test_a_rung_is_judged_at_the_setting_that_is_best_on_the_other_seeds():
    rows = []
    for rung in ladder.rungs(CPU)[:2]:
        for seed in range(3):
            for i, run in enumerate(rung.settings):
                # Seed 0 alone is best at setting 3, the others at setting 1.
                best = 0.9 if i == (3 if seed == 0 else 1) else 0.1 * i
                rows.append(made(replace(run, seed=seed), best if rung.on else 0.0, 0.9))
    found = ladder.climb(CPU, Index(rows))
    assert list(found) == ["FT-L as published", "FT-L, ball scaled"]
    rung = found["FT-L, ball scaled"]
    assert rung.values["A_M"] == {0: 0.1, 1: pytest.approx(0.3), 2: pytest.approx(0.3)}
    values = rung.values["A_mean"]
    assert ladder.gain(found, "FT-L, ball scaled").value == pytest.approx(mean(values.values()).value - 0.45)
    assert ladder.gain(found, "FT-L as published").n == 0
    drawn = charts.ladder(found)
    assert "step" in str(drawn.title.text) and "FT-L, ball scaled" in drawn.description
    with pytest.raises(ValueError, match="no rung of the ladder has records"):
        charts.ladder({})


def test_portions_are_the_facts_in_order(facts):
    change = facts.modify(10, seed=1)
    parts = portions(change, 4)
    assert [len(part) for part in parts] == [4, 4, 2]
    assert [i for part in parts for i in part.indices] == list(change.indices)
    assert measured(64) == [1, 4, 16, 64] and measured(1) == [1] and measured(20) == [1, 4, 16, 20]


def test_a_sequence_is_a_run_with_a_row_for_each_measured_portion(tmp_path):
    smoke = profile("smoke")
    run = replace(sequences.arm(smoke, sequences.START, 0, 1, 4), seed=0)
    assert run.anchor == "start" and run.portion == 1 and "1 at a time, around the start" in run.label
    (row,) = runner.work(runner.Bench(), [run])
    assert row["status"] == "done", row["reason"]
    assert [each["edited"] for each in row["rows"]] == [1, 4] and row["rows"][-1]["linf"] <= run.delta * 1.001
    assert row["metrics"]["A_M"]["value"] == row["rows"][-1]["A_M"] and "pseudo_perplexity" not in row["rows"][0]
    records.append(tmp_path / "sequences" / "smoke.jsonl", [row])
    assert runner.plan(["sequences"], smoke, tmp_path).seconds  # estimates leave such records out


def test_the_claim_of_2026_is_judged_at_the_end_of_the_sequences():
    rows = []
    for portion, (n, *_) in sequences.PORTIONS.items():
        for name, number in sequences.CHOSEN.items():
            kept = {sequences.START: 0.95, sequences.LAST: 0.5}.get(name, 0.3)
            for seed in range(3):
                run = replace(sequences.arm(CPU, name, number, portion, n), seed=seed)
                row = {"edited": n, "A_M": 0.6, "A_FS": kept + 0.01 * seed, "A_FS_before": 0.98, "linf": 0.1, "l2": 1.0}
                row["A_mean"] = (row["A_M"] + row["A_FS"]) / 2
                rows.append(made(run, 0.6, kept, [row | {"edited": portion}, row]))
    curves = drift.curves(CPU, Index(rows))
    assert len(curves) == 3 * 5 * 3 * 2
    found = drift.verdict(curves)
    holds = [part.holds for part in found.parts]
    assert holds == [True, True, None, True] * 3 and found.verdict == "undecided" and found.seeds == 3
    assert found.parts[0].effect.value == pytest.approx(0.47)
    none = drift.verdict([])
    assert none.verdict == NOT_RUN and "it needs" in none.missing
    chart = charts.over_edits(curves)
    assert "ball around θ₀" in chart.description and "Highest Ā at the end" in str(chart.title.text)
    with pytest.raises(ValueError, match="no finished sequences"):
        charts.over_edits([])
