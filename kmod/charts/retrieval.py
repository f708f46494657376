"""What a FaE retrieved from its fact memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from .page import titled
from .theme import PADDING

if TYPE_CHECKING:  # transformers' model code takes seconds to import
    from ..fae import Explanation


def retrieval_chart(explanation: Explanation) -> alt.Chart:
    """Draw the weights of the retrieved facts; the title gives the answers with and without them."""
    (best, p), (alone, q) = explanation.answers[0], explanation.without_facts[0]
    drawn = explanation.frame().to_dict("records")
    bar = alt.Chart(alt.Data(values=drawn), width="container", height=alt.Step(24), padding=PADDING).mark_bar()
    limit = alt.Axis(labelLimit=alt.expr("width < 260 ? 190 : 320"))
    chart = bar.encode(
        x=alt.X("weight:Q", title="weight", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%")),
        y=alt.Y("fact:N", title=None, sort=None, axis=limit),
        tooltip=[alt.Tooltip("fact:N", title="fact"), alt.Tooltip("weight:Q", format=".1%")],
    )
    finding = f"{best} ({100 * p:.0f} %) with the fact memory, {alone} ({100 * q:.0f} %) without"
    sub = f"{explanation.statement}   λ = {explanation.lam:.2f}; the {len(drawn)} heaviest rows"
    sentences = " ".join(f"{row['fact']}: {100 * row['weight']:.1f} %." for row in drawn)
    numbers = [{"fact": row["fact"], "weight, %": f"{100 * row['weight']:.1f}"} for row in drawn]
    return titled(chart, finding, sub, f"Weights of the facts retrieved. {sentences}", numbers)
