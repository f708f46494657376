"""Charts with a slider over δ: what an edit learns and what it keeps.

They draw rows made by hand as well as those of `charts.rows`. A row is a dict of one run:

    method         str             how the edit was made, such as "FTM"
    delta          float or None   radius of the constraint; None when there was none
    seed           int             tells the runs of one (method, delta) apart
    A_M            fraction 0..1   modified facts answered with the new object, phrasings not trained on
    A_M_evidences  fraction 0..1   the same, on the sentences that were trained on
    A_FS           fraction 0..1   facts outside S still answered rightly after the edit
    A_FS_before    fraction 0..1   the same facts before the edit
"""

from collections.abc import Iterable, Mapping
from statistics import fmean

import altair as alt

from .compare import by_delta
from .page import titled
from .runs import RATE_TITLES, Cell, around, ascending, cells, places, spread, values
from .theme import PADDING, PALETTE, SHAPES, SPREAD, delta_axis, menu, percent, scale, tips
from .words import at, delta_text, from_to

METRICS = {
    "A_M": "new facts, new phrasings (A_M)",
    "A_M_evidences": "new facts, as trained",
    "A_FS": "unmodified facts (A_F∖S)",
}
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

Grids = dict[str, dict[float | None, Cell]]
"""Method → δ → seed → row."""


def tradeoff(rows: Iterable[Mapping], finding: str | None = None) -> alt.LayerChart:
    """Draw what an edit learns and what it keeps, as the constraint loosens.

    x is δ on a log scale, with the unconstrained edit apart at the right; y is accuracy in percent, the mean over seeds
    with its 95 % t-interval. A slider picks a δ and reads its values; a menu and the legend bring one line forward;
    with several methods another menu chooses which is drawn. `finding` replaces the title, which otherwise states what
    the rows show. Raises ValueError as `runs.cells` does.
    """
    grids = _grids(rows)
    drawn, (best, _) = _points(grids), _best(grids)
    labels = list(METRICS.values())
    pick, method = _slider(grids), menu("method", "Method", list(grids), start=best)
    highlight = menu("highlight", "Highlight", ["all lines", *labels], start="all lines")
    legend = alt.selection_point(name="legend", fields=["metric"], bind="legend")
    in_front = alt.when(legend & "highlight == 'all lines' || highlight == datum.metric")

    def opacity(front: float, back: float):
        return in_front.then(alt.value(front)).otherwise(alt.value(back))

    x, y, low = delta_axis(drawn), percent(alt.Y, "mean", "accuracy"), percent(alt.Y, "low", "accuracy")
    color, shape = _by("metric", labels)
    base = alt.Chart(alt.Data(values=drawn)).transform_filter("datum.method == method")
    within = base.transform_filter("!datum.unconstrained").encode(x=x, color=color)
    beyond = base.transform_filter("datum.unconstrained").encode(x=x, color=color)
    picked = base.transform_filter("datum.at == pick")
    before = base.transform_aggregate(before="mean(before)").encode(y=percent(alt.Y, "before", "accuracy"))
    tooltip = tips({"method": "method", "delta": "δ", "metric": "metric"}, SPREAD, count="runs")
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
        .encode(x=x, y=y, color=color, shape=shape, tooltip=tooltip, opacity=opacity(1, 0.15))
        .add_params(legend),
        picked.transform_filter(alt.datum.metric == labels[0])
        .transform_calculate(reading=f"{READING} + ', ' + datum.method")
        .mark_text(align="left", fontWeight=600)
        .encode(x=alt.value(0), y=alt.value(-40), text="reading:N"),
    ]
    for i, label in enumerate(labels):  # the values at the picked delta, in a row above the plot
        left = alt.value(alt.expr(f"width * {i} / {len(labels)} + 5"))
        reading = picked.transform_filter(alt.datum.metric == label).encode(x=left, y=alt.value(-17))
        layers += [
            reading.mark_point(filled=True, size=80, opacity=1, shape=SHAPES[i], color=PALETTE[i]),
            reading.transform_calculate(reading=VALUE)
            .mark_text(align="left", dx=9, fontSize=13)
            .encode(text="reading:N"),
        ]
    chart = alt.layer(*layers).add_params(pick, highlight, method).properties(**_frame(grids))
    subtitle = _subtitle(grids, "Bands and bars")
    return titled(chart, finding or _finding_tradeoff(grids), subtitle, _description(drawn), _numbers(drawn))


def frontier(rows: Iterable[Mapping], finding: str | None = None) -> alt.LayerChart:
    """Draw what is learned (A_M, up) against what is kept (A_FS, right): a point a delta, a path a method.

    Crosses are 95 % t-intervals over seeds. The slider rings the picked delta and moves with the slider of any
    `tradeoff` on the page over the same deltas; pointing at a delta brings its points forward. `finding` replaces the
    title. Raises ValueError as `runs.cells` does.
    """
    grids = _grids(rows)
    drawn = _points(grids)
    learned, kept = ([p for p in drawn if p["metric"] == METRICS[name]] for name in ("A_M", "A_FS"))
    crosses = [a | {f"kept_{k}": b[k] for k in ("mean", "low", "high")} for a, b in zip(learned, kept, strict=True)]
    pick = _slider(grids)
    hover = alt.selection_point(name="hover", on="pointerover", nearest=True, fields=["at"], empty=False)
    near = alt.when(hover | "datum.at == pick")

    x, y = percent(alt.X, "kept_mean", RATE_TITLES["A_FS"]), percent(alt.Y, "mean", RATE_TITLES["A_M"])
    x_low, y_low = percent(alt.X, "kept_low", RATE_TITLES["A_FS"]), percent(alt.Y, "low", RATE_TITLES["A_M"])
    color, shape = _by("method", list(grids))
    base = alt.Chart(alt.Data(values=crosses)).encode(color=color)
    picked = base.transform_filter("datum.at == pick")
    strength = near.then(alt.value(0.9)).otherwise(alt.value(0.3))
    tooltip = tips({"method": "method", "delta": "δ"}, {"mean": "A_M", "kept_mean": "A_F∖S"}, count="runs")
    layers = [
        base.mark_line(strokeWidth=1.5, opacity=0.6).encode(x=x, y=y, order="at:Q"),
        base.mark_rule().encode(x=x_low, x2="kept_high:Q", y=y, opacity=strength),
        base.mark_rule().encode(y=y_low, y2="high:Q", x=x, opacity=strength),
        base.mark_point(filled=True, size=80, opacity=1)
        .encode(x=x, y=y, shape=shape, tooltip=tooltip)
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
    chart = alt.layer(*layers).add_params(pick).properties(**_frame(grids))
    subtitle = _subtitle(grids, "Crosses")
    return titled(chart, finding or _finding_frontier(grids), subtitle, _description(drawn), _numbers(drawn))


def _grids(rows: Iterable[Mapping]) -> Grids:
    return by_delta(cells(rows, ("method", "delta"), (*METRICS, "A_FS_before")))


def _deltas(grids: Grids) -> list[float | None]:
    return sorted({delta for grid in grids.values() for delta in grid}, key=ascending)


def _points(grids: Grids) -> list[dict]:
    """A point for each method, δ and metric; `at` is the index of δ, `x` its place on the axis."""
    deltas, drawn = _deltas(grids), []
    x = places(deltas)
    for method, grid in grids.items():
        for delta, cell in grid.items():
            for metric, label in METRICS.items():
                point = {"method": method, "at": deltas.index(delta), "delta": delta_text(delta), "x": x[delta]}
                point |= {"unconstrained": delta is None, "metric": label}
                point |= spread(around(values(cell, metric).values()))
                drawn.append(point | {"before": fmean(values(cell, "A_FS_before").values())})
    return drawn


def _mean(cell: Cell, metric: str) -> float:
    return fmean(values(cell, metric).values())


def _best(grids: Grids) -> tuple[str, float | None]:
    """The method and δ with the highest mean of A_M and A_FS; without a limit only if nothing else was run."""
    edits = [(method, delta) for method, grid in grids.items() for delta in grid]

    def rank(edit: tuple) -> tuple:
        cell = grids[edit[0]][edit[1]]
        return edit[1] is not None, _mean(cell, "A_M") + _mean(cell, "A_FS")

    return max(edits, key=rank)


def _percents(*fractions: float) -> str:
    return " to ".join(f"{100 * fraction:.0f} %" for fraction in fractions)


def _finding_tradeoff(grids: Grids) -> str:
    method, delta = _best(grids)
    cell = grids[method][delta]
    return (
        f"{method} {at(delta)} learns {_percents(_mean(cell, 'A_M'))} of the new facts; "
        f"accuracy on the others goes from {_percents(_mean(cell, 'A_FS_before'), _mean(cell, 'A_FS'))}"
    )


def _finding_frontier(grids: Grids) -> str:
    method, _ = _best(grids)
    deltas = list(grids[method])
    if len(deltas) == 1:
        return _finding_tradeoff(grids)
    first, last = grids[method][deltas[0]], grids[method][deltas[-1]]
    learned, kept = (_percents(_mean(first, name), _mean(last, name)) for name in ("A_M", "A_FS"))
    ends = f"{delta_text(deltas[0])} to {delta_text(deltas[-1])}"
    return f"{method}, δ from {ends}: new facts go from {learned}, the others from {kept}"


def _subtitle(grids: Grids, marks: str) -> str:
    counts = sorted({len(cell) for grid in grids.values() for cell in grid.values()})
    if counts[-1] == 1:
        return "One run each, so no intervals"
    runs = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return f"Mean of {runs} runs for each δ, one a seed. {marks} are 95 % t-intervals over the runs"


def _description(drawn: list[dict]) -> str:
    """The chart in words, for those who do not see it: every mean, delta by delta."""
    means: dict[tuple, list[str]] = {}
    for p in drawn:
        means.setdefault((p["method"], p["delta"]), []).append(f"{p['metric']} {100 * p['mean']:.1f} %")
    parts = [f"{method}, δ {delta}: {', '.join(texts)}." for (method, delta), texts in means.items()]
    start = f"unmodified facts before the edit {100 * drawn[0]['before']:.1f} %."
    return f"Accuracy against the radius δ of the constraint: {start} {' '.join(parts)}"


def _numbers(drawn: list[dict]) -> list[dict]:
    """The table behind the chart: a row a method, delta and metric."""
    return [
        {"method": p["method"], "δ": p["delta"], "accuracy of": p["metric"], "mean, %": f"{100 * p['mean']:.1f}"}
        | {"95 % interval": from_to(p), "runs": p["n"]}
        for p in drawn
    ]


def _slider(grids: Grids) -> alt.Parameter:
    """The slider over the deltas; it starts at the best one."""
    deltas = _deltas(grids)
    bind = alt.binding_range(min=0, max=len(deltas) - 1, step=1, name="δ ")
    return alt.param(name="pick", value=deltas.index(_best(grids)[1]), bind=bind)


def _by(field: str, names: list[str]) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape by `field`, in one legend."""
    legend = alt.Legend(orient="bottom", columns=alt.expr("width < 480 ? 1 : 3"), labelLimit=0, symbolOpacity=1)
    color = alt.Color(f"{field}:N", title=None, scale=scale(names, PALETTE), legend=legend)
    return color, alt.Shape(f"{field}:N", title=None, scale=scale(names, SHAPES), legend=legend)


def _frame(grids: Grids) -> dict:
    """What both charts share: their size, and the `group` in which charts.js ties the sliders together."""
    group = " ".join(map(delta_text, _deltas(grids)))
    return {"width": "container", "height": 300, "padding": PADDING, "usermeta": {"group": group}}
