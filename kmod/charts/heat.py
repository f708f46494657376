"""A heat map of block × δ: where the trade-off is best."""

from collections.abc import Iterable, Mapping
from statistics import fmean

import altair as alt

from .compare import by_delta, lead, rate_table
from .page import titled
from .runs import RATE_MENU, RATES, around, cells, complete, left_alone, radii, spread, subtitle, values
from .theme import PADDING, menu, tips
from .words import at, capital, delta_text, pct, points


def heat_map(rows: Iterable[Mapping], kind: str = "block", finding: str | None = None) -> alt.LayerChart:
    """Draw a cell for each label and δ, with the mean over seeds, in percent; a menu switches Ā, A_M and A_F∖S.

    The best cell has a star and a frame. `kind` names what the labels are. Raises ValueError as `runs.cells` does.
    """
    rows, left_out = complete(rows, tuple(RATES))
    groups = cells(rows, ("label", "delta"), tuple(RATES))
    grids = by_delta(groups)
    names, labels = [delta_text(delta) for delta in radii(grids.values())], list(grids)
    drawn = [cell for name in RATES for cell in _cells(grids, name)]
    slanted = {"labelAngle": "-60 : 0", "labelAlign": "'right' : 'center'", "labelBaseline": "'middle' : 'top'"}
    slanted = {name: alt.expr(f"width < 480 ? {either}") for name, either in slanted.items()}  # on a phone
    axis = alt.Axis(labelOverlap=False, grid=False, **slanted)
    across, up = (alt.Scale(domain=domain, padding=0.06) for domain in (names, labels))
    x = alt.X("delta:N", sort=names, scale=across, title="δ, radius of the constraint", axis=axis)
    y = alt.Y("label:N", sort=labels, scale=up, title=None, axis=alt.Axis(labelLimit=130, grid=False))
    pick = menu("metric", "Accuracy", list(RATE_MENU.values()), start=RATE_MENU["A_mean"])
    base = alt.Chart(alt.Data(values=drawn)).transform_filter("datum.metric == metric").encode(x=x, y=y)
    shade = alt.Color("shade:Q", scale=alt.Scale(scheme="cividis", domain=[0, 1]), legend=None)
    text = "(datum.best ? '★' : '') + format(100 * datum.mean, width < 480 ? '.0f' : '.1f')"
    text = base.transform_calculate(text=text).mark_text(fontSize=alt.expr("width < 480 ? 11 : 13"))
    ink = alt.when("datum.shade > 0.5").then(alt.value("#000000")).otherwise(alt.value("#ffffff"))
    layers = [
        base.mark_rect().encode(color=shade, tooltip=tips({"label": kind, "delta": "δ", "metric": "metric"})),
        base.transform_filter("datum.best").mark_rect(fill=None, stroke="currentColor", strokeWidth=3),
        text.encode(text="text:N", color=ink),
    ]
    chart = alt.layer(*layers).add_params(pick)
    chart = chart.properties(width="container", height=34 * len(labels) + 10, padding=PADDING)
    alone = left_alone(groups)
    sub = subtitle(groups, "Intervals in the table")
    sub += "" if alone is None else f". Where nothing is learnt and nothing lost, Ā is {pct(alone)}"
    sub += ". Percent; ★ is the highest, the colour runs from the lowest cell to the highest"
    sub += "; empty cells were not run" * (len(groups) < len(labels) * len(names)) + left_out
    return titled(chart, finding or _finding(groups, kind), sub, _description(grids), rate_table(grids, kind))


def _cells(grids: dict, name: str) -> list[dict]:
    drawn = []
    for label, grid in grids.items():
        for delta, cell in grid.items():
            rate = around(values(cell, name).values())
            drawn.append({"label": label, "delta": delta_text(delta), "metric": RATE_MENU[name]} | spread(rate))
    means = [cell["mean"] for cell in drawn]
    low, high = min(means), max(means)
    for cell in drawn:
        cell["shade"] = (cell["mean"] - low) / (high - low) if high > low else 0.5
        cell["best"] = cell["mean"] == high
    return drawn


def _finding(groups: dict, kind: str) -> str:
    top = lead({key: values(cell, "A_mean") for key, cell in groups.items()})
    reached = f"{top.first[0]} {at(top.first[1])} reaches the highest Ā, {pct(top.value)}"
    if top.second is None:
        return capital(reached)
    other = f"{top.second[0]} {at(top.second[1])}"
    ahead = f"{points(top.by.value)} ahead of {other}" if top.by else f"next is {other}"
    if top.decided:
        return f"{capital(reached)}, {ahead}"
    return f"Undecided which {kind} and δ are best: {reached}, {ahead}; {top.why_not}"


def _description(grids: dict) -> str:
    text = "A grid of groups by δ with the mean accuracy Ā in each cell."
    for label, grid in grids.items():
        means = (f"δ {delta_text(d)} {pct(fmean(values(cell, 'A_mean').values()))}" for d, cell in grid.items())
        text += f" {label}: {', '.join(means)}."
    return text
