"""FaE behind kmod's small interface: `memorise`'s sibling trains it, and score, evaluate, finetune and Edit work on it.

Two things differ from a plain masked LM. An object is one [MASK], however long it is, and the answer is an entity of
the memory, so accuracy is P@1 over the entities, not over the vocabulary. And the positions of the mentions are an
input, given or detected.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..checks import brief
from ..facts import MASK, Fact, FactBase
from ..files import user_path
from ..mentions import OUTSIDE, Finder
from ..models.fingerprint import Texts
from ..models.language_model import evaluating
from ..models.masked_lm import MaskedLM
from ..models.presets import build_net
from ..models.statements import check_statement, check_subjects, statements_of
from ..models.vocabulary import build_tokenizer
from .config import ENTITY_SIZE
from .entities import Names, Rows, tensors
from .explain import explain
from .memory import spans_of
from .model import FaEForMaskedLM
from .statements import (
    MentionExamples,
    Mentions,
    Statement,
    encode_mentions,
    masked_statement,
    whole_statement,
)

NAMES = "entities.json"


class FaE(MaskedLM):
    """A `FaEForMaskedLM` with its tokeniser and the names of its entities and relations."""

    trained_by = "kmod.train_fae"
    by_pieces = False

    def __init__(self, net: FaEForMaskedLM, tokenizer, names: Names):
        super().__init__(net, tokenizer)
        for kind in ("entities", "relations"):
            if (have := len(getattr(names, kind))) != (need := getattr(net.config, kind)):
                raise ValueError(f"{have:,} names for a memory of {need:,} {kind}")
        self.names = names
        self._finder = Finder(names.entities)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, slots: Mentions) -> Tensor:
        """Logits (K, N) over the entities for the K asked mentions of a (B, T) batch."""
        net = self.net
        memory = net.memory()
        hidden = net.encode(input_ids, attention_mask, slots.spans, memory, net.config.entity_top).hidden
        return net.answer(spans_of(hidden, slots.spans[slots.asked]), memory, net.config.fact_top)[0]

    def examples(
        self, base: FactBase, kind: str, facts: Iterable[Fact] | None = None, only: Sequence[int] | None = None
    ) -> MentionExamples:
        """As `MaskedLM.examples`, with the mentions of subject and object. Raises ValueError for an object that is no
        entity of the memory."""
        facts = list(base if facts is None else facts)
        rows = Rows.of(self.names, self.net.fact_memory)
        find, entity = self.names.find, self.names.entity
        about = [(find(fact.subject), entity(fact.object), self.supporting(fact, rows)) for fact in facts]
        texts, _, owner = statements_of(base, facts, kind, only)
        statements = [masked_statement(text, facts[i].subject, *about[i]) for text, i in zip(texts, owner, strict=True)]
        examples = encode_mentions(self.tokenizer, statements, owner, self.limit)
        check_subjects(self.tokenizer, examples, texts, facts)
        return examples

    def texts(self, statements: Sequence[str], objects: Sequence[str]) -> list[str]:
        return list(statements)  # an object is one mask

    def supporting(self, fact: Fact, rows: Rows | None = None) -> list[int]:
        """The rows of the fact memory about `fact`'s subject that hold its object, in any relation. Distant supervision
        assumes that a sentence with both states these facts."""
        rows = rows or Rows.of(self.names, self.net.fact_memory)
        subject, answer = self.names.find(fact.subject), self.names.find(fact.object)
        if subject < 0 or answer < 0:
            return []
        of_subject = [rows.at.get((subject, r), -1) for r in range(len(self.names.relations))]
        return [row for row in of_subject if row >= 0 and answer in rows.tails[row]]

    def sentences(self, base: FactBase) -> MentionExamples:
        """The evidences with their objects in place and the mentions of subject and object marked, for the token and
        linking losses."""
        facts = list(base)
        texts, objects, owner = statements_of(base, facts, "evidences")
        statements = [
            whole_statement(text, facts[i].subject, self.names.find(facts[i].subject), name, self.names.entity(name))
            for text, name, i in zip(texts, objects, owner, strict=True)
        ]
        return encode_mentions(self.tokenizer, statements, owner, self.limit)

    @torch.no_grad()
    def detect(self, statements: Sequence[str], batch_size: int = 256) -> list[Statement]:
        """The statements with the mentions that the model detects in them; a [MASK] is always one.

        Raises ValueError unless every statement has exactly one [MASK] and is no longer than the model's `limit`.
        """
        for text in statements:
            check_statement(text)
        detected = []
        with evaluating(self):
            for i in range(0, len(statements), batch_size):
                texts = list(statements[i : i + batch_size])
                batch = self.tokenizer(texts, return_offsets_mapping=True, return_tensors="pt", padding=True)
                for text, tokens in zip(texts, batch["attention_mask"].sum(1).tolist(), strict=True):
                    if tokens > self.limit:  # more than there are positions: on a GPU, an error that ends the process
                        raise ValueError(brief(f"{tokens} tokens are more than this model's {self.limit}: {text!r}"))
                inputs = (batch["input_ids"].to(self.device), batch["attention_mask"].to(self.device))
                tags = self.net(*inputs, tokens=torch.zeros_like(inputs[0], dtype=torch.bool)).detection.argmax(-1)
                for text, ids, offsets, row in zip(
                    texts, batch["input_ids"].tolist(), batch["offset_mapping"].tolist(), tags.tolist(), strict=True
                ):
                    detected.append(Statement(text, self._mentions(ids, offsets, row), 0))
        return detected

    def _mentions(self, ids: list[int], offsets: list[list[int]], tags: list[int]) -> tuple[tuple[int, int, int], ...]:
        spans: list[list[int]] = []
        running = False
        for token, (start, stop), tag in zip(ids, offsets, tags, strict=True):
            masked = token == self.tokenizer.mask_token_id
            if start == stop or (tag == 0 and not masked):  # a special token, or outside
                running = False
            elif running and tag == 2 and not masked:
                spans[-1][1] = stop
            else:
                spans.append([start, stop])
                running = not masked
        return tuple((start, stop, -1) for start, stop in spans)

    def read(self, statements: Sequence[str]) -> list[Statement]:
        """The statements with their mentions: the longest entity names in them or, in a statement without any, those
        that the model detects. Raises ValueError as `detect` does."""
        read = self.detect(statements)
        for i, text in enumerate(statements):
            found = self._finder.all(text.replace(MASK, OUTSIDE))
            if found:
                at = text.index(MASK)
                mentions = [(start, stop, self.names.find(name)) for name, start, stop in found]
                read[i] = Statement(text, tuple(sorted([*mentions, (at, at + len(MASK), -1)])), 0)
        return read

    def answers(
        self, statements: Sequence[str], objects: Sequence[str] = (), k: int = 5
    ) -> list[list[tuple[str, float]]]:
        """The k most probable entities for each statement, as (name, probability), best first. `read` finds the
        mentions; `objects` is not needed, as an object is one mask."""
        examples = encode_mentions(self.tokenizer, self.read(statements), range(len(statements)), self.limit)
        answers: list[list[tuple[str, float]]] = [[] for _ in statements]
        for positions, logits, _ in self.logits(examples):
            top, ids = logits.float().softmax(-1).topk(min(k, logits.shape[-1]))
            for position, values, entities in zip(positions.tolist(), top.tolist(), ids.tolist(), strict=True):
                answers[position] = [(self.names.entities[e], p) for e, p in zip(entities, values, strict=True)]
        return answers

    def asked(self, statements: Sequence[str], objects: Sequence[str]) -> MentionExamples:
        read = self.read(statements)
        about = [replace(text, asked=self.names.entity(name)) for text, name in zip(read, objects, strict=True)]
        return encode_mentions(self.tokenizer, about, range(len(statements)), self.limit)

    def text_of(self, pieces: Sequence[int]) -> str:
        (entity,) = pieces
        return self.names.entities[entity]

    def unwritable(self, names: Iterable[str]) -> set[str]:
        return {name for name in names if self.names.find(name) < 0}

    def retrieved(self, statement: str) -> list[tuple[str, float]]:
        return [(str(row), row.weight) for row in explain(self, statement).rows]

    def written(self, name: str) -> str:
        """`name` as this model gives it in its answers. Raises ValueError if it is no entity of the memory."""
        return self.names.entities[self.names.entity(name)]

    def _texts(self) -> Texts:
        names = self.names
        lists = [names.entities, names.relations]
        return {**super()._texts(), "names": ((names,), lambda: json.dumps([list(each) for each in lists]))}

    def set_facts(self, facts: Iterable[Fact]) -> None:
        """Write the fact memory anew, **in place**: a row for each subject and relation of `facts`.

        Raises ValueError, before anything is written, for a name that the model does not have, a fact that repeats, or
        more facts than there is room for.
        """
        buffers = tensors(self.net.fact_memory)
        rows = Rows.empty(self.names, *buffers["tails"].shape)
        for fact in facts:
            rows.add(fact.subject, fact.relation, fact.object)
        for name, buffer in buffers.items():
            buffer.copy_(getattr(rows, name))

    def _write(self, folder: Path) -> None:
        """Write a Hugging Face folder (config, safetensors, tokeniser) with the names in entities.json."""
        super()._write(folder)
        names = {"entities": list(self.names.entities), "relations": list(self.names.relations)}
        (folder / NAMES).write_text(json.dumps(names, ensure_ascii=False), "utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> FaE:
        """Read a folder that `save` wrote. Raises OSError if it is none."""
        from transformers import AutoTokenizer

        folder = user_path(folder)
        if not (folder / NAMES).is_file():
            raise OSError(f"{folder} holds no FaE ({NAMES} is missing)")
        names = json.loads((folder / NAMES).read_text("utf-8"))
        net = FaEForMaskedLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return cls(net.eval(), tokenizer, Names(tuple(names["entities"]), tuple(names["relations"])))


def build_fae(
    start: str | MaskedLM,
    facts: FactBase,
    *,
    seed: int = 0,
    vocab_size: int = 16_384,
    names: Names | None = None,
    spare: float = 0.25,
    **settings,
) -> FaE:
    """A FaE with a row in its fact memory for each subject and relation of `facts`, and weights yet to be trained.

    Args:
        start: nano, mini or base (random weights from `seed`, a vocabulary built from `facts`); or a plain BERT as
            `load_model` gives it, whose weights, not changed, are the start.
        names: the entities and relations; those of `facts`, if None. With more of them, facts about them can be added.
        spare: free rows of the fact memory, as a share of the used ones (64 at the least).
        settings: of `FaEConfig`.

    Raises ValueError for an unknown preset or an entity of `facts` that `names` lacks.
    """
    if isinstance(start, str):
        if start not in ENTITY_SIZE:
            raise ValueError(brief(f"no preset {start!r} of FaE; known: {', '.join(ENTITY_SIZE)}"))
        tokenizer = build_tokenizer(facts, vocab_size)
        bert, entity_size = build_net(start, len(tokenizer), seed), ENTITY_SIZE[start]
    else:
        tokenizer, bert = start.tokenizer, start.net
        entity_size = max(64, bert.config.hidden_size // 3)
    names = names or Names.of(facts)
    pairs = Counter((names.entity(fact.subject), fact.relation) for fact in facts)
    settings = {
        "entity_size": entity_size,
        "entities": len(names.entities),
        "relations": len(names.relations),
        "fact_capacity": len(pairs) + max(64, round(spare * len(pairs))),
        "tail_width": max([4, *pairs.values()]),
    } | settings
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FaE(FaEForMaskedLM.from_bert(bert, **settings).eval(), tokenizer, names)
    model.set_facts(facts)
    return model
