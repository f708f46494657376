"""Accuracy over the number of modified facts."""

from collections.abc import Iterable, Mapping
from statistics import fmean

import altair as alt

from ..experiments.selection import Selection
from ..experiments.statistics import Mean
from .compare import by_delta, lead
from .page import titled
from .plane import untouched
from .runs import RATE_MENU, RATES, around, cells, complete, radii, spread, subtitle, values
from .theme import PADDING, by_label, menu, named_places, numbered, percent, picker, shown, tips
from .words import capital, delta_text, pct, percent_columns

BEST = "best by Ā"


def over_size(rows: Iterable[Mapping], kind: str = "block", finding: str | None = None) -> alt.LayerChart:
    """Draw accuracy over |M| (log scale), a line for each label, with intervals over seeds as whiskers.

    Menus switch the accuracy (Ā, A_M, A_F∖S) and how δ is chosen: at each |M| the one with the highest Ā, or the same
    everywhere. `kind` names what the labels are. Raises ValueError as `runs.cells` does.
    """
    rows, left_out = complete(rows, tuple(RATES))
    groups = cells(rows, ("label", "n", "delta"), tuple(RATES))
    grids = _grids(groups)
    drawn, labels = _points(grids), list(grids)
    sizes = sorted({n for _, n, _ in groups})
    policies = list(dict.fromkeys(p["policy"] for p in drawn))
    legend = picker("label")
    front = legend & "highlight == 'all' || highlight == datum.label"
    style, marks = by_label(labels)
    room = max(1.15, (sizes[-1] / sizes[0]) ** 0.05)
    x = named_places("size", "|M|, modified facts (log scale)", {n: str(n) for n in sizes}, room)
    y, low = percent(alt.Y, "mean", "accuracy", None), percent(alt.Y, "low", "accuracy", None)
    base = alt.Chart(alt.Data(values=drawn)).transform_filter("datum.metric == metric && datum.policy == policy")
    line = base.transform_calculate(line=numbered(labels)).mark_line(strokeWidth=2)
    whisker = base.mark_rule(strokeWidth=1.5).encode(x=x, y=low, y2="high:Q", color=marks["color"])
    dots = base.mark_point(filled=True, size=80).encode(x=x, y=y, **marks, opacity=shown(front))
    dotted, explained = untouched(groups, "accuracy")
    layers = [
        *(rule.transform_filter(f"metric == '{RATE_MENU['A_mean']}'") for rule in dotted),
        line.encode(x=x, y=y, opacity=shown(front), **style),
        whisker.encode(opacity=shown(front, 0.6, 0.08)),
        dots.encode(tooltip=tips({"label": kind, "size:Q": "|M|", "delta": "δ"})).add_params(legend),
    ]
    menus = [menu("metric", "Accuracy", list(RATE_MENU.values()), start=RATE_MENU["A_mean"])]
    menus += [menu("policy", "δ", policies, policies[0]), menu("highlight", capital(kind), ["all", *labels], "all")]
    chart = alt.layer(*layers).add_params(*menus).properties(width="container", height=300, padding=PADDING)
    sub = subtitle(groups) + explained + f". δ {BEST} is chosen at each |M| on the seeds shown" + left_out
    return titled(chart, finding or _finding(grids, kind), sub, _description(drawn), _numbers(drawn, kind))


def _grids(groups: dict) -> dict[str, dict[int, dict]]:
    """{label: {|M|: {δ: cell}}}, sizes ascending."""
    nested = by_delta({((label, n), delta): cell for (label, n, delta), cell in groups.items()})
    grids: dict[str, dict[int, dict]] = {label: {} for label, _ in nested}
    for label, n in sorted(nested, key=lambda key: key[1]):
        grids[label][n] = nested[label, n]
    return grids


def _points(grids: dict) -> list[dict]:
    drawn = []
    for delta in [BEST, *radii(grid for by_size in grids.values() for grid in by_size.values())]:
        policy = BEST if delta == BEST else delta_text(delta)
        for label, by_size in grids.items():
            for size, grid in by_size.items():
                used = Selection(grid).best() if delta == BEST else delta
                point = {"policy": policy, "label": label, "size": size, "delta": delta_text(used)}
                for name in RATES if used in grid else ():
                    rate = around(values(grid[used], name).values())
                    drawn.append(point | {"metric": RATE_MENU[name]} | spread(rate))
    return drawn


def _top(grid: dict) -> dict[int, float]:
    return values(grid[Selection(grid).best()], "A_mean")


def _finding(grids: dict, kind: str) -> str:
    if len(grids) == 1:
        ((label, by_size),) = grids.items()
        (small, first), (large, last) = [(n, _top(by_size[n])) for n in (min(by_size), max(by_size))]
        start, end = (pct(fmean(top.values())) for top in (first, last))
        if small == large:
            return f"{capital(label)}: Ā is {start} at |M| = {small}"
        moved = lead({small: first, large: last})
        verb = ("falls" if moved.first == small else "rises") if moved.decided else "goes, undecided,"
        why = "" if moved.decided else f" ({moved.why_not})"
        return f"{capital(label)}: Ā {verb} from {start} at |M| = {small} to {end} at {large}{why}"
    sizes = sorted({n for by_size in grids.values() for n in by_size})
    leads = {n: lead({label: _top(by_size[n]) for label, by_size in grids.items() if n in by_size}) for n in sizes}
    sure: dict[str, list[int]] = {}
    for n, top in leads.items():
        sure.setdefault(top.first if top.decided else "undecided", []).append(n)
    names = sorted(sure, key=lambda name: name == "undecided")  # which comes last
    answers = [f"{name} at |M| = {_list(sure[name])}" for name in names]
    best = f"Best {kind} by Ā: {', '.join(answers)}. The highest Ā"
    start = f"{pct(leads[sizes[0]].value)} at |M| = {sizes[0]}"
    if len(sizes) == 1:
        return f"{best} is {start}"
    return f"{best} goes from {start} to {pct(leads[sizes[-1]].value)} at {sizes[-1]}"


def _list(numbers: list[int]) -> str:
    *head, last = map(str, numbers)
    return f"{', '.join(head)} and {last}" if head else last


def _description(drawn: list[dict]) -> str:
    text = "Accuracy over the number of modified facts. Mean accuracy Ā at its best δ:"
    for p in drawn:
        if p["policy"] == BEST and p["metric"] == RATE_MENU["A_mean"]:
            text += f" {p['label']}, |M| {p['size']}: {pct(p['mean'])} at δ {p['delta']}."
    return text


def _numbers(drawn: list[dict], kind: str) -> list[dict]:
    table: dict[tuple, dict] = {}
    titles = {RATE_MENU[name]: title for name, title in RATES.items()}
    for p in drawn:
        row = {kind: p["label"], "|M|": p["size"], "δ": p["delta"], BEST: "yes" if p["policy"] == BEST else ""}
        row = table.setdefault((p["label"], p["size"], p["delta"]), row)
        row |= percent_columns(Mean(p["mean"], p["low"], p["high"], p["n"]), titles[p["metric"]]) | {"seeds": p["n"]}
    labels = list(dict.fromkeys(label for label, *_ in table))
    return [table[key] for key in sorted(table, key=lambda key: (labels.index(key[0]), key[1]))]
