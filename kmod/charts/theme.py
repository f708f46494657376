"""The look of every chart: colours, shapes and dashes, and the scales, axes, legends and menus that charts share."""

import json
from collections.abc import Iterable, Mapping, Sequence

import altair as alt

# After Okabe and Ito; the contrast of each is over 3:1 on the light page and on the dark one.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#B4649A", "#9A7B00", "#6F7FD8", "#8A8A8A")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ([1, 0], [7, 3], [2, 2], [10, 3, 2, 3], [5, 5], [12, 4], [1, 3], [8, 2, 2, 2, 2, 2])
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
STATIC_WIDTH = 600  # pixels; the drawing shown where no JavaScript runs, scaled down to the page
SPREAD = {"mean": "mean", "low": "from", "high": "to"}  # fields of a mean with its interval → titles in a tooltip
PADDING = {"top": 8, "left": 4, "right": 4, "bottom": 4}


def theme() -> alt.theme.ThemeConfig:
    """The look of every chart: no background, the colour of the text around it, thin lines."""
    ink = {"labelColor": "currentColor", "titleColor": "currentColor", "labelFontSize": 12, "titleFontSize": 12}
    grid = {"gridColor": "currentColor", "gridOpacity": 0.12, "domain": False, "ticks": False}
    quiet = {"labelPadding": 6, "labelOpacity": 0.85, "titleFontWeight": 400, "titlePadding": 10}
    config = {"background": None, "font": FONT, "view": {"stroke": None}, "axis": ink | grid | quiet}
    config["legend"] = ink | {"symbolSize": 90, "padding": 4, "columnPadding": 26}
    config["title"] = {"color": "currentColor", "subtitleColor": "currentColor", "anchor": "start", "fontSize": 15}
    config |= {"text": {"color": "currentColor", "fontSize": 12}, "rule": {"color": "currentColor"}}
    return {"config": config | {"range": {"category": list(PALETTE)}}}


def scale(domain: Iterable, values: Sequence) -> alt.Scale:
    """A scale that gives each name a colour, shape or dash; with more names than `values`, these repeat."""
    domain = list(domain)
    return alt.Scale(domain=domain, range=[values[i % len(values)] for i in range(len(domain))])


def key(names: Sequence[str], panels: bool = False, **how) -> alt.Legend | None:
    """A legend under the chart, with as many columns as fit the page; none for a single name.

    A chart of several `panels` has no width of its own to ask for, so its legend gets the columns that fit a phone.
    """
    if len(names) < 2:
        return None
    wide = 7 * max(map(len, names)) + 44
    phone, desk = max(1, 330 // wide), max(1, 620 // wide)
    return below(phone if panels else alt.expr(f"width < 480 ? {phone} : {desk}"), **how)


def below(columns, **how) -> alt.Legend:
    return alt.Legend(orient="bottom", columns=columns, labelLimit=0, symbolOpacity=1, **how)


def color_and_shape(field: str, names: Sequence[str], legend: alt.Legend | None, shapes: Sequence[str] = SHAPES):
    """Colour and shape by `field`, in one legend."""
    color = alt.Color(f"{field}:N", title=None, scale=scale(names, PALETTE), legend=legend)
    return color, alt.Shape(f"{field}:N", title=None, scale=scale(names, shapes), legend=legend)


def by_label(labels: Sequence[str], panels: bool = False) -> tuple[dict, dict]:
    """Colour and dash of lines, colour and shape of points, by the field `label`, in one legend.

    The dash goes by `line`, the number of the label (see `numbered`): by `label`, the legend would draw dashed symbols.
    """
    color, shape = color_and_shape("label", labels, key(labels, panels))
    dash = alt.StrokeDash("line:O", scale=scale(range(len(labels)), DASHES), legend=None)
    return {"color": color, "strokeDash": dash}, {"color": color, "shape": shape}


def numbered(labels: Sequence[str]) -> str:
    """The Vega expression for the number of a row's label."""
    return f"indexof({json.dumps(list(labels), ensure_ascii=False)}, datum.label)"


def percent(channel: type, field: str, title: str, domain: Sequence[float] | None = (0, 1)):
    """An x or y channel over fractions, with ticks in percent; layers that share an axis share its title.

    Without a `domain` the axis fits the data.
    """
    axis = alt.Axis(labelExpr="format(100 * datum.value, '.3~g') + ' %'", tickCount=5)
    fitted = alt.Scale(zero=False, nice=True) if domain is None else alt.Scale(domain=list(domain))
    return channel(f"{field}:Q", title=title, axis=axis, scale=fitted)


def named_places(field: str, title: str, names: Mapping[float, str], room: float) -> alt.X:
    """A log axis with a name at each place, as far as they have room; the scale goes beyond both ends by the factor
    `room`."""
    places = list(names)
    label = f"{json.dumps(list(names.values()))}[indexof({json.dumps(places)}, datum.value)]"
    axis = alt.Axis(values=places, labelExpr=label, labelOverlap="greedy", labelSeparation=7, grid=False)
    log = alt.Scale(type="log", domain=[places[0] / room, places[-1] * room], nice=False)
    return alt.X(f"{field}:Q", title=title, axis=axis, scale=log)


def delta_axis(rows: Sequence[dict], field: str = "x") -> alt.X:
    """The radii of `rows` (`field` on the axis, `delta` as text) on a log scale, with a tick at each."""
    names = dict(sorted({(row[field], row["delta"]) for row in rows}))
    room = max(1.1, (max(names) / min(names)) ** 0.09)
    return named_places(field, "δ, the radius of the constraint (log scale)", names, room)


def log_axis() -> alt.Axis:
    """An axis of a log scale with ticks at 1, 2 and 5 of each power of ten, as far as they have room."""
    ticks, form = [m * 10.0**e for e in range(-8, 9) for m in (1, 2, 5)], "format(datum.value, ',.6~g')"
    return alt.Axis(values=ticks, labelExpr=form, labelOverlap="greedy", labelSeparation=7)


def tips(texts: Mapping[str, str], numbers: Mapping[str, str] = SPREAD, form: str = ".1%", count: str = "seeds"):
    """Tooltips: fields → titles of texts and of numbers in the format `form`; the field `n` last, titled `count`."""
    out = [alt.Tooltip(field if ":" in field else f"{field}:N", title=title) for field, title in texts.items()]
    out += [alt.Tooltip(f"{field}:Q", title=title, format=form) for field, title in numbers.items()]
    return [*out, alt.Tooltip("n:Q", title=count)]


def picker(field: str) -> alt.Parameter:
    """The selection of names in the legend of `field`, by click."""
    return alt.selection_point(name="legend", fields=[field], bind="legend")


def menu(name: str, label: str, options: list[str], start: str) -> alt.Parameter:
    """A drop-down menu; with one option only, a constant."""
    bind = alt.binding_select(options=options, name=f"{label} ") if len(options) > 1 else alt.Undefined
    return alt.param(name=name, value=start, bind=bind)


def shown(selected, front: float = 1, back: float = 0.15) -> alt.Opacity:
    """Opacity: `front` for what a selection or expression selects, `back` for the rest."""
    return alt.when(selected).then(alt.value(front)).otherwise(alt.value(back))
