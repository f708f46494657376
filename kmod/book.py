"""What the chapters share: where the records are, which sizes this machine runs, and verdicts to be read on a page."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter
from pathlib import Path

import torch
from IPython.display import Markdown

from . import charts
from .charts.compare import grids
from .charts.runs import RATES
from .checks import brief
from .experiments import paper, records, report, suites
from .experiments.claims import CLAIMS, NOT_RUN, Part, Verdict, ledger
from .experiments.cost import text
from .experiments.index import Index
from .experiments.selection import Selection
from .experiments.settings import OWN, Setting
from .experiments.statistics import MISSING, Mean, mean
from .experiments.suites import SUITES, Profile
from .files import user_path
from .html import Html, escape, scrolling, table

MARKS = {"reproduced": "✓", "not reproduced": "✗", "mixed": "±", "undecided": "?", "not yet run": "–"}
OTHER_TRAINING = "From starting states that were trained anew"


def results() -> Path:
    """$KMOD_RESULTS, or the folder `results` of the checkout that the chapter lies in. Raises FileNotFoundError."""
    if os.environ.get("KMOD_RESULTS"):
        return user_path(os.environ["KMOD_RESULTS"])
    for folder in (Path.cwd(), *Path.cwd().parents, Path(__file__).parents[1]):
        if any((folder / "results" / suite).is_dir() for suite in SUITES):
            return folder / "results"
    raise FileNotFoundError("no records: open the chapter in a checkout of the project, or set KMOD_RESULTS")


def json_lines(file: str) -> list[dict]:
    """The lines of a file in `results()`, such as "benchmarks/edit_step.jsonl"; none if there is no such file."""
    path = results() / file
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def profile() -> Profile:
    """The sizes that the chapters show: the profile $KMOD_PROFILE; else "gpu" if there is a GPU and a record of that
    profile; else "cpu"."""
    if name := os.environ.get("KMOD_PROFILE"):
        return suites.profile(name)
    has_records = any((results() / suite / "gpu.jsonl").is_file() for suite in SUITES)
    return suites.profile("gpu" if torch.cuda.is_available() and has_records else "cpu")


def cells(suite: str, facts: str | None = None) -> dict[Setting, list[dict]]:
    """Setting → its finished records, one a seed; every cell of the suite has a key (its setting with seed 0).
    `facts` is the fact base, if another than the profile's."""
    sizes = profile()
    return report.cells(suite, replace(sizes, facts=facts) if facts else sizes, results())


def index() -> Index:
    """All finished records, by settings."""
    return Index(records.read(results()))


def at_best(cells: Mapping[Setting, list[dict]], *by: str) -> dict[object, tuple[Setting, list[dict]]]:
    """The cell with the best Ā, on the seeds shown, of each group of cells: group → (setting, records).

    `by` names the settings that tell groups apart, such as "start"; by default all but the radius. A group is known by
    the value, of several settings by a tuple, by default by `Setting.group`.
    """
    group, options = attrgetter(*(by or ("group",))), {}
    for cell, runs in cells.items():
        if runs:
            options.setdefault(group(cell), {})[cell] = {record["settings"]["seed"]: record for record in runs}
    best = {key: Selection(grid).best() for key, grid in options.items()}
    return {key: (cell, cells[cell]) for key, cell in best.items()}


def rows(suite: str, by: str | Sequence[str], **settings) -> list[dict]:
    """Rows of a suite for `kmod.charts`, labelled by the settings `by`; of the runs with these `settings`, each a value
    or a tuple of values. Raises ValueError if there are none."""
    wanted = {name: value if isinstance(value, tuple) else (value,) for name, value in settings.items()}
    runs = cells(suite)
    chosen = [cell for cell in runs if all(getattr(cell, name) in values for name, values in wanted.items())]
    return charts.rows((record for cell in chosen for record in runs[cell]), by)


def percent(runs: Iterable[Mapping], metric: str) -> Mean:
    """The mean of a metric over records or rows of one setting; the interval of a share ends at 0 and 1. `MISSING`,
    which reads "–", where one of them lacks the metric."""
    values = [records.metric(run, metric) for run in runs]
    if None in values:
        return MISSING
    average = mean(values)
    if metric.startswith("delta"):
        return average
    return replace(average, low=max(0.0, average.low), high=min(1.0, average.high))


@cache
def _verdicts(folder: Path, sizes: Profile, files: tuple) -> dict[str, Verdict]:
    return {verdict.claim: verdict for verdict in ledger(folder, sizes)}


def verdicts(training: int | str = 0) -> dict[str, Verdict]:
    """The ledger: claim → verdict. `training` is the seed that the starting states were trained from; "seed" gives each
    seed a training of its own."""
    sizes, folder = replace(profile(), training=training or None), results()
    files = [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.glob("*/*.jsonl"))]
    return _verdicts(folder, sizes, tuple(files))


def other_trainings() -> dict[str, str]:
    """Claim → its verdicts, in words, on runs from starting states of one other training; "" without such runs."""
    settings, facts = [record["settings"] for record in records.read(results())], profile().facts
    trainings = {run.get("training") for run in settings if run["facts"] == facts} - {None, OWN}
    words: dict[str, list[str]] = {name: [] for name in CLAIMS}
    for training in sorted(trainings):
        for name, verdict in verdicts(training).items():
            if verdict.verdict != NOT_RUN:
                words[name].append(f"{MARKS[verdict.verdict]} {verdict.verdict} ({verdict.seeds} seeds)")
    return {name: ", ".join(parts) for name, parts in words.items()}


def paired_parts(training: int | str = 1) -> list[tuple[str, Part, Part]]:
    """(claim, part, the same part from starting states of another training), for the parts of claims that have both.

    C5 asks for the block that is better at the smallest |M|; if that is another block, it is another part.
    """
    second = {(name, part.what): part for name, verdict in verdicts(training).items() for part in verdict.parts}
    first = ((name, part) for name, verdict in verdicts().items() for part in verdict.parts)
    return [(name, part, second[name, part.what]) for name, part in first if (name, part.what) in second]


@dataclass(frozen=True)
class Rendered:
    """Something to be read: HTML on a page, text elsewhere."""

    text: str
    markup: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.markup


def verdict(*claims: str) -> Rendered:
    """The verdicts on claims, each with its parts, as a box. Raises ValueError for an unknown claim."""
    if unknown := [name for name in claims if name not in CLAIMS]:
        raise ValueError(brief(f"unknown claim {unknown[0]!r}; known: {', '.join(CLAIMS)}"))
    other, chosen = other_trainings(), [verdicts()[name] for name in claims]
    texts = [f"{v}" + f"\n  {OTHER_TRAINING}: {other[v.claim]}" * bool(other[v.claim]) for v in chosen]
    return Rendered("\n\n".join(texts), "".join(_box(v, other[v.claim]) for v in chosen))


def box(verdict: Verdict) -> Rendered:
    """A verdict on a claim that is none of the paper's, as a box."""
    return Rendered(str(verdict), _box(verdict, ""))


def _box(verdict: Verdict, other: str) -> str:
    parts = "".join(f"<li>{escape(line)}</li>" for line in (*verdict.parts, verdict.missing) if line)
    other = f"<p>{OTHER_TRAINING}: {escape(other)}.</p>" if other else ""
    return (
        f'<div class="kmod-verdict kmod-{verdict.verdict.replace(" ", "-")}"><p><strong>{escape(verdict.claim)}: '
        f"{MARKS[verdict.verdict]} {escape(verdict.verdict)}.</strong> {escape(verdict.text)}</p>"
        f"<ul>{parts}</ul>{other}</div>"
    )


def ledger_table() -> Rendered:
    """Every claim of the paper in our words, the verdict of our runs, and what it rests on."""
    other, ledger = other_trainings(), verdicts()
    settings = {record["id"]: record["settings"] for record in records.read(results())}

    def quiet(text: str) -> str:
        return f'<div class="kmod-quiet">{escape(text)}</div>' if text else ""

    lines = []
    for name, verdict in ledger.items():
        anew = quiet(f"anew: {other[name]}" * bool(other[name]))
        effects = "<br>".join(escape(line) for line in (*map(_short, verdict.parts), verdict.missing) if line)
        name = Html(escape(name) + quiet(verdict.question))
        mark = Html(f"{MARKS[verdict.verdict]} {escape(verdict.verdict)}{anew}")
        lines.append((name, verdict.text, mark, Html(effects + quiet(f"from {_rests_on(verdict, settings)}"))))
    caption = "The claims of the paper, and what our runs say of them"
    markup = table(lines, ("claim", "in words", "verdict", "effect"), caption)
    return Rendered("\n\n".join(map(str, ledger.values())), scrolling(markup, caption, "kmod-ledger"))


def _rests_on(verdict: Verdict, settings: dict[str, dict]) -> str:
    """How many runs and seeds, and of what, such as "166 runs, 5 seeds; fae-nano, nano; |M| = 32"."""
    used = [settings[id] for id in verdict.ids]
    models, sizes = (sorted({run[name] for run in used}) for name in ("model", "n"))
    counts = f"{len(used)} runs, {verdict.seeds} seeds"
    return f"{counts}; {', '.join(models)}; |M| = {', '.join(map(str, sizes))}" if used else counts


def _short(part: Part) -> str:
    return f"{part.mark} {part.what} {part.short}, {part.asked}{', grid ends too early' if part.open else ''}"


def takeaway(text: str) -> Markdown:
    """What a chapter comes to, in Markdown, as a box on the page."""
    return _admonition("Takeaway", "tip", text)


def _admonition(title: str, kind: str, text: str) -> Markdown:
    return Markdown(f":::{{admonition}} {title}\n:class: {kind}\n{text}\n:::")


def run_time(chapter: str, suite: str | None = None) -> Markdown:
    """How long a chapter takes to run, as a box: the last record of each device (`book/_ext/store_outputs.py --times`).

    `suite`: where its records come from.
    """
    seconds = _last_seconds("chapters", "chapter", chapter)
    words = f"{_each_device(seconds)} (measured)" if seconds else "Not measured yet"
    words += "." if any("T4" in device for device in seconds) else ". On a Colab T4 it was not measured."
    words += " No GPU and no network are needed."
    words += f" The suite itself: `python -m kmod run {suite}`." if suite else ""
    return _admonition("Run time", "note", words)


def _last_seconds(benchmark: str, key: str, value: str) -> dict[str, float]:
    """Device → seconds, of the last of its records in results/benchmarks whose `key` is `value`."""
    times = json_lines(f"benchmarks/{benchmark}.jsonl")
    return {device(record["device"]): record["seconds"] for record in times if record[key] == value}


def _each_device(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{text(value)} on {device}" for device, value in seconds.items())


def device(name: str) -> str:
    """A device as records name it, to be read."""
    return name.replace(" 1 threads", " 1 thread")


def provenance(suite: str) -> str:
    """One line: how many runs, of which models, on what machine, by which code ("+": with uncommitted changes)."""
    runs = [record for cell in cells(suite).values() for record in cell]
    if not runs:
        return f"{suite}: no records yet"
    models = ", ".join(sorted({record["settings"]["model"] for record in runs}))
    devices = ", ".join(sorted({device(record["hardware"]["device"]) for record in runs}))
    where = f"{suite}, profile {profile().name}: {len(runs)} runs on {profile().facts}, of {models}; on {devices}"
    return f"{where}; commit {', '.join(records.commits(runs))}"


def paper_rows(*groups: str) -> list[dict]:
    """The paper's figures by name ("BEST", "RADII", "SYMBOLIC"), as rows of a table."""
    return [row for group in groups for row in paper.rows(getattr(paper, group))]


def beside_paper(suite: str, ours: dict, figures: Sequence[paper.Figure], metrics=("A_M", "A_FS")) -> list[dict]:
    """Rows for `charts.paper_and_ours`: the paper's figures beside our runs at the radius with the best Ā.

    `ours` is place in `figures` → settings of our runs, as for `rows`. Of the `metrics`, "A_mean" is Ā; one that the
    paper gives no figure for is left out. Raises ValueError if settings leave more than one method and block.
    """
    compared = []
    for place, settings in ours.items():
        figure, edits = figures[place], grids(rows(suite, ("method", "block"), **settings), ("A_mean",))
        if len(edits) > 1:
            raise ValueError(f"the settings {settings} leave several edits: {sorted(edits)}")
        (grid,) = edits.values()
        best = grid[Selection(grid).best()].values()
        known = [metric for metric in metrics if getattr(figure, metric) is not None]
        for metric in known:
            what = f"{RATES[metric]}: {figure.model} {figure.start}, {figure.method}, {figure.where}"
            row = {"what": what, "paper": getattr(figure, metric), "tag": "recalled"}
            compared.append(row | {"ours": [run[metric] for run in best]})
    return compared
