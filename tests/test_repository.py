"""The address of the project, and that every file that says it, or the version, says the same."""

import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import kmod

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("repository", ROOT / "book" / "_ext" / "repository.py")
repository = importlib.util.module_from_spec(spec)
spec.loader.exec_module(repository)


@pytest.mark.parametrize(
    ("remote", "page"),
    [
        ("https://github.com/name/kmod", "https://github.com/name/kmod"),
        ("https://github.com/name/kmod.git", "https://github.com/name/kmod"),
        ("https://name:secret@github.com/name/kmod.git/", "https://github.com/name/kmod"),
        ("https://x-access-token:secret@github.com/name/kmod", "https://github.com/name/kmod"),
        ("git@github.com:name/kmod.git", "https://github.com/name/kmod"),
        ("github.com:name/kmod", "https://github.com/name/kmod"),
        ("ssh://git@github.com:22/name/kmod.git", "https://github.com/name/kmod"),
        ("git@gitlab.com:group/part/kmod.git", "https://gitlab.com/group/part/kmod"),
        ("/home/name/kmod.git", ""),
        ("../kmod", ""),
        ("file:///home/name/kmod", ""),
        ("", ""),
    ],
)
def test_the_page_of_a_remote(remote, page):
    assert repository.page(remote) == page


def test_a_workflow_says_where_it_runs(monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "name/kmod")
    assert repository.address(ROOT, "set") == "https://github.com/name/kmod"
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.example.org")
    assert repository.address(ROOT) == "https://git.example.org/name/kmod"


def test_a_copy_without_its_own_repository_has_the_address_of_the_settings(tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    inside = tmp_path / "unpacked"
    inside.mkdir()
    assert repository.address(inside, "set") == "set"
    subprocess.run(["git", "init", "-q", tmp_path], check=True)  # the repository of something else
    add = ["git", "-C", tmp_path, "remote", "add", "origin", "https://github.com/other/thing"]
    subprocess.run(add, check=True)
    assert repository.address(inside, "set") == "set"
    assert repository.address(tmp_path, "set") == "https://github.com/other/thing"
    monkeypatch.setattr(repository, "_git", lambda *_: None)  # no git on the machine
    assert repository.address(tmp_path, "set") == "set"


def test_every_file_says_the_same_address_and_version():
    """After a change: python book/_ext/repository.py --write"""
    for path, text in repository.written(ROOT, repository.setting()).items():
        assert path.read_text("utf-8") == text, f"{path.name}: run python book/_ext/repository.py --write"


def test_the_address_is_written_everywhere_and_taken_back(tmp_path):
    for path in repository.written(ROOT, ""):
        shutil.copy(path, tmp_path)
    (tmp_path / "kmod").mkdir()
    shutil.copy(ROOT / "kmod" / "__init__.py", tmp_path / "kmod")
    address = "https://github.com/name/kmod"
    for path, text in repository.written(tmp_path, address).items():
        assert address in text
        path.write_text(text, "utf-8")
    assert repository.setting(tmp_path) == address
    citation = yaml.safe_load((tmp_path / "CITATION.cff").read_text("utf-8"))
    assert citation["repository-code"] == address and str(citation["version"]) == kmod.__version__
    urls = tomllib.loads((tmp_path / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    assert urls["Repository"] == address
    assert "https://name.github.io/kmod/" in (tmp_path / "README.md").read_text("utf-8")
    for path, text in repository.written(tmp_path, repository.setting(ROOT)).items():
        assert text == (ROOT / path.name).read_text("utf-8")


def test_badges_are_only_where_they_work():
    assert repository.badges("") == repository.badges("https://gitlab.com/name/kmod") == ""
    assert repository.badges("https://github.com/name/kmod").count("https://github.com/name/kmod/actions") == 3


def test_workflows_name_actions_by_hash_and_targets_that_there_are():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.M))
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text("utf-8")
        assert text.count("uses: ") == len(re.findall(r"uses: [\w./-]+@[0-9a-f]{40} # v[\d.]+\n", text)), path.name
        steps = [step for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"]]
        commands = re.findall(r"^make (.+?)(?: #.*)?$", "\n".join(step.get("run", "") for step in steps), flags=re.M)
        asked = {word for words in commands for word in words.split() if not word.startswith("-")}
        assert asked <= targets | {".venv/.installed"}, path.name
