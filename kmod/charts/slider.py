"""Charts with a slider over δ: what an edit learns and what it keeps."""

from collections.abc import Iterable, Mapping

import altair as alt

from .page import titled
from .summary import METRICS, summarise
from .theme import PADDING, PALETTE, SHAPES, delta_axis, menu, percent, scale, unique


def tradeoff(records: Iterable[Mapping], finding: str | None = None) -> alt.LayerChart:
    """Draw what an edit learns and what it keeps, as the constraint loosens.

    x is delta on a log scale, with the unconstrained edit apart at the right; y is accuracy in percent, the
    mean over seeds with its 95 % t-interval. A slider picks a delta and reads its values; a menu and the
    legend bring one line forward; with several methods another menu chooses which is drawn. `finding`
    replaces the title, which otherwise states what the records show. Raises ValueError as `summarise` does.
    """
    rows = summarise(records)
    labels, methods = list(METRICS.values()), unique(rows, "method")
    pick = _slider(rows)
    method = menu("method", "Method", methods, start=_best(rows)[0]["method"])
    highlight = menu("highlight", "Highlight", ["all lines", *labels], start="all lines")
    legend = alt.selection_point(name="legend", fields=["metric"], bind="legend")
    in_front = alt.when(legend & "highlight == 'all lines' || highlight == datum.metric")

    def opacity(front: float, back: float):
        return in_front.then(alt.value(front)).otherwise(alt.value(back))

    x, y, low = delta_axis(rows), percent(alt.Y, "mean", "accuracy"), percent(alt.Y, "low", "accuracy")
    color = alt.Color("metric:N", title=None, scale=scale(labels, PALETTE), legend=_legend())
    shape = alt.Shape("metric:N", title=None, scale=scale(labels, SHAPES), legend=_legend())
    base = alt.Chart(alt.Data(values=rows)).transform_filter("datum.method == method")
    within = base.transform_filter("!datum.unconstrained").encode(x=x, color=color)
    beyond = base.transform_filter("datum.unconstrained").encode(x=x, color=color)
    picked = base.transform_filter("datum.at == pick")
    before = base.transform_aggregate(before="mean(before)").encode(y=percent(alt.Y, "before", "accuracy"))
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
    return titled(chart, finding or _finding_tradeoff(rows), _subtitle(rows), _description(rows), _numbers(rows))


def frontier(records: Iterable[Mapping], finding: str | None = None) -> alt.LayerChart:
    """Draw what is learned (A_M, up) against what is kept (A_FS, right): a point a delta, a path a method.

    Crosses are 95 % t-intervals over seeds. The slider rings the picked delta and moves with the slider of
    any `tradeoff` on the page over the same deltas; pointing at a delta brings its points forward. `finding`
    replaces the title. Raises ValueError as `summarise` does.
    """
    rows = summarise(records)
    methods = unique(rows, "method")
    points = [new | {f"kept_{k}": kept[k] for k in ("mean", "low", "high")} for new, kept in _pairs(rows)]
    pick = _slider(rows)
    hover = alt.selection_point(name="hover", on="pointerover", nearest=True, fields=["at"], empty=False)
    near = alt.when(hover | "datum.at == pick")

    learned, kept = "new facts learned (A_M)", "unmodified facts right (A_F∖S)"
    x, y = percent(alt.X, "kept_mean", kept), percent(alt.Y, "mean", learned)
    color = alt.Color("method:N", title=None, scale=scale(methods, PALETTE), legend=_legend())
    shape = alt.Shape("method:N", title=None, scale=scale(methods, SHAPES), legend=_legend())
    base = alt.Chart(alt.Data(values=points)).encode(color=color)
    picked = base.transform_filter("datum.at == pick")
    strength = near.then(alt.value(0.9)).otherwise(alt.value(0.3))
    layers = [
        base.mark_line(strokeWidth=1.5, opacity=0.6).encode(x=x, y=y, order="at:Q"),
        base.mark_rule().encode(x=percent(alt.X, "kept_low", kept), x2="kept_high:Q", y=y, opacity=strength),
        base.mark_rule().encode(y=percent(alt.Y, "low", learned), y2="high:Q", x=x, opacity=strength),
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
    return titled(chart, finding or _finding_frontier(rows), subtitle, _description(rows), _numbers(rows))


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


def _numbers(rows: list[dict]) -> list[dict]:
    """The table behind the chart: a row a method, delta and metric."""
    texts = []
    for r in rows:
        around = f"{100 * r['low']:.1f} to {100 * r['high']:.1f}" if r["n"] > 1 else None
        row = {"method": r["method"], "δ": r["delta"], "accuracy of": r["metric"], "mean, %": f"{100 * r['mean']:.1f}"}
        texts.append(row | {"95 % interval": around, "runs": r["n"]})
    return texts


def _slider(rows: list[dict]) -> alt.Parameter:
    """The slider over the deltas; it starts at the best one."""
    last = max(row["at"] for row in rows)
    return alt.param(
        name="pick", value=_best(rows)[0]["at"], bind=alt.binding_range(min=0, max=last, step=1, name="δ ")
    )


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
    group = " ".join(unique(sorted(rows, key=lambda row: row["at"]), "delta"))
    return {"width": "container", "height": 300, "padding": PADDING, "usermeta": {"group": group}}
