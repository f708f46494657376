"""Charts with a slider over δ: what an edit learns and what it keeps.

A row, made by hand or by `charts.rows`, needs `method`, `delta` (None without a constraint), `seed`, the fractions of
`METRICS`, and `A_FS_before`: accuracy on the facts of `A_FS` before the edit.
"""

from collections.abc import Iterable, Mapping
from statistics import fmean

import altair as alt

from .compare import Grids, by_delta
from .page import titled
from .runs import RATE_TITLES, Cell, around, cells, complete, places, radii, spread, values
from .theme import PADDING, PALETTE, SHAPES, below, color_and_shape, delta_axis, menu, percent, picker, shown, tips
from .words import at, delta_text, from_to, pct, to

METRICS = {
    "A_M": "new facts, new phrasings (A_M)",
    "A_M_evidences": "new facts, as trained",
    "A_FS": "unmodified facts (A_F∖S)",
}
NEEDED = (*METRICS, "A_FS_before")
LEGEND = below(alt.expr("width < 480 ? 1 : 3"))
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


def tradeoff(rows: Iterable[Mapping], finding: str | None = None) -> alt.LayerChart:
    """Draw what an edit learns and what it keeps, as the constraint loosens.

    x is δ on a log scale, with the unconstrained edit apart at the right; y is accuracy in percent, the mean over seeds
    with its 95 % t-interval. A slider picks a δ and reads its values; a menu and the legend bring one line forward;
    with several methods another menu chooses which is drawn. `finding` replaces the title, which otherwise states what
    the rows show. Raises ValueError as `runs.cells` does.
    """
    rows, left_out = complete(rows, NEEDED)
    grids = by_delta(cells(rows, ("method", "delta"), NEEDED))
    drawn, (best, _) = _points(grids), _best(grids)
    labels = list(METRICS.values())
    pick, method = _slider(grids), menu("method", "Method", list(grids), start=best)
    highlight = menu("highlight", "Highlight", ["all lines", *labels], start="all lines")
    legend = picker("metric")
    front = legend & "highlight == 'all lines' || highlight == datum.metric"
    x, y, low = delta_axis(drawn), percent(alt.Y, "mean", "accuracy"), percent(alt.Y, "low", "accuracy")
    color, shape = color_and_shape("metric", labels, LEGEND)
    base = alt.Chart(alt.Data(values=drawn)).transform_filter("datum.method == method")
    within = base.transform_filter("!datum.unconstrained").encode(x=x, color=color)
    beyond = base.transform_filter("datum.unconstrained").encode(x=x, color=color)
    picked = base.transform_filter("datum.at == pick")
    before = base.transform_aggregate(before="mean(before)").encode(y=percent(alt.Y, "before", "accuracy"))
    tooltip = tips({"method": "method", "delta": "δ", "metric": "metric"}, count="runs")
    reading = picked.transform_filter(alt.datum.metric == labels[0])
    dots = base.mark_point(filled=True, size=80).encode(x=x, y=y, color=color, shape=shape, tooltip=tooltip)
    layers = [
        before.mark_rule(strokeDash=[2, 4], opacity=0.6),
        before.mark_text(align="right", dy=16, opacity=0.85).encode(
            x=alt.value(alt.expr("width * 0.9")), text=alt.value(alt.expr(BEFORE))
        ),
        picked.mark_rule(opacity=0.4, strokeWidth=1.5).encode(x=x),
        within.mark_area().encode(y=low, y2="high:Q", opacity=shown(front, 0.15, 0.03)),
        beyond.mark_rule(strokeWidth=4).encode(y=low, y2="high:Q", opacity=shown(front, 0.3, 0.05)),
        within.mark_line(strokeWidth=2.5).encode(y=y, opacity=shown(front)),
        dots.encode(opacity=shown(front)).add_params(legend),
        _heading(reading.transform_calculate(reading=f"{READING} + ', ' + datum.method"), -40),
    ]
    for i, label in enumerate(labels):  # the values at the picked delta, in a row above the plot
        left = alt.value(alt.expr(f"width * {i} / {len(labels)} + 5"))
        reading = picked.transform_filter(alt.datum.metric == label).encode(x=left, y=alt.value(-17))
        text = reading.transform_calculate(reading=VALUE).mark_text(align="left", dx=9, fontSize=13)
        layers += [reading.mark_point(filled=True, size=80, opacity=1, shape=SHAPES[i], color=PALETTE[i])]
        layers += [text.encode(text="reading:N")]
    chart = alt.layer(*layers).add_params(pick, highlight, method)
    return _finished(chart, grids, drawn, finding or _finding_tradeoff(grids), "Bands and bars", left_out)


def frontier(rows: Iterable[Mapping], finding: str | None = None) -> alt.LayerChart:
    """Draw what is learned (A_M, up) against what is kept (A_FS, right): a point a delta, a path a method.

    Crosses are 95 % t-intervals over seeds. The slider rings the picked delta and moves with the slider of any
    `tradeoff` on the page over the same deltas; pointing at a delta brings its points forward. `finding` replaces the
    title. Raises ValueError as `runs.cells` does.
    """
    rows, left_out = complete(rows, NEEDED)
    grids = by_delta(cells(rows, ("method", "delta"), NEEDED))
    drawn = _points(grids)
    learned, kept = ([p for p in drawn if p["metric"] == METRICS[name]] for name in ("A_M", "A_FS"))
    crosses = [a | {f"kept_{k}": b[k] for k in ("mean", "low", "high")} for a, b in zip(learned, kept, strict=True)]
    pick = _slider(grids)
    hover = alt.selection_point(name="hover", on="pointerover", nearest=True, fields=["at"], empty=False)
    strength = shown(hover | "datum.at == pick", 0.9, 0.3)
    x, x_low = (percent(alt.X, f"kept_{end}", RATE_TITLES["A_FS"]) for end in ("mean", "low"))
    y, y_low = (percent(alt.Y, end, RATE_TITLES["A_M"]) for end in ("mean", "low"))
    color, shape = color_and_shape("method", list(grids), LEGEND)
    base = alt.Chart(alt.Data(values=crosses)).encode(color=color)
    picked = base.transform_filter("datum.at == pick")
    tooltip = tips({"method": "method", "delta": "δ"}, {"mean": "A_M", "kept_mean": "A_F∖S"}, count="runs")
    dots = base.mark_point(filled=True, size=80, opacity=1).encode(x=x, y=y, shape=shape, tooltip=tooltip)
    name = base.transform_filter(hover).mark_text(align="left", dx=12, dy=-8).encode(x=x, y=y, text="delta:N")
    ink = alt.value("currentColor")
    reading = picked.transform_aggregate(n="max(n)", groupby=["delta", "unconstrained"]).encode(color=ink)
    layers = [
        base.mark_line(strokeWidth=1.5, opacity=0.6).encode(x=x, y=y, order="at:Q"),
        base.mark_rule().encode(x=x_low, x2="kept_high:Q", y=y, opacity=strength),
        base.mark_rule().encode(y=y_low, y2="high:Q", x=x, opacity=strength),
        dots.add_params(hover),
        picked.mark_point(size=320, strokeWidth=2, opacity=1).encode(x=x, y=y),
        name.encode(color=ink),
        _heading(reading.transform_calculate(reading=READING), -18),
    ]
    chart = alt.layer(*layers).add_params(pick)
    return _finished(chart, grids, drawn, finding or _finding_frontier(grids), "Crosses", left_out)


def _heading(base: alt.Chart, y: float) -> alt.Chart:
    """The text `reading`, at the left above the plot."""
    return base.mark_text(align="left", fontWeight=600).encode(x=alt.value(0), y=alt.value(y), text="reading:N")


def _finished(chart: alt.LayerChart, grids: Grids, drawn: list[dict], finding: str, marks: str, left_out: str):
    """The chart with its size, its texts, and the `group` in which charts.js ties the sliders together."""
    group = " ".join(map(delta_text, radii(grids.values())))
    chart = chart.properties(width="container", height=300, padding=PADDING, usermeta={"group": group})
    counts = {len(cell) for grid in grids.values() for cell in grid.values()}
    subtitle = f"Mean of {to(counts)} runs for each δ, one a seed. {marks} are 95 % t-intervals over the runs"
    subtitle = "One run each, so no intervals" if counts == {1} else subtitle
    return titled(chart, finding, subtitle + left_out, _description(drawn), _numbers(drawn))


def _points(grids: Grids) -> list[dict]:
    """A point for each method, δ and metric; `at` is the index of δ, `x` its place on the axis."""
    deltas, drawn = radii(grids.values()), []
    x = places(deltas)
    for method, grid in grids.items():
        for delta, cell in grid.items():
            for metric, label in METRICS.items():
                point = {"method": method, "at": deltas.index(delta), "delta": delta_text(delta), "x": x[delta]}
                point |= {"unconstrained": delta is None, "metric": label}
                point |= spread(around(values(cell, metric).values()))
                drawn.append(point | {"before": _mean(cell, "A_FS_before")})
    return drawn


def _mean(cell: Cell, metric: str) -> float:
    return fmean(values(cell, metric).values())


def _best(grids: Grids) -> tuple[str, float | None]:
    """The method and δ with the highest mean of A_M and A_FS; without a limit only if nothing else was run."""

    def rank(edit: tuple) -> tuple:
        cell = grids[edit[0]][edit[1]]
        return edit[1] is not None, _mean(cell, "A_M") + _mean(cell, "A_FS")

    return max(((method, delta) for method, grid in grids.items() for delta in grid), key=rank)


def _percents(*fractions: float) -> str:
    return " to ".join(f"{100 * fraction:.0f} %" for fraction in fractions)


def _finding_tradeoff(grids: Grids) -> str:
    method, delta = _best(grids)
    learned, before, kept = (_mean(grids[method][delta], name) for name in ("A_M", "A_FS_before", "A_FS"))
    others = f"accuracy on the others goes from {_percents(before, kept)}"
    return f"{method} {at(delta)} learns {_percents(learned)} of the new facts; {others}"


def _finding_frontier(grids: Grids) -> str:
    method, _ = _best(grids)
    if len(grids[method]) == 1:
        return _finding_tradeoff(grids)
    (narrow, first), *_, (wide, last) = grids[method].items()
    learned, kept = (_percents(_mean(first, name), _mean(last, name)) for name in ("A_M", "A_FS"))
    ends = f"{delta_text(narrow)} to {delta_text(wide)}"
    return f"{method}, δ from {ends}: new facts go from {learned}, the others from {kept}"


def _description(drawn: list[dict]) -> str:
    means: dict[tuple, list[str]] = {}
    for p in drawn:
        means.setdefault((p["method"], p["delta"]), []).append(f"{p['metric']} {pct(p['mean'])}")
    parts = [f"{method}, δ {delta}: {', '.join(texts)}." for (method, delta), texts in means.items()]
    start = f"unmodified facts before the edit {pct(drawn[0]['before'])}."
    return f"Accuracy against the radius δ of the constraint: {start} {' '.join(parts)}"


def _numbers(drawn: list[dict]) -> list[dict]:
    return [
        {"method": p["method"], "δ": p["delta"], "accuracy of": p["metric"], "mean, %": f"{100 * p['mean']:.1f}"}
        | {"95 % interval": from_to(p), "runs": p["n"]}
        for p in drawn
    ]


def _slider(grids: Grids) -> alt.Parameter:
    """The slider over the deltas; it starts at the best one."""
    deltas = radii(grids.values())
    bind = alt.binding_range(min=0, max=len(deltas) - 1, step=1, name="δ ")
    return alt.param(name="pick", value=deltas.index(_best(grids)[1]), bind=bind)
