"""What the chapters share: where the records are, which sizes this machine runs, and verdicts to be read on a page."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from . import charts
from .charts.runs import RATES
from .experiments import paper, records
from .experiments.claims import CLAIMS, NOT_RUN, Part, Verdict, ledger
from .experiments.cost import text
from .experiments.report import cells
from .experiments.settings import Setting
from .experiments.statistics import Mean, mean
from .experiments.suites import SUITES, Profile
from .experiments.suites import profile as named

if TYPE_CHECKING:
    from IPython.display import Markdown

MARKS = {"reproduced": "✓", "not reproduced": "✗", "mixed": "±", "undecided": "?", "not yet run": "–"}
ANEW = "From starting states that were trained anew"


def results() -> Path:
    """$KMOD_RESULTS, or the folder `results` of the checkout that the chapter lies in.

    Raises FileNotFoundError that says what to do.
    """
    if os.environ.get("KMOD_RESULTS"):
        return Path(os.environ["KMOD_RESULTS"])
    for folder in (Path.cwd(), *Path.cwd().parents, Path(__file__).parents[1]):
        if any((folder / "results" / suite).is_dir() for suite in SUITES):
            return folder / "results"
    raise FileNotFoundError("no records: open the chapter in a checkout of the project, or set KMOD_RESULTS")


def profile() -> Profile:
    """The sizes that the chapters show: those of $KMOD_PROFILE; or "gpu" where there is a GPU and records of it; or
    "cpu"."""
    name = os.environ.get("KMOD_PROFILE")
    if name:
        return named(name)
    has_records = any((results() / suite / "gpu.jsonl").is_file() for suite in SUITES)
    return named("gpu" if torch.cuda.is_available() and has_records else "cpu")


def table(suite: str, facts: str | None = None) -> dict[Setting, list[dict]]:
    """The finished records of each cell of a suite (`kmod.experiments.report.cells`); on other facts than the profile's
    if asked."""
    sizes = profile()
    return cells(suite, replace(sizes, facts=facts) if facts else sizes, results())


def rows(suite: str, by: str | Sequence[str], **settings) -> list[dict]:
    """Rows of a suite for `kmod.charts`, labelled by the settings `by`; `settings` say which runs, each a value or a
    tuple of values. Raises ValueError if there are none."""
    chosen = {name: value if isinstance(value, tuple) else (value,) for name, value in settings.items()}
    found = [
        record
        for cell, some in table(suite).items()
        if all(getattr(cell, name) in values for name, values in chosen.items())
        for record in some
    ]
    return charts.rows(found, by)


def rerun(suite: str, budget: str | None = None) -> None:
    """Run here what is missing of a suite, and add it to the records; prints an estimate first, and stops in time."""
    from .experiments.runner import run, seconds

    run([suite], profile(), results(), budget=seconds(budget) if budget else None)


def percent(found: list[dict], metric: str) -> Mean:
    """The mean of a metric over the records of one cell; the interval of a share ends at 0 and 1."""
    got = mean(records.flat(record)[metric] for record in found)
    return got if metric.startswith("delta") else Mean(got.value, max(0.0, got.low), min(1.0, got.high), got.n)


@cache
def _verdicts(folder: Path, sizes: Profile) -> dict[str, Verdict]:
    return {verdict.claim: verdict for verdict in ledger(folder, sizes)}


def verdicts(training: int = 0) -> dict[str, Verdict]:
    """The ledger: claim → verdict, from the records; of edits that began from the starting states of another `training`
    if asked."""
    return _verdicts(results(), replace(profile(), training=training or None))


def anew() -> dict[str, str]:
    """Claim → its verdict and seeds, in words, from each other training of the starting states that was run; "" without
    any."""
    told, facts = (record["settings"] for record in records.read(results())), profile().facts
    trainings = {settings.get("training") for settings in told if settings["facts"] == facts} - {None}
    ledgers = [verdicts(training) for training in sorted(trainings)]
    again = {name: [ledger[name] for ledger in ledgers if ledger[name].verdict != NOT_RUN] for name in CLAIMS}
    return {
        name: ", ".join(f"{MARKS[one.verdict]} {one.verdict} ({one.seeds} seeds)" for one in found)
        for name, found in again.items()
    }


def twice(training: int = 1) -> list[tuple[str, Part, Part]]:
    """(claim, part, the same part from starting states of another training): each part of each claim that has both.
    C5 asks for the block that is better at the smallest |M|: where that is another one, it is another part."""
    again = {(name, part.what): part for name, verdict in verdicts(training).items() for part in verdict.parts}
    first = ((name, part) for name, verdict in verdicts().items() for part in verdict.parts)
    return [(name, part, again[name, part.what]) for name, part in first if (name, part.what) in again]


@dataclass(frozen=True)
class Shown:
    """Something to be read: HTML on a page, text elsewhere."""

    text: str
    markup: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.markup


def verdict(*claims: str) -> Shown:
    """The verdicts on claims, each with its parts, as a box. Raises ValueError for an unknown claim."""
    if unknown := [name for name in claims if name not in CLAIMS]:
        raise ValueError(f"unknown claim {unknown[0]!r}; known: {', '.join(CLAIMS)}")
    found, again = [verdicts()[name] for name in claims], anew()
    told = [f"{one}" + f"\n  {ANEW}: {again[one.claim]}" * bool(again[one.claim]) for one in found]
    return Shown("\n\n".join(told), "".join(_box(one, again[one.claim]) for one in found))


def _box(found: Verdict, again: str) -> str:
    e = html.escape
    parts = "".join(f"<li>{e(line)}</li>" for line in (*map(str, found.parts), found.missing) if line)
    kind = found.verdict.replace(" ", "-")
    again = f"<p>{ANEW}: {e(again)}.</p>" if again else ""
    return (
        f'<div class="kmod-verdict kmod-{kind}"><p><strong>{e(found.claim)}: {MARKS[found.verdict]} '
        f"{e(found.verdict)}.</strong> {e(found.text)}</p><ul>{parts}</ul>{again}</div>"
    )


def ledger_table() -> Shown:
    """Every claim of the paper in our words, the verdict of our runs, and what it rests on."""
    e, found, again = html.escape, list(verdicts().values()), anew()
    settings = {record["id"]: record["settings"] for record in records.read(results())}
    rows = "".join(
        f'<tr><th scope="row">{e(v.claim)}<div class="kmod-quiet">{e(v.question)}</div></th><td>{e(v.text)}</td>'
        f'<td class="kmod-{v.verdict.replace(" ", "-")}">{MARKS[v.verdict]} {e(v.verdict)}'
        + (f'<div class="kmod-quiet">anew: {e(again[v.claim])}</div>' if again[v.claim] else "")
        + "</td>"
        f"<td>{'<br>'.join(e(line) for line in (*map(_short, v.parts), v.missing) if line)}"
        f'<div class="kmod-quiet">from {e(_rests_on(v, settings))}</div></td></tr>'
        for v in found
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("claim", "in words", "verdict", "effect"))
    markup = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return Shown("\n\n".join(map(str, found)), f'<div class="kmod-table kmod-ledger" tabindex="0">{markup}</div>')


def _rests_on(found: Verdict, settings: dict[str, dict]) -> str:
    """How many runs and seeds, and of what, such as "166 runs, 5 seeds; fae-nano, nano; |M| = 32"."""
    used = [settings[one] for one in found.ids]
    models, sizes = (sorted({one[name] for one in used}) for name in ("model", "n"))
    told = f"{len(used)} runs, {found.seeds} seeds"
    return f"{told}; {', '.join(models)}; |M| = {', '.join(map(str, sizes))}" if used else told


def _short(part: Part) -> str:
    return f"{part.mark} {part.what} {part.short}, {part.asked}{', grid ends too early' if part.open else ''}"


def takeaway(text: str) -> Markdown:
    """What a chapter comes to, in Markdown, as a box on the page."""
    from IPython.display import Markdown

    return Markdown(f":::{{admonition}} Takeaway\n:class: tip\n{text}\n:::")


def run_time(chapter: str, *, memorises: bool = False, suite: str | None = None) -> Markdown:
    """How long a chapter takes to run, as a box: the last record of each device (`book/_ext/store_outputs.py --times`).

    Args:
        memorises: it memorises the atlas if that is not kept on disk.
        suite: what its records come from.
    """
    from IPython.display import Markdown

    took = _last_seconds("chapters", "chapter", chapter)
    said = ", ".join(f"{text(seconds)} on {device}" for device, seconds in took.items()) or "Not measured yet"
    said += " (measured)" * bool(took)
    if memorises:
        once = _last_seconds("starts", "start", "random weights")
        more = ", ".join(f"{text(seconds)} on {device}" for device, seconds in once.items()) or "not measured yet"
        said += f", once the atlas is memorised and kept on disk; the first time, that takes {more}"
    said += "." if any("T4" in device for device in took) else ". On a Colab T4 it was not measured."
    said += " No GPU and no network are needed."
    said += f" The suite itself: `python -m kmod run {suite}`." if suite else ""
    return Markdown(f":::{{admonition}} Run time\n:class: note\n{said}\n:::")


def _last_seconds(benchmark: str, key: str, value: str) -> dict[str, float]:
    """Device → seconds of the last of its records in results/benchmarks whose `key` is `value`."""
    file = results() / "benchmarks" / f"{benchmark}.jsonl"
    found = map(json.loads, file.read_text("utf-8").splitlines() if file.is_file() else [])
    return {device(record["device"]): record["seconds"] for record in found if record[key] == value}


def device(name: str) -> str:
    """A device as records name it, to be read."""
    return name.replace(" 1 threads", " 1 thread")


def provenance(suite: str) -> str:
    """One line: how many runs, of which models, on what machine, by which code."""
    found = [record for rows in table(suite).values() for record in rows]
    if not found:
        return f"{suite}: no records yet"
    models = sorted({record["settings"]["model"] for record in found})
    devices = sorted({device(record["hardware"]["device"]) for record in found})
    commits = sorted({str(record["commit"]) for record in found})
    return (
        f"{suite}, profile {profile().name}: {len(found)} runs on {profile().facts}, of {', '.join(models)}; on "
        f"{', '.join(devices)}; commit {', '.join(commits)}"
    )


def paper_rows(*groups: str) -> list[dict]:
    """The paper's figures by name ("BEST", "RADII", "SYMBOLIC"), as rows of a table."""
    return [row for group in groups for row in paper.rows(getattr(paper, group))]


def beside_paper(suite: str, ours: dict, figures: Sequence[paper.Figure], metrics=("A_M", "A_FS")) -> list[dict]:
    """Rows for `charts.paper_and_ours`: each figure's metrics ("A_mean" is a third) beside those of our runs, at the
    radius with the best Ā; what the paper gives no figure for is left out. `ours` maps the place in `figures` to the
    settings of the runs (as for `rows`). Raises ValueError if they leave more than one method and block."""
    found = []
    for place, settings in ours.items():
        figure, grid = figures[place], {}
        for row in rows(suite, ("method", "block"), **settings):
            grid.setdefault((row["label"], row["delta"]), []).append(row)
        if len({label for label, _ in grid}) > 1:
            raise ValueError(f"the settings {settings} leave several edits: {sorted({label for label, _ in grid})}")
        best = max(grid.values(), key=lambda some: mean(row["A_mean"] for row in some).value)
        for metric in metrics:
            value = getattr(figure, metric)
            if value is not None:
                what = f"{RATES[metric]}: {figure.model} {figure.start}, {figure.method}, {figure.where}"
                found.append({"what": what, "paper": value, "tag": "recalled", "ours": [row[metric] for row in best]})
    return found
