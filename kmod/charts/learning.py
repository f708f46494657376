"""Learning curves: the loss on the new facts while an edit is made, a line for each δ."""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from statistics import fmean

import altair as alt
import numpy as np

from .compare import by_delta, lead
from .page import titled
from .runs import Mean, around, cells, complete, radii, spread, subtitle
from .theme import DASHES, PADDING, key, log_axis, menu, picker, scale, shown, tips
from .words import at, capital, delta_text, from_to

LOSS = "loss on the new facts, nats (log scale)"
# From blue through grey to orange; each is readable on the light page and on the dark one.
RAMP = ((0x00, 0x72, 0xB2), (0x8A, 0x8A, 0x8A), (0xD5, 0x5E, 0x00))


def learning_curves(rows: Iterable[Mapping], kind: str = "block", finding: str | None = None) -> alt.LayerChart:
    """Draw the training loss over steps (log scale): a line for each δ, geometric means over seeds with bands.

    Menus switch the label and bring one δ forward; so does the legend. `kind` names what the labels are. Raises
    ValueError as `runs.cells` does, and if no row has a curve (retraining and datastores have none).
    """
    rows, left_out = complete((row for row in rows if row.get("curve")), ("curve",))
    if not rows:
        raise ValueError("no rows with a curve to draw; only edits that descend have one")
    groups = cells(rows, ("label", "delta"), ("curve",))
    grids = by_delta(groups)
    names, labels = [delta_text(delta) for delta in radii(grids.values())], list(grids)
    curves = {label: {delta: _at_steps(cell) for delta, cell in grid.items()} for label, grid in grids.items()}
    drawn = [point for label, by_radius in curves.items() for point in _points(label, by_radius)]
    ends = [end for label, by_radius in curves.items() for end in _ends(label, by_radius)]
    last = max(point["step"] for point in drawn)
    legend = picker("delta")
    front = legend & "highlight == 'all' || highlight == datum.delta"
    legend_key = key(names, symbolType="stroke", symbolSize=300, symbolStrokeWidth=2.5)
    color = alt.Color("delta:N", title="δ", sort=names, scale=scale(names, _ramp(len(names))), legend=legend_key)
    dash = alt.StrokeDash("delta:N", title="δ", sort=names, scale=scale(names, DASHES), legend=legend_key)
    across, axis = alt.Scale(domain=[0, 1.16 * last], nice=False), alt.Axis(values=_ticks(last), grid=False)
    x = alt.X("step:Q", title="optimiser step", scale=across, axis=axis)
    log = {"title": LOSS, "scale": alt.Scale(type="log", nice=False), "axis": log_axis()}
    y, low, place = (alt.Y(f"{field}:Q", **log) for field in ("loss", "low", "place"))
    tooltip = tips({"delta": "δ", "step:Q": "step"}, {"loss": "loss"}, ".3~g")
    base, marks = (
        alt.Chart(alt.Data(values=data)).transform_filter("datum.label == label").encode(x=x) for data in (drawn, ends)
    )
    dots = base.mark_point(filled=True, size=24).encode(y=y, color=color, tooltip=tooltip, opacity=shown(front))
    layers = [
        base.mark_area().encode(y=low, y2="high:Q", color=color, opacity=shown(front, 0.12, 0.02)),
        base.mark_line(strokeWidth=2).encode(y=y, color=color, strokeDash=dash, opacity=shown(front)),
        dots.add_params(legend),
        marks.mark_text(align="left", dx=7, fontSize=11).encode(y=place, text="delta:N", opacity=shown(front)),
    ]
    start = labels[0]
    menus = menu("label", capital(kind), labels, start), menu("highlight", "δ", ["all", *names], "all")
    chart = alt.layer(*layers).add_params(*menus).properties(width="container", height=320, padding=PADDING)
    sub = subtitle(grids[start], "Bands")
    sub += ". Geometric means, and intervals of the logarithm" * ("means of" in sub) + left_out
    return titled(chart, finding or _finding(start, grids[start]), sub, _description(ends), _numbers(ends, kind))


def _ticks(last: int) -> list[int]:
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10**9) if last / s <= 6)
    return list(range(0, last + 1, step))


def _ramp(n: int) -> list[str]:
    """n colours along RAMP."""
    channels = [np.interp(np.linspace(0, 2, n), range(3), channel) for channel in zip(*RAMP, strict=True)]
    return ["#" + "".join(f"{round(value):02x}" for value in color) for color in zip(*channels, strict=True)]


def _at_steps(cell: dict) -> dict[int, Mean]:
    """The mean loss at each step that all seeds recorded; a loss of 0 counts as 1e-8, which the logarithm can show."""
    curves = [{int(step): max(float(loss), 1e-8) for step, loss in row["curve"]} for row in cell.values()]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not steps:
        raise ValueError("the curves of the seeds share no step: they were stopped at different steps; draw one seed")
    return {step: around((curve[step] for curve in curves), log=True) for step in steps}


def _points(label: str, curves: dict) -> list[dict]:
    drawn = []
    for delta, curve in curves.items():
        for step, loss in curve.items():
            point = spread(loss, 3)
            drawn.append({"label": label, "delta": delta_text(delta), "step": step, "loss": point.pop("mean")} | point)
    return drawn


def _ends(label: str, curves: dict, gap: float = 0.05) -> list[dict]:
    """Where each line ends, and where its name stands. Names are moved apart so that none overlap."""
    logs = [math.log(v) for curve in curves.values() for loss in curve.values() for v in (loss.low, loss.high)]
    least = gap * (max(logs) - min(logs))
    ends = []
    for delta, curve in curves.items():
        start, step = min(curve), max(curve)
        loss = curve[step]
        end = {"label": label, "delta": delta_text(delta), "step": step, "start": curve[start].value}
        ends.append(end | {"loss": loss.value, "low": loss.low, "high": loss.high, "n": loss.n, "place": loss.value})
    below = -math.inf
    for end in sorted(ends, key=lambda end: end["loss"]):
        below = max(math.log(end["loss"]), below + least)
        end["place"] = math.exp(below)
    return ends


def _finding(label: str, grid: dict) -> str:
    finals: dict[float | None, dict[int, float]] = {}  # the negative logarithm of the last loss, by seed
    for delta, cell in grid.items():
        finals[delta] = {seed: -math.log(max(row["curve"][-1][1], 1e-8)) for seed, row in cell.items()}
    ends = {delta: math.exp(-fmean(final.values())) for delta, final in finals.items()}
    words = {delta: f"{loss:.2g} {at(delta)}" for delta, loss in ends.items()}
    head = f"{capital(label)}: "
    if len(grid) == 1:
        return f"{head}the loss ends at {words.popitem()[1]}"
    top = lead(finals)
    first, *_, last = grid
    span = lead({first: finals[first], last: finals[last]})
    reach = f"from {words[first]} to {words[last]}"
    if all(a > b for a, b in pairwise(ends.values())):
        if span.decided:
            return f"{head}the wider δ, the lower the loss ends: {reach}"
        return f"{head}a wider δ seems to let the loss end lower, {reach}, but this is undecided: {span.why_not}"
    lowest = words[top.first]
    if top.decided:
        return f"{head}the loss ends lowest, {lowest}" + ", not at the widest δ" * (top.first != last)
    return f"{head}undecided at which δ the loss ends lowest: {lowest}, next {at(top.second)}; {top.why_not}"


def _description(ends: list[dict]) -> str:
    text = "The loss on the new facts over optimiser steps."
    for e in ends:
        text += f" {e['label']}, δ {e['delta']}: from {e['start']:.3g} to {e['loss']:.3g} at step {e['step']}."
    return text


def _numbers(ends: list[dict], kind: str) -> list[dict]:
    rows = []
    for e in ends:
        row = {kind: e["label"], "δ": e["delta"], "first loss": f"{e['start']:.3g}", "last loss": f"{e['loss']:.3g}"}
        interval = from_to(e, "{:.3g}".format)
        rows.append(row | {"last from–to": interval, "last step": e["step"], "seeds": e["n"]})
    return rows
