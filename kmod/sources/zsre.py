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
from .lines import fault
from .read import asked_in, data_file, draw, find, json_lines, local_folder, need, part_of, text_of, usable

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
Edited = tuple[str, str, list[str], str, str]  # subject, relation, questions, true answer, new answer
Asked = dict[str, list[tuple[str, object]]]  # "portability" or "locality" → questions with their answers


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
    for where, row in json_lines(path, "input", "output", "meta"):
        need(meta := part_of(row, "meta", dict, where), ("template_questions",), f"{where}, meta")
        subject, separator, relation = text_of(row, "input", where).partition(" [SEP] ")
        if not separator:
            raise fault(where, f"the input {row['input']!r} is not 'subject [SEP] relation'")
        outputs = (each for each in part_of(row, "output", list, where) if isinstance(each, dict))
        answer = next((output["answer"] for output in outputs if output.get("answer")), None)
        yield subject.strip(), relation.strip(), answer, part_of(meta, "template_questions", list, where), []


def _published(folder: str | Path | None) -> Iterator[tuple[str, dict]]:
    """The answerable rows of the published questions."""
    fields = ("subject", "relation", "question", "question_template", "answer", "answerable", "context")
    for where, row in json_lines(data_file(folder, CONTEXT), *fields):
        if row["answerable"]:
            yield where, row


def _stand_in(folder: str | Path | None) -> Iterator[Row]:
    """The facts of the published questions and of the edit sets."""
    for where, row in _published(folder):
        context, answer = text_of(row, "context", where), text_of(row, "answer", where)
        once = context.count(answer) == 1 and MASK not in context
        masked = [context.replace(answer, MASK)] if once else []
        yield row["subject"], row["relation"], answer, [row["question"]], masked
    for subject, relation, questions, answer, _ in edit_rows(folder, *EDITS):
        yield subject, relation, answer, questions, []


def edit_rows(folder: str | Path | None, *names: str) -> Iterator[Edited]:
    """(subject, relation, questions, true answer, new answer) of each edit of the published sets `names`."""
    return (edit for edit, _, _ in _edits(folder, *names))


def probe_rows(folder: str | Path | None, name: str) -> Iterator[tuple[str, str, str, str, Asked]]:
    """(subject, relation, true answer, new answer, what else is asked) of each edit of a published set."""
    for (subject, relation, _, true, new), where, row in _edits(folder, name):
        if name == "mend":
            need(row, ("portability", "loc", "loc_ans"), where)
            one = part_of(row, "portability", dict, where)
            need(one, ("New Question", "New Answer"), f"{where}, portability")
            probes = {"portability": [(one["New Question"], one["New Answer"])]}
            probes["locality"] = [(row["loc"], row["loc_ans"])]
        else:
            probes = {kind: asked_in(row, kind, where) for kind in ("portability", "locality")}
        yield subject, relation, true, new, probes


def _edits(folder: str | Path | None, *names: str) -> Iterator[tuple[Edited, str, dict]]:
    """Each edit of the published sets `names`, as `edit_rows` has it, with its file and line, and its row.

    The sets do not name relations. The form of a question is the question without its subject. Its relation is the one
    that the form has most often among the published questions; a form that is not there is its own relation.
    """
    forms: dict[str, Counter[str]] = {}
    for where, row in _published(folder):
        if row["relation"]:
            form = text_of(row, "question_template", where)
            forms.setdefault(form, Counter())[text_of(row, "relation", where)] += 1
    for name in names:
        file, (prompt, true, rephrased, new) = EDITS[name]
        for where, row in json_lines(data_file(folder, file), "subject", prompt, true, rephrased, new):
            subject, question = text_of(row, "subject", where), text_of(row, prompt, where)
            form = question.replace(subject, SUBJECT)
            relation = forms[form].most_common(1)[0][0] if form in forms else form.replace(SUBJECT, "…")
            rephrasings = row[rephrased] if isinstance(row[rephrased], list) else [row[rephrased]]
            answer = next(iter(row[true]), None) if isinstance(row[true], list) else row[true]
            yield (subject, relation, [question, *rephrasings], answer, text_of(row, new, where)), where, row
