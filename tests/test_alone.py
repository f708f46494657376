"""Every chapter as a reader of Colab has it: a notebook alone in an empty folder, in a fresh environment with torch and
nothing of the book; its first cell fetches the rest, here from a local repository. `make test-alone`; slow.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted(path.stem for path in (ROOT / "book").glob("*.ipynb"))
COLAB = {  # what Colab has and this machine has not
    "google/colab/__init__.py": "",
    "google/colab/drive.py": "",
    "google/colab/output.py": "def enable_custom_widget_manager():\n    pass\n",
}
RUN = """
import sys, nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], as_version=4)
book.cells.insert(0, nbformat.v4.new_code_cell("import google.colab"))
NotebookClient(book, timeout=1800, resources={"metadata": {"path": "."}}).execute()
"""

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A fresh environment as Colab's: torch and a kernel."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    found = folder / "bin" / "python"
    torch = subprocess.run([sys.executable, "-c", "import torch; print(torch.__version__.split('+')[0])"],
                           capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    subprocess.run([found, "-m", "pip", "install", "-q", f"torch=={torch}", "nbclient", "ipykernel"], check=True)
    return found, torch


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("origin") / "kmod.git"
    subprocess.run(["git", "clone", "-q", "--bare", ROOT, folder], check=True)
    return folder.as_uri()


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_alone(name, python, repository, tmp_path, own_cache):
    binary, torch = python
    for file, text in COLAB.items():
        (tmp_path / "stubs" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "stubs" / file).write_text(text)
    alone = tmp_path / "content"
    alone.mkdir()
    shutil.copy(ROOT / "book" / f"{name}.ipynb", alone)
    mine = {"PYTHONPATH": str(tmp_path / "stubs"), "KMOD_REPOSITORY": repository, "TQDM_DISABLE": "1"}
    mine |= {"KMOD_CACHE": own_cache} if own_cache else {}
    kept = {key: value for key, value in os.environ.items() if key not in ("KMOD_RESULTS", "KMOD_CACHE")}
    done = subprocess.run(
        [binary, "-c", RUN, f"{name}.ipynb"], cwd=alone, env=kept | mine, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (alone / "kmod" / "book" / f"{name}.ipynb").is_file()
    found = subprocess.run([binary, "-m", "pip", "show", "torch", "kmod"], capture_output=True, text=True).stdout
    assert f"Version: {torch}" in found and "Name: kmod" in found, "the first cell changed torch"
