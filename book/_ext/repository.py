"""Where this project lives: the address that buttons, badges, citations and the chapters' first cell lead to.

    python book/_ext/repository.py          # prints the address: https://github.com/NAME/kmod
    python book/_ext/repository.py --write  # writes it, and the version, wherever a file of the project says them

The address is that of the place the book is built in, so that a fork's book points at the fork: $GITHUB_REPOSITORY,
which GitHub's workflows set; else the remote called origin; else `kmod_repository` in _config.yml; else "".
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).parents[2]
BUILT_IN = ("", "_build/source/")  # where in its repository the book is built; elsewhere, the repository is another one
BADGES = """[![Tests]({address}/actions/workflows/test.yml/badge.svg)]({address}/actions/workflows/test.yml)
[![Book]({address}/actions/workflows/book.yml/badge.svg)](https://{owner}.github.io/{repository}/)
[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{owner}/{repository}/blob/main/book/first_edit.ipynb)
[![Launch on Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/{owner}/{repository}/main?urlpath=lab/tree/book)"""


def setting(root: Path = ROOT) -> str:
    return yaml.safe_load((root / "_config.yml").read_text("utf-8"))["sphinx"]["config"]["kmod_repository"]


def address(root: Path = ROOT, fallback: str = "") -> str:
    """The repository's page on the web, without credentials; `fallback` if the place does not say."""
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}"
    if _git(root, "rev-parse", "--show-prefix") in BUILT_IN:
        return page(_git(root, "remote", "get-url", "origin") or "") or fallback
    return fallback


def page(remote: str) -> str:
    """The web page of a remote: "git@github.com:NAME/kmod.git" → "https://github.com/NAME/kmod"; "" for a folder."""
    if scp := re.fullmatch(r"(?:[^@/:]+@)?([^@/:]+\.[^@/:]+):(?!//)/?(.+)", remote):  # [USER@]HOST:PATH
        host, path = scp.groups()
    else:
        url = urlsplit(remote)
        host, path = url.hostname or "", url.path if url.scheme in ("http", "https", "ssh", "git") else ""
    path = path.strip("/").removesuffix(".git")
    return f"https://{host}/{path}" if host and path.count("/") else ""


def _git(root: Path, *command: str) -> str | None:
    """What git prints in the folder `root`; None if there is no git, or no repository."""
    try:
        done = subprocess.run(["git", "-C", root, *command], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def on_github(address: str) -> bool:
    return address.startswith("https://github.com/")


def badges(address: str) -> str:
    """The lines of badges that README begins with; none where the repository is not on GitHub."""
    if not on_github(address):
        return ""
    owner, repository = address.removeprefix("https://github.com/").split("/")
    return BADGES.format(address=address, owner=owner, repository=repository) + "\n"


def version(root: Path = ROOT) -> str:
    """The version of the library: `__version__` in kmod/__init__.py, the one place that says it."""
    return re.search(r'^__version__ = "(.+)"', (root / "kmod" / "__init__.py").read_text("utf-8"), flags=re.M)[1]


def written(root: Path, address: str) -> dict[Path, str]:
    """File → what it has to be, for each file that says the address or the version."""
    names = "_config.yml", "README.md", "pyproject.toml", "CITATION.cff", ".zenodo.json"
    config, readme, project, citation, archive = (root / name for name in names)
    texts = {path: path.read_text("utf-8") for path in (config, readme, project, citation)}
    texts[config] = re.sub(r'(kmod_repository: )".*"', rf'\1"{address}"', texts[config])
    block = f"<!-- badges -->\n{badges(address)}<!-- /badges -->"
    texts[readme] = re.sub(r"<!-- badges -->\n.*?<!-- /badges -->", lambda _: block, texts[readme], flags=re.S)
    text = re.sub(r"^Repository = .*\n", "", texts[project], flags=re.M)
    line = f'Repository = "{address}"\n' if address else ""
    texts[project] = text.replace("[project.urls]\n", f"[project.urls]\n{line}")
    text = re.sub(r"^repository-code: .*\n", "", texts[citation], flags=re.M)
    line = f'repository-code: "{address}"\n' if address else ""
    texts[citation] = re.sub(r"^version: .*\n", f"version: {version(root)}\n{line}", text, flags=re.M)
    record = json.loads(archive.read_text("utf-8")) | {"version": version(root)}
    others = [each for each in record["related_identifiers"] if each["relation"] != "isSupplementTo"]
    own = [{"identifier": address, "relation": "isSupplementTo", "resource_type": "software"}] if address else []
    record["related_identifiers"] = own + others
    texts[archive] = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    return texts


if __name__ == "__main__":
    found = address(fallback=setting())
    if "--write" in sys.argv:
        import colab  # beside this file
        import croissant

        for path, text in written(ROOT, found).items():
            path.write_text(text, "utf-8")
        for chapter in colab.chapters():
            colab.stamp(chapter, found)
        (croissant.ATLAS / "croissant.json").write_text(croissant.text(found), "utf-8")
    print(found or "this copy has no address: it has no remote called origin on the web")
