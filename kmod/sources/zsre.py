"""zsRE (Levy et al. 2017): facts with questions, split into evidences and tests.

The paper takes KILT's training file (Petroni et al. 2021; 147,909 lines). A fact's only question is an evidence; of two
questions, one is an evidence and one a test; of three or more, two are tests (paper, section 3). A masked statement is
the question followed by [MASK], which stands for the whole answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..facts import MASK, SUBJECT, Fact, FactBase, Relation
from ..files import cache_dir
from ..names import normal
from .read import data_file, draw, find, json_lines, local_folder, need, usable

URL = "https://dl.fbaipublicfiles.com/KILT/structured_zeroshot-train-kilt.jsonl"
# From kilt_tasks/dataset_infos.json of Hugging Face datasets, for a file of 71,444,475 bytes.
SHA256 = "f666359fa2b23e75d700bd1f25efd12d3bf981b1be70d8ad2d268d67e9bb3a5d"
KILT = "structured_zeroshot-train-kilt.jsonl"
CONTEXT = "zsre_qa_context.jsonl"
EDITS = {  # the three published edit sets: file, and its fields for (question, true answer, rephrased, new answer)
    "knowedit": ("zsre_edit_knowedit.jsonl", ("prompt", "ground_truth", "rephrase_prompt", "target_new")),
    "mend": ("zsre_edit_mend_portability.jsonl", ("src", "answers", "rephrase", "alt")),
    "ke": ("zsre_edit_ke500.jsonl", ("prompt", "ground_truth", "rephrase_prompt", "target_new")),
}

Row = tuple[str, str, str, list[str], list[str]]  # subject, relation, answer, questions, masked sentences
Asked = dict[str, list[tuple[str, str]]]  # "portability" or "locality" → questions with their answers


def zsre(folder: str | Path | None = None, *, seed: int = 0, sentences: bool = False) -> FactBase:
    """zsRE's facts. Those with one question are learnt, but have no tests and are never drawn into S.

    They are read from KILT's training file in `folder` or $KMOD_DATA. If it is not there, they are read from a smaller
    stand-in, as `notes` says: published questions with sentences (zsre_qa_context.jsonl) and edit sets
    (zsre_edit_*.jsonl). If `folder` is not given and $KMOD_DATA has neither, KILT's file is downloaded.

    Answers have several word pieces: `kmod.sources.writable(base, tokenizer, 20)` keeps those of at most 20.

    Args:
        seed: of the split of the questions. The split of a fact depends only on the seed and the fact.
        sentences: with the stand-in, also learn the Wikipedia sentences that contain the answer once.

    Raises ValueError for damaged files, FileNotFoundError or ConnectionError if zsRE is not found.
    """
    path = data_file(folder, KILT, CONTEXT) if folder else find(local_folder(None), KILT, CONTEXT)
    if path is None:
        from .download import download

        path = download(URL, cache_dir() / "sources" / "kilt", sha256=SHA256)
    if path.name.startswith(CONTEXT):
        return stand_in(folder, seed, sentences)
    return _base(_kilt(path), "KILT's training file", seed, False)


def stand_in(folder: str | Path | None, seed: int = 0, sentences: bool = False) -> FactBase:
    """The smaller zsRE of published questions and edit sets; see `zsre`."""
    where = "a smaller stand-in for KILT's training file: released questions with sentences, and edit sets"
    return _base(_stand_in(folder), where, seed, sentences)


def _base(rows: Iterator[Row], where: str, seed: int, sentences: bool) -> FactBase:
    merged: dict[tuple[str, str, str], tuple[str, str, str, dict[str, None], dict[str, None]]] = {}
    read = unusable = 0
    for subject, relation, answer, questions, masked in rows:
        read += 1
        questions = [question for question in questions if isinstance(question, str) and MASK not in question]
        if not usable(subject, relation, answer) or not questions:
            unusable += 1
            continue
        key = (normal(subject), relation, normal(answer))
        *_, all_questions, all_masked = merged.setdefault(key, (subject, relation, answer, {}, {}))
        all_questions.update(dict.fromkeys(question.strip() for question in questions))
        all_masked.update(dict.fromkeys(masked))
    facts = []
    for subject, relation, answer, questions, masked in merged.values():
        learnt, examined = split(list(questions), seed, subject, relation, answer)
        evidences = [f"{question} {MASK}" for question in learnt] + (list(masked) if sentences else [])
        tests = [f"{question} {MASK}" for question in examined]
        facts.append(Fact(subject, relation, answer, tuple(evidences), tuple(tests)))
    if not facts:
        raise ValueError(f"no facts in {where}: {read:,} rows read, {unusable:,} without subject, answer or question")
    untested = sum(not fact.tests for fact in facts)
    notes = [
        f"{read:,} rows read from {where}; {unusable:,} without subject, answer or question left out, "
        f"{read - unusable - len(merged):,} merged with the same fact",
        f"questions split by seed {seed}; {untested:,} facts with one question are learnt and never examined",
    ]
    relations = {fact.relation: Relation(fact.relation, fact.relation) for fact in facts}
    return FactBase(facts, relations, "zsre", untested=True, notes=notes)


def split(questions: list[str], seed: int, *fact: str) -> tuple[list[str], list[str]]:
    """The paper's split of a fact's questions: (those to learn from, those to be examined by)."""
    examined = draw(questions, min(len(questions) - 1, 2), "zsre", seed, *fact)
    return [question for question in questions if question not in examined], examined


def _kilt(path: Path) -> Iterator[Row]:
    for row in json_lines(path, "input", "output", "meta"):
        where = f"{path}, {row.get('id', row['input'])!r}"
        need(row["meta"], ("template_questions",), f"{where}, meta")
        subject, separator, relation = row["input"].partition(" [SEP] ")
        if not separator:
            raise ValueError(f"{where}: the input is not 'subject [SEP] relation'")
        answer = next((output["answer"] for output in row["output"] if output.get("answer")), None)
        yield subject.strip(), relation.strip(), answer, row["meta"]["template_questions"], []


def _stand_in(folder: str | Path | None) -> Iterator[Row]:
    """The facts of the published questions and of the edit sets.

    The edit sets do not name relations. The form of a question is the question without its subject. Its relation is the
    one that the form has most often among the published questions; a form that is not there is its own relation.
    """
    forms: dict[str, Counter[str]] = {}
    fields = ("subject", "relation", "question", "question_template", "answer", "answerable", "context")
    for row in json_lines(data_file(folder, CONTEXT), *fields):
        if not row["answerable"]:
            continue
        if row["relation"]:
            forms.setdefault(row["question_template"], Counter())[row["relation"]] += 1
        once = row["context"].count(row["answer"]) == 1 and MASK not in row["context"]
        masked = [row["context"].replace(row["answer"], MASK)] if once else []
        yield row["subject"], row["relation"], row["answer"], [row["question"]], masked
    for name in EDITS:
        for subject, questions, answer, _ in edit_rows(folder, name):
            form = questions[0].replace(subject, SUBJECT)
            relation = forms[form].most_common(1)[0][0] if form in forms else form.replace(SUBJECT, "…")
            yield subject, relation, answer, questions, []


def edit_rows(folder: str | Path | None, name: str) -> Iterator[tuple[str, list[str], str, str]]:
    """(subject, questions, true answer, new answer) of each edit of a published set."""
    file, (prompt, true, rephrased, new) = EDITS[name]
    for row in json_lines(data_file(folder, file), "subject", prompt, true, rephrased, new):
        rephrasings = row[rephrased] if isinstance(row[rephrased], list) else [row[rephrased]]
        answer = row[true][0] if isinstance(row[true], list) else row[true]
        yield row["subject"], [row[prompt], *rephrasings], answer, row[new]


def probe_rows(folder: str | Path | None, name: str) -> Iterator[tuple[str, str, str, Asked]]:
    """(subject, true answer, new answer, what else is asked) of each edit of a published set."""
    file, (_, true, _, new) = EDITS[name]
    for row in json_lines(data_file(folder, file), "subject", true, new):
        if name == "mend":
            need(row, ("portability", "loc", "loc_ans"), f"{file}, {row['subject']!r}")
            asked = [(row["portability"]["New Question"], row["portability"]["New Answer"])]
            probes = {"portability": asked, "locality": [(row["loc"], row["loc_ans"])]}
        else:
            probes = {kind: list(_probes(row.get(kind))) for kind in ("portability", "locality")}
        answer = row[true][0] if isinstance(row[true], list) else row[true]
        yield row["subject"], answer, row[new], probes


def _probes(value: object) -> Iterator[tuple[object, object]]:
    """The questions of a list, or of a dictionary of lists; of several answers the first."""
    lists = value.values() if isinstance(value, dict) else [value or []]
    for row in (row for rows in lists for row in rows):
        answer = row.get("ground_truth")
        while isinstance(answer, list):
            answer = answer[0] if answer else ""
        yield row.get("prompt"), answer
