"""What the lab shows, as HTML: all text is escaped here, and every drawing has a description for screen readers."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Sequence
from pathlib import Path

from ..checks import is_number
from ..evaluation import Rate
from ..html import Html, escape, table
from ..lab.broken import Broken
from ..lab.index import FactIndex
from ..lab.measure import PartChange, Ranked, Report, Retrieval
from ..lab.session import Step

INK = ("#0072B2", "#D55E00")  # distinct for the colour-blind, on light and dark
LARGEST_LINK = 16_000_000  # bytes; a larger file is not embedded in its link
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
.kmod-lab .kmod-share { display: block; height: 4px; margin-top: 2px; background: #0072B2; }
.kmod-lab .kmod-share.kmod-bad { background: #D55E00; }
.kmod-lab .kmod-verdict { border-left: 5px solid; padding: 3px 9px; font-weight: 600; margin: 2px 0; }
.kmod-lab .kmod-learnt { border-color: #009E73; }
.kmod-lab .kmod-partly { border-color: #E69F00; }
.kmod-lab .kmod-missed { border-color: #D55E00; }
.kmod-lab ul { margin: 2px 0 6px; padding-left: 18px; }
.kmod-lab summary { cursor: pointer; margin: 4px 0; }
.kmod-lab small { display: block; opacity: .75; font-size: 11px; }
.kmod-lab small.kmod-when { display: none; }
.kmod-lab { container-type: inline-size; }
@container (max-width: 440px) {
  .kmod-lab .kmod-answers thead { display: none; }
  .kmod-lab .kmod-answers tr { display: grid; grid-template-columns: 1fr 1fr; padding-bottom: 6px; }
  .kmod-lab .kmod-answers tbody th { grid-column: 1 / -1; }
  .kmod-lab .kmod-answers td:nth-child(2):last-child { grid-column: 1 / -1; }
  .kmod-lab .kmod-answers small.kmod-when { display: inline; margin-right: 5px; }
}
</style>"""


def on_a_page() -> bool:
    """Whether the output is for a static page of the book, where widgets do not work."""
    return os.environ.get("KMOD_CHARTS") == "book"


def block(*parts: str) -> str:
    return f'<div class="kmod-lab">{"".join(parts)}</div>'


def note(text: str, kind: str = "status") -> str:
    """A line that screen readers read when it changes: `kind` is "status", or "alert" for an error."""
    mark = "⚠ " if kind == "alert" else ""
    return block(f'<p role="{kind}">{mark}{escape(text)}</p>')


def is_finite(value: object) -> bool:
    """Whether it is a number that can be shown; NaN, an infinity and None are not."""
    return is_number(value) and math.isfinite(value)


def number(value: float, form: str = ".3g") -> str:
    """A number as text; a dash for one that is not finite."""
    return f"{value:{form}}" if is_finite(value) else "–"


def percent(p: float) -> str:
    if not is_finite(p):
        return "–"
    return "<0.1\u00a0%" if 0 < p < 0.001 else f"{100 * p:.3g}\u00a0%"


def ranked(answers: Ranked, most: int = 5) -> str:
    return ", ".join(f"{text} {percent(p)}" for text, p in answers[:most])


def interval(rate: Rate | None) -> str:
    if rate is None:
        return "not asked"
    share = str(rate) if all(map(is_finite, (rate.value, rate.low, rate.high))) else "–"
    return f"{share} of {rate.statements:,} statements of {rate.facts:,} facts"


LISTED = 12  # broken facts that are listed before the rest is folded


def verdict(step: Step, broken: Broken | None = None) -> str:
    """Whether the edit was learnt, and how many other facts it broke, in one line that screen readers read."""
    r = step.report
    if r is None:
        return block(
            f'<p class="kmod-verdict" role="status">Edit {step.number} is not measured: its facts are others.</p>'
        )
    asked, value = r.learnt.statements, r.learnt.value
    right = round(value * asked) if is_finite(value) else 0
    if right == asked:
        mark, kind = "✓ learnt", "learnt"
    else:
        mark, kind = ("◐ partly learnt", "partly") if right else ("✗ not learnt", "missed")
    of = f"{right:,} of {asked:,} {r.asked}{'s' * (asked > 1)}"
    if r.learnt.facts > 1:
        of += f" of {r.learnt.facts:,} facts"
    if broken is None:
        rest = "asking the other facts …"
    else:
        so_far = "" if broken.done else f" so far ({broken.asked:,} of {broken.all:,} asked)"
        rest = f"{len(broken.facts):,} of {broken.known:,} other facts broke{so_far}"
    return block(f'<p class="kmod-verdict kmod-{kind}" role="status">{mark}, {of}; {rest}</p>')


def broken_facts(broken: Broken, index: FactIndex) -> str:
    """What an edit broke, fact by fact, and what became of the edits below it."""
    parts, items = [], []
    for step, right, asked in broken.edits:
        mark = "✓" if right == asked else "✗"
        parts.append(f"<p>{mark} Edit {escape(step.name)}: {right:,} of {asked:,} still answered.</p>")
    if broken.before:
        parts.append(f"<p>Earlier edits had broken {broken.before:,} more, which still are.</p>")
    for i, wrong in broken.facts:
        fact = index.facts[i]
        answer = f" → {escape(wrong)}" if wrong else ""
        items.append(f"<li>{escape(fact.subject)}, {escape(index.label(fact.relation))}{answer}</li>")
    if not items:
        parts.append("<p>No other fact broke.</p>" if broken.done else "<p>Nothing so far.</p>")
    if items:
        parts.append(f"<ul>{''.join(items[:LISTED])}</ul>")
    if more := items[LISTED:]:
        parts.append(f"<details><summary>{len(more):,} more</summary><ul>{''.join(more)}</ul></details>")
    return "".join(parts)


def report(step: Step) -> str:
    """All that was measured of an edit: the answers first, the rest folded."""
    r = step.report
    if r is None:
        text = f"Edit {step.name} ({step.how}): not measured, because its facts are not those of the lab."
        return f"<p>{escape(text)}</p>"
    accuracy = [
        ("new facts learnt", interval(r.learnt)),
        ("unmodified facts right, before", interval(r.kept_before)),
        ("unmodified facts right, after (A_F∖S)", interval(r.kept)),
        ("difference, in points", _difference(r.lost)),
    ]
    tables = [
        table(accuracy, ("measure", "value with its 95 % interval"), "Learnt, and kept, on a sample of the facts"),
        change_by_part(r.moved),
    ]
    folded = "".join([*tables, *map(retrieved, r.retrieved)])
    return f"{_answers(step, r)}<details><summary>Accuracies, and which parts moved</summary>{folded}</details>"


def _answers(step: Step, report: Report) -> str:
    """The best answers before and after an edit, marked right or wrong, with bars."""
    lines = [
        (
            _asked(line.statement, line.kind),
            _cell(line.before, line.right[0], "before"),
            _cell(line.after, line.right[1], "after"),
        )
        for line in report.lines
    ]
    return _stacking(lines, ("statement", "before", "after"), f"Edit {step.name} ({step.how})")


def now(rows: Sequence[tuple[str, str, Ranked]]) -> str:
    """(statement, kind, the model's best answers): what it answers now."""
    lines = [
        (_asked(statement, kind), Html(escape(ranked(best, 3)) + _share(best, True))) for statement, kind, best in rows
    ]
    return _stacking(lines, ("statement", "its best answers"), "What the model answers now")


def _asked(statement: str, kind: str) -> Html:
    return Html(f"{escape(statement)}<small>{escape(kind)}</small>")


def _stacking(rows: Sequence[Sequence], heads: Sequence[str], caption: str) -> str:
    """A table whose first column takes a line of its own where it is narrow."""
    return f'<div class="kmod-answers">{table(rows, heads, caption)}</div>'


def _cell(answers: Ranked, right: bool, when: str) -> Html:
    """The best answer, marked right or wrong, with a bar for its probability, and the next ones on hover."""
    best = escape(ranked(answers, 1))
    more = escape(ranked(answers[1:], 2))
    name = best if right else f"<b>✗ {best}</b>"
    title = f' title="then {more}"' if more else ""
    when = f'<small class="kmod-when">{when}</small>'
    return Html(f"{when}<span{title}>{'✓ ' * right}{name}</span>{_share(answers, right)}")


def _share(answers: Ranked, right: bool) -> str:
    p = answers[0][1] if answers else 0
    width = f"{100 * p:.0f}%" if is_finite(p) else "0"
    return f'<span class="kmod-share{"" if right else " kmod-bad"}" aria-hidden="true" style="width:{width}"></span>'


def _difference(rate: Rate | None) -> str:
    if rate is None:
        return "not asked"
    ends = (rate.value, rate.low, rate.high)
    if not all(map(is_finite, ends)):
        return "–"
    value, low, high = (f"{round(100 * x, 1) + 0.0:+.1f}" for x in ends)
    return f"{value} [{low}, {high}]"


def change_by_part(changes: Sequence[PartChange]) -> str:
    longest = max((change.l2 for change in changes if is_finite(change.l2)), default=0) or 1

    def bar(l2: float) -> Html:
        width = f"{70 * l2 / longest if is_finite(l2) else 0:.0f}px"
        return Html(f'<span class="kmod-bar" aria-hidden="true" style="width:{width}"></span> {number(l2)}')

    rows = [(c.part, bar(c.l2), number(c.largest), f"{c.parameters:,}") for c in changes]
    return table(rows, ("part", "‖θ − θ₀‖₂", "largest |θ − θ₀|", "parameters"), "The change, part by part")


def retrieved(retrieval: Retrieval) -> str:
    before, after = dict(retrieval.before), dict(retrieval.after)
    rows = [(fact, *(percent(w[fact]) if fact in w else None for w in (before, after))) for fact in after | before]
    return table(rows, ("fact", "weight before", "weight after"), f"Facts retrieved for “{retrieval.statement}”")


COMPARED = (
    "how", "new facts learnt", "best answers after", "A_F∖S after", "difference, in points",
    "neighbours lost, of those known", "‖θ − θ₀‖₂ by part",
)  # fmt: skip


def compare(a: Step, b: Step) -> str:
    """Two edits side by side."""

    def column(step: Step) -> list[str]:
        r = step.report
        if r is None:
            return [step.how, *["not measured"] * (len(COMPARED) - 1)]
        modified = [line for line in r.lines if line.kind in ("learnt from", "unseen phrasing")]
        known = [line for line in r.lines if line not in modified and line.right[0]]
        best = "; ".join(ranked(line.after, 1) for line in modified[:4])
        lost = f"{sum(not line.right[1] for line in known)} of {len(known)}"
        sizes = ", ".join(f"{change.part} {number(change.l2)}" for change in r.moved)
        return [step.how, interval(r.learnt), best, interval(r.kept), _difference(r.lost), lost, sizes]

    rows = zip(COMPARED, column(a), column(b), strict=True)
    return table(rows, ("", a.name, b.name), "Two edits side by side")


def curve(loss: Sequence[float], recall: Sequence[float], steps: int) -> str:
    """The loss of the modified facts and the share answered, step by step, as a drawing of fixed size."""
    width, height, left = 320, 54, 4
    finite = [value for value in loss if is_finite(value)]

    def line(values: Sequence[float], largest: float, style: str) -> str:
        across, down = (width - 2 * left) / max(steps - 1, 1), (height - 14) / largest
        points = " ".join(
            f"{left + across * i:.1f},{height - 6 - down * max(v, 0):.1f}" for i, v in enumerate(values) if is_finite(v)
        )
        return f'<polyline points="{points}" fill="none" {style} stroke-width="2"/>'

    text, lines = f"step {len(loss)} of {steps}", ""
    if loss:
        text += f", loss {number(loss[-1])}"
        lines += line(loss, max(finite, default=0) or 1.0, f'stroke="{INK[0]}"')
    if len(finite) < len(loss):
        text += f", {len(loss) - len(finite)} values that are not finite left out"
    if recall:
        text += f", {100 * recall[-1]:.0f} % answered" if is_finite(recall[-1]) else ", – answered"
        lines += line(recall, 1, f'stroke="{INK[1]}" stroke-dasharray="4 3"')
    return block(
        f'<svg role="img" aria-label="Training: {text}" viewBox="0 0 {width} {height}" width="100%" height="{height}" '
        f'preserveAspectRatio="none">{lines}</svg>'
        f'<p class="kmod-quiet">{text} (solid: loss; dashed: share answered)</p>'
    )


def link(path: Path) -> str:
    """A link that downloads the file, with the bytes in the link; the path alone for a large file."""
    name, size = escape(path.name), path.stat().st_size
    text = f"Written to {escape(path)} ({size / 1e3:,.0f} kB)."
    if size <= LARGEST_LINK:
        data = base64.b64encode(path.read_bytes()).decode()
        text += f' <a download="{name}" href="data:application/octet-stream;base64,{data}">Download {name}</a>'
    return block(f"<p>{text}</p>")


def code(lines: str, label: str = "The recipe of the edit, as Python") -> str:
    return block(f'<pre tabindex="0" aria-label="{escape(label)}">{escape(lines)}</pre>')


def page(widget: str, *parts: str) -> str:
    """What a static page shows in place of a widget."""
    where = f"This page is still. Open the chapter in Jupyter or Colab, and {escape(widget)} is live here."
    return STYLE + block(f"<p><em>{where}</em></p>", *parts)
