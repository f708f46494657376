"""The widget in which a reader changes a memory, in a real browser: from a file and from a server, without a network.

The page here is a small one of its own with the book's style sheets, so that these tests need no built book.
"""

import functools
import http.server
import re
import shutil
import threading
from pathlib import Path

import pytest
from test_book import CONTRAST, SHOTS, SIZES

from kmod.play import read, widget

pytestmark = pytest.mark.book
STATIC = Path(__file__).parents[1] / "book" / "_static"
PAGE = """<!doctype html><html lang="en" data-theme="{mode}"><head><meta charset="utf8"><title>Play</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="favicon.svg">
<link rel="stylesheet" href="book.css"><link rel="stylesheet" href="play.css"><script defer src="play.js"></script>
<style>html {{ --pst-color-background: #fff; --pst-color-border: #ccc }}
html[data-theme=dark] {{ --pst-color-border: #444 }}
body {{ margin: 16px; background: var(--pst-color-background); color: var(--pst-color-text-base) }}</style></head>
<body><main class="bd-article"><h1>Play</h1><p style="height: 3000px">A long page.</p>{widget}</main></body></html>"""


@pytest.fixture
def folder(tmp_path):
    """The files of the page, with pages for light and dark."""
    shutil.copytree(STATIC / "play", tmp_path / "play")
    for name in ("book.css", "play.css", "play.js", "favicon.svg"):
        shutil.copy(STATIC / name, tmp_path)
    for mode in ("light", "dark"):
        page = PAGE.format(mode=mode, widget=widget("France", "Rome", "all", 2e-3)._repr_html_())
        (tmp_path / f"{mode}.html").write_text(page, encoding="utf8")
    return tmp_path


@pytest.fixture
def served(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def visit(browser, folder, served):
    """A function that opens the page with the world outside blocked; `page.asked` are the scripts of data it loads."""
    contexts = []

    def open_page(scheme="file", size="desk", mode="light", script=True):
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, java_script_enabled=script)
        contexts.append(context)
        page = context.new_page()
        page.faults, page.asked = [], []

        def gate(route):
            if route.request.url.startswith(served):
                return route.continue_()
            page.faults.append(f"asks the network for {route.request.url}")
            return route.abort()

        page.route(re.compile("^(https?|wss?):"), gate)
        page.on("request", lambda r: "/play/" in r.url and page.asked.append(r.url.rsplit("/", 1)[1]))
        page.on("console", lambda m: m.type == "error" and page.faults.append(f"console: {m.text}"))
        page.on("pageerror", lambda error: page.faults.append(f"script: {error}"))
        page.goto(f"{served if scheme == 'http' else folder.as_uri()}/{mode}.html", wait_until="load")
        return page

    yield open_page
    for context in contexts:
        context.close()


def awake(page):
    page.locator(".kmod-play").scroll_into_view_if_needed()
    page.wait_for_selector(".kmod-play form")
    return page.locator(".kmod-play-summary")


def edit(fact: str, object: str, blocks: str, at: int) -> tuple[dict, dict]:
    data = read(STATIC / "play" / f"{fact}.js")
    change = next(change for change in data["changes"] if change["object"] == object)
    return data, change["edits"][blocks][at]


@pytest.mark.parametrize(
    "scheme, size, mode",
    [("file", "desk", "light"), ("http", "desk", "dark"), ("file", "phone", "dark"), ("http", "phone", "light")],
)
def test_it_wakes_up_and_fits(visit, scheme, size, mode):
    page = visit(scheme, size, mode)
    page.wait_for_timeout(300)
    assert page.asked == [], "data are loaded before the widget is near"
    summary = awake(page)
    assert page.asked == ["index.js", "france-p36.js"]
    data, entry = edit("france-p36", "Rome", "all", 1)
    assert f"{entry['broken']:,} other facts broke" in summary.inner_text()
    assert f"{100 * entry['kept'] / data['asked']:.1f} %" in page.locator(".kmod-play-rates").inner_text()
    said = page.locator(".kmod-play fieldset small").all_inner_texts()  # under each radius, what it did
    every = [edit("france-p36", "Rome", "all", i)[1] for i in range(len(said))]
    marks = {data["tests"]: "✓", 0: "✗"}
    assert said == [f"{marks.get(e['learnt'][0], '◐')} {e['broken']:,} broke" for e in every] and len(said) == 4
    page.locator(".kmod-play details summary").click()

    SHOTS.mkdir(parents=True, exist_ok=True)
    page.locator(".kmod-play").screenshot(path=SHOTS / f"play-{scheme}-{size}-{mode}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0], "the page scrolls sideways"
    pale = page.eval_on_selector_all(
        ".kmod-play :is(label, legend, p, dt, dd, th, td, li span, caption, summary, small)",
        "all => all.filter(e => e.getClientRects().length && e.textContent.trim())"
        f".map(e => [e.textContent.trim().slice(0, 40), ({CONTRAST})(e)]).filter(([, contrast]) => contrast < 4.5)",
    )
    assert not pale, "text too pale to read"
    assert page.faults == []


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_a_reader_chooses_by_keyboard(visit, scheme):
    page = visit(scheme)
    summary = awake(page)
    index = read(STATIC / "play" / "index.js")
    play = page.locator(".kmod-play")
    height = play.bounding_box()["height"]

    page.get_by_label("The fact").focus()
    seen = {summary.inner_text()}
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")  # the next object
    page.wait_for_function("document.querySelector('.kmod-play-summary').textContent.includes('Berlin')")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "radio"
    assert page.evaluate("getComputedStyle(document.activeElement.nextSibling).outlineStyle") == "solid"
    for blocks in index["blocks"][1:]:
        page.keyboard.press("ArrowRight")
        broken = edit("france-p36", "Berlin", blocks, 1)[1]["broken"]
        page.wait_for_function(f"[...document.querySelectorAll('.kmod-play-rates dd')][6].textContent === '{broken:,}'")
        seen.add(summary.inner_text())
    page.keyboard.press("Tab")
    for at in range(2, len(index["deltas"])):
        page.keyboard.press("ArrowRight")
        broken = edit("france-p36", "Berlin", "last", at)[1]["broken"]
        page.wait_for_function(f"[...document.querySelectorAll('.kmod-play-rates dd')][6].textContent === '{broken:,}'")
        seen.add(summary.inner_text())
        assert abs(play.bounding_box()["height"] - height) < 1, "the page jumps"
    assert len(seen) >= 4
    assert summary.get_attribute("role") == "status"

    page.get_by_label("The fact").focus()
    page.keyboard.press("ArrowDown")
    second = index["facts"][1]
    page.wait_for_function(
        f"document.querySelector('.kmod-play-summary').textContent.includes('{second['objects'][0]}')"
    )
    assert page.asked == ["index.js", "france-p36.js", f"{second['id']}.js"]
    assert page.get_by_label("Its new object").locator("option").all_inner_texts() == second["objects"]
    assert page.faults == []


def test_every_control_and_region_has_a_name(visit):
    page = visit()
    awake(page)
    for select in page.locator(".kmod-play select, .kmod-play input").all():
        assert select.evaluate("e => e.labels.length === 1 && e.labels[0].textContent.trim() !== ''")
    for group in page.locator(".kmod-play fieldset").all():
        assert group.locator("legend").inner_text().strip()
    for table in page.locator(".kmod-play table").all():
        assert (table.locator("caption").text_content() or "").strip()
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_without_javascript_one_edit_stays(visit):
    page = visit(script=False)
    text = page.locator(".kmod-play").inner_text()
    assert "France, capital: Paris → Rome" in text and "Rome" in text and "with JavaScript on" in text


def test_without_the_data_one_edit_stays(visit, folder):
    (folder / "play" / "index.js").unlink()
    page = visit()
    page.locator(".kmod-play").scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    assert "France, capital: Paris → Rome" in page.locator(".kmod-play").inner_text()
    assert any("nothing to play with" in fault for fault in page.faults)


def test_a_fact_that_does_not_load_is_said(visit, folder):
    (folder / "play" / f"{read(STATIC / 'play' / 'index.js')['facts'][1]['id']}.js").unlink()
    page = visit()
    summary = awake(page)
    page.get_by_label("The fact").select_option(index=1)
    page.wait_for_function("document.querySelector('.kmod-play-summary').textContent.includes('could not be loaded')")
    page.get_by_label("The fact").select_option(index=0)
    page.wait_for_function("document.querySelector('.kmod-play-summary').textContent.includes('Rome')")
    assert "learnt" in summary.inner_text()


def test_what_the_data_say_is_text(visit, folder):
    evil = "<img src=x onerror=window.struck=1>"
    for path in (folder / "play").iterdir():
        text = path.read_text(encoding="utf8")
        path.write_text(text.replace('"Rome"', f'"{evil}"').replace("capital", evil), encoding="utf8")
    page = visit()
    awake(page)
    assert evil in page.locator(".kmod-play").inner_text()
    assert page.locator(".kmod-play img").count() == 0 and not page.evaluate("window.struck")
