"""A session of edits of one model: what is applied, what was taken back, and what may be done next. No widgets here.

The rule. Every edit names the model it was made for by its fingerprint. The applied edits form a stack, and

    undo   takes back the edit on top, always; one below it only after those that stand on it, for these were made for
           the model with it, and without it nobody has seen what they do;
    redo   puts an edit back whenever the model is in the state that it was made for, to the bit.

So a session is a tree of states that can be walked along its branches, and every walk back ends at the same bits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock

from ..editing.edit import Edit, WrongModelError
from ..facts import Fact, FactBase, Modification
from ..models.masked_lm import MaskedLM
from ..names import normal
from .index import OWN, OWN_LABEL, joined
from .measure import Report
from .settings import Settings


@dataclass(eq=False)
class Step:
    """An edit of the session. `change` is None for an edit from a file on facts that are not at hand."""

    number: int
    edit: Edit
    change: Modification | None
    settings: Settings | None = None
    file: str | None = None
    report: Report | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Such as "1 · France · P36: Paris → Rome"."""
        facts = self.edit.made.get("facts") or [["?", "?", None, "?"]]
        subject, relation, old, new = facts[0]
        what = f"{subject}: " if relation == OWN else f"{subject} · {relation}: "
        more = f" and {len(facts) - 1} more" if len(facts) > 1 else ""
        return f"{self.number} · {what}{'' if old is None else f'{old} → '}{new}{more}"

    @property
    def how(self) -> str:
        return str(self.settings) if self.settings else f"{self.edit.made.get('method', '?')}, from {self.file}"

    @property
    def slug(self) -> str:
        """The name as part of a file's: letters, digits and hyphens."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:60]


class Session:
    """The edits of one model and where it stands. `model` changes by `commit`, `undo` and `redo` alone, each of which
    happens whole or not at all. `lock` is held while it changes."""

    def __init__(self, model: MaskedLM, facts: FactBase):
        self.model, self.facts = model, facts
        self.steps: list[Step] = []  # in the order they were made
        self.stack: list[Step] = []  # applied, the top last
        self.start = model.fingerprint()
        self.lock = RLock()
        self._joined: FactBase | None = None

    @property
    def state(self) -> str:
        """The fingerprint that the model must have now."""
        return self.stack[-1].edit.after if self.stack else self.start

    def check(self) -> None:
        """Raise WrongModelError if something else than this session has changed the model."""
        if self.model.fingerprint() != self.state:
            raise WrongModelError(
                "the model was changed outside of this lab: undo that, or open a new lab on the model as it is now"
            )

    # ---- changes

    def change(self, index: int, new: str, base: FactBase | None = None) -> Modification:
        """Fact `index` with a new object. Raises ValueError if the object is none, or the fact's own already, or
        cannot be written by the model."""
        base = base or self.facts
        fact, new = base[index], new.strip()
        if not new:
            raise ValueError("type or choose a new object")
        taken = [sibling.object for sibling in base.siblings(fact)]
        if normal(new) in map(normal, taken):
            raise ValueError(f"{fact} already has the object {new!r}; to go back to it, undo the edit that changed it")
        change = Modification(base, (index,), (new,))
        self.model.examples(base, "evidences", change.modified)  # a new object that cannot be written says so here
        return change

    def own_change(self, own: Fact, new: str) -> Modification:
        """A statement of one's own (`own_statement`) with a new object, in a base that it joins."""
        if self._joined is None or self._joined[-1] != own:  # kept: a large base takes a while to join
            self._joined = joined(self.facts, own)
        return self.change(len(self._joined) - 1, new, self._joined)

    def object_now(self, index: int) -> str:
        """The object that fact `index` should have now: that of the last applied edit of it."""
        for step in reversed(self.stack):
            if step.change is not None and index < len(self.facts) and index in step.change.indices:
                return step.change.objects[step.change.indices.index(index)]
        return self.facts[index].object

    # ---- the history

    def commit(self, edit: Edit, change: Modification | None, settings: Settings | None = None, **about) -> Step:
        """Apply an edit made for the model as it stands, and put it on the stack."""
        with self.lock:
            edit.apply(self.model)
            step = Step(len(self.steps) + 1, edit, change, settings, **about)
            self.steps.append(step)
            self.stack.append(step)
            return step

    def undo(self, step: Step | None = None) -> Step:
        """Take back the edit on top. Raises ValueError, naming what stands on it, for another one."""
        with self.lock:
            self.check()
            if not self.stack:
                raise ValueError("nothing to undo: the model is as it was at the start")
            step = step or self.stack[-1]
            if step not in self.stack:
                raise ValueError(f"edit {step.number} is undone already")
            if above := self.stack[self.stack.index(step) + 1 :]:
                raise ValueError(f"edit {step.number} cannot be undone yet: {_these(above)} on it; undo the top first")
            step.edit.undo(self.model)
            self.stack.pop()
            return step

    def redo(self, step: Step | None = None) -> Step:
        """Put an undone edit back; the last one that fits, if none is named. Raises ValueError that says what to do
        first where the model is not in the state that the edit was made for."""
        with self.lock:
            self.check()
            undone = [other for other in self.steps if other not in self.stack]
            if step is None:
                fitting = [other for other in undone if other.edit.before == self.state]
                if not fitting:
                    raise ValueError("nothing to redo: no undone edit was made for the model as it stands")
                step = fitting[-1]
            if step in self.stack:
                raise ValueError(f"edit {step.number} is applied already")
            if step.edit.before != self.state:
                raise ValueError(f"edit {step.number} cannot be redone here: {self._way_to(step)}")
            step.edit.apply(self.model)
            self.stack.append(step)
            return step

    def _way_to(self, step: Step) -> str:
        """What to undo and redo for the model to be in the state `step` was made for."""
        needed = self.below(step)
        shared = 0
        while shared < min(len(needed), len(self.stack)) and needed[shared] is self.stack[shared]:
            shared += 1
        undo, redo = self.stack[shared:][::-1], needed[shared:]
        parts = [f"undo {_numbers(undo)}"] * bool(undo) + [f"redo {_numbers(redo)}"] * bool(redo)
        return f"first {', then '.join(parts)}"

    def below(self, step: Step) -> list[Step]:
        """The edits that were applied when `step` was made, bottom first."""
        found: list[Step] = []
        state = step.edit.before
        while state != self.start:
            under = next(s for s in reversed(self.steps) if s.edit.after == state and s is not step and s not in found)
            found.insert(0, under)
            state = under.edit.before
        return found

    # ---- files and recipes

    def save(self, step: Step, path: str | Path) -> Path:
        """Write the edit as one safetensors file."""
        path = Path(path)
        step.edit.save(path)
        return path

    def read(self, path: str | Path) -> tuple[Edit, Modification | None]:
        """An edit from a file, for the model as it stands, and the change it makes, if that is of the facts at hand.
        Raises FileNotFoundError, ValueError for what is no edit, WrongModelError for one made for another model."""
        edit, change = Edit.load(path), None
        self.check()
        if edit.before != self.state:
            edit.applied(self.model)  # raises, unless it is applied
            raise WrongModelError("this edit is applied already")
        made = edit.made
        if "indices" in made and made.get("base_fingerprint") == self.facts.fingerprint():
            change = Modification(self.facts, tuple(made["indices"]), tuple(new for *_, new in made["facts"]))
        return edit, change

    def recipe(self, step: Step) -> str:
        """The lines of Python that make the edit again, bit for bit, from `model` and `facts` as the session began."""
        import torch

        lines = [
            "import kmod",
            "",
            f"# model and facts ({self.facts.name}) as the session began; torch {torch.__version__}, "
            f"{torch.get_num_threads()} threads on {self.model.device.type}",
            f'assert model.fingerprint() == "{self.start}"',
            f'assert facts.fingerprint() == "{self.facts.fingerprint()}"',
        ]
        for each in [*self.below(step), step]:
            lines += ["", *self._lines(each)]
            if each is not step:
                lines.append(f"edit_{each.number}.apply(model)")
        return "\n".join([*lines, f'assert edit_{step.number}.after == "{step.edit.after}"', ""])

    def _lines(self, step: Step) -> list[str]:
        if step.settings is None:
            return [f"edit_{step.number} = kmod.Edit.load({step.file!r})"]
        change, lines = step.change, []
        if own := change.base is not self.facts:  # the base of a statement of one's own: see `joined`
            lines = [
                f"own = kmod.{change.base[-1]!r}",
                f"relations = {{**facts.relations, {OWN!r}: kmod.Relation({OWN!r}, {OWN_LABEL!r})}}",
                f"base = kmod.FactBase([*facts, own], relations, {change.base.name!r}, untested=True)",
            ]
        lines.append(
            f"change = kmod.Modification({'base' if own else 'facts'}, {change.indices!r}, {change.objects!r})"
        )
        return [*lines, f"edit_{step.number} = {step.settings.call()}"]


def _numbers(steps: list[Step]) -> str:
    return ", ".join(str(step.number) for step in steps)


def _these(steps: list[Step]) -> str:
    return f"edit {steps[0].number} stands" if len(steps) == 1 else f"edits {_numbers(steps)} stand"
