"""Which facts a tokeniser can write. In the paper, objects of T-REx have one word piece, answers of zsRE at most 20."""

from __future__ import annotations

from dataclasses import replace

from ..checks import check_whole
from ..facts import MASK, Fact, FactBase


def single_token(base: FactBase, tokenizer) -> FactBase:
    """The facts of `base` whose object is one word piece; see `writable`."""
    return writable(base, tokenizer, 1)


def writable(base: FactBase, tokenizer, pieces: int = 20, limit: int | None = None) -> FactBase:
    """The facts of `base` whose object has at most `pieces` word pieces.

    Their statements of more than `limit` tokens (None: the most that the tokeniser's model takes) are left out. An
    object is tokenised as it is written inside a sentence, after a space. A fact that loses all its evidences or all
    its tests is dropped. `notes` says how many facts were dropped, and why.

    Raises ValueError if no fact is left.
    """
    pieces = check_whole("pieces", pieces)
    # transformers writes an unknown length as a number of thirty digits
    limit = min(tokenizer.model_max_length, 1_000_000) if limit is None else check_whole("limit", limit)
    objects = list(dict.fromkeys(fact.object for fact in base))
    written = tokenizer([f" {name}" for name in objects], add_special_tokens=False)["input_ids"]
    unknown = {name for name, ids in zip(objects, written, strict=True) if not ids or tokenizer.unk_token_id in ids}
    length = {name: len(ids) for name, ids in zip(objects, written, strict=True)}
    facts = [fact for fact in base if fact.object not in unknown and length[fact.object] <= pieces]
    unwritten = sum(fact.object in unknown for fact in base)
    too_long = _longer(tokenizer, facts, length, limit)
    kept, statements = [], 0
    for fact in facts:
        masks = length[fact.object]
        evidences = tuple(text for text in fact.evidences if (text, masks) not in too_long)
        tests = tuple(text for text in fact.tests if (text, masks) not in too_long)
        dropped = len(fact.evidences) + len(fact.tests) - len(evidences) - len(tests)
        statements += dropped
        if (evidences or not fact.evidences) and (tests or not fact.tests):
            kept.append(replace(fact, evidences=evidences, tests=tests) if dropped else fact)
    most = "one word piece" if pieces == 1 else f"{pieces} word pieces"
    many, bare = len(base) - len(facts) - unwritten, len(facts) - len(kept)
    note = (
        f"{len(base) - len(kept):,} of {len(base):,} facts dropped: {many:,} objects of more than {most}, "
        f"{unwritten:,} not in the vocabulary, {bare:,} without a statement of at most {limit:,} tokens "
        f"({statements:,} longer statements dropped)"
    )
    if not kept:
        raise ValueError(f"nothing is left of {base.name}: {note}")
    return base.subset(kept, f"{base.name}, {most}" + (" at most" if pieces > 1 else ""), note)


def _longer(tokenizer, facts: list[Fact], length: dict[str, int], limit: int) -> set[tuple[str, int]]:
    """The facts' own statements of more than `limit` tokens, each with its number of masks."""
    # A token is at least one byte, so only long statements need tokenising. 8: special tokens, and spaces made bytes.
    own = ((text, length[fact.object]) for fact in facts for text in (*fact.evidences, *fact.tests))
    candidates = list(dict.fromkeys(item for item in own if len(item[0].encode()) + item[1] + 8 > limit))
    longer = set()
    for i in range(0, len(candidates), 10_000):
        part = candidates[i : i + 10_000]
        texts = [statement.replace(MASK, tokenizer.mask_token * masks) for statement, masks in part]
        ids = tokenizer(texts, return_attention_mask=False, return_token_type_ids=False, verbose=False)["input_ids"]
        longer.update(item for item, tokens in zip(part, ids, strict=True) if len(tokens) > limit)
    return longer
