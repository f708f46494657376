"""A chart of training: loss over tokens."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from .charts import PALETTE, titled


def learning_curve(
    losses: Sequence[float], tokens_a_step: int, validation: float, chance: float, *, smooth: int = 50
) -> alt.LayerChart:
    """The loss of a pretraining run over the tokens read, with the loss on unseen text at its end.

    Args:
        losses: nats a masked token, one a step.
        validation: the same on unseen text, at the end.
        chance: that of answering every mask with the frequencies of the words alone.
        smooth: steps that a drawn point is the mean of.

    Raises ValueError for fewer than two points to draw.
    """
    if len(losses) < 2 * smooth:
        raise ValueError(f"{len(losses)} steps are too few to draw in means of {smooth}")
    rows = [
        {"tokens": (i + smooth / 2) * tokens_a_step / 1e6, "loss": sum(losses[i : i + smooth]) / smooth}
        for i in range(0, len(losses) - smooth + 1, smooth)
    ]
    lines = [
        {"loss": chance, "what": f"word frequencies alone: {chance:.2f}"},
        {"loss": validation, "what": f"unseen text, at the end: {validation:.2f}"},
    ]
    y = alt.Y("loss:Q", title="loss, nats a masked token", scale=alt.Scale(zero=False))
    curve = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(color=PALETTE[0])
        .encode(
            x=alt.X("tokens:Q", title="tokens read, millions"),
            y=y,
            tooltip=[alt.Tooltip("tokens:Q", format=".1f"), alt.Tooltip("loss:Q", format=".2f")],
        )
    )
    rules = alt.Chart(alt.Data(values=lines)).mark_rule(strokeDash=[4, 3], color="currentColor").encode(y=y)
    labels = (
        alt.Chart(alt.Data(values=lines))
        .mark_text(align="right", baseline="bottom", dy=-3, color="currentColor")
        .encode(y=y, x=alt.value("width"), text="what:N")
    )
    total = len(losses) * tokens_a_step / 1e6
    return titled(
        (curve + rules + labels).properties(width="container", height=260),
        f"Over {total:.0f} million tokens the loss falls from {rows[0]['loss']:.1f} to {rows[-1]['loss']:.1f}",
        f"One run; each point is the mean of {smooth} steps",
        f"Line chart of the pretraining loss: from {rows[0]['loss']:.2f} to {rows[-1]['loss']:.2f} nats over "
        f"{total:.0f} million tokens; {validation:.2f} on unseen text; {chance:.2f} by word frequencies alone.",
    )
