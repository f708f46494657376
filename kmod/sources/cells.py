"""The cells of a table: text, names and statements. What is wrong with one is said here without its place."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from numbers import Number

SURROGATE = re.compile("[\ud800-\udfff]")
# How lists look that were written as text: by pandas ["['a', 'b']"], by NumPy ("['a' 'b']"), as JSON ('["a", "b"]').
WRITTEN = re.compile(r"""\[\s*(?:np\.str_\()?['"]|\[\s*\]$""")
LITERAL = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")


def shown(value: object) -> str:
    """`value` in a message."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def missing(cell: object) -> bool:
    """Whether a cell holds nothing: None, NaN, or the nothing of pandas."""
    return cell is None or type(cell).__name__ in ("NAType", "NaTType") or (isinstance(cell, Number) and cell != cell)


def text(cell: object, what: str) -> str:
    """The text in a cell. Raises ValueError, which calls it `what`, for anything else, and for text that cannot be
    written."""
    if not isinstance(cell, str):
        kind = "" if cell is None else f" ({type(cell).__name__})"
        raise ValueError(f"{what} is {shown(cell)}{kind}, not text: write it as text, or take it out")
    if "\0" in cell or (not cell.isascii() and SURROGATE.search(cell)):
        raise ValueError(f"{what} holds a NUL or half a character (a lone surrogate): {shown(cell)}; write it anew")
    return cell


def name(cell: object, column: str) -> str:
    """The subject, relation or object in a cell, without surrounding space. Raises ValueError, with the remedy."""
    if missing(cell):
        words = "pandas takes words such as NA for nothing, but for keep_default_na=False"
        raise ValueError(f"the {column} is missing ({shown(cell)}): fill it in or take the row out; {words}")
    if (isinstance(cell, Iterable) and not isinstance(cell, (str, bytes))) or (
        isinstance(cell, str) and WRITTEN.match(cell.strip())
    ):
        raise ValueError(f"the {column} is a list or an object, {shown(cell)}: give each name a row of its own")
    if not (stripped := text(cell, f"the {column}").strip()):
        raise ValueError(f"the {column} of a fact must be text that is not empty: fill it in or take the row out")
    return stripped


def statements(cell: object, column: str) -> tuple[str, ...]:
    """The statements in a cell: a list or an array of text, such a list written as text, text with | between, or
    nothing. Raises ValueError, with the remedy, for anything else."""
    if missing(cell):
        return ()
    if isinstance(cell, str):
        cell = _listed(cell.strip(), column)
    if not isinstance(cell, Iterable) or isinstance(cell, (bytes, Mapping, Set)):
        kind = type(cell).__name__
        raise ValueError(f"{column} are text with | between, or a list of text, not {shown(cell)} ({kind})")
    texts = (text(each, f"one of the {column}").strip() for each in cell)
    return tuple(dict.fromkeys(filter(None, texts)))


def _listed(cell: str, column: str) -> list[str]:
    """The statements in a text: the items of a list or a tuple that was written as text, or the parts between |."""
    if not WRITTEN.match(cell) and cell[:2] not in ("('", '("'):
        return cell.split("|")
    with suppress(ValueError, RecursionError):
        return json.loads(cell)
    rest = LITERAL.sub("", cell).replace("np.str_", "")
    if cell[-1] in ")]" and not re.search(r"[^\s,()]", rest[1:-1]):
        with suppress(ValueError, SyntaxError):
            return [ast.literal_eval(literal) for literal in LITERAL.findall(cell)]
    if cell[0] == "(":  # a statement may begin so
        return cell.split("|")
    what = f"{column} look like a list that was written as text, but not wholly or not of text alone"
    raise ValueError(f"{what}, {shown(cell)}: write them with | between")
