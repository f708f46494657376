"""How far an edit moved the parameters, by block and component."""

from collections.abc import Iterable, Mapping
from statistics import fmean

import altair as alt

from .compare import by_delta, lead
from .page import titled
from .runs import around, cells, subtitle
from .theme import PADDING, PALETTE, SHAPES, SPREAD, key, menu, scale, tips
from .words import at, capital, from_to, pct

NORMS = {"l2": "ℓ2, length of the change", "linf": "ℓ∞, largest change of a parameter"}


def change_by_part(rows: Iterable[Mapping], finding: str | None = None) -> alt.LayerChart:
    """Draw the norm of the change of each block (up) and component (shape), mean and interval over seeds.

    Menus switch the edit (label and δ; `charts.at_best` keeps one δ a label) and the norm (ℓ2 or ℓ∞). Raises ValueError
    as `runs.cells` does, and if no row has norms (a datastore changes no parameters).
    """
    rows = [row for row in rows if row.get("norms")]
    if not rows:
        raise ValueError("no rows with norms to draw; a datastore or a symbolic edit changes no parameters")
    grids = by_delta(cells(rows, ("label", "delta"), ("norms",)))
    edits = {f"{label} {at(delta)}": cell for label, grid in grids.items() for delta, cell in grid.items()}
    drawn = [point for edit, cell in edits.items() for point in _points(edit, cell)]
    places = sorted({p["place"] for p in drawn}, key=_order)
    parts = sorted({p["part"] for p in drawn})
    start = next(iter(edits))
    base = alt.Chart(alt.Data(values=drawn)).transform_filter("datum.edit == edit && datum.norm == norm")
    legend = alt.selection_point(name="legend", fields=["part"], bind="legend")
    front = alt.when(legend).then(alt.value(1)).otherwise(alt.value(0.15))
    color = alt.Color("part:N", title=None, scale=scale(parts, PALETTE), legend=key(parts))
    shape = alt.Shape("part:N", title=None, scale=scale(parts, SHAPES), legend=key(parts))
    y = alt.Y(
        "place:N", title=None, sort=places, scale=alt.Scale(domain=places), axis=alt.Axis(grid=False, labelLimit=120)
    )
    offset = alt.YOffset("part:N", sort=parts, scale=alt.Scale(domain=parts, paddingOuter=0.4))
    x = alt.X(
        "mean:Q", title="norm of the change of the parameters", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5)
    )
    low = alt.X("low:Q", title="norm of the change of the parameters")
    tooltip = tips({"place": "where", "part": "component", "norm": "norm"}, SPREAD, ".3~g")
    layers = [
        base.mark_rule(strokeWidth=1, opacity=0.35).encode(x=x, x2=alt.datum(0), y=y, yOffset=offset, color=color),
        base.mark_rule(strokeWidth=3).encode(x=low, x2="high:Q", y=y, yOffset=offset, color=color, opacity=front),
        base.mark_point(filled=True, size=80)
        .encode(x=x, y=y, yOffset=offset, color=color, shape=shape, tooltip=tooltip, opacity=front)
        .add_params(legend),
    ]  # fmt: skip
    menus = menu("edit", "Edit", list(edits), start), menu("norm", "Norm", list(NORMS.values()), NORMS["l2"])
    chart = alt.layer(*layers).add_params(*menus)
    chart = chart.properties(width="container", height=len(places) * (16 * len(parts) + 8), padding=PADDING)
    sub = subtitle({start: edits[start]}) + ". A larger part has a larger ℓ2 at the same ℓ∞"
    return titled(chart, finding or _finding(start, edits[start]), sub, _description(start, drawn), _numbers(drawn))


def _split(name: str) -> tuple[str, str]:
    """Split "block 0, mlp" into ("block 0", "mlp"); a component outside the blocks gets a place of its own."""
    place, _, part = name.rpartition(", ")
    return place or "outside the blocks", part


def _order(place: str) -> tuple:
    number = place.removeprefix("block ")
    return (0, int(number)) if number.isdecimal() else (1, place)


def _points(edit: str, cell: dict) -> list[dict]:
    drawn = []
    for name in dict.fromkeys(name for row in cell.values() for name in row["norms"]):
        place, part = _split(name)
        for norm, title in NORMS.items():
            average = around((row["norms"][name][norm] for row in cell.values() if name in row["norms"]), rate=False)
            low, mean, high = (float(f"{v:.4g}") for v in (max(0, average.low), average.value, average.high))
            drawn.append({"edit": edit, "place": place, "part": part, "norm": title, "mean": mean, "low": low,
                          "high": high, "n": average.n})  # fmt: skip
    return drawn


def _shares(cell: dict, which: int) -> dict[str, dict[int, float]]:
    """By place (0) or component (1): the share of the squared ℓ2 change, by seed."""
    shares: dict[str, dict[int, float]] = {}
    for seed, row in cell.items():
        total = sum(norm["l2"] ** 2 for norm in row["norms"].values()) or 1.0
        for name, norm in row["norms"].items():
            part = shares.setdefault(_split(name)[which], dict.fromkeys(cell, 0.0))
            part[seed] += norm["l2"] ** 2 / total
    return shares


def _finding(edit: str, cell: dict) -> str:
    leaders = []
    for which, noun in ((1, "component"), (0, "block")):
        top = lead(_shares(cell, which))
        if top.second is None:
            continue
        if top.decided:
            leaders.append(f"{top.first} {pct(top.value)}")
        else:
            why = "one seed cannot tell" if top.why_not.startswith("one") else "too close to call"
            leaders.append(
                f"which {noun} moves most is undecided ({top.first} {pct(top.value)}, {top.second} next; {why})"
            )
    if not leaders:
        total = fmean(sum(n["l2"] ** 2 for n in row["norms"].values()) ** 0.5 for row in cell.values())
        return f"{capital(edit)}: all of the change, {total:.3g} long, is in {next(iter(_shares(cell, 0)))}"
    return f"{capital(edit)}, share of the squared ℓ2 change: {'; '.join(leaders)}"


def _description(edit: str, drawn: list[dict]) -> str:
    sentences = [
        f"{p['place']}, {p['part']}: {p['mean']:.3g}." for p in drawn if p["edit"] == edit and p["norm"] == NORMS["l2"]
    ]
    return f"How far the parameters moved, by block and component. {capital(edit)}, ℓ2: {' '.join(sentences)}"


def _numbers(drawn: list[dict]) -> list[dict]:
    out = []
    for l2, linf in zip(drawn[::2], drawn[1::2], strict=True):
        row = {"edit": l2["edit"], "where": l2["place"], "component": l2["part"]}
        for name, point in (("ℓ2", l2), ("ℓ∞", linf)):
            row |= {name: f"{point['mean']:.3g}", f"{name} from–to": from_to(point, "{:.3g}".format)}
        out.append(row | {"seeds": l2["n"]})
    return out
