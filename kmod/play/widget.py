"""The place on a page where a reader changes a memory: what a chapter puts out, and what stays without JavaScript.

    from kmod.play import widget
    widget("France", "Rome", blocks="all", delta=5e-3)      # the first choice; delta=None is no limit

`book/_static/play.js` makes it live on the pages of the book. Elsewhere, in Jupyter or without JavaScript, the table of
this one edit stays, and says where to find the rest.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..html import Html, escape, scrolling, table

FOLDER = Path("book") / "_static" / "play"
LIVE = "On the pages of the book, with JavaScript on, fact, object, blocks and δ can be chosen here."
BROKEN = 6  # how many broken facts the table without JavaScript names


def read(path: str | Path) -> dict:
    """What a script of `kmod.play.make` assigns."""
    return json.loads(Path(path).read_text(encoding="utf8").split(" = ", 1)[1].rstrip(";\n"))


def widget(
    fact: str = "France",
    object: str | None = None,
    blocks: str = "all",
    delta: float | None = 5e-3,
    *,
    folder: str | Path | None = None,
) -> Widget:
    """A widget that begins with one of the edits made beforehand, for the last line of a cell.

    Args:
        fact: its subject, such as "France", or the name of its script, "france-p36".
        object: its new object; None takes the first.
        blocks: which were trained: "all", "first" or "last".
        delta: the radius; None is no limit.
        folder: where the edits lie; by default book/_static/play of this checkout, or of the one worked in.

    Raises ValueError that lists what there is. Where the edits are not at hand, as on Colab, it says so instead.
    """
    found = Path(folder) if folder else _found()
    if found is None:
        return Widget({}, None, None, None)
    index = read(found / "index.js")
    entry = next((e for e in index["facts"] if fact in (e["id"], e["subject"])), None)
    if entry is None:
        raise ValueError(f"no edits of {fact!r}; known: {', '.join(e['subject'] for e in index['facts'])}")
    object = object or entry["objects"][0]
    for what, value, known in (
        ("object", object, entry["objects"]),
        ("blocks", blocks, index["blocks"]),
        ("delta", delta, index["deltas"]),
    ):
        if value not in known:
            raise ValueError(
                f"no edits of {entry['subject']} with {what} {value!r}; known: {', '.join(map(str, known))}"
            )
    data = read(found / f"{entry['id']}.js")
    change = next(change for change in data["changes"] if change["object"] == object)
    chosen = {
        "fact": entry["id"],
        "object": object,
        "blocks": blocks,
        "delta": "none" if delta is None else f"{delta!r}",
    }
    return Widget(chosen, data, change, change["edits"][blocks][index["deltas"].index(delta)])


def _found() -> Path | None:
    """The edits of the checkout that is worked in, or that this file is part of."""
    here = Path(os.getcwd())
    roots = (here, *here.parents, Path(__file__).parents[2])
    return next((root / FOLDER for root in roots if (root / FOLDER / "index.js").is_file()), None)


@dataclass(frozen=True, eq=False)
class Widget:
    """What a notebook shows: the first choice as data attributes, and that one edit as a table."""

    chosen: dict[str, str]
    data: dict | None
    change: dict | None
    edit: dict | None

    @property
    def title(self) -> str:
        limit = "without a limit" if self.chosen["delta"] == "none" else f"δ = {float(self.chosen['delta']):g}"
        where = {"all": "all blocks", "first": "the first block", "last": "the last block"}[self.chosen["blocks"]]
        data = self.data
        return f"{data['subject']}, {data['label']}: {data['object']} → {self.change['object']}, {where}, {limit}"

    @property
    def said(self) -> str:
        """The outcome in words."""
        data, edit, new = self.data, self.edit, self.change["object"]
        evidences = len(data["statements"]) - data["tests"]
        kept = f"{100 * data['right'] / data['asked']:.1f} % to {100 * edit['kept'] / data['asked']:.1f} %"
        return (
            f"“{new}” is the answer to {edit['learnt'][0]} of {data['tests']} unseen phrasings and to "
            f"{edit['learnt'][1]} of the {evidences} trained on. A_F∖S goes from {kept}; {edit['broken']:,} other "
            "facts broke" + (f", such as {'; '.join(self._broken())}." if edit["broken"] else ".")
        )

    def _broken(self) -> list[str]:
        found = []
        for i, _, now in self.edit["list"][:BROKEN]:
            subject, label, object = self.data["facts"][i]
            found.append(f"{subject}, {label}: {object}, now “{now}”")
        return found

    def _repr_html_(self) -> str:
        if self.data is None:
            return f'<p class="kmod-play-note">{escape(repr(self))}</p>'

        def cell(answers: list) -> Html:
            return Html("<br>".join(escape(f"{name} {100 * p:.1f} %") for name, p in answers))

        statements = self.data["statements"][: self.data["tests"]]
        rows = [
            (statement, cell(before), cell(after))
            for statement, before, after in zip(statements, self.change["before"], self.edit["top"], strict=False)
        ]
        answers = table(rows, ("statement", "answers before", "answers after"), self.title)
        attributes = "".join(f' data-{name}="{escape(value)}"' for name, value in self.chosen.items())
        return (
            f'<div class="kmod-play"{attributes}>\n{scrolling(answers, self.title)}\n'
            f'<p>{escape(self.said)}</p>\n<p class="kmod-play-note">{LIVE}</p></div>'
        )

    def __repr__(self) -> str:
        if self.data is None:
            return (
                "The edits to play with are part of the book, and not of this installation: its pages show them live."
            )
        return f"{self.title}\n{self.said}"
