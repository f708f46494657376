"""T-REx from each of its places: small files in their exact layouts, and the real facts where they are at hand.

The hub and the archive are stood in for by a data set and an archive made here: neither is asked.
"""

import gzip
import json
import zipfile

import pytest

import kmod
from kmod.sources import download as downloads
from kmod.sources import trex as load_trex

RELATIONS = [
    {"relation": "P36", "template": "The capital of [X] is [Y] .", "label": "capital", "type": "1-1"},
    {"relation": "P17", "template": "[X] is located in [Y] .", "label": "country", "type": "N-1"},
]
FACTS = [  # relation, subject, object, sentences
    ("P36", "Peru", "Lima", ["[MASK] is the capital of Peru.", "Peru is ruled from [MASK]."]),
    ("P36", "Kenya", "Nairobi", [f"Sentence {i} on [MASK] and Kenya." for i in range(40)]),
    ("P36", "Spain", "Madrid", []),
    ("P17", "Prado", "Spain", ["The Prado is in [MASK].", "The Prado is in [MASK].", "[MASK] has the Prado; [MASK]!"]),
    ("P17", "prado ", "spain", ["The Prado, [MASK].", "Prado is located in [MASK] ."]),
    ("P17", "Cusco", "Peru", ["No mask here."]),
    ("P17", "", "Peru", ["A [MASK]."]),
]
URI = {"obj_uri": "Q1", "sub_uri": "Q2"}


def lama_rows(relation):
    for number, (r, subject, obj, sentences) in enumerate(FACTS):
        if r == relation:
            evidences = [{"sub_surface": subject, "obj_surface": obj, "masked_sentence": s} for s in sentences]
            row = {"uuid": str(number), "sub_label": subject, "predicate_id": r, "obj_label": obj}
            yield row | URI | {"evidences": evidences}


def text_of(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def lama(tmp_path):
    """A folder in the layout of LAMA's archive."""
    folder = tmp_path / "data"
    (folder / "TREx").mkdir(parents=True)
    (folder / "relations.jsonl").write_text(text_of(RELATIONS))
    for relation in ("P36", "P17"):
        (folder / "TREx" / f"{relation}.jsonl").write_text(text_of(lama_rows(relation)))
    return folder


def check(base):
    assert [(fact.subject, fact.object) for fact in base] in (
        [("Prado", "Spain"), ("Peru", "Lima"), ("Kenya", "Nairobi")],
        [("Peru", "Lima"), ("Kenya", "Nairobi"), ("Prado", "Spain")],
    )
    prado, peru = base[base.find("Prado", "P17")], base[base.find("Peru", "P36")]
    assert base.evidences(prado) == ("The Prado is in [MASK].", "The Prado, [MASK].")
    assert base.tests(prado) == ("Prado is located in [MASK] .",)
    assert len(base.evidences(peru)) == 2 and base.relations["P36"].label == "capital"


def test_a_folder_of_lamas_files(lama):
    base = kmod.load_facts("trex", folder=lama)
    check(base)
    assert "7 facts of 2 relations" in base.notes[0] and ", 6 with sentences; 1 that read like" in base.notes[0]
    assert "3 left out that have nothing to be learnt from" in base.notes[0]
    assert base.notes[1].startswith(f"{2 + 40 + 3 + 2 + 1 + 1} sentences; left out: 3 without")
    assert base.notes[1].endswith("1 that repeat, 1 that are a test")


def test_compact_files_and_the_environment(tmp_path, monkeypatch):
    rows = [
        {"relation": r, "sub_label": s, "obj_label": o, "evidences": [{"masked_sentence": text} for text in masked]}
        for r, s, o, masked in FACTS
    ]
    with gzip.open(tmp_path / "trex_facts.jsonl.gz", "wt") as file:
        file.write(text_of(rows))
    (tmp_path / "trex_relations.jsonl").write_text(text_of(RELATIONS))
    monkeypatch.setenv("KMOD_DATA", str(tmp_path))
    check(kmod.load_facts("trex"))


def test_the_hubs_parquet(monkeypatch):
    datasets = pytest.importorskip("datasets")
    described = {row["relation"]: {"label": row["label"], "template": row["template"]} for row in RELATIONS}
    rows = [
        {key: value for key, value in row.items() if key != "evidences"} | evidence | described[row["predicate_id"]]
        for relation in ("P36", "P17")
        for row in lama_rows(relation)
        for evidence in row["evidences"]
    ]
    asked = []

    def load_dataset(name, config, split, revision=None):
        asked.append((name, config, revision))
        if revision is None:
            raise RuntimeError("Dataset scripts are no longer supported, but found lama.py")
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.delenv("KMOD_DATA", raising=False)
    base = kmod.load_facts("trex")
    check(base)
    assert asked == [("facebook/lama", "trex", "refs/convert/parquet")] and "the Hugging Face hub" in base.notes[0]


def test_the_archive_comes_last(lama, tmp_path, monkeypatch):
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in lama.rglob("*.jsonl"):
            file.write(path, path.relative_to(tmp_path))
        file.writestr("data/Squad/test.jsonl", "{}")
    monkeypatch.delenv("KMOD_DATA", raising=False)
    monkeypatch.setattr(downloads, "download", lambda url, folder: archive)
    base = kmod.load_facts("trex")
    check(base)
    assert "LAMA's archive" in base.notes[0] and not list(tmp_path.rglob("Squad"))


def test_nowhere_is_one_line_that_says_where_was_looked(tmp_path, monkeypatch):
    monkeypatch.setenv("KMOD_DATA", str(tmp_path))
    with pytest.raises(ConnectionError, match=r"no T-REx: .* holds neither .* forbids") as error:
        kmod.load_facts("trex")
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="holds neither"):
        kmod.load_facts("trex", folder=tmp_path)
    with pytest.raises(NotADirectoryError, match="given as folder="):
        kmod.load_facts("trex", folder=tmp_path / "other")


def test_evidences_are_capped_by_seed_and_fact(lama):
    def kenya(**options):
        base = kmod.load_facts("trex", folder=lama, evidences_per_fact=5, **options)
        return base.evidences(base[base.find("Kenya", "P36")])

    assert len(kenya()) == 5 and len(set(kenya())) == 5
    assert kenya() == kenya(relations=["P36"]) != kenya(seed=1)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"evidences_per_fact": 0}, "whole number from 1"),
        ({"evidences_per_fact": 2.5}, "whole number from 1"),
        ({"pararel": "both"}, '"tests", "evidences" or None'),
        ({"relations": ["P99"]}, "unknown T-REx relation 'P99'; known: P36, P17"),
        ({"pararel": "tests"}, r"no pararel_patterns.jsonl \(.gz\) in"),
        ({"questions": True}, r"no entity_questions.jsonl"),
    ],
)
def test_wrong_options_are_refused(lama, options, message):
    with pytest.raises((ValueError, OSError), match=message):
        kmod.load_facts("trex", folder=lama, **options)


@pytest.mark.parametrize(
    "content, message",
    [
        (
            b'{"uuid": "1", "sub_label": "A", "predicate_id": "P36"}\n',
            r"line 1: no 'obj_label' and no 'evidences'; found",
        ),
        (b'{"uuid": "1", "sub_la', "line 1: not JSON .*cut short"),
        (b'\n{"sub_label": "Caf\xe9"}\n', "line 2: byte 0xe9 is not UTF-8"),
        (
            b'{"sub_label": "A", "obj_label": "B", "predicate_id": "P1", "evidences": []}\n',
            r"relation P1 of \(A, B\) has no template in .*; known: P36, P17",
        ),
    ],
)
def test_damaged_files_are_one_line(lama, content, message):
    (lama / "TREx" / "P36.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        kmod.load_facts("trex", folder=lama)
    assert "\n" not in str(error.value)


def test_an_evidence_without_sentence_is_counted_and_no_facts_are_refused(lama):
    path = lama / "TREx" / "P36.jsonl"
    path.write_text(path.read_text().replace('"masked_sentence": "Peru is', '"masked": "Peru is'))
    base = kmod.load_facts("trex", folder=lama)
    assert "left out: 4 without" in base.notes[1] and len(base.evidences(base[base.find("Peru", "P36")])) == 1
    path.write_text("")
    with pytest.raises(ValueError, match="no T-REx facts to learn: 0 facts of 0 relations read"):
        kmod.load_facts("trex", folder=lama, relations="P36")


def test_a_truncated_gzip_is_one_line(lama):
    path = lama / "TREx" / "P36.jsonl"
    (lama / "TREx" / "P36.jsonl.gz").write_bytes(gzip.compress(path.read_bytes())[:-60])
    path.unlink()
    with pytest.raises(ValueError, match="the file is cut short"):
        kmod.load_facts("trex", folder=lama)


def test_pararel_and_questions(lama):
    patterns = ["[X] is located in [Y].", "[Y] is home to [X].", "The Prado is in [Y], says [X]."]
    rows = [{"relation": "P17", "pattern": pattern} for pattern in patterns]
    (lama / "pararel_patterns.jsonl").write_text(text_of(rows))
    questions = [
        {"relation": "P17", "subject": "Prado", "question": "Where is the old Prado?", "answers": ["Uruguay"]},
        {"relation": "P17", "subject": "prado", "question": "Where is Prado?", "answers": ["Spain", "Madrid"]},
    ]
    (lama / "entity_questions.jsonl").write_text(text_of(questions))

    def prado(**options):
        base = kmod.load_facts("trex", folder=lama, **options)
        fact = base[base.find("Prado", "P17")]
        return base.evidences(fact), base.tests(fact)

    sentences, template = prado()
    filled = ("[MASK] is home to Prado.", "The Prado is in [MASK], says Prado.")
    assert prado(pararel="tests") == (sentences, template + filled), "the template again, but for a space, is no test"
    assert prado(pararel="evidences") == (sentences + filled, template)
    few = kmod.load_facts("trex+pararel:2", folder=lama)
    assert len(few) == 2 and all(len(few.evidences(fact)) <= 3 + len(filled) for fact in few)
    assert prado(questions=True) == (sentences, (*template, "Where is Prado? [MASK]"))
    assert prado(questions=True, pararel="tests")[1] == (*template, *filled, "Where is Prado? [MASK]")


@pytest.fixture(scope="session")
def real():
    from conftest import DATA

    if not DATA.is_dir():
        pytest.skip(f"CROSS-CHECK SKIPPED: no real data at {DATA}")
    return kmod.load_facts("trex", folder=DATA)


def test_the_real_facts_all_load_and_deduplicate(real, data):
    with gzip.open(data / "trex_facts.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    key = lambda row: (row["sub_label"].strip().casefold(), row["relation"], row["obj_label"].strip().casefold())  # noqa: E731
    assert len(rows) == 60_367 and len({row["relation"] for row in rows}) == 41
    assert sum(bool(row["evidences"]) for row in rows) == 52_413
    assert sum(len(row["evidences"]) for row in rows) == 234_303
    assert "60,367 facts of 41 relations" in real.notes[0] and "52,413 with sentences" in real.notes[0]
    assert real.notes[1].startswith("234,303 sentences; left out: 0 without")
    theirs = {}
    for row in rows:
        theirs.setdefault(key(row), set()).update(e["masked_sentence"] for e in row["evidences"])
    theirs = {triple: sentences for triple, sentences in theirs.items() if sentences}
    ours = {(f.subject.strip().casefold(), f.relation, f.object.strip().casefold()): f for f in real}
    assert len(ours) == len(real) and set(ours) == set(theirs) and real.duplicates == 0
    assert all(set(fact.evidences) == theirs[triple] for triple, fact in ours.items())
    assert sum(map(len, theirs.values())) == sum(len(fact.evidences) for fact in real) == 227_728


def test_the_real_facts_split_and_modify(real, data):
    examined = {real.tests(fact) for fact in real}
    assert all(len(tests) == 1 for tests in examined)
    assert not any(set(real.evidences(fact)) & set(real.tests(fact)) for fact in real)
    change = real.modify(2048, seed=0)
    assert len(set(change.indices)) == 2048
    true = {(fact.subject, fact.relation, fact.object) for fact in real}
    of_relation = {(fact.relation, fact.object) for fact in real}
    for new in change.modified:
        assert (new.subject, new.relation, new.object) not in true and (new.relation, new.object) in of_relation
    small = real.sample(2000, seed=0)
    assert len(small) == 2000 and small.relations == real.relations and set(small) <= set(real)
    capped = load_trex(data, evidences_per_fact=8)
    assert len(capped) == len(real) and max(len(fact.evidences) for fact in capped) == 8


def test_the_real_phrasings_are_never_tests_and_evidences_at_once(data):
    for options in ({"pararel": "tests", "questions": True}, {"pararel": "evidences"}):
        base = load_trex(data, relations=["P159", "P17"], **options)
        assert not any(set(base.evidences(fact)) & set(base.tests(fact)) for fact in base)
        assert any(len(base.tests(fact)) > 1 for fact in base) == ("questions" in options)
