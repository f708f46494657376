"""The paper's metrics, with intervals: A_M, A_{F∖S}, ΔA_{F∖S} and Ā.

Accuracy is P@1 over statements (micro-average): the argmax over the whole vocabulary must be right at every masked
slot. It is reported on the tests (phrasings never trained on) and on the evidences. Intervals are 95 % percentile
bootstraps over facts, not statements, because the answers to the statements of one fact are correlated.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np

from .checks import brief, check_facts
from .facts import FactBase, Modification
from .models.activations import Activations, activations
from .models.door import check_model
from .models.masked_lm import MaskedLM
from .models.statements import Examples
from .parts import block_indices, blocks, plan

KINDS = ("tests", "evidences")


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval, and the numbers of facts and statements that it counts."""

    value: float
    low: float
    high: float
    facts: int
    statements: int

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def rate(right: np.ndarray, asked: np.ndarray, resamples: int = 2000, seed: int = 0) -> Rate:
    """The micro-averaged share Σ right / Σ asked with its interval.

    `right` and `asked` are (facts,) counts of statements; `right` may be a difference, and negative. Facts without
    statements of this kind are excluded. Raises ValueError if no fact is left.

    """
    right, asked = np.asarray(right), np.asarray(asked)
    right, asked = right[asked > 0], asked[asked > 0]
    if len(asked) == 0:
        raise ValueError("nothing to rate: no fact has a statement of this kind")
    # Facts with equal counts are exchangeable: a resample is one multinomial draw over the distinct pairs.
    pairs, counts = np.unique(np.stack([right, asked]), axis=1, return_counts=True)
    # (resamples, pairs)
    draws = np.random.default_rng(seed).multinomial(len(asked), counts / len(asked), size=resamples)
    with np.errstate(invalid="ignore"):
        shares = (draws @ pairs[0]) / (draws @ pairs[1])
    low, high = np.nanpercentile(shares, [2.5, 97.5])
    return Rate(float(right.sum() / asked.sum()), float(low), float(high), len(asked), int(asked.sum()))


@dataclass(frozen=True, eq=False)
class Scores:
    """How a model answers all of F: for each fact, how many of its statements are asked, and how many are right.

    `right[kind]` and `asked[kind]` are (facts,) counts for kind in "tests", "evidences". `examples` are the tokenised
    statements, so that the next model on the same facts need not tokenise them again. `kept` are hidden states that
    enter a block (`score(keep=)`), and `model` is the fingerprint of the model that they come from.
    """

    right: dict[str, np.ndarray]
    asked: dict[str, np.ndarray]
    examples: dict[str, Examples]
    kept: dict[str, Activations] = field(default_factory=dict)
    model: str | None = None

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
    model: MaskedLM,
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


def _ask(model: MaskedLM, examples: dict[str, Examples], facts: int, kept: dict[str, Activations]) -> Scores:
    """The counts of the answers to `examples`, which belong to this number of facts."""
    scores = Scores({}, {}, examples, kept)
    for kind, statements in examples.items():
        answers = model.correct(statements, kept=kept.get(kind)).numpy()
        scores.right[kind] = np.bincount(statements.owner, weights=answers, minlength=facts)
        scores.asked[kind] = np.bincount(statements.owner, minlength=facts)
    return scores


def known(model: MaskedLM, base: FactBase) -> np.ndarray:
    """(facts,) bool: whether the model answers every test of a fact correctly. The paper draws S from these facts."""
    return score(model, base, ("tests",)).known


@dataclass(frozen=True)
class Answer:
    """One test of a modified fact: its old and new object, and the model's five best answers before and after."""

    statement: str
    old: str
    new: str
    before: list[tuple[str, float]]
    after: list[tuple[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """What an edit did. Every rate is on the tests (held-out phrasings) unless its name says evidences."""

    A_M: Rate
    A_M_evidences: Rate
    A_FS: Rate
    A_FS_before: Rate
    delta_A_FS: Rate
    A_FS_evidences: Rate | None
    A_FS_evidences_before: Rate | None
    answers: list[Answer]

    @property
    def A_mean(self) -> float:
        """Ā = (A_M + A_{F∖S}) / 2. The paper chooses block and δ by it."""
        return (self.A_M.value + self.A_FS.value) / 2

    def record(self) -> dict[str, float]:
        """The values without intervals, as fractions: one row of a table."""
        rates = {name: value.value for name, value in vars(self).items() if isinstance(value, Rate)}
        return rates | {"A_mean": self.A_mean}

    def __str__(self) -> str:
        m, fs, d = self.A_M, self.A_FS, self.delta_A_FS
        evidences = [f"  on their evidences            {self.A_FS_evidences}"] if self.A_FS_evidences else []
        lines = [
            f"modified facts learnt   A_M     {m}",
            f"  on their evidences            {self.A_M_evidences}",
            f"the rest, before        A_F∖S   {self.A_FS_before}",
            f"the rest, after         A_F∖S   {fs}",
            *evidences,
            f"change                  ΔA_F∖S  {_points(d.value)} points [{_points(d.low)}, {_points(d.high)}]",
            f"mean of both            Ā       {100 * self.A_mean:.1f} %",
            f"n: {m.facts:,} modified and {fs.facts:,} other facts, {m.statements:,} and {fs.statements:,} tests",
        ]
        return "\n".join(lines)


def _points(share: float) -> str:
    """A difference of shares in percentage points, with its sign; never "-0.0"."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def evaluate(
    model: MaskedLM,
    base: FactBase,
    change: Modification,
    *,
    edit=None,
    before: Scores | None = None,
    answers: bool = True,
) -> Evaluation:
    """Measure an edit: A_M, A_{F∖S}, ΔA_{F∖S} and Ā, with the answers before and after.

    Args:
        model: the model *without* the edit; it is left as it was.
        base: F, the facts that `change` was drawn from.
        edit: the `Edit` to measure; None measures the model as it is.
        before: `score(model, base)`, which saves asking again when many edits of one model are measured. With
            `score(model, base, ["tests"])` F∖S is asked on its tests alone, in a fifth of the time; with
            `score(model, base, keep=-1)` edits of the last block are measured from the hidden states that enter it.
        answers: whether to collect the answers before and after to each modified fact's tests.

    Raises ValueError if `change` was drawn from other facts, modifies all of them, or only facts without tests.
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
    before = before or score(model, base)
    statements, olds, news = map(list, zip(*tests, strict=True))
    answers_before = model.answers(statements, olds) if answers else []
    with edit(model) if edit is not None else nullcontext():
        after = score(model, base, tuple(before.examples), before.examples, kept=_still_valid(model, before, edit))
        examples = {kind: model.examples(base, kind, change.modified) for kind in KINDS}
        learnt = _ask(model, examples, len(change), {})
        answers_after = model.answers(statements, news) if answers else []
    rest = ~np.isin(np.arange(len(base)), change.indices)
    gain = after.right["tests"][rest] - before.right["tests"][rest]
    compared = zip(tests, answers_before, answers_after, strict=True) if answers else ()
    return Evaluation(
        A_M=learnt.rate("tests"),
        A_M_evidences=learnt.rate("evidences"),
        A_FS=after.rate("tests", rest),
        A_FS_before=before.rate("tests", rest),
        delta_A_FS=rate(gain, before.asked["tests"][rest]),
        A_FS_evidences=after.rate("evidences", rest) if "evidences" in after.right else None,
        A_FS_evidences_before=before.rate("evidences", rest) if "evidences" in before.right else None,
        answers=[Answer(*test, was, now) for test, was, now in compared],
    )


def _still_valid(model: MaskedLM, before: Scores, edit) -> dict[str, Activations]:
    """The states of `before` that an evaluation under `edit` may start from: of the same model, and below the edit."""
    changed = getattr(edit, "xor", None)  # None: not an edit of weights
    if not before.kept or not changed or edit.before != before.model:
        return {}
    parameters = dict(model.net.named_parameters())
    touched = [name for name in changed if name in parameters]
    # A changed tensor that is not a parameter is the fact memory, which is read above all blocks.
    lowest = plan(model.net, component=touched).lowest if touched else len(blocks(model.net))
    return {kind: kept for kind, kept in before.kept.items() if lowest is not None and kept.block <= lowest}
