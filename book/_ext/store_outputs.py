"""Run the chapters in place and store their outputs without time stamps: `python book/_ext/store_outputs.py`.

Strict nbval compares a later run with these outputs. Readers of the book never see them: its build runs every
chapter itself.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

BOOK = Path(__file__).parents[1]

for path in map(Path, sys.argv[1:] or sorted(BOOK.glob("*.ipynb"))):
    chapter = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(chapter, timeout=1800, record_timing=False, resources=where).execute()
    nbformat.write(chapter, path)
    print(f"{path}: stored")
