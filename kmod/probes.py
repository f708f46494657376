"""Questions of any kind asked before and after an edit, and general ability: what is measured beside A_M and A_F∖S."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from .models.door import check_model
from .models.language_model import LanguageModel
from .models.statements import Examples, end_to_end
from .names import shown
from .questions import Question
from .rates import Rate, rate
from .sources.general import general_text


@dataclass(frozen=True)
class Slots:
    """For each masked slot of N statements, in their order: the best word piece, its log-probability and that of the
    target. Statement i has the slots from `starts[i]` to `starts[i + 1]`."""

    best: np.ndarray
    best_score: np.ndarray
    score: np.ndarray
    starts: np.ndarray

    def mean(self, values: np.ndarray) -> np.ndarray:
        """(N,) the mean over the slots of each statement of one value a slot."""
        return np.add.reduceat(values.astype(float), self.starts[:-1]) / np.diff(self.starts)


def slots(model: LanguageModel, examples: Examples) -> Slots:
    """Ask all statements of `examples`."""
    total = int(examples.target_starts[-1])
    best, best_score, score = np.zeros(total, np.int64), np.zeros(total), np.zeros(total)
    for positions, logits, batch in model.logits(examples):
        starts, stops = (examples.target_starts[positions.numpy() + end].tolist() for end in (0, 1))
        at = np.concatenate([np.arange(*span) for span in zip(starts, stops, strict=True)])
        logp = logits.float().log_softmax(-1)
        top = model.named(logp).max(-1)
        best[at], best_score[at] = top.indices.cpu().numpy(), top.values.cpu().numpy()
        score[at] = logp.gather(1, batch.targets[:, None])[:, 0].cpu().numpy()
    return Slots(best, best_score, score, examples.target_starts)


@dataclass(frozen=True)
class Probe:
    """The right answers to a probe's questions, after and before the edit. Of the `asked` questions `counted` count:
    those whose `needs` the unedited model answered, and whose answer its vocabulary can write. The rates are None if
    there are none."""

    after: Rate | None
    before: Rate | None
    counted: int
    asked: int

    def __str__(self) -> str:
        if self.after is None:
            return f"–  (none of {self.asked:,} questions counts)"
        share = "" if self.counted == self.asked else f", {self.counted:,} of {self.asked:,} questions"
        return f"{self.after} (before {100 * self.before.value:.1f} %{share})"


class Panel:
    """The questions of several probes. It is made on the unedited model, which is asked at once; `after` asks the
    edited one.

    Args:
        probes: name → questions.
        whole: the name of a further probe, which is all of them together; None for none.

    Raises ValueError for a question that is too long for the model.
    """

    def __init__(self, model: LanguageModel, probes: Mapping[str, Sequence[Question]], whole: str | None = None):
        self.asked = {name: len(questions) for name, questions in probes.items()}
        every = [question for questions in probes.values() for question in questions]
        unwritable = model.unwritable(sorted({name for question in every for name in _names(question)}))

        def possible(question: Question) -> bool:
            statements = [question.statement, *(need.statement for need in question.needs)]
            return unwritable.isdisjoint(_names(question)) and all(map(model.takes, statements))

        needs = list(dict.fromkeys(n for q in every if possible(q) for n in q.needs))
        known = dict(zip(needs, _Sheet(model, needs).credits(model) == 1, strict=True))
        counted, self.parts = [], {}
        for name, questions in probes.items():
            start = len(counted)
            counted += [q for q in questions if possible(q) and all(known[n] for n in q.needs)]
            self.parts[name] = slice(start, len(counted))
        if whole is not None and probes:
            self.asked[whole], self.parts = len(every), {whole: slice(0, len(counted))} | self.parts
        self.sheet = _Sheet(model, counted)
        self.before = self.sheet.credits(model)

    def after(self, model: LanguageModel) -> dict[str, Probe]:
        """Probe by name, the whole first, with the answers of `model`, which is the edited one."""
        after, found = self.sheet.credits(model), {}
        for name, part in self.parts.items():
            rates = (self._rate(credits, part) for credits in (after, self.before))
            found[name] = Probe(*rates, part.stop - part.start, self.asked[name])
        return found

    def _rate(self, credits: np.ndarray, part: slice) -> Rate | None:
        """The mean credit of the questions at `part`, with an interval over the facts that they are about."""
        if not (questions := self.sheet.questions[part]):
            return None
        owners = [("own", i) if q.fact is None else ("fact", q.fact) for i, q in enumerate(questions)]
        number = {owner: n for n, owner in enumerate(dict.fromkeys(owners))}
        of = [number[owner] for owner in owners]
        return rate(np.bincount(of, weights=credits[part]), np.bincount(of))


def _names(question: Question) -> set[str]:
    """What the model must be able to write if the question is to count."""
    return {question.answer, question.rival or question.answer, *(need.answer for need in question.needs)}


class _Sheet:
    """Questions, tokenised once."""

    def __init__(self, model: LanguageModel, questions: Sequence[Question]):
        self.questions = list(questions)
        self.by = np.array([question.by for question in questions], dtype=object)
        self.examples = _asked(model, [(q.statement, q.answer) for q in questions])
        self.rivals = _asked(model, [(q.statement, q.rival) for q in questions if q.by == "rival"])
        pairs = [(i, name) for i, question in enumerate(questions) for name in question.also]
        unwritable = model.unwritable(sorted({name for _, name in pairs}))
        pairs = [(i, name) for i, name in pairs if name not in unwritable]
        self.also: dict[int, list[list[int]]] = {i: [] for i, _ in pairs}  # the word pieces of other right answers
        others, own = _asked(model, [(questions[i].statement, name) for i, name in pairs]), _targets(self.examples)
        for (i, _), pieces in zip(pairs, _targets(others), strict=True):
            if pieces != own[i]:
                self.also[i].append(pieces)
        self.unedited: np.ndarray | None = None  # the best word pieces when it was asked first

    def credits(self, model: LanguageModel) -> np.ndarray:
        """(N,) from 0 to 1: how right each answer is, as `Question.by` says."""
        if self.examples is None:
            return np.zeros(0)
        found = slots(model, self.examples)
        self.unedited = found.best if self.unedited is None else self.unedited
        pieces = found.mean(found.best == self.examples.targets)
        credits = np.where(self.by == "pieces", pieces, pieces == 1).astype(float)
        same = self.by == "unchanged"
        credits[same] = found.mean(found.best == self.unedited)[same]
        if self.rivals is not None:
            rivals = slots(model, self.rivals)
            beaten = found.mean(found.score)[self.by == "rival"] > rivals.mean(rivals.score)
            credits[self.by == "rival"] = beaten
        for i, right in self._filtered(model, found).items():
            credits[i] = right
        return credits

    def _filtered(self, model: LanguageModel, found: Slots) -> dict[int, bool]:
        """For each question whose best answer is another right one: is its own the best without those?"""
        spans = list(pairwise(found.starts.tolist()))
        chosen = [i for i, also in self.also.items() if found.best[slice(*spans[i])].tolist() in also]
        examples = _asked(model, [(self.questions[i].statement, self.questions[i].answer) for i in chosen])
        ranked = model.ranked(examples, 1 + max(len(self.also[i]) for i in chosen)) if examples else []
        best = [next(p for p, _ in answers if p not in self.also[i]) for i, answers in zip(chosen, ranked, strict=True)]
        return {i: pieces == right for i, pieces, right in zip(chosen, best, _targets(examples), strict=True)}


def _asked(model: LanguageModel, pairs: Sequence[tuple[str, str]]) -> Examples | None:
    return model.asked(*map(list, zip(*pairs, strict=True))) if pairs else None


def _targets(examples: Examples | None) -> list[list[int]]:
    if examples is None:
        return []
    return [examples.targets[a:b].tolist() for a, b in pairwise(examples.target_starts)]


def known_without_length(model: LanguageModel, examples: Examples, most: int) -> np.ndarray:
    """(N,) bool: is the answer right when the number of masks is not given?

    Each statement is asked with 1 to `most` masks. The answer is that of the number whose best word pieces have the
    highest mean log-probability. Numbers with which a statement is longer than the model's limit are not tried.
    """
    if model.causal:  # an answer is decoded piece by piece: how many there are is never given
        return model.correct(examples).numpy()
    wanted = _targets(examples)
    best = [(-math.inf, [])] * len(wanted)
    for count in range(1, most + 1):
        other = _with_masks(examples, count)
        if other.lengths.max() > model.limit:
            break
        found = slots(model, other)
        means = found.mean(found.best_score).tolist()
        rows = zip(best, means, found.best.reshape(-1, count).tolist(), strict=True)
        best = [max(old, (mean, pieces), key=lambda answer: answer[0]) for old, mean, pieces in rows]
    return np.array([pieces == right for (_, pieces), right in zip(best, wanted, strict=True)])


def _with_masks(examples: Examples, count: int) -> Examples:
    """The same statements with `count` masks in the place of theirs; the targets are of no meaning."""
    rows = []
    for start, stop in pairwise(examples.starts):
        row = examples.ids[start:stop].tolist()
        first, masks = row.index(examples.mask_id), row.count(examples.mask_id)
        rows.append([*row[:first], *[examples.mask_id] * count, *row[first + masks :]])
    ids, starts = end_to_end(rows)
    targets, target_starts = end_to_end([[0] * count] * len(rows))
    return replace(examples, ids=ids, starts=starts, targets=targets, target_starts=target_starts, columns=None)


@dataclass(frozen=True)
class Perplexity:
    """A pseudo-perplexity, 1 or more, with its 95 % interval over sentences, and how many it counts."""

    value: float
    low: float
    high: float
    sentences: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.value:,.1f} [{self.low:,.1f}, {self.high:,.1f}]"


def pseudo_perplexity(model: LanguageModel, sentences: Sequence[str] | None = None) -> Perplexity:
    """exp of the mean of −log P(token | all other tokens of its sentence): lower is better. It measures how much of its
    general ability a model keeps, on text that is not about the facts.

    Every token is masked in turn, so that n tokens take n statements. A causal model reads each sentence once, and each
    token but the first is asked from those before it: that is its perplexity. Tokens that the vocabulary does not have
    are not asked. Source: Salazar et al. 2020, "Masked Language Model Scoring".

    Args:
        sentences: plain text; the 200 that ship with kmod, if None.

    Raises ValueError for a model that does not answer in word pieces (a FaE), for a sentence that is too long, and if
    no token can be asked.
    """
    check_model(model)
    if not model.by_pieces:
        raise ValueError(f"{type(model).__name__} answers with entities, so it has no pseudo-perplexity")
    sentences = general_text() if sentences is None else list(sentences)
    examples = _read(model, sentences) if model.causal else _every_token(model, sentences)
    found = slots(model, examples)
    owner = np.repeat(examples.owner, np.diff(examples.target_starts))
    mean = rate(np.bincount(owner, weights=-found.score), np.bincount(owner))
    return Perplexity(*(math.exp(x) for x in (mean.value, mean.low, mean.high)), mean.facts, mean.statements)


def _read(model: LanguageModel, sentences: Sequence[str]) -> Examples:
    """Each sentence once, all its tokens but the first as what follows it."""
    rows = model.tokenizer(list(sentences))["input_ids"]
    for sentence, ids in zip(sentences, rows, strict=True):
        if len(ids) > model.limit:
            raise ValueError(f"{len(ids)} tokens are more than this model's {model.limit}: {shown(sentence)}")
    asked = [(i, ids) for i, ids in enumerate(rows) if len(ids) > 1]
    if not asked:
        raise ValueError("no sentence has a second token")
    return model.following([ids[:1] for _, ids in asked], [ids[1:] for _, ids in asked], [i for i, _ in asked])


def _every_token(model: LanguageModel, sentences: Sequence[str]) -> Examples:
    """Each sentence once for each of its known tokens, with a mask in its place; the owner is the sentence."""
    tokenizer, rows, targets, owner = model.tokenizer, [], [], []
    for i, ids in enumerate(tokenizer(list(sentences))["input_ids"]):
        if len(ids) > model.limit:
            raise ValueError(f"{len(ids)} tokens are more than this model's {model.limit}: {shown(sentences[i])}")
        special = tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
        for at, (token, is_special) in enumerate(zip(ids, special, strict=True)):
            if not is_special and token not in (tokenizer.unk_token_id, tokenizer.mask_token_id):
                rows.append([*ids[:at], tokenizer.mask_token_id, *ids[at + 1 :]])
                targets.append([token])
                owner.append(i)
    if not rows:
        raise ValueError("no sentence has a token that this model's vocabulary knows")
    arrays = *end_to_end(rows), *end_to_end(targets), np.asarray(owner, dtype=np.int64)
    return Examples(*arrays, tokenizer.mask_token_id, tokenizer.pad_token_id)
