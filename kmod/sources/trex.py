"""T-REx as LAMA gives it (Petroni et al. 2019): Wikidata facts with the Wikipedia sentences that state them.

The evidences of a fact are its sentences with the object masked; its test is the relation's template. The paper uses
34,039 facts of 41 relations, with some 1.28 million sentences (paper, section 3). LAMA has the licence CC BY-NC 4.0, so
the package contains nothing of it: it is read from a folder, or downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from ..checks import brief, check_whole
from ..facts import MASK, Fact, FactBase, Relation, fill
from ..files import cache_dir
from ..names import normal
from .cells import text
from .lines import fault
from .read import data_file, draw, find, json_lines, local_folder, need, part_of, text_of, texts_of, usable

URL = "https://dl.fbaipublicfiles.com/LAMA/data.zip"
HUB = "facebook/lama"
COMPACT, RELATIONS = "trex_facts.jsonl", ("trex_relations.jsonl", "relations.jsonl")

Row = tuple[str, str, str, list[str]]  # subject, relation, object, masked sentences
Templates = Mapping[str, tuple[str, str]]  # relation: label, template


def trex(
    folder: str | Path | None = None,
    *,
    evidences_per_fact: int | None = None,
    seed: int = 0,
    relations: Iterable[str] | None = None,
    pararel: str | None = None,
    questions: bool = False,
) -> FactBase:
    """The T-REx facts that have sentences to learn from.

    They are read from `folder` or $KMOD_DATA, or else from the hub's Parquet of LAMA (needs `datasets`), or else from
    LAMA's archive. A folder holds either LAMA's relations.jsonl and TREx/P*.jsonl, or trex_relations.jsonl and
    trex_facts.jsonl, which has a fact with its relation on each line. Each file may be gzipped.

    Facts with the same names are merged, also where Wikidata distinguishes them: a masked statement cannot. Sentences
    that repeat, or that do not have exactly one [MASK], are left out. So are facts without sentences, which a model
    could not learn. The `notes` of the result count all this.

    Args:
        evidences_per_fact: keep at most this many sentences of a fact (some have thousands), drawn from `seed` and the
            fact; None keeps all.
        relations: Wikidata ids to keep; None keeps all.
        pararel: "tests" adds ParaRel's phrasings (Elazar et al. 2021) to the tests; "evidences" adds them to the
            evidences, except those that differ from the template in spaces alone. They are read from
            pararel_patterns.jsonl in the folder.
        questions: add the question of EntityQuestions (Sciavolino et al. 2021) to the tests of each fact that has one.
            They are read from entity_questions.jsonl in the folder.

    Raises ValueError for an unknown relation or one without a template, for damaged files, and if no fact has a
    sentence. Raises ConnectionError, which says where T-REx was looked for, if it is not found.
    """
    if evidences_per_fact is not None:
        evidences_per_fact = check_whole("evidences_per_fact", evidences_per_fact)
    if pararel not in (None, "tests", "evidences"):
        raise ValueError(brief(f'pararel is "tests", "evidences" or None, got {pararel!r}'))
    where, rows, templates = _place(folder)
    patterns = _pararel(folder) if pararel else {}
    entity_questions = _questions(folder) if questions else {}
    wanted = set(templates if relations is None else [relations] if isinstance(relations, str) else relations)
    if unknown := sorted(wanted - set(templates)):
        raise ValueError(brief(f"unknown T-REx relation {unknown[0]!r}; known: {', '.join(templates)}"))

    merged: dict[tuple[str, str, str], tuple[str, str, str, dict[str, None]]] = {}
    read = learnable = sentences = malformed = unusable = tested = 0
    for subject, relation, obj, masked in rows:
        if relation not in templates or not templates[relation][1]:
            raise ValueError(
                brief(
                    f"relation {relation} of ({subject}, {obj}) has no template in {where}; known: "
                    f"{', '.join(templates)}"
                )
            )
        if relation not in wanted:
            continue
        read += 1
        learnable += bool(masked)
        sentences += len(masked)
        if not usable(subject, obj):
            unusable += 1
            malformed += len(masked)
            continue
        wellformed = [sentence for sentence in masked if sentence.count(MASK) == 1]
        malformed += len(masked) - len(wellformed)
        key = (normal(subject), relation, normal(obj))
        merged.setdefault(key, (subject, relation, obj, {}))[3].update(dict.fromkeys(wellformed))

    further = {r: _others(templates[r][1], patterns.get(r, ())) for r in wanted}
    tests = {r: (templates[r][1], *(further[r] if pararel == "tests" else ())) for r in sorted(wanted)}
    facts, distinct, with_question = [], 0, 0
    for subject, relation, obj, own_sentences in merged.values():
        distinct += len(own_sentences)
        examined = [fill(phrasing, subject) for phrasing in tests[relation]]
        if question := _question(entity_questions, subject, relation, obj):
            examined.append(f"{question} {MASK}")
        evidences = [sentence for sentence in own_sentences if sentence not in examined]
        tested += len(own_sentences) - len(evidences)
        if evidences_per_fact is not None and len(evidences) > evidences_per_fact:
            evidences = draw(evidences, evidences_per_fact, seed, subject, relation, obj)
        if pararel == "evidences":
            evidences = list(dict.fromkeys((*evidences, *(fill(pattern, subject) for pattern in further[relation]))))
        if evidences:
            with_question += question is not None
            facts.append(Fact(subject, relation, obj, tuple(evidences), tuple(examined) if question else ()))
    present = {fact.relation for fact in facts}
    notes = [
        f"{read:,} facts of {len({r for _, r, _ in merged})} relations read from {where}, {learnable:,} with "
        f"sentences; {read - unusable - len(merged):,} that read like another are merged with it, and "
        f"{unusable + len(merged) - len(facts):,} left out that have nothing to be learnt from",
        f"{sentences:,} sentences; left out: {malformed:,} without exactly one {MASK}, "
        f"{sentences - malformed - distinct:,} that repeat, {tested:,} that are a test",
    ]
    if evidences_per_fact is not None:
        notes.append(f"at most {evidences_per_fact} sentences a fact, drawn by seed {seed}")
    if pararel:
        notes.append(f"ParaRel's phrasings are {pararel}, for {sum(r in patterns for r in present)} relations")
    if questions:
        notes.append(f"{with_question:,} facts have a question of EntityQuestions among their tests")
    if not facts:
        raise ValueError(f"no T-REx facts to learn: {notes[0]}")
    known = {r: Relation(r, templates[r][0], (), tests[r]) for r in tests if r in present}
    return FactBase(facts, known, "trex", notes=notes)


def _place(folder: str | Path | None) -> tuple[str, Iterator[Row], Templates]:
    """(a description of where T-REx was found, its rows, its relations)."""
    local = local_folder(folder)
    if local and (in_folder := _local(local)):
        return in_folder
    looked = f"{local} holds neither {COMPACT} (.gz) nor LAMA's TREx/P*.jsonl, with {' or '.join(RELATIONS)}"
    if folder:
        raise FileNotFoundError(looked)
    tried = [looked if local else "neither folder= nor $KMOD_DATA is given"]
    try:
        return _hub()
    except (OSError, ImportError, ValueError, RuntimeError) as error:  # `datasets` raises all these for "not there"
        tried.append(f"the hub: {' '.join(str(error).split())}")
    try:
        return _archive()
    except ConnectionError as error:
        raise ConnectionError(brief(f"no T-REx: {'; '.join(tried)}; {error}")) from None


def _local(folder: Path) -> tuple[str, Iterator[Row], Templates] | None:
    described, compact = find(folder, *RELATIONS), find(folder, COMPACT)
    files = sorted((folder / "TREx").glob("P*.jsonl*"))
    if described is None or not (files or compact):
        return None
    templates = {
        text_of(row, "relation", where): (
            row.get("label") or row["relation"],
            row["template"] and text_of(row, "template", where),
        )
        for where, row in json_lines(described, "relation", "template")
    }
    if files:
        return "a folder of LAMA's files", _rows(files, "predicate_id"), templates
    return "a folder of compact files", _rows([compact], "relation"), templates


def _rows(files: Iterable[Path], relation: str) -> Iterator[Row]:
    for file in files:
        for where, row in json_lines(file, "sub_label", "obj_label", relation, "evidences"):
            evidences = part_of(row, "evidences", list, where) if row["evidences"] is not None else []
            try:
                masked = [text(each.get("masked_sentence") or "", "masked_sentence") for each in evidences]
            except (AttributeError, ValueError):
                raise fault(where, "'evidences' is a list of objects with a masked_sentence, which is text") from None
            yield row["sub_label"], text_of(row, relation, where), row["obj_label"], masked


def _hub() -> tuple[str, Iterator[Row], Templates]:
    """LAMA's Parquet on the Hugging Face hub, a sentence a row: `datasets` no longer runs LAMA's loading script."""
    from datasets import load_dataset

    table = load_dataset(HUB, "trex", split="train", revision="refs/convert/parquet")
    fields = ("uuid", "sub_label", "predicate_id", "obj_label", "masked_sentence")
    described = ("predicate_id", "label", "template")
    need(table.column_names, (*fields, *described), f"{HUB} on the hub")
    groups = table.with_format("arrow").select_columns(list(described))[:].group_by(list(described)).aggregate([])
    templates = {row["predicate_id"]: (row["label"], row["template"]) for row in groups.to_pylist()}
    return "the Hugging Face hub", _by_fact(table.with_format("arrow").select_columns(list(fields)), fields), templates


def _by_fact(table, fields: tuple[str, ...]) -> Iterator[Row]:
    columns = ([batch[field].to_pylist() for field in fields] for batch in table.iter(batch_size=10_000))
    rows = (row for batch in columns for row in zip(*batch, strict=True))
    for (_, subject, relation, obj), group in groupby(rows, key=lambda row: row[:4]):
        yield subject, relation, obj, [row[4] for row in group]


def _archive() -> tuple[str, Iterator[Row], Templates]:
    from .download import download, unzip

    def wanted(name: str) -> bool:
        return name == "data/relations.jsonl" or (name.startswith("data/TREx/P") and name.endswith(".jsonl"))

    archive = download(URL, cache_dir() / "sources" / "lama")
    unpacked = _local(unzip(archive, archive.with_name("trex"), wanted) / "data")
    if unpacked is None:
        raise ValueError(f"{archive} holds no T-REx; delete it to download it again")
    return "LAMA's archive", *unpacked[1:]


def _pararel(folder: str | Path | None) -> dict[str, list[str]]:
    """ParaRel's phrasings of each relation, in its order."""
    patterns: dict[str, list[str]] = {}
    for where, row in json_lines(data_file(folder, "pararel_patterns.jsonl"), "relation", "pattern"):
        patterns.setdefault(text_of(row, "relation", where), []).append(text_of(row, "pattern", where))
    return patterns


def _others(template: str, patterns: Iterable[str]) -> list[str]:
    """The phrasings that differ from `template`, and from one another, in more than spaces and case."""
    phrasings: dict[str, str] = {}
    for phrasing in (template, *patterns):
        phrasings.setdefault("".join(phrasing.split()).casefold(), phrasing)
    return list(phrasings.values())[1:]


def _questions(folder: str | Path | None) -> dict[tuple[str, str], list[tuple[str, set[str]]]]:
    """EntityQuestions by (subject, relation): each question with its answers."""
    questions: dict[tuple[str, str], list[tuple[str, set[str]]]] = {}
    path = data_file(folder, "entity_questions.jsonl")
    for where, row in json_lines(path, "relation", "subject", "question", "answers"):
        answers = {normal(answer) for answer in texts_of(row, "answers", where)}
        subject, relation, question = (text_of(row, field, where) for field in ("subject", "relation", "question"))
        questions.setdefault((normal(subject), relation), []).append((question, answers))
    return questions


def _question(questions: Mapping, subject: str, relation: str, obj: str) -> str | None:
    candidates = questions.get((normal(subject), relation), ())
    return next((question for question, answers in candidates if normal(obj) in answers), None)
