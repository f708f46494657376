"""What an edit costs: seconds and memory."""

import math
from collections.abc import Iterable, Mapping
from statistics import fmean

import altair as alt

from .compare import lead
from .page import titled
from .runs import around, cells, spread, subtitle
from .theme import PADDING, PALETTE, log_axis, menu, tips
from .words import capital, from_to

KINDS = {"edit": "seconds to make an edit", "peak_bytes": "peak memory, GiB"}
NOUNS = {"edit": "s", "peak_bytes": "GiB"}


def cost_chart(rows: Iterable[Mapping], finding: str | None = None) -> alt.LayerChart:
    """Draw what each label costs on a log scale, cheapest first: seconds of an edit, or peak memory (a menu).

    Points are geometric means over runs. A row needs `edit` (seconds) and `peak_bytes`. Runs that differ in δ alone are
    one sweep; each has its share of the sweep's time. Raises ValueError as `runs.cells` does.
    """
    by_label = {key[0]: cell for key, cell in cells(rows, ("label",), ("edit", "peak_bytes")).items()}
    for label, cell in by_label.items():
        if any(row["edit"] <= 0 or row["peak_bytes"] <= 0 for row in cell.values()):
            raise ValueError(f"{label}: seconds and bytes must be positive")
    order = sorted(by_label, key=lambda label: fmean(math.log(v) for v in _costs(by_label[label], "edit").values()))
    drawn = []
    for kind, title in KINDS.items():
        for label in order:
            cost = around(_costs(by_label[label], kind).values(), log=True)
            text = f"{_short(cost.value)} {NOUNS[kind]}"
            drawn.append({"label": label, "kind": title} | spread(cost) | {"text": text})
    base = alt.Chart(alt.Data(values=drawn)).transform_filter("datum.kind == kind")
    log = alt.Scale(type="log", nice=True, padding=12)
    axis = log_axis()
    y = alt.Y("label:N", sort=order, title=None, scale=alt.Scale(domain=order),
              axis=alt.Axis(labelLimit=alt.expr("width < 420 ? 140 : 260"), grid=True))  # fmt: skip
    x, low = (alt.X(f"{name}:Q", title="cost (log scale)", scale=log, axis=axis) for name in ("mean", "low"))
    tooltip = tips({"label": "method", "text": "mean"}, count="runs")
    layers = [
        base.mark_rule(strokeWidth=4, opacity=0.45, color=PALETTE[0]).encode(x=low, x2="high:Q", y=y),
        base.mark_point(filled=True, size=90, color=PALETTE[0], opacity=1)
        .encode(x=x, y=y, tooltip=tooltip),
        base.mark_text(dy=-11, fontSize=11).encode(x=x, y=y, text="text:N"),
    ]  # fmt: skip
    pick = menu("kind", "Cost", list(KINDS.values()), start=KINDS["edit"])
    chart = alt.layer(*layers).add_params(pick)
    chart = chart.properties(width="container", height=32 * len(order) + 10, padding=PADDING)
    devices = list(
        dict.fromkeys(row["device"] for cell in by_label.values() for row in cell.values() if row.get("device"))
    )
    sub = subtitle({(label,): cell for label, cell in by_label.items()}, "Bars") + (
        f". On {' and '.join(devices)}" if devices else ""
    )
    return titled(chart, finding or _finding(by_label, order), sub, _description(drawn), _numbers(drawn))


def _costs(cell: dict, kind: str) -> dict[int, float]:
    return {seed: row[kind] / (2**30 if kind == "peak_bytes" else 1) for seed, row in cell.items()}


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _finding(by_label: dict, order: list[str]) -> str:
    seconds = {label: around(_costs(by_label[label], "edit").values(), log=True).value for label in order}
    if len(order) == 1:
        return f"{capital(order[0])} takes {_short(seconds[order[0]])} s an edit"
    quick = lead({label: {s: -math.log(v) for s, v in _costs(by_label[label], "edit").items()} for label in order})
    ratio = seconds[order[-1]] / seconds[order[0]]
    spread = f"{order[-1]} takes {_short(ratio)} times as long ({_short(seconds[order[-1]])} s)"
    first = f"{order[0]}, {_short(seconds[order[0]])} s an edit"
    if quick.decided:
        return f"Quickest is {first}; {spread}"
    return f"Undecided what is quickest: {first}, then {quick.second} ({quick.why_not}); {spread}"


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
