"""Colab: the first cell of every chapter, and the launch buttons; from one setting, `kmod_repository` in _config.yml.

`python book/_ext/colab.py` writes the cell into all chapters, `--check` tells which lack it or hold another. As a
Sphinx extension it turns on the buttons once the repository has an address.
"""

import sys
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).parents[2]
TAG = "colab"
CELL = """# On Colab: fetch the book with its records, and install the library; Colab's own torch stays.
REPOSITORY = "{repository}"
KEEP_ON_DRIVE = False  # True: memorised models and new records outlive this session

import os
import sys

if "google.colab" in sys.modules and not os.getcwd().endswith("kmod/book"):
    from google.colab import drive, output

    if not os.path.exists("kmod/book"):
        address = os.environ.get("KMOD_REPOSITORY", REPOSITORY)
        if not address:
            raise ValueError("this copy does not know where its repository is: write the address into REPOSITORY above")
        !git clone --quiet --depth 1 {{address}} kmod
        if not os.path.exists("kmod/book"):
            raise FileNotFoundError(f"there is no book at {{address}}")
        !{{sys.executable}} -m pip install --quiet "./kmod[charts,widgets]"
    os.chdir("kmod/book")
    output.enable_custom_widget_manager()
    if KEEP_ON_DRIVE:
        drive.mount("/content/drive")
        os.environ["KMOD_CACHE"] = "/content/drive/MyDrive/kmod/cache"
        os.environ["KMOD_RESULTS"] = "/content/drive/MyDrive/kmod/results"
        !mkdir -p $KMOD_CACHE && cp -rn ../results /content/drive/MyDrive/kmod/"""


def repository() -> str:
    settings = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    return settings["sphinx"]["config"]["kmod_repository"]


def chapters() -> list[Path]:
    return sorted((ROOT / "book").glob("*.ipynb"))


def cell():
    return nbformat.v4.new_code_cell(
        CELL.format(repository=repository()), id="colab", metadata={"tags": [TAG, "remove-cell", "nbval-skip"]}
    )


def stamp(path: Path) -> bool:
    """Put the cell after the title of the chapter, in place of an older one; whether anything changed."""
    chapter = nbformat.read(path, as_version=4)
    cells = [c for c in chapter.cells if TAG not in c.metadata.get("tags", [])]
    cells.insert(1, cell())
    changed = [(c.cell_type, c.source) for c in cells] != [(c.cell_type, c.source) for c in chapter.cells]
    if changed:
        chapter.cells = cells
        nbformat.write(chapter, path)
    return changed


def stale() -> list[Path]:
    """The chapters whose first cell is not the one that the settings ask for."""
    wanted = cell()
    return [
        path
        for path in chapters()
        if [c.source for c in nbformat.read(path, as_version=4).cells if TAG in c.metadata.get("tags", [])]
        != [wanted.source]
    ]


def setup(app):
    def buttons(app, config):
        if config.kmod_repository:
            config.html_theme_options |= {
                "repository_url": config.kmod_repository,
                "repository_branch": "main",
                "use_repository_button": True,
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
        if stamp(path):
            print(f"{path}: first cell written")
