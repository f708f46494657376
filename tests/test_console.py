"""Every command with every console: the work is done, files are whole, and nothing of Python's insides is shown."""

import copy
import errno
import io
import json
import os
import subprocess
import sys
from functools import partial

import pytest
from safetensors import SafetensorError
from synthetic_runs import record

import kmod
import kmod.play
import kmod.pretraining
from kmod.cli import main, parser
from kmod.experiments import rerun, runner
from kmod.experiments.suites import PROFILES
from kmod.files import append

ROWS = [
    ("France", "P36", "Paris"),
    ("Italy", "P36", "Rome"),
    ("Peru", "P36", "Lima"),
    ("Brazil", "P37", "Portuguese"),
]


class Failing(io.RawIOBase):
    """A stream whose every write fails, as that into a closed pipe or onto a full disk does."""

    def __init__(self, number):
        self.number = number

    def writable(self):
        return True

    def write(self, data):
        raise OSError(self.number, os.strerror(self.number))


def text(raw, encoding="utf-8"):
    return io.TextIOWrapper(io.BufferedWriter(raw, 64) if isinstance(raw, io.RawIOBase) else raw, encoding=encoding)


CONSOLES = {
    "ascii": lambda: text(io.BytesIO(), "ascii"),
    "cp1252": lambda: text(io.BytesIO(), "cp1252"),
    "closed pipe": lambda: text(Failing(errno.EPIPE)),
    "full disk": lambda: text(Failing(errno.ENOSPC)),
    "none": lambda: None,
}
FACTS = ["--facts", "few.csv"]
COMMANDS = {
    "try": ["try", "France", "P36", "Rome", *FACTS],
    "facts list": ["facts", "list", *FACTS],
    "facts show": ["facts", "show", "France", *FACTS],
    "facts count": ["facts", "count", *FACTS, "--out", "counts.jsonl"],
    "facts sets": ["facts", "sets"],
    "memorise": ["memorise", "--out", "model", "--epochs", "1", *FACTS],
    "pretrain": ["pretrain", "--text", "text.txt", "--vocab", "vocab.txt", "--length", "16", "--batch-size", "2",
                 "--steps", "2", "--without-facts", "few.csv", "--out", "pretrained"],
    "edit": ["edit", "--set", "France", "P36", "Rome", "--steps", "2", "--out", "an.edit", "--merge", "merged", *FACTS],
    "evaluate": ["evaluate", *FACTS],
    "run": ["run", "rq5_scale", "--profile", "smoke", "--out", "records"],
    "report": ["report", "rq5_scale", "--profile", "smoke", "--out", "records"],
    "status": ["status", "rq5_scale", "--profile", "smoke", "--out", "records"],
    "claims": ["claims", "--out", "records"],
    "rerun": ["rerun", "--sample", "1", "--out", "done", "--json", "again.jsonl"],
    "merge": ["merge", "other", "--out", "records"],
    "play": ["play", "--out", "play"],
    "help": ["edit", "--help"],
}  # fmt: skip
WRITES = {
    "facts count": ["counts.jsonl"],
    "memorise": ["model/model.safetensors", "model/record.json"],
    "pretrain": ["pretrained/model.safetensors", "pretrained/pretraining.json"],
    "edit": ["an.edit", "merged/model.safetensors", "merged/config.json"],
    "run": ["records/rq5_scale/smoke.jsonl"],
    "rerun": ["again.jsonl"],
    "play": ["play/index.js", "play/france-p36.js"],
}
"""What a command must have written, whatever became of its output."""


@pytest.fixture
def here(tmp_path, monkeypatch, _memorised):
    """A folder with few facts and a text, and commands that train for two steps of the smallest model."""
    monkeypatch.chdir(tmp_path)
    lines = [f"{s},{r},{o},{s} – {r} is [MASK].,{s} ({r}): [MASK]." for s, r, o in ROWS]
    (tmp_path / "few.csv").write_text("\n".join(["subject,relation,object,evidences,tests", *lines]), "utf-8")
    (tmp_path / "text.txt").write_text("Łódź is a city – in Poland.\n\n" * 40, "utf-8")
    (tmp_path / "vocab.txt").write_text("\n".join(_memorised.tokenizer.get_vocab()), "utf-8")
    (tmp_path / "other").mkdir()
    few, load = kmod.load_facts("few.csv"), kmod.load_model

    def load_model(name, *args, **options):
        return copy.deepcopy(_memorised) if name == "nano-atlas" else load(name, *args, **options, device="cpu")

    def local(groups, states, until):
        for group in groups:
            yield group, [record(run, status="failed", reason="Ł → ∞") for run in group[1]]

    monkeypatch.setattr(kmod, "load_model", load_model)
    monkeypatch.setattr("kmod.models.load_model", load_model)
    monkeypatch.setattr("kmod.sources.commands.sets.verify", lambda base: ["Łódź → as recorded"])
    monkeypatch.setattr(kmod, "memorise", partial(kmod.memorise, least_steps=2))
    monkeypatch.setattr(kmod.pretraining, "pretrain", partial(kmod.pretrain, held_out=4))
    setting = PROFILES["smoke"].setting("FTM", "all")
    append(tmp_path / "done" / "rq5_scale" / "smoke.jsonl", [record(setting)])
    monkeypatch.setattr(rerun, "work", lambda bench, runs: [record(run, reason="Ł → ∞") for run in runs])
    monkeypatch.setattr(runner, "local", local)
    monkeypatch.setattr("kmod.play.edits.BLOCKS", {"all": "all"})
    monkeypatch.setitem(kmod.play.edits.TRAINING, "steps", 2)
    choices = [("France", "P36", ("Rome",))]
    make = partial(kmod.play.make, choices=choices, deltas=[None])
    monkeypatch.setattr("kmod.play.make", lambda out, model, facts: make(out, model, few))
    return tmp_path


@pytest.mark.parametrize("console", CONSOLES)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_works_with_every_console(name, console, here, monkeypatch):
    out, err = CONSOLES[console](), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", None if console == "none" else err)
    try:
        status = main(COMMANDS[name])
    except SystemExit as stop:
        status = stop.code or 0
    said = err.getvalue()
    assert status == (console == "full disk" and name != "help"), said
    assert "Traceback" not in said and ("could not be written" in said) == bool(status)
    assert not isinstance(getattr(out, "buffer", None), io.BytesIO) or out.buffer.getvalue()
    for path in WRITES.get(name, []):
        assert (here / path).stat().st_size
    if name == "edit":
        assert len(kmod.Edit.load(here / "an.edit").made["facts"]) == 1
    if name == "run":
        assert all(map(json.loads, (here / WRITES["run"][0]).read_text("utf-8").splitlines()))


def test_every_command_is_tried():
    (commands,) = [a.choices for a in parser()._actions if a.dest == "command"]
    (verbs,) = [a.choices for a in commands["facts"]._actions if a.dest == "verb"]
    assert {argv[0] for argv in COMMANDS.values()} == set(commands)
    assert {argv[1] for argv in COMMANDS.values() if argv[0] == "facts"} == set(verbs)


def test_edit_in_a_real_console_of_cp1252(here):
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "kmod", *COMMANDS["edit"]]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    assert b"merged into merged" in done.stdout and (here / "merged" / "model.safetensors").is_file()


ERRORS = [IndexError, EOFError, RuntimeError, SafetensorError, AttributeError, KeyError, OSError, RecursionError]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", ["facts list", "evaluate", "status", "merge", "pretrain"])
def test_no_error_of_a_command_is_a_traceback(name, error, here, monkeypatch, capsys):
    def fail(*args, **options):
        raise error("no\nluck ∞")

    for where in ("sources.commands.load_facts", "load_facts", "experiments.runner.plan", "experiments.records.merge"):
        monkeypatch.setattr(f"kmod.{where}", fail)
    monkeypatch.delenv("KMOD_DEBUG", raising=False)
    assert main(COMMANDS[name]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kmod: ") and "luck" in line
    monkeypatch.setenv("KMOD_DEBUG", "1")
    assert main(COMMANDS[name]) in (1, 2)
    assert "Traceback" in capsys.readouterr().err
