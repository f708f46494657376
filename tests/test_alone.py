"""Chapters as a reader of Colab has them: a notebook alone in an empty folder, in a fresh environment that has nothing
of the book; its first cell fetches the rest, here from a local repository. Slow, and not part of `make test`.

`make test-alone` runs every chapter beside torch and a kernel. `make test-colab` runs the lab and two chapters in an
environment of Colab's versions (colab.txt), made by the Python that runs this: Colab's is 3.13. $KMOD_COLAB_PYTHON is
the Python of such an environment that is there already.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted(path.stem for path in (ROOT / "book").glob("*.ipynb"))
STUBS = {"google/colab/__init__.py": "", "google/colab/drive.py": ""}  # what Colab has and this machine has not
RUN = """
import sys, nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], as_version=4)
book.cells.insert(0, nbformat.v4.new_code_cell("import google.colab"))
NotebookClient(book, timeout=1800, resources={"metadata": {"path": "."}}).execute()
"""


def installed(python) -> set[str]:
    """What `pip list` says of an environment: name==version."""
    command = [python, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    return {line for line in done.stdout.splitlines() if "==" in line}


def fresh(folder: Path, *packages: str) -> Path:
    """The Python of a new environment with the packages."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return python


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A fresh environment: torch and a kernel."""
    torch = subprocess.run([sys.executable, "-c", "import torch; print(torch.__version__.split('+')[0])"],
                           capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    return fresh(tmp_path_factory.mktemp("environment"), f"torch=={torch}", "nbclient", "ipykernel")


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """An environment with Colab's versions of everything."""
    if found := os.environ.get("KMOD_COLAB_PYTHON"):
        return Path(found)
    return fresh(tmp_path_factory.mktemp("colab"), "-r", str(ROOT / "tests" / "colab.txt"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("origin") / "kmod.git"
    subprocess.run(["git", "clone", "-q", "--bare", ROOT, folder], check=True)
    return folder.as_uri()


@pytest.fixture
def run(repository, tmp_path, own_cache):
    """A function that runs a chapter alone in an empty folder, with a Python; what was installed by that."""

    def call(name: str, python: Path) -> set[str]:
        for file, text in STUBS.items():
            (tmp_path / "stubs" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "stubs" / file).write_text(text)
        alone = tmp_path / name
        alone.mkdir()
        shutil.copy(ROOT / "book" / f"{name}.ipynb", alone)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("KMOD_")}
        mine = {"PYTHONPATH": str(tmp_path / "stubs"), "KMOD_REPOSITORY": repository, "TQDM_DISABLE": "1"}
        mine |= {"KMOD_CACHE": own_cache} if own_cache else {}
        before = installed(python)
        command = [python, "-c", RUN, f"{name}.ipynb"]
        done = subprocess.run(command, cwd=alone, env=kept | mine, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        assert (alone / "kmod" / "book" / f"{name}.ipynb").is_file()
        after = installed(python)
        assert before <= after, f"the first cell replaced {sorted(before - after)}"
        return after - before

    return call


@pytest.mark.alone
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_alone(name, python, run):
    run(name, python)
    assert any(line.startswith("kmod==") for line in installed(python))


@pytest.mark.colab
def test_the_lab_and_two_chapters_in_colabs_versions(colab, run):
    assert {line.partition("==")[0] for line in run("edit_lab", colab)} == {"kmod"}
    assert run("first_edit", colab) == run("rq1", colab) == set()
