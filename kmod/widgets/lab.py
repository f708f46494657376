"""The edit lab: change a memory by hand, see what else changes, take it back.

lab = kmod.EditLab(model, facts)
lab                                   # in a notebook: the lab
lab.pick("France", "P36")             # the same from Python, control by control
lab.choosing.new.value = "Rome"
lab.start()
lab.wait(broken=True)                 # until every other fact has been asked again
"""

from __future__ import annotations

import time
from pathlib import Path

import ipywidgets as w

from ..facts import FactBase, Modification
from ..html import escape
from ..lab.broken import Broken, Checker
from ..lab.index import FactIndex
from ..lab.session import Session, Step
from ..lab.worker import Stopped, Worker
from ..models.language_model import LanguageModel
from ..training.history import History
from . import view
from .choosing import Choosing
from .controls import PageWidget, RunControls, SettingControls, reason, row, silent_on_a_page, wide
from .edit_list import EditList

REDRAW = 0.1  # seconds between two drawings of the curve


class EditLab(PageWidget):
    """A widget that edits the facts of `model`, **in place**, and takes the edits back.

    Args:
        model: any model that `kmod.load_model` gives, or a FaE. Two more copies are held in
            memory, one to edit and one to ask.
        facts: what it should know: any `FactBase`.
        folder: where edits are saved.

    Raises ValueError if `facts` hold objects that the model cannot write.
    """

    def __init__(self, model: LanguageModel, facts: FactBase, folder: str | Path = "."):
        self.session, self.index = Session(model, facts), FactIndex(facts)
        self.worker = Worker(self.session, self.index, self._watch, self._done, self._failed)
        self.checker = Checker(self.session, self._checked)
        self.stop, self._calm = self.worker.stop, ""
        self._broken: dict[Step, Broken] = {}  # edit → what it broke when it was on top, once all facts were asked
        with silent_on_a_page():
            self.run, self.how = RunControls(self.say, self.start, self.stop), SettingControls(model)
            self.choosing = Choosing(self.session, self.index, self.say, self._estimate)
            self.pick = self.choosing.pick
            self.history = EditList(self.session, Path(folder), self.say, self._show, self._compare, self.load)
            folded = w.Accordion([self.how.box, self.history.box], selected_index=None, layout=wide())
            for i, text in enumerate(("How", "History: save, compare, load")):
                folded.set_title(i, text)
            buttons = self.run.box(self.history.undo_button, self.history.redo_button)
            left = w.VBox([self.choosing.box, buttons])
            super().__init__(row(left, self.run.result_box, least="340px"), folded)
        self.run.changes(self._settings_changed, *self.how.all)
        self.run.curve.value = view.curve([], [], 1)
        self._redraw()
        self.session.listeners.append(self.run.handler(self._session_changed))
        self.say(f"{len(facts):,} facts. Search one, give it a new object, and press Edit.")
        self.choosing.begin()
        if not view.on_a_page():
            self.checker.start()  # what is known at the start, while the reader looks

    def say(self, text: str, kind: str = "status") -> None:
        """Show what happened last, in one line. An error ("alert") goes when something has worked ("calm")."""
        if kind == "calm":
            if "alert" not in self.run.status.value:
                return
            text, kind = self._calm, "status"
        elif kind == "status":
            self._calm = text
        self.run.status.value = view.note(text, kind)

    def wait(self, seconds: float | None = None, *, broken: bool = False) -> None:
        """Wait until the edit has ended; with `broken`, until all facts have been asked what it broke as well. A
        KeyboardInterrupt stops the edit and is raised again."""
        self.worker.wait(seconds)
        if broken:
            self.checker.wait(seconds)

    def _session_changed(self) -> None:
        """Draw the session as it is, and ask all facts again."""
        self.history.refresh()
        self._redraw()
        self.choosing.show()
        if self.session.stack and self.session.stack[-1].report and self.session.stack[-1] not in self._broken:
            self.checker.start()
        else:
            self.checker.stop()

    def _redraw(self) -> None:
        """Show the edit on top."""
        if self.session.stack:
            return self._show(self.session.stack[-1])
        self.run.result.value = view.block("<p>The model is as it was at the start.</p>")
        self.run.verdict.value, self.run.broken.value = "", ""

    def _show(self, step: Step) -> None:
        """Show what an edit changed and, as far as it is known, what it broke."""
        broken = self._broken.get(step)
        self.run.result.value = view.block(view.report(step))
        self.run.verdict.value = view.verdict(step, broken)
        if broken:
            self.run.broken.value = view.block(view.broken_facts(broken, self.index))
        else:
            asking = step.report and self.session.stack and step is self.session.stack[-1]
            self.run.broken.value = view.note("Asking all facts again …" if asking else "Not asked.")

    def _compare(self, a: Step, b: Step) -> None:
        self.run.result.value = view.block(view.compare(a, b))

    def _checked(self, broken: Broken) -> None:
        """Some more facts have been asked again (in the checking thread)."""
        if broken.done:
            self._broken[broken.step] = broken
        if self.session.stack and broken.step is self.session.stack[-1] is self.history.list.value:
            self.run.verdict.value = view.verdict(broken.step, broken)
            self.run.broken.value = view.block(view.broken_facts(broken, self.index))

    def _settings_changed(self) -> None:
        self.how.enable()
        self.choosing.check()

    def _estimate(self, change: Modification | None) -> None:
        if self.worker.busy:
            return  # when the edit ends, this is called again
        self.run.estimate.value = "" if change is None else self._estimated(change)

    def _estimated(self, change: Modification) -> str:
        try:
            settings = self.how.settings()
        except ValueError as error:
            return view.note(reason(error), "alert")
        try:
            with self.checker.held():
                seconds = self.worker.seconds(change, settings)
        except Exception as error:  # without an estimate, the edit can still be made
            return view.note(f"no estimate: {reason(error)}", "alert")
        return view.note(f"{'at most' if settings.ends_early else 'about'} {seconds:.1f} s")

    def start(self) -> None:
        """Begin the edit that the controls describe, in the background. Raises ValueError if it is not possible."""
        change, settings = self.choosing.change(), self.how.settings()
        progress = self.run.progress
        progress.value, progress.max, progress.bar_style = 0, settings.steps, ""
        self._drawn, self._last = 0.0, None
        self._enable(False)
        self.checker.stop()
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
        self._last = history

    def _done(self, step: Step) -> None:
        """The edit is applied; `_session_changed` has drawn it."""
        learnt = step.report is None or step.report.learnt.value
        self.run.progress.value = self.run.progress.max
        self.run.progress.bar_style = "success" if learnt == 1 else "warning" if learnt > 0 else "danger"
        if self._last is not None:
            self.run.curve.value = view.curve(self._last.loss, self._last.recall, self._last.steps)
        self._enable(True)
        self.say(f"Edit {step.number} is applied{_ended(step)}. Undo takes it back, bit for bit.")

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
        self.say(f"Edit {step.number} is applied, from {path}.")
        return step

    def _page(self) -> str:
        """The state of the lab for a static page, and where to find the live one."""
        applied = self.session.stack
        edits = [f"{s.name} ({s.how}), {'applied' if s in applied else 'undone'}" for s in self.session.steps]
        items = "".join(f"<li>{escape(edit)}</li>" for edit in edits)
        shown = self.run.verdict.value, self.run.result.value, self.run.broken.value
        return view.page("the edit lab", self.choosing.answers.value, f"<ul>{items}</ul>", *shown)

    def __repr__(self) -> str:
        s = self.session
        return f"EditLab({s.facts.name}: {len(s.facts):,} facts, {len(s.steps)} edits, {len(s.stack)} applied)"


def _ended(step: Step) -> str:
    """Why an edit ended before its last step, if it did."""
    steps, wanted = step.edit.made.get("steps"), step.settings.steps if step.settings else None
    if not steps or not wanted or steps >= wanted or not step.settings.ends_early:
        return ""
    return f" after {steps} of {wanted} steps, as the loss was flat"
