"""What the lab shows, as HTML: every text is escaped here, every drawing has its words for those who do not see it."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..evaluation import Rate
from ..lab.measure import Moved, Ranked, Report
from ..lab.session import Step

INK = ("#0072B2", "#D55E00")  # told apart by the colour-blind, on light and dark
LARGEST_LINK = 16_000_000  # bytes of a file that goes into a page as a link of its own
STYLE = """<style>
.kmod-lab { font-family: system-ui, sans-serif; font-size: 13px; line-height: 1.45; overflow-wrap: break-word; }
.kmod-lab table { border-collapse: collapse; margin: 0 0 10px; width: 100%; table-layout: auto; }
.kmod-lab caption { text-align: left; font-weight: 600; padding: 4px 0; }
.kmod-lab th, .kmod-lab td { text-align: left !important; vertical-align: top; padding: 2px 8px 2px 0; }
.kmod-lab th { font-weight: 500; }
.kmod-lab thead th { font-weight: 600; border-bottom: 1px solid; }
.kmod-lab p { margin: 2px 0 6px; }
.kmod-lab pre { white-space: pre-wrap; font-size: 12px; margin: 0; }
.kmod-lab .kmod-bar { display: inline-block; height: 9px; background: #0072B2; }
.kmod-lab .kmod-quiet { opacity: .75; }
</style>"""


def on_a_page() -> bool:
    """Whether what is shown lands on a page of the book, where no widget lives: its build says so."""
    return os.environ.get("KMOD_CHARTS") == "book"


def block(*parts: str) -> str:
    return f'<div class="kmod-lab">{"".join(parts)}</div>'


def note(text: str, kind: str = "status") -> str:
    """A line that is read out when it changes: `kind` is "status", or "alert" for what went wrong."""
    mark = "⚠ " if kind == "alert" else ""
    return block(f'<p role="{kind}">{mark}{html.escape(text)}</p>')


def table(rows: Iterable[Sequence[str]], heads: Sequence[str], caption: str) -> str:
    """A table of plain texts; the first cell of a row is its heading. Cells that are `Html` stand as they are."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{_cell(first)}</th>{"".join(f"<td>{_cell(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


class Html(str):
    """Markup made here, of texts that are escaped."""


def _cell(value: str) -> str:
    return value if isinstance(value, Html) else html.escape(str(value))


def percent(p: float) -> str:
    return "<0.1\u00a0%" if 0 < p < 0.001 else f"{100 * p:.3g}\u00a0%"


def ranked(answers: Ranked, most: int = 5) -> str:
    return ", ".join(f"{text} {percent(p)}" for text, p in answers[:most])


def interval(rate: Rate | None) -> str:
    return "not asked" if rate is None else f"{rate} of {rate.statements:,} statements of {rate.facts:,} facts"


def answers(rows: list[tuple[str, str, Ranked]]) -> str:
    """(kind, statement, its best answers) as a table."""
    return table(
        [(statement, kind, ranked(best)) for kind, statement, best in rows],
        ("statement", "kind", "the model's five best answers"),
        "What the model answers now",
    )


def report(step: Step) -> str:
    """All that is known of an edit."""
    r = step.report
    if r is None:  # from a file, on facts that are not at hand
        return (
            f"<p>Edit {html.escape(step.name)} ({html.escape(step.how)}): not measured, for its facts are not here.</p>"
        )
    rows = [(line.statement, line.kind, _answer(line, 0), _answer(line, 1)) for line in r.lines]
    parts = [
        table(rows, ("statement", "kind", "before", "after"), f"Edit {step.name}  ({step.how})"),
        table(
            [
                ("new facts learnt", interval(r.learnt)),
                ("unmodified facts right, before", interval(r.kept_before)),
                ("unmodified facts right, after (A_F∖S)", interval(r.kept)),
                ("difference, in points", _difference(r.lost)),
            ],
            ("measure", "value with its 95 % interval"),
            "Learnt, and kept, on a sample of the facts",
        ),
        change_by_block(r.moved),
    ]
    for statement, before, after in r.retrieved:
        parts.append(retrieved(statement, before, after))
    return "".join(parts)


def _answer(line, at: int) -> Html:
    best = (line.before, line.after)[at]
    wrong = at == 1 and not line.right[1]
    verdict = ("✓ ", "✗ ")[wrong] if at else ""
    said = html.escape(f"{verdict}{ranked(best, 3)}")
    return Html(f"<b>{said}</b>" if wrong else said)


def _difference(rate: Rate | None) -> str:
    if rate is None:
        return "not asked"
    value, low, high = (f"{round(100 * x, 1) + 0.0:+.1f}" for x in (rate.value, rate.low, rate.high))
    return f"{value} [{low}, {high}]"


def change_by_block(moved: Sequence[Moved]) -> str:
    longest = max((m.l2 for m in moved), default=0) or 1

    def bar(m: Moved) -> Html:
        width = f"{70 * m.l2 / longest:.0f}px"
        return Html(f'<span class="kmod-bar" aria-hidden="true" style="width:{width}"></span> {m.l2:.3g}')

    rows = [(m.part, bar(m), f"{m.most:.3g}", f"{m.parameters:,}") for m in moved]
    return table(rows, ("part", "‖θ − θ₀‖₂", "largest |θ − θ₀|", "parameters"), "The change, part by part")


def retrieved(statement: str, before: Ranked, after: Ranked) -> str:
    names = dict.fromkeys(name for name, _ in (*after, *before))
    was, now = dict(before), dict(after)
    rows = [(name, *(percent(d[name]) if name in d else "–" for d in (was, now))) for name in names]
    return table(rows, ("fact", "weight before", "weight after"), f"Facts retrieved for “{statement}”")


def compare(a: Step, b: Step) -> str:
    """Two edits side by side."""

    def column(step: Step) -> list[str]:
        r: Report | None = step.report
        if r is None:
            return [step.how, *["not measured"] * 6]
        lines = [line for line in r.lines if line.kind in ("learnt from", "unseen phrasing")]
        near = [line for line in r.lines if line not in lines]
        return [
            step.how,
            interval(r.learnt),
            "; ".join(ranked(line.after, 1) for line in lines[:4]),
            interval(r.kept),
            _difference(r.lost),
            f"{sum(line.right[0] and not line.right[1] for line in near)} of {sum(line.right[0] for line in near)}",
            ", ".join(f"{m.part} {m.l2:.3g}" for m in r.moved),
        ]

    heads = (
        "how", "new facts learnt", "best answers after", "A_F∖S after", "difference, in points",
        "neighbours lost, of those known", "‖θ − θ₀‖₂ by part",
    )  # fmt: skip
    rows = zip(heads, column(a), column(b), strict=True)
    return table(rows, ("", a.name, b.name), "Two edits side by side")


def curve(loss: Sequence[float], recall: Sequence[float], steps: int) -> str:
    """The loss of the modified facts and the share answered, step by step, as a drawing that keeps its size."""
    width, height, left = 320, 84, 4
    top = max(loss, default=1.0) or 1.0

    def points(values: Sequence[float], most: float) -> str:
        last = max(steps - 1, 1)
        return " ".join(
            f"{left + (width - 2 * left) * i / last:.1f},{height - 6 - (height - 14) * max(v, 0) / most:.1f}"
            for i, v in enumerate(values)
        )

    said = f"step {len(loss)} of {steps}" + (f", loss {loss[-1]:.3g}" if loss else "")
    said += f", {100 * recall[-1]:.0f} % answered" if recall else ""
    lines = f'<polyline points="{points(loss, top)}" fill="none" stroke="{INK[0]}" stroke-width="2"/>'
    if recall:
        lines += (
            f'<polyline points="{points(recall, 1)}" fill="none" stroke="{INK[1]}" stroke-width="2" '
            'stroke-dasharray="4 3"/>'
        )
    return block(
        f'<svg role="img" aria-label="Training: {said}" viewBox="0 0 {width} {height}" width="100%" height="{height}" '
        f'preserveAspectRatio="none">{lines}</svg>'
        f'<p class="kmod-quiet">{said} (solid: loss; dashed: share answered)</p>'
    )


def link(path: Path) -> str:
    """A link that downloads the file, its bytes in the page; its place on disk alone, if it is large."""
    name, size = html.escape(path.name), path.stat().st_size
    written = f"Written to {html.escape(str(path))} ({size / 1e3:,.0f} kB)."
    if size > LARGEST_LINK:
        return block(f"<p>{written}</p>")
    data = base64.b64encode(path.read_bytes()).decode()
    return block(
        f'<p>{written} <a download="{name}" href="data:application/octet-stream;base64,{data}">Download {name}</a></p>'
    )


def code(lines: str, about: str = "The recipe of the edit, as Python") -> str:
    return block(f'<pre tabindex="0" aria-label="{html.escape(about)}">{html.escape(lines)}</pre>')


def escape(text: str) -> str:
    return html.escape(str(text))


def page(what: str, *parts: str) -> str:
    """What stands on a static page in the place of a widget."""
    where = f"This page is still. Open the chapter in Jupyter or Colab, and {html.escape(what)} is live here."
    return STYLE + block(f"<p><em>{where}</em></p>", *parts)
