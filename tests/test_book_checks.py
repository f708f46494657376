"""The checks of the book find what they are there to find; no built book is needed."""

from pathlib import Path

import nbformat
import pytest

EXT = str(Path(__file__).parents[1] / "book" / "_ext")


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(EXT)


def test_links_that_lead_nowhere_are_found(tmp_path):
    import check_build

    (tmp_path / "b.html").write_text('<p id="z">é</p>')
    (tmp_path / "fine.html").write_text('<a href="b.html#z">1</a><a href="#top">2</a><a href="https://x.org/y">3</a>')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#x">1</a><a href="#y">2</a><a href="c.html">3</a><img src="../d.png">'
    )
    assert check_build.broken(tmp_path.resolve()) == [
        "a.html: no such place on the page: #y",
        "a.html: leads nowhere: ../d.png",
        "a.html: no such place on the page: b.html#x",
        "a.html: leads nowhere: c.html",
    ]


def test_misspellings_of_a_chapter_are_found_and_names_pass(tmp_path, monkeypatch):
    import spelling

    wrong = "reciev" + "es"
    cells = [nbformat.v4.new_markdown_cell(f"# Ines {wrong} LAMA"), nbformat.v4.new_code_cell("print(1)")]
    cells[1].outputs = [nbformat.v4.new_output("stream", text=wrong)]
    path = spelling.ROOT / "book" / "a.ipynb"
    monkeypatch.setattr(spelling.nbformat, "read", lambda *_, **__: nbformat.v4.new_notebook(cells=cells))
    assert spelling.mistakes(path) == [f"book/a.ipynb: {wrong} ==> receives"]


def test_docstrings_are_read_as_plain_text():
    import docstrings

    class Two:
        @property
        def one(self):
            """M: of |M| facts, `a|b`."""

    lines = [":param \\*\\*x: |M| and *more*", "", "`**y` of |F|"]
    docstrings.plain(None, "function", "", None, None, lines)
    assert lines == [":param \\*\\*x: \\|M\\| and \\*more\\*", "", "`**y` of \\|F\\|"]
    lines = ["changed by napoleon"]
    docstrings.plain(None, "property", "", Two.one, None, lines)
    assert lines == ["M: of \\|M\\| facts, `a|b`.", ""]


def test_the_heavy_script_is_left_out(tmp_path):
    import lighter

    class App:
        class builder:
            format = "html"

        outdir = tmp_path

    (tmp_path / "_static" / "scripts").mkdir(parents=True)
    (tmp_path / "_static" / "scripts" / "fontawesome.js").touch()
    (tmp_path / "a.html").write_text(
        '<script defer src="_static/scripts/fontawesome.js?digest=5"></script>\n<p>kept</p>'
    )
    lighter.lighten(App, None)
    assert (tmp_path / "a.html").read_text() == "<p>kept</p>"
    assert not list((tmp_path / "_static" / "scripts").iterdir())
