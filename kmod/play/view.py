"""The place on a page where a reader changes a memory: what a chapter puts out, and what stays without JavaScript.

    from kmod.play import widget
    widget("France", "Rome", blocks="all", delta=5e-4)      # the edit shown first; delta=None is no limit

`book/_static/play.js` makes it live on the pages of the book. Elsewhere, in Jupyter or without JavaScript, the table of
this one edit stays, and says where to find the rest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..checks import brief
from ..files import user_path
from ..html import Html, escape, scrolling, table

FOLDER = Path("book") / "_static" / "play"
LIVE = "On the pages of the book, with JavaScript on, fact, object, blocks and δ can be chosen here."
ABSENT = "The edits to play with are part of the book, and not of this installation: its pages show them live."
BROKEN = 6  # the most broken facts that the text without JavaScript names


def read(path: str | Path) -> dict:
    """What a script of `kmod.play.make` assigns."""
    return json.loads(Path(path).read_text(encoding="utf8").split(" = ", 1)[1].rstrip(";\n"))


def widget(
    fact: str = "France", object: str | None = None, blocks: str = "all", delta: float | None = 5e-4, *,
    folder: str | Path | None = None
) -> Widget:  # fmt: skip
    """A widget that begins with one of the edits made beforehand, for the last line of a cell.

    Args:
        fact: its subject, such as "France", or the name of its script, "france-p36".
        object: its new object; None takes the first.
        blocks: which were trained: "all", "first" or "last".
        delta: the radius; None is no limit.
        folder: where the edits lie; by default book/_static/play of this checkout, or of the one worked in.

    Raises ValueError that lists what there is. Where the edits are not at hand, as on Colab, the widget says so.
    """
    folder = user_path(folder) if folder else _folder()
    if folder is None:
        return Widget({}, None, None, None)
    index = read(folder / "index.js")
    entry = next((e for e in index["facts"] if fact in (e["id"], e["subject"])), None)
    if entry is None:
        raise ValueError(brief(f"no edits of {fact!r}; known: {', '.join(e['subject'] for e in index['facts'])}"))
    object = object or entry["objects"][0]
    known = {"object": entry["objects"], "blocks": index["blocks"], "delta": index["deltas"]}
    for (name, values), value in zip(known.items(), (object, blocks, delta), strict=True):
        if value not in values:
            wrong = f"no edits of {entry['subject']} with {name} {value!r}"
            raise ValueError(brief(f"{wrong}; known: {', '.join(map(str, values))}"))
    script = read(folder / f"{entry['id']}.js")
    change = next(change for change in script["changes"] if change["object"] == object)
    limit = "none" if delta is None else f"{delta!r}"
    chosen = {"fact": entry["id"], "object": object, "blocks": blocks, "delta": limit}
    return Widget(chosen, script, change, change["edits"][blocks][index["deltas"].index(delta)])


def _folder() -> Path | None:
    """The edits of the checkout that is worked in, or that this file is part of."""
    roots = (Path.cwd(), *Path.cwd().parents, Path(__file__).parents[2])
    return next((root / FOLDER for root in roots if (root / FOLDER / "index.js").is_file()), None)


@dataclass(frozen=True, eq=False)
class Widget:
    """The chosen edit as data attributes and as a table. Without edits at hand `script` is None."""

    chosen: dict[str, str]
    script: dict | None
    change: dict | None
    edit: dict | None

    @property
    def title(self) -> str:
        limit = "without a limit" if self.chosen["delta"] == "none" else f"δ = {float(self.chosen['delta']):g}"
        where = {"all": "all blocks", "first": "the first block", "last": "the last block"}[self.chosen["blocks"]]
        fact = f"{self.script['subject']}, {self.script['label']}: {self.script['object']} → {self.change['object']}"
        return f"{fact}, {where}, {limit}"

    @property
    def outcome(self) -> str:
        """What the edit did, in words."""
        script, edit = self.script, self.edit
        learnt, evidences = edit["learnt"], len(script["statements"]) - script["tests"]
        kept = " to ".join(f"{100 * n / script['asked']:.1f} %" for n in (script["right"], edit["kept"]))
        broken = [(*script["facts"][i], answer) for i, _, answer in edit["list"][:BROKEN]]
        broken = [f"{subject}, {label}: {object}, now “{answer}”" for subject, label, object, answer in broken]
        broke = f"{edit['broken']:,} other fact{'s' * (edit['broken'] != 1)} broke"
        return (
            f"“{self.change['object']}” is the answer to {learnt[0]} of {script['tests']} unseen phrasings and to "
            f"{learnt[1]} of the {evidences} trained on. A_F∖S goes from {kept}; {broke}"
            + (f", such as {'; '.join(broken)}." if edit["broken"] else ".")
        )

    def _repr_html_(self) -> str:
        if self.script is None:
            return f'<p class="kmod-play-note">{escape(ABSENT)}</p>'

        def cell(answers: list) -> Html:
            return Html("<br>".join(escape(f"{name} {100 * p:.1f} %") for name, p in answers))

        tests = self.script["statements"][: self.script["tests"]]
        answered = zip(tests, self.change["before"], self.edit["top"], strict=False)
        rows = [(statement, cell(before), cell(after)) for statement, before, after in answered]
        answers = table(rows, ("statement", "answers before", "answers after"), self.title)
        attributes = "".join(f' data-{name}="{escape(value)}"' for name, value in self.chosen.items())
        return (
            f'<div class="kmod-play"{attributes}>\n{scrolling(answers, self.title)}\n'
            f'<p>{escape(self.outcome)}</p>\n<p class="kmod-play-note">{LIVE}</p></div>'
        )

    def __repr__(self) -> str:
        return ABSENT if self.script is None else f"{self.title}\n{self.outcome}"
