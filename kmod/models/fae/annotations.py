"""Sentences of real text with annotated mentions, for training beside the evidences: T-REx's and FewRel's formats.

Both give a subject and an object that stand in a sentence, by name. Mentions of entities that the memory lacks keep
their place and have no link.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...facts import MASK
from .entities import Names
from .statements import Statement, whole_statement


def trex_statements(path: str | Path, names: Names, most_per_fact: int = 38) -> Iterator[Statement]:
    """The sentences of a JSON-lines file (.gz or not) of T-REx facts: `sub_label`, `obj_label`, and `evidences` with
    `sub_surface`, `obj_surface` and a `masked_sentence`; at most `most_per_fact` of each fact."""
    for fact in _lines(path):
        subject, object = names.find(fact["sub_label"]), names.find(fact["obj_label"])
        for evidence in fact["evidences"][:most_per_fact]:
            sentence = evidence["masked_sentence"]
            if sentence.count(MASK) == 1:
                yield whole_statement(sentence, evidence["sub_surface"], subject, evidence["obj_surface"], object)


def fewrel_statements(path: str | Path, names: Names) -> Iterator[Statement]:
    """The sentences of a JSON-lines file (.gz or not) of FewRel: `tokens`, and `head` and `tail`, each (name, id, lists
    of token positions). Every stated span is a mention."""
    for row in _lines(path):
        starts, text = [], ""
        for token in row["tokens"]:
            starts.append(len(text))
            text += token + " "
        mentions = set()
        for name, _, spans in (row["head"], row["tail"]):
            entity = names.find(name)
            mentions |= {(starts[span[0]], starts[span[-1]] + len(row["tokens"][span[-1]]), entity) for span in spans}
        yield Statement(text.rstrip(), tuple(_apart(sorted(mentions))))


def usable(statements: Iterable[Statement], tokenizer, limit: int) -> list[Statement]:
    """The statements that are no longer than `limit` tokens, and their mentions that have tokens of their own. Real
    text has names within words and lists without end; those are passed over, not cut."""
    kept, pieces = [], list(statements)
    encoded = tokenizer([s.text for s in pieces], return_offsets_mapping=True) if pieces else {}
    for statement, ids, offsets in zip(
        pieces, encoded.get("input_ids", ()), encoded.get("offset_mapping", ()), strict=True
    ):
        edges = {a for a, b in offsets if b > a}, {b for a, b in offsets if b > a}
        mentions = tuple(m for m in _apart(statement.mentions) if m[0] < m[1] and m[0] in edges[0] and m[1] in edges[1])
        if len(ids) <= limit and mentions and tokenizer.mask_token_id not in ids:
            kept.append(Statement(statement.text, mentions))
    return kept


def _apart(mentions: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Mentions in order, without those that begin inside another."""
    last = 0
    for mention in sorted(mentions):
        if mention[0] >= last:
            yield mention
            last = mention[1]


def _lines(path: str | Path) -> Iterator[dict]:
    opened = gzip.open if str(path).endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
