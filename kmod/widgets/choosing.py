"""The part of the lab that chooses what changes: a fact from the search, a statement of one's own, or a table of
changes; and the new object. It shows what the model answers now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import ipywidgets as w

from ..facts import Fact, Modification
from ..lab.index import OWN, FactIndex, own_statement
from ..lab.paste import read_changes
from ..lab.session import Session
from ..names import accentless as plain
from . import view
from .controls import Listening, area, control, panel, reason, title, wide

FACT, STATEMENT, TABLE = range(3)
EXAMPLE = ("France", "P36", "Rome")  # what the lab begins with, where the facts have it


class Choosing(Listening):
    """Controls for what changes. `changed` is called with each new choice: a modification, or None."""

    def __init__(self, session: Session, index: FactIndex, say: Callable, changed: Callable):
        super().__init__(say)
        self.session, self.index, self.changed = session, index, changed
        self._asked, self._fact = (), None  # the statement of one's own that was asked last, and its fact
        self._entered: str | None = None  # the search text when Enter was pressed
        self._shown: object = None  # the fact that the new object is for
        self.search = control(
            w.Text, "Search", "Words of the subject, relation or object; Enter takes the first fact",
            placeholder="such as: france capital, or: what is the capital of France?",
        )  # fmt: skip
        self.found = control(w.Select, "Facts", "The facts that were found", wide(height="84px"), rows=4)
        self.hits = area("24px")
        self.own = control(
            w.Text, "Statement", "A statement of your own with exactly one [MASK]; Enter asks the model",
            placeholder="The capital of France is [MASK].", continuous_update=False,
        )  # fmt: skip
        self.others = control(
            w.Textarea, "Phrasings", "Held-out phrasings, one a line", wide(height="58px"), continuous_update=False,
            placeholder="Other ways to say it, one a line, each with [MASK]; not learnt from",
        )  # fmt: skip
        self.table = control(
            w.Textarea, "Table", "Paste lines of subject, relation and new object (CSV or TSV)", wide(height="100px"),
            placeholder="subject, relation, new object\nFrance, capital, Rome", continuous_update=False,
        )  # fmt: skip
        self.tabs = w.Tab(
            [w.VBox([self.search, self.found, self.hits]), w.VBox([self.own, self.others]), w.VBox([self.table])],
            layout=wide(height="auto", min_height="180px"),
        )
        for i, text in enumerate(("A fact", "My own", "A table")):
            self.tabs.set_title(i, text)
        self.answers, self.note = area("150px"), area("24px")
        self.new = control(
            w.Combobox, "New object",
            "What the model shall answer instead; Enter asks if it can. The relation's own objects come first",
            placeholder="type, or choose a suggestion",
            continuous_update=False,  # sent when the field loses focus, that is before a click on Edit
        )  # fmt: skip
        self.box = panel(title("Which memory"), self.tabs, self.answers, self.new, self.note)
        self.changes(self.fill, self.search)
        self.enter(self._first, self.search)
        self.changes(self._clicked, self.found)
        self.changes(self.show, self.own, self.others, self.table)
        self.changes(self.show, self.tabs, trait="selected_index")
        self.changes(self.check, self.new)
        self.fill()

    @property
    def kind(self) -> int:
        return self.tabs.selected_index

    def begin(self) -> None:
        """Choose the example with its new object, if the facts have it and the model can write it."""
        subject, relation, new = EXAMPLE
        try:
            self.session.change(self.session.facts.find_one(subject, relation), new)
        except (KeyError, ValueError):
            return
        self.pick(subject, relation)
        self.new.value = new

    def pick(self, subject: str, relation: str, object: str | None = None) -> None:
        """Choose a fact of the base, as by searching and clicking. Raises KeyError that lists what is known, and
        ValueError where the subject has several objects in the relation and `object` does not say which."""
        i = self.session.facts.find_one(subject, relation, object)
        with self.deaf():
            self.tabs.selected_index = FACT
            self._entered, self.search.value = None, f"{subject} {self.index.label(relation)}"
            self.found.options = [(self.index.name(i), i)]
            self.found.value, self.hits.value = i, ""
        self.show()

    def fill(self) -> None:
        """List the facts that contain the words of the search. A chosen fact stays chosen while it is listed.

        A browser sends Enter at once, but delays the last letters while earlier ones are on their way. So after Enter,
        a text that continues the one it was pressed on chooses the first fact.
        """
        before, text = self.found.value, self.search.value
        positions, used = self.index.find(text)
        if self._entered is not None and text.startswith(self._entered):
            chosen = positions[0] if positions else None
        else:
            self._entered, chosen = None, before if before in positions else None
        with self.deaf():
            self.found.options = [(self.index.name(i), i) for i in positions]
            self.found.value = chosen
        self.hits.value = self._said(text, positions, used)
        if chosen != before:
            self.show()

    def _said(self, text: str, positions: list[int], used: str) -> str:
        """What was searched for, where it is not what was typed, or that nothing was found."""
        if not positions:
            return view.note("No fact has these words. Try a subject, such as France, or a relation, such as capital.")
        if plain(text) != used and text.strip():
            return view.note(f"No fact has all of these words; found by: {used}")
        return ""

    def _first(self) -> None:
        if self.found.options:
            self.found.index = 0
        self._entered = self.search.value or None

    def _clicked(self) -> None:
        self._entered = None
        self.show()

    def show(self) -> None:
        """Show what the model answers now to what is chosen."""
        self.new.disabled = self.kind == TABLE
        if self._shown != (about := (self.kind, self.found.value if self.kind == FACT else None)):
            self._shown = about
            with self.deaf():
                self.new.value = ""  # it was for another fact
        if self.kind == TABLE:
            return self.check()
        fact = self.fact()
        if fact is None:
            self.answers.value = self.note.value = ""
            return self.changed(None)
        facts, own = self.session.facts, fact.relation == OWN
        tests = fact.tests if own else facts.tests(fact)
        now = fact.object if own else self.session.object_now(self.found.value)
        asked = [("learnt from", s) for s in facts.evidences(fact)[:2]] + [("unseen phrasing", s) for s in tests[:2]]
        with self.session.lock:
            best = self.session.model.answers([s for _, s in asked], [now] * len(asked))
        rows = [(s, kind, answers) for (kind, s), answers in zip(asked, best, strict=True)]
        self.answers.value = view.block(view.now(rows))
        self.new.options = self.index.suggestions(fact)
        self.check()

    def fact(self) -> Fact | None:
        """The fact that is chosen, or the statement that was typed; None if neither."""
        if self.kind == FACT:
            return None if self.found.value is None else self.session.facts[self.found.value]
        if not (statement := self.own.value.strip()):
            return None
        tests = [line.strip() for line in self.others.value.splitlines() if line.strip()]
        asked = (statement, *tests, self.session.state)
        if asked != self._asked:  # once for each statement and state of the model, not at every key
            # The old object is what the model now puts into one slot; a new object may need more.
            model, short = self.session.model, self.index.short_object(self.session.model)
            own = own_statement(statement, short, tests, self.index.subject_in(statement))
            with self.session.lock:
                old = model.answers([statement], [short])[0][0][0]
            self._asked, self._fact = asked, replace(own, object=old or short)
        return self._fact

    def change(self) -> Modification:
        """The chosen modification. Raises ValueError if something is missing or wrong."""
        if self.kind == TABLE:
            change, refused = read_changes(self.table.value, self.session)
            if change is None:
                raise ValueError(f"no line of the table can be used: {refused[0] if refused else 'it is empty'}")
            return change
        fact = self.fact()
        if fact is None:
            first = "choose a fact: search, then take one from the list" if self.kind == FACT else "type a statement"
            raise ValueError(f"{first} first")
        if fact.relation == OWN:
            return self.session.own_change(fact, self.new.value)
        return self.session.change(self.found.value, self.new.value)

    def check(self) -> None:
        """Show whether the new object is possible and, if not, why; of a table, which lines are."""
        note, change = "", None
        if self.kind == TABLE:
            change, refused = read_changes(self.table.value, self.session)
            text = f"Changes that can be made: {len(change) if change else 0}. Lines that are refused: {len(refused)}."
            self.answers.value = view.block(view.note(text), *(view.note(line, "alert") for line in refused[:50]))
        elif self.new.value.strip():
            try:
                change = self.change()
                slots = len(self.session.model.examples(change.base, "evidences", change.modified, [0]).targets)
                likely = self.index.likely(change.originals[0], self.new.value)
                meant = f" Did you mean {likely}?" if likely else ""
                pieces = "one piece" if slots == 1 else f"{slots} pieces{' (harder to learn)' * (slots > 2)}"
                note = view.note(f"Can be written, in {pieces}.{meant}")
            except ValueError as error:
                note = view.note(reason(error), "alert")
        self.note.value = note
        self.changed(change)
