"""Tables and text from elsewhere: what is read all the same, and what is refused with file, line and remedy."""

import bz2
import csv
import gzip
import json
import lzma
import random
import re
import sys
from functools import partial
from types import SimpleNamespace

import pytest

import kmod
from kmod.facts import Fact, Relation
from kmod.pretraining.text import documents
from kmod.sources.lines import COMPRESSED, brief, lines

CAPITAL = {"P36": Relation("P36", "capital", ("The capital of [X] is [Y].",), ("[Y] is the capital of [X].",))}
CSV = "subject,relation,object\nPeru,P36,Lima\nCôte d'Ivoire,P36,Yamoussoukro\n"
FACTS = [("Peru", "P36", "Lima"), ("Côte d'Ivoire", "P36", "Yamoussoukro")]


def zstd(content: bytes) -> bytes:
    return pytest.importorskip("zstandard").compress(content)


PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


def load(path):
    return [(f.subject, f.relation, f.object) for f in kmod.load_facts(str(path), relations=CAPITAL)]


load_frame = partial(kmod.load_facts, relations=CAPITAL)


def refused(message, read, *args):
    """The call raises an error of one line, of at most 300 characters, that matches."""
    with pytest.raises((ValueError, OSError), match=message) as error:
        read(*args)
    assert "\n" not in str(error.value) and len(str(error.value)) <= 300
    return str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_marks_line_ends_and_capital_endings_are_read(tmp_path, encoding, end):
    facts, text = tmp_path / "FACTS.CSV", tmp_path / "Text.TXT"
    facts.write_bytes(CSV.replace("\n", end).encode(encoding))
    text.write_bytes(f"one{end}two{end}{end}thrée".encode(encoding))
    assert load(facts) == FACTS
    assert list(documents(text)) == list(documents(tmp_path)) == ["one\ntwo", "thrée"]


def test_mixed_line_ends_and_marks_inside_a_joined_file(tmp_path):
    text = "\ufeff\ufeffsubject,relation,object\r\nPeru,P36,Lima\rChad,P36,Abéché"
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert load(tmp_path / "a.csv")[0] == FACTS[0] and len(load(tmp_path / "a.csv")) == 2
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\r\n')
    assert list(documents(tmp_path / "a.jsonl")) == ["a", "b"]


@pytest.mark.parametrize("end", PACK)
@pytest.mark.parametrize("parts", [1, 3])
def test_every_compression_is_read_whole_and_a_cut_one_never(tmp_path, end, parts):
    """Also one of several parts, as parallel compressors write: zstandard's own reader stops after the first."""
    rng = random.Random(0)
    texts = [f"{i} {rng.random()}" for i in range(20_000)]
    rows = [json.dumps({"text": text}).encode() + b"\n" for text in texts]
    packed = [PACK[end](b"".join(rows[i::parts])) for i in range(parts)]
    path = tmp_path / f"text.JSONL{end.upper()}"
    path.write_bytes(b"".join(packed))
    assert sorted(documents(path)) == sorted(texts)
    for cut in (len(b"".join(packed)) - 3, len(packed[-1]) // 2, 20):
        path.write_bytes(b"".join(packed)[:cut])
        refused(r"text.JSONL\S*, after line \d+: the file is cut short; get it again", list, documents(path))
    damaged = bytearray(b"".join(packed))
    damaged[len(damaged) // 2 :] = bytes(len(damaged) - len(damaged) // 2)
    path.write_bytes(damaged)
    refused(r"text.JSONL\S*, (after )?line \d+: ", list, documents(path))


@pytest.mark.parametrize("end", PACK)
def test_facts_are_read_from_every_compression(tmp_path, end):
    path = tmp_path / f"F.csv{end.upper()}"
    path.write_bytes(PACK[end](CSV.encode()))
    assert load(path) == FACTS
    path.with_suffix("").write_bytes(path.read_bytes())  # a compressed file whose name does not say so
    assert load(path.with_suffix("")) == FACTS
    path.write_bytes(CSV.encode())
    refused(rf"the file is not compressed so, or damaged, though its name ends in \{end}", load, path)
    path.write_bytes(b"")
    refused(rf"the file is empty, though its name ends in \{end}", load, path)


@pytest.mark.parametrize(
    "content, message",
    [
        (CSV.encode("latin-1"), r"line 3: byte 0xf4 is not UTF-8; save the whole file as UTF-8"),
        (b"a\n" * 100_000 + b"\xff\n", r"line 100001: byte 0xff is not UTF-8"),
        (CSV.encode("utf-16")[:-1], r"line 3: byte 0x0a is not UTF-16-LE"),
        (CSV.encode("utf-16-le"), r"line 1: a NUL byte: a binary file, or UTF-16 without a byte order mark"),
        (b"subject,relation,object\nPe\0ru,P36,Lima\n", "line 2: a NUL byte"),
        (b"PK\x03\x04rest", "this is a zip archive or a spreadsheet"),
        (b"PAR1rest", "this is a Parquet file: read it with pandas"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a pointer of Git LFS"),
    ],
)
def test_what_is_no_text_is_said_with_its_line(tmp_path, content, message):
    for name, read in (("f.csv", lambda path: list(lines(path))), ("f.txt", lambda path: list(documents(path)))):
        (tmp_path / name).write_bytes(content)
        assert name in refused(message, read, tmp_path / name)


def test_folders_and_nothing_in_place_of_a_file(tmp_path):
    for name in ("f.csv", "f.json", "t.txt", "more"):
        (tmp_path / name).mkdir()
    (tmp_path / "more" / "e.txt").write_text("\n \n")
    refused("f.csv is a folder; give a file", load, tmp_path / "f.csv")
    refused("f.json is a folder; give a file", load, tmp_path / "f.json")
    refused("no file .*g.csv", load, tmp_path / "g.csv")
    refused("t.txt: there is no text in it|no text at .*t.txt", list, documents(tmp_path / "t.txt"))
    refused("t.txt is a folder", list, documents(tmp_path / "t.t*"))
    refused("e.txt: there is no text in it", list, documents(tmp_path / "more" / "e.txt"))
    (tmp_path / "more" / "facts.xls").write_text("x")
    refused(r"facts.xls: a table ends in .csv, .tsv, .json, .jsonl", load, tmp_path / "more" / "facts.xls")


def test_a_cell_of_any_length_and_the_limit_of_the_process_is_kept(tmp_path):
    before, long = csv.field_size_limit(), "x" * 200_000
    with open(tmp_path / "f.csv", "w", newline="") as file:
        csv.writer(file).writerows([["subject", "relation", "object", "note"], [*FACTS[0], long]])
    assert load(tmp_path / "f.csv") == FACTS[:1] and csv.field_size_limit() == before
    (tmp_path / "f.csv").write_text(f"subject,relation,object\n{long},P36,{long[:9]},\n")
    assert "f.csv, line 2: 4 values for 3 columns" in refused("line 2", load, tmp_path / "f.csv")
    (tmp_path / "f.csv").write_text(f"subject,relation,object,tests\nPeru,P36,Lima,{long}\n")
    refused(r"f.csv, line 2: \(Peru, P36\): the statement 'xxx.* it has \[MASK\] 0 times", load, tmp_path / "f.csv")


@pytest.mark.parametrize(
    "text, message",
    [
        ("subject,relation,object,object\nPeru,P36,Lima,Cusco\n", "line 1: the heading names 'object' twice"),
        ("subject,tests,relation,object, tests\nPeru,,P36,Lima,\n", "line 1: the heading names 'tests' twice"),
        ("subject,relation,object\nPeru,P36,['Lima']\n", "line 2: the object is a list .*a row of its own"),
        ('subject,relation,object\n"Peru,P36,Lima\nChad,P36,x\n', "line 2: unexpected end of data; a cell"),
        ('subject,relation,object\nPeru,P36,Lima\n"Peru" 2,P36,x\n', "line 3: ',' expected after '\"'; a cell"),
    ],
)
def test_damaged_tables_are_refused_with_their_line(tmp_path, text, message):
    (tmp_path / "f.csv").write_text(text)
    refused(f"f.csv, {message}", load, tmp_path / "f.csv")


@pytest.mark.parametrize(
    "value, message",
    [
        (None, r"the object is missing \(null\): fill it in or take the row out"),
        (float("nan"), r"the object is missing \(nan\)"),
        (1969, r"the object is 1969 \(int\), not text: write it as text"),
        (True, r"the object is true \(bool\), not text"),
        (["Lima"], r"the object is a list or an object, \['Lima'\]: give each name a row of its own"),
        ({"en": "Lima"}, "the object is a list or an object"),
        ("['Lima', 'Cusco']", "the object is a list or an object"),
        ("Li\0ma", "the object holds a NUL"),
        ("Li\ud800ma", "half a character"),
        ("", "the object of a fact must be text that is not empty"),
    ],
)
def test_a_name_that_is_not_text_is_refused_in_files_and_frames(tmp_path, value, message):
    pandas = pytest.importorskip("pandas")
    rows = [dict(zip(("subject", "relation", "object"), fact, strict=True)) for fact in FACTS]
    rows[1]["object"] = value
    path = tmp_path / "f.jsonl"
    path.write_text("\n\n".join(map(json.dumps, rows)))
    assert "f.jsonl, line 3" in refused(message, load, path)
    frame = pandas.DataFrame({name: pandas.Series([row[name] for row in rows], dtype=object) for name in rows[0]})
    refused(f"row 1: .*{message}", load_frame, frame)


def test_statements_that_are_not_text_are_refused(tmp_path):
    written = ("['[X] [Y]', None]", "['[X]' ... '[Y]']", "['[X] [Y]")
    for value in (3.5, 7, True, {"The [MASK]": 1}, [None], [["[X] [Y]"]], *written):
        row = dict(zip(("subject", "relation", "object", "evidences"), (*FACTS[0], value), strict=True))
        (tmp_path / "f.jsonl").write_text(json.dumps(row))
        refused("f.jsonl, line 1: .*evidences", load, tmp_path / "f.jsonl")


def test_lists_that_were_written_as_text_are_lists_again(tmp_path):
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    own = ["The capital of Peru's people is [MASK].", 'In "[Y]", a|b, lives [X].']
    wanted = (own[0], 'In "[MASK]", a|b, lives Peru.')
    written = [str(own), str(numpy.array(own)), str([numpy.str_(text) for text in own]), json.dumps(own)]
    for cell in [own, tuple(own), numpy.array(own), *written]:
        frame = pandas.DataFrame({"subject": ["Peru"], "relation": "P36", "object": "Lima", "evidences": [cell]})
        frame.to_csv(tmp_path / "f.csv", index=False)
        for source in (frame, tmp_path / "f.csv"):
            assert kmod.load_facts(source, relations=CAPITAL)[0].evidences == wanted, cell
    frame["evidences"] = "[]"
    assert kmod.load_facts(frame, relations=CAPITAL)[0].evidences == ()
    frame["evidences"] = "[X] is ruled from [Y]|[MASK]"
    assert kmod.load_facts(frame, relations=CAPITAL)[0].evidences == ("Peru is ruled from [MASK]", "[MASK]")


def test_a_conflict_between_rows_names_the_row(tmp_path):
    rows = ["subject,relation,object,evidences,tests", "Chad,P36,x,,", "Peru,P36,Lima,a [MASK],b [MASK]"]
    (tmp_path / "f.csv").write_text("\n".join([*rows, "PERU,P36,Lima,b [MASK],"]))
    refused("f.csv, line 4: .*tests must be unseen", load, tmp_path / "f.csv")


def test_damaged_json_is_refused_with_its_line(tmp_path):
    start = '{"subject": "Peru", "relation": "P36", '
    for end, message in (
        ('"object": "Lima", "object": "Cusco"}', "the field 'object' stands there twice"),
        ('"object": ' + "9" * 5000 + "}", "line 2: .*digits"),
        ('"object": ' + "[" * 100_000, "nested too deeply|not JSON"),
        ('"object": "Lima"', r"not JSON \(Expecting ',' delimiter, column 56\); the file may be cut short"),
    ):
        (tmp_path / "f.jsonl").write_text("\n" + start + end)
        refused(f"f.jsonl, line 2: .*(?:{message})|f.jsonl, {message}", load, tmp_path / "f.jsonl")
    (tmp_path / "f.json").write_text(f'{start}"object": "a"}}\n{start}"object": "b"}}\n')
    refused("f.json: not JSON .*its name must end in .jsonl", load, tmp_path / "f.json")


@pytest.mark.parametrize("value", [None, 3, False, ["a"], {"a": "b"}, "\ud83d"])
def test_a_corpus_with_something_else_than_text(tmp_path, value):
    (tmp_path / "t.jsonl").write_text('{"text": "fine"}\n' + json.dumps({"text": value}))
    message = r"t.jsonl, line 2: 'text' (is .*, not text|holds a NUL or half a char)"
    refused(message, list, documents(tmp_path / "t.jsonl"))


def test_a_dataset_of_the_hub_is_read_as_carefully(monkeypatch):
    rows = [{"text": "fine"}, {"text": None}, {"body": "x"}]
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda *a, **k: iter(rows)))
    refused("hub:some/text, row 1: 'text' is null, not text", list, documents("hub:some/text"))
    rows.pop(1)
    refused("hub:some/text, row 1: no 'text'; found: body", list, documents("hub:some/text"))


class Polars:
    """What kmod uses of a polars frame."""

    def __init__(self, rows: dict):
        self.rows, self.columns = rows, list(rows)

    def iter_rows(self):
        return zip(*self.rows.values(), strict=True)


def test_a_frame_of_polars_is_read_as_one_of_pandas():
    pandas = pytest.importorskip("pandas")
    rows = dict(zip((" subject", "relation", "object"), map(list, zip(*FACTS, strict=True)), strict=True))
    rows["tests"] = [["[Y]: [X]'s"], None]
    wanted = list(kmod.load_facts(pandas.DataFrame(rows), relations=CAPITAL))
    assert wanted[0] == Fact(*FACTS[0], (), ("[MASK]: Peru's",))
    assert list(kmod.load_facts(Polars(rows), relations=CAPITAL)) == wanted
    refused("the data frame: no 'object'", kmod.load_facts, Polars({"subject": ["a"], "relation": ["b"]}))
    refused("row 0: the object is missing", kmod.load_facts, Polars({**rows, "object": [None, "x"]}))
    twice = pandas.DataFrame([["a", "b", "c", "d"]], columns=["subject", "relation", "object", "object"])
    refused("the data frame: the heading names 'object' twice", kmod.load_facts, twice)


def test_a_real_frame_of_polars():
    polars = pytest.importorskip("polars")
    rows = dict(zip(("subject", "relation", "object"), map(list, zip(*FACTS, strict=True)), strict=True))
    frame = polars.DataFrame(rows | {"tests": [["[Y]: [X]'s"], None]})
    base = kmod.load_facts(frame, relations=CAPITAL)
    assert [(f.subject, f.relation, f.object) for f in base] == FACTS and base[0].tests == ("[MASK]: Peru's",)
    refused("row 1: the object is missing", load_frame, polars.DataFrame(rows | {"object": ["a", None]}))
    refused(r"the subject is 1 \(int\)", load_frame, polars.DataFrame(rows | {"subject": [1, 2]}))
    refused("facts are a name, .* not LazyFrame", kmod.load_facts, frame.lazy())


def test_semicolons_as_spreadsheets_write_them_and_empty_rows(tmp_path):
    (tmp_path / "f.csv").write_text(CSV.replace(",", ";") + ";;\n", "utf-8")
    assert load(tmp_path / "f.csv") == FACTS


def test_the_relations_file_is_read_as_carefully(tmp_path):
    (tmp_path / "f.csv").write_text(CSV, "utf-8")
    toml = tmp_path / "r.toml"
    toml.write_text('[P36]\nevidences = ["[X]: [Y]"]\ntests = ["[Y], [X]"]\n', "utf-16")
    assert kmod.load_facts(tmp_path / "f.csv", relations=toml)[0].object == "Lima"
    for text in ("[P36]\nlabel = 3", '[P36]\nevidences = "[X] [Y]"', '[P36]\nevidences = ["[X]"]'):
        toml.write_text(text)
        refused("r.toml: ", partial(kmod.load_facts, relations=toml), tmp_path / "f.csv")
    with pytest.raises(TypeError, match="Relation objects"):
        kmod.load_facts(tmp_path / "f.csv", relations={"P36": {"label": "capital"}})


def test_a_long_message_keeps_its_ends():
    assert len(brief("where" + "x" * 999 + "remedy")) == 300 and brief("a\n b") == "a b"
    assert re.fullmatch(r"wherex+ … x+remedy", brief("where" + "x" * 999 + "remedy"))
    assert set(COMPRESSED) == set(PACK)
