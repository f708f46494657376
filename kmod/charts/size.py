"""Accuracy over the number of modified facts."""

from collections.abc import Iterable, Mapping

import altair as alt

from ..experiments.selection import Selection
from ..experiments.statistics import Mean
from .compare import by_delta, lead
from .page import titled
from .plane import untouched, untouched_words
from .runs import RATE_MENU, RATES, around, ascending, cells, spread, subtitle, values
from .theme import PADDING, SPREAD, by_label, menu, named_ticks, numbered, percent, shown, tips
from .words import capital, delta_text, pct, percent_columns

BEST = "best by Ā"


def over_size(rows: Iterable[Mapping], kind: str = "block", finding: str | None = None) -> alt.LayerChart:
    """Draw accuracy over |M| (log scale), a line for each label, with intervals over seeds as whiskers.

    Menus switch the accuracy (Ā, A_M, A_F∖S) and how δ is chosen: at each |M| the one with the highest Ā, or the same
    everywhere. `kind` names what the labels are. Raises ValueError as `runs.cells` does.
    """
    groups = cells(rows, ("label", "n", "delta"), tuple(RATES))
    grids = _grids(groups)
    drawn, labels = _points(grids), list(grids)
    sizes = sorted({n for _, n, _ in groups})
    policies = list(dict.fromkeys(p["policy"] for p in drawn))
    legend = alt.selection_point(name="legend", fields=["label"], bind="legend")
    front = legend & "highlight == 'all' || highlight == datum.label"
    base = alt.Chart(alt.Data(values=drawn)).transform_filter("datum.metric == metric && datum.policy == policy")
    style, marks = by_label(labels)
    room = max(1.15, (sizes[-1] / sizes[0]) ** 0.05)
    log = alt.Scale(type="log", domain=[sizes[0] / room, sizes[-1] * room], nice=False)
    x = alt.X(
        "size:Q", title="|M|, modified facts (log scale)", axis=named_ticks(sizes, list(map(str, sizes))), scale=log
    )
    y, low = percent(alt.Y, "mean", "accuracy", None), percent(alt.Y, "low", "accuracy", None)
    tooltip = tips({"label": kind, "size:Q": "|M|", "delta": "δ"}, SPREAD)
    layers = [
        *(line.transform_filter(f"metric == '{RATE_MENU['A_mean']}'") for line in untouched(groups, "accuracy")),
        base.transform_calculate(line=numbered(labels))
        .mark_line(strokeWidth=2)
        .encode(x=x, y=y, opacity=shown(front), **style),
        base.mark_rule(strokeWidth=1.5).encode(
            x=x, y=low, y2="high:Q", color=marks["color"], opacity=shown(front, 0.6, 0.08)
        ),
        base.mark_point(filled=True, size=80)
        .encode(x=x, y=y, **marks, tooltip=tooltip, opacity=shown(front))
        .add_params(legend),
    ]
    menus = [
        menu("metric", "Accuracy", list(RATE_MENU.values()), start=RATE_MENU["A_mean"]),
        menu("policy", "δ", policies, start=policies[0]),
        menu("highlight", capital(kind), ["all", *labels], start="all"),
    ]
    chart = alt.layer(*layers).add_params(*menus).properties(width="container", height=300, padding=PADDING)
    sub = subtitle(groups) + untouched_words(groups) + f". δ {BEST} is chosen at each |M| on the seeds shown"
    return titled(chart, finding or _finding(grids, kind), sub, _description(drawn), _numbers(drawn, kind))


def _grids(groups: dict) -> dict[str, dict[int, dict]]:
    """{label: {|M|: {δ: cell}}}, sizes ascending."""
    grids: dict[str, dict[int, dict]] = {}
    nested = by_delta({((label, n), delta): cell for (label, n, delta), cell in groups.items()})
    for label in dict.fromkeys(label for label, _, _ in groups):
        sizes = sorted(n for other, n in nested if other == label)
        grids[label] = {n: nested[label, n] for n in sizes}
    return grids


def _points(grids: dict) -> list[dict]:
    drawn = []
    deltas = {d for by_size in grids.values() for grid in by_size.values() for d in grid}
    for delta in [BEST, *sorted(deltas, key=ascending)]:
        for label, by_size in grids.items():
            for size, grid in by_size.items():
                used = Selection(grid).best() if delta == BEST else delta
                for name in RATES if used in grid else ():
                    rate = around(values(grid[used], name).values())
                    drawn.append({"policy": BEST if delta == BEST else delta_text(delta), "label": label, "size": size,
                                  "delta": delta_text(used), "metric": RATE_MENU[name]} | spread(rate))  # fmt: skip
    return drawn


def _top(grid: dict) -> dict[int, float]:
    return values(grid[Selection(grid).best()], "A_mean")


def _finding(grids: dict, kind: str) -> str:
    if len(grids) == 1:
        ((label, by_size),) = grids.items()
        (small, first), (large, last) = [(n, _top(by_size[n])) for n in (min(by_size), max(by_size))]
        if small == large:
            return f"{capital(label)}: Ā is {pct(around(first.values()).value)} at |M| = {small}"
        moved = lead({small: first, large: last})
        verb = ("falls" if moved.first == small else "rises") if moved.decided else "goes, undecided, "
        why = "" if moved.decided else f" ({moved.why_not})"
        ends = f"{pct(around(first.values()).value)} at |M| = {small} to {pct(around(last.values()).value)} at {large}"
        return f"{capital(label)}: Ā {verb.strip()} from {ends}{why}"
    sizes = sorted({n for by_size in grids.values() for n in by_size})
    leads = {n: lead({label: _top(by_size[n]) for label, by_size in grids.items() if n in by_size}) for n in sizes}
    sure: dict[str, list[int]] = {}
    for n, top in leads.items():
        sure.setdefault(top.first if top.decided else "undecided", []).append(n)
    answers = [f"{name} at |M| = {_list(ns)}" for name, ns in sure.items() if name != "undecided"]
    answers += [f"undecided at |M| = {_list(sure['undecided'])}"] if "undecided" in sure else []
    ends = f"{pct(leads[sizes[0]].value)} at |M| = {sizes[0]}"
    ends += f" to {pct(leads[sizes[-1]].value)} at {sizes[-1]}" if len(sizes) > 1 else ""
    best = f"Best {kind} by Ā: {', '.join(answers)}"
    return f"{best}. The highest Ā goes from {ends}" if len(sizes) > 1 else f"{best}. The highest Ā is {ends}"


def _list(numbers: list[int]) -> str:
    *head, last = map(str, numbers)
    return f"{', '.join(head)} and {last}" if head else last


def _description(drawn: list[dict]) -> str:
    sentences = [
        f"{p['label']}, |M| {p['size']}: {pct(p['mean'])} at δ {p['delta']}."
        for p in drawn
        if p["policy"] == BEST and p["metric"] == RATE_MENU["A_mean"]
    ]
    return f"Accuracy over the number of modified facts. Mean accuracy Ā at its best δ: {' '.join(sentences)}"


def _numbers(drawn: list[dict], kind: str) -> list[dict]:
    table: dict[tuple, dict] = {}
    titles = {RATE_MENU[name]: title for name, title in RATES.items()}
    best = {(p["label"], p["size"], p["delta"]) for p in drawn if p["policy"] == BEST}
    for p in drawn:
        key = p["label"], p["size"], p["delta"]
        row = table.setdefault(
            key, {kind: p["label"], "|M|": p["size"], "δ": p["delta"], BEST: "yes" if key in best else ""}
        )
        row |= percent_columns(Mean(p["mean"], p["low"], p["high"], p["n"]), titles[p["metric"]]) | {"seeds": p["n"]}
    return [
        table[key] for key in sorted(table, key=lambda k: (list(dict.fromkeys(q[0] for q in table)).index(k[0]), k[1]))
    ]
