"""The first cell of every chapter, run as on Colab but offline; and the buttons that lead there."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
EXT = ROOT / "book" / "_ext"
spec = importlib.util.spec_from_file_location("colab_cell", EXT / "colab.py")
colab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(colab)

# What Colab has and this machine has not. The stand-ins for pip and uv write down what they are asked for, and install
# an empty package.
INSTALLER = """import json, os, pathlib, sys
json.dump([os.getcwd(), *sys.argv[1:]], open(os.environ["ASKED"], "w"))
found = pathlib.Path(os.environ["PYTHONPATH"]) / "kmod-0.dist-info" / "METADATA"
found.parent.mkdir()
found.write_text("Name: kmod")
"""
STUBS = {
    "google/colab/__init__.py": "",
    "google/colab/drive.py": "def mount(path):\n    print('mounted', path)\n",
    "pip/__init__.py": "",
    "pip/__main__.py": INSTALLER,
}
# In a Python of this machine, where kmod is installed: the cell shall see only what its own stand-in installed.
RUN = """
import json, os, sys
from importlib import metadata
from IPython.core.interactiveshell import InteractiveShell
if os.environ.get("COLAB"):
    import google.colab
every = metadata.distributions
metadata.distributions = lambda **asked: every(path=[os.environ["PYTHONPATH"]], **asked)
before = set(sys.modules)
cell = sys.stdin.read()
for _ in range(int(os.environ["TIMES"])):
    InteractiveShell.instance().run_cell(cell).raise_error()
told = {key: os.environ[key] for key in ("KMOD_CACHE", "KMOD_RESULTS", "KMOD_PROFILE") if key in os.environ}
print("TOLD", json.dumps({"cwd": os.getcwd(), "torch": "torch" in set(sys.modules) - before, **told}))
"""


def git(*command, cwd):
    name = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *name, *command], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """The address of a git repository that holds what a chapter needs."""
    folder = tmp_path_factory.mktemp("git") / "origin"
    shutil.copytree(ROOT / "book", folder / "book", ignore=shutil.ignore_patterns("_static", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "results" / "rq").mkdir(parents=True)
    (folder / "results" / "rq" / "cpu.jsonl").write_text("{}\n")
    git("init", "--quiet", cwd=folder)
    git("add", ".", cwd=folder)
    git("commit", "--quiet", "-m", "all", cwd=folder)
    return folder.as_uri()


@pytest.fixture
def run(tmp_path, repository):
    """A function that runs a cell alone in an empty folder; what it printed, where it led, what pip was asked."""
    stubs, empty = tmp_path / "stubs", tmp_path / "content"
    for name, text in STUBS.items():
        (stubs / name).parent.mkdir(parents=True, exist_ok=True)
        (stubs / name).write_text(text)
    empty.mkdir()

    def call(source: str, on_colab=True, times=1, repository: str = repository, fails: str = "", uv: str = ""):
        asked = tmp_path / "asked.json"
        asked.unlink(missing_ok=True)
        if uv:
            (stubs / "uv").write_text(uv)
            (stubs / "uv").chmod(0o755)
        mine = {"PYTHONPATH": str(stubs), "KMOD_REPOSITORY": repository, "ASKED": str(asked)}
        mine |= {"IPYTHONDIR": str(tmp_path / "ipython"), "COLAB": "1" if on_colab else "", "TIMES": str(times)}
        mine |= {"PATH": f"{stubs}{os.pathsep}{os.environ['PATH']}" if uv else os.defpath}
        kept = {key: value for key, value in os.environ.items() if not key.startswith("KMOD_")}
        done = subprocess.run(
            [sys.executable, "-c", RUN], input=source, cwd=empty, env=kept | mine, capture_output=True, text=True
        )
        if fails:
            assert done.returncode != 0 and fails in done.stderr.splitlines()[-1], done.stdout + done.stderr
            return None
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(re.search(r"TOLD (.*)", done.stdout)[1])
        return done.stdout, told, json.loads(asked.read_text()) if asked.exists() else None

    return call


def chapter_cells():
    chapters = {path.stem: nbformat.read(path, as_version=4).cells for path in colab.chapters()}
    return {name: [c for c in cells if colab.TAG in c.metadata.get("tags", [])] for name, cells in chapters.items()}


def test_every_chapter_starts_with_the_cell():
    assert colab.stale() == []
    for path in colab.chapters():
        cells = nbformat.read(path, as_version=4).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# "), path.name
        assert colab.TAG in code[0].metadata.tags, f"{path.name}: code runs before the library is installed"
        assert "remove-cell" in code[0].metadata.tags


def test_the_cell_is_put_once_and_the_notebook_asks_for_a_gpu(tmp_path):
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title")]), path)
    assert colab.stamp(path, "https://github.com/someone/kmod")
    assert not colab.stamp(path, "https://github.com/someone/kmod")
    assert colab.stamp(path, "https://github.com/another/kmod")
    chapter = nbformat.read(path, as_version=4)
    assert [c.cell_type for c in chapter.cells] == ["markdown", "code"]
    assert 'REPOSITORY = "https://github.com/another/kmod"  # @param {type: "string"}' in chapter.cells[1].source
    assert chapter.metadata.accelerator == "GPU"


def test_on_colab_the_cell_fetches_the_book_and_installs_what_it_names(run, tmp_path):
    source = next(iter(chapter_cells().values()))[0].source
    printed, told, asked = run(source)
    book = tmp_path / "content" / "kmod" / "book"
    assert told == {
        "cwd": str(book), "torch": False, "KMOD_RESULTS": str(book.parent / "results"), "KMOD_PROFILE": ""
    }  # fmt: skip
    assert (book / "task.ipynb").exists() and (book.parent / "results" / "rq" / "cpu.jsonl").exists()
    assert f"Records lie in {book.parent / 'results'}" in printed and "mounted" not in printed
    assert len(printed.splitlines()) <= 4  # a sentence on the records, one on the GPU, and TOLD

    where, *words = asked
    assert where == str(tmp_path / "content")
    assert words[0] == "install" and not {"--upgrade", "-U", "--force-reinstall", "--ignore-installed"} & set(words)
    extras = re.fullmatch(r"\./kmod\[(.*)\]", words[-1])[1]
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= set(known), "the cell asks for extras that the package lacks"


def test_what_colab_has_satisfies_what_the_cell_installs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [Requirement(line) for line in project["dependencies"]]
    wanted += [Requirement(line) for extra in ("charts", "widgets") for line in project["optional-dependencies"][extra]]
    lines = (ROOT / "tests" / "colab.txt").read_text("utf-8").splitlines()
    has = {plain(name): version for name, _, version in (line.partition("==") for line in lines if "==" in line)}
    for one in wanted:
        assert plain(one.name) in has, f"Colab lacks {one.name}: leave it out of charts and widgets"
        assert has[plain(one.name)] in one.specifier, f"Colab's {one.name} would be replaced"
    for newer in ("altair==6.3", "ipywidgets==8.1.9", "pandas==3.1"):
        name, _, version = newer.partition("==")
        assert version in next(one.specifier for one in wanted if one.name == name)


def plain(name: str) -> str:
    return name.lower().replace("_", "-")


@pytest.mark.parametrize("works", [True, False])
def test_uv_installs_where_it_is_and_pip_where_it_fails(run, works):
    _, _, asked = run(colab.cell("").source, uv=f"#!{sys.executable}\n{INSTALLER}" if works else "#!/bin/sh\nexit 1\n")
    assert asked[1:4] == (["pip", "install", "--python"] if works else ["install", "--quiet", "./kmod[charts,widgets]"])
    assert asked[-1] == "./kmod[charts,widgets]"


def test_run_again_the_cell_fetches_nothing(run, tmp_path):
    source, book = colab.cell("").source, tmp_path / "content" / "kmod" / "book"
    _, told, _ = run(source, times=2)  # as "Run all" does
    assert told["cwd"] == str(book) and not (book / "kmod").exists()
    _, told, asked = run(source.replace('PROFILE = "auto"', 'PROFILE = "gpu"'))  # the kernel was restarted
    assert asked is None and told["cwd"] == str(book) and told["KMOD_PROFILE"] == "gpu"


def test_an_interrupted_install_is_done_again(run, tmp_path):
    run(colab.cell("").source)
    (tmp_path / "stubs" / "kmod-0.dist-info" / "METADATA").unlink()
    (tmp_path / "stubs" / "kmod-0.dist-info").rmdir()
    assert run(colab.cell("").source)[2] is not None


def test_without_a_book_to_fetch_the_cell_says_so(run, tmp_path):
    run(colab.cell("").source, repository="", fails="write the address into REPOSITORY above")
    run(colab.cell("").source, repository=(tmp_path / "nowhere").as_uri(), fails="there is no book at file://")


def test_results_can_be_kept_on_drive(run, tmp_path):
    source = colab.cell("").source.replace("KEEP_ON_DRIVE = False", "KEEP_ON_DRIVE = True")
    printed, told, _ = run(source.replace("/content/drive", str(tmp_path / "drive")))
    kept = tmp_path / "drive" / "MyDrive" / "kmod"
    assert "mounted" in printed
    assert (told["KMOD_CACHE"], told["KMOD_RESULTS"]) == (str(kept / "cache"), str(kept / "results"))
    assert (kept / "cache").is_dir() and (kept / "results" / "rq" / "cpu.jsonl").exists()


def test_elsewhere_the_cell_does_nothing(run, tmp_path):
    _, told, asked = run(colab.cell("").source, on_colab=False)
    assert asked is None
    assert told == {"cwd": str(tmp_path / "content"), "torch": False}
    assert not list((tmp_path / "content").iterdir())


@pytest.mark.parametrize("remote", ["", "git@github.com:someone/kmod.git"])
def test_buttons_lead_to_where_the_book_is_built(tmp_path, remote, monkeypatch):
    pytest.importorskip("sphinx_book_theme")
    source = tmp_path / "source"
    (source / "book").mkdir(parents=True)
    (source / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(EXT)!r})\nextensions = ['myst_nb', 'colab']\n"
        "html_theme = 'sphinx_book_theme'\nroot_doc = 'index'\nnb_execution_mode = 'off'\n"
    )
    (source / "index.md").write_text("# Book\n\n```{toctree}\nbook/page\n```\n")
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Page")]), source / "book" / "page.ipynb"
    )
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    git("init", "--quiet", cwd=source)
    if remote:
        git("remote", "add", "origin", remote, cwd=source)
    subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", str(source), str(tmp_path / "html")], check=True)
    chapter, prose = ((tmp_path / "html" / f"{page}.html").read_text("utf-8") for page in ("book/page", "index"))
    address, target = "https://github.com/someone/kmod", "https://colab.research.google.com/github/someone/kmod"
    for page in (chapter, prose):
        assert (f'href="{address}"' in page) == (f'href="{address}/issues/new?' in page) == bool(remote)
    assert (f"{target}/blob/main/book/page.ipynb" in chapter) == bool(remote)
    assert "colab.research.google.com" not in prose
