"""Tables that read well in a notebook, in the book, on a phone, aloud and as plain text."""

import html
from collections.abc import Iterable, Mapping


class Table:
    """A small table that reads well in a notebook, in the book, on a phone, aloud and as plain text."""

    def __init__(self, rows: list[dict], caption: str):
        self.rows, self.caption = rows, caption
        self.columns = list(rows[0])

    def _repr_html_(self) -> str:
        def cell(value) -> str:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            kind = ' class="number"' if number else ""
            return f"<td{kind}>{html.escape(_text(value))}</td>"

        head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in self.columns)
        body = ""
        for row in self.rows:
            first, *rest = (row[column] for column in self.columns)
            body += f'<tr><th scope="row">{html.escape(_text(first))}</th>{"".join(map(cell, rest))}</tr>\n'
        caption = html.escape(self.caption)
        return (
            f'<div class="kmod-table" role="region" aria-label="{caption}" tabindex="0"><table>'
            f"<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{body}</tbody></table></div>"
        )

    def __repr__(self) -> str:
        lines = [self.columns, *([_text(row[column]) for column in self.columns] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join([self.caption, lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def table(rows: Iterable[Mapping], *, caption: str) -> Table:
    """Make a table of `rows`, dicts with the same keys: they head the columns, and the first column the rows.

    Text is shown as it is (escaped), None as a dash, floats with four significant digits: format what needs a
    unit beforehand. Raises ValueError without rows or caption, or when a row has other keys than the first.
    """
    rows = [dict(row) for row in rows]
    if not rows or not rows[0]:
        raise ValueError("no rows for the table")
    if not caption.strip():
        raise ValueError("a table needs a caption")
    for i, row in enumerate(rows):
        if list(row) != list(rows[0]):
            raise ValueError(f"row {i} has the columns {list(row)}, the first row {list(rows[0])}")
    return Table(rows, caption)


def _text(value) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
