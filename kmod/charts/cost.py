"""What an edit costs: seconds and memory."""

import math
from collections.abc import Iterable, Mapping
from statistics import fmean

import altair as alt

from .compare import lead
from .page import titled
from .runs import around, cells, complete, spread, subtitle
from .theme import PADDING, PALETTE, log_axis, menu, tips
from .words import capital, from_to

KINDS = {"edit": ("seconds to make an edit", "s", 1), "peak_bytes": ("peak memory, GiB", "GiB", 2**30)}


def cost_chart(rows: Iterable[Mapping], finding: str | None = None) -> alt.LayerChart:
    """Draw what each label costs on a log scale, cheapest first: seconds of an edit, or peak memory (a menu).

    Points are geometric means over runs. A row needs `edit` (seconds) and `peak_bytes`. Runs that differ in δ alone are
    one sweep; each has its share of the sweep's time. Raises ValueError as `runs.cells` does.
    """
    rows, left_out = complete(rows, tuple(KINDS))
    by_label = {label: cell for (label,), cell in cells(rows, ("label",), tuple(KINDS)).items()}
    for label, cell in by_label.items():
        if any(row["edit"] <= 0 or row["peak_bytes"] <= 0 for row in cell.values()):
            raise ValueError(f"{label}: seconds and bytes must be positive")
    order = sorted(by_label, key=lambda label: fmean(math.log(row["edit"]) for row in by_label[label].values()))
    drawn = []
    for kind, (title, unit, size) in KINDS.items():
        for label in order:
            cost = around((row[kind] / size for row in by_label[label].values()), log=True)
            point = {"label": label, "kind": title} | spread(cost)
            drawn.append(point | {"text": f"{_short(cost.value)} {unit}"})
    titles = [title for title, *_ in KINDS.values()]
    base = alt.Chart(alt.Data(values=drawn)).transform_filter("datum.kind == kind")
    axis = alt.Axis(labelLimit=alt.expr("width < 420 ? 140 : 260"), grid=True)
    y = alt.Y("label:N", sort=order, title=None, scale=alt.Scale(domain=order), axis=axis)
    log = {"scale": alt.Scale(type="log", nice=True, padding=12), "axis": log_axis()}
    x, low = (alt.X(f"{name}:Q", title="cost (log scale)", **log) for name in ("mean", "low"))
    tooltip = tips({"label": "method", "text": "mean"}, {}, count="runs")
    layers = [
        base.mark_rule(strokeWidth=4, opacity=0.45, color=PALETTE[0]).encode(x=low, x2="high:Q", y=y),
        base.mark_point(filled=True, size=90, color=PALETTE[0], opacity=1).encode(x=x, y=y, tooltip=tooltip),
        base.mark_text(dy=-11, fontSize=11).encode(x=x, y=y, text="text:N"),
    ]
    chart = alt.layer(*layers).add_params(menu("kind", "Cost", titles, start=titles[0]))
    chart = chart.properties(width="container", height=32 * len(order) + 10, padding=PADDING)
    devices = [row["device"] for cell in by_label.values() for row in cell.values() if row.get("device")]
    sub = subtitle(by_label, "Bars") + f". On {' and '.join(dict.fromkeys(devices))}" * bool(devices)
    return titled(chart, finding or _finding(by_label, order), sub + left_out, _description(drawn), _numbers(drawn))


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _finding(by_label: dict, order: list[str]) -> str:
    speeds = {label: {seed: -math.log(row["edit"]) for seed, row in by_label[label].items()} for label in order}
    seconds = {label: math.exp(-fmean(speed.values())) for label, speed in speeds.items()}
    quickest, slowest = order[0], order[-1]
    if len(order) == 1:
        return f"{capital(quickest)} takes {_short(seconds[quickest])} s an edit"
    quick = lead(speeds)
    ratio = seconds[slowest] / seconds[quickest]
    others = f"{slowest} takes {_short(ratio)} times as long ({_short(seconds[slowest])} s)"
    first = f"{quickest}, {_short(seconds[quickest])} s an edit"
    if quick.decided:
        return f"Quickest is {first}; {others}"
    return f"Undecided what is quickest: {first}, then {quick.second} ({quick.why_not}); {others}"


def _description(drawn: list[dict]) -> str:
    return "What an edit costs. " + " ".join(f"{p['label']}: {p['text']}." for p in drawn)


def _numbers(drawn: list[dict]) -> list[dict]:
    half = len(drawn) // 2
    out = []
    for s, m in zip(drawn[:half], drawn[half:], strict=True):
        row = {"method": s["label"]}
        for name, point in (("seconds", s), ("GiB", m)):
            row |= {name: _short(point["mean"]), f"{name} from–to": from_to(point, _short)}
        out.append(row | {"runs": s["n"]})
    return out
