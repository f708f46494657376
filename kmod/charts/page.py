"""Charts on a page: title, alternative text, a still drawing for readers without JavaScript, and a table of numbers."""

import hashlib
import json
import math
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from importlib.util import find_spec

import altair as alt

from ..checks import brief, native
from ..html import escape
from .tables import Table, table
from .theme import STATIC_WIDTH, theme

VEGA_LITE = ".".join(alt.SCHEMA_VERSION[1:].split(".")[:2])
STILL_PANEL = 380  # pixels; width of a panel in the still drawing of a chart of several, which stand in one column


def titled(chart, finding: str, subtitle: str, description: str, numbers: Iterable[Mapping] | None = None):
    """Return `chart` with a title (the finding), a subtitle (n, what an interval means) and alt text.

    `numbers` are rows as `table` takes them: in the book they stand folded under the chart. Those that are not finite
    are dashes there, and the subtitle says how many. Raises ValueError for a blank text.
    """
    for name, text in (("finding", finding), ("subtitle", subtitle), ("description", description)):
        if not text.strip():
            raise ValueError(f"a chart needs a {name}")
    if numbers is not None:
        behind, gaps = _finite([dict(row) for row in numbers])
        chart = chart.properties(usermeta=_meta(chart) | {"numbers": behind})
        subtitle += f". Left out: {gaps} numbers of the table that are not finite" * bool(gaps)
    title = alt.Title(_wrapped(finding, 78), subtitle=_wrapped(subtitle, 100))
    return chart.properties(title=title, description=description)


def _finite(value: object) -> tuple[object, int]:
    """Lists and mappings with Python's numbers, None for each that is not finite, as JSON has none; and how many."""
    gaps = 0

    def walked(value: object) -> object:
        nonlocal gaps
        if isinstance(value, dict):
            return {key: walked(each) for key, each in value.items()}
        if isinstance(value, list):
            return list(map(walked, value))
        gap = isinstance(value, float) and not math.isfinite(value)
        gaps += gap
        return None if gap else value

    return walked(native(value)), gaps


def numbers(chart: alt.TopLevelMixin) -> Table:
    """The table behind a chart of `kmod.charts`: every number it draws. Raises ValueError if it carries none."""
    meta = _meta(chart)
    if "numbers" not in meta:
        raise ValueError("this chart carries no numbers; give them to `charts.titled`")
    return table(meta["numbers"], caption=_line(chart.title.text))


def _meta(chart) -> dict:
    return chart.usermeta if isinstance(getattr(chart, "usermeta", None), dict) else {}


def use_book_renderer() -> None:
    """Draw charts in the kmod theme and in a form that works in the built book; harmless to call again.

    On Colab, in a live Jupyter session and without vl-convert-python Altair's own renderer stays: only the book's pages
    have the script that makes the charts live. The environment variable KMOD_CHARTS, "book" or "altair", overrides
    this. Raises ImportError for "book" without vl-convert-python.
    """
    alt.theme.register("kmod", enable=True)(theme)
    alt.renderers.register("kmod", to_bundle)
    can_draw = find_spec("vl_convert") is not None
    live = "google.colab" in sys.modules or "JPY_SESSION_NAME" in os.environ
    choice = os.environ.get("KMOD_CHARTS", "altair" if live or not can_draw else "book")
    if choice not in ("book", "altair"):
        raise ValueError(brief(f"KMOD_CHARTS is {choice!r}; it can be 'book' or 'altair'"))
    if choice == "book" and not can_draw:
        raise ImportError("charts of the book need vl-convert-python: pip install 'kmod[book]'")
    alt.renderers.enable("kmod" if choice == "book" else "default")


def to_bundle(spec: dict, **_) -> dict[str, str]:
    """Return the MIME bundle of a chart: HTML with its title, a still drawing, the specification and its numbers.

    `book/_static/charts.js` turns it into a live chart; without JavaScript the drawing stays. The same chart gives the
    same bytes. Values that are not finite are left out, and the subtitle says how many. Needs vl-convert-python.
    """
    import vl_convert  # heavy, and only pages need it: Colab does not have it

    behind = spec.get("usermeta", {}).get("numbers")
    spec, gaps = _finite(dict(spec))
    title = spec.pop("title", "")
    title = title if isinstance(title, dict) else {"text": title}
    text, subtitle = _line(title.get("text", "")), _line(title.get("subtitle", ""))
    description = spec.get("description") or text
    if gaps:
        subtitle = f"{subtitle}. Left out: {gaps} values that are not finite".removeprefix(". ")
    meta = dict(spec.get("usermeta", {}))
    meta.pop("numbers", None)
    if "concat" in spec:
        meta["embedOptions"] = {"patch": _fitting(spec)}
        panels = [panel | {"width": STILL_PANEL} for panel in spec["concat"]]
        still = spec | {"columns": 1, "concat": panels}
    else:
        still = spec | {"width": STATIC_WIDTH} if spec.get("width") == "container" else spec
    spec |= {"usermeta": meta}
    if not meta:
        del spec["usermeta"]
    data = json.dumps(spec, ensure_ascii=False)
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    svg = vl_convert.vegalite_to_svg(still, vl_version=VEGA_LITE)
    svg = re.sub(r' (aria-[a-z]+|role)="[^"]*"', "", svg)  # the figure has the only description
    name = "c" + hashlib.sha256(data.encode()).hexdigest()[:8]
    clips = list(dict.fromkeys(re.findall(r"\bclip\d+", svg)))  # numbered through all drawings of a process
    svg = re.sub(r"\bclip\d+", lambda m: f"{name}-{clips.index(m[0])}", svg)  # ids are shared by the whole page
    inside = table(behind, caption=text or "The numbers of the chart")._repr_html_() if behind else ""
    folded = f'<details class="kmod-numbers"><summary>The numbers</summary>{inside}</details>' if behind else ""
    markup = (
        f'<figure class="kmod-chart"><figcaption><strong>{escape(text)}</strong> '
        f"<span>{escape(subtitle)}</span></figcaption>"
        f'<div class="kmod-still" role="img" aria-label="{escape(description)}">{svg}</div>'
        f'<script type="application/json">{data}</script>{folded}</figure>'
    )
    return {"text/html": markup, "text/plain": f"{text}. {subtitle}. {description}"}


def _fitting(spec: dict) -> list[dict]:
    """Changes to the compiled Vega that let the panels of a concatenated chart share the width of the page.

    Vega-Lite can only give them fixed widths. On a narrow page they stand below each other. The page compiles with the
    same version of Vega-Lite (see book/_ext/vendor.py); each change first tests that it meets the signal it is for.
    """
    import vl_convert

    vega = vl_convert.vegalite_to_vega(spec, vl_version=VEGA_LITE)
    room = "(isFinite(containerSize()[0]) ? containerSize()[0] : 680)"
    columns = f"{room} < 620 ? 1 : 2"
    panel = f"max(200, {room} < 620 ? {room} - 76 : {room} / 2 - 84)"  # less the axes
    changes = [{"op": "replace", "path": "/layout/columns", "value": {"signal": "panel_columns"}}]
    resized = {"source": "window", "type": "resize"}
    for i, signal in enumerate(vega["signals"]):
        if signal["name"] == "childWidth" or re.fullmatch(r"concat_\d+_width", signal["name"]):
            fitted = {"name": signal["name"], "init": panel, "on": [{"update": panel, "events": resized}]}
            changes.append({"op": "test", "path": f"/signals/{i}/name", "value": signal["name"]})
            changes.append({"op": "replace", "path": f"/signals/{i}", "value": fitted})
    for i, group in enumerate(vega["marks"]):
        for j, signal in enumerate(group.get("signals", [])):
            for k, on in enumerate(signal.get("on", [])):
                if str(on["events"].get("signal") if isinstance(on["events"], dict) else "").endswith("_scale_trigger"):
                    brushed = re.search(r"(\w+)\[0\]", on["update"])[1]  # undefined until something is brushed
                    guarded = f"isArray({brushed}) ? {on['update']} : []"
                    changes.append({"op": "replace", "path": f"/marks/{i}/signals/{j}/on/{k}/update", "value": guarded})
    signal = {"name": "panel_columns", "init": columns, "on": [{"update": columns, "events": resized}]}
    return [*changes, {"op": "add", "path": "/signals/0", "value": signal}]


def _wrapped(text: str, width: int) -> str | list[str]:
    """Lines for a title in a chart of some 600 pixels; a list only if there are several."""
    lines = textwrap.wrap(text, width)
    return lines if len(lines) > 1 else text


def _line(text: str | list[str]) -> str:
    """A Vega title, which is a line or a list of lines, as one line."""
    return text if isinstance(text, str) else " ".join(text)
