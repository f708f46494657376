"""One edit at a time, in a thread of its own and on a copy of the model; and how long it will take.

While the thread works, the model itself is as it was and answers questions. It changes in one stroke at the end
(`Session.commit`); whatever ends the work before that, it has not changed.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from ..editing.edit import Edit
from ..facts import Modification
from ..models.masked_lm import MaskedLM
from ..parts import plan
from ..progress import watching
from ..training.history import History
from ..training.loop import fit
from .index import FactIndex
from .measure import Report, Sample, measure
from .session import Session, Step
from .settings import METHODS, METHODS_FAE, Settings


class Stopped(Exception):
    """The user pressed Stop."""


class Work:
    """Makes and measures the edits of a session.

    `done(step)` and `failed(error)` are called in the thread; `watch(history)` after each step of a training.
    """

    def __init__(
        self,
        session: Session,
        index: FactIndex,
        watch: Callable[[History], None],
        done: Callable[[Step], None],
        failed: Callable[[BaseException], None],
    ):
        self.session, self.index = session, index
        self.watch, self.done, self.failed = watch, done, failed
        self.sample = Sample(session.model, session.facts)
        self._asking = _seconds_in_a_thread(lambda: self.sample.right(session.model))
        self._pace: dict[tuple, float] = {}
        self._copy: MaskedLM | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def busy(self) -> bool:
        """Whether an edit runs. To `done` and `failed` it has ended, and to all others when they have."""
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
        self._stop.set()

    def wait(self, seconds: float | None = None) -> None:
        """Until the edit is done. A KeyboardInterrupt here stops it and comes out again."""
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
        except BaseException as error:  # a KeyboardInterrupt too must be told, for nobody else hears it here
            self.failed(error)
        else:
            self.done(step)

    def _edit(self, change: Modification, settings: Settings) -> Step:
        model = self.copied()
        started = time.perf_counter()
        with watching(self._step):
            edit = settings.make(model, change)
        steps = max(1, edit.made.get("steps") or 1) if _in_steps(settings) else 1
        self._pace[self._key(change, settings)] = (time.perf_counter() - started) / steps
        report = self.judge(model, change, edit)
        if self._stop.is_set():
            raise Stopped
        return self.session.commit(edit, change, settings, report=report)

    def _step(self, history: History) -> None:
        if self._stop.is_set():
            raise Stopped
        self.watch(history)

    def judge(self, model: MaskedLM, change: Modification, edit: Edit) -> Report:
        """What the edit does to `model`, which must be as the session's is now."""
        avoid = {i for step in self.session.stack if step.change for i in step.change.indices}
        return measure(model, self.index, self.sample, change, edit, avoid)

    def copied(self) -> MaskedLM:
        """The copy, with the values that the model has now."""
        model = self.session.model
        if self._copy is None:
            self._copy = copy.deepcopy(model)
        elif not self._copy.matches(self.session.state):
            with torch.no_grad():
                current = model.tensors()
                for name, tensor in self._copy.tensors().items():
                    tensor.copy_(current[name])
        return self._copy

    # ---- how long it will take

    def seconds(self, change: Modification, settings: Settings) -> float:
        """An estimate for an edit: as long a step as the last edit of this kind took, or else as one step measured now;
        and as long for asking as at the start."""
        key = self._key(change, settings)
        if key not in self._pace:
            cost = (METHODS | METHODS_FAE)[settings.method].cost
            self._pace[key] = cost * self._measured(change, settings) if _in_steps(settings) else 0.0
        return self._pace[key] * (settings.steps if _in_steps(settings) else 1) + 2 * self._asking + 0.3

    def _measured(self, change: Modification, settings: Settings) -> float:
        """Seconds of one of three steps that go nowhere, on the copy."""
        model = self.copied()
        what = plan(model.net, **settings.part)
        params = {n: p.detach().clone() for n, p in model.net.named_parameters() if n in set(what.names)}
        for theta in params.values():
            theta.requires_grad_()
        examples = model.examples(change.base, "evidences", change.modified)
        settings = {"lowest": what.lowest, "steps": 3, "batch_size": 64, "lr": 1e-9}
        return _seconds_in_a_thread(lambda: fit(model, examples, params, **settings)) / 3

    @staticmethod
    def _key(change: Modification, settings: Settings) -> tuple:
        return settings.method, settings.block, min(len(change).bit_length(), 7)


def _in_steps(settings: Settings) -> bool:
    return "steps" in (METHODS | METHODS_FAE)[settings.method].takes


def _seconds_in_a_thread(does: Callable[[], object]) -> float:
    """How long something takes where edits are made: torch's own threads may serve another thread than this one
    faster or slower. What goes wrong there is raised here."""
    with ThreadPoolExecutor(1, "kmod estimate") as thread:
        return thread.submit(_seconds, does).result()


def _seconds(does: Callable[[], object]) -> float:
    started = time.perf_counter()
    does()
    return time.perf_counter() - started
