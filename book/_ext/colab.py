"""Colab: the first cell of every chapter, and the buttons on every page. Both lead to the repository that
`repository.py`, beside this file, finds.

`python book/_ext/colab.py` writes the cell into all chapters, with the address in _config.yml; `--check` tells which
lack it or hold another. As a Sphinx extension it turns on the buttons where the repository is on GitHub.
"""

import sys
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).parent))
import repository

ROOT = Path(__file__).parents[2]
TAG = "colab"
CELL = """# @title On Colab: fetch the book and install kmod. What Colab has stays as it is; elsewhere nothing happens.
PROFILE = "auto"  # @param ["auto", "smoke", "cpu", "gpu"]
REPOSITORY = "{repository}"  # @param {{type: "string"}}
KEEP_ON_DRIVE = False  # @param {{type: "boolean"}}

import os
import sys
from importlib import metadata

if "google.colab" in sys.modules:
    if not os.getcwd().endswith("kmod/book"):
        if not os.path.exists("kmod/book"):
            address = os.environ.get("KMOD_REPOSITORY", REPOSITORY)
            if not address:
                raise ValueError("this copy does not know its repository: write the address into REPOSITORY above")
            !git clone --quiet --depth 1 {{address}} kmod
            if not os.path.exists("kmod/book"):
                raise FileNotFoundError(f"there is no book at {{address}}")
        if not list(metadata.distributions(name="kmod")):  # uv, where it is, takes a third of pip's time
            new = '--quiet "./kmod[charts,widgets]"'
            !uv pip install --python {{sys.executable}} {{new}} 2>/dev/null || {{sys.executable}} -m pip install {{new}}
        os.chdir("kmod/book")
    os.environ["KMOD_PROFILE"] = "" if PROFILE == "auto" else PROFILE
    os.environ["KMOD_RESULTS"] = os.path.abspath("../results")
    if KEEP_ON_DRIVE:
        from google.colab import drive

        drive.mount("/content/drive")
        os.environ["KMOD_CACHE"] = "/content/drive/MyDrive/kmod/cache"
        os.environ["KMOD_RESULTS"] = "/content/drive/MyDrive/kmod/results"
        !mkdir -p $KMOD_CACHE && cp -rn ../results /content/drive/MyDrive/kmod/
        print("Your Drive keeps the records and what is memorised, in its folder kmod.")
    else:
        print("Records lie in", os.environ["KMOD_RESULTS"], "and end with the session. KEEP_ON_DRIVE keeps them;")
        print("to take them away: !zip -qr records.zip ../results, and google.colab.files.download('records.zip')")
    if not os.path.exists("/dev/nvidia0"):
        print("No GPU here: the chapters need none. For larger runs: Runtime, Change runtime type, T4 GPU.")"""
ON_COLAB = {"accelerator": "GPU", "colab": {"gpuType": "T4", "provenance": []}}  # a notebook's metadata: ask for a GPU


def chapters(folder: Path = ROOT / "book") -> list[Path]:
    return sorted(folder.glob("*.ipynb"))


def cell(address: str):
    """The first cell of a chapter that lives at `address`. Colab shows it as a form."""
    metadata = {"cellView": "form", "tags": [TAG, "remove-cell", "nbval-skip"]}
    return nbformat.v4.new_code_cell(CELL.format(repository=address), id="colab", metadata=metadata)


def stamp(path: Path, address: str) -> bool:
    """Put the cell after the title of the chapter, in place of an older one; whether anything changed."""
    chapter = nbformat.read(path, as_version=4)
    older = [c for c in chapter.cells if TAG in c.metadata.get("tags", [])]
    cells = [c for c in chapter.cells if c not in older]
    cells.insert(1, cell(address))
    cells[1].execution_count = older[0].execution_count if older else None
    changed = cells != chapter.cells or any(chapter.metadata.get(key) != value for key, value in ON_COLAB.items())
    if changed:
        chapter.cells = cells
        chapter.metadata |= ON_COLAB
        nbformat.write(chapter, path)
    return changed


def stale() -> list[Path]:
    """The chapters whose first cell is not the one that the settings ask for."""
    wanted, found = cell(repository.setting()), {path: nbformat.read(path, as_version=4).cells for path in chapters()}
    tagged = {path: [c for c in cells if TAG in c.metadata.get("tags", [])] for path, cells in found.items()}
    asked = [(wanted.source, wanted.metadata)]
    return [path for path, cells in tagged.items() if [(c.source, c.metadata) for c in cells] != asked]


def setup(app):
    def buttons(app, config):
        address = repository.address(Path(app.confdir), config.kmod_repository)
        if repository.on_github(address):
            config.html_theme_options |= {
                "repository_url": address,
                "repository_branch": "main",
                "use_repository_button": True,
                "use_issues_button": True,
                "launch_buttons": {
                    "colab_url": "https://colab.research.google.com",
                    "notebook_interface": "jupyterlab",
                },
            }

    app.add_config_value("kmod_repository", "", "html", [str])
    app.connect("config-inited", buttons, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    if "--check" in sys.argv:
        print("\n".join(f"{path}: run python book/_ext/colab.py" for path in stale()) or "the first cells are as set")
        sys.exit(bool(stale()))
    for path in chapters():
        if stamp(path, repository.setting()):
            print(f"{path}: first cell written")
