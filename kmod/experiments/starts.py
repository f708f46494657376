"""Starting states: the model an edit begins from, trained once and kept."""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..evaluation import Scores, score
from ..facts import FactBase
from ..fae.added import hold_out, widest
from ..fae.training import train_fae
from ..files import cache_dir
from ..models import PRESETS, MaskedLM, load_model
from ..models.presets import is_preset
from ..parts import blocks, plan
from ..sources import load_facts, writable
from ..training.memorise import memorise
from ..versions import versions
from .machine import code, out_of_memory
from .settings import FOLDERS, State


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
            from ..fae import build_fae

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
    if is_preset(name):
        if not random:
            raise ValueError(f"{name} has no pretrained weights; name a pretrained model instead (--pretrained)")
        return load_model(name, facts, seed=seed)
    model = load_model(FOLDERS.get(name, name))
    if random:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = MaskedLM(type(model.net)(model.net.config).eval(), model.tokenizer).to(model.device)
    return model
