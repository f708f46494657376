"""What went into a FaE's answer: the facts that it retrieved, their weights, and the answer without them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..checks import brief
from ..models.door import check_model
from ..models.language_model import evaluating
from ..models.masked_lm import MaskedLM
from .memory import spans_of
from .statements import Statement, encode_mentions, place


@dataclass(frozen=True)
class Recalled:
    """A row of the fact memory and its weight in the answer; `subject` is None for the null row."""

    subject: str | None
    relation: str | None
    objects: tuple[str, ...]
    weight: float

    def __str__(self) -> str:
        return "(no fact)" if self.subject is None else f"{self.subject} · {self.relation} · {', '.join(self.objects)}"


Ranked = list[tuple[str, float]]


@dataclass(frozen=True)
class Explanation:
    """What went into an answer. Rankings are (name, probability), best first."""

    statement: str
    mentions: tuple[tuple[str, str], ...]  # (text, the entity that the model takes it for)
    rows: tuple[Recalled, ...]  # the null row among them, the heaviest first
    lam: float  # λ: the weight not on the null row
    answers: Ranked
    without_facts: Ranked  # from the context alone: λ = 0

    def frame(self):
        """The rows as a pandas frame: fact, weight."""
        import pandas as pd

        return pd.DataFrame([{"fact": str(row), "weight": row.weight} for row in self.rows])

    def __str__(self) -> str:
        lines = [self.statement]
        lines += [f"  {text!r} is taken for {entity}" for text, entity in self.mentions]
        lines += [f"  {100 * row.weight:5.1f} %  {row}" for row in self.rows]
        lines.append(f"  λ = {self.lam:.3f}")
        lines.append("  with the facts:    " + ", ".join(f"{name} {100 * p:.1f} %" for name, p in self.answers))
        lines.append("  without the facts: " + ", ".join(f"{name} {100 * p:.1f} %" for name, p in self.without_facts))
        return "\n".join(lines)


@torch.no_grad()
def explain(model: MaskedLM, statement: str, subject: str | None = None, k: int = 5) -> Explanation:
    """What `model`, a FaE, retrieves for a statement with one [MASK], and what it answers with and without it.

    Args:
        subject: the mention besides the [MASK], as it stands in the statement; those that `FaE.read` finds if None.
        k: how many rows and answers to list.

    Raises ValueError for a statement without exactly one [MASK], or a subject that does not stand in it.
    """
    check_model(model, family="FaE")
    asked = model.read([statement])[0]
    if subject is not None:
        if (span := place(statement, subject)) is None:
            raise ValueError(brief(f"{subject!r} does not stand in {statement!r}"))
        mask = statement.index("[MASK]")
        asked = Statement(statement, tuple(sorted([(mask, mask + len("[MASK]"), -1), (*span, -1)])), 0)
    examples = encode_mentions(model.tokenizer, [asked], [0], model.limit)
    batch = examples.collate(examples.owner, model.device)
    net, names, spans = model.net, model.names, batch.slots.spans
    memory = net.memory()
    with evaluating(model):
        encoded = net.encode(batch.input_ids, batch.attention_mask, spans, memory, net.config.entity_top)
        at = spans_of(encoded.hidden, spans)
        answers, context, retrieved = net.answer(at[batch.slots.asked], memory, net.config.fact_top)
        linked = (net.linking(at) @ memory.entities.T).argmax(-1).tolist()

    def ranked(logits) -> Ranked:
        values, ids = logits[0].softmax(-1).topk(min(k, logits.shape[-1]))
        return [(names.entities[i], p) for i, p in zip(ids.tolist(), values.tolist(), strict=True)]

    weights = retrieved.log_weights[0].exp().tolist()
    rows = [Recalled(None, None, (), weights[0])]
    for row, weight in zip(retrieved.rows[0].tolist(), weights[1:], strict=True):
        if (entity := int(memory.subjects[row])) >= 0:
            tails = tuple(names.entities[t] for t in memory.tails[row].tolist() if t >= 0)
            rows.append(Recalled(names.entities[entity], names.relations[int(memory.relations[row])], tails, weight))
    return Explanation(
        statement,
        tuple((statement[a:b], names.entities[e]) for (a, b, _), e in zip(asked.mentions, linked, strict=True)),
        tuple(sorted(rows, key=lambda row: -row.weight)[:k]),
        1 - weights[0],
        ranked(answers),
        ranked(context),
    )
