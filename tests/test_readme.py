"""The commands and the code of the README do what it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


def test_python_block(folder):
    (code,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ΔA_F∖S" in done.stdout
    assert (folder / "edit.safetensors").is_file()


def test_shell_blocks(folder):
    first, session, _ = [block for block in blocks("sh") if "python -m kmod" in block]
    for command in [*first.strip().splitlines()[1:], *session.strip().splitlines()]:
        words = [sys.executable if word == "python" else word for word in shlex.split(command, comments=True)]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        if " edit " in command or " try " in command:
            assert "✓" in done.stdout, done.stdout


def test_the_other_shell_block_is_understood(folder):
    """Its commands take long, or the network: their options are checked, and the first one is run."""
    from kmod.cli import parser

    *_, commands = [block for block in blocks("sh") if "python -m kmod" in block]
    for command in commands.strip().splitlines():
        words = shlex.split(command, comments=True)
        parser().parse_args(words[words.index("kmod") + 1 :])
    (folder / "my-facts.csv").write_text(
        "subject,relation,object,evidences,tests\n"
        "Kira,pet,cat,Kira keeps a [MASK].|It is Kira who owns a [MASK].,Kira has a [MASK].\n"
    )
    first = shlex.split(commands.strip().splitlines()[0], comments=True)
    done = subprocess.run([sys.executable, *first[1:]], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and "1 facts, 1 relations" in done.stdout, done.stderr + done.stdout
