"""A Sphinx extension that writes the book's LaTeX math as MathML while the book is built.

Browsers draw MathML themselves, so no page needs MathJax or the network. latex2mathml does the translation;
this file repairs the few things it gets wrong and makes the build complain about commands it does not know.
"""

import re
import xml.etree.ElementTree as ET

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)
MATHML = "http://www.w3.org/1998/Math/MathML"
ET.register_namespace("", MATHML)

# Commands that latex2mathml does not know → ones that it knows.
REWRITES = [
    (r"\\arg\s*\\(min|max)|\\arg(min|max)", r"\\operatorname{arg\1\2}"),
    (r"\\(begin|end)\{(?:aligned|align)\}", r"\\\1{align*}"),
    (r"\\setminus", r"\\smallsetminus"),
    (r"\\colon", ":"),
]
OPERATORS = {"~": "∼", ";": ";", ":": ":", "±": "±", "⟨": "⟨", "⟩": "⟩", "{": "{", "}": "}", "…": "…"}
BARS = ("|", "‖")  # must not grow with what follows: only those of \left\lVert do
LIMITS = {"min": "min", "max": "max", "argmin": "arg min", "argmax": "arg max", "sup": "sup", "inf": "inf"}


def to_mathml(latex: str, display: bool = False) -> str:
    """Return `latex` as a MathML element; raise ValueError when a part of it is not understood."""
    source = latex.strip()
    for pattern, replacement in REWRITES:
        source = re.sub(pattern, replacement, source)
    try:
        # A bare "&" in the output is an alignment mark that was not understood: let the check below name it.
        markup = re.sub(r"&(?!#?\w+;)", r"\\&amp;", convert(source, display="block" if display else "inline"))
        root = ET.fromstring(markup)
    except Exception as error:
        raise ValueError(f"cannot read the formula {latex!r}: {error}") from error
    for element in root.iter():
        tag, text = element.tag.removeprefix(f"{{{MATHML}}}"), element.text or ""
        if "\\" in text:
            raise ValueError(f"unknown command {text!r} in the formula {latex!r}")
        if tag == "mi" and text in OPERATORS:
            element.tag, element.text = f"{{{MATHML}}}mo", OPERATORS[text]
        if tag == "mo" and text in BARS:
            element.attrib.setdefault("stretchy", "false")
        if tag == "mo" and len(text) > 1 and text.isalpha() and text not in LIMITS:
            element.tag = f"{{{MATHML}}}mi"  # a function's name, without the spaces of an operator
        if tag in ("msub", "munder") and len(element) and element[0].text in LIMITS:
            element.tag = f"{{{MATHML}}}munder"
            element[0].text = LIMITS[element[0].text]
            element[0].set("movablelimits", "true")
    root.set("alttext", latex.strip())
    return ET.tostring(root, encoding="unicode")


def render(translator, node, display: bool) -> str:
    try:
        return to_mathml(node.astext(), display)
    except ValueError as error:
        logger.warning(str(error), location=node)
        return f"<code>{translator.encode(node.astext())}</code>"


def visit_inline(self, node):
    self.body.append(render(self, node, display=False))
    raise nodes.SkipNode


def visit_display(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    self.body.append(f'<div class="equation">{render(self, node, display=True)}</div>')
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
