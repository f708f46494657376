"""The built book in a real browser: every page, without a network, on a desk and a phone, light and dark.

Needs `make book` and Chromium. Without them these tests skip and say why; with KMOD_REQUIRE_BOOK=1 they fail
instead, so that `make test` cannot pass by skipping. Screenshots of every page land in _build/screenshots: desk and
phone, light and dark, and without JavaScript; how heavy and how quick the first page was in _build/first_page.json.
"""

import functools
import http.server
import importlib.util
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import missing

pytestmark = pytest.mark.book
ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
SHOTS = ROOT / "_build" / "screenshots"
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
spec = importlib.util.spec_from_file_location("check_build", ROOT / "book" / "_ext" / "check_build.py")
check_build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_build)
PAGES = check_build.pages()

# What axe-core finds at fault in the theme and what it is built on, which is not ours to repair: rule → the element.
THEME_FAULTS = {
    "aria-required-children": r'^<div role="list" class="citation-list">',  # docutils: backlinks within a list's items
}


@pytest.fixture(scope="session")
def site():
    """Serve the built book on this machine; the address."""
    if not (HTML / "index.html").exists():
        missing(f"no built book in {HTML.relative_to(ROOT)}: run `make book`")
    SHOTS.mkdir(parents=True, exist_ok=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=HTML)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def visit(site, browser):
    """A function that opens a page with the world outside blocked; faults are collected in `page.faults`."""
    contexts = []

    def open_page(name: str, size: str = "desk", mode: str = "light", script: bool = True, draw: bool = True):
        width, height = SIZES[size]
        view = {"width": width, "height": height}
        context = browser.new_context(viewport=view, color_scheme=mode, java_script_enabled=script)
        contexts.append(context)
        page = context.new_page()
        page.faults = []

        def gate(request):
            if request.url.startswith(("http", "ws")) and not request.url.startswith(site):
                page.faults.append(f"asks the network for {request.url}")

        page.on("request", gate)
        page.on("websocket", gate)
        page.on("console", lambda m: m.type == "error" and page.faults.append(f"console: {m.text}"))
        page.on("pageerror", lambda error: page.faults.append(f"script: {error}"))
        page.on("response", lambda r: r.status >= 400 and page.faults.append(f"{r.status} {r.url}"))
        page.goto(f"{site}/{name}.html", wait_until="load")
        if script and draw:
            for figure in page.locator("figure.kmod-chart").all():
                figure.evaluate(
                    "e => { for (let d = e; d; d = d.parentElement) if (d.matches('details')) d.open = true }"
                )
                figure.scroll_into_view_if_needed()  # a chart is drawn when it comes near the window
                figure.locator(".kmod-live svg.marks").wait_for()
                figure.locator(".kmod-still").wait_for(state="hidden")
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_load_state("networkidle")  # what a page asks for late counts as well
        return page

    yield open_page
    for context in contexts:
        context.close()


# Contrast of an element's text against what lies behind it, as WCAG counts it: 1 to 21.
CONTRAST = """element => {
  const rgba = css => (css.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const style = getComputedStyle(element);
  const ink = rgba(element instanceof SVGElement ? style.fill : style.color);
  let behind = element, paper = [255, 255, 255];
  for (; behind; behind = behind.parentElement) {
    const color = rgba(getComputedStyle(behind).backgroundColor);
    if (color.length === 3 || color[3] > 0.99) { paper = color; break; }
  }
  const alpha = (ink[3] ?? 1) * style.opacity;
  const seen = [0, 1, 2].map(i => alpha * ink[i] + (1 - alpha) * paper[i]);
  const [high, low] = [light(seen), light(paper)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}"""
# Of all texts that are seen, in one go; without ticks that Vega hides, and without the numbers in the cells of a heat
# map: they stand on the colour of their cell, which CONTRAST does not see behind them.
CONTRASTS = f"""() => [...document.querySelectorAll('body *')]
  .filter(e => [...e.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim()))
  .filter(e => e.checkVisibility({{ visibilityProperty: true }}) && e.getBoundingClientRect().width)
  .filter(e => getComputedStyle(e).opacity !== '0')
  .filter(e => !(e.closest('.mark-text') && e.closest('svg').querySelector('.mark-rect')))
  .map(e => [e.textContent.trim().slice(0, 40), ({CONTRAST})(e)])"""


def test_the_book_is_whole(site):
    assert check_build.problems(HTML) == []


def charts_can_be_heard(page) -> None:
    for figure in page.locator("figure.kmod-chart").all():
        assert figure.locator("figcaption strong").inner_text().strip()
        assert figure.locator("figcaption span").inner_text().strip()
        assert figure.locator(".kmod-live svg.marks").evaluate("e => e.closest('[aria-label]')?.ariaLabel || ''")
        assert all(label.strip() for label in figure.locator(".kmod-controls label").all_inner_texts())


def math_is_mathml(page, html: str) -> None:
    assert "mathjax" not in html.lower() and "\\(" not in page.locator("article.bd-article").inner_text()
    for math in page.locator("math").all():
        assert math.get_attribute("alttext")
        assert math.evaluate("e => e.namespaceURI.endsWith('MathML')")
        folded = math.evaluate("e => !!e.closest('details:not([open])')")  # an answer that is not yet unfolded
        assert folded or math.evaluate("e => e.getBoundingClientRect().width > 0")


def nothing_bars_the_way(page) -> None:
    """axe-core finds nothing serious outside of THEME_FAULTS, by all of WCAG 2 A, AA and best practices. Contrasts are
    measured by `is_sound`, in four views: axe takes half its time for them in one."""
    axe = importlib.util.find_spec("axe_playwright_python")
    if axe is None:
        missing("axe-playwright-python is not installed")
    page.evaluate(f"() => {{ {(Path(axe.origin).parent / 'axe.min.js').read_text('utf-8')} }}")
    options = {"resultTypes": ["violations"], "rules": {"color-contrast": {"enabled": False}}}
    faults = page.evaluate("options => axe.run(options)", options)["violations"]
    assert not [
        f"{fault['id']} ({fault['help']}): {node['html'][:200]}"
        for fault in faults
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
        if not re.search(THEME_FAULTS.get(fault["id"], r"(?!)"), node["html"])
    ]


def shoot(page, name: str) -> None:
    """A screenshot for people: JPEG, because packing a long page as PNG takes seconds."""
    page.screenshot(path=SHOTS / f"{name}.jpg", type="jpeg", quality=80, full_page=True)


def is_sound(page, name: str, size: str, mode: str) -> None:
    """No fault, nothing that scrolls sideways, every text readable; and a screenshot for people."""
    shoot(page, f"{Path(name).name}-{size}-{mode}")
    assert page.faults == []
    assert page.evaluate("document.documentElement.dataset.theme") == mode
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0], "the page scrolls sideways"
    assert page.locator(".cell_output .traceback, .output.error").count() == 0
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 50
    assert not {text: c for text, c in contrasts if c < 4.5}, "text too pale to read"


def turn(page, mode: str) -> None:
    """The reader's system goes light or dark while the page is open, and the theme follows."""
    page.emulate_media(color_scheme=mode)
    page.wait_for_function("mode => document.documentElement.dataset.theme === mode", arg=mode)
    page.wait_for_timeout(200)  # colours fade from one to the other


@pytest.mark.parametrize("name", PAGES)
def test_page_on_a_desk(visit, name):
    """Opened in the light, then made dark. axe comes last: it asks for files that are not there."""
    page = visit(name)
    is_sound(page, name, "desk", "light")
    charts_can_be_heard(page)
    math_is_mathml(page, (HTML / f"{name}.html").read_text(encoding="utf8"))
    turn(page, "dark")
    is_sound(page, name, "desk", "dark")
    nothing_bars_the_way(page)


@pytest.mark.parametrize("name", PAGES)
def test_page_on_a_phone(visit, name):
    """Opened in the dark, then made light."""
    page = visit(name, "phone", "dark")
    is_sound(page, name, "phone", "dark")
    turn(page, "light")
    is_sound(page, name, "phone", "light")


def test_a_pale_text_is_found(visit):
    page = visit(PAGES[0], draw=False)
    before = page.evaluate(CONTRASTS)
    page.locator("article p").first.evaluate("e => { e.style.color = 'rgb(150, 150, 150)' }")
    pale = [text for text, contrast in page.evaluate(CONTRASTS) if contrast < 4.5]
    assert pale and min(contrast for _, contrast in before) >= 4.5


@pytest.fixture
def chart(visit):
    """A page with a slider, its first figure that has one, and a function that gives the figure's drawing."""
    for name in PAGES:
        if '"input": "range"' not in (HTML / f"{name}.html").read_text(encoding="utf8"):
            continue
        page = visit(name)
        figure = page.locator("figure.kmod-chart", has=page.locator("input[type=range]")).first
        if figure.count():
            return page, figure, figure.locator(".kmod-live svg.marks").inner_html
    pytest.fail("no chapter holds a chart with a slider")


def test_the_slider_moves_the_chart(chart):
    page, figure, drawing = chart
    slider = figure.locator("input[type=range]")
    top = int(slider.get_attribute("max"))
    drawings = set()
    slider.focus()
    page.keyboard.press("Home")
    for _ in range(top + 1):
        page.wait_for_timeout(100)
        drawings.add(drawing())
        page.keyboard.press("ArrowRight")
    assert len(drawings) == top + 1
    assert page.faults == []


def test_sliders_of_one_group_move_together(chart):
    page, _, _ = chart
    figures = page.locator("figure.kmod-chart", has=page.locator("input[type=range]")).all()
    groups = [f.locator("script").evaluate("e => JSON.parse(e.textContent).usermeta.group") for f in figures]
    figures[0].locator("input[type=range]").fill("0")
    page.wait_for_timeout(200)
    for group, figure in zip(groups, figures, strict=True):
        assert group != groups[0] or figure.locator("input[type=range]").input_value() == "0"


def test_menus_and_legend_bring_a_line_forward(chart):
    page, figure, drawing = chart
    for menu in figure.locator("select").all():
        start, before = menu.input_value(), drawing()
        other = next(v for v in menu.locator("option").evaluate_all("o => o.map(e => e.value)") if v != start)
        menu.select_option(other)
        page.wait_for_timeout(150)
        assert drawing() != before
        menu.select_option(start)
        page.wait_for_timeout(150)
        assert drawing() == before
    figure.locator(".kmod-live .role-legend-symbol path").first.click()
    page.wait_for_timeout(150)
    assert drawing() != before


def test_the_theme_switch_recolours_the_chart_and_keeps_its_state(chart):
    page, figure, _ = chart
    figure.locator("input[type=range]").fill("1")
    ink = "e => getComputedStyle(e).fill"
    label = figure.locator(".kmod-live .role-axis-label text").first
    before = label.evaluate(ink)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert label.evaluate(ink) != before
    assert label.evaluate(CONTRAST) >= 4.5
    assert figure.locator("input[type=range]").input_value() == "1"


@pytest.mark.parametrize("name", PAGES)
def test_without_javascript_the_still_drawings_stay(visit, name):
    page = visit(name, script=False)
    shoot(page, f"{Path(name).name}-nojs")
    for figure in page.locator("figure.kmod-chart").all():
        folded = figure.evaluate("e => !!e.closest('details:not([open])')")
        assert folded or figure.locator(".kmod-still svg").is_visible()
    assert page.faults == []


def test_charts_are_drawn_only_when_they_come_near(visit):
    """The page of the chart that lies deepest loads Vega only after scrolling to it."""
    far = "Math.max(0, ...[...document.querySelectorAll('figure.kmod-chart')].slice(0, 1).map(e => e.offsetTop))"
    for name in PAGES:
        page = visit(name, draw=False)
        if page.evaluate(far) > 2500:
            vega = "performance.getEntriesByType('resource').filter(e => e.name.endsWith('vega.js')).length"
            assert page.evaluate(vega) == 0
            page.locator("figure.kmod-chart").first.scroll_into_view_if_needed()
            page.locator("figure.kmod-chart .kmod-live svg.marks").first.wait_for()
            assert page.evaluate(vega) == 1
            return
    pytest.skip("no chapter is so long that its first chart lies far below")


def test_the_first_page_is_light_and_quick(browser, site):
    """Under 1.5 MB as served, uncompressed, and drawn in under 2 s at best of three visits."""
    seen = []
    for _ in range(3):
        context = browser.new_context(viewport=dict(zip(("width", "height"), SIZES["desk"], strict=True)))
        page = context.new_page()
        loaded = {}
        page.on("requestfinished", lambda r, loaded=loaded: loaded.update({r.url: r.sizes()["responseBodySize"]}))
        page.goto(f"{site}/index.html", wait_until="load")
        page.wait_for_url("**/intro.html")
        page.wait_for_load_state("networkidle")
        drawn, load = page.evaluate(
            "[performance.getEntriesByName('first-contentful-paint')[0].startTime,"
            " performance.getEntriesByType('navigation')[0].loadEventEnd]"
        )
        heaviest = dict(sorted(loaded.items(), key=lambda item: -item[1])[:8])
        seen.append({"bytes": sum(loaded.values()), "drawn_ms": drawn, "load_ms": load, "heaviest": heaviest})
        context.close()
    best = min(seen, key=lambda visit: visit["drawn_ms"])
    (ROOT / "_build" / "first_page.json").write_text(json.dumps(best, indent=1))
    assert max(visit["bytes"] for visit in seen) < 1.5e6, best["heaviest"]
    assert best["drawn_ms"] < 2000


def test_the_book_is_one_pdf(site):
    pypdf = pytest.importorskip("pypdf")
    printing = subprocess.run([sys.executable, "book/_ext/print_book.py"], cwd=ROOT, capture_output=True, text=True)
    assert printing.returncode == 0, printing.stderr
    pdf = pypdf.PdfReader(ROOT / "_build" / "kmod.pdf")
    chapters = [mark for mark in pdf.outline if not isinstance(mark, list)]
    starts = [pdf.get_destination_page_number(mark) for mark in chapters]
    assert len(chapters) == len(PAGES)
    assert all(a < b for a, b in zip([0, *starts], [*starts, len(pdf.pages)], strict=True)), "a chapter without a page"
    for mark, start in zip(chapters, starts, strict=True):
        words = re.sub(r"\s", "", pdf.pages[start].extract_text())
        assert re.sub(r"\s", "", mark.title) in words
        assert str(start + 1) in words, "no page number"
    links = [a.get_object() for page in pdf.pages for a in page.get("/Annots", [])]
    inside = [a for a in links if "/Dest" in a or a.get("/A", {}).get("/S") == "/GoTo"]
    assert len(inside) > len(PAGES)
    places = [a["/A"]["/URI"] for a in links if a.get("/A", {}).get("/S") == "/URI"]
    assert [place for place in places if not place.startswith(("https://", "http://"))] == []
    assert [place for place in places if place.startswith("http://book/")] == [], "a link that leads out of the PDF"
