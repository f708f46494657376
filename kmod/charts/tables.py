"""Tables that read well in a notebook, in the book, on a phone, aloud and as plain text."""

from collections.abc import Iterable, Mapping

from .. import html


class Table:
    """A small table that reads well in a notebook, in the book, on a phone, aloud and as plain text."""

    def __init__(self, rows: list[dict], caption: str):
        self.rows, self.caption = rows, caption
        self.columns = list(rows[0])

    def _repr_html_(self) -> str:
        return html.scrolling(html.table(map(dict.values, self.rows), self.columns, self.caption), self.caption)

    def __repr__(self) -> str:
        lines = [self.columns, *([html.plain(row[column]) for column in self.columns] for row in self.rows)]
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
