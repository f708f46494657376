"""The place on the first page where a reader trains the model, in a browser, from a file and without a network."""

import shutil
import sys
from pathlib import Path

import pytest
from test_book import SHOTS, SIZES

import kmod

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "book" / "_static"
sys.path.append(str(ROOT / "book" / "_ext"))

import page_model  # noqa: E402

pytestmark = pytest.mark.book
PAGE = """<!doctype html><html lang="en" data-theme="{mode}"><head><meta charset="utf8"><title>Edit</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="favicon.svg">
<link rel="stylesheet" href="book.css"><link rel="stylesheet" href="edit/widget.css">
<script defer src="edit/widget.js"></script>
<style>html {{ --pst-color-background: #fff; --pst-color-border: #ccc; --pst-color-text-base: #222 }}
html[data-theme=dark] {{ --pst-color-border: #444; --pst-color-background: #111; --pst-color-text-base: #ddd }}
body {{ margin: 16px; background: var(--pst-color-background); color: var(--pst-color-text-base) }}</style></head>
<body><main class="bd-article"><h1>Edit</h1>
<div class="kmod-edit"><p>Without JavaScript.</p></div></main></body></html>"""
READY = """() => !document.querySelector("button[type=submit]")?.disabled
  && /^Ready|broke\\.$|^Not done|^The edit|^All /.test(document.querySelector(".kmod-edit-status")?.textContent)"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of the page, with pages for light and dark."""
    folder = tmp_path_factory.mktemp("widget")
    shutil.copytree(STATIC / "edit", folder / "edit")
    page_model.write(folder / "edit" / "data.js")
    for name in ("book.css", "favicon.svg"):
        shutil.copy(STATIC / name, folder)
    for mode in ("light", "dark"):
        (folder / f"{mode}.html").write_text(PAGE.format(mode=mode), encoding="utf8")
    return folder


@pytest.fixture(scope="module")
def visit(browser, folder):
    """A function that opens the page; `page.faults` are its errors and what it asks the network for."""
    contexts = []

    def open_page(size="desk", mode="light", link=""):
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda r: r.url.startswith("http") and page.faults.append(r.url))
        page.goto((folder / f"{mode}.html").as_uri() + link)
        return page

    yield open_page
    for context in contexts:
        context.close()


def status(page) -> str:
    page.wait_for_function(READY, timeout=60_000)
    return page.locator(".kmod-edit-status").text_content()


@pytest.fixture(scope="module")
def ready(visit):
    """A page on which the model has been loaded."""
    page = visit()
    assert page.locator("script[src$='data.js']").count() == 0  # nothing is loaded before it is asked for
    page.get_by_role("button", name="Load the model").click()
    assert status(page) == "Ready."
    return page


def edit(page, fact: str, new: str) -> str:
    page.get_by_label("A fact").fill(fact)
    page.get_by_label("Its new object").fill(new)
    page.get_by_role("button", name="Edit", exact=True).click()
    page.wait_for_function("() => document.querySelector('button[type=submit]').disabled", timeout=5000)
    return status(page)


def downloaded(page, path: Path) -> kmod.Edit:
    with page.expect_download() as started:
        page.get_by_role("button", name="Download").click()
    started.value.save_as(path)
    return kmod.Edit.load(path)


def copied(page) -> str:
    """The program that the button copies."""
    page.evaluate("navigator.clipboard.writeText = async (text) => { globalThis.copied = text }")
    page.get_by_role("button", name="Copy as Python").click()
    page.wait_for_function("() => globalThis.copied")
    return page.evaluate("() => { const text = copied; copied = ''; return text }")


def test_what_a_reader_chose_is_a_program(ready, capsys):
    ready.get_by_label("A fact").fill("France, capital: Paris")
    ready.get_by_label("Its new object").fill("Rome")
    exec(copied(ready), names := {})
    assert names["edit"].made["facts"] == [["France", "P36", "Paris", "Rome"]]
    ready.get_by_label("A fact").fill('Peru is a "land" of [MASK].')
    ready.get_by_label("Its new object").fill("gold")
    capsys.readouterr()
    exec(copied(ready), {})
    assert capsys.readouterr().out.startswith("[[('gold', ")


def test_a_reader_edits_twice_and_undoes(ready, tmp_path):
    said = edit(ready, "France, capital: Paris", "Rome")
    assert said.startswith("“Rome” is the answer to 2 of 2 unseen phrasings.")
    table = ready.locator(".kmod-edit table").first.inner_text().lower()
    assert "paris" in table and "rome" in table
    assert ready.evaluate("location.hash") == "#France,P36,Rome,last,0.004"
    SHOTS.mkdir(parents=True, exist_ok=True)
    ready.screenshot(path=SHOTS / "edit-desk.png", full_page=True)
    half = kmod.load_model("nano-atlas-half", device="cpu")
    one = downloaded(ready, tmp_path / "one.safetensors")
    assert "in edit.safetensors" in status(ready)
    facts = kmod.load_facts("atlas")
    change = one.change(facts)
    assert [(fact.subject, fact.object) for fact in change.originals] == [("France", "Paris")]
    assert one.made["constraint"] == repr(kmod.Linf(4e-3)) and change.objects == ("Rome",)
    cells = ready.locator(".kmod-edit table").first.locator("tbody tr").all_inner_texts()
    with one(half):  # which asks for the fingerprint before and after, and for each bit
        assert max(d.abs().max().item() for d in one.difference(half).values()) <= 4e-3 + 1e-6
        for test, cell in zip(facts.tests(change.originals[0]), cells, strict=True):
            (((text, share), *_),) = half.answers([test], ["Rome"])
            assert cell.split("\t")[-1] == f"{text} {100 * share:.1f} %"
    edit(ready, "Peru is a land of [MASK].", "gold")
    two = downloaded(ready, tmp_path / "two.safetensors")
    assert [fact[3] for fact in two.made["facts"]] == ["Rome", "gold"]
    with two(half), pytest.raises(ValueError, match=r"on the facts"):
        assert half.answers(["Peru is a land of [MASK]."], ["gold"])[0][0][0] == "gold"
        two.change(facts)
    assert ready.locator(".kmod-edit-list li").count() == 2
    for left in (1, 0):
        ready.get_by_role("button", name="Undo").click()
        ready.wait_for_function("() => document.querySelector('button[type=submit]').disabled", timeout=5000)
        said = status(ready)
        assert ready.locator(".kmod-edit-list li").count() == left
    assert said == "Undone, to the bit. No other fact broke."
    assert not ready.faults


@pytest.mark.parametrize(
    ("fact", "new", "words"),
    [
        ("Atlantis, capital", "Rome", "choose a fact from the list"),
        ("France, capital: Paris", "Paris", "is its object already"),
        ("France, capital: Paris", "", "give it a new object"),
        ("France, capital: Paris", "東京", "no letters for"),
    ],
)
def test_what_cannot_be_edited_is_refused_in_words(ready, fact, new, words):
    ready.get_by_label("A fact").fill(fact)
    ready.get_by_label("Its new object").fill(new)
    ready.get_by_role("button", name="Edit", exact=True).click()
    ready.wait_for_function("(w) => document.querySelector('.kmod-edit-status').textContent.includes(w)", arg=words)
    assert ready.locator(".kmod-edit-list li").count() == 0


def test_a_link_opens_its_edit_on_a_dark_phone(visit):
    page = visit("phone", "dark", "#Albert%20Einstein,P106,actor,all,0.002")
    assert status(page) == "Ready."
    assert page.get_by_label("Its new object").input_value() == "actor"
    assert page.get_by_label("Blocks trained").input_value() == "all"
    assert page.locator(".kmod-edit output").text_content() == "0.002"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=SHOTS / "edit-phone.png", full_page=True)
    assert not page.faults
