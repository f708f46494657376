"""Trade-off curves: what is learned against what is kept, over δ, beside Ā over δ; brushing one lights up the other."""

from collections.abc import Iterable, Mapping

import altair as alt

from ..experiments.selection import Selection
from .compare import by_delta, lead, rate_table
from .page import titled
from .runs import RATE_TITLES, RATES, around, cells, complete, left_alone, places, subtitle, values
from .theme import PADDING, by_label, delta_axis, menu, numbered, percent, picker, shown, tips
from .words import at, capital, delta_text, pct, points


def tradeoff_curves(rows: Iterable[Mapping], kind: str = "block", finding: str | None = None) -> alt.ConcatChart:
    """Draw A_M (up) against A_F∖S (right): a point for each δ, a line for each label; beside it Ā over δ.

    Both panels show the same runs. Drag over one of them to see the same runs in the other, or pick a δ from a menu
    (which needs no mouse); the legend and another menu bring one label forward. `kind` names what the labels are:
    block, constraint, start, model. `finding` replaces the title, which otherwise states what the rows show. Raises
    ValueError as `runs.cells` does.
    """
    rows, left_out = complete(rows, tuple(RATES))
    groups = cells(rows, ("label", "delta"), tuple(RATES))
    grids = by_delta(groups)
    drawn, labels = _points(grids), list(grids)
    style, marks = by_label(labels, panels=True)
    area = alt.selection_interval(name="area", mark=alt.BrushConfig(fill="gray", fillOpacity=0.15, stroke="gray"))
    span = alt.selection_interval(name="span", encodings=["x"], mark=alt.BrushConfig(fill="gray", fillOpacity=0.15))
    legend = picker("label")
    named = "highlight == 'all' || highlight == datum.label"
    radii = dict.fromkeys(point["delta"] for point in sorted(drawn, key=lambda point: point["radius"]))
    menus = menu("highlight", capital(kind), ["all", *labels], "all"), menu("picked", "δ", ["all", *radii], "all")
    chosen = area & span & (legend & f"({named}) && (picked == 'all' || picked == datum.delta)")
    base = alt.Chart(alt.Data(values=drawn))
    inner = base.transform_filter("!datum.unconstrained").transform_calculate(line=numbered(labels))
    line = inner.mark_line(strokeWidth=2).encode(order="at:Q", opacity=shown(legend & named, 0.75, 0.1), **style)
    whisker = base.mark_rule(strokeWidth=1.5).encode(color=marks["color"], opacity=shown(chosen, 0.6, 0.08))
    tooltip = tips({"label": kind, "delta": "δ"}, RATES)
    dots = base.mark_point(filled=True, size=70).encode(**marks, tooltip=tooltip, opacity=shown(chosen))

    def panel(x, y, whiskers, *selections, below=()):
        points = dots.encode(x=x, y=y).properties(name=f"{selections[0].name}_points").add_params(*selections)
        layers = [*below, line.encode(x=x, y=y), *(whisker.encode(**ends) for ends in whiskers), points]
        return alt.layer(*layers).properties(width=300, height=280)

    kept, kept_low = (percent(alt.X, field, RATE_TITLES["A_FS"], None) for field in ("A_FS", "A_FS_low"))
    learned, learned_low = (percent(alt.Y, field, RATE_TITLES["A_M"], None) for field in ("A_M", "A_M_low"))
    mean, mean_low = (percent(alt.Y, field, RATE_TITLES["A_mean"], None) for field in ("A_mean", "A_mean_low"))
    radius = delta_axis(drawn, "radius")
    cross = {"x": kept_low, "x2": "A_FS_high:Q", "y": learned}, {"y": learned_low, "y2": "A_M_high:Q", "x": kept}
    plane = panel(kept, learned, cross, area, legend)
    dotted, explained = untouched(groups, RATE_TITLES["A_mean"])
    upright = [{"y": mean_low, "y2": "A_mean_high:Q", "x": radius}]
    over = panel(radius, mean, upright, span, below=dotted)
    chart = alt.concat(plane, over, columns=2, spacing=24).add_params(*menus)
    chart = chart.properties(padding=PADDING, autosize=alt.AutoSizeParams(type="pad", resize=True))
    sub = subtitle(groups) + explained
    sub += ". Drag over points in one panel, or pick a δ, to find them in the other" + left_out
    return titled(chart, finding or _finding(grids, kind), sub, _description(drawn), rate_table(grids, kind))


def untouched(groups: dict, title: str) -> tuple[list[alt.Chart], str]:
    """A dotted line at the Ā of an edit that changes no answer, on an axis with this title, and its explanation."""
    alone = left_alone(groups)
    if alone is None:
        return [], ""
    line = alt.Chart(alt.Data(values=[{"mean": alone}])).mark_rule(strokeDash=[2, 4], color="currentColor")
    words = f". Dotted: Ā where nothing is learnt and nothing lost, {pct(alone)}"
    return [line.encode(y=percent(alt.Y, "mean", title, None))], words


def _points(grids: dict) -> list[dict]:
    radius = places({delta for grid in grids.values() for delta in grid})
    drawn = []
    for label, grid in grids.items():
        for i, (delta, cell) in enumerate(grid.items()):
            point = {"label": label, "at": i, "delta": delta_text(delta), "radius": radius[delta]}
            point |= {"unconstrained": delta is None, "n": len(cell)}
            for name in RATES:
                rate = around(values(cell, name).values())
                point |= {name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high}
            drawn.append(point)
    return drawn


def _finding(grids: dict, kind: str) -> str:
    if len(grids) == 1:
        ((label, grid),) = grids.items()
        return f"{capital(label)}: {_peak(grid)}"
    peaks = {label: Selection(grid).best() for label, grid in grids.items()}
    top = lead({label: values(grids[label][delta], "A_mean") for label, delta in peaks.items()})
    fair = lead({label: Selection(grids[label]).held_out() for label in (top.first, top.second)})
    reached = f"Ā {pct(top.value)}"
    if "no limit" not in str(top.first):  # else its name says so
        reached += f" {at(peaks[top.first])}"
    by = f" by {points(top.by.value)}" if top.by else ""
    if top.decided and fair.decided and fair.first == top.first:
        return f"{capital(top.first)} trades off best: {reached}, ahead of {top.second}{by}"
    why = "not once δ is chosen on other seeds" if top.decided else top.why_not
    return f"Undecided which {kind} trades off best: {top.first} ({reached}) leads {top.second}{by}; {why}"


def _peak(grid: dict) -> str:
    """Where Ā is highest over δ, and whether that is at an end of the grid."""
    top = lead({delta: values(cell, "A_mean") for delta, cell in grid.items()})
    finite = [delta for delta in grid if delta is not None]
    reached = f"Ā is highest, {pct(top.value)}, {at(top.first)}"
    if top.first is None or len(grid) == 1:
        return reached
    if len(finite) > 1 and top.first in (finite[0], finite[-1]):
        return f"{reached}, the {'tightest' if top.first == finite[0] else 'widest'} δ tried"
    near = f"{points(top.by.value)} above that {at(top.second)}" if top.by else f"next {at(top.second)}"
    return f"{reached}, {near}" if top.decided else f"{reached}; undecided against that {at(top.second)}, {top.why_not}"


def _description(drawn: list[dict]) -> str:
    text = "Two panels: new facts learned (A_M) against unmodified facts right (A_F∖S), and their mean Ā over δ."
    for p in drawn:
        rates = f"A_M {pct(p['A_M'])}, A_F∖S {pct(p['A_FS'])}, Ā {pct(p['A_mean'])}"
        text += f" {p['label']}, δ {p['delta']}: {rates}."
    return text
