"""Which facts a tokeniser can write: the paper's T-REx has objects of one piece, its zsRE answers of at most 20."""

from __future__ import annotations

from ..facts import MASK, Fact, FactBase


def single_token(base: FactBase, tokenizer) -> FactBase:
    """The facts of `base` whose object is one word piece; `notes` says how many were dropped, and why."""
    return writable(base, tokenizer, 1)


def writable(base: FactBase, tokenizer, pieces: int = 20, limit: int | None = None) -> FactBase:
    """The facts of `base` whose object has at most `pieces` word pieces, without their statements of more than `limit`
    tokens (None: as many as the tokeniser says its model takes).

    An object is judged as it is written inside a sentence, after a space. Facts left without an evidence, or that had a
    test and are left without, are dropped. `notes` says how many were dropped, and why.

    Raises ValueError if no fact is left.
    """
    limit = limit or tokenizer.model_max_length
    objects = list(dict.fromkeys(fact.object for fact in base))
    written = tokenizer([f" {name}" for name in objects], add_special_tokens=False)["input_ids"]
    unknown = {name for name, ids in zip(objects, written, strict=True) if not ids or tokenizer.unk_token_id in ids}
    length = {name: len(ids) for name, ids in zip(objects, written, strict=True)}
    kept: list[Fact] = []
    unwritten = long = statements = bare = 0
    for fact in base:
        if fact.object in unknown or length[fact.object] > pieces:
            unwritten += fact.object in unknown
            long += fact.object not in unknown
            continue
        own = {}
        for kind in ("evidences", "tests"):
            of = getattr(fact, kind)
            own[kind] = tuple(s for s in of if _tokens(tokenizer, s, length[fact.object], limit) <= limit)
            statements += len(of) - len(own[kind])
        if any(getattr(fact, kind) and not own[kind] for kind in own):
            bare += 1
            continue
        same = own["evidences"] == fact.evidences and own["tests"] == fact.tests
        kept.append(fact if same else Fact(fact.subject, fact.relation, fact.object, **own))
    most = "one word piece" if pieces == 1 else f"{pieces} word pieces"
    note = (
        f"{len(base) - len(kept):,} of {len(base):,} facts dropped: {long:,} objects of more than {most}, "
        f"{unwritten:,} not in the vocabulary, {bare:,} without a statement of at most {limit:,} tokens "
        f"({statements:,} longer statements dropped)"
    )
    if not kept:
        raise ValueError(f"nothing is left of {base.name}: {note}")
    return base.subset(kept, f"{base.name}, {most}" + (" at most" if pieces > 1 else ""), note)


def _tokens(tokenizer, statement: str, masks: int, limit: int) -> int:
    """How many tokens a statement has; an upper bound where that is enough to tell."""
    # A token is at least a byte, so that few statements need tokenising. 8: special tokens, and spaces made bytes.
    bound = len(statement.encode()) + masks + 8
    if bound <= limit:
        return bound
    return len(tokenizer(statement.replace(MASK, tokenizer.mask_token * masks), verbose=False)["input_ids"])
