"""One group of runs: edit, judge, and write down what happened."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass, replace
from datetime import UTC, datetime

import numpy as np
import torch

from ..evaluation import evaluate
from ..fae.added import rates
from ..models import LanguageModel
from ..parts import layout
from ..sources.sets import checksums
from ..training.effort import counting
from ..training.flops import wait
from ..versions import versions
from .machine import Memory, code, hardware, peak, reset_peak
from .methods import edits
from .portions import in_portions
from .records import SCHEMA
from .settings import Setting
from .starts import Bench, CannotStart, Prepared, general_sentences


def work(bench: Bench, runs: Sequence[Setting]) -> list[dict]:
    """The records of runs that differ in their radius alone.

    Out of memory, fewer are done at once, and then with half the batch: such a run is recorded under the settings that
    it ran with, and the run that was asked for as failed, naming that one. A run that diverges or cannot be done is
    "failed", with the reason. What cannot be had now (a package, a model of a hub that does not answer) is "skipped":
    that is no record to keep. The first record carries, as "known", what the reference state knows.
    """
    rows = []
    words = {"batch_size": "batches of", "start_batch_size": "a start memorised in batches of"}
    for run, (ran, result) in zip(runs, _results(bench, runs), strict=True):
        smaller = [f"{words[name]} {getattr(ran, name)}" for name in words if getattr(ran, name) != getattr(run, name)]
        if smaller:
            reason = f"out of memory: {' and '.join(smaller)} instead, recorded as {ran.id}"
            rows.append(_record(run, _failure(reason)))
        rows.append(_record(ran, result))
    return rows


def _failure(reason: str, status: str = "failed", **seconds: float) -> dict:
    return {"status": status, "reason": reason, "seconds": seconds}


def _results(bench: Bench, runs: Sequence[Setting]) -> list[tuple[Setting, dict]]:
    """For each run the settings that it was done with, and what came of it."""
    started, reason = time.perf_counter(), ""
    try:
        prepared = bench.prepared(runs[0].state)
    except (CannotStart, OSError) as error:
        status = "skipped" if isinstance(error, OSError) else "failed"
        return [(run, _failure(f"its starting state could not be made: {error}", status)) for run in runs]
    shared = time.perf_counter() - started
    with Memory() as memory:
        try:
            results = edit_and_judge(prepared, runs)
        except ModuleNotFoundError as error:
            return [(run, _failure(str(error), "skipped")) for run in runs]
        except (FloatingPointError, ValueError) as error:
            reason = str(error)
    start_batch_size = prepared.batch_size
    if memory.full:
        del prepared
        bench.made.clear()
        torch.cuda.empty_cache()
        if len(runs) > 1:
            half = len(runs) // 2
            return _results(bench, runs[:half]) + _results(bench, runs[half:])
        (run,) = runs
        if (run.batch_size or 1) > 1:
            smaller = replace(run, batch_size=run.batch_size // 2)
            print(f"out of memory: {run.label} goes on with batches of {smaller.batch_size}")
            ((ran, result),) = _results(bench, [smaller])
            return [(run if result.get("status") == "failed" else ran, result)]
        reason = "out of memory even with one statement a batch"
    if reason and len(runs) > 1:  # one by one, to find the run that failed
        return [result for run in runs for result in _results(bench, [run])]
    if reason:
        return [(runs[0], _failure(reason, prepare=round(shared, 3)))]
    for result in results:
        result["seconds"] = {"prepare": round(shared / len(runs), 3)} | result.get("seconds", {})
    return [
        (replace(run, start_batch_size=start_batch_size), result) for run, result in zip(runs, results, strict=True)
    ]


def _record(run: Setting, result: dict) -> dict:
    commit = code() or ""
    return {
        "schema": SCHEMA, "id": run.id, "settings": run.record(), "status": "done", "metrics": {}, **result,
        "hardware": hardware(), "versions": versions(), "commit": commit.rstrip("+") or None,
        "dirty": commit.endswith("+"), "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def edit_and_judge(prepared: Prepared, runs: Sequence[Setting]) -> list[dict]:
    """What came of runs that differ in their radius alone."""
    run = runs[0]
    reset_peak(prepared.model.device)
    if run.registered is None:
        metrics = rates(prepared.model, prepared.held, prepared.facts)
        return [{"metrics": metrics, "model": prepared.model.fingerprint()[:16]} | _origin(prepared)]
    change = prepared.facts.modify(run.n, run.seed, prepared.known.flags)
    if run.portion:
        return [in_portions(prepared, change, each) | _origin(prepared) for each in runs]
    started = time.perf_counter()
    with counting() as effort:
        made = edits(prepared, change, runs)
    wait(prepared.model.device)
    editing_seconds = (time.perf_counter() - started) / len(runs)
    # Text is no measure of a model that has seen none.
    ask = {"thorough": not run.state.fae, "general": general_sentences() if run.start.startswith("PT") else False}
    results = []
    for edit in made:
        started = time.perf_counter()
        before = prepared.before(edit)
        after = evaluate(prepared.model, prepared.facts, change, edit=edit, before=before, answers=False, **ask)
        metrics = {n: asdict(value) if is_dataclass(value) else value for n, value in after.measures().items()}
        seconds = {"edit": round(editing_seconds, 3), "evaluate": round(time.perf_counter() - started, 3)}
        result = {
            "metrics": metrics, "curve": thinned(edit.made.get("curve", [])),
            "stopped": edit.made.get("stopped"), "delta_used": edit.made.get("norm"),
            "norms": norms(prepared.model, edit), "change": checksums(change)["M"][:16],
            "model": edit.before[:16],  # the evaluation has checked it
            "reference": prepared.known.model, "seconds": seconds, "bytes": edit.nbytes,
            "gradients": effort.gradients // len(runs),
        }  # fmt: skip
        results.append(result | _origin(prepared))
    results[0]["known"] = prepared.known.line()
    return results


def _origin(prepared: Prepared) -> dict:
    """Which facts it was about, and the peak of memory so far."""
    return {"facts": prepared.facts.fingerprint()[:16], "peak_bytes": peak(prepared.model.device)}


def thinned(curve: Sequence[float], most: int = 20) -> list[list[float]]:
    """At most `most` points [step, loss] of a curve, the first and the last among them."""
    steps = np.unique(np.linspace(0, len(curve) - 1, min(most, len(curve))).round().astype(int)) if curve else []
    return [[int(step), float(f"{curve[step]:.4g}")] for step in steps]


def norms(model: LanguageModel, edit) -> dict[str, dict[str, float]]:
    """How far the edit moves `model`, now without it: {"block 0, attention": {"linf", "l2"}, ...}; nothing for kNN."""
    moved, where = {}, layout(model.net)
    for name, tensor in edit.difference(model, applied=False).items() if getattr(edit, "xor", None) else ():
        if tensor.is_floating_point() and name in where:
            moved.setdefault(where[name], []).append(tensor)
    sizes = {}
    for (block, component), tensors in moved.items():
        linf = max(float(tensor.abs().max()) for tensor in tensors)
        l2 = sum(float(tensor.double().square().sum()) for tensor in tensors) ** 0.5
        label = component if block is None else f"block {block}, {component}"
        sizes[label] = {"linf": float(f"{linf:.4g}"), "l2": float(f"{l2:.4g}")}
    return sizes
