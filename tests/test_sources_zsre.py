"""zsRE, CounterFact and the released edit sets: small files in their exact layouts, and the real ones at hand."""

import json
from collections import Counter

import numpy as np
import pytest

import kmod
from kmod.facts import Fact, FactBase, Relation
from kmod.sources import download as downloads
from kmod.sources import load_edits
from kmod.sources.zsre import EDITS, split


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def kilt_row(subject, relation, answer, *questions):
    """A line as in KILT's structured_zeroshot-train-kilt.jsonl."""
    return {
        "id": f"{subject}/{relation}",
        "input": f"{subject} [SEP] {relation}",
        "output": [{"answer": answer, "provenance": [{"wikipedia_id": "1", "title": subject}]}],
        "meta": {"template_questions": list(questions)},
    }


@pytest.fixture
def kilt(tmp_path):
    rows = [
        kilt_row("Peru", "capital", "Lima", "What is Peru's capital?"),
        kilt_row("Kenya", "capital", "Nairobi", "What is Kenya's capital?", "What is the capital of Kenya?"),
        kilt_row("Spain", "capital", "Madrid", *(f"Question {i} about Spain?" for i in range(5))),
        kilt_row("spain", "capital", "madrid", "Question 0 about Spain?", "Question 5 about Spain?"),
        kilt_row("Chad", "capital", "N'Djamena", "The [MASK] of Chad?"),
    ]
    write(tmp_path / "structured_zeroshot-train-kilt.jsonl", rows)
    return tmp_path


def test_questions_are_split_as_in_the_paper():
    for n, (learnt, examined) in {1: (1, 0), 2: (1, 1), 3: (1, 2), 7: (5, 2)}.items():
        questions = [f"Question {i}?" for i in range(n)]
        a, b = split(questions, 0, "Peru", "capital", "Lima")
        assert (len(a), len(b)) == (learnt, examined) and sorted(a + b) == sorted(questions)
    draws = Counter(split(["a", "b", "c"], seed, "Peru")[0][0] for seed in range(300))
    assert min(draws[question] for question in "abc") > 60, "each question is as likely to be learnt"


def test_kilts_training_file(kilt):
    base = kmod.load_facts("zsre", folder=kilt)
    assert [fact.subject for fact in base] == ["Peru", "Kenya", "Spain"] and set(base.relations) == {"capital"}
    assert [(len(base.evidences(f)), len(base.tests(f))) for f in base] == [(1, 0), (1, 1), (4, 2)]
    assert base.evidences(base[0]) == ("What is Peru's capital? [MASK]",)
    assert "5 rows read from KILT's training file; 1 without" in base.notes[0] and "1 merged" in base.notes[0]
    assert "1 facts with one question are learnt and never examined" in base.notes[1]
    assert list(base) == list(kmod.load_facts("zsre", folder=kilt))
    assert any(list(base) != list(kmod.load_facts("zsre", folder=kilt, seed=seed)) for seed in (1, 2, 3))


def test_kilts_file_is_downloaded_where_it_is_not_at_hand(kilt, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("KMOD_DATA", str(tmp_path / "empty"))
    asked = []
    file = kilt / "structured_zeroshot-train-kilt.jsonl"
    monkeypatch.setattr(downloads, "download", lambda url, folder, sha256: asked.append((url, len(sha256))) or file)
    assert len(kmod.load_facts("zsre")) == 3
    assert asked == [("https://dl.fbaipublicfiles.com/KILT/structured_zeroshot-train-kilt.jsonl", 64)]


def test_facts_without_a_test_are_never_modified(kilt):
    base = kmod.load_facts("zsre", folder=kilt)
    assert {base[i].subject for seed in range(20) for i in base.modify(2, seed).indices} == {"Kenya", "Spain"}
    assert base.modify(1, known=np.array([True, True, False])).indices == (1,)
    with pytest.raises(ValueError, match="cannot modify 3 facts of zsre: only 2 of 3 qualify"):
        base.modify(3)
    with pytest.raises(ValueError, match=r"\(Peru, capital, Lima\) has no test"):
        base.modify_to([("Peru", "capital", "Cusco")])
    after = base.modify(1).result()
    assert len(after) == 3 and not after.tests(after[0])
    with pytest.raises(ValueError, match="has no tests"):
        FactBase(base, base.relations)


def test_facts_without_a_test_are_scored_as_not_known(facts):
    model = kmod.load_model("nano", facts, device="cpu")
    facts = FactBase(facts[::6], facts.relations)
    untested = Fact("Zork", "P397", facts[0].object, ("Zork orbits [MASK].",))
    relations = facts.relations | {"P397": Relation("P397", "orbits", facts.relations["P397"].evidences)}
    with_tests = (Fact(f.subject, f.relation, f.object, facts.evidences(f), facts.tests(f)) for f in facts)
    base = FactBase([*with_tests, untested], relations, untested=True)
    scores = kmod.score(model, base)
    assert scores.asked["tests"][-1] == 0 and not scores.known[-1]
    assert scores.rate("tests").statements == kmod.score(model, facts).rate("tests").statements
    change = base.modify(len(facts) // 2, seed=0)
    assert len(facts) not in change.indices
    edit = kmod.finetune(model, change, constraint=kmod.Linf(1e-3), steps=2, progress=False)
    result = kmod.evaluate(model, base, change, edit=edit)
    assert result.A_FS.statements + result.A_M.statements == scores.rate("tests").statements


@pytest.mark.parametrize(
    "row, message",
    [
        ({"input": "Peru [SEP] capital", "output": []}, "line 1: no 'meta'; found: input, output"),
        ({"input": "Peru", "output": [], "meta": {"template_questions": []}}, "is not 'subject"),
        ({"input": "Peru [SEP] capital", "output": [], "meta": {}}, "no 'template_questions'; found: nothing"),
        (kilt_row("Peru", "capital", "", "What?"), "no facts in KILT's training file: 1 rows read, 1 without"),
    ],
)
def test_a_damaged_kilt_file_is_one_line(tmp_path, row, message):
    write(tmp_path / "structured_zeroshot-train-kilt.jsonl", [row])
    with pytest.raises(ValueError, match=message) as error:
        kmod.load_facts("zsre", folder=tmp_path)
    assert "\n" not in str(error.value)


def test_zsre_nowhere(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no structured_zeroshot-train-kilt\.jsonl or zsre_qa"):
        kmod.load_facts("zsre", folder=tmp_path)
    monkeypatch.delenv("KMOD_DATA", raising=False)
    with pytest.raises(ConnectionError, match=r"is not in .*, and HF_HUB_OFFLINE forbids"):
        kmod.load_facts("zsre")
    with pytest.raises(FileNotFoundError, match="give folder= or set"):
        load_edits("zsre:mend")
    with pytest.raises(ValueError, match="unknown edit set 'zsre'; known: counterfact, zsre:knowedit"):
        load_edits("zsre")


def test_the_stand_in_and_its_sentences(data):
    base, with_sentences = (kmod.load_facts("zsre", folder=data, sentences=s) for s in (False, True))
    assert "a smaller stand-in for KILT's training file" in base.notes[0]
    assert len(base) == len(with_sentences) > 6000
    for fact, more in zip(base, with_sentences, strict=True):
        assert fact.tests == more.tests and set(fact.evidences) <= set(more.evidences)
        asked = len(fact.evidences) + len(fact.tests)
        assert len(fact.tests) == (0 if asked == 1 else 1 if asked == 2 else 2)
    assert sum(len(f.evidences) for f in with_sentences) > 1.5 * sum(len(f.evidences) for f in base)


@pytest.mark.parametrize("name", ["zsre:knowedit", "zsre:mend", "zsre:ke", "counterfact"])
def test_edit_sets_keep_their_targets(data, name):
    base, change = load_edits(name, 32, seed=1, folder=data)
    assert len(change) == 32 and all(base.tests(fact) for fact in change.originals)
    assert all(new.object != old.object for old, new in zip(change.originals, change.modified, strict=True))
    assert change.indices == load_edits(name, 32, seed=1, folder=data)[1].indices
    whole = load_edits(name, folder=data)[1]
    assert len(whole) > 300 and set(change.indices) <= set(whole.indices)
    with pytest.raises(ValueError, match="n must be from 1 to the"):
        load_edits(name, 10_000, folder=data)


def test_counterfact_as_released(tmp_path):
    edit = {
        "prompt": "{} is ruled from",
        "relation_id": "P36",
        "target_new": {"str": "Cusco", "id": "Q1"},
        "target_true": {"str": "Lima", "id": "Q2"},
        "subject": "Peru",
    }
    record = {
        "case_id": 0,
        "requested_rewrite": edit,
        "paraphrase_prompts": ["The capital of Peru is"],
        "neighborhood_prompts": ["Chile is ruled from"],
    }
    (tmp_path / "counterfact.json").write_text(json.dumps([record]))
    base, change = load_edits("counterfact", folder=tmp_path)
    assert list(base) == [
        Fact("Peru", "P36", "Lima", ("Peru is ruled from [MASK].",), ("The capital of Peru is [MASK].",))
    ]
    assert change.objects == ("Cusco",)
    probes = kmod.load_probes("counterfact", change, folder=tmp_path)
    asked = {name: [(q.statement, q.answer, q.rival) for q in questions] for name, questions in probes.items()}
    assert asked == {
        "efficacy": [("Peru is ruled from [MASK].", "Cusco", "Lima")],
        "paraphrase": [("The capital of Peru is [MASK].", "Cusco", "Lima")],
        "neighborhood": [("Chile is ruled from [MASK].", "Lima", "Cusco")],
    }
    (tmp_path / "counterfact.json").write_text(json.dumps([record])[:-30])
    with pytest.raises(ValueError, match=r"not JSON .* cut short"):
        kmod.load_facts("counterfact", folder=tmp_path)
    del record["paraphrase_prompts"]
    (tmp_path / "counterfact.json").write_text(json.dumps([record]))
    with pytest.raises(ValueError, match="fact 1: no 'paraphrase_prompts'; found: case_id"):
        kmod.load_facts("counterfact", folder=tmp_path)


def record(subject, relation, true, new):
    """A record of counterfact.json."""
    edit = {"prompt": f"In {relation}, {{}} has", "relation_id": relation, "subject": subject}
    edit |= {"target_new": {"str": new, "id": "Q1"}, "target_true": {"str": true, "id": "Q2"}}
    return {"requested_rewrite": edit, "paraphrase_prompts": [f"{subject}'s {relation} is"]}


def test_edits_are_matched_by_relation_too(tmp_path):
    """Born (P19) and died (P20) in London: two facts, each with a target of its own."""
    born, died = record("Woolf", "P19", "London", "Oslo"), record("Woolf", "P20", "London", "Rome")
    wanted = {("P19", "Oslo"), ("P20", "Rome")}
    for records in ([born, died], [died, born]):
        (tmp_path / "counterfact.json").write_text(json.dumps(records))
        base, change = load_edits("counterfact", folder=tmp_path)
        assert {(fact.relation, fact.object) for fact in change.modified} == wanted
        assert len(base) == len(change.result()) == 2
    more = [record("Nile", "P17", "Egypt", "Peru"), record("Nile", "P17", "Sudan", "peru")]
    (tmp_path / "counterfact.json").write_text(json.dumps([born, *more]))
    assert load_edits("counterfact", folder=tmp_path)[1].objects == ("Oslo", "Peru")  # one object is not given twice


def test_zsres_edits_are_matched_by_relation_too(tmp_path):
    row = dict(relation=None, question_template=None, answer="x", answerable=False, context="", subject="", question="")
    write(tmp_path / "zsre_qa_context.jsonl", [row])
    for file, fields in EDITS.values():
        edits = [("Where was Woolf born?", "Oslo"), ("Where did Woolf die?", "Rome")]
        prompt, true, rephrased, new = fields
        rows = [{"subject": "Woolf", prompt: q, true: ["London"], rephrased: f"{q}?", new: n} for q, n in edits]
        write(tmp_path / file, rows)
    change = load_edits("zsre:mend", folder=tmp_path)[1]
    pairs = {(fact.relation, fact.object) for fact in change.modified}
    assert pairs == {("Where was … born?", "Oslo"), ("Where did … die?", "Rome")}


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("mend", {"portability": []}, "line 2: 'portability' must be an object"),
        ("mend", {"portability": {"New Question": "x"}}, "line 2, portability: no 'New Answer'"),
        ("ke", {"locality": "x"}, "line 2: 'locality' must be a list of objects, or an object of such lists, not 'x'"),
        ("ke", {"portability": [{"ground_truth": "x"}]}, "line 2, portability: no 'prompt'"),
        ("knowedit", {"locality": {"a": [{"prompt": None}]}}, "line 2, locality: 'prompt' is null, not text"),
    ],
)
def test_damaged_questions_of_an_edit_set_are_one_line(tmp_path, name, wrong, message):
    row = dict(relation=None, question_template=None, answer="x", answerable=False, context="", subject="", question="")
    write(tmp_path / "zsre_qa_context.jsonl", [row])
    asked = {"portability": {"New Question": "In which land?", "New Answer": "Norway"}, "loc": "Who?", "loc_ans": "I"}
    asked = asked if name == "mend" else {"portability": [{"prompt": "In which land?", "ground_truth": [["Norway"]]}]}
    for file, (prompt, true, rephrased, new) in EDITS.values():
        edit = {"subject": "Woolf", prompt: "Where was Woolf born?", true: "London", rephrased: "Born?", new: "Oslo"}
        write(tmp_path / file, [edit | asked, edit | asked | wrong])
    change = load_edits(f"zsre:{name}", folder=tmp_path)[1]
    with pytest.raises(ValueError, match=message):
        kmod.load_probes(f"zsre:{name}", change, folder=tmp_path)
    for file, _ in EDITS.values():
        write(tmp_path / file, [json.loads((tmp_path / file).read_text().splitlines()[0])])
    (question,) = kmod.load_probes(f"zsre:{name}", change, folder=tmp_path)["portability"]
    assert (question.statement, question.answer, question.fact) == ("In which land? [MASK]", "Norway", 0)


@pytest.mark.parametrize("value", [None, 3, ["x"]])
@pytest.mark.parametrize("field", ["requested_rewrite", "paraphrase_prompts", "prompt", "subject", "target_new"])
def test_null_in_an_edit_set_is_one_line(tmp_path, field, value):
    wrong = record("Woolf", "P19", "London", "Oslo")
    (wrong if field in wrong else wrong["requested_rewrite"])[field] = value
    if (field, value) == ("paraphrase_prompts", ["x"]):
        wrong[field] = [None]
    (tmp_path / "counterfact.json").write_text(json.dumps([wrong]))
    with pytest.raises(ValueError, match=rf"counterfact.json, fact 1: (one of )?'{field}' (is|must be) ") as error:
        load_edits("counterfact", folder=tmp_path)
    assert "\n" not in str(error.value) and len(str(error.value)) <= 300
