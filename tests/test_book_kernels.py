"""Kernels that are forked: each is a fresh process, where and as it was asked for."""

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.provisioning import local_provisioner
from nbclient import NotebookClient

sys.path.insert(0, str(Path(__file__).parents[1] / "book" / "_ext"))
import kernels

LOOK = """import json, os, sys
print(json.dumps({
    "imported": [name for name in ("torch", "altair", "kmod.book") if name in sys.modules],
    "names": [name for name in ("torch", "kmod", "serve", "left") if name in globals()],
    "main": sys.modules["__main__"].__dict__ is globals(), "group": os.getpgid(0) == os.getpid(), "pid": os.getpid(),
    "folder": os.getcwd(), "said": os.environ.get("KMOD_SAID"), "ours": "book/_ext" in " ".join(sys.path),
}))
left = 1"""


@pytest.fixture
def forked(monkeypatch):
    monkeypatch.setattr(local_provisioner, "launch_kernel", local_provisioner.launch_kernel)
    kernels.fork()


def run(folder, *cells):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    return NotebookClient(book, timeout=120, resources={"metadata": {"path": str(folder)}}), book


def test_a_chapter_gets_a_fresh_process_that_has_imported_the_libraries(forked, tmp_path, monkeypatch):
    seen = []
    for said in ("one", "two"):
        monkeypatch.setenv("KMOD_SAID", said)
        client, book = run(tmp_path, LOOK)
        client.execute()
        seen.append(json.loads(book.cells[0].outputs[0].text))
    for said, found in zip(("one", "two"), seen, strict=True):
        assert found["imported"] == ["torch", "altair", "kmod.book"] and found["names"] == []
        assert found["main"] and found["group"] and not found["ours"]
        assert found["folder"] == str(tmp_path) and found["said"] == said
    assert seen[0]["pid"] != seen[1]["pid"]
    for found in seen:
        with pytest.raises(ProcessLookupError):
            os.kill(found["pid"], 0)  # shut down with its chapter


def test_a_kernel_that_dies_is_noticed(forked, tmp_path):
    from nbclient.exceptions import DeadKernelError

    client, _ = run(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(DeadKernelError):
        client.execute()


def test_other_kernels_start_as_ever(forked, monkeypatch):
    asked = []
    monkeypatch.setattr(kernels, "usual_launch", lambda command, **options: asked.append(command))
    local_provisioner.launch_kernel(["julia", "kernel.jl"], env={}, cwd=".")
    assert asked == [["julia", "kernel.jl"]]
