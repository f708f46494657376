"""The work behind a record, on a small model that memorised a few generated people."""

import copy
import json
import weakref
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import kmod
from kmod import Fact, FactBase, fae
from kmod.cli import main
from kmod.editing import methods as registry
from kmod.experiments import groups, known, records, runner
from kmod.experiments import starts as module
from kmod.experiments.cost import Estimate
from kmod.experiments.groups import thinned, work
from kmod.experiments.known import Known, modification
from kmod.experiments.machine import tensor_cores
from kmod.experiments.settings import Setting, State
from kmod.experiments.starts import Bench, PortableState, build
from kmod.experiments.suites import PROFILES

SMOKE = PROFILES["smoke"]
LINF = SMOKE.setting("FTM", "all", "Linf", 4e-3)


@pytest.fixture(scope="module")
def bench():
    return Bench()


def essence(rows):
    return [{k: v for k, v in row.items() if k not in ("seconds", "time", "peak_bytes", "known")} for row in rows]


def test_a_record_says_what_it_must(bench):
    tight, wide = work(bench, [replace(LINF, delta=1e-3), LINF])
    for row, run in ((tight, replace(LINF, delta=1e-3)), (wide, LINF)):
        assert (row["schema"], row["status"], row["id"], row["settings"]) == (1, "done", run.id, run.record())
        assert row["metrics"]["A_M"]["facts"] == run.n and 0 <= row["metrics"]["A_mean"] <= 1
        assert row["delta_used"] == pytest.approx(run.delta, rel=1e-4)
        assert len(row["norms"]) == 12 and max(n["linf"] for n in row["norms"].values()) == pytest.approx(
            run.delta, rel=1e-3
        )
        assert [point[0] for point in row["curve"]] == list(range(run.steps))
        assert row["seconds"].keys() == {"prepare", "edit", "evaluate"} and row["peak_bytes"] > 1e7
        assert {"device", "cores", "memory_gib"} <= row["hardware"].keys() and row["versions"]["torch"]
        assert len(row["facts"]) == len(row["model"]) == len(row["change"]) == 16 and row["dirty"] in (True, False)
    assert tight["model"] == wide["model"] and tight["change"] == wide["change"] and tight["curve"] != wide["curve"]
    assert essence(work(bench, [LINF])) == essence([wide])  # alone as in company
    assert bench.prepared(LINF.state).model.fingerprint()[:16] == wide["model"]


OWN = {
    "KL": {"weight": 2}, "EWC": {"evidences": 5}, "LoRA": {"rank": 2}, "ROME": {"position": "mask"},
    "MEMIT": {"position": "mask"}, "AlphaEdit": {"position": "mask", "spread": 1}, "low-curvature": {"evidences": 9},
    "kNN": {"most": 3}, "FT-L": {"order": "together"},
}  # fmt: skip
METHODS = [("nano", name) for name in registry.METHODS] + [("fae-nano", name) for name in fae.METHODS]


@pytest.mark.parametrize("model, name", METHODS)
def test_every_method_of_the_registries_can_be_run(bench, model, name):
    method = (fae.METHODS if model == "fae-nano" else registry.METHODS)[name]
    if method.package:
        pytest.importorskip(method.package)
    where = 3 if "block" in method.takes else "AWT" if "where" in method.takes else None
    ball = {"constraint": ("Linf", 1e-2), None: (None, None)}.get(method.dial, (None, 0.5))
    run = SMOKE.setting(name, where, *ball, model=model, options=OWN.get(name))
    (row,) = work(bench, [run])
    assert row["status"] == "done" and row["metrics"]["A_M"]["facts"] == 4, row["reason"]
    assert row["settings"].get("options") == OWN.get(name) and Setting(**row["settings"]).id == row["id"] == run.id
    assert bool(row["norms"]) == (name not in ("kNN", "UPDATE"))
    if ball[0]:
        assert row["delta_used"] <= 1e-2 * 1.001
    if row["curve"]:
        assert [point[0] for point in row["curve"]] == list(range(run.steps))
    estimate = Estimate()
    assert method.descends == (estimate.run(replace(run, steps=10**5)) > estimate.run(run) > 0)


@pytest.mark.parametrize("run, message", [
    (SMOKE.setting("FTM", 3, options={"weight": 1}), "finetune has no option 'weight'; it has: none"),
    (SMOKE.setting("KL", 3, options={"weight": -1}), "weight must be a number"),
    (SMOKE.setting("ROME", 3, options={"position": "middle"}), "position must be one of subject"),
    (SMOKE.setting("kNN", options={"epsilon": 3}), "epsilon is the radius of kNN: give it as delta"),
    (SMOKE.setting("kNN", "all"), "kNN takes no block, got 'all'"),
    (SMOKE.setting("ROME", 3, "Linf", 1e-2), "ROME takes no constraint, got 'Linf'"),
    (SMOKE.setting("retrain", delta=1), "retrain takes no delta, got 1.0"),
    (SMOKE.setting("FTM", 3, None, 1e-2), "FTM takes constraint and delta together"),
    (SMOKE.setting("loss-constrained", 3, "Linf", 1e-2), "loss-constrained takes no constraint"),
    (replace(SMOKE.setting("FTA", "AWT"), model="fae-nano"), "no method 'FTA' for fae-nano; known: UPDATE"),
], ids=lambda value: getattr(value, "label", None))  # fmt: skip
def test_what_a_method_does_not_take_is_refused_by_name(bench, run, message):
    (row,) = work(bench, [run])
    assert row["status"] == "failed" and message in row["reason"]


def test_a_package_that_is_not_installed_leaves_no_record(bench, monkeypatch):
    monkeypatch.setattr("kmod.editing.methods.find_spec", lambda package: None)
    (row,) = work(bench, [SMOKE.setting("LoRA", 3)])
    assert row["status"] == "skipped" and "LoRA needs peft: pip install" in row["reason"]


def test_constraints_need_not_be_linf_nor_starts_memorised(bench):
    for run in (
        SMOKE.setting("FTM", "all", "Fisher", 1e-4), SMOKE.setting("FTM", "all", "Linf", 4e-3, start="RI"),
        *(SMOKE.setting("FTM", part, "Fisher", 1e-4, model="fae-nano") for part in ("AWT", "block 3 + AWT")),
    ):  # fmt: skip
        (row,) = work(bench, [run])
        assert row["status"] == "done" and row["norms"], row["reason"]


@pytest.mark.parametrize("names", [dict(model="fae-nano"), dict(pretrained="fae-nano")])
def test_a_fae_is_no_model_of_a_suite(tmp_path, capsys, names):
    option = [part for name, value in names.items() for part in (f"--{name}", value)]
    assert main(["run", "rq1_reliability", "--profile", "smoke", "--out", str(tmp_path), *option]) == 2
    told = capsys.readouterr()
    assert "rq3_fae trains the FaE of it itself" in told.err and len(told.err.splitlines()) == 1
    assert not told.out and not list(tmp_path.iterdir())


def test_a_fae_has_room_for_what_is_kept_out_of_it(monkeypatch):
    """Five objects a row are more than there is room for by default."""
    towns = [(who, town) for who, some in (("Ann", "ABCDE"), ("Bob", "ABCD"), ("Cy", "BCDE")) for town in some]
    people = FactBase([Fact(w, "knows", t, (f"{w} knows [MASK].",), (f"[MASK] knows {w}.",)) for w, t in towns])
    monkeypatch.setattr(module, "load_facts", lambda name: people)
    for seed in range(6):
        state = State(facts="people", model="fae-nano", start="RI", epochs=1, without=3, seed=seed)
        prepared = Bench()._prepare(state, 128)
        assert len(prepared.held) == 3 and len(prepared.facts) == 10
        assert kmod.add_facts(prepared.model, prepared.held).xor


def test_every_start_changes_the_same_facts(bench):
    changes = {work(bench, [replace(LINF, start=start)])[0]["change"] for start in ("RI", "RI+FT")}
    assert len(changes) == 1


def test_a_state_from_elsewhere_is_the_state(bench):
    there = Bench()
    run = replace(LINF, start="RI")
    for state in (run.state.reference, run.state):
        there.given[state] = Bench().portable(state)
    assert essence(work(there, [run])) == essence(work(bench, [run]))


def test_what_diverges_is_recorded_and_the_rest_goes_on(bench):
    rows = work(bench, [replace(LINF, constraint=None, delta=None, lr=1e30)])
    assert rows[0]["status"] == "failed" and "lower the learning rate" in rows[0]["reason"] and not rows[0]["metrics"]
    (large,) = work(bench, [replace(LINF, n=1000)])
    assert large["status"] == "failed" and "1000" in large["reason"]


class Tensors:
    batch_size = None


def stub(monkeypatch, problem):
    """`work` whose edits do nothing but raise what `problem(runs)` gives, if anything; the calls."""
    calls, held = [], []

    def results(prepared, runs):
        assert all(ref() is None for ref in held), "what ran out of memory is still held"
        large = Tensors()
        held.append(weakref.ref(large))
        calls.append([(run.delta, run.batch_size) for run in runs])
        if problem(runs):
            raise problem(runs)  # a new one: what is raised holds the frames it went through
        return [{"metrics": {"A_mean": run.delta}, "seconds": {"edit": 1.0, "evaluate": 1.0}} for run in runs]

    monkeypatch.setattr(groups, "edit_and_judge", results)
    return SimpleNamespace(prepared=lambda state: Tensors(), made={"state": 1}, until=None), calls


GROUP = [replace(LINF, delta=delta) for delta in (1.0, 2.0, 3.0, 4.0)]


def test_of_a_group_only_the_run_that_diverged_fails(monkeypatch):
    bench, _ = stub(monkeypatch, lambda runs: FloatingPointError("NaN") if 2.0 in [r.delta for r in runs] else None)
    rows = work(bench, GROUP)
    assert [row["status"] for row in rows] == ["done", "failed", "done", "done"]
    assert [row["id"] for row in rows] == [run.id for run in GROUP] and rows[1]["reason"] == "NaN"


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory"), MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
], ids=["GPU", "Python", "CPU", "driver", "cuBLAS", "cuDNN"])  # fmt: skip
def test_out_of_memory_halves_the_runs_at_once_and_then_the_batch(monkeypatch, capsys, error):
    bench, calls = stub(monkeypatch, lambda runs: copy.copy(error) if len(runs) * runs[0].batch_size > 4 else None)
    rows = work(bench, GROUP)
    assert [row["id"] for row in rows[::2]] == [run.id for run in GROUP] and not bench.made
    for asked, ran in zip(rows[::2], rows[1::2], strict=True):
        run = replace(Setting(**asked["settings"]), batch_size=4)
        assert (asked["status"], ran["status"]) == ("failed", "done") and not asked["metrics"]
        assert Setting(**ran["settings"]) == run and ran["id"] == run.id and ran["metrics"] == {"A_mean": run.delta}
        assert asked["reason"] == f"out of memory: batches of 4 instead, recorded as {run.id}"
    assert [len(call) for call in calls[:3]] == [4, 2, 1] and [call[0][1] for call in calls[2:5]] == [16, 8, 4]
    assert "goes on with batches of 4" in capsys.readouterr().out
    bench, _ = stub(monkeypatch, lambda runs: copy.copy(error))
    assert {(row["id"], row["status"], row["reason"]) for row in work(bench, GROUP)} == {
        (run.id, "failed", "out of memory even with one statement a batch") for run in GROUP
    }


def test_a_run_with_a_smaller_batch_is_asked_for_once(monkeypatch, tmp_path):
    bench, calls = stub(monkeypatch, lambda runs: MemoryError() if runs[0].batch_size > 4 else None)
    monkeypatch.setattr(runner, "Bench", lambda: bench)
    small = replace(SMOKE, sizes=(4,), blocks=(0,))
    for retry in (False, False, True):
        before = len(calls)
        left = runner.run(["rq5_scale"], small, tmp_path, tell=lambda _: None, progress=False, retry=retry)
        assert not left.groups and left.failed and not left.done
        assert (len(calls) > before) == (before == 0 or retry)
    done = [row for row in records.read(tmp_path) if row["status"] == "done"]
    lines = [line["id"] for line in records.lines(tmp_path / "rq5_scale" / "smoke.jsonl") if line["status"] == "done"]
    assert len(done) == left.failed == len(lines)


def memorising(monkeypatch, problem):
    """A bench whose training raises what `problem(batch size)` gives, if anything."""

    def memorise(model, facts, *, batch_size, **others):
        if problem(batch_size):
            raise problem(batch_size)
        kmod.memorise(model, facts, batch_size=batch_size, **others)

    monkeypatch.setattr(module, "memorise", memorise)
    return Bench()


def test_out_of_memory_while_memorising_halves_the_batch(monkeypatch, capsys):
    bench = memorising(monkeypatch, lambda batch: MemoryError() if batch > 32 else None)
    trained = bench.portable(LINF.state)
    assert trained.batch_size == 32 and "with batches of 32" in capsys.readouterr().out
    asked, ran = work(bench, [LINF])
    run = replace(LINF, start_batch_size=32)
    assert asked["status"] == "failed" and ran["status"] == "done" and ran["id"] == run.id != LINF.id == asked["id"]
    assert asked["reason"] == f"out of memory: a start memorised in batches of 32 instead, recorded as {run.id}"
    elsewhere = Bench()
    elsewhere.given[LINF.state] = trained
    assert essence(work(elsewhere, [LINF])) == essence([asked, ran])
    monkeypatch.undo()
    assert essence(work(Bench(), [Setting(**ran["settings"])])) == essence([ran])  # its settings are what it ran with
    monkeypatch.setattr(module, "memorise", None)
    (row,) = work(memorising(monkeypatch, lambda batch: torch.OutOfMemoryError()), [LINF])
    assert row["reason"].endswith("could not be made: out of memory even with one statement a batch")


def test_out_of_memory_beside_other_states_makes_the_same_state(monkeypatch, capsys):
    """What else is kept goes first, and a batch that was halved stays so: one state is one model."""
    bench = memorising(monkeypatch, lambda batch: MemoryError() if bench.made or batch > most else None)
    most, states = module.BATCH, [replace(SMOKE, training=i).setting("FTM", "all").state for i in (0, 1)]
    assert [bench.portable(state).batch_size for state in states] == [None, None]
    assert list(bench.made) == states[1:] and not capsys.readouterr().out
    most = 32
    bench.made.clear()
    small, most = bench.portable(states[0]), module.BATCH
    bench.made.clear()
    again = bench.portable(states[0])
    assert small.batch_size == again.batch_size == 32
    assert all((small.weights[name] == again.weights[name]).all() for name in small.weights)


def test_out_of_memory_while_the_reference_is_asked(monkeypatch):
    bench, ask, small = Bench(), module.score, State(**asdict(LINF.state) | {"training": 1})
    bench.portable(small)
    monkeypatch.setattr(module, "score", lambda *args, **others: fail() if small in bench.made else ask(*args))

    def fail():
        raise torch.OutOfMemoryError("CUDA out of memory")

    bench.prepared(LINF.state)
    assert list(bench.made) == [LINF.state]
    monkeypatch.setattr(module, "score", lambda *args, **others: fail())
    rows = work(Bench(), GROUP)
    assert {row["status"] for row in rows} == {"failed"}
    assert all("could not be made: out of memory when nano, RI+FT" in row["reason"] for row in rows)


def test_a_state_that_cannot_be_made_fails_its_runs_and_other_errors_are_not_hidden(monkeypatch):
    bench = memorising(monkeypatch, lambda batch: FloatingPointError("the loss became nan"))
    rows = work(bench, GROUP)
    assert [row["id"] for row in rows] == [run.id for run in GROUP]
    assert all("starting state could not be made: the loss became nan" in row["reason"] for row in rows)
    elsewhere = Bench()
    elsewhere.given[LINF.state] = PortableState(LINF.state, failure="the loss became nan")
    assert essence(work(elsewhere, GROUP)) == essence(rows)
    bench = memorising(monkeypatch, lambda batch: RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        work(bench, GROUP)
    bench, _ = stub(monkeypatch, lambda runs: RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        work(bench, GROUP)


def test_memorising_that_does_not_fit_the_budget_is_gone_on_with_next_time(monkeypatch, tmp_path):
    """Whatever the budget, a suite that is run often enough ends."""
    calls, now = [], [0.0]

    def memorise(model, facts, *, within, **others):
        calls.append(within)
        if within is not None:
            now[0] += within
            raise TimeoutError("the time is up; run again to go on")

    monkeypatch.setattr(module, "memorise", memorise)
    for place in (module, runner):
        monkeypatch.setattr(place, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(runner, "kept", lambda state: False)
    monkeypatch.setattr(runner.Estimate, "state", lambda self, state: 10_000.0)
    said = []
    profile = replace(SMOKE, least_steps=59)
    for budget in (60, 60, None):
        left = runner.run(["cost"], profile, tmp_path, budget=budget, tell=said.append, progress=False)
        assert left.groups == [] if budget is None else left.done == 0
    assert 0 < calls[0] < 60 and 0 < calls[1] < 60 and calls[2] is None
    assert sum("skipped:" in line and "run again to go on" in line for line in said) == 2
    assert sum("does not fit the time left" in line for line in said) == 2


def test_what_cannot_be_had_now_is_no_record(monkeypatch, tmp_path):
    def unreachable(name, facts=None, **others):
        raise OSError("the hub does not answer")

    monkeypatch.setattr(module, "load_model", unreachable)
    said = []
    left = runner.run(["cost"], replace(SMOKE, least_steps=58), tmp_path, tell=said.append, progress=False)
    assert left.failed == left.done == 0 and left.groups and not list(tmp_path.rglob("*.jsonl"))
    assert sum("skipped:" in line and "the hub does not answer" in line for line in said) == left.runs


def test_a_state_is_kept_for_the_code_that_trained_it(bench, monkeypatch):
    bench.prepared(LINF.state)
    assert module.kept(LINF.state)
    monkeypatch.setattr(module, "code_digest", lambda *packages: f"another loop in {packages}")
    assert not module.kept(LINF.state)


def test_a_bench_keeps_the_last_states(monkeypatch):
    bench = Bench(keep=2)
    monkeypatch.setattr(bench, "_prepare", lambda state, batch_size: SimpleNamespace(known=True))
    states = [replace(LINF, start=start).state for start in ("RI", "RI+FT", "PT")]
    first = bench.prepared(states[0])
    assert bench.prepared(states[1]) and bench.prepared(states[0]) is first
    bench.prepared(states[2])
    assert list(bench.made) == [states[1], states[2]]  # the reference of all of them is asked for each time


def test_a_starting_state_of_another_training(bench):
    again = replace(SMOKE, training=1)
    runs = [profile.setting("FTM", "all", "Linf", 4e-3) for profile in (SMOKE, again)]
    assert runs[0].id != runs[1].id and runs[1].state.reference.training == runs[1].state.training == 1
    rows = [work(bench, [run])[0] for run in runs]
    assert rows[0]["model"] != rows[1]["model"] and "(training 1)" in runs[1].label
    facts = kmod.load_facts(SMOKE.facts)
    for model in ("nano", "albert-nano"):
        first, second = (build(random(model, training), facts) for training in (0, 1))
        assert first.fingerprint() != second.fingerprint()
    faes = [work(bench, [profile.setting("UPDATE", model="fae-nano")])[0] for profile in (SMOKE, again)]
    assert faes[0]["status"] == faes[1]["status"] == "done" and faes[0]["model"] != faes[1]["model"]
    fresh = [work(bench, [profile.setting("retrain")])[0] for profile in (SMOKE, again)]
    assert fresh[0]["status"] == "done" and fresh[0]["norms"] != fresh[1]["norms"]


def test_curves_are_thinned_to_their_ends():
    points = thinned([float(i) for i in range(1000)])
    assert len(points) == 20 and points[0] == [0, 0.0] and points[-1] == [999, 999.0] and thinned([]) == []


def random(model, training=0):
    return State(facts="bios:8", model=model, start="RI", epochs=1, training=training)


def test_albert_shares_one_block_at_nanos_shape(facts):
    shared, plain = build(random("albert-nano"), facts), kmod.load_model("nano", facts)
    assert shared.net.config.num_hidden_layers == plain.net.config.num_hidden_layers
    assert shared.net.config.hidden_size == plain.net.config.hidden_size
    again = build(random("albert-nano"), facts)
    assert len(kmod.parts.blocks(shared.net)) == 1 and shared.fingerprint() == again.fingerprint()
    assert kmod.finetune(shared, facts.modify(2), steps=1, batch_size=4).xor
    with pytest.raises(ValueError, match="nano has no pretrained weights"):
        build(replace(random("nano"), start="PT"), facts)


def test_least_steps_of_memorising(facts):
    model = build(random("nano"), facts)
    few = kmod.memorise(model, facts, epochs=0.1, least_steps=3, progress=False)
    assert few.steps == 3


def test_what_a_run_changed_is_read_from_its_record_alone(bench, tmp_path):
    runs = [SMOKE.setting("FTM", 3, start=start) for start in ("RI", "RI+FT")] + [SMOKE.setting("kNN", delta=4)]
    runs += [SMOKE.setting("UPDATE", model="fae-nano")]
    small = replace(SMOKE, sizes=(4,), blocks=(0,))
    left = runner.run(["rq5_scale"], small, tmp_path, tell=lambda _: None, progress=False)
    assert left.done and not left.groups and not any("known" in row for row in records.read(tmp_path))
    (line,) = known.stored(tmp_path)  # once for all runs, and not again
    rows = [work(bench, [run])[0] for run in runs]
    assert known.keep(tmp_path, *(row["known"] for row in rows)) == 0
    prepared = bench.prepared(runs[1].state)
    assert rows[0]["reference"] == line["model"] == prepared.model.fingerprint()[:16]
    assert (Known.of(line).flags == prepared.known.flags).all() and Known.of(line).line() == line
    for row in json.loads(json.dumps(rows)):
        change, drawn = modification(row, tmp_path), prepared.facts.modify(4, 0, prepared.known.flags)
        assert (change.indices, change.objects) == (drawn.indices, drawn.objects)
    with pytest.raises(ValueError, match="is not what the record"):
        modification(rows[1] | {"change": "0" * 16}, tmp_path)
    with pytest.raises(ValueError, match="other facts here than those of the record"):
        modification(rows[1] | {"facts": "0" * 16}, tmp_path)
    with pytest.raises(LookupError, match="nothing is kept of what nano, RI"):
        modification(rows[1], tmp_path / "empty")
    with pytest.raises(LookupError, match="holds no modification"):
        modification(rows[1] | {"change": None}, tmp_path)


def test_knowledge_is_merged_with_the_records(tmp_path):
    line = Known(LINF.state, "f" * 16, "a" * 16, np.arange(11) % 3 == 0).line()
    known.keep(tmp_path / "there", line)
    for _ in range(2):
        assert main(["merge", str(tmp_path / "there"), "--out", str(tmp_path / "here")]) == 0
        assert known.stored(tmp_path / "here") == [line]


def test_tensor_cores_are_used_by_runs_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before, inside = torch.get_float32_matmul_precision(), []
    with pytest.raises(RuntimeError), tensor_cores():
        inside.append(torch.get_float32_matmul_precision())
        raise RuntimeError
    monkeypatch.setattr(runner, "plan", lambda *a, **k: inside.append(torch.get_float32_matmul_precision()) or fail())

    def fail():
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "here", lambda: None)
    with pytest.raises(KeyboardInterrupt):
        runner.run(["cost"], SMOKE, tmp_path)
    assert inside == ["high", "high"] and torch.get_float32_matmul_precision() == before == "highest"
