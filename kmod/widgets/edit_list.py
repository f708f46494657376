"""The part of the lab that lists the edits so far: undo, redo, compare, save and load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ipywidgets as w

from ..files import appearing, user_path
from ..lab.session import Session, Step
from . import view
from .controls import Listening, area, control, panel, row, wide


class EditList(Listening):
    """Controls for the edits of a session, which `save` writes into `folder`.

    `show` is called with an edit that was chosen, `compare` with two, `load` with the path of one.
    """

    def __init__(
        self, session: Session, folder: Path, say: Callable, show: Callable, compare: Callable, load: Callable
    ):
        super().__init__(say)
        self.load = load
        self.session, self.folder, self.show, self.show_both = session, user_path(folder), show, compare
        self.list = control(w.Select, "Edits", "Every edit so far; choose one to see it", wide(height="104px"), rows=5)
        self.undo_button = self.button("Undo", "Take the chosen edit back, bit for bit", self.undo)
        self.redo_button = self.button("Redo", "Put the chosen edit back", self.redo)
        self.save_button = self.button("Save", "Write the chosen edit as a file, and its recipe as Python", self.save)
        self.other = control(w.Dropdown, "Compare to", "An edit")
        self.compare_button = self.button("Compare", "Show the chosen edit and this one side by side", self.compare)
        self.path = control(w.Text, "File", "An edit that was saved", placeholder="edit.safetensors")
        self.load_button = self.button("Load", "Apply an edit from this file", self._load)
        self.files = area("110px")
        comparing = row(self.other, self.compare_button, least="200px")
        loading = row(self.path, self.load_button, least="200px")
        self.box = panel(self.list, row(self.save_button), comparing, loading, self.files)
        self.changes(self._show_chosen, self.list)
        self.refresh()

    def refresh(self, step: Step | None = None) -> None:
        """Fill the list again and choose `step`; if None, the edit on top."""
        applied, steps, other = self.session.stack, self.session.steps, self.other.value
        with self.deaf():
            names = {s: f"{s.name}{differing(s, steps)}" for s in steps}
            self.list.options = [(f"{'applied' if s in applied else 'undone '}  {names[s]}", s) for s in steps]
            self.list.value = step or (applied[-1] if applied else None)
            self.other.options = [(names[s], s) for s in steps]
            self.other.value = other
        self._say_how_far()
        for each in (self.undo_button, self.redo_button, self.save_button, self.compare_button):
            each.disabled = not steps

    def enable(self, on: bool) -> None:
        for each in (self.undo_button, self.redo_button, self.load_button):
            each.disabled = not on
        if on:
            self.refresh(self.list.value)

    def _show_chosen(self) -> None:
        self._say_how_far()
        if self.list.value:
            self.show(self.list.value)

    def _say_how_far(self) -> None:
        """The button says so where the chosen edit takes others with it."""
        above = self.session.above(self.list.value) if self.list.value else []
        self.undo_button.description = f"Undo down to here ({len(above) + 1})" if above else "Undo"

    def undo(self) -> None:
        """Undo the chosen edit and those that stand on it; if none is chosen, the one on top."""
        chosen = self.list.value
        if chosen and self.session.above(chosen):
            undone = self.session.undo_to(chosen)
            self.say(f"Edits {', '.join(str(step.number) for step in undone)} are undone, bit for bit.", "status")
        else:
            self.say(f"Edit {self.session.undo(chosen).number} is undone, bit for bit.", "status")

    def redo(self) -> None:
        """Redo the chosen edit; if it is applied, or none is chosen, the last one that fits."""
        chosen = self.list.value
        step = self.session.redo(None if chosen in self.session.stack else chosen)
        self.say(f"Edit {step.number} is applied again.", "status")

    def save(self) -> None:
        """Write the chosen edit and its recipe into the folder, and offer both as links."""
        if (step := self.list.value) is None:
            raise ValueError("choose an edit to save")
        path = self.session.save(step, self.folder / f"edit-{step.slug}.safetensors")
        recipe, script = self.session.recipe(step), path.with_suffix(".py")
        with appearing(script) as draft:
            draft.write_text(recipe, "utf-8")
        self.files.value = view.block(view.link(path), view.link(script), view.code(recipe))
        self.path.value = str(path)
        self.say(f"Edit {step.number} is saved to {path}.", "status")

    def _load(self) -> None:
        if not (path := self.path.value.strip()):
            raise ValueError("type the path of an edit's file, such as edit.safetensors")
        self.load(path)

    def compare(self) -> None:
        if self.list.value is None or self.other.value is None:
            raise ValueError("choose an edit in the list, and another one to compare it to")
        self.show_both(self.list.value, self.other.value)


def differing(step: Step, steps: list[Step]) -> str:
    """The settings by which `step` differs from those of `steps` that change the same facts to the same objects."""
    same = [s.how.split(", ") for s in steps if s.name.partition(" · ")[2] == step.name.partition(" · ")[2]]
    own = [part for part in step.how.split(", ") if any(part not in parts for parts in same)]
    return f" ({', '.join(own)})" if own else ""
