"""A session of edits of one model: a tree of states, in which every way back to a state ends at the same bits.

The applied edits form a stack. Undo takes back the edit on top: those above an edit were made and measured on the model
with it. Redo applies an undone edit when the model is, to the bit, in the state that the edit was made for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from threading import RLock

import torch

from ..checks import brief, check_facts
from ..editing.common import modified
from ..editing.edit import Edit, WrongModelError
from ..facts import Fact, FactBase, Modification
from ..files import user_path
from ..models.door import check_model
from ..models.language_model import LanguageModel
from ..models.loading import load_model
from ..names import normal
from ..sources import load_facts
from .index import OWN, joined
from .measure import Report
from .settings import Settings


@dataclass(eq=False)
class Step:
    """An edit of the session. `change` is None for an edit from a file whose facts are not the session's."""

    number: int
    edit: Edit
    change: Modification | None
    settings: Settings | None = None
    file: str | None = None
    report: Report | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Such as "1 · France, capital: Paris → Rome"."""
        (subject, relation, old, new), *others = self.edit.made.get("facts") or [["?", "?", None, "?"]]
        known = self.change.base.relations if self.change else {}
        asked = subject if relation == OWN else f"{subject}, {known[relation].label if relation in known else relation}"
        more = f" and {len(others)} more" if others else ""
        return f"{self.number} · {asked}: {'' if old is None else f'{old} → '}{new}{more}"

    @property
    def how(self) -> str:
        return str(self.settings) if self.settings else f"{self.edit.made.get('method', '?')}, from {self.file}"

    @property
    def slug(self) -> str:
        """The name as part of a file's: letters, digits and hyphens."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:60]


class Session:
    """The edits of one model and its state. Only `commit`, `undo`, `undo_to` and `redo` change `model`, by whole edits.
    `lock` is held while it changes; after each change every function of `listeners` is called."""

    def __init__(self, model: LanguageModel, facts: FactBase):
        check_model(model)
        check_facts(facts)
        self.model, self.facts = model, facts
        self.steps: list[Step] = []  # in the order they were made
        self.stack: list[Step] = []  # applied, the top last
        self.start = model.fingerprint()
        self.lock = RLock()
        self.listeners: list[Callable[[], None]] = []

    @property
    def state(self) -> str:
        """The fingerprint that the model must have now."""
        return self.stack[-1].edit.after if self.stack else self.start

    def check(self) -> None:
        """Raise WrongModelError if something else than this session has changed the model."""
        if not self.model.matches(self.state):
            raise WrongModelError("the model was changed outside of this lab: undo that, or open a new lab on it")

    def change(self, index: int, new: str, base: FactBase | None = None) -> Modification:
        """Fact `index` with a new object. Raises ValueError if the object is empty, is an object of the fact already,
        or cannot be written by the model."""
        base, new = base or self.facts, new.strip()
        fact = base[index]
        if not new:
            raise ValueError("type or choose a new object")
        if base is self.facts and normal(new) == normal(fact.object) == normal(self.object_now(index)):
            raise ValueError(brief(f"{new} is the answer already: {fact}"))
        if normal(new) in [normal(sibling.object) for sibling in base.siblings(fact)]:
            raise ValueError(
                brief(f"{fact} already has the object {new!r}; to go back to it, undo the edit that changed it")
            )
        change = Modification(base, (index,), (new,))
        modified(self.model, change)  # raises for an object that cannot be written, or that the model reads as the old
        return change

    def own_change(self, own: Fact, new: str) -> Modification:
        """A statement of one's own (`own_statement`) with a new object, in a base that it joins."""
        base = joined(self.facts, own)
        return self.change(len(base) - 1, new, base)

    def object_now(self, index: int) -> str:
        """The object that fact `index` should have now: that of the last applied edit of it."""
        for step in reversed(self.stack):
            if step.change and index in step.change.indices:
                return step.change.objects[step.change.indices.index(index)]
        return self.facts[index].object

    def commit(self, edit: Edit, change: Modification | None, settings: Settings | None = None, **about) -> Step:
        """Apply an edit made for the model's present state, and put it on the stack. `about`: fields of `Step`."""
        with self.lock:
            edit.apply(self.model)
            step = Step(len(self.steps) + 1, edit, change, settings, **about)
            self.steps.append(step)
            self.stack.append(step)
        self._changed()
        return step

    def _changed(self) -> None:
        for listener in self.listeners:
            listener()

    def undo(self, step: Step | None = None) -> Step:
        """Take back the edit on top. Raises ValueError for another one, naming the edits above it."""
        with self.lock:
            self.check()
            if not self.stack:
                raise ValueError("nothing to undo: the model is as it was at the start")
            step = step or self.stack[-1]
            if step not in self.stack:
                raise ValueError(f"edit {step.number} is undone already")
            if above := self.above(step):
                edits = f"edits {_numbers(above)} stand" if len(above) > 1 else f"edit {above[0].number} stands"
                raise ValueError(f"edit {step.number} cannot be undone yet: {edits} on it; undo the top first")
            step.edit.undo(self.model)
            self.stack.pop()
        self._changed()
        return step

    def above(self, step: Step) -> list[Step]:
        """The applied edits that stand on `step`, bottom first; none if it is not applied."""
        return self.stack[self.stack.index(step) + 1 :] if step in self.stack else []

    def undo_to(self, step: Step) -> list[Step]:
        """Take back `step` and all that stand on it, from the top. Raises ValueError if it is not applied."""
        if step not in self.stack:
            raise ValueError(f"edit {step.number} is undone already")
        return [self.undo() for _ in range(len(self.above(step)) + 1)]

    def redo(self, step: Step | None = None) -> Step:
        """Apply an undone edit again; if `step` is None, the last one that fits. Raises ValueError, saying what to undo
        and redo first, if the model is not in the state that the edit was made for."""
        with self.lock:
            self.check()
            fitting = [s for s in self.steps if s not in self.stack and s.edit.before == self.state]
            if not step and not fitting:
                raise ValueError("nothing to redo: no undone edit was made for the model as it is now")
            step = step or fitting[-1]
            if step in self.stack:
                raise ValueError(f"edit {step.number} is applied already")
            if step.edit.before != self.state:
                raise ValueError(f"edit {step.number} cannot be redone here: {self._way_to(step)}")
            step.edit.apply(self.model)
            self.stack.append(step)
        self._changed()
        return step

    def _way_to(self, step: Step) -> str:
        """What to undo and redo to bring the model into the state that `step` was made for."""
        needed = self.below(step)
        shared = len(list(takewhile(lambda pair: pair[0] is pair[1], zip(needed, self.stack, strict=False))))
        undo, redo = self.stack[shared:][::-1], needed[shared:]
        parts = [f"undo {_numbers(undo)}"] * bool(undo) + [f"redo {_numbers(redo)}"] * bool(redo)
        return f"first {', then '.join(parts)}"

    def below(self, step: Step) -> list[Step]:
        """The edits that were applied when `step` was made, bottom first."""
        branch = [step]
        while (state := branch[0].edit.before) != self.start:
            branch.insert(0, next(s for s in reversed(self.steps) if s.edit.after == state and s not in branch))
        return branch[:-1]

    def save(self, step: Step, path: str | Path) -> Path:
        """Write the edit as one safetensors file."""
        path = user_path(path)
        step.edit.save(path)
        return path

    def read(self, path: str | Path) -> tuple[Edit, Modification | None]:
        """An edit from a file, for the model's present state, and its change, or None if it is not of the session's
        facts. Raises FileNotFoundError, ValueError for a file that is no edit, WrongModelError for an edit that was
        made for another model."""
        edit = Edit.load(path)
        self.check()
        if own := next(
            (step for step in self.stack if (step.edit.before, step.edit.after) == (edit.before, edit.after)), None
        ):
            under = (
                f", under edit{'s' * (len(self.above(own)) > 1)} {_numbers(self.above(own))}" if self.above(own) else ""
            )
            raise WrongModelError(f"this is edit {own.number}, which is applied already{under}")
        if edit.applied(self.model) and not self.model.matches(edit.before):
            raise WrongModelError("this edit is applied already")
        edit, made = edit.renewed(self.model), edit.made
        if "indices" not in made or made.get("base_fingerprint") != self.facts.fingerprint():
            return edit, None
        return edit, Modification(self.facts, tuple(made["indices"]), tuple(new for *_, new in made["facts"]))

    def recipe(self, step: Step) -> str:
        """Python that makes the edit again, bit for bit.

        It loads the model and the facts, where their names say how; else it needs `model` and `facts` as they were at
        the start, and says so.
        """
        machine = f"torch {torch.__version__}, {torch.get_num_threads()} threads on {self.model.device.type}"
        lines = ["import kmod", "", f"# the same bits with {machine}", *self._beginning]
        for each in [*self.below(step), step]:
            lines += ["", *self._lines(each)]
            if each is not step:
                lines.append(f"edit_{each.number}.apply(model)")
        check = f'assert edit_{step.number}.after == "{step.edit.after}", "not the same bits"'
        return "\n".join([*lines, check, ""])

    @cached_property
    def _beginning(self) -> list[str]:
        """The lines of a recipe that give `model` and `facts`, or that say which they must be."""
        source, name = self.model.source, self.facts.name
        if _same(lambda: load_facts(name).fingerprint(), self.facts.fingerprint()):
            lines = [f"facts = kmod.load_facts({name!r})"]
        else:
            lines = [
                f'if facts.fingerprint() != "{self.facts.fingerprint()}":',
                f"    raise ValueError({f'facts must be those of the session: {name}'!r})",
            ]
        if source and _same(lambda: load_model(source).fingerprint(), self.start):
            return [*lines, f"model = kmod.load_model({source!r})"]
        return [
            *lines,
            f'if not model.matches("{self.start}"):',
            '    raise ValueError("model must be as the session began: undo its edits, or load it anew")',
        ]

    def _lines(self, step: Step) -> list[str]:
        if step.settings is None:
            return [f"edit_{step.number} = kmod.Edit.load({step.file!r})"]
        change = step.change
        lines, base = [f"from {f.__module__} import {name}" for name, f in step.settings.names().items()], "facts"
        if change.base is not self.facts:  # the base of a statement of one's own: see `joined`
            base = "base"
            lines += [
                f"own = kmod.{change.base[-1]!r}",
                f"base = kmod.FactBase([*facts, own], facts.relations, {change.base.name!r}, untested=True)",
            ]
        change_line = f"change = kmod.Modification({base}, {change.indices!r}, {change.objects!r})"
        return [*lines, change_line, f"edit_{step.number} = {step.settings.call(len(change))}"]


def _numbers(steps: list[Step]) -> str:
    return ", ".join(str(step.number) for step in steps)


def _same(make: Callable[[], str], wanted: str) -> bool:
    """Whether what can be loaded by its name has the fingerprint that is wanted."""
    try:
        return make() == wanted
    except (ValueError, OSError, KeyError):  # no such name, or files that are not here any more
        return False
