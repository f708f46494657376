"""The command line, as a newcomer meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kmod.cli import main, parser

PEOPLE = ["--facts", "bios:8"]


def test_help_shows_a_first_session(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    for word in ("memorise", "edit", "evaluate", "facts", "--set France P36 Rome", "a first session"):
        assert word in text


def test_facts(capsys):
    assert main(["facts", "list"]) == 0
    assert "P36          capital" in capsys.readouterr().out
    assert main(["facts", "list", "P36"]) == 0
    assert "France\tParis" in capsys.readouterr().out
    assert main(["facts", "show", "france"]) == 0
    assert "P36 capital: Paris" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv, message",
    [
        (["facts", "list", "P0"], "unknown relation 'P0'; known: P36"),
        (["facts", "show", "Narnia"], "no facts about 'Narnia'"),
        (["facts", "list", "--facts", "atlantis"], "unknown facts 'atlantis'; known: atlas"),
        (
            ["edit", "--model", "nowhere", "--set", "France", "P36", "Rome", "--out", "x", "--delta", "-1"],
            "delta must be",
        ),
        (
            ["edit", "--model", "nowhere", "--set", "France", "P36", "Rome", "--out", "x", "--block", "last"],
            "--block is",
        ),
        (["edit", "--model", "nowhere", "--set", "France", "P36", "Rome", "--out", "."], "--out needs a file"),
        (["evaluate", "--model", "nowhere"], "no model 'nowhere'"),
    ],
)
def test_mistakes_are_one_clear_line(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    out = capsys.readouterr()
    assert message in out.err and len(out.err.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_a_fault_of_kmod_does_not_look_like_a_mistake_of_the_user(capsys, monkeypatch):
    def fail(name):
        return {}["own"]

    monkeypatch.setattr("kmod.sources.commands.load_facts", fail)
    assert main(["facts", "list"]) == 1
    out = capsys.readouterr()
    assert out.err.startswith("kmod: unexpected KeyError: 'own' (a fault of kmod: run it again with KMOD_DEBUG=1")
    assert len(out.err.splitlines()) == 1
    monkeypatch.setenv("KMOD_DEBUG", "1")
    assert main(["facts", "list"]) == 1
    assert "Traceback" in (text := capsys.readouterr().err) and 'return {}["own"]' in text
    monkeypatch.undo()
    monkeypatch.setenv("KMOD_DEBUG", "1")
    assert main(["facts", "list", "P0"]) == 2
    assert "Traceback" in (text := capsys.readouterr().err) and "\nkmod: unknown relation 'P0'" in text


def test_memorise_edit_evaluate(tmp_path, capsys):
    folder, edit = str(tmp_path / "model"), str(tmp_path / "an.edit")
    assert main(["memorise", "--out", folder, *PEOPLE]) == 0
    assert "recall on evidences" in capsys.readouterr().out
    assert main(["evaluate", "--model", folder, "--json", *PEOPLE]) == 0
    assert json.loads(capsys.readouterr().out)["evidences"]["value"] > 0.3
    from kmod import load_facts

    fact = load_facts("bios:8")[4]
    new = "pilot" if fact.object != "pilot" else "lawyer"
    assert main(["edit", "--model", folder, "--set", fact.subject, fact.relation, new, "--delta", "1e-2", "--steps",
    "40",
                 "--out", edit, "--merge", str(tmp_path / "merged"), *PEOPLE]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "Edit(FTM: 1 facts" in out and f"saved to {edit}" in out and "→" in out
    assert main(["evaluate", "--model", folder, "--edit", edit, *PEOPLE]) == 0
    assert "ΔA_F∖S" in capsys.readouterr().out
    change = [
        "--model",
        folder,
        "--set",
        fact.subject,
        fact.relation,
        new,
        "--steps",
        "2",
        "--out",
        edit + "2",
        *PEOPLE,
    ]
    for name, option in (
        ("KL", ["weight", "0.5"]),
        ("loss-constrained", ["delta", "0.1"]),
        ("EWC", ["evidences", "3"]),
        ("low-curvature", ["evidences", "3"]),
    ):
        assert main(["edit", *change, "--method", name, "--option", *option, "--constraint", "L2"]) == 0
        assert f"Edit({name}: 1 facts" in capsys.readouterr().out
    assert main(["edit", *change, "--method", "KL", "--option", "width", "3"]) == 2
    assert "has no option 'width'; it has: weight" in capsys.readouterr().err
    assert (
        main(["edit", *change, "--method", "MEND"]) == 2 and "no method 'MEND'; known: FTM" in capsys.readouterr().err
    )
    assert main(["evaluate", "--model", str(tmp_path / "merged"), "--edit", edit, "--json", *PEOPLE]) == 2
    assert "is the model with the edit" in capsys.readouterr().err
    assert main(["evaluate", "--model", folder, "--edit", edit, "--facts", "bios:9"]) == 2
    assert "was made on the facts 'bios:8'" in capsys.readouterr().err


def test_a_fact_with_several_objects_asks_which(tmp_path, capsys):
    rows = [f"Switzerland,P37,{name},In Bern: [MASK].,Bern speaks [MASK]." for name in ("German", "French")]
    (tmp_path / "F.CSV").write_text("\n".join(["subject,relation,object,evidences,tests", *rows]))
    facts, out = ["--facts", str(tmp_path / "F.CSV")], str(tmp_path / "an.edit")
    for new, status in (("Spanish", 2), ("French -> Spanish", 0)):
        fact = ["Switzerland", "P37", new]
        assert main(["try", *fact, *facts]) == status
        said = capsys.readouterr()
        assert main(["edit", "--set", *fact, "--steps", "2", "--out", out, *facts]) == status
        if status:
            assert "Switzerland has 2 objects in P37 (German, French): say which" in said.err
            assert capsys.readouterr().err == said.err and len(said.err.splitlines()) == 1
        else:
            assert "Switzerland: French → Spanish" in said.out
    assert main(["evaluate", "--edit", out, *facts]) == 0


def test_memorise_does_not_write_over_other_things(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["memorise", "--out", str(tmp_path), *PEOPLE]) == 2
    assert "is not a model folder" in capsys.readouterr().err


def test_output_into_head_is_quiet():
    command = f"{sys.executable} -m kmod facts list P36 | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.stdout.count("\n") == 1 and not done.stderr


def test_import_is_light_and_the_module_runs():
    code = (
        "import sys, kmod; print([m for m in ('altair', 'ipywidgets', 'datasets', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    done = subprocess.run([sys.executable, "-m", "kmod", "facts", "list"], capture_output=True, text=True, check=True)
    assert "atlas" in done.stdout


def test_profile_and_records_are_by_default_those_that_the_environment_names(monkeypatch, tmp_path):
    monkeypatch.setenv("KMOD_PROFILE", "")  # as the chapters' first cell sets it where nothing is chosen
    monkeypatch.delenv("KMOD_RESULTS", raising=False)
    args = parser().parse_args(["run", "rq2_where"])
    assert (args.profile, args.out) == ("cpu", Path("results"))
    monkeypatch.setenv("KMOD_PROFILE", "gpu")
    monkeypatch.setenv("KMOD_RESULTS", str(tmp_path))
    args = parser().parse_args(["run", "rq2_where"])
    assert (args.profile, args.out) == ("gpu", tmp_path)
