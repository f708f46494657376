"""All claims at a glance: a row for each part of each claim, its effect beside the bound that it should pass."""

from collections.abc import Iterable

import altair as alt

from ..experiments.ledger import Part, Verdict
from .page import titled
from .theme import PADDING, PALETTE, key, scale

SAID = {"✓": "as claimed", "✗": "against the claim", "?": "cannot tell yet"}
COLORS, SHAPES = (PALETTE[2], PALETTE[1], PALETTE[6]), ("circle", "cross", "diamond")
ROW = 28  # pixels: a line of text, and the effect below it


def forest(verdicts: Iterable[Verdict], finding: str | None = None) -> alt.LayerChart:
    """Draw every measured part of the verdicts, in points beyond its bound: right of 0 is the claim's side.

    Whiskers are 95 % intervals over seeds. Parts without two seeds have none and are left out, as the subtitle says.
    Raises ValueError where no part has any.
    """
    verdicts = list(verdicts)
    every = [(verdict, part) for verdict in verdicts for part in verdict.parts]
    drawn = [_row(verdict, part) for verdict, part in every if part.effect.n > 1]
    if not drawn:
        raise ValueError("no claim has two seeds yet; run the suites first: python -m kmod run all")
    y = alt.Y("part:N", title=None, sort=[row["part"] for row in drawn], axis=None)  # its text stands above each row
    legend = key(list(SAID.values()))
    color = alt.Color("said:N", title=None, scale=scale(SAID.values(), COLORS), legend=legend)
    shape = alt.Shape("said:N", title=None, scale=scale(SAID.values(), SHAPES), legend=legend)
    x = alt.X("beyond:Q", title="points beyond the bound, on the claim's side", axis=alt.Axis(format="+d", grid=False))
    tips = [alt.Tooltip(f"{name}:N", title=name) for name in ("claim", "part", "effect", "asked", "seeds")]
    base = alt.Chart(alt.Data(values=drawn))
    bound = alt.Chart(alt.Data(values=[{"at": 0}])).mark_rule(strokeDash=[4, 3], opacity=0.7).encode(x="at:Q")
    whiskers = base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(x="low:Q", x2="high:Q", y=y, color=color)
    dots = base.mark_point(filled=True, size=60).encode(x=x, y=y, color=color, shape=shape, tooltip=tips)
    names = base.mark_text(align="left", dy=-11, fontSize=11).encode(x=alt.value(0), y=y, text="part:N")
    chart = alt.layer(bound, whiskers, dots, names).properties(
        width="container", height=ROW * len(drawn), padding=PADDING
    )
    left = len(every) - len(drawn)
    sub = "An effect passes if its whole 95 % interval over seeds lies right of the dashed bound"
    sub += f". Left out: {left} parts with fewer than two seeds" * bool(left)
    counts = {said: sum(row["said"] == said for row in drawn) for said in SAID.values()}
    said = ", ".join(f"{n} {name}" for name, n in counts.items())
    text = f"{len(drawn)} effects beside their bounds: {said}. The folded table has each."
    numbers = [{name: row[name] for name in ("claim", "part", "said", "effect", "asked", "seeds")} for row in drawn]
    return titled(chart, finding or f"Of {len(drawn)} effects that the claims stand on, {said}", sub, text, numbers)


def _row(verdict: Verdict, part: Part) -> dict:
    sign = -1 if part.below else 1
    ends = sorted(100 * sign * (end - part.margin) for end in (part.effect.low, part.effect.high))
    return {
        "claim": f"{verdict.claim}: {verdict.text}",
        "part": f"{verdict.claim} · {part.what}",
        "said": SAID[part.mark],
        "beyond": 100 * sign * (part.effect.value - part.margin),
        "low": ends[0],
        "high": ends[1],
        "effect": part.short,
        "asked": part.asked,
        "seeds": part.effect.n,
    }
