"""Starting states: the model an edit begins from, trained once and kept."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..evaluation import Scores, score
from ..facts import FactBase
from ..fae import build_fae
from ..fae.added import hold_out, widest
from ..fae.training import train_fae
from ..files import cache_dir
from ..models import PRESETS, LanguageModel, load_model
from ..models.presets import is_preset
from ..parts import blocks, plan
from ..sources import load_facts, writable
from ..sources.general import general_text
from ..training.memorise import memorise
from ..versions import code_digest, versions
from .known import Known
from .machine import Memory, code
from .settings import FOLDERS, State

BATCH = 128
"""Statements a batch when a starting state is trained."""
SHIPPED = {State(facts="atlas", model="nano", start="RI+FT", epochs=11): "nano-atlas"}
"""Starting states that come with the package: the same bits on every machine."""


def general_sentences() -> list[str]:
    """Every fifth of the sentences that ship with kmod: enough to compare edits, in a fifth of the time."""
    return general_text()[::5]


class CannotStart(Exception):
    """A starting state cannot be made; the message says why."""


@dataclass
class Prepared:
    """A starting state: the model and its facts."""

    state: State
    model: LanguageModel
    facts: FactBase
    known: Known | None = None  # of its reference: S is drawn from those; None until asked for
    held: FactBase | None = None  # the facts kept out of training
    batch_size: int | None = None  # of the training, where it is not BATCH
    scores: dict[int | None, Scores] = field(default_factory=dict)  # by the block whose entering states are kept

    def before(self, edit) -> Scores:
        """How the model answers, with the hidden states kept that enter the lowest block of the edit."""
        depth, changed = len(blocks(self.model.net)), getattr(edit, "xor", None)
        lowest = plan(self.model.net, component=list(changed)).lowest if changed and not self.state.fae else None
        keep = lowest if lowest is not None and lowest < depth else None
        if keep not in self.scores:
            examples = next(iter(self.scores.values())).examples if self.scores else None
            self.scores[keep] = score(self.model, self.facts, ["tests"], examples, keep=keep)
        return self.scores[keep]


@dataclass(frozen=True)
class PortableState:
    """A starting state as it travels between machines: weights by name, and what it knows if it is a reference; or why
    it could not be made."""

    state: State
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    known: Known | None = None
    batch_size: int | None = None
    failure: str = ""
    passing: bool = False  # the failure: of a network or a disk


class Bench:
    """Makes starting states once and keeps the last few of them. `given` are states that were trained elsewhere."""

    def __init__(self, keep: int = 4):
        self.keep, self.made = keep, OrderedDict()
        self.bases: dict[str, FactBase] = {}
        self.given: dict[State, PortableState] = {}
        self.batches: dict[State, int] = {}  # of states for which memory does not allow BATCH
        self.until = math.inf  # by when (`time.perf_counter`) memorising is to end, or to be kept for later
        code()

    def prepared(self, state: State) -> Prepared:
        """The state, trained if need be. Out of memory, the other states kept are dropped first, and then the batch is
        halved as often as needed.

        Raises CannotStart, with the reason, if it or its reference cannot be made, and OSError if what it needs cannot
        be had now."""
        known, prepared = self._known(state.reference), self._made(state)
        prepared.known = known
        return prepared

    def portable(self, state: State) -> PortableState:
        """The state for other machines; only a reference comes with what it knows. Raises CannotStart."""
        prepared = self._made(state)
        weights = {name: p.detach().cpu().numpy() for name, p in prepared.model.net.named_parameters()}
        known = self._known(state) if state == state.reference else None
        return PortableState(state, weights, known, prepared.batch_size)

    def _made(self, state: State) -> Prepared:
        while state not in self.made:
            batch_size = self.batches.get(state, state.batch_size or BATCH)
            with Memory() as memory:
                try:
                    self.made[state] = self._prepare(state, batch_size)
                except (FloatingPointError, TypeError, ValueError) as error:
                    raise CannotStart(str(error)) from error
            if memory.full and not self._dropped():
                if batch_size == 1:
                    raise CannotStart("out of memory even with one statement a batch")
                self.batches[state] = batch_size // 2
                print(f"out of memory: {state.model} memorises {state.facts} with batches of {batch_size // 2}")
        while len(self.made) > self.keep:
            self.made.popitem(last=False)
        self.made.move_to_end(state)
        return self.made[state]

    def _dropped(self, but: State | None = None) -> bool:
        """Free the memory of the kept states, `but` one; whether there were any: then it is too early for a smaller
        batch, which would make another state."""
        others = self.made.keys() - {but}
        for state in others:
            del self.made[state]
        torch.cuda.empty_cache()
        return bool(others)

    def _given(self, state: State) -> PortableState | None:
        """The state as it was trained elsewhere, if it was. Raises what kept it from being made there."""
        given = self.given.get(state)
        if given and given.failure:
            raise OSError(given.failure) if given.passing else CannotStart(given.failure)
        return given

    def _known(self, reference: State) -> Known:
        if given := self._given(reference):
            return given.known
        prepared = self._made(reference)
        while prepared.known is None:
            with Memory() as memory:
                flags = score(prepared.model, prepared.facts, ["tests"]).known
                prints = prepared.facts.fingerprint()[:16], prepared.model.fingerprint()[:16]
                prepared.known = Known(reference, *prints, np.asarray(flags, bool))
            if memory.full and not self._dropped(but=reference):
                raise CannotStart(f"out of memory when {reference} was asked what it knows")
        return prepared.known

    def _prepare(self, state: State, batch_size: int) -> Prepared:
        given = self._given(state)
        if state.facts not in self.bases:
            self.bases[state.facts] = load_facts(state.facts)
        facts, held = self.bases[state.facts], None
        if state.without:
            facts, held = hold_out(facts, state.without, state.seed)
        shipped = SHIPPED.get(state) if batch_size == BATCH and not given else None
        model = load_model(shipped) if shipped else build(state, facts)
        facts = writable(facts, model.tokenizer)
        if state.fae:
            room = {"tail_width": max(4, widest([*facts, *held]))} if held else {}  # for those added later
            room |= {"spare": 0.25 + (state.without / len(facts))}
            plain = state.plain if state.plain in PRESETS else model
            model = build_fae(plain, facts, seed=state.training, **room).to(model.device)
        if given:
            with torch.no_grad():
                for name, parameter in model.net.named_parameters():
                    parameter.copy_(torch.from_numpy(np.array(given.weights[name])))  # Ray's memory is read-only
        elif state.memorised and not shipped:
            train = train_fae if state.fae else memorise
            within = None if self.until == math.inf else max(0.0, self.until - time.perf_counter())
            settings = {"epochs": state.epochs, "least_steps": state.least_steps, "seed": state.training}
            train(model, facts, **settings, batch_size=batch_size, within=within, progress=False)
            with suppress(OSError):  # `train` has said that nothing is kept
                _marker(state).parent.mkdir(parents=True, exist_ok=True)
                _marker(state).touch()
        smaller = given.batch_size if given else batch_size if batch_size != BATCH else None
        return Prepared(state, model, facts, held=held, batch_size=smaller)


def kept(state: State) -> bool:
    """Whether the state need not be trained: it comes with the package, or was trained on this machine before."""
    return state in SHIPPED or os.path.exists(_marker(state))


def _marker(state: State) -> Path:
    trained_by = ("training", "models", "fae") if state.fae else ("training", "models")
    key = json.dumps([asdict(state), versions(), code_digest(*trained_by)], sort_keys=True)
    return cache_dir() / "states" / hashlib.sha256(key.encode()).hexdigest()[:32]


def build(state: State, facts: FactBase) -> LanguageModel:
    """The plain network before it memorised: a preset or an ALBERT of its shape from random weights; a pretrained model
    as it is, or, for a start of random weights, its shape and vocabulary alone. Random weights come from
    `state.training`. Raises ValueError for a preset that is asked to be pretrained."""
    random, name, seed = state.start.startswith("RI"), state.plain, state.training
    if is_preset(name):
        if not random:
            raise ValueError(f"{name} has no pretrained weights; name a pretrained model instead (--pretrained)")
        return load_model(name, facts, seed=seed)
    model = load_model(FOLDERS.get(name, name))
    if random:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = type(model)(type(model.net)(model.net.config).eval(), model.tokenizer).to(model.device)
    return model
