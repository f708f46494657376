"""The ladder from one way of fine-tuning to another: a row for each rung, a mark for each accuracy."""

from collections.abc import Mapping

import altair as alt

from ..experiments.ladder import Climbed, gain
from ..experiments.statistics import Mean
from .page import titled
from .runs import RATES, around, spread
from .theme import PADDING, color_and_shape, key, percent, tips
from .words import pct, percent_columns, points, to


def ladder(found: Mapping[str, Climbed], finding: str | None = None) -> alt.LayerChart:
    """Draw Ā, A_M and A_F∖S of each rung (`kmod.experiments.ladder.climb`), the first one at the top, with intervals
    over seeds as whiskers. Raises ValueError for no rungs."""
    if not found:
        raise ValueError("no rung of the ladder has records; run the suite first: python -m kmod run ladder")
    drawn = [
        {"rung": name, "metric": title} | spread(around(rung.values[metric].values()))
        for name, rung in found.items()
        for metric, title in RATES.items()
    ]
    color, shape = color_and_shape("metric", list(RATES.values()), key(list(RATES.values())))
    y = alt.Y("rung:N", title=None, sort=list(found), axis=alt.Axis(labelLimit=0))
    offset = alt.YOffset("metric:N", sort=list(RATES.values()))
    x, low = percent(alt.X, "mean", "accuracy", None), percent(alt.X, "low", "accuracy", None)
    base = alt.Chart(alt.Data(values=drawn))
    whiskers = base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(x=low, x2="high:Q", y=y, yOffset=offset, color=color)
    dots = base.mark_point(filled=True, size=70).encode(
        x=x, y=y, yOffset=offset, color=color, shape=shape, tooltip=tips({"rung": "rung", "metric": "accuracy"})
    )
    chart = alt.layer(whiskers, dots).properties(width="container", height=36 * len(found), padding=PADDING)
    seeds = to([rung.seeds for rung in found.values()])
    model = next(iter(found.values())).rung.settings[0]
    sub = (
        f"{model.model} on {model.facts}, |M| = {model.n}, means of n = {seeds} seeds, each with a training of its own "
        "and the setting that is best on the others. Whiskers are 95 % t-intervals over the seeds"
    )
    text = "Accuracies of each rung of the ladder. Mean accuracy Ā: "
    text += " ".join(f"{p['rung']}: {pct(p['mean'])}." for p in drawn if p["metric"] == RATES["A_mean"])
    return titled(chart, finding or _finding(found), sub, text, _numbers(found))


def gains(found: Mapping[str, Climbed]) -> dict[str, Mean]:
    """Rung → the gain in Ā over the rung that it stands on, of those that have one."""
    every = {name: gain(found, name) for name in found}
    return {name: step for name, step in every.items() if step.n}


def _finding(found: Mapping[str, Climbed]) -> str:
    steps = gains(found)
    sure = {name: step for name, step in steps.items() if step.n > 1 and step.low > 0}
    if not sure:
        return "No step of the ladder is sure yet: every interval of a gain in Ā holds 0"
    top = max(sure, key=lambda name: sure[name].value)
    return f"The largest sure step is “{top}”: {points(sure[top].value)} of Ā over “{found[top].rung.on}”"


def _numbers(found: Mapping[str, Climbed]) -> list[dict]:
    steps, rows = gains(found), []
    for name, rung in found.items():
        row = {"rung": name, "adds": rung.rung.adds or "–", "to": rung.rung.on or "–"}
        for metric, title in RATES.items():
            row |= percent_columns(around(rung.values[metric].values()), title)
        row["gain in Ā"] = steps[name].points() if name in steps else "–"
        rows.append(row | {"chosen": rung.chosen, "of": len(rung.rung.settings), "seeds": rung.seeds})
    return rows
