"""CounterFact (Meng et al. 2022): facts with a prompt that the object completes, and two rephrased prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..facts import MASK, SUBJECT, Fact, FactBase, Relation
from .read import asked_in, data_file, json_lines, json_list, need, part_of, text_of, texts_of, usable

FILES = ("counterfact.json", "counterfact_500.jsonl")
FIELDS = ("subject", "prompt", "ground_truth", "rephrase_prompt", "target_new")

# subject, relation, object, prompt, rephrased prompts, new object, prompts of neighbours (which share the object)
Row = tuple[str, str, str, str, list[str], str, list[str]]


def counterfact(folder: str | Path | None = None) -> FactBase:
    """CounterFact's facts: learnt from the prompt as a masked statement, examined by the rephrased prompts.

    They are read from counterfact.json as released, or from counterfact_500.jsonl, in `folder` or $KMOD_DATA; either
    may be gzipped. The latter is a selection that does not name relations: there the prompt without its subject is the
    relation.

    Raises ValueError for damaged files, FileNotFoundError if neither file is there.
    """
    facts, read, name = [], 0, data_file(folder, *FILES).name
    for subject, relation, obj, prompt, rephrased, *_ in records(folder):
        read += 1
        tests = tuple(dict.fromkeys(cloze(text) for text in rephrased if text.strip() != prompt.strip()))
        if usable(subject, relation.replace(SUBJECT, ""), obj) and tests:
            facts.append(Fact(subject, relation, obj, (cloze(prompt),), tests))
    relations = {fact.relation: Relation(fact.relation, fact.relation) for fact in facts}
    note = f"{read:,} rows read from {name}; {read - len(facts):,} without subject, object or rephrased prompt left out"
    return FactBase(facts, relations, "counterfact", notes=[note])


def cloze(prompt: str) -> str:
    """A prompt, which the object completes, as a masked statement."""
    return f"{prompt.strip()} {MASK}."


def records(folder: str | Path | None) -> Iterator[Row]:
    """The records of CounterFact with their new objects."""
    path = data_file(folder, *FILES)
    if ".jsonl" in path.name:
        for where, row in json_lines(path, *FIELDS):
            subject, prompt, new = (text_of(row, field, where) for field in ("subject", "prompt", "target_new"))
            relation, rephrased = prompt.replace(subject, "…").strip(), texts_of(row, "rephrase_prompt", where)
            near = [text for text, _ in asked_in(row, "locality", where)]
            yield subject, relation, row["ground_truth"], prompt, rephrased, new, near
        return
    for where, record in json_list(path, "requested_rewrite", "paraphrase_prompts"):
        edit = part_of(record, "requested_rewrite", dict, where)
        need(edit, ("prompt", "subject", "relation_id", "target_true", "target_new"), where)
        for target in ("target_true", "target_new"):
            need(part_of(edit, target, dict, where), ("str",), f"{where}, {target}")
        subject, relation, prompt = (text_of(edit, field, where) for field in ("subject", "relation_id", "prompt"))
        true, new = (text_of(edit[target], "str", f"{where}, {target}") for target in ("target_true", "target_new"))
        rephrased = texts_of(record, "paraphrase_prompts", where)
        near = texts_of({"neighborhood_prompts": []} | record, "neighborhood_prompts", where)
        yield subject, relation, true, prompt.replace("{}", subject), rephrased, new, near
