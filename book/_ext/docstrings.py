"""A Sphinx extension that reads the library's docstrings as plain text with names in backticks.

Sphinx would read the bars of |M| and the stars of **settings as markup, and the words before a colon in a property's
docstring as its type.
"""

import inspect
import re

KEPT = re.compile(r"`[^`]*`|^:\w+ [^:]*:|[|*]")  # names in backticks, napoleon's ":param name:", and what is not markup


def plain(app, what, name, obj, options, lines):
    if what == "property":  # as it was before napoleon read it
        lines[:] = [*(inspect.getdoc(obj) or "").splitlines(), ""]
    lines[:] = [KEPT.sub(lambda match: f"\\{match[0]}" if match[0] in "|*" else match[0], line) for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", plain, priority=600)  # after napoleon, at 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
