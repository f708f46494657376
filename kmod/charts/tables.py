"""Tables for notebooks and the book."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .. import html


@dataclass(frozen=True)
class Table:
    """A small table: HTML on a page, aligned columns as plain text."""

    rows: list[dict]
    caption: str

    def _repr_html_(self) -> str:
        return html.scrolling(html.table(map(dict.values, self.rows), list(self.rows[0]), self.caption), self.caption)

    def __repr__(self) -> str:
        lines = [list(self.rows[0]), *(list(map(html.plain, row.values())) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join([self.caption, lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def table(rows: Iterable[Mapping], *, caption: str) -> Table:
    """Make a table of `rows`, dicts with the same keys, which head the columns; the first column heads the rows.

    Text is shown as it is, None as a dash, floats with four significant digits; numbers with a unit are formatted
    beforehand. Raises ValueError without rows or caption, or when a row has other keys than the first.
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
