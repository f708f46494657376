"""The work of a run: make its starting state, edit, judge, and write down what happened."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import torch

from .. import editing
from ..cache import cache_dir
from ..evaluation import Rate, Scores, evaluate, score
from ..facts import FactBase, Modification
from ..fisher import fisher_diagonal
from ..flops import device_name, wait
from ..memorise import memorise
from ..models import PRESETS, MaskedLM, build_tokenizer, load_model
from ..parts import blocks, layout, plan
from ..sources import load_facts, writable
from ..sources.sets import checksums
from ..training_fae import train_fae
from ..versions import commit, versions
from .added import hold_out, rates, widest
from .records import SCHEMA
from .settings import FOLDERS, Setting, State


@dataclass
class Prepared:
    """A starting state: the model, its facts, how it answers, which facts S is drawn from, and how long it took."""

    state: State
    model: MaskedLM
    facts: FactBase
    seconds: float
    known: np.ndarray | None = None  # until asked for
    held: FactBase | None = None  # the facts kept out
    batch_size: int | None = None  # of the training, where memory did not allow the usual one
    scores: dict[int | None, Scores] = field(default_factory=dict)  # by the block whose entering states are kept

    def before(self, edit) -> Scores:
        """How the model answers, with the hidden states kept that enter the lowest block of the edit."""
        depth, changed = len(blocks(self.model.net)), getattr(edit, "xor", None)
        lowest = plan(self.model.net, component=list(changed)).lowest if changed and self.plain else None
        keep = lowest if lowest is not None and lowest < depth else None
        if keep not in self.scores:
            examples = next(iter(self.scores.values())).examples if self.scores else None
            self.scores[keep] = score(self.model, self.facts, ["tests"], examples, keep=keep)
        return self.scores[keep]

    @property
    def plain(self) -> bool:
        return not self.state.model.startswith("fae-")


@dataclass(frozen=True)
class Trained:
    """A starting state as it travels between machines: weights by name, and which facts it knows if it is a reference;
    or why it could not be made."""

    state: State
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    known: np.ndarray | None = None
    batch_size: int | None = None
    failure: str = ""
    passing: bool = False  # the failure: of a network or a disk

    @classmethod
    def of(cls, prepared: Prepared) -> Trained:
        weights = {name: p.detach().cpu().numpy() for name, p in prepared.model.net.named_parameters()}
        return cls(prepared.state, weights, prepared.known, batch_size=prepared.batch_size)

    def check(self) -> None:
        """Raises what kept it from being made, if anything did."""
        if self.failure:
            raise OSError(self.failure) if self.passing else CannotStart(self.failure)


BATCH = 128
"""Statements a batch when a starting state is trained."""


class CannotStart(Exception):
    """A starting state cannot be made; the message says why."""


class Bench:
    """Makes starting states once and keeps the last few of them. `given` are states that were trained elsewhere."""

    def __init__(self, keep: int = 4):
        self.keep, self.made = keep, OrderedDict()
        self.bases: dict[str, FactBase] = {}
        self.given: dict[State, Trained] = {}
        self.batches: dict[State, int] = {}  # of states that memory allows less than BATCH
        self.until: float | None = None  # by when (`time.perf_counter`) memorising is to end, or to be kept for later
        code()

    def prepared(self, state: State) -> Prepared:
        """The state, trained if need be, with half the batch as often as memory that holds nothing else asks for it.

        Raises CannotStart, with the reason, if it or its reference cannot be made, and OSError if what it needs cannot
        be had now."""
        known, prepared = self._known(state.reference), self._made(state)
        prepared.known = known
        return prepared

    def _made(self, state: State) -> Prepared:
        while state not in self.made:
            batch_size, full = self.batches.get(state, BATCH), False
            try:
                self.made[state] = self._prepare(state, batch_size)
            except (FloatingPointError, TypeError, ValueError) as error:
                raise CannotStart(str(error)) from error
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                full = True
            if full and not self._let_go():  # only here is what the exception held on to free
                if batch_size == 1:
                    raise CannotStart("out of memory even with one statement a batch")
                self.batches[state] = batch_size // 2
                print(f"out of memory: {state.model} memorises {state.facts} with batches of {batch_size // 2}")
        while len(self.made) > self.keep:
            self.made.popitem(last=False)
        self.made.move_to_end(state)
        return self.made[state]

    def _let_go(self, but: State | None = None) -> bool:
        """Free the memory of the kept states, `but` one; whether there were any: then it is too early for a smaller
        batch, which would make another state."""
        others = self.made.keys() - {but}
        for state in others:
            del self.made[state]
        torch.cuda.empty_cache()
        return bool(others)

    def trained(self, state: State) -> Trained:
        """The state for other machines; a state that is no reference does without its own. Raises CannotStart."""
        prepared = self._made(state)
        if state == state.reference:
            prepared.known = self._known(state)
        return Trained.of(prepared)

    def _known(self, reference: State) -> np.ndarray:
        given = self.given.get(reference)
        if given:
            given.check()
            return given.known
        prepared = self._made(reference)
        while prepared.known is None:
            full = False
            try:
                prepared.known = score(prepared.model, prepared.facts, ["tests"]).known
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                full = True
            if full and not self._let_go(but=reference):
                raise CannotStart(f"out of memory when {reference} was asked what it knows")
        return prepared.known

    def _prepare(self, state: State, batch_size: int) -> Prepared:
        started, given = time.perf_counter(), self.given.get(state)
        if given:
            given.check()
        if state.facts not in self.bases:
            self.bases[state.facts] = load_facts(state.facts)
        facts = self.bases[state.facts]
        held = None
        if state.without:
            facts, held = hold_out(facts, state.without, state.seed)
        plain = state.model.removeprefix("fae-")
        model = build(plain, state.start, facts, state.training)
        facts = writable(facts, model.tokenizer)
        if state.model.startswith("fae-"):
            from ..models.fae import build_fae

            spare = 0.25 + (state.without / len(facts))
            start = plain if plain in PRESETS else model
            room = {"tail_width": max(4, widest([*facts, *held]))} if held else {}  # for those added later
            model = build_fae(start, facts, seed=state.training, spare=spare, **room).to(model.device)
        training = {"epochs": state.epochs, "least_steps": state.least_steps, "seed": state.training}
        training |= {"batch_size": batch_size}
        if given:
            with torch.no_grad():
                for name, parameter in model.net.named_parameters():
                    parameter.copy_(torch.from_numpy(np.array(given.weights[name])))  # Ray's memory is read-only
        elif state.memorised:
            within = None if self.until is None else max(0.0, self.until - time.perf_counter())
            train = train_fae if state.model.startswith("fae-") else memorise
            train(model, facts, **training, within=within, progress=False)
        seconds = time.perf_counter() - started
        if state.memorised and not given:
            _marker(state).parent.mkdir(parents=True, exist_ok=True)
            _marker(state).touch()
        smaller = given.batch_size if given else batch_size if batch_size != BATCH else None
        return Prepared(state, model, facts, round(seconds, 3), held=held, batch_size=smaller)


def kept(state: State) -> bool:
    """Whether the state was trained here before, so that it is kept on disk."""
    return _marker(state).exists()


def _marker(state: State) -> Path:
    told = {name: value for name, value in asdict(state).items() if name != "training" or value}
    key = json.dumps([told, versions()], sort_keys=True)
    return cache_dir() / "states" / hashlib.sha256(key.encode()).hexdigest()[:32]


def build(name: str, start: str, facts: FactBase, seed: int = 0) -> MaskedLM:
    """The network before it memorised: a preset or "albert-" and a preset from random weights; a pretrained model as it
    is, or, for a start of random weights, its shape and vocabulary alone. Random weights come from `seed`. Raises
    ValueError for a preset that is asked to be pretrained."""
    random = start.startswith("RI")
    if name in PRESETS or name.removeprefix("albert-") in PRESETS:
        if not random:
            raise ValueError(f"{name} has no pretrained weights; name a pretrained model instead (--pretrained)")
        return load_model(name, facts, seed=seed) if name in PRESETS else albert(facts, name[len("albert-") :], seed)
    model = load_model(FOLDERS.get(name, name))
    if random:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = MaskedLM(type(model.net)(model.net.config).eval(), model.tokenizer).to(model.device)
    return model


def albert(facts: FactBase, preset: str = "nano", seed: int = 0) -> MaskedLM:
    """A model of the preset's depth and width, with a vocabulary of `facts`, whose blocks share one set of weights;
    random, from `seed`."""
    from transformers import AlbertConfig, AlbertForMaskedLM

    depth, width, heads = PRESETS[preset]
    tokenizer = build_tokenizer(facts)
    config = AlbertConfig(
        vocab_size=len(tokenizer),
        embedding_size=width,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=512,
        initializer_range=0.02 * (768 / width) ** 0.5,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MaskedLM(AlbertForMaskedLM(config).eval(), tokenizer)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def work(bench: Bench, runs: Sequence[Setting]) -> list[dict]:
    """The records of runs that differ in their radius alone. Out of memory, fewer are done at once, and then with half
    the batch, which the record says; what diverges or cannot be done is "failed", with the reason, and what cannot be
    had now (a model of a hub that does not answer) "skipped": that is no record to keep."""
    started, reason, full = time.perf_counter(), "", False
    try:
        prepared = bench.prepared(runs[0].state)
    except (CannotStart, OSError) as error:
        status = "skipped" if isinstance(error, OSError) else "failed"
        failed = {"status": status, "reason": f"its starting state could not be made: {error}"}
        return [_record(run, failed | {"seconds": {}}) for run in runs]
    shared = time.perf_counter() - started
    try:
        results = _results(prepared, runs)
    except (FloatingPointError, ValueError) as error:
        reason = str(error)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        full, reason = True, "out of memory even with one statement a batch"
    # Only here is what the exception held on to free.
    if full:
        del prepared
        bench.made.clear()
        torch.cuda.empty_cache()
        if len(runs) > 1:
            half = len(runs) // 2
            return work(bench, runs[:half]) + work(bench, runs[half:])
        if (runs[0].batch_size or 1) > 1:
            smaller = replace(runs[0], batch_size=runs[0].batch_size // 2)
            print(f"out of memory: {runs[0].label} goes on with batches of {smaller.batch_size}")
            (record,) = work(bench, [smaller])
            return [{"batch_size": smaller.batch_size} | record | {"id": runs[0].id, "settings": asdict(runs[0])}]
    elif reason and len(runs) > 1:  # which one it was is found one by one
        return [record for run in runs for record in work(bench, [run])]
    if reason:
        results = [{"status": "failed", "reason": reason}]
    for result in results:
        result["seconds"] = {"prepare": round(shared / len(runs), 3)} | result.get("seconds", {})
    return [_record(run, result) for run, result in zip(runs, results, strict=True)]


def out_of_memory(error: Exception) -> bool:
    """Of a GPU, of Python, or of what has no exception of its own: driver, cuBLAS, cuDNN, the allocator of a CPU."""
    told = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(words in str(error) for words in told)


@cache
def code() -> str | None:
    """The commit that this process began with: who commits while it runs changes the files and not what runs."""
    return commit()


def _record(run: Setting, result: dict) -> dict:
    return {
        "schema": SCHEMA,
        "id": run.id,
        "settings": asdict(run),
        "status": "done",
        "metrics": {},
        **result,
        "hardware": hardware(),
        "versions": versions(),
        "commit": code() and code().rstrip("+"),
        "dirty": bool(code()) and code().endswith("+"),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def tensor_cores() -> None:
    """Let a GPU multiply float32 matrices by its tensor cores (TF32, ten bits of mantissa): several times quicker."""
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")


def hardware() -> dict:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "device": device_name(device),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
        "matmul": torch.get_float32_matmul_precision(),
    }


def _results(prepared: Prepared, runs: Sequence[Setting]) -> list[dict]:
    run = runs[0]
    _reset_peak(prepared.model.device)
    if run.method == "ADD":
        return [{"metrics": rates(prepared.model, prepared.held, prepared.facts)} | _of(prepared)]
    change = prepared.facts.modify(run.n, run.seed, prepared.known)
    started = time.perf_counter()
    edits = METHODS[run.method](prepared, change, runs)
    wait(prepared.model.device)
    editing_seconds = (time.perf_counter() - started) / len(runs)
    out = []
    for edit in edits:
        started = time.perf_counter()
        found = evaluate(prepared.model, prepared.facts, change, edit=edit, before=prepared.before(edit), answers=False)
        metrics = {name: asdict(value) for name, value in vars(found).items() if isinstance(value, Rate)}
        seconds = {"edit": round(editing_seconds, 3), "evaluate": round(time.perf_counter() - started, 3)}
        out.append(
            {
                "metrics": metrics | {"A_mean": found.A_mean},
                "curve": thinned(edit.made.get("curve", [])),
                "stopped": edit.made.get("stopped"),
                "delta_used": edit.made.get("norm"),
                "norms": norms(prepared.model, edit),
                "change": checksums(change)["M"][:16],
                "seconds": seconds,
            }
            | _of(prepared)
        )
    return out


def _of(prepared: Prepared) -> dict:
    """What was edited, and the peak of memory so far."""
    smaller = {"start_batch_size": prepared.batch_size} if prepared.batch_size else {}
    return smaller | {
        "facts": prepared.facts.fingerprint()[:16],
        "model": prepared.model.fingerprint()[:16],
        "peak_bytes": _peak(prepared.model.device),
    }


def thinned(curve: Sequence[float], most: int = 20) -> list[list[float]]:
    """At most `most` points [step, loss] of a curve, the first and the last among them."""
    steps = np.unique(np.linspace(0, len(curve) - 1, min(most, len(curve))).round().astype(int)) if curve else []
    return [[int(step), float(f"{curve[step]:.4g}")] for step in steps]


def norms(model: MaskedLM, edit) -> dict[str, dict[str, float]]:
    """How far the edit moved the parameters: {"block 0, attention": {"linf", "l2"}, ...}; nothing for a datastore."""
    if not getattr(edit, "xor", None):
        return {}
    where, parts = layout(model.net), {}
    for name, moved in edit.difference(model).items():
        if not moved.is_floating_point() or name not in where:
            continue
        block, component = where[name]
        linf, square = parts.get((block, component), (0.0, 0.0))
        square += float(moved.double().square().sum())
        parts[block, component] = max(linf, float(moved.abs().max())), square
    return {
        (f"block {block}, " if block is not None else "") + component: {
            "linf": float(f"{linf:.4g}"), "l2": float(f"{square ** 0.5:.4g}")
        }
        for (block, component), (linf, square) in parts.items()
    }  # fmt: skip


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():  # Linux: the peak counts from here on
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> int:
    """Peak memory in bytes: of the device, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


# --- the methods, as settings name them -----------------------------------------------------------------------------


def _descend(prepared: Prepared, change: Modification, runs: Sequence[Setting]) -> list:
    """FTM and FTA, all radii in one sweep."""
    run, diagonal = runs[0], []

    def fisher():
        if not diagonal:
            diagonal.append(fisher_diagonal(prepared.model, change, block=run.block, seed=run.seed))
        return diagonal[0]

    return editing.sweep(
        prepared.model,
        [(change, one.ball(fisher), one.seed) for one in runs],
        block=run.block,
        mix=run.method == "FTA",
        steps=run.steps,
        batch_size=run.batch_size,
        lr=run.lr,
    )


def _knn(prepared: Prepared, change: Modification, runs: Sequence[Setting]) -> list:
    store = editing.knn(prepared.model, change, epsilon=runs[0].delta)
    return [store.at(run.delta) for run in runs]


def _retrain(prepared: Prepared, change: Modification, runs: Sequence[Setting]) -> list:
    state = prepared.state
    fresh = build(state.model, state.start, prepared.facts, state.training)
    settings = {"start": fresh, "epochs": state.epochs, "least_steps": state.least_steps, "seed": state.training}
    settings |= {"batch_size": prepared.batch_size or BATCH, "cache": False, "progress": False}
    return [editing.retrain(prepared.model, change, **settings) for _ in runs]


def _update(prepared: Prepared, change: Modification, runs: Sequence[Setting]) -> list:
    return [editing.update_facts(prepared.model, change) for _ in runs]


def _descend_fae(prepared: Prepared, change: Modification, runs: Sequence[Setting]) -> list:
    if runs[0].method == "FTA" or runs[0].constraint == "Fisher":
        raise ValueError(f"a FaE is tuned by FTM or UPDATE + FTM in an Linf or L2 ball; got {runs[0].label}")
    return [
        editing.finetune_fae(
            prepared.model,
            change,
            where=run.block,
            symbolic=run.method.startswith("UPDATE"),
            constraint=run.ball(),
            steps=run.steps,
            batch_size=run.batch_size,
            lr=run.lr,
            seed=run.seed,
        )
        for run in runs
    ]


def _fine_tune(prepared: Prepared, change: Modification, runs: Sequence[Setting]) -> list:
    return (_descend_fae if prepared.state.model.startswith("fae-") else _descend)(prepared, change, runs)


METHODS: dict[str, Callable[[Prepared, Modification, Sequence[Setting]], list]] = {
    "FTM": _fine_tune,
    "FTA": _fine_tune,
    "kNN": _knn,
    "retrain": _retrain,
    "UPDATE": _update,
    "UPDATE + FTM": _descend_fae,
}
"""How a method edits `change` under each of several settings that differ in their radius alone; a new method for the
suites is a line here."""
