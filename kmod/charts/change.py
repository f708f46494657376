"""How far an edit moved the parameters, by block and component."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import fmean

import altair as alt

from .compare import grids, lead
from .page import titled
from .runs import around, complete, spread, subtitle
from .theme import PADDING, color_and_shape, key, menu, picker, shown, tips
from .words import at, capital, from_to, pct

NORMS = {"l2": "ℓ2, length of the change", "linf": "ℓ∞, largest change of a parameter"}


def change_by_part(rows: Iterable[Mapping], finding: str | None = None) -> alt.LayerChart:
    """Draw the norm of the change of each block (up) and component (shape), mean and interval over seeds.

    Menus switch the edit (label and δ; `charts.at_best` keeps one δ a label) and the norm (ℓ2 or ℓ∞). Raises ValueError
    as `runs.cells` does, and if no row has norms (a datastore changes no parameters).
    """
    rows, left_out = complete((row for row in rows if row.get("norms")), ("norms",))
    if not rows:
        raise ValueError("no rows with norms to draw; a datastore or a symbolic edit changes no parameters")
    by_label = grids(rows, ("norms",))
    edits = {f"{label} {at(delta)}": cell for label, grid in by_label.items() for delta, cell in grid.items()}
    drawn = [point for edit, cell in edits.items() for point in _points(edit, cell)]
    places, parts = sorted({p["place"] for p in drawn}, key=_order), sorted({p["part"] for p in drawn})
    start = next(iter(edits))
    legend = picker("part")
    color, shape = color_and_shape("part", parts, key(parts))
    upright = alt.Scale(domain=places)
    y = alt.Y("place:N", title=None, sort=places, scale=upright, axis=alt.Axis(grid=False, labelLimit=120))
    offset = alt.YOffset("part:N", sort=parts, scale=alt.Scale(domain=parts, paddingOuter=0.4))
    title = "norm of the change of the parameters"
    x = alt.X("mean:Q", title=title, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5))
    tooltip = tips({"place": "where", "part": "component", "norm": "norm"}, form=".3~g")
    base = alt.Chart(alt.Data(values=drawn)).transform_filter("datum.edit == edit && datum.norm == norm")
    base = base.encode(y=y, yOffset=offset, color=color)
    dots = base.mark_point(filled=True, size=80).encode(x=x, shape=shape, tooltip=tooltip, opacity=shown(legend))
    interval = base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", title=title), x2="high:Q", opacity=shown(legend))
    stem = base.mark_rule(strokeWidth=1, opacity=0.35).encode(x=x, x2=alt.datum(0))
    menus = menu("edit", "Edit", list(edits), start), menu("norm", "Norm", list(NORMS.values()), NORMS["l2"])
    chart = alt.layer(stem, interval, dots.add_params(legend)).add_params(*menus)
    chart = chart.properties(width="container", height=len(places) * (16 * len(parts) + 8), padding=PADDING)
    sub = subtitle({start: edits[start]}) + ". A larger part has a larger ℓ2 at the same ℓ∞" + left_out
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
            point = {"edit": edit, "place": place, "part": part, "norm": title}
            drawn.append(point | spread(replace(average, low=max(0, average.low)), 4))
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
        why = "one seed cannot tell" if top.why_not.startswith("one") else "too close to call"
        undecided = f"which {noun} moves most is undecided ({top.first} {pct(top.value)}, {top.second} next; {why})"
        leaders.append(f"{top.first} {pct(top.value)}" if top.decided else undecided)
    if not leaders:
        total = fmean(sum(n["l2"] ** 2 for n in row["norms"].values()) ** 0.5 for row in cell.values())
        return f"{capital(edit)}: all of the change, {total:.3g} long, is in {next(iter(_shares(cell, 0)))}"
    return f"{capital(edit)}, share of the squared ℓ2 change: {'; '.join(leaders)}"


def _description(edit: str, drawn: list[dict]) -> str:
    text = f"How far the parameters moved, by block and component. {capital(edit)}, ℓ2:"
    for p in drawn:
        if p["edit"] == edit and p["norm"] == NORMS["l2"]:
            text += f" {p['place']}, {p['part']}: {p['mean']:.3g}."
    return text


def _numbers(drawn: list[dict]) -> list[dict]:
    out = []
    for l2, linf in zip(drawn[::2], drawn[1::2], strict=True):
        row = {"edit": l2["edit"], "where": l2["place"], "component": l2["part"]}
        for name, point in (("ℓ2", l2), ("ℓ∞", linf)):
            row |= {name: f"{point['mean']:.3g}", f"{name} from–to": from_to(point, "{:.3g}".format)}
        out.append(row | {"seeds": l2["n"]})
    return out
