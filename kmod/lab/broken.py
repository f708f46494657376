"""What an edit broke: every fact is asked again in the background, a portion at a time, after each change of a session.

A fact is known in a state of the model if all its tests are answered right; broken is what the session, or its last
edit, made unknown. Answers are kept for each state, so that going back to one costs nothing.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..evaluation import judge, right_counts
from ..models.language_model import LanguageModel
from ..models.statements import Examples
from ..names import accentless
from .session import Session, Step

PORTION = 128  # facts that are asked between two looks at whether to stop
NAMED = 40  # broken facts whose wrong answers are asked for


@dataclass(frozen=True)
class Broken:
    """What no longer holds in the model as it is, as far as it has been asked.

    Args:
        step: the edit on top.
        asked, all: facts asked so far, and facts that can be asked: those with tests.
        known: of those asked and not edited, how many were known before `step`.
        facts: (position in the session's facts, wrong answer) of those that `step` broke; the answer is "" beyond the
            first `NAMED` ones.
        before: how many were known when the session began and unknown already before `step`, and still are.
        edits: (edit, tests answered with its new objects, tests asked) of the edits below `step`.
    """

    step: Step
    asked: int
    all: int
    known: int
    facts: tuple[tuple[int, str], ...]
    before: int
    edits: tuple[tuple[Step, int, int], ...]

    @property
    def done(self) -> bool:
        return self.asked == self.all


class Checker:
    """Asks all facts of a session again, in a thread of its own, on a copy of the model.

    `changed(broken)` is called in that thread after each portion of the model as it is now. States below it, which it
    is compared with, are asked first, where they have not been.
    """

    def __init__(self, session: Session, changed: Callable[[Broken], None]):
        self.session, self.changed = session, changed
        facts = session.facts
        self.positions = np.array([i for i, fact in enumerate(facts) if facts.tests(fact)], dtype=int)
        self._names = {accentless(name): name for name in facts.object_counts}
        self._portions: dict[int, Examples] = {}  # number of its first fact → statements
        self._known: dict[str, np.ndarray] = {}  # state → for each of `positions` 1 known, 0 unknown, -1 not asked yet
        self._model: LanguageModel | None = None
        self._thread: threading.Thread | None = None
        self._stop, self._free = threading.Event(), threading.Event()
        self._free.set()

    def start(self) -> None:
        """Ask about the model as it is now; what is asked about another state ends first."""
        self.stop()
        self._stop = threading.Event()
        arguments = self._thread, self._stop
        self._thread = threading.Thread(target=self._run, args=arguments, daemon=True, name="kmod check")
        self._thread.start()

    def stop(self) -> None:
        """End after the portion in hand. What has been answered is kept."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until all facts are asked. A KeyboardInterrupt ends the asking and is raised again."""
        try:
            if self._thread is not None:
                self._thread.join(seconds)
        except KeyboardInterrupt:
            self.stop()
            raise

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is asked inside, but for the portion in hand: the processor is free for something else."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def _run(self, before: threading.Thread | None, stop: threading.Event) -> None:
        if before is not None:
            before.join()
        with self.session.lock:
            stack = tuple(self.session.stack)
        states = [self.session.start, *(step.edit.after for step in stack)]
        for state in dict.fromkeys([states[0], states[max(len(stack) - 1, 0)]]):
            for _ in self._ask(state, stack, stack[states.index(state) :], stop):
                pass
        if not stack or stop.is_set():
            return
        known, edits, wrong = [self._known[state] for state in (states[0], states[-2])], None, {}
        for now in self._ask(states[-1], stack, (), stop):
            edits = edits or self._edits(stack)
            self.changed(self._broken(stack, *known, now, edits, wrong))

    def _ask(
        self, state: str, stack: Sequence[Step], undone: Sequence[Step], stop: threading.Event
    ) -> Iterator[np.ndarray]:
        """Fill in what is known in `state`, which is the present one without the edits `undone`; yields it after each
        portion, once if all is known already. Ends early when `stop` is set or the session goes on."""
        n = len(self.positions)
        known = self._known.setdefault(state, np.full(n, -1, np.int8))
        finished = (known >= 0).all()
        for start in range(int((known >= 0).sum()), n, PORTION):
            while not self._free.wait(0.05):
                if stop.is_set():
                    return
            if stop.is_set() or not self._bring(state, stack, undone):
                return
            known[start : start + PORTION] = self._known_in(start)
            yield known
        if finished and not undone and self._bring(state, stack, undone):
            yield known

    def _bring(self, state: str, stack: Sequence[Step], undone: Sequence[Step]) -> bool:
        """Bring the copy into `state`. False if the session is no longer where `stack` says."""
        with self.session.lock:
            if tuple(self.session.stack) != tuple(stack):
                return False
            if self._model is None:
                self._model = copy.deepcopy(self.session.model)
            elif not self._model.matches(state):
                self._model.net.load_state_dict(self.session.model.net.state_dict())
        if not self._model.matches(state):
            for step in reversed(undone):
                step.edit.undo(self._model)
        return True

    def _known_in(self, start: int) -> np.ndarray:
        """For each fact of a portion whether the copy answers all its tests right."""
        facts = [self.session.facts[int(i)] for i in self.positions[start : start + PORTION]]
        if start not in self._portions:
            self._portions[start] = self._model.examples(self.session.facts, "tests", facts)
        examples = self._portions[start]
        asked = np.bincount(examples.owner, minlength=len(facts))
        return right_counts(self._model, examples, len(facts)) == asked

    def _broken(
        self,
        stack: Sequence[Step],
        first: np.ndarray,
        before: np.ndarray,
        now: np.ndarray,
        edits: tuple[tuple[Step, int, int], ...],
        wrong: dict[int, str],
    ) -> Broken:
        """What is broken, from what was known at first, before the last edit, and now; `wrong` grows by the answers of
        those that are listed."""
        own = [
            i for step in stack if step.change and step.change.base is self.session.facts for i in step.change.indices
        ]
        counted = (now >= 0) & ~np.isin(self.positions, own)
        broke = counted & (before == 1) & (now == 0)
        listed = self.positions[broke].tolist()
        for i in listed[:NAMED]:
            if i not in wrong:
                wrong[i] = self._wrong(i)
        return Broken(
            step=stack[-1],
            asked=int((now >= 0).sum()),
            all=len(self.positions),
            known=int((counted & (before == 1)).sum()),
            facts=tuple((i, wrong.get(i, "")) for i in listed),
            before=int((counted & (first == 1) & (before == 0) & (now == 0)).sum()),
            edits=edits,
        )

    def _wrong(self, i: int) -> str:
        """The answer to the first test of fact `i` that is not its object."""
        fact = self.session.facts[i]
        tests = list(self.session.facts.tests(fact))
        ranked, right = judge(self._model, tests, [fact.object] * len(tests), 1)
        answer = ranked[right.index(False) if False in right else 0][0][0]
        return self._names.get(accentless(answer), answer)

    def _edits(self, stack: Sequence[Step]) -> tuple[tuple[Step, int, int], ...]:
        """The edits below the last one, with how many tests of their facts are still answered by them; facts that a
        later edit changed again are left out."""
        found, later = [], set()
        for step in reversed(stack):
            if step.change is None:
                continue
            base, indices = step.change.base, np.array(step.change.indices)
            stand = ~np.isin(indices, list(later)) if base is self.session.facts else np.ones(len(indices), bool)
            later.update(step.change.indices if base is self.session.facts else ())
            if step is stack[-1] or not stand.any():
                continue
            kind = "tests" if any(base.tests(fact) for fact in step.change.originals) else "evidences"
            examples = self._model.examples(base, kind, step.change.modified)
            right = right_counts(self._model, examples, len(indices))
            asked = np.bincount(examples.owner, minlength=len(indices))
            found.append((step, int(right[stand].sum()), int(asked[stand].sum())))
        return tuple(reversed(found))
