"""What a FaE retrieved from its fact memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from ..checks import native
from .page import titled
from .runs import complete, is_finite
from .theme import PADDING

if TYPE_CHECKING:  # transformers' model code takes seconds to import
    from ..fae import Explanation


def retrieval_chart(explanation: Explanation) -> alt.Chart:
    """Draw the weights of the retrieved facts; the title gives the answers with and without them.

    Raises ValueError if no row has a finite weight."""
    (best, p), (alone, q) = explanation.answers[0], explanation.without_facts[0]
    drawn, left_out = complete(explanation.frame().to_dict("records"), ("weight",))
    bar = alt.Chart(alt.Data(values=drawn), width="container", height=alt.Step(24), padding=PADDING).mark_bar()
    limit = alt.Axis(labelLimit=alt.expr("width < 260 ? 190 : 320"))
    chart = bar.encode(
        x=alt.X("weight:Q", title="weight", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%")),
        y=alt.Y("fact:N", title=None, sort=None, axis=limit),
        tooltip=[alt.Tooltip("fact:N", title="fact"), alt.Tooltip("weight:Q", format=".1%")],
    )
    finding = f"{best} ({_text(p)} %) with the fact memory, {alone} ({_text(q)} %) without"
    sub = f"{explanation.statement}   λ = {_text(explanation.lam, 1, 2)}; the {len(drawn)} heaviest rows{left_out}"
    sentences = " ".join(f"{row['fact']}: {100 * row['weight']:.1f} %." for row in drawn)
    numbers = [{"fact": row["fact"], "weight, %": f"{100 * row['weight']:.1f}"} for row in drawn]
    return titled(chart, finding, sub, f"Weights of the facts retrieved. {sentences}", numbers)


def _text(value: float, times: int = 100, digits: int = 0) -> str:
    """A number in a title; a dash for one that is not finite."""
    value = native(value)
    return f"{times * value:.{digits}f}" if is_finite(value) else "–"
