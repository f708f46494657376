"""A chart of what a FaE retrieved. altair is imported where it is used."""

from __future__ import annotations

from .models.fae import Explanation


def retrieval_chart(explanation: Explanation):
    """The weights of the retrieved facts, with the answer with and without them in the title (an altair chart)."""
    import altair as alt

    (best, p), (alone, q) = explanation.answers[0], explanation.without_facts[0]
    title = alt.TitleParams(
        f"{best} ({100 * p:.0f} %) with the fact memory, {alone} ({100 * q:.0f} %) without",
        subtitle=f"{explanation.statement}   λ = {explanation.lam:.2f}; the {len(explanation.rows)} heaviest rows",
        anchor="start",
    )
    return (
        alt.Chart(explanation.frame(), title=title, width=480, height=alt.Step(24))
        .mark_bar()
        .encode(
            x=alt.X("weight:Q", title="weight", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%")),
            y=alt.Y("fact:N", title=None, sort=None, axis=alt.Axis(labelLimit=320)),
            tooltip=[alt.Tooltip("fact:N", title="fact"), alt.Tooltip("weight:Q", format=".1%")],
        )
    )
