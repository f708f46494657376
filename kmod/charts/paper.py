"""The paper's numbers beside ours."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import altair as alt

from ..checks import brief, native
from .page import titled
from .runs import Mean, around, is_finite
from .theme import PADDING, PALETTE, below, color_and_shape, percent, tips
from .words import capital, from_to, pct, to


def paper_and_ours(rows: Iterable[Mapping], note: str = "", finding: str | None = None) -> alt.LayerChart:
    """Draw a line for each number of the paper, with ours beside it and our interval over seeds.

    Args:
        rows: such as {"what": "block 0, A_M", "paper": 0.7125, "tag": "recalled", "ours": [0.95, 0.97, …]}. Numbers are
            fractions; `ours` has one for each seed, `paper` may be None. Those that are not finite are left out, which
            the subtitle says. The tag is "sure", or "recalled" for a number that was not checked against the paper's
            text, which is then said in the chart.
        note: what differs, such as the model and the facts; for the subtitle.
        finding: title; by default what the rows show.

    Raises ValueError for no rows, a row that lacks a key, a fraction out of range, or an unknown tag.
    """
    rows, left_out = _checked(rows)
    names, drawn = [row["what"] for row in rows], []
    for row in rows:
        ours = around(row["ours"])
        point = {"what": row["what"], "ours": ours.value, "low": ours.low, "high": ours.high, "n": ours.n}
        if row["paper"] is not None:
            mark = " (recalled)" if row["tag"] == "recalled" else ""
            point |= {"paper": row["paper"], "paper_text": f"{pct(row['paper'])}{mark}"}
        drawn.append(point)
    base = alt.Chart(alt.Data(values=drawn))
    both = base.transform_filter("isValid(datum.paper)")
    y = alt.Y("what:N", sort=names, title=None, scale=alt.Scale(domain=names), axis=None)
    ours, low, paper = (percent(alt.X, name, "accuracy") for name in ("ours", "low", "paper"))
    kinds = {"ours, mean and interval": "circle", "the paper's number": "diamond"}
    legend = below(alt.expr("width < 420 ? 1 : 2"))
    color, shape = color_and_shape("kind", list(kinds), legend, shapes=list(kinds.values()))
    tooltip = [*tips({"what": "what"}, {"ours": "ours"}), alt.Tooltip("paper_text:N", title="paper")]
    middle = alt.expr("datum.paper < 0.12 ? 'left' : datum.paper > 0.88 ? 'right' : 'center'")
    first, second = ("'" + kind.replace("'", r"\'") + "'" for kind in kinds)
    dots = base.transform_calculate(kind=first).mark_point(filled=True, size=90, opacity=1)
    diamonds = both.transform_calculate(kind=second).mark_point(filled=True, size=110, opacity=1)
    layers = [
        both.mark_rule(opacity=0.4, strokeDash=[2, 3]).encode(x=ours, x2="paper:Q", y=y),
        base.mark_rule(strokeWidth=4, opacity=0.45, color=PALETTE[0]).encode(x=low, x2="high:Q", y=y),
        dots.encode(x=ours, y=y, color=color, shape=shape, tooltip=tooltip),
        base.mark_text(align="left", dy=-18, fontWeight=600).encode(x=alt.value(0), y=y, text="what:N"),
    ]
    if any("paper" in row for row in drawn):
        layers += [
            diamonds.encode(x=paper, y=y, color=color, shape=shape, tooltip=tooltip),
            both.mark_text(dy=18, fontSize=11, align=middle).encode(x=paper, y=y, text="paper_text:N"),
        ]
    chart = alt.layer(*layers).properties(width="container", height=62 * len(names), padding=PADDING)
    return titled(
        chart, finding or _finding(rows), _subtitle(rows, note) + left_out, _description(rows), _numbers(rows)
    )


def _checked(rows: Iterable[Mapping]) -> tuple[list[Mapping], str]:
    """The rows with Python's numbers, the finite ones, and what was left out, for the subtitle."""
    rows, gaps, kept = [native(row) for row in rows], 0, []
    if not rows:
        raise ValueError("no rows to draw")
    for i, row in enumerate(rows):
        missing = [key for key in ("what", "paper", "tag", "ours") if key not in row]
        if missing:
            raise ValueError(brief(f"row {i} lacks {', '.join(missing)}"))
        if row["paper"] is not None and row["tag"] not in ("sure", "recalled"):
            raise ValueError(
                brief(f"row {i}: tag is {row['tag']!r}; known: sure, recalled. A weaker number has paper=None")
            )
        if not row["ours"]:
            raise ValueError(f"row {i} ({row['what']}) has no value of ours; run it first, or leave the row out")
        ours = [value for value in row["ours"] if is_finite(value)]
        paper = row["paper"] if is_finite(row["paper"]) else None
        gaps += len(row["ours"]) - len(ours) + (row["paper"] is not None and paper is None)
        for value in (*ours, *([] if paper is None else [paper])):
            if not 0 <= value <= 1:
                raise ValueError(brief(f"row {i}: {value!r} is not a fraction between 0 and 1"))
        if ours:
            kept.append(row | {"ours": ours, "paper": paper})
    if len({row["what"] for row in rows}) < len(rows):
        raise ValueError("two rows have the same `what`")
    if not kept:
        raise ValueError("no row has a finite value of ours; run it first")
    parts = [f"{gaps} numbers that are not finite"] * bool(gaps)
    parts += [f"{len(rows) - len(kept)} rows without a finite number of ours"] * (len(kept) < len(rows))
    return kept, f". Left out: {', '.join(parts)}" * bool(parts)


def _side(ours: Mean, paper: float) -> str:
    """Where our interval lies: "above" or "below" the paper's number, or "undecided"."""
    if ours.n < 2 or ours.low <= paper <= ours.high:
        return "undecided"
    return "above" if ours.low > paper else "below"


def _finding(rows: Sequence[Mapping]) -> str:
    known = [row for row in rows if row["paper"] is not None]
    sides = [_side(around(row["ours"]), row["paper"]) for row in known]
    if not known:
        return "No number of the paper is known to compare with"
    if len(known) == 1:
        (row,), (side,) = known, sides
        both = f"{row['what']}: ours {pct(fmean(row['ours']))}, the paper's {pct(row['paper'])}"
        return f"{both}; undecided which is higher" if side == "undecided" else f"{both}; ours is {side}"
    counts = [f"{sides.count(side)} {side}" for side in ("above", "below", "undecided") if side in sides]
    return f"Of {len(known)} numbers of the paper, ours are: {', '.join(counts)}"


def _subtitle(rows: Sequence[Mapping], note: str) -> str:
    counts = {len(row["ours"]) for row in rows}
    recalled = sum(row["paper"] is not None and row["tag"] == "recalled" for row in rows)
    unknown = sum(row["paper"] is None for row in rows)
    runs = f"Ours: means of n = {to(counts)} seeds; bars are 95 % t-intervals over the seeds"
    sentences = [note, "Ours: one seed each, so no intervals" if counts == {1} else runs]
    sentences += [f"{recalled} of the paper's numbers are recalled, not checked against its text"] * bool(recalled)
    sentences += [f"of {unknown} the paper's number is not known"] * bool(unknown)
    return ". ".join(map(capital, filter(None, sentences)))


def _text(row: Mapping) -> str:
    if row["paper"] is None:
        return "not known"
    return f"{100 * row['paper']:.1f}" + " (recalled)" * (row["tag"] == "recalled")


def _description(rows: Sequence[Mapping]) -> str:
    text = "Accuracies of the paper beside ours, in percent."
    for row in rows:
        text += f" {row['what']}: ours {pct(fmean(row['ours']))}, paper {_text(row)}."
    return text


def _numbers(rows: Sequence[Mapping]) -> list[dict]:
    table = []
    for row in rows:
        ours = around(row["ours"])
        cells = {"what": row["what"], "paper, %": _text(row), "ours, %": f"{100 * ours.value:.1f}"}
        side = None if row["paper"] is None else _side(ours, row["paper"])
        table.append(cells | {"95 % interval": from_to(vars(ours)), "seeds": ours.n, "ours is": side})
    return table
