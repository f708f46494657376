"""The edit lab: change a memory by hand, see what else changes, take it back.

lab = kmod.EditLab(model, facts)
lab                                   # in a notebook: the lab
lab.pick("France", "P36")             # the same from Python, control by control
lab.choosing.new.value = "Rome"
lab.start()
lab.wait()
"""

from __future__ import annotations

import time
from pathlib import Path

import ipywidgets as w

from ..facts import FactBase, Modification
from ..html import escape
from ..lab.index import FactIndex
from ..lab.session import Session, Step
from ..lab.worker import Stopped, Worker
from ..models.masked_lm import MaskedLM
from ..training.history import History
from . import view
from .choosing import Choosing
from .controls import PageWidget, RunControls, SettingControls, reason, row, silent_on_a_page
from .edit_list import EditList

REDRAW = 0.1  # seconds between two drawings of the curve


class EditLab(PageWidget):
    """A widget that edits the facts of `model`, **in place**, and takes the edits back.

    Args:
        model: any model that `kmod.load_model` gives, or a FaE. A second copy is held in memory from the first edit on.
        facts: what it should know: any `FactBase`.
        folder: where edits are saved.

    Raises ValueError if `facts` hold objects that the model cannot write.
    """

    def __init__(self, model: MaskedLM, facts: FactBase, folder: str | Path = "."):
        self.session, self.index = Session(model, facts), FactIndex(facts)
        self.worker = Worker(self.session, self.index, self._watch, self._done, self._failed)
        self.stop, self.wait = self.worker.stop, self.worker.wait
        with silent_on_a_page():
            self.run, self.how = RunControls(self.say, self.start, self.stop), SettingControls(model)
            self.choosing = Choosing(self.session, self.index, self.say, self._estimate)
            self.pick = self.choosing.pick
            self.history = EditList(self.session, Path(folder), self.say, self._show, self.choosing.show, self.load)
            left = w.VBox([self.choosing.box, self.how.box, self.run.box])
            right = w.VBox([self.run.result_box, self.history.box])
            super().__init__(row(left, right, least="340px"))
        self.run.changes(self._settings_changed, *self.how.all)
        self.run.curve.value = view.curve([], [], 1)
        self._show("<p>Nothing is edited yet.</p>")
        self.say(f"{len(facts):,} facts. Search one, give it a new object, and press Edit.")

    def say(self, text: str, kind: str = "status") -> None:
        """Show what happened last, in one line."""
        self.run.status.value = view.note(text, kind)

    def _show(self, markup: str) -> None:
        self.run.result.value = view.block(markup)

    def _settings_changed(self) -> None:
        self.how.enable()
        self.choosing.check()

    def _estimate(self, change: Modification | None) -> None:
        if self.worker.busy:
            return  # when the edit ends, this is called again
        try:
            text = "" if change is None else f"about {self.worker.seconds(change, self.how.settings()):.1f} s"
        except Exception as error:  # without an estimate, the edit can still be made
            text = f"no estimate: {reason(error)}"
        self.run.estimate.value = view.note(text) if text else ""

    def start(self) -> None:
        """Begin the edit that the controls describe, in the background. Raises ValueError if it is not possible."""
        change, settings = self.choosing.change(), self.how.settings()
        progress = self.run.progress
        progress.value, progress.max, progress.bar_style = 0, settings.steps, ""
        self._drawn = 0.0
        self._enable(False)
        self.say(f"Editing {len(change)} fact{'s' * (len(change) > 1)}: {settings} …")
        try:
            self.worker.start(change, settings)
        except BaseException:
            self._enable(True)
            raise

    def _enable(self, on: bool) -> None:
        self.run.edit.disabled, self.run.stop.disabled = not on, on
        self.history.enable(on)

    def _watch(self, history: History) -> None:
        now, steps = time.perf_counter(), self.run.progress.max
        if now - self._drawn >= REDRAW or history.steps == steps:
            self._drawn, self.run.progress.value = now, history.steps
            self.run.curve.value = view.curve(history.loss, history.recall, steps)

    def _done(self, step: Step) -> None:
        self.run.progress.value, self.run.progress.bar_style = self.run.progress.max, "success"
        self._show(view.report(step))
        try:
            self.choosing.show()  # before Edit is enabled, so that no edit starts while this thread still works
        finally:
            self._enable(True)
            self.history.refresh(step)
            self.say(f"Edit {step.number} is applied. Undo takes it back, bit for bit.")

    def _failed(self, error: BaseException) -> None:
        self.run.progress.bar_style = "danger"
        stopped = isinstance(error, Stopped)
        try:
            self.choosing.check()
        finally:
            self._enable(True)
            why = "stopped" if stopped else reason(error)
            self.say(f"No edit was made, the model is as it was: {why}", "status" if stopped else "alert")

    def load(self, path: str | Path) -> Step:
        """Apply an edit from a file. Raises FileNotFoundError, ValueError, or WrongModelError if it was made for
        another model, or for another state of this one."""
        if self.worker.busy:
            raise ValueError("an edit is running: wait for it, or press Stop")
        edit, change = self.session.read(path)
        report = change and self.worker.report(change, edit)
        step = self.session.commit(edit, change, file=str(path), report=report)
        self.history.refresh(step)
        self._show(view.report(step))
        self.say(f"Edit {step.number} is applied, from {path}.")
        self.choosing.show()
        return step

    def _page(self) -> str:
        """The state of the lab for a static page, and where to find the live one."""
        applied = self.session.stack
        edits = [f"{s.name} ({s.how}), {'applied' if s in applied else 'undone'}" for s in self.session.steps]
        items = "".join(f"<li>{escape(edit)}</li>" for edit in edits)
        return view.page("the edit lab", self.choosing.answers.value, f"<ul>{items}</ul>", self.run.result.value)

    def __repr__(self) -> str:
        s = self.session
        return f"EditLab({s.facts.name}: {len(s.facts):,} facts, {len(s.steps)} edits, {len(s.stack)} applied)"
