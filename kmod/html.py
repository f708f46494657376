"""HTML for notebooks and pages: escaped text, and tables that a screen reader can follow."""

import html
import math
from collections.abc import Iterable, Sequence

from .checks import native


class Html(str):
    """Markup to be shown as it is; the texts in it are already escaped."""


def escape(value: object) -> str:
    return html.escape(str(value))


def plain(value: object) -> str:
    """The text of a table cell: None as a dash, floats with four significant digits."""
    value = native(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(rows: Iterable[Sequence], heads: Sequence[str], caption: str) -> str:
    """A table with a caption; the first cell of a row is its heading.

    Cells are escaped unless they are `Html`; numbers get the class "number".
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = [f'<tr><th scope="row">{_text(first)}</th>{"".join(map(_cell, rest))}</tr>\n' for first, *rest in rows]
    start = f"<table><caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>"
    return f"{start}\n<tbody>\n{''.join(body)}</tbody></table>"


def scrolling(markup: str, label: str, kind: str = "") -> str:
    """A table in the book's box: it scrolls sideways on a narrow screen, and can be reached by key. `kind` is one more
    CSS class."""
    classes = f"kmod-table {kind}".strip()
    return f'<div class="{classes}" role="region" aria-label="{escape(label)}" tabindex="0">{markup}</div>'


def _text(value: object) -> str:
    return value if isinstance(value, Html) else escape(plain(value))


def _cell(value: object) -> str:
    value = native(value) if not isinstance(value, str) else value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f'<td class="number">{_text(value)}</td>' if number else f"<td>{_text(value)}</td>"
