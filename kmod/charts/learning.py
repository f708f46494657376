"""Learning curves: the loss on the new facts while an edit is made, a line for each δ."""

import math
from collections.abc import Iterable, Mapping

import altair as alt

from .compare import by_delta, lead
from .page import titled
from .runs import Mean, around, ascending, cells, subtitle
from .theme import DASHES, PADDING, key, log_axis, menu, scale, shown, tips
from .words import at, capital, delta_text, from_to

LOSS = "loss on the new facts, nats (log scale)"
# From blue through grey to orange; each is readable on the light page and on the dark one.
RAMP = ((0x00, 0x72, 0xB2), (0x8A, 0x8A, 0x8A), (0xD5, 0x5E, 0x00))


def learning_curves(rows: Iterable[Mapping], kind: str = "block", finding: str | None = None) -> alt.LayerChart:
    """Draw the training loss over steps (log scale): a line for each δ, geometric means over seeds with bands.

    Menus switch the label and bring one δ forward; so does the legend. `kind` names what the labels are. Raises
    ValueError as `runs.cells` does, and if no row has a curve (retraining and datastores have none).
    """
    rows = [row for row in rows if row.get("curve")]
    if not rows:
        raise ValueError("no rows with a curve to draw; only edits that descend have one")
    groups = cells(rows, ("label", "delta"), ("curve",))
    grids = by_delta(groups)
    deltas = sorted({d for grid in grids.values() for d in grid}, key=ascending)
    names, labels = [delta_text(d) for d in deltas], list(grids)
    drawn = [
        point for label, grid in grids.items() for delta, cell in grid.items() for point in _points(label, delta, cell)
    ]
    ends = [end for label, grid in grids.items() for end in _ends(label, grid)]
    last = max(point["step"] for point in drawn)
    legend = alt.selection_point(name="legend", fields=["delta"], bind="legend")
    front = legend & "highlight == 'all' || highlight == datum.delta"
    legend_key = key(names, symbolType="stroke", symbolSize=300, symbolStrokeWidth=2.5)
    color = alt.Color("delta:N", title="δ", sort=names, scale=scale(names, _ramp(len(names))), legend=legend_key)
    dash = alt.StrokeDash("delta:N", title="δ", sort=names, scale=scale(names, DASHES), legend=legend_key)
    x = alt.X("step:Q", title="optimiser step", scale=alt.Scale(domain=[0, 1.16 * last], nice=False),
              axis=alt.Axis(values=_ticks(last), grid=False))  # fmt: skip
    log = alt.Scale(type="log", nice=False)
    axis = log_axis()
    y = alt.Y("loss:Q", title=LOSS, scale=log, axis=axis)
    base = alt.Chart(alt.Data(values=drawn)).transform_filter("datum.label == label")
    marks = alt.Chart(alt.Data(values=ends)).transform_filter("datum.label == label")
    tooltip = tips({"delta": "δ", "step:Q": "step"}, {"loss": "loss"}, ".3~g")
    layers = [
        base.mark_area().encode(x=x, y=alt.Y("low:Q", title=LOSS, scale=log, axis=axis), y2="high:Q", color=color,
                                opacity=shown(front, 0.12, 0.02)),
        base.mark_line(strokeWidth=2).encode(x=x, y=y, color=color, strokeDash=dash, opacity=shown(front)),
        base.mark_point(filled=True, size=24).encode(x=x, y=y, color=color, tooltip=tooltip, opacity=shown(front))
        .add_params(legend),
        marks.mark_text(align="left", dx=7, fontSize=11).encode(
            x=x, y=alt.Y("place:Q", title=LOSS, scale=log, axis=axis), text="delta:N", opacity=shown(front)),
    ]  # fmt: skip
    start = labels[0]
    menus = menu("label", capital(kind), labels, start), menu("highlight", "δ", ["all", *names], "all")
    chart = alt.layer(*layers).add_params(*menus).properties(width="container", height=320, padding=PADDING)
    sub = subtitle({key: cell for key, cell in groups.items() if key[0] == start}, "Bands")
    sub += ". Geometric means, and intervals of the logarithm" * ("means of" in sub)
    return titled(chart, finding or _finding(start, grids[start]), sub, _description(ends), _numbers(ends, kind))


def _ticks(last: int) -> list[int]:
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10**9) if last / s <= 6)
    return list(range(0, last + 1, step))


def _ramp(n: int) -> list[str]:
    """n colours along RAMP."""
    out = []
    for i in range(n):
        place = 2 * i / (n - 1) if n > 1 else 0.0
        a, b = RAMP[min(1, int(place))], RAMP[min(1, int(place)) + 1]
        share = place - min(1, int(place))
        out.append("#" + "".join(f"{round(u + share * (v - u)):02x}" for u, v in zip(a, b, strict=True)))
    return out


def _at_steps(cell: dict) -> dict[int, Mean]:
    """The mean loss at each step that all seeds recorded; a loss of 0 counts as 1e-8, which the logarithm can show."""
    curves = [{int(step): max(float(loss), 1e-8) for step, loss in row["curve"]} for row in cell.values()]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not steps:
        raise ValueError("the curves of the seeds share no step: they were stopped at different steps; draw one seed")
    return {step: around((curve[step] for curve in curves), log=True) for step in steps}


def _points(label: str, delta, cell: dict) -> list[dict]:
    drawn = []
    for step, loss in _at_steps(cell).items():
        low, mean, high = (float(f"{v:.3g}") for v in (loss.low, loss.value, loss.high))
        drawn.append({"label": label, "delta": delta_text(delta), "step": step, "loss": mean, "low": low, "high": high,
                      "n": loss.n})  # fmt: skip
    return drawn


def _ends(label: str, grid: dict, gap: float = 0.05) -> list[dict]:
    """Where each line ends, and where its name stands. Names are moved apart so that none overlap."""
    curves = {delta: _at_steps(cell) for delta, cell in grid.items()}
    logs = [math.log(v) for curve in curves.values() for loss in curve.values() for v in (loss.low, loss.high)]
    least = gap * (max(logs) - min(logs))
    ends = []
    for delta, curve in curves.items():
        step = max(curve)
        ends.append({"label": label, "delta": delta_text(delta), "step": step, "start": curve[min(curve)].value,
                     "loss": curve[step].value, "low": curve[step].low, "high": curve[step].high, "n": curve[step].n,
                     "place": curve[step].value})  # fmt: skip
    below = None
    for end in sorted(ends, key=lambda end: end["loss"]):
        place = math.log(end["loss"]) if below is None else max(math.log(end["loss"]), below + least)
        end["place"], below = math.exp(place), place
    return ends


def _final(cell: dict) -> dict[int, float]:
    return {seed: -math.log(max(row["curve"][-1][1], 1e-8)) for seed, row in cell.items()}


def _finding(label: str, grid: dict) -> str:
    ends = {
        delta: around((math.exp(-v) for v in _final(cell).values()), log=True).value for delta, cell in grid.items()
    }
    head = f"{capital(label)}: "
    if len(grid) == 1:
        ((delta, loss),) = ends.items()
        return f"{head}the loss ends at {loss:.2g} {at(delta)}"
    finals = {delta: _final(cell) for delta, cell in grid.items()}
    top = lead(finals)
    (first, *_, last) = grid
    falls = all(ends[a] > ends[b] for a, b in zip(ends, list(ends)[1:], strict=False))
    span = lead({first: finals[first], last: finals[last]})
    reach = f"from {ends[first]:.2g} {at(first)} to {ends[last]:.2g} {at(last)}"
    if falls and span.decided:
        return f"{head}the wider δ, the lower the loss ends: {reach}"
    if falls:
        return f"{head}a wider δ seems to let the loss end lower, {reach}, but this is undecided: {span.why_not}"
    lowest = f"{ends[top.first]:.2g} {at(top.first)}"
    if top.decided:
        return f"{head}the loss ends lowest, {lowest}" + (", not at the widest δ" if top.first != last else "")
    return f"{head}undecided at which δ the loss ends lowest: {lowest}, next {at(top.second)}; {top.why_not}"


def _description(ends: list[dict]) -> str:
    sentences = [
        f"{e['label']}, δ {e['delta']}: from {e['start']:.3g} to {e['loss']:.3g} at step {e['step']}." for e in ends
    ]
    return f"The loss on the new facts over optimiser steps. {' '.join(sentences)}"


def _numbers(ends: list[dict], kind: str) -> list[dict]:
    return [
        {kind: e["label"], "δ": e["delta"], "first loss": f"{e['start']:.3g}", "last loss": f"{e['loss']:.3g}",
         "last from–to": from_to(e, "{:.3g}".format), "last step": e["step"],
         "seeds": e["n"]}
        for e in ends
    ]  # fmt: skip
