"""Editors at equal care: what each learns and keeps, and how much hangs on the learning rate."""

from collections.abc import Mapping

import altair as alt

from ..experiments.equal_care import Compared
from ..experiments.statistics import difference
from .page import titled
from .runs import RATES, around, spread
from .theme import PADDING, color_and_shape, key, percent, tips
from .words import pct, percent_columns, points, to

EMPTY = "no editor has the records of all its settings; run the suite first: python -m kmod run methods"
TRAINED = ("FTM", "FTA", "FTM in ℓ∞", "FTM in ℓ2", "KL", "low-curvature")
"""Of the editors that train whole matrices, those that `over_rates` draws: six lines can be told apart."""


def editors(found: Mapping[str, Compared], finding: str | None = None) -> alt.LayerChart:
    """Draw Ā, A_M and A_F∖S of each editor (`kmod.experiments.equal_care.compare`), the best by Ā at the top, with
    intervals over seeds as whiskers. Raises ValueError for no editors."""
    if not found:
        raise ValueError(EMPTY)
    order = sorted(found, key=lambda name: -around(found[name].values("A_mean").values()).value)
    drawn = [
        {"editor": name, "metric": title} | spread(around(found[name].values(metric).values()))
        for name in order
        for metric, title in RATES.items()
    ]
    color, shape = color_and_shape("metric", list(RATES.values()), key(list(RATES.values())))
    y = alt.Y("editor:N", title=None, sort=order, axis=alt.Axis(labelLimit=0))
    offset = alt.YOffset("metric:N", sort=list(RATES.values()))
    x, low = percent(alt.X, "mean", "accuracy", None), percent(alt.X, "low", "accuracy", None)
    base = alt.Chart(alt.Data(values=drawn))
    whiskers = base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(x=low, x2="high:Q", y=y, yOffset=offset, color=color)
    dots = base.mark_point(filled=True, size=70).encode(
        x=x, y=y, yOffset=offset, color=color, shape=shape, tooltip=tips({"editor": "editor", "metric": "accuracy"})
    )
    chart = alt.layer(whiskers, dots).properties(width="container", height=34 * len(found), padding=PADDING)
    text = "Accuracies of each editor. Mean accuracy Ā: "
    text += " ".join(f"{p['editor']}: {pct(p['mean'])}." for p in drawn if p["metric"] == RATES["A_mean"])
    return titled(chart, finding or _first(found, order), _sub(found), text, _numbers(found, order))


def over_rates(found: Mapping[str, Compared], finding: str | None = None) -> alt.LayerChart:
    """Draw Ā over the learning rate of the editors that train whole matrices, each with the best of its other dial at
    every rate. Raises ValueError if none of `TRAINED` is found."""
    lines = {name: found[name].over_rates() for name in TRAINED if name in found}
    if not lines:
        raise ValueError(EMPTY)
    drawn = [
        {"editor": name, "lr": lr} | spread(around(values.values()))
        for name, rates in lines.items()
        for lr, values in rates.items()
    ]
    color, shape = color_and_shape("editor", list(lines), key(list(lines)))
    ticks = alt.Axis(values=sorted({point["lr"] for point in drawn}), format="~e", grid=False)
    x = alt.X("lr:Q", title="learning rate", scale=alt.Scale(type="log"), axis=ticks)
    base = alt.Chart(alt.Data(values=drawn)).encode(x=x, color=color)
    y = percent(alt.Y, "mean", RATES["A_mean"], None)
    line = base.mark_line(strokeWidth=2).encode(y=y)
    whiskers = base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(
        y=percent(alt.Y, "low", RATES["A_mean"], None), y2="high:Q"
    )
    dots = base.mark_point(filled=True, size=70).encode(
        y=y, shape=shape, tooltip=tips({"editor": "editor", "lr": "learning rate"})
    )
    chart = alt.layer(line, whiskers, dots).properties(width="container", height=320, padding=PADDING)
    lost = {name: around(found[name].rate_off().values(), rate=False) for name in lines}
    firm, soft = (pick(lost, key=lambda name: lost[name].value) for pick in (min, max))
    least, most = points(lost[firm].value), points(lost[soft].value)
    title = finding or f"A learning rate three times off costs {firm} {least} of Ā, and {soft} {most}"
    text = "Mean accuracy over the learning rate. Lost at a rate three times off: "
    text += " ".join(f"{name}: {points(value.value)}." for name, value in lost.items())
    rows = [
        {"editor": p["editor"], "learning rate": f"{p['lr']:g}", "n": p["n"]}
        | percent_columns(around(lines[p["editor"]][p["lr"]].values()), RATES["A_mean"])
        for p in drawn
    ]
    return titled(chart, title, _sub({name: found[name] for name in lines}), text, rows)


def _sub(found: Mapping[str, Compared]) -> str:
    one = next(iter(next(iter(found.values())).cells))
    seeds = to([editor.seeds for editor in found.values()])
    return (
        f"{one.model} on {one.facts}, |M| = {one.n}, means of n = {seeds} seeds, each with a training of its own and "
        "the setting that is best on the others. Whiskers are 95 % t-intervals over the seeds"
    )


def _first(found: Mapping[str, Compared], order: list[str]) -> str:
    """The best editor, and how many of the others it is surely ahead of."""
    best, *others = order
    ahead = [difference(found[best].values("A_mean"), found[name].values("A_mean")) for name in others]
    sure = sum(step.n > 1 and step.low > 0 for step in ahead)
    if not others:
        return f"{best} is the only editor with records"
    if not sure:
        return f"{best} has the best Ā, but is surely ahead of none of the other {len(others)}"
    return f"{best} has the best Ā, and is surely ahead of {sure} of the other {len(others)} editors"


def _numbers(found: Mapping[str, Compared], order: list[str]) -> list[dict]:
    rows = []
    for name in order:
        row = {"editor": name}
        for metric, title in RATES.items():
            row |= percent_columns(around(found[name].values(metric).values()), title)
        rows.append(row | {"chosen": found[name].chosen, "of": len(found[name].cells), "seeds": found[name].seeds})
    return rows
