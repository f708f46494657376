"""CounterFact (Meng et al. 2022): facts with a prompt that the object completes, and two rephrased prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..facts import MASK, SUBJECT, Fact, FactBase, Relation
from .read import data_file, json_lines, json_list, need, usable

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
        for row in json_lines(path, *FIELDS):
            relation = row["prompt"].replace(row["subject"], "…").strip()
            subject, prompt, obj, rephrased, new = (row[field] for field in FIELDS)
            yield subject, relation, obj, prompt, rephrased, new, [each["prompt"] for each in row.get("locality", ())]
        return
    for where, record in json_list(path, "requested_rewrite", "paraphrase_prompts"):
        edit = record["requested_rewrite"]
        need(edit, ("prompt", "subject", "relation_id", "target_true", "target_new"), where)
        for target in ("target_true", "target_new"):
            need(edit[target], ("str",), f"{where}, {target}")
        prompt = edit["prompt"].replace("{}", edit["subject"])
        new, true = edit["target_new"]["str"], edit["target_true"]["str"]
        near = record.get("neighborhood_prompts", [])
        yield edit["subject"], edit["relation_id"], true, prompt, record["paraphrase_prompts"], new, near
