"""One edit at a time, in a thread of its own; and an estimate of how long it takes.

The thread works on a copy, so the model can be asked meanwhile. The model changes at the end, in one step
(`Session.commit`); an edit that fails or is stopped never reaches it.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from ..editing.edit import Edit
from ..facts import Modification
from ..models.language_model import LanguageModel
from ..parts import plan
from ..progress import watching
from ..training.history import History
from ..training.loop import fit
from .index import FactIndex
from .measure import Report, SampledFacts, measure
from .session import Session, Step
from .settings import Settings

PROBE = 4  # steps of an estimate


class Stopped(Exception):
    """The user pressed Stop."""


class Worker:
    """Makes and measures the edits of a session.

    `watch(history)` is called after each step of a training, then `done(step)` or `failed(error)`; all in the thread.
    """

    def __init__(self, session: Session, index: FactIndex, watch: Callable, done: Callable, failed: Callable):
        self.session, self.index = session, index
        self.watch, self.done, self.failed = watch, done, failed
        self.sample = SampledFacts(session.model, session.facts)
        self._seconds_to_measure = _seconds_in_a_thread(lambda: self.sample.right(session.model))
        self._pace: dict[tuple, float] = {}  # seconds a step, by kind of edit
        self._copy: LanguageModel | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def busy(self) -> bool:
        """Whether an edit runs. Within `done` and `failed` it has ended; elsewhere, once they have returned."""
        return self._thread not in (None, threading.current_thread()) and self._thread.is_alive()

    def start(self, change: Modification, settings: Settings) -> None:
        """Begin an edit. Raises ValueError while another one runs."""
        if self.busy:
            raise ValueError("an edit is running: wait for it, or press Stop")
        self.session.check()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(change, settings), daemon=True, name="kmod edit")
        self._thread.start()

    def stop(self) -> None:
        """Stop the edit that runs; the model stays as it was."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the edit has ended. A KeyboardInterrupt stops the edit and is raised again."""
        try:
            if self._thread is not None:
                self._thread.join(seconds)
        except KeyboardInterrupt:
            self.stop()
            self._thread.join()
            raise

    def _run(self, change: Modification, settings: Settings) -> None:
        try:
            step = self._edit(change, settings)
        except BaseException as error:  # a KeyboardInterrupt too: nothing else in this thread would report it
            self.failed(error)
        else:
            self.done(step)

    def _edit(self, change: Modification, settings: Settings) -> Step:
        model, started = self.copied(), time.perf_counter()
        with watching(self._step):
            edit = settings.make(model, change)
        seconds = edit.made.get("seconds") or time.perf_counter() - started  # of the steps alone, where they are told
        self._pace[_kind(change, settings)] = seconds / (edit.made.get("steps") or 1)
        report = self.report(change, edit)
        if self._stop.is_set():
            raise Stopped
        return self.session.commit(edit, change, settings, report=report)

    def _step(self, history: History) -> None:
        if self._stop.is_set():
            raise Stopped
        self.watch(history)

    def report(self, change: Modification, edit: Edit) -> Report:
        """What the edit changes in the model as it is."""
        changed = {i for step in self.session.stack if step.change for i in step.change.indices}
        return measure(self.copied(), self.index, self.sample, change, edit, changed)

    def copied(self) -> LanguageModel:
        """The copy that edits are made on, with the model's present weights."""
        if self._copy is None:
            self._copy = copy.deepcopy(self.session.model)
        elif not self._copy.matches(self.session.state):
            self._copy.net.load_state_dict(self.session.model.net.state_dict())
        return self._copy

    def seconds(self, change: Modification, settings: Settings) -> float:
        """An estimate for an edit and its report. A step takes as long as in the last edit of this kind, or else as a
        step of plain fine-tuning measured now, times the method's cost."""
        kind, method = _kind(change, settings), settings.entry
        if kind not in self._pace:
            self._pace[kind] = method.cost * self._seconds_a_step(change, settings) if method.descends else 0.0
        return self._pace[kind] * (settings.steps if method.descends else 1) + 2 * self._seconds_to_measure + 0.3

    def _seconds_a_step(self, change: Modification, settings: Settings) -> float:
        """The quickest of a few steps of fine-tuning clones of the chosen parameters on the copy. The first one also
        tokenises and fills what is kept, so the mean of few would say far too much for many."""
        model = self.copied()
        chosen = plan(model.net, **settings.entry.parts(settings.block))
        params = {name: model.net.get_parameter(name).detach().clone().requires_grad_() for name in chosen.names}
        examples = model.examples(change.base, "evidences", change.modified)
        few = {"lowest": chosen.lowest, "steps": PROBE, "batch_size": 64, "lr": 1e-9}
        ends = []

        def probe() -> None:
            with watching(lambda history: ends.append(history.seconds)):
                fit(model, examples, params, **few)

        _seconds_in_a_thread(probe)
        return min(b - a for a, b in pairwise(ends))


def _kind(change: Modification, settings: Settings) -> tuple:
    """Edits of one kind take about the same time a step; sizes are told apart by powers of two."""
    return settings.method, settings.block, min(len(change).bit_length(), 7)


def _seconds_in_a_thread(function: Callable[[], object]) -> float:
    """How long `function` takes in a thread of its own, as an edit runs in one: torch's threads serve different
    threads at different speeds. Raises what `function` raises."""
    started = time.perf_counter()
    with ThreadPoolExecutor(1, "kmod estimate") as thread:
        thread.submit(function).result()
    return time.perf_counter() - started
