"""Facts of one's own, and what is said of mistakes in them."""

import csv
import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kmod
from kmod.facts import Fact, FactBase, Relation
from kmod.names import composed

TOML = """
[P36]
label = "capital"
evidences = ["The capital of [X] is [Y]."]
tests = [
  "[Y] is the capital of [X].",

  "[X]'s capital is [Y].",
]
"""
CAPITAL = Relation("P36", "capital", ("The capital of [X] is [Y].",), ("[Y] is the capital of [X].",))
ROWS = [
    {"subject": "Peru", "relation": "P36", "object": "Lima"},
    {"subject": "Côte d'Ivoire", "relation": "P36", "object": "Yamoussoukro"},
]


@pytest.fixture
def toml(tmp_path):
    (tmp_path / "relations.toml").write_text(TOML, "utf-8")
    return tmp_path / "relations.toml"


def write(path, rows=ROWS, encoding="utf-8"):
    suffix = path.name.removesuffix(".gz").rpartition(".")[2]
    separator = {"csv": ",", "tsv": "\t"}.get(suffix)
    if separator:
        text = "\r\n".join(separator.join(row) for row in (rows[0], *(row.values() for row in rows))) + "\r\n"
    else:
        text = json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows)) + "\n"
    (gzip.open if path.name.endswith(".gz") else open)(path, "wb").write(text.encode(encoding))
    return path


@pytest.mark.parametrize("name", ["f.csv", "f.tsv", "f.json", "f.jsonl", "f.csv.gz", "f.jsonl.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_kind_of_file(tmp_path, toml, name, encoding):
    base = kmod.load_facts(str(write(tmp_path / name, encoding=encoding)), relations=toml)
    assert [(f.subject, f.object) for f in base] == [(row["subject"], row["object"]) for row in ROWS]
    assert base.tests(base[0]) == ("[MASK] is the capital of Peru.", "Peru's capital is [MASK].")
    assert base.name == name and base.relations["P36"].label == "capital"
    assert base.modify(1).objects


def test_a_data_frame_and_statements_in_columns(tmp_path):
    pandas = pytest.importorskip("pandas")
    rows = [
        ROWS[0]
        | {"evidences": "Peru is ruled from [MASK].|The capital of [X] is [Y].", "tests": "[MASK]: Peru's capital"},
        ROWS[1] | {"evidences": "The capital of [X] is [Y].", "tests": "[Y]: a capital"},
        ROWS[1] | {"evidences": "[Y] rules [X].", "tests": "[Y]: a capital"},
    ]
    frame = kmod.load_facts(pandas.DataFrame(rows))
    assert frame[0].evidences == ("Peru is ruled from [MASK].", "The capital of Peru is [MASK].")
    assert frame[1].evidences == ("The capital of Côte d'Ivoire is [MASK].", "[MASK] rules Côte d'Ivoire.")
    assert "1 rows repeat a fact" in frame.notes[0]
    lists = [row | {kind: row[kind].split("|") for kind in ("evidences", "tests")} for row in rows]
    assert list(frame) == list(kmod.load_facts(pandas.DataFrame(lists)))
    assert list(frame) == list(kmod.load_facts(write(tmp_path / "f.csv", rows)))
    assert list(frame) == list(kmod.load_facts(write(tmp_path / "f.jsonl", lists)))


def test_an_empty_cell_falls_back_on_the_relation(toml):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([ROWS[0] | {"evidences": None}, ROWS[1] | {"evidences": ["[X]: [Y]"]}])
    base = kmod.load_facts(frame, relations=toml)
    assert base[0].evidences == () and base[1].evidences == ("Côte d'Ivoire: [MASK]",)
    assert list(kmod.load_facts(frame, relations=base.relations)) == list(base)


def test_quoted_lines_in_a_csv(tmp_path, toml):
    (tmp_path / "f.csv").write_text('subject,relation,object\n"Peru, the state",P36,Lima\n\n"Chad",P36,"N\'Djamena"\n')
    assert [fact.subject for fact in kmod.load_facts(tmp_path / "f.csv", relations=toml)] == ["Peru, the state", "Chad"]


@pytest.mark.parametrize(
    "name, content, message",
    [
        (
            "f.csv",
            "subject,relation,obj\nPeru,P36,Lima\n",
            "f.csv, line 1: no 'object'; found: subject, relation, o",
        ),
        ("f.csv", "", "f.csv, line 1: no 'subject' and no 'relation' and no 'object'; found: nothing"),
        ("f.csv", "subject,relation,object\n", "f.csv holds no facts"),
        ("f.csv", "subject,relation,object\nPeru,P36\n", r"f.csv, line 2: 2 values for 3 columns"),
        ("f.csv", "subject,relation,object\n\nPeru,P36,\n", r"f.csv, line 3: the object of a fact must be text"),
        ("f.csv", "subject,relation,object\nPeru,P99,Lima\n", r"line 2: relation 'P99' has no phrasings .* has P36"),
        ("f.csv", 'subject,relation,object\n"Peru,P36,Lima\n', "f.csv, line 2: unexpected end of data"),
        ("f.tsv", "subject\trelation\tobject\nPeru\tP36\t[MASK]\n", "f.tsv, line 2: the object .* holds a slot"),
        ("f.jsonl", '{"subject": "Peru"}\n', "f.jsonl, line 1: no 'relation' and no 'object'; found: subject"),
        ("f.jsonl", '{"subject": "Peru", \n', "f.jsonl, line 1: not JSON"),
        ("f.jsonl", "[1]\n", "line 1: a JSON object is needed, not list"),
        ("f.json", '{"subject": "Peru"}', "a list of JSON objects"),
        ("f.json", '[{"subject": "Peru"}]', "fact 1: no 'relation' and no 'object'"),
        ("f.json", "[{", "cut short"),
        ("f.csv", "subject,relation,object,tests\nPeru,P36,Lima,In Peru\n", r"line 2: .*needs \[MASK\] exactly once"),
        ("f.csv", "subject,relation,object,tests\nPeru,P36,Lima,The capital of Peru is [MASK].\n", "must be unseen"),
        ("f.csv", b"subject,relation,object\nPeru,P36,Lima\nC\xf4te,P36,Y\n", r"line 3: byte 0xf4 is not UTF-8; save"),
        ("f.jsonl.gz", b"not gzip", "f.jsonl.gz: the file is not compressed so"),
    ],
)
def test_mistakes_are_one_line(tmp_path, toml, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as error:
        kmod.load_facts(tmp_path / name, relations=toml)
    assert "\n" not in str(error.value)


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="[\0"), min_size=1).filter(composed)


@given(
    st.lists(st.tuples(names, names), min_size=1, max_size=8), st.sampled_from(["f.csv", "f.tsv", "f.json", "f.jsonl"])
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_names_survive_a_file(tmp_path, toml, pairs, name):
    rows = [{"subject": subject, "relation": "P36", "object": obj} for subject, obj in pairs]
    if name.endswith("sv"):
        with open(tmp_path / name, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(
                file, rows[0], delimiter="," if name == "f.csv" else "\t", quoting=csv.QUOTE_ALL, lineterminator="\n"
            )
            writer.writeheader()
            writer.writerows(rows)
    else:
        write(tmp_path / name, rows)
    given_ = FactBase((Fact(s.strip(), "P36", o.strip()) for s, o in pairs), {"P36": CAPITAL})
    read = kmod.load_facts(tmp_path / name, relations=toml)
    assert [(f.subject, f.object) for f in read] == [(f.subject, f.object) for f in given_]


def test_a_frame_without_a_column_and_other_things_are_refused(tmp_path, toml):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"the data frame: no 'object'; found: subject, relation$"):
        kmod.load_facts(pandas.DataFrame([{"subject": "Peru", "relation": "P36"}]))
    with pytest.raises(ValueError, match=r"row 1: relation 'P99' has no phrasings for evidences, and the row has none"):
        kmod.load_facts(pandas.DataFrame([ROWS[0], ROWS[1] | {"relation": "P99"}]), relations=toml)
    with pytest.raises(ValueError, match="facts are a name, a path, or a pandas or polars DataFrame, not list"):
        kmod.load_facts([Fact("Peru", "P36", "Lima")])
    with pytest.raises(FileNotFoundError, match=r"no file .*facts\.csv"):
        kmod.load_facts(str(tmp_path / "facts.csv"))
    with pytest.raises(ValueError, match=r"a table ends in \.csv, \.tsv, \.json, \.jsonl"):
        kmod.load_facts(toml)
    toml.write_text("[P36\n")
    with pytest.raises(ValueError, match=r"relations.toml: not TOML"):
        kmod.load_facts(write(tmp_path / "f.csv"), relations=toml)
    toml.write_text('P36 = "capital"\n')
    with pytest.raises(ValueError, match=r"'P36' is not a table; write \[P36\]"):
        kmod.load_facts(write(tmp_path / "f.csv"), relations=toml)
