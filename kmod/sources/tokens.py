"""Which facts a tokeniser can write. In the paper, objects of T-REx have one word piece, answers of zsRE at most 20."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache

from ..checks import WrongTypeError, check_facts, check_whole
from ..facts import MASK, OBJECT, Fact, FactBase
from ..mentions import before_mask, unknown_in
from ..names import is_wordpiece, pieces_of, unwritable


def single_token(base: FactBase, tokenizer) -> FactBase:
    """The facts of `base` whose object is one word piece; see `writable`."""
    return writable(base, tokenizer, 1)


def writable(base: FactBase, tokenizer, pieces: int = 20, limit: int | None = None) -> FactBase:
    """The facts of `base` whose object has at most `pieces` word pieces, and whose names the vocabulary can write.

    Their statements of more than `limit` tokens (None: the most that the tokeniser's model takes) are left out. An
    object is tokenised as it is written inside a sentence, after a space if any statement has one there. A fact is
    dropped if the tokeniser makes unknown pieces of its object, or of its subject in a statement, and if it loses all
    its evidences or all its tests. `notes` says how many facts were dropped, and why.

    Raises ValueError if no fact is left.
    """
    check_facts(base)
    if not callable(getattr(tokenizer, "get_vocab", None)):
        raise WrongTypeError(f"a tokeniser is needed, such as model.tokenizer; got a {type(tokenizer).__name__}")
    pieces = check_whole("pieces", pieces)
    # transformers writes an unknown length as a number of thirty digits
    limit = min(tokenizer.model_max_length, 1_000_000) if limit is None else check_whole("limit", limit)
    unwritten = unwritable(tokenizer, (fact.object for fact in base))
    length = _lengths(base, tokenizer)
    written = [fact for fact in base if fact.object not in unwritten]
    short = [fact for fact in written if length(fact) <= pieces]
    facts = _with_known_subjects(base, short, tokenizer)
    too_long = _longer(tokenizer, facts, length, limit)
    kept, statements = [], 0
    for fact in facts:
        masks = length(fact)
        evidences = tuple(text for text in fact.evidences if (text, masks) not in too_long)
        tests = tuple(text for text in fact.tests if (text, masks) not in too_long)
        dropped = len(fact.evidences) + len(fact.tests) - len(evidences) - len(tests)
        statements += dropped
        if (evidences or not fact.evidences) and (tests or not fact.tests):
            kept.append(replace(fact, evidences=evidences, tests=tests) if dropped else fact)
    most = "one word piece" if pieces == 1 else f"{pieces} word pieces"
    note = (
        f"{len(base) - len(kept):,} of {len(base):,} facts dropped: {len(written) - len(short):,} objects of more than "
        f"{most}, {len(base) - len(written):,} not in the vocabulary, {len(facts) - len(kept):,} without a statement "
        f"of at most {limit:,} tokens ({statements:,} longer statements dropped)"
    )
    if subjects := len(short) - len(facts):
        note += f", {subjects:,} with a subject not in the vocabulary"
    if not kept:
        raise ValueError(f"nothing is left of {base.name}: {note}")
    return base.subset(kept, f"{base.name}, {most}" + (" at most" if pieces > 1 else ""), note)


def _lengths(base: FactBase, tokenizer) -> Callable[[Fact], int]:
    """How many word pieces the object of a fact has in its statements."""

    @cache
    def before(relation: str) -> str:
        known = base.relations[relation]
        return _before(text.replace(OBJECT, MASK) for text in (*known.evidences, *known.tests))

    @cache
    def count(name: str, before: str) -> int:
        return len(pieces_of(tokenizer, [name], before)[0])

    def length(fact: Fact) -> int:
        if is_wordpiece(tokenizer):
            return spaced[fact.object]
        own = (*fact.evidences, *fact.tests)
        at = _before(own) if own else before(fact.relation)
        return spaced[fact.object] if at == " " else count(fact.object, at)

    objects = list(dict.fromkeys(fact.object for fact in base))
    spaced = {name: len(ids) for name, ids in zip(objects, pieces_of(tokenizer, objects), strict=True)}
    return length


def _before(statements: Iterable[str]) -> str:
    """What stands before the [MASK]: a space if any of the statements has one there (see `names.pieces_of`)."""
    found = set(map(before_mask, statements))
    return next((before for before in (" ", "(") if before in found), "")


def _with_known_subjects(base: FactBase, facts: list[Fact], tokenizer) -> list[Fact]:
    """Those of `facts` in whose statements the subject has no unknown pieces."""
    unwritten = unwritable(tokenizer, (fact.subject for fact in facts))
    # Where words are written together, one may be too long for WordPiece although its parts are not.
    longest = tokenizer.backend_tokenizer.model.max_input_chars_per_word if is_wordpiece(tokenizer) else None

    def unknown(fact: Fact) -> bool:
        if fact.subject not in unwritten and longest is None:
            return False
        return any(
            (fact.subject in unwritten or any(len(word) > longest for word in text.split()))
            and unknown_in(tokenizer, text, fact.subject)
            for text in (*base.evidences(fact), *base.tests(fact))
        )

    return [fact for fact in facts if not unknown(fact)]


def _longer(tokenizer, facts: list[Fact], length: Callable[[Fact], int], limit: int) -> set[tuple[str, int]]:
    """The facts' own statements of more than `limit` tokens, each with its number of masks."""
    # A token is at least one byte, so only long statements need tokenising. 8: special tokens, and spaces made bytes.
    own = ((text, length(fact)) for fact in facts for text in (*fact.evidences, *fact.tests))
    candidates = list(dict.fromkeys(item for item in own if len(item[0].encode()) + item[1] + 8 > limit))
    longer = set()
    for i in range(0, len(candidates), 10_000):
        part = candidates[i : i + 10_000]
        texts = [statement.replace(MASK, tokenizer.mask_token * masks) for statement, masks in part]
        ids = tokenizer(texts, return_attention_mask=False, return_token_type_ids=False, verbose=False)["input_ids"]
        longer.update(item for item, tokens in zip(part, ids, strict=True) if len(tokens) > limit)
    return longer
