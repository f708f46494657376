"""Editors at equal care: grids, the suite `methods`, what is read from its records, and `choose` by name."""

from collections import Counter
from dataclasses import replace
from statistics import fmean

import pytest
from synthetic_runs import as_claimed, record, runs

import kmod
from kmod import charts
from kmod.editing.choose import choose
from kmod.editing.grids import GRIDS, RATES, SETTINGS, edit_with
from kmod.editing.methods import METHODS
from kmod.experiments import equal_care
from kmod.experiments.claims import claim
from kmod.experiments.groups import work
from kmod.experiments.index import Index
from kmod.experiments.methods import check
from kmod.experiments.settings import Setting
from kmod.experiments.starts import Bench
from kmod.experiments.suites import PROFILES, settings
from kmod.training.effort import count, counting

CPU, SMOKE = PROFILES["cpu"], PROFILES["smoke"]


def test_every_method_has_a_grid_of_the_same_size():
    assert {len(grid) for grid in GRIDS.values()} == {SETTINGS}
    assert all(len({str(setting) for setting in grid}) == SETTINGS for grid in GRIDS.values())
    methods = {setting["method"] for grid in GRIDS.values() for setting in grid}
    assert METHODS.keys() - methods == {"FT-L", "retrain"}  # a rung of the ladder; nothing to choose
    for name in ("FTM", "FTA", "FTM in ℓ∞", "FTM in ℓ2", "KL", "EWC", "low-curvature"):
        assert Counter(setting["lr"] for setting in GRIDS[name]) == dict.fromkeys(RATES, 2)


@pytest.mark.parametrize("profile", [CPU, SMOKE], ids=lambda p: p.name)
def test_the_suite_holds_every_setting_at_three_sizes(profile):
    cells = list(dict.fromkeys(equal_care.methods(profile)))
    sizes = equal_care.sizes(profile)
    assert len(sizes) == 3 and Counter(run.n for run in cells) == dict.fromkeys(sizes, SETTINGS * len(GRIDS) + 1)
    for run in cells:
        check(run.registered, run)  # nothing is recorded that the method does not take
        assert run.training == "seed"
    every = settings("methods", CPU)
    assert {run.seed for run in every if run.method != "retrain"} == set(range(5))
    assert {run.state.training for run in every if run.seed == 4} == {4}


def test_dials_name_what_an_editor_may_choose():
    ball, steps = (equal_care.settings(CPU, 32)[name][0] for name in ("FTM in ℓ∞", "FTM"))
    assert ball.dials == "lr 3e-05, 120 steps, δ 0.0025" and steps.dials == "lr 3e-05, 120 steps"
    rome, alpha, knn = (equal_care.settings(CPU, 32)[name][0] for name in ("ROME", "AlphaEdit", "kNN"))
    assert rome.dials == "block 0, lr 0.05, 25 steps, keep 100" and knn.dials == "ε 1"
    assert alpha.dials == "block 1, lr 0.05, 25 steps, energy 0.01, ridge 1"


def synthetic(scores, seeds=range(5), n=32):
    """Records of every setting of the editors in `scores`: editor → function of (position, seed) → (A_M, A_FS)."""
    rows = []
    for editor, score in scores.items():
        for i, cell in enumerate(equal_care.settings(CPU, n)[editor]):
            for seed in seeds:
                run = Setting(**cell.record() | {"seed": seed})
                rows.append(record(run, *score(i, seed), bytes=8, gradients=100 + i, peak_bytes=5, suite="methods"))
    return rows


def test_each_seed_runs_at_the_setting_that_is_best_on_the_others():
    """Against the same, counted out."""
    table = {(i, seed): (0.5 + ((7 * i + 3 * seed) % 11) / 22, 0.9) for i in range(SETTINGS) for seed in range(5)}
    found = equal_care.compare(CPU, Index(synthetic({"FTM": lambda i, s: table[i, s]})), 32)
    assert list(found) == ["FTM"] and found["FTM"].seeds == 5
    for seed in range(5):
        means = [fmean(sum(table[i, s]) / 2 for s in range(5) if s != seed) for i in range(SETTINGS)]
        best = means.index(max(means))
        assert found["FTM"].values("A_M")[seed] == pytest.approx(table[best, seed][0])
        assert found["FTM"].choice.scores()[seed] == pytest.approx(means[best])
        assert found["FTM"].cost("gradients")[seed] == 100 + best and found["FTM"].cost("seconds")[seed] == 1.0
    assert found["FTM"].values("portability") == {} and found["FTM"].cost("nothing") == {}
    assert "by Ā" in found["FTM"].chosen and "lr " in found["FTM"].chosen


def test_an_editor_without_all_its_settings_is_left_out():
    rows = synthetic({"FTM": lambda i, s: (0.9, 0.9), "KL": lambda i, s: (0.9, 0.9)})
    lacking = [row for row in rows if row["settings"]["method"] != "KL" or row["settings"]["lr"] != RATES[0]]
    assert list(equal_care.compare(CPU, Index(lacking), 32)) == ["FTM"]
    fewer = [row for row in rows if row["settings"]["seed"] < 3 or row["settings"]["lr"] != RATES[0]]
    assert {editor.seeds for editor in equal_care.compare(CPU, Index(fewer), 32).values()} == {3}
    assert equal_care.compare(CPU, Index(rows), 512) == {}


def test_a_rate_three_times_off_is_that_of_the_neighbours():
    """Ā by learning rate 0.5, 0.9, 0.8, 0.2: the best is the second; its neighbours lose 0.4 and 0.1."""
    by_rate = dict(zip(RATES, (0.5, 0.9, 0.8, 0.2), strict=True))
    rows = synthetic({"FTM": lambda i, s: (by_rate[GRIDS["FTM"][i]["lr"]] - 0.01 * (i % 2),) * 2})
    found = equal_care.compare(CPU, Index(rows), 32)["FTM"]
    assert {lr: fmean(values.values()) for lr, values in found.over_rates().items()} == pytest.approx(by_rate)
    assert list(found.rate_off().values()) == pytest.approx([0.25] * 5)
    edge = synthetic({"FTM": lambda i, s: (1 - RATES.index(GRIDS["FTM"][i]["lr"]) / 10,) * 2})
    assert list(equal_care.compare(CPU, Index(edge), 32)["FTM"].rate_off().values()) == pytest.approx([0.1] * 5)
    knn = equal_care.compare(CPU, Index(synthetic({"kNN": lambda i, s: (0.5, 0.5)})), 32)["kNN"]
    assert knn.over_rates() == {}


def test_claims_have_parts_at_equal_care():
    balls = ("FTM in ℓ∞", "FTM in ℓ2", "FTM in Fisher", "FTM in K-FAC")
    steep = {lr: 0.9 - 0.2 * abs(i - 1) for i, lr in enumerate(RATES)}

    def wild(i, s):
        return steep[GRIDS["FTM"][i]["lr"]], 0.75 + 0.001 * s

    scores = {"FTM": wild, "FTA": lambda i, s: (0.9, 0.85)} | {name: lambda i, s: (0.9, 0.85) for name in balls}
    rows = synthetic(scores)
    assert not any(map(at_equal_care(CPU, rows), ("C1", "C2", "C3")))  # the parts before them have no records
    rows += [as_claimed(run) for run in runs(CPU)]
    parts = {name: at_equal_care(CPU, rows)(name) for name in ("C1", "C2", "C3")}
    (lost,) = parts["C1"]
    assert lost.effect.value == pytest.approx(0.9 - 0.752) and lost.holds
    against_ftm, against_fta, off = parts["C2"]
    assert against_ftm.holds and against_fta.holds is None and off.effect.value == pytest.approx(0.1) and off.holds
    assert [round(part.effect.value, 6) for part in parts["C3"]] == [0, 0, 0]
    without = [row for row in rows if row["suite"] != "methods"]
    assert claim("C2", CPU, without).missing == "it needs the suite methods"
    assert not at_equal_care(replace(CPU, training=1), rows)("C2")


def at_equal_care(profile, rows):
    index = Index(rows)
    return lambda name: [part for part in claim(name, profile, index).parts if "at equal care" in part.what]


def test_charts_of_editors():
    rows = synthetic({"FTM": lambda i, s: (0.9 - 0.05 * i, 0.8 + 0.01 * s), "KL": lambda i, s: (0.95, 0.9)})
    found = equal_care.compare(CPU, Index(rows), 32)
    drawn = charts.editors(found)
    assert drawn.title.text == "KL has the best Ā, and is surely ahead of 1 of the other 1 editors"
    assert [row["editor"] for row in charts.numbers(drawn).rows] == ["KL", "FTM"]
    assert "n = 5 seeds" in " ".join(drawn.title.subtitle)
    lines = charts.over_rates(found)
    assert "three times off costs KL 0.0 points" in lines.title.text and len(charts.numbers(lines).rows) == 8
    for draw in (charts.editors, charts.over_rates):
        with pytest.raises(ValueError, match="run the suite first"):
            draw({})


# ---------------------------------------------------------------- on a model


def test_gradients_are_counted_as_they_are_taken(model, facts):
    """Against the batches themselves: a pass over the evidences ends with what is left of them."""
    change = facts.modify(3, seed=1)

    def gradients(edit, **settings):
        with counting() as effort:
            edit(model, change, **settings)
        return effort.gradients

    evidences = sum(len(facts.evidences(fact)) for fact in change.originals)
    batches = [min(4, evidences - start) for start in range(0, evidences, 4)]
    passes = sum((batches * 5)[:5])
    assert gradients(kmod.finetune, steps=5, batch_size=4) == passes
    assert gradients(kmod.finetune, steps=5, batch_size=4, block=-1) == passes
    assert gradients(kmod.kl, steps=5, batch_size=4) == passes + 5 * 4  # a batch of the rest beside each of M
    assert gradients(kmod.fisher_diagonal, evidences=7) == 7
    with counting() as effort:
        kmod.evaluate(model, facts, change, answers=False)
    count(3)  # outside, nothing is counted
    assert effort.gradients == 0


@pytest.mark.parametrize("editor", GRIDS)
def test_every_editor_edits_by_its_first_setting(model, facts, editor):
    setting = dict(GRIDS[editor][0])
    if METHODS[setting["method"]].package and not METHODS[setting["method"]].available:
        pytest.skip(f"needs {METHODS[setting['method']].package}")
    small = {"steps": 2} if "steps" in setting else {}
    small |= {"options": setting["options"] | {"evidences": 20}} if (
        "evidences" in METHODS[setting["method"]].options
    ) else {}  # fmt: skip
    change = facts.modify(2, seed=1)
    edit = edit_with(model, change, **setting | small)
    assert edit.nbytes > 0 and edit.before == model.fingerprint()
    kmod.evaluate(model, facts, change, edit=edit, answers=False)


def test_choose_gives_every_editor_its_whole_grid(model, facts, monkeypatch):
    for name in ("FTM", "FTM in ℓ∞"):
        monkeypatch.setitem(GRIDS, name, tuple(setting | {"steps": 3} for setting in GRIDS[name][:2]))
    change = facts.modify(3, seed=1, known=kmod.known(model, facts))
    found = choose(model, [change], ["FTM", "FTM in ℓ∞"], progress=False)
    assert [setting["editor"] for setting in found.grid] == ["FTM", "FTM", "FTM in ℓ∞", "FTM in ℓ∞"]
    assert set(found.best()) == {"FTM", "FTM in ℓ∞"} and next(iter(found.best().values())) == found.separate
    assert "each editor at its best" in str(found)
    again = edit_with(model, change, **{k: v for k, v in found.grid[2].items() if k != "editor"})
    result = kmod.evaluate(model, facts, change, edit=again, answers=False)
    assert found.mean(2) == pytest.approx(result.A_mean)
    with pytest.raises(ValueError, match="no editor 'FTX'; known: FTM"):
        choose(model, [change], ["FTX"])
    with pytest.raises(ValueError, match="not both at once"):
        choose(model, [change], ["FTM", {"steps": 3}])
    with pytest.raises(ValueError, match="not both at once"):
        choose(model, [change], ["FTM"], method=kmod.finetune)


def test_a_run_of_the_suite_records_what_is_compared(tmp_path):
    (run,) = [r for r in equal_care.settings(SMOKE, SMOKE.n)["FTM"] if r.lr == 1e-3 and r.steps == 16]
    (row,) = work(Bench(), [run])
    assert row["status"] == "done", row.get("reason")
    assert row["gradients"] > 0 and row["bytes"] > 0 and row["seconds"]["edit"] > 0
    assert "A_M_any_length" in row["metrics"] and "pseudo_perplexity" not in row["metrics"]  # no text was ever seen
    assert row["settings"]["lr"] == 1e-3
