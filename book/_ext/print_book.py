"""The built book as one PDF: `python book/_ext/print_book.py` writes _build/kmod.pdf.

The articles of all pages are put into one document, in the order of `_toc.yml`, which headless Chromium prints. So the
page numbers run through, the bookmarks are the headings, and links between chapters lead to pages of the PDF. Charts
are their still drawings, since no script runs; folded answers are unfolded.
"""

import html
import mimetypes
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup
from check_build import ROOT, toc
from playwright.sync_api import sync_playwright
from pypdf import PdfWriter
from pypdf.generic import NameObject, TextStringObject

BUILT = ROOT / "_build" / "html"
TARGET = ROOT / "_build" / "kmod.pdf"
SITE = "http://book"  # not a real host: every request is answered from BUILT
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# What only a page on a screen needs: marks beside headings, buttons, elements for scripts.
LEFT_OUT = "script, a.headerlink, button, .toggle-button, input, nav, details.hide > summary"
FOOT = (
    '<div style="font: 8pt sans-serif; color: #545d68; width: 100%; padding: 0 18mm; display: flex; '
    'justify-content: space-between"><span>{title}</span><span class="pageNumber"></span></div>'
)


def article(page: str) -> BeautifulSoup:
    """The article of a built page, with anchors and links changed to work in one document of all pages."""
    section = BeautifulSoup((BUILT / f"{page}.html").read_text("utf-8"), "html.parser").select_one("article.bd-article")
    for element in section.select(LEFT_OUT):
        element.decompose()
    for element in section.select("details"):
        element["open"] = ""
    for element in section.select("[id]"):
        if element.find_parent("svg") is None:  # drawings keep their own ids
            element["id"] = f"{page}--{element['id']}"
    for element in section.select("[src]"):
        element["src"] = address(page, element["src"])
    for element in section.select("a[href]"):
        url = urlsplit(element["href"])
        if url.scheme or url.netloc:
            continue
        place = page if not url.path else address(page, url.path).removeprefix("/").removesuffix(".html")
        element["href"] = f"#{place}--{url.fragment}" if url.fragment else f"#{place}"
    section.name, section["id"] = "section", page
    return section


def address(page: str, path: str) -> str:
    """The place in the built book of a path written on `page`, such as /_images/1.png."""
    if urlsplit(path).scheme:
        return path
    return "/" + (BUILT / page).parent.joinpath(path).resolve().relative_to(BUILT.resolve()).as_posix()


def document(title: str) -> tuple[str, list[str]]:
    """All articles as one page, after a title page with the contents; and its headings."""
    first = BeautifulSoup((BUILT / f"{toc()[0][1]}.html").read_text("utf-8"), "html.parser")
    styles = [address(toc()[0][1], link["href"]) for link in first.select('link[rel="stylesheet"][href]')]
    head = "".join(f'<link rel="stylesheet" href="{html.escape(style)}">' for style in dict.fromkeys(styles))
    articles = {page: article(page) for _, page in toc()}
    headings = [h.get_text().strip() for a in articles.values() for h in a.select("h1, h2, h3, h4, h5, h6")]
    contents, last = "", ""
    for part, page in toc():
        contents += f"<dt>{html.escape(part)}</dt>" * (part != last)
        contents += f'<dd><a href="#{page}">{html.escape(articles[page].h1.get_text().strip())}</a></dd>'
        last = part
    text = (
        f'<!doctype html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f'<title>{html.escape(title)}</title>{head}</head><body class="kmod-print"><main class="bd-content">'
        f'<div class="kmod-title"><p>{html.escape(title)}</p><dl>{contents}</dl></div>'
        f'<div class="bd-article">{"".join(map(str, articles.values()))}</div></main></body></html>'
    )
    return text, headings


def name_bookmarks(target: Path, title: str, headings: list[str]) -> None:
    """Chromium joins the words where a heading is broken into lines or pages; give each bookmark its heading's text."""
    pdf = PdfWriter(clone_from=target)

    def walk(item):
        while item is not None:
            item = item.get_object()
            yield item
            if "/First" in item:
                yield from walk(item["/First"])
            item = item.get("/Next")

    marks = list(walk(pdf.root_object["/Outlines"].get("/First")))
    if len(marks) != len(headings):
        raise ValueError(f"the book has {len(headings)} headings and its PDF {len(marks)} bookmarks")
    for mark, heading in zip(marks, headings, strict=True):
        mark[NameObject("/Title")] = TextStringObject(heading)
    pdf.add_metadata({"/Title": title, "/Creator": "kmod"})
    pdf.write(target)


def write(target: Path = TARGET) -> Path:
    """Print the built book to `target`. Raises FileNotFoundError where there is no book or no browser."""
    if missing := [page for _, page in toc() if not (BUILT / f"{page}.html").exists()]:
        raise FileNotFoundError(f"{missing[0]} is not built: run `make book`")
    title = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["title"]
    text, headings = document(title)

    def answer(route):
        path = unquote(urlsplit(route.request.url).path)
        file = BUILT / path.lstrip("/")
        if path == "/print.html":
            route.fulfill(body=text, content_type="text/html; charset=utf-8")
        elif route.request.url.startswith(SITE) and file.is_file():
            route.fulfill(path=file, content_type=mimetypes.guess_type(file.name)[0] or "application/octet-stream")
        else:
            route.abort()

    with sync_playwright() as playwright:
        browser_path = next(filter(None, map(shutil.which, BROWSERS)), None) or playwright.chromium.executable_path
        if not Path(browser_path).exists():
            raise FileNotFoundError("no browser: install chromium, or run `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(java_script_enabled=False, color_scheme="light").new_page()
        page.route("**/*", answer)
        page.goto(f"{SITE}/print.html", wait_until="load")
        page.emulate_media(media="print")
        page.pdf(
            path=target,
            format="A4",
            scale=0.85,
            margin={"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"},
            print_background=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOT.format(title=html.escape(title)),
            tagged=True,
            outline=True,
        )
        browser.close()
    name_bookmarks(target, title, headings)
    return target


if __name__ == "__main__":
    try:
        path = write()
    except FileNotFoundError as error:
        sys.exit(str(error))
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.1f} MB")
