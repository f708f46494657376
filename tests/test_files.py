"""Files that appear whole, output that decides nothing, and tables and command lines of any text."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kmod
from kmod import charts
from kmod.checks import brief
from kmod.cli import main
from kmod.files import appearing, append, cache_dir
from kmod.sources import SUFFIXES


def test_a_full_disk_leaves_an_older_model_as_it_was(model, tmp_path, monkeypatch):
    model.save(tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}

    def full(self, folder, **_):
        raise Exception("No space left on device (os error 28)")  # as tokenizers says it

    monkeypatch.setattr(type(model.tokenizer), "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        model.save(tmp_path / "model")
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    monkeypatch.undo()
    model.save(tmp_path / "model")
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"
    assert kmod.load_model(tmp_path / "model", device="cpu").fingerprint() == model.fingerprint()


def test_modes_are_those_of_the_umask_or_of_the_older_file(model, tmp_path):
    before = os.umask(0o027)
    try:
        model.save(tmp_path / "model")
        assert {path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()} == {0o640}
        (tmp_path / "model" / "model.safetensors").chmod(0o664)
        model.save(tmp_path / "model")
    finally:
        os.umask(before)
    assert (tmp_path / "model" / "model.safetensors").stat().st_mode & 0o777 == 0o664


def test_records_need_no_fcntl():
    code = "import sys; sys.modules['fcntl'] = None\nfrom kmod.files import append\nappend(sys.argv[1], [{'a': 1}])"
    path = "/dev/shm/kmod-test.jsonl" if os.path.isdir("/dev/shm") else "kmod-test.jsonl"
    try:
        subprocess.run([sys.executable, "-W", "ignore", "-c", code, path], check=True)
        assert Path(path).read_text() == '{"a": 1}\n'
    finally:
        os.path.exists(path) and os.remove(path)


def test_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KMOD_CACHE", "~/kept")
    assert cache_dir() == tmp_path / "kept"
    append("~/a.jsonl", [{"a": 1}])
    with appearing("~/b.json") as draft:
        draft.write_text("{}")
    assert (tmp_path / "a.jsonl").is_file() and (tmp_path / "b.json").is_file()
    (tmp_path / "t.csv").write_text("subject,relation,object,evidences,tests\na,r,b,a is [MASK].,a: [MASK].\n")
    assert len(kmod.load_facts("~/t.csv")) == 1
    monkeypatch.delenv("KMOD_CACHE")
    monkeypatch.setattr(os.path, "expanduser", lambda path: str(path))  # no home at all
    with pytest.warns(UserWarning, match="no home"):
        assert cache_dir().is_absolute()


def test_a_cache_that_cannot_be_written_costs_no_training(facts, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KMOD_CACHE", str(tmp_path / "file" / "kmod"))
    few = kmod.FactBase(list(facts)[:4], facts.relations, "few")
    with pytest.warns(UserWarning, match="not kept on disk"):
        kmod.memorise(kmod.load_model("nano", few, device="cpu"), few, least_steps=2, epochs=1, progress=False)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("argv", [["facts", "show", "Brazil"], ["claims", "--out", "results"], ["status", "all"]])
def test_any_console_will_do(argv, encoding, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out := io.BytesIO(), encoding=encoding))
    assert main(argv) == 0
    assert out.getvalue()


@pytest.mark.parametrize("where", [">&-", "| head -1", "> /dev/full"])
def test_output_that_goes_nowhere(where):
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m kmod facts list {where}"], capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == ("full" in where)


@pytest.mark.parametrize("error", [IndexError, EOFError, RuntimeError, AttributeError, MemoryError, KeyError])
def test_an_error_is_one_short_line(error, monkeypatch, capsys):
    def fail(name):
        raise error("x\n" * 900)

    monkeypatch.setattr("kmod.sources.commands.load_facts", fail)
    assert main(["facts", "list"]) in (1, 2)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert len(brief("x" * 999 + " do this")) <= 300 and brief("x" * 999 + " do this").endswith("do this")


def test_charts_take_what_numpy_gives_and_say_what_they_left_out():
    import numpy as np

    row = {"label": "block 0", "delta": np.float32(1e-3), "n": 8, "model": "nano", "facts": "atlas"}
    rates = {"A_M": np.float32(0.5), "A_FS": 0.5, "A_mean": 0.5}
    rows = [row | rates | {"seed": seed} for seed in range(3)]
    rows += [row | rates | {"seed": 3, "A_M": float("nan")}, row | rates | {"seed": 4, "A_FS": float("inf")}]
    rows += [row | rates | {"seed": 0, "delta": float("inf")}]
    for draw in (charts.heat_map, charts.tradeoff_curves, charts.over_size):
        spec = draw(rows).to_dict()
        assert "2 rows without" in " ".join(np.atleast_1d(spec["title"]["subtitle"]))
        json.dumps(spec, allow_nan=False)


TEXT = st.text(max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.lists(TEXT, min_size=3, max_size=5), max_size=4),
    st.sampled_from(SUFFIXES),
)
def test_a_table_of_any_text_is_read_or_refused_in_words(tmp_path_factory, lines, ending):
    path = tmp_path_factory.getbasetemp() / f"fuzz{ending}"
    text = "\n".join(("\t" if ending == ".tsv" else ",").join(line) for line in lines)
    path.write_bytes(f"subject,relation,object\n{text}".encode("utf-8", "surrogatepass"))
    try:
        kmod.load_facts(str(path))
    except (ValueError, OSError) as error:
        assert str(error)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(TEXT | st.sampled_from(["facts", "show", "list", "evaluate", "--facts", "--edit", "P36"]), max_size=5))
def test_a_command_line_of_any_text_gives_a_status(capsys, words):
    try:
        status = main(["facts", *words])
    except SystemExit as stop:
        status = stop.code
    assert status in (0, 1, 2) and "Traceback" not in capsys.readouterr().err


LONG = "x" * 5000
ENDLESS = {
    "facts": lambda model, facts: kmod.load_facts(LONG),
    "sample": lambda model, facts: kmod.load_facts(f"trex:{LONG}"),
    "model": lambda model, facts: kmod.load_model(LONG),
    "edits": lambda model, facts: kmod.load_edits(LONG),
    "edit": lambda model, facts: kmod.Edit.load(LONG),
    "subject": lambda model, facts: facts.find(LONG, "P36"),
    "relation": lambda model, facts: facts.find(facts[0].subject, LONG),
    "change": lambda model, facts: facts.modify_to({(f"{i}", "P36"): "Rome" for i in range(3000)}),
    "object": lambda model, facts: kmod.finetune(model, facts.modify_to([(facts[0].subject, facts[0].relation, LONG)])),
    "fact": lambda model, facts: kmod.FactBase([kmod.Fact(LONG, LONG, LONG)], facts.relations, "long"),
    "phrasing": lambda model, facts: kmod.Relation(LONG, LONG, (f"{LONG} [X] [X] [Y]",), ()),
    "statement": lambda model, facts: model.answers([LONG], ["x"]),
    "block": lambda model, facts: kmod.plan(model, LONG),
    "steps": lambda model, facts: kmod.finetune(model, facts.modify(1), steps=LONG),
    "method": lambda model, facts: kmod.editing.methods.find(LONG),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_messages_are_short_whatever_is_given(model, facts, name):
    with pytest.raises((ValueError, OSError, KeyError, TypeError)) as error:
        ENDLESS[name](model, facts)
    assert 0 < len(str(error.value)) <= 300 and "\n" not in str(error.value)
