"""Check that a built book is whole: `python book/_ext/check_build.py _build/html`.

A build that ends without an error can still be empty. Every page of `_toc.yml` must exist, every executed chapter must
have outputs and no traceback, no page may load anything from another host, and every link within the book must lead
somewhere. Links to other sites need a network: `make links`.
"""

import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

ROOT = Path(__file__).parents[2]
REMOTE = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)\s*=\s*["'](?:https?:)?//[^"']*""", re.I
)


def toc() -> list[tuple[str, str]]:
    """The pages of the table of contents in order, without suffix, each after the caption of its part."""

    def walk(entry, part):
        part = entry.get("caption", part)
        for key in ("root", "file"):
            if key in entry:
                yield part, entry[key].removesuffix(".md").removesuffix(".ipynb")
        for key in ("parts", "chapters", "sections", "subtrees", "entries"):
            for child in entry.get(key, []):
                yield from walk(child, part)

    return list(walk(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8")), ""))


def pages() -> list[str]:
    return [page for _, page in toc()]


class _Links(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors, self.targets = {"", "top"}, set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        self.targets |= {attrs[key] for key in ("href", "src") if attrs.get(key)}


@cache
def _links(path: Path) -> _Links:
    return _Links(path.read_text(encoding="utf8"))


def broken(html: Path) -> list[str]:
    """The links of every page to files that are not there, or to places that their page lacks; one line each."""
    faults = []
    for path in sorted(p for p in html.rglob("*.html") if "_static" not in p.parts):
        for target in sorted(_links(path).targets):
            url = urlsplit(target)
            if url.scheme or url.netloc:
                continue
            place = (path.parent / unquote(url.path)).resolve() if url.path else path
            place = place / "index.html" if place.is_dir() else place
            if not place.is_relative_to(html.resolve()) or not place.exists():
                faults.append(f"{path.relative_to(html)}: leads nowhere: {target}")
            elif place.suffix == ".html" and unquote(url.fragment) not in _links(place).anchors:
                faults.append(f"{path.relative_to(html)}: no such place on the page: {target}")
    return faults


def problems(html: Path) -> list[str]:
    """What is wrong with the book in the folder `html`, one line each."""
    html = html.resolve()
    faults = [] if (html / "index.html").exists() else ["index.html is missing"]
    for page in pages():
        path = html / f"{page}.html"
        if not path.exists():
            faults.append(f"{page}: the page is missing")
            continue
        text = path.read_text(encoding="utf8")
        if (ROOT / f"{page}.ipynb").exists() and 'class="cell_output' not in text:
            faults.append(f"{page}: the chapter holds no outputs")
        if "Traceback (most recent call last)" in text:
            faults.append(f"{page}: a cell failed")
        faults += [
            f"{page}: loads from elsewhere: {match}" for match in REMOTE.findall(text) if "canonical" not in match
        ]
    return faults + broken(html)


if __name__ == "__main__":
    faults = problems(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "_build" / "html"))
    print("\n".join(faults) or f"the book is whole: {len(pages())} pages")
    sys.exit(bool(faults))
