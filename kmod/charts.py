"""Charts and tables: what the reader of the book sees and moves.

    from kmod import charts
    charts.use_book_renderer()
    charts.tradeoff(records)    # accuracy against delta, with a slider
    charts.frontier(records)    # what is learned against what is kept; its slider moves with the other one
    charts.table(rows, caption="Before and after")

A record is a dict that describes one run:

    method         str             how the edit was made, such as "FTM"
    delta          float or None   radius of the constraint; None when there was none
    seed           int             tells the runs of one (method, delta) apart
    A_M            fraction 0..1   modified facts answered with the new object, phrasings not trained on
    A_M_evidences  fraction 0..1   the same, on the sentences that were trained on
    A_FS           fraction 0..1   facts outside S still answered rightly after the edit
    A_FS_before    fraction 0..1   the same facts before the edit

Every chart carries a title that states the finding, a subtitle with n and the meaning of its intervals, and a
description for those who do not see it. Colours are told apart by the colour-blind, and no meaning hangs on
colour alone. Text and lines are drawn in `currentColor`, so a chart follows the light or dark page around it.
"""

import hashlib
import html
import json
import math
import os
import re
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence

import altair as alt
import vl_convert

# After Okabe and Ito; each stands out by more than 3:1 from the light page and from the dark one.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#B4649A")
SHAPES = ("circle", "square", "triangle-up", "diamond")
METRICS = {
    "A_M": "new facts, new phrasings (A_M)",
    "A_M_evidences": "new facts, as trained",
    "A_FS": "unmodified facts (A_F∖S)",
}
KEYS = ("method", "delta", "seed", *METRICS, "A_FS_before")
UNCONSTRAINED = "no limit"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
STATIC_WIDTH = 600  # pixels; the drawing shown where no JavaScript runs, scaled down to the page
T975 = [  # 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
]


# ---- numbers -------------------------------------------------------------------------------------


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of `values` and its 95 % t-interval (low, high), cut to 0..1; one has no width."""
    mean, n = statistics.fmean(values), len(values)
    if n == 1:
        return mean, mean, mean
    t = T975[n - 2] if n - 2 < len(T975) else 1.96 + 2.5 / (n - 1)
    half = t * statistics.stdev(values) / math.sqrt(n)
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def summarise(records: Iterable[Mapping]) -> list[dict]:
    """Average runs over their seeds: a row for each method, delta and metric, deltas ascending.

    A row holds `method`, `at` (index of the delta), `delta` (as text), `x` (where it stands on the axis),
    `unconstrained` (these come last), `metric`, `mean`, `low`, `high`, `n` and `before` (mean A_FS_before);
    accuracies are fractions. Raises ValueError on records that are empty, lack a key, hold a value out of
    range, or repeat a run.
    """
    records = _checked(records)
    finite = sorted({r["delta"] for r in records if r["delta"] is not None})
    deltas = finite + [None] * any(r["delta"] is None for r in records)
    span = math.log(finite[-1] / finite[0]) if finite else 0.0
    beyond = finite[-1] * math.exp(max(0.22 * span, 0.7)) if finite else 1.0
    rows = []
    for method in dict.fromkeys(r["method"] for r in records):
        for at, delta in enumerate(deltas):
            runs = [r for r in records if r["method"] == method and r["delta"] == delta]
            for metric, label in METRICS.items() if runs else ():
                mean, low, high = interval([r[metric] for r in runs])
                rows.append(
                    {
                        "method": method,
                        "at": at,
                        "delta": delta_text(delta),
                        "x": beyond if delta is None else delta,
                        "unconstrained": delta is None,
                        "metric": label,
                        "mean": mean,
                        "low": low,
                        "high": high,
                        "n": len(runs),
                        "before": statistics.fmean(r["A_FS_before"] for r in runs),
                    }
                )
    return rows


def delta_text(delta: float | None) -> str:
    """How a radius is printed: 0.5, 2e-3, or "no limit"."""
    if delta is None:
        return UNCONSTRAINED
    mantissa, exponent = f"{delta:.6e}".split("e")
    return f"{delta:g}" if int(exponent) >= -2 else f"{float(mantissa):g}e{int(exponent)}"


def _checked(records: Iterable[Mapping]) -> list[Mapping]:
    records, seen = list(records), set()
    if not records:
        raise ValueError("no records to draw")
    for i, record in enumerate(records):
        missing = [key for key in KEYS if key not in record]
        if missing:
            raise ValueError(f"record {i} lacks {', '.join(missing)}")
        for key in (*METRICS, "A_FS_before"):
            if not 0 <= record[key] <= 1:  # also catches nan
                raise ValueError(f"record {i}: {key} is {record[key]!r}, not a fraction between 0 and 1")
        if record["delta"] is not None and not 0 < record["delta"] < math.inf:
            raise ValueError(f"record {i}: delta is {record['delta']!r}; give a positive number, or None for no limit")
        run = (record["method"], record["delta"], record["seed"])
        if run in seen:
            raise ValueError(
                f"record {i} repeats method {run[0]}, delta {run[1]}, seed {run[2]}: records of two settings?"
            )
        seen.add(run)
    return records


# ---- charts --------------------------------------------------------------------------------------


def tradeoff(records: Iterable[Mapping], finding: str | None = None) -> alt.LayerChart:
    """Draw what an edit learns and what it keeps, as the constraint loosens.

    x is delta on a log scale, with the unconstrained edit apart at the right; y is accuracy in percent, the
    mean over seeds with its 95 % t-interval. A slider picks a delta and reads its values; a menu and the
    legend bring one line forward; with several methods another menu chooses which is drawn. `finding`
    replaces the title, which otherwise states what the records show. Raises ValueError as `summarise` does.
    """
    rows = summarise(records)
    labels, methods = list(METRICS.values()), _unique(rows, "method")
    pick = _slider(rows)
    method = _menu("method", "Method", methods, start=_best(rows)[0]["method"])
    highlight = _menu("highlight", "Highlight", ["all lines", *labels], start="all lines")
    legend = alt.selection_point(name="legend", fields=["metric"], bind="legend")
    in_front = alt.when(legend & "highlight == 'all lines' || highlight == datum.metric")

    def opacity(front: float, back: float):
        return in_front.then(alt.value(front)).otherwise(alt.value(back))

    x, y, low = _delta_axis(rows), _percent(alt.Y, "mean", "accuracy"), _percent(alt.Y, "low", "accuracy")
    color = alt.Color("metric:N", title=None, scale=_scale(labels, PALETTE), legend=_legend())
    shape = alt.Shape("metric:N", title=None, scale=_scale(labels, SHAPES), legend=_legend())
    base = alt.Chart(alt.Data(values=rows)).transform_filter("datum.method == method")
    within = base.transform_filter("!datum.unconstrained").encode(x=x, color=color)
    beyond = base.transform_filter("datum.unconstrained").encode(x=x, color=color)
    picked = base.transform_filter("datum.at == pick")
    before = base.transform_aggregate(before="mean(before)").encode(y=_percent(alt.Y, "before", "accuracy"))
    layers = [
        before.mark_rule(strokeDash=[2, 4], opacity=0.6),
        before.mark_text(align="right", dy=16, opacity=0.85).encode(
            x=alt.value(alt.expr("width * 0.9")), text=alt.value(alt.expr(BEFORE))
        ),
        picked.mark_rule(opacity=0.4, strokeWidth=1.5).encode(x=x),
        within.mark_area().encode(y=low, y2="high:Q", opacity=opacity(0.15, 0.03)),
        beyond.mark_rule(strokeWidth=4).encode(y=low, y2="high:Q", opacity=opacity(0.3, 0.05)),
        within.mark_line(strokeWidth=2.5).encode(y=y, opacity=opacity(1, 0.15)),
        base.mark_point(filled=True, size=80)
        .encode(x=x, y=y, color=color, shape=shape, tooltip=_tooltip(), opacity=opacity(1, 0.15))
        .add_params(legend),
        picked.transform_filter(alt.datum.metric == labels[0])
        .transform_calculate(reading=f"{READING} + ', ' + datum.method")
        .mark_text(align="left", fontWeight=600)
        .encode(x=alt.value(0), y=alt.value(-40), text="reading:N"),
    ]
    for i, label in enumerate(labels):  # the values at the picked delta, in a row above the plot
        left = alt.value(alt.expr(f"width * {i} / {len(labels)} + 5"))
        here = picked.transform_filter(alt.datum.metric == label).encode(x=left, y=alt.value(-17))
        values = here.transform_calculate(reading=VALUE)
        layers += [
            here.mark_point(filled=True, size=80, opacity=1, shape=SHAPES[i], color=PALETTE[i]),
            values.mark_text(align="left", dx=9, fontSize=13).encode(text="reading:N"),
        ]
    chart = alt.layer(*layers).add_params(pick, highlight, method).properties(**_frame(rows))
    return titled(chart, finding or _finding_tradeoff(rows), _subtitle(rows), _description(rows))


def frontier(records: Iterable[Mapping], finding: str | None = None) -> alt.LayerChart:
    """Draw what is learned (A_M, up) against what is kept (A_FS, right): a point a delta, a path a method.

    Crosses are 95 % t-intervals over seeds. The slider rings the picked delta and moves with the slider of
    any `tradeoff` on the page over the same deltas; pointing at a delta brings its points forward. `finding`
    replaces the title. Raises ValueError as `summarise` does.
    """
    rows = summarise(records)
    methods = _unique(rows, "method")
    points = [new | {f"kept_{k}": kept[k] for k in ("mean", "low", "high")} for new, kept in _pairs(rows)]
    pick = _slider(rows)
    hover = alt.selection_point(name="hover", on="pointerover", nearest=True, fields=["at"], empty=False)
    near = alt.when(hover | "datum.at == pick")

    learned, kept = "new facts learned (A_M)", "unmodified facts right (A_F∖S)"
    x, y = _percent(alt.X, "kept_mean", kept), _percent(alt.Y, "mean", learned)
    color = alt.Color("method:N", title=None, scale=_scale(methods, PALETTE), legend=_legend())
    shape = alt.Shape("method:N", title=None, scale=_scale(methods, SHAPES), legend=_legend())
    base = alt.Chart(alt.Data(values=points)).encode(color=color)
    picked = base.transform_filter("datum.at == pick")
    strength = near.then(alt.value(0.9)).otherwise(alt.value(0.3))
    layers = [
        base.mark_line(strokeWidth=1.5, opacity=0.6).encode(x=x, y=y, order="at:Q"),
        base.mark_rule().encode(x=_percent(alt.X, "kept_low", kept), x2="kept_high:Q", y=y, opacity=strength),
        base.mark_rule().encode(y=_percent(alt.Y, "low", learned), y2="high:Q", x=x, opacity=strength),
        base.mark_point(filled=True, size=80, opacity=1)
        .encode(x=x, y=y, shape=shape, tooltip=_tooltip(kept=True))
        .add_params(hover),
        picked.mark_point(size=320, strokeWidth=2, opacity=1).encode(x=x, y=y),
        base.transform_filter(hover)
        .mark_text(align="left", dx=12, dy=-8)
        .encode(x=x, y=y, text="delta:N", color=alt.value("currentColor")),
        picked.transform_aggregate(n="max(n)", groupby=["delta", "unconstrained"])
        .transform_calculate(reading=READING)
        .mark_text(align="left", fontWeight=600)
        .encode(x=alt.value(0), y=alt.value(-18), color=alt.value("currentColor"), text="reading:N"),
    ]
    chart = alt.layer(*layers).add_params(pick).properties(**_frame(rows))
    subtitle = _subtitle(rows, "Crosses are")
    return titled(chart, finding or _finding_frontier(rows), subtitle, _description(rows))


def titled(chart: alt.TopLevelMixin, finding: str, subtitle: str, description: str):
    """Return `chart` with a title (the finding), a subtitle (n, what an interval means) and alt text."""
    for name, text in (("finding", finding), ("subtitle", subtitle), ("description", description)):
        if not text.strip():
            raise ValueError(f"a chart needs a {name}")
    return chart.properties(title=alt.Title(finding, subtitle=subtitle), description=description)


# ---- parts of a chart ----------------------------------------------------------------------------

BEFORE = "width < 480 ? 'before' : 'unmodified facts before the edit'"  # shorter on a phone
# Vega expressions that read the picked delta: "At δ = 0.002, mean of 5 runs" and "83.1 % (79–87)".
READING = (
    "(datum.unconstrained ? 'Without a limit' : 'At δ = ' + datum.delta)"
    " + (datum.n == 1 ? ', one run' : ', mean of ' + datum.n + ' runs')"
)
VALUE = (
    "format(100 * datum.mean, '.1f') + ' %'"
    " + (datum.n == 1 || width < 480 ? '' : "
    "' (' + format(100 * datum.low, '.0f') + '–' + format(100 * datum.high, '.0f') + ')')"
)


def _unique(rows: list[dict], key: str) -> list:
    return list(dict.fromkeys(row[key] for row in rows))


def _pairs(rows: list[dict]) -> list[tuple[dict, dict]]:
    """The A_M row and the A_FS row of each method and delta."""
    new, kept = ([r for r in rows if r["metric"] == METRICS[metric]] for metric in ("A_M", "A_FS"))
    return list(zip(new, kept, strict=True))


def _best(rows: list[dict]) -> tuple[dict, dict]:
    """The pair with the highest mean of A_M and A_FS, constrained edits first."""
    return max(_pairs(rows), key=lambda pair: (not pair[0]["unconstrained"], pair[0]["mean"] + pair[1]["mean"]))


def _percents(*fractions: float) -> str:
    return " to ".join(f"{100 * fraction:.0f} %" for fraction in fractions)


def _where(row: dict) -> str:
    return "without a limit" if row["unconstrained"] else f"at δ = {row['delta']}"


def _finding_tradeoff(rows: list[dict]) -> str:
    new, kept = _best(rows)
    return (
        f"{new['method']} {_where(new)} learns {_percents(new['mean'])} of the new facts; "
        f"accuracy on the others goes from {_percents(kept['before'], kept['mean'])}"
    )


def _finding_frontier(rows: list[dict]) -> str:
    method = _best(rows)[0]["method"]
    pairs = [pair for pair in _pairs(rows) if pair[0]["method"] == method]
    if len(pairs) == 1:
        return _finding_tradeoff(rows)
    learned, kept = (_percents(first["mean"], last["mean"]) for first, last in zip(pairs[0], pairs[-1], strict=True))
    deltas = f"{pairs[0][0]['delta']} to {pairs[-1][0]['delta']}"
    return f"{method}, δ from {deltas}: new facts go from {learned}, the others from {kept}"


def _subtitle(rows: list[dict], what: str = "Bands and bars are") -> str:
    low, high = min(r["n"] for r in rows), max(r["n"] for r in rows)
    if high == 1:
        return "One run each, so no intervals"
    runs = f"{high}" if low == high else f"{low} to {high}"
    return f"Mean of {runs} runs for each δ, one a seed. {what} 95 % t-intervals over the runs"


def _description(rows: list[dict]) -> str:
    """The chart in words, for those who do not see it: every mean, delta by delta."""
    parts = []
    for method, at in dict.fromkeys((r["method"], r["at"]) for r in rows):
        group = [r for r in rows if (r["method"], r["at"]) == (method, at)]
        values = ", ".join(f"{r['metric']} {100 * r['mean']:.1f} %" for r in group)
        parts.append(f"{method}, δ {group[0]['delta']}: {values}.")
    start = f"unmodified facts before the edit {100 * rows[0]['before']:.1f} %."
    return f"Accuracy against the radius δ of the constraint: {start} {' '.join(parts)}"


def _slider(rows: list[dict]) -> alt.Parameter:
    """The slider over the deltas; it starts at the best one."""
    last = max(row["at"] for row in rows)
    return alt.param(
        name="pick", value=_best(rows)[0]["at"], bind=alt.binding_range(min=0, max=last, step=1, name="δ ")
    )


def _menu(name: str, label: str, options: list[str], start: str) -> alt.Parameter:
    """A drop-down menu; with one option only, a constant."""
    bind = alt.binding_select(options=options, name=f"{label} ") if len(options) > 1 else alt.Undefined
    return alt.param(name=name, value=start, bind=bind)


def _delta_axis(rows: list[dict]) -> alt.X:
    ticks = sorted({(row["x"], row["delta"]) for row in rows})
    places, names = [x for x, _ in ticks], [name for _, name in ticks]
    axis = alt.Axis(
        values=places,
        labelExpr=f"{json.dumps(names)}[indexof({json.dumps(places)}, datum.value)]",
        grid=False,
    )
    room = max(1.1, (places[-1] / places[0]) ** 0.09)  # for the labels at both ends
    scale = alt.Scale(type="log", domain=[places[0] / room, places[-1] * room], nice=False)
    return alt.X("x:Q", title="δ, the radius of the constraint (log scale)", axis=axis, scale=scale)


def _percent(channel: type, field: str, title: str):
    """An x or y channel over fractions, with ticks in percent; layers that share an axis share its title."""
    axis = alt.Axis(labelExpr="format(100 * datum.value, '.0f') + ' %'", tickCount=5)
    return channel(f"{field}:Q", title=title, axis=axis, scale=alt.Scale(domain=[0, 1]))


def _scale(domain: Iterable, values: Sequence) -> alt.Scale:
    domain = list(domain)
    return alt.Scale(domain=domain, range=[values[i % len(values)] for i in range(len(domain))])


def _legend() -> alt.Legend:
    return alt.Legend(orient="bottom", columns=alt.expr("width < 480 ? 1 : 3"), labelLimit=0, symbolOpacity=1)


def _tooltip(kept: bool = False) -> list[alt.Tooltip]:
    shown = [("method", "method"), ("delta", "δ")] + ([] if kept else [("metric", "metric")])
    numbers = [("mean", "A_M"), ("kept_mean", "A_F∖S")] if kept else [("mean", "mean"), ("low", "from"), ("high", "to")]
    tips = [alt.Tooltip(f"{field}:N", title=title) for field, title in shown]
    tips += [alt.Tooltip(f"{field}:Q", title=title, format=".1%") for field, title in numbers]
    return [*tips, alt.Tooltip("n:Q", title="runs")]


def _frame(rows: list[dict]) -> dict:
    """What all charts share: their size, and the `group` in which charts.js ties the sliders together."""
    group = " ".join(_unique(sorted(rows, key=lambda row: row["at"]), "delta"))
    padding = {"top": 8, "left": 0, "right": 4, "bottom": 4}
    return {"width": "container", "height": 300, "padding": padding, "usermeta": {"group": group}}


# ---- how charts reach the page -------------------------------------------------------------------


def theme() -> alt.theme.ThemeConfig:
    """The look of every chart: transparent, in the colour of the text around it, with quiet lines."""
    ink = {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "labelFontSize": 12,
        "titleFontSize": 12,
    }
    grid = {"gridColor": "currentColor", "gridOpacity": 0.12, "domain": False, "ticks": False}
    quiet = {"labelPadding": 6, "labelOpacity": 0.85, "titleFontWeight": 400, "titlePadding": 10}
    title = {"color": "currentColor", "subtitleColor": "currentColor", "anchor": "start", "fontSize": 15}
    return {
        "config": {
            "background": None,
            "font": FONT,
            "view": {"stroke": None},
            "axis": ink | grid | quiet,
            "legend": ink | {"symbolSize": 90, "padding": 4, "columnPadding": 26},
            "title": title,
            "text": {"color": "currentColor", "fontSize": 12},
            "rule": {"color": "currentColor"},
            "range": {"category": list(PALETTE)},
        }
    }


def use_book_renderer() -> None:
    """Draw charts in the kmod theme and in a form that works in the built book; harmless to call again.

    On Colab and in a live Jupyter session Altair's own renderer stays, since only the book's pages carry the
    script that wakes the charts up. Set KMOD_CHARTS to "book" or "altair" to decide by hand.
    """
    alt.theme.register("kmod", enable=True)(theme)
    alt.renderers.register("kmod", to_bundle)
    live = "google.colab" in sys.modules or "JPY_SESSION_NAME" in os.environ
    choice = os.environ.get("KMOD_CHARTS", "altair" if live else "book")
    if choice not in ("book", "altair"):
        raise ValueError(f"KMOD_CHARTS is {choice!r}; it can be 'book' or 'altair'")
    alt.renderers.enable("kmod" if choice == "book" else "default")


def to_bundle(spec: dict, **_) -> dict[str, str]:
    """Return the MIME bundle of a chart: HTML with its title, a still drawing and the specification.

    `book/_static/charts.js` turns it into a live chart; without JavaScript the drawing stays. Nothing in it
    is random: the same chart gives the same bytes.
    """
    spec = dict(spec)
    title = spec.pop("title", "")
    title = title if isinstance(title, dict) else {"text": title}
    text, subtitle = _line(title.get("text", "")), _line(title.get("subtitle", ""))
    description = spec.get("description") or text
    data = json.dumps(spec, ensure_ascii=False)
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    still = spec | {"width": STATIC_WIDTH} if spec.get("width") == "container" else spec
    svg = vl_convert.vegalite_to_svg(still, vl_version=".".join(alt.SCHEMA_VERSION[1:].split(".")[:2]))
    name = "c" + hashlib.sha256(data.encode()).hexdigest()[:8]
    svg = re.sub(r"\bclip(\d+)", rf"{name}-\1", svg)  # ids are shared by the whole page
    markup = (
        f'<figure class="kmod-chart"><figcaption><strong>{html.escape(text)}</strong> '
        f"<span>{html.escape(subtitle)}</span></figcaption>"
        f'<div class="kmod-still" role="img" aria-label="{html.escape(description)}">{svg}</div>'
        f'<script type="application/json">{data}</script></figure>'
    )
    return {"text/html": markup, "text/plain": f"{text}. {subtitle}. {description}"}


def _line(text: str | list[str]) -> str:
    """A Vega title, which is a line or a list of lines, as one line."""
    return text if isinstance(text, str) else " ".join(text)


# ---- tables --------------------------------------------------------------------------------------


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
