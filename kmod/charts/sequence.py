"""Accuracy over the number of edits that were made one after the other."""

from collections.abc import Iterable, Mapping

import altair as alt

from ..experiments.statistics import mean
from .page import titled
from .runs import RATE_MENU, RATES, around, complete, spread
from .theme import PADDING, by_label, menu, named_places, numbered, percent, picker, shown, tips
from .words import pct, percent_columns, to


def over_edits(rows: Iterable[Mapping], finding: str | None = None) -> alt.LayerChart:
    """Draw accuracy over the number of facts edited so far (log scale), a line for each label, with intervals over
    seeds as whiskers.

    Menus switch the accuracy and how many facts are edited at a time. `rows` have label, seed, size (facts at a time),
    edited, A_M, A_FS, A_mean, linf and l2. Raises ValueError for no rows.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("no finished sequences to draw; run the suite first: python -m kmod run sequences")
    rows, left_out = complete(rows, (*RATES, "linf", "l2"))
    groups: dict[tuple, list[Mapping]] = {}
    for row in rows:
        groups.setdefault((row["size"], row["label"], row["edited"]), []).append(row)
    labels = list(dict.fromkeys(row["label"] for row in rows))
    sizes = {size: f"{size:,} at a time" for size in sorted({row["size"] for row in rows})}
    drawn = [
        {"size": sizes[size], "label": label, "edited": edited, "metric": RATE_MENU[metric]}
        | spread(around(row[metric] for row in same))
        for (size, label, edited), same in groups.items()
        for metric in RATES
    ]
    legend = picker("label")
    front = legend & "highlight == 'all' || highlight == datum.label"
    style, marks = by_label(labels)
    places = sorted({row["edited"] for row in rows})
    x = named_places("edited", "facts edited so far (log scale)", {n: f"{n:,}" for n in places}, 1.2)
    y, low = percent(alt.Y, "mean", "accuracy"), percent(alt.Y, "low", "accuracy")
    base = alt.Chart(alt.Data(values=drawn)).transform_filter("datum.metric == metric && datum.size == portion")
    line = base.transform_calculate(line=numbered(labels)).mark_line(strokeWidth=2)
    whisker = base.mark_rule(strokeWidth=1.5).encode(x=x, y=low, y2="high:Q", color=marks["color"])
    dots = base.mark_point(filled=True, size=80).encode(x=x, y=y, **marks, opacity=shown(front))
    layers = [
        line.encode(x=x, y=y, opacity=shown(front), **style),
        whisker.encode(opacity=shown(front, 0.6, 0.08)),
        dots.encode(tooltip=tips({"label": "held by", "edited:Q": "edited so far"})).add_params(legend),
    ]
    start = sizes[8] if 8 in sizes else next(iter(sizes.values()))
    menus = [menu("metric", "Accuracy", list(RATE_MENU.values()), RATE_MENU["A_mean"])]
    menus += [menu("portion", "Facts", list(sizes.values()), start)]
    menus += [menu("highlight", "Held by", ["all", *labels], "all")]
    chart = alt.layer(*layers).add_params(*menus).properties(width="container", height=300, padding=PADDING)
    seeds = to([len(same) for same in groups.values()])
    sub = "A_M is of all facts edited so far, A_F∖S of the others"
    sub += f". Means of n = {seeds} seeds with a training each. Whiskers are 95 % t-intervals over the seeds"
    text = "Mean accuracy Ā after the last portion: " + " ".join(
        f"{label}, {sizes[size]}, {edited:,} facts: {pct(mean(row['A_mean'] for row in same).value)}."
        for (size, label, edited), same in last(groups).items()
    )
    return titled(chart, finding or _finding(groups), sub + left_out, text, _numbers(groups))


def last(groups: Mapping[tuple, list]) -> dict[tuple, list]:
    """Of each size and label the group of the most edits."""
    most: dict[tuple, int] = {}
    for size, label, edited in groups:
        most[size, label] = max(edited, most.get((size, label), 0))
    return {key: same for key, same in groups.items() if most[key[:2]] == key[2]}


def _finding(groups: Mapping[tuple, list]) -> str:
    ends, best = last(groups), []
    for size in sorted({key[0] for key in ends}):
        means = {key: mean(row["A_mean"] for row in same).value for key, same in ends.items() if key[0] == size}
        top = max(means, key=means.get)
        best.append(f"{top[1]} ({pct(means[top])} after {top[2]:,} facts, {size} at a time)")
    return f"Highest Ā at the end: {'; '.join(best)}"


def _numbers(groups: Mapping[tuple, list]) -> list[dict]:
    rows = []
    for (size, label, edited), same in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1], item[0][2])):
        row = {"at a time": size, "held by": label, "edited": edited}
        for metric, title in RATES.items():
            row |= percent_columns(around(each[metric] for each in same), title)
        row |= {f"‖θ − θ₀‖ {name}": f"{mean(each[field] for each in same).value:.3g}" for name, field in NORMS.items()}
        rows.append(row | {"seeds": len(same)})
    return rows


NORMS = {"ℓ2": "l2", "ℓ∞": "linf"}
