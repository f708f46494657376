"""The paper's metrics, with intervals: A_M, A_{F∖S}, ΔA_{F∖S} and Ā; beside them those of the later literature.

Accuracy is P@1 over statements (micro-average): the argmax over the whole vocabulary must be right at every masked
slot. It is reported on the tests (phrasings never trained on) and on the evidences. Intervals are 95 % percentile
bootstraps over facts, not statements, because the answers to the statements of one fact are correlated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from .checks import brief, check_facts
from .facts import FactBase, Modification
from .models.activations import Activations, activations
from .models.door import check_model
from .models.language_model import LanguageModel
from .models.statements import Examples
from .names import pieces_of
from .parts import block_indices, blocks, plan
from .probes import Panel, Perplexity, Probe, Slots, known_without_length, pseudo_perplexity, slots
from .questions import Question, as_questions, neighbours, portability
from .rates import FIELD, Rate, rate

KINDS = ("tests", "evidences")
Ranked = list[tuple[str, float]]
"""(text, probability), best first."""


@dataclass(frozen=True, eq=False)
class Scores:
    """How a model answers all of F: for each fact, how many of its statements are asked, and how many are right.

    `right[kind]` and `asked[kind]` are (facts,) counts for kind in "tests", "evidences". `examples` are the tokenised
    statements, so that the next model on the same facts need not tokenise them again. `kept` are hidden states that
    enter a block (`score(keep=)`), and `model` is the fingerprint of the model that they come from. `perplexity` is its
    general ability, for `evaluate(general=True)`, which asks for it if it is None.
    """

    right: dict[str, np.ndarray]
    asked: dict[str, np.ndarray]
    examples: dict[str, Examples]
    kept: dict[str, Activations] = field(default_factory=dict)
    model: str | None = None
    perplexity: Perplexity | None = None

    def rate(self, kind: str = "tests", facts: np.ndarray | slice = slice(None)) -> Rate:
        """The accuracy on the statements of `kind`, of all facts or of those that `facts` (bool or slice) selects."""
        right, asked = self._counts(kind)
        return rate(right[facts], asked[facts])

    @property
    def known(self) -> np.ndarray:
        """(facts,) bool: every test of the fact is answered correctly."""
        right, asked = self._counts("tests")
        return (right == asked) & (asked > 0)

    def _counts(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        if kind not in self.right:
            raise ValueError(
                brief(f"no scores on {kind!r}, only on {', '.join(self.right)}: give score() the kinds you need")
            )
        return self.right[kind], self.asked[kind]


def score(
    model: LanguageModel,
    base: FactBase,
    kinds: str | Sequence[str] = KINDS,
    examples: dict[str, Examples] | None = None,
    *,
    keep: int | None = None,
    kept: dict[str, Activations] | None = None,
) -> Scores:
    """Ask `model` for every fact of `base`.

    Args:
        kinds: "tests", "evidences", or both.
        examples: those of an earlier `score` on the same facts, which saves tokenising.
        keep: a block (negative from the last). The hidden states that enter it are kept, up to 2 GiB for each kind;
            `evaluate` then starts from them to measure edits of this block and those above.
        kept: such states of the same model below that block, to start from.

    Raises ValueError for an unknown kind or block.
    """
    check_model(model)
    check_facts(base)
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    if not kinds or not set(kinds) <= set(KINDS):
        raise ValueError(brief(f"kinds must be among {', '.join(KINDS)}, got {', '.join(map(repr, kinds)) or 'none'}"))
    if not len(base):
        raise ValueError(f"{base.name} holds no facts: nothing to ask")
    examples = {kind: (examples or {}).get(kind) or model.examples(base, kind) for kind in kinds}
    kept = dict(kept or {})
    if keep is not None:
        (block,) = block_indices(model.net, keep)
        states = {kind: activations(model, statements, block) for kind, statements in examples.items()}
        kept = {kind: fitting for kind, fitting in states.items() if fitting}
    scores = _ask(model, examples, len(base), kept)
    return replace(scores, model=model.fingerprint()) if kept and keep is not None else scores


def _ask(model: LanguageModel, examples: dict[str, Examples], facts: int, kept: dict[str, Activations]) -> Scores:
    """The counts of the answers to `examples`, which belong to this number of facts."""
    scores = Scores({}, {}, examples, kept)
    for kind, statements in examples.items():
        scores.right[kind] = right_counts(model, statements, facts, kept.get(kind))
        scores.asked[kind] = np.bincount(statements.owner, minlength=facts)
    return scores


def right_counts(model: LanguageModel, examples: Examples, facts: int, kept: Activations | None = None) -> np.ndarray:
    """(facts,) how many of the statements of each fact `model` answers right."""
    return np.bincount(examples.owner, weights=model.correct(examples, kept=kept).numpy(), minlength=facts)


def known(model: LanguageModel, base: FactBase) -> np.ndarray:
    """(facts,) bool: whether the model answers every test of a fact correctly. The paper draws S from these facts."""
    return score(model, base, ("tests",)).known


@dataclass(frozen=True)
class Answer:
    """One test of a modified fact: its old and new object, and the model's five best answers before and after. `right`
    is whether every word piece of the new object is the best answer after the edit."""

    statement: str
    old: str
    new: str
    before: Ranked
    after: Ranked
    right: bool


def judge(
    model: LanguageModel, statements: Sequence[str], objects: Sequence[str], k: int = 5
) -> tuple[list[Ranked], list[bool]]:
    """The k best answers to each statement, and whether the best is the object: the one judgement of a statement."""
    if not statements:
        return [], []
    examples = model.asked(statements, objects)
    ranked = model.ranked(examples, k)
    wanted = [examples.targets[a:b].tolist() for a, b in pairwise(examples.target_starts)]
    right = [best[0][0] == pieces for best, pieces in zip(ranked, wanted, strict=True)]
    return [[(model.text_of(pieces), math.exp(score)) for pieces, score in best] for best in ranked], right


@dataclass(frozen=True)
class Evaluation:
    """What an edit did. Every rate is on the tests (held-out phrasings) unless its name says evidences.

    The later literature has other names for the same (`rates.FIELD`): reliability is A_M on the evidences, which the
    edit was trained on; generalisation is A_M; locality is A_F∖S, and that of the `neighbours`: those facts of F∖S with
    the "same subject" as a modified one, or of other subjects with the "same relation" or the "same old object".

    What was not measured is None, or not in its dictionary. `neighbours` and `neighbours_before` are by kind;
    `portability` by kind (`questions.portability`) and, as "all", over all kinds; `probes` by the name that was given.
    `A_M_any_length` is A_M where the number of masks is not given. `changed` counts the tests of the modified facts
    whose best answer is another after the edit; `perplexity` is the pseudo-perplexity on text that is not about facts.
    """

    A_M: Rate
    A_M_evidences: Rate
    A_FS: Rate
    A_FS_before: Rate
    delta_A_FS: Rate
    A_FS_evidences: Rate | None
    A_FS_evidences_before: Rate | None
    answers: list[Answer]
    neighbours: dict[str, Rate] = field(default_factory=dict)
    neighbours_before: dict[str, Rate] = field(default_factory=dict)
    A_M_any_length: Rate | None = None
    portability: dict[str, Probe] = field(default_factory=dict)
    probes: dict[str, Probe] = field(default_factory=dict)
    perplexity: Perplexity | None = None
    perplexity_before: Perplexity | None = None
    changed: int | None = None

    @property
    def A_mean(self) -> float:
        """Ā = (A_M + A_{F∖S}) / 2. The paper chooses block and δ by it."""
        return (self.A_M.value + self.A_FS.value) / 2

    def measures(self) -> dict[str, Rate | Perplexity | float]:
        """Everything that was measured, by the name that records have for it; `rates.FIELD` gives the field's names."""
        found = {name: value for name, value in vars(self).items() if isinstance(value, Rate)}
        for suffix, rates in (("", self.neighbours), ("_before", self.neighbours_before)):
            found |= {f"locality_{kind.replace(' ', '_')}{suffix}": value for kind, value in rates.items()}
        for kind, probe in self.portability.items():
            found[f"portability_{kind.replace(' ', '_')}".removesuffix("_all")] = probe.after
        if every := self.portability.get("all"):
            found["portability_counted"] = every.counted / every.asked
        found |= {f"probe_{name}": probe.after for name, probe in self.probes.items()}
        found |= {f"pseudo_{name}": getattr(self, name) for name in ("perplexity", "perplexity_before")}
        found |= {"changed": self.changed, "A_mean": self.A_mean}
        return {name: value for name, value in found.items() if value is not None}

    def record(self) -> dict[str, float]:
        """The values without intervals, as fractions, under the paper's names and the field's: one row of a table. What
        was not measured is left out."""
        row = {name: getattr(value, "value", value) for name, value in self.measures().items()}
        return row | {ours: row[theirs] for ours, theirs in FIELD.items()}

    def __str__(self) -> str:
        m, fs, d = self.A_M, self.A_FS, self.delta_A_FS
        lines = [
            ("modified facts learnt", "A_M", "generalisation", m),
            ("  on their evidences", "", "reliability", self.A_M_evidences),
            ("  number of masks not given", "", "", self.A_M_any_length),
            ("the rest, before", "A_F∖S", "", self.A_FS_before),
            ("the rest, after", "A_F∖S", "locality", fs),
            ("  on their evidences", "", "", self.A_FS_evidences),
            *((f"  {kind}", "", "", f"{r} (before {_percent(self.neighbours_before[kind])})")
              for kind, r in self.neighbours.items()),
            ("change", "ΔA_F∖S", "", f"{_points(d.value)} points [{_points(d.low)}, {_points(d.high)}]"),
            ("mean of both", "Ā", "", f"{100 * self.A_mean:.1f} %"),
            *((("what follows" if kind == "all" else f"  {kind}"), "", "portability" * (kind == "all"), probe)
              for kind, probe in self.portability.items()),
            *((f"probe: {name}", "", "", probe) for name, probe in self.probes.items()),
            ("other text, before", "", "", self.perplexity_before),
            ("other text, after", "", "general ability", self.perplexity and f"{self.perplexity} pseudo-perplexity"),
        ]  # fmt: skip
        table = [f"{what:<28}{ours:<8}{field:<16}{value}" for what, ours, field, value in lines if value is not None]
        n = f"n: {m.facts:,} modified and {fs.facts:,} other facts, {m.statements:,} and {fs.statements:,} tests"
        same = "This edit changes no best answer to the modified facts' tests." if self.changed == 0 else None
        return "\n".join([*table, n, *filter(None, [same])])


def _percent(share: Rate) -> str:
    return f"{100 * share.value:.1f} %"


def _points(share: float) -> str:
    """A difference of shares in percentage points, with its sign; never "-0.0"."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def evaluate(
    model: LanguageModel,
    base: FactBase,
    change: Modification,
    *,
    edit=None,
    before: Scores | None = None,
    answers: bool = True,
    probes: Mapping[str, Iterable[Question | Sequence[str]]] | None = None,
    thorough: bool | None = None,
    general: bool | Sequence[str] = False,
) -> Evaluation:
    """Measure an edit: A_M, A_{F∖S}, ΔA_{F∖S} and Ā, with the answers before and after; and what `Evaluation` lists.

    Args:
        model: the model *without* the edit; it is left as it was.
        base: F, the facts that `change` was drawn from.
        edit: the `Edit` to measure; None measures the model as it is.
        before: `score(model, base)`, which saves asking again when many edits of one model are measured. With
            `score(model, base, ["tests"])` F∖S is asked on its tests alone, in a fifth of the time; with
            `score(model, base, keep=-1)` edits of the last block are measured from the hidden states that enter it.
        answers: whether to collect the answers before and after to each modified fact's tests.
        probes: name → statements of your own, each a `Question` or a pair (statement with [MASK], right answer).
        thorough: whether to measure portability, and A_M without the number of masks, as well: some ten statements more
            a modified fact. None is as `answers` where there is an edit.
        general: whether to measure general ability, by `pseudo_perplexity`: some 3,000 statements more, twice. Or the
            sentences to measure it on.

    Raises ValueError if `change` was drawn from other facts, modifies all of them, or only facts without tests; for a
    probe that has no statements, or a wrong one.
    """
    check_model(model, change)
    check_facts(base)
    if len(base) != len(change.base) or (base is not change.base and base.fingerprint() != change.base.fingerprint()):
        raise ValueError(f"this change was drawn from {change.base}, not from {base}")
    if len(change) == len(base):
        raise ValueError("every fact is modified, so no unmodified fact is left to measure; modify fewer")
    if before is not None and ("tests" not in before.right or len(before.right["tests"]) != len(base)):
        raise ValueError(f"`before` must be score(model, base), with the tests, of these {len(base):,} facts")
    changed = zip(change.originals, change.objects, strict=True)
    tests = [(statement, fact.object, new) for fact, new in changed for statement in base.tests(fact)]
    if not tests:
        raise ValueError(f"no modified fact has tests, so the edit cannot be measured: {change.originals[0]} has none")
    thorough = (answers and edit is not None) if thorough is None else thorough
    given = {name: as_questions(name, statements) for name, statements in (probes or {}).items()}
    follow = {kind: questions for kind, questions in portability(change).items() if questions} if thorough else {}
    before = before or score(model, base)
    statements, olds, news = map(list, zip(*tests, strict=True))
    was = judge(model, statements, olds)[0] if answers else []
    follows, own = Panel(model, follow, whole="all"), Panel(model, given)
    sentences = general if isinstance(general, Sequence) else None
    perplexity_before = (before.perplexity or pseudo_perplexity(model, sentences)) if general else None
    examples = {kind: model.examples(base, kind, change.modified) for kind in KINDS}
    best = slots(model, examples["tests"]).best if answers and edit is not None else None
    with edit(model) if edit is not None else nullcontext():
        after = score(model, base, tuple(before.examples), before.examples, kept=_still_valid(model, before, edit))
        learnt = _ask(model, examples, len(change), {})
        now, right = judge(model, statements, news) if answers else ([], [])
        moved = None if best is None else _changed(best, slots(model, examples["tests"]))
        portable, probed = follows.after(model), own.after(model)
        perplexity = pseudo_perplexity(model, sentences) if general else None
        free = _any_length(model, change, examples["tests"]) if thorough and model.by_pieces else None
    rest = ~np.isin(np.arange(len(base)), change.indices)
    gain = after.right["tests"][rest] - before.right["tests"][rest]
    near = {kind: near for kind, near in neighbours(change).items() if before.asked["tests"][near].any()}
    return Evaluation(
        A_M=learnt.rate("tests"),
        A_M_evidences=learnt.rate("evidences"),
        A_FS=after.rate("tests", rest),
        A_FS_before=before.rate("tests", rest),
        delta_A_FS=rate(gain, before.asked["tests"][rest]),
        A_FS_evidences=after.rate("evidences", rest) if "evidences" in after.right else None,
        A_FS_evidences_before=before.rate("evidences", rest) if "evidences" in before.right else None,
        answers=list(map(Answer, statements, olds, news, was, now, right)),
        neighbours={kind: after.rate("tests", facts) for kind, facts in near.items()},
        neighbours_before={kind: before.rate("tests", facts) for kind, facts in near.items()},
        A_M_any_length=free,
        portability=portable,
        probes=probed,
        perplexity=perplexity,
        perplexity_before=perplexity_before,
        changed=moved,
    )


def _changed(best: np.ndarray, now: Slots) -> int:
    """How many statements have another best word piece at a slot than `best`."""
    return int((now.mean(now.best != best) > 0).sum())


def _any_length(model: LanguageModel, change: Modification, tests: Examples) -> Rate:
    """A_M where the number of masks is not given: from 1 to the most word pieces of an old or a new object."""
    pieces = pieces_of(model.tokenizer, [*(fact.object for fact in change.originals), *change.objects])
    right = known_without_length(model, tests, max(map(len, pieces)))
    return rate(np.bincount(tests.owner, right, len(change)), np.bincount(tests.owner, minlength=len(change)))


def _still_valid(model: LanguageModel, before: Scores, edit) -> dict[str, Activations]:
    """The states of `before` that an evaluation under `edit` may start from: of the same model, and below the edit."""
    changed = getattr(edit, "xor", None)  # None: not an edit of weights
    if not before.kept or not changed or edit.before != before.model:
        return {}
    parameters = dict(model.net.named_parameters())
    touched = [name for name in changed if name in parameters]
    # A changed tensor that is not a parameter is the fact memory, which is read above all blocks.
    lowest = plan(model.net, component=touched).lowest if touched else len(blocks(model.net))
    return {kind: kept for kind, kept in before.kept.items() if lowest is not None and kept.block <= lowest}
