"""Check that a built book is whole: `python book/_ext/check_build.py _build/html`.

A build can end well and leave nothing worth reading. So every page of `_toc.yml` has to exist, every executed
chapter has to hold outputs and no traceback, and no page may load anything from another host.
"""

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
REMOTE = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)\s*=\s*["'](?:https?:)?//[^"']*""", re.I
)


def pages() -> list[str]:
    """The pages of the table of contents, in order, without suffix."""

    def walk(entry):
        for key in ("root", "file"):
            if key in entry:
                yield entry[key].removesuffix(".md").removesuffix(".ipynb")
        for key in ("parts", "chapters", "sections", "subtrees", "entries"):
            for child in entry.get(key, []):
                yield from walk(child)

    return list(walk(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))))


def problems(html: Path) -> list[str]:
    """What is wrong with the book in the folder `html`, one line each."""
    found = [] if (html / "index.html").exists() else ["index.html is missing"]
    for page in pages():
        path = html / f"{page}.html"
        if not path.exists():
            found.append(f"{page}: the page is missing")
            continue
        text = path.read_text(encoding="utf8")
        if (ROOT / f"{page}.ipynb").exists() and 'class="cell_output' not in text:
            found.append(f"{page}: the chapter holds no outputs")
        if "Traceback (most recent call last)" in text:
            found.append(f"{page}: a cell failed")
        found += [
            f"{page}: loads from elsewhere: {match}" for match in REMOTE.findall(text) if "canonical" not in match
        ]
    return found


if __name__ == "__main__":
    found = problems(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "_build" / "html"))
    print("\n".join(found) or f"the book is whole: {len(pages())} pages")
    sys.exit(bool(found))
