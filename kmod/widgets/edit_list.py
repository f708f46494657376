"""The part of the lab that lists the edits so far: undo, redo, compare, save and load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ipywidgets as w

from ..lab.session import Session, Step
from . import view
from .controls import LABEL, Listening, area, beside, button, title, wide


class EditList(Listening):
    """Controls for the edits of a session.

    Args:
        show: called with markup about an edit.
        changed: called after undo and redo.
        load: called with the path of an edit.
    """

    def __init__(
        self,
        session: Session,
        folder: Path,
        say: Callable[[str, str], None],
        show: Callable[[str], None],
        changed: Callable[[], None],
        load: Callable[[str], None],
    ):
        super().__init__(say)
        self.session, self.folder, self.show, self.changed = session, folder, show, changed
        self.list = w.Select(
            description="Edits", options=[], rows=6, style=LABEL, layout=wide(height="126px"),
            tooltip="Every edit so far; choose one to see it",
        )  # fmt: skip
        self.undo_button = button("Undo", "Take the chosen edit back, bit for bit")
        self.redo_button = button("Redo", "Put the chosen edit back")
        self.save_button = button("Save", "Write the chosen edit as safetensors, and its recipe as Python")
        self.other = w.Dropdown(description="Compare to", options=[], style=LABEL, layout=wide(), tooltip="An edit")
        self.compare_button = button("Compare", "Show the chosen edit and this one side by side")
        self.path = w.Text(
            description="File", placeholder="edit.safetensors", style=LABEL, layout=wide(),
            tooltip="An edit that was saved", continuous_update=True,
        )  # fmt: skip
        self.load_button = button("Load", "Apply an edit from this file")
        self.files = area("150px")
        actions = w.Box([self.undo_button, self.redo_button, self.save_button], layout=wide(flex_flow="row wrap"))

        self.box = w.VBox(
            [
                title("History"),
                self.list,
                actions,
                beside(self.other, self.compare_button),
                beside(self.path, self.load_button),
                self.files,
            ],
            layout=wide(),
        )
        self.changes(self._show_chosen, self.list)
        self.clicks(self.undo, self.undo_button)
        self.clicks(self.redo, self.redo_button)
        self.clicks(self.save, self.save_button)
        self.clicks(self._compare, self.compare_button)
        self.clicks(lambda: load(self.path.value.strip()), self.load_button)
        self.refresh()

    @property
    def chosen(self) -> Step | None:
        return self.list.value

    def refresh(self, step: Step | None = None) -> None:
        """Fill the list again and choose `step`; if None, the edit on top."""
        applied, steps = self.session.stack, self.session.steps
        with self.deaf():
            self.list.options = [(f"{'applied' if s in applied else 'undone '}  {s.name}", s) for s in steps]
            self.list.value = step if step is not None else (applied[-1] if applied else None)
            other = self.other.value
            self.other.options = [(s.name, s) for s in steps]
            self.other.value = other if other in steps else None
        for control in (self.undo_button, self.redo_button, self.save_button, self.compare_button):
            control.disabled = not steps

    def enable(self, on: bool) -> None:
        for control in (self.undo_button, self.redo_button, self.load_button):
            control.disabled = not on
        if on:
            self.refresh(self.chosen)

    def _show_chosen(self) -> None:
        if self.chosen is not None:
            self.show(view.report(self.chosen))

    def undo(self) -> None:
        """Undo the chosen edit; if none is chosen, the one on top."""
        step = self.session.undo(self.chosen)
        self.refresh()
        self.say(f"Edit {step.number} is undone, bit for bit.", "status")
        self.changed()

    def redo(self) -> None:
        """Redo the chosen edit; if it is applied, or none is chosen, the last one that fits."""
        chosen = self.chosen
        step = self.session.redo(None if chosen in self.session.stack else chosen)
        self.refresh(step)
        self.say(f"Edit {step.number} is applied again.", "status")
        self.changed()

    def save(self) -> None:
        """Write the chosen edit and its recipe into the folder, and offer both as links."""
        if (step := self.chosen) is None:
            raise ValueError("choose an edit to save")
        path = self.session.save(step, self.folder / f"edit-{step.slug}.safetensors")
        recipe = self.session.recipe(step)
        script = path.with_suffix(".py")
        script.write_text(recipe, "utf-8")
        self.files.value = view.block(view.link(path), view.link(script), view.code(recipe))
        with self.deaf():
            self.path.value = str(path)
        self.say(f"Edit {step.number} is saved to {path}.", "status")

    def _compare(self) -> None:
        if self.chosen is None or self.other.value is None:
            raise ValueError("choose an edit in the list, and another one to compare it to")
        self.show(view.compare(self.chosen, self.other.value))
