"""What the chapters say is computed from records: change a record, and the sentence changes."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from kmod import book, charts
from kmod.charts.forest import SAID
from kmod.experiments import advice, paper
from kmod.experiments.findings import findings

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A copy of the records that may be changed."""
    for suite in (*book.SUITES, "methods"):
        if (RESULTS / suite).is_dir():
            shutil.copytree(RESULTS / suite, tmp_path / suite)
    monkeypatch.setenv("KMOD_RESULTS", str(tmp_path))
    monkeypatch.setenv("KMOD_PROFILE", "cpu")
    book._verdicts.cache_clear()
    yield tmp_path
    book._verdicts.cache_clear()


def change(folder, suite, which, to):
    """Set the metrics of the records that `which` picks."""
    file = folder / suite / "cpu.jsonl"
    records = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    touched = 0
    for record in records:
        if which(record["settings"]):
            touched += 1
            for metric, value in to.items():
                if isinstance(record["metrics"][metric], dict):
                    record["metrics"][metric]["value"] = value
                else:
                    record["metrics"][metric] = value
    file.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    assert touched


def test_a_verdict_follows_the_records(own):
    for lost, verdict in ((0.4, "reproduced"), (0.01, "not reproduced")):
        for suite in ("rq1_reliability", "methods"):
            change(own, suite, lambda s: s["method"] == "FTM" and s["delta"] is None, {"delta_A_FS": -lost})
        assert book.verdicts()["C1"].verdict == verdict
    assert "not reproduced" in repr(book.verdict("C1")) and "kmod-not-reproduced" in book.verdict("C1")._repr_html_()
    assert "✗ not reproduced" in book.ledger_table()._repr_html_()
    rests_on = book.ledger_table()._repr_html_().split("from ")
    assert any("seeds; fae-nano, nano; |M| = 32" in cell for cell in rests_on)  # C7 and C8
    assert "fae-nano, nano" in book.provenance("rq3_fae") and "of nano;" in book.provenance("rq1_reliability")


def told():
    return findings(book.profile(), book.index(), book.verdicts())


def test_the_findings_of_the_first_page_follow_the_records(own):
    forgetting, _, many = told()
    assert "Most of the forgetting is the learning rate's" in forgetting and "FTA" in many
    change(own, "methods", lambda s: s["method"] == "FTM" and s["delta"] is None, {"delta_A_FS": -0.9})
    assert "matters less than was hoped" in told()[0] and "90 points" in told()[0]
    for value, said in ((1.0, "The ball helps; mixing is not surely better"), (0.1, "The ball hurts; old facts")):
        ours = lambda s: s["method"] == "FTM" and s["constraint"] == "Linf" and s["n"] == 32  # noqa: E731
        change(own, "methods", ours, {"A_mean": value})
        assert said in told()[1]
    change(own, "methods", lambda s: s["method"] == "KL" and s["n"] == 512, {"A_mean": 0.3})
    assert "several ways still work" in told()[2] and "KL 30 %" in told()[2]
    (own / "methods" / "cpu.jsonl").unlink()
    book._verdicts.cache_clear()
    assert told() == []


def test_the_advice_follows_the_records(own):
    def said():
        return advice.sentence(book.profile(), book.index())

    assert re.search(r"32 facts: FTA .* surely ahead of \d+ of the other 14", said())
    assert re.search(r"One fact: \d+ editors cannot be told apart .*the quickest is ROME", said())
    change(own, "methods", lambda s: s["method"] == "ROME" and s["n"] == 32, {"A_mean": 0.9999})
    assert re.search(r"32 facts: ROME \(\$\\bar A\$ 100.0 %\), surely ahead of \d+ of the other 14", said())
    rows = advice.best(book.profile(), book.index())
    assert next(row["editor"] for row in rows if row["facts"] == "32") == "ROME" and len(rows) == 9
    (own / "methods" / "cpu.jsonl").unlink()
    assert "Nothing is known yet" in said() and advice.best(book.profile(), book.index()) == []


def test_the_forest_has_a_row_for_each_measured_part(own):
    drawn = [(v, part) for v in book.verdicts().values() for part in v.parts if part.effect.n > 1]
    chart = charts.forest(book.verdicts().values()).to_dict()
    values = next(layer["data"]["values"] for layer in chart["layer"] if "tooltip" in layer["encoding"])
    assert len(values) == len(drawn) > 30
    for row, (verdict, part) in zip(values, drawn, strict=True):
        assert row["part"] == f"{verdict.claim} · {part.what}" and row["low"] <= row["beyond"] <= row["high"]
        assert {"as claimed": row["low"] > 0, "against the claim": row["high"] < 0}.get(row["said"], True)
    counts = [f"{sum(row['said'] == said for row in values)} {said}" for said in SAID.values()]
    assert ", ".join(counts) in " ".join(chart["title"]["text"])
    nothing = [replace(v, parts=()) for v in book.verdicts().values()]
    with pytest.raises(ValueError, match="no claim has two seeds yet"):
        charts.forest(nothing)


def test_provenance_marks_commits_with_changes(own):
    file = own / "rq1_reliability" / "cpu.jsonl"
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    rows = [line | {"commit": "abc", "dirty": n == 0} for n, line in enumerate(lines)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert book.provenance("rq1_reliability").endswith("commit abc, abc+")


def test_the_best_of_a_group_is_chosen_by_the_mean(own):
    cells = {
        cell: runs for cell, runs in book.cells("rq2_where").items() if cell.method == "FTM" and cell.block == "all"
    }
    best = book.at_best(cells, "constraint")
    assert {"Linf", "L2", "Fisher"} <= set(best) and best["L2"] == book.at_best(cells)[best["L2"][0].group]
    for constraint, (cell, runs) in best.items():
        assert runs == cells[cell] and cell.constraint == constraint
        of_group = [runs for other, runs in cells.items() if other.constraint == constraint and runs]
        assert book.percent(runs, "A_mean").value == max(book.percent(runs, "A_mean").value for runs in of_group)


def test_beside_a_verdict_stands_that_of_another_training(own):
    (own / "rq1_reliability" / "cpu.jsonl").write_text("")
    for suite in book.SUITES:
        file = own / suite / "cpu.jsonl"
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        lines = [line for line in lines if not line["settings"].get("training")]
        again = [
            line | {"id": f"{suite} {n}", "settings": line["settings"] | {"training": 9}}
            for n, line in enumerate(lines)
        ]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines + again), "utf-8")
    book._verdicts.cache_clear()
    first, again = book.verdicts(), book.other_trainings()
    assert {name: verdict.verdict for name, verdict in first.items() if verdict.seeds} == {
        name: words.split(" ", 1)[1].split(" (")[0] for name, words in again.items() if words
    }
    both = book.paired_parts(training=9)
    assert {name for name, _, _ in both} == {name for name, words in again.items() if words}
    assert all(first == other and f"{first.mark} {first.what}" in str(first) for _, first, other in both)
    assert not again["C1"] and again["C9"]  # of RQ1 nothing was run again
    assert book.OTHER_TRAINING not in book.verdict("C1")._repr_html_()
    assert f"{book.OTHER_TRAINING}: {again['C9']}" in book.verdict("C9")._repr_html_() and book.OTHER_TRAINING in repr(
        book.verdict("C9")
    )


def test_a_table_follows_the_records(own):
    def free(rows):
        return next(book.percent(found, "A_FS").value for cell, found in rows.items() if cell.method == "FTA")

    before = free(book.cells("rq1_reliability"))
    change(own, "rq1_reliability", lambda s: s["method"] == "FTA", {"A_FS": 0.5})
    assert before != 0.5 and free(book.cells("rq1_reliability")) == 0.5


def test_without_records_every_claim_is_not_yet_run(tmp_path, monkeypatch):
    monkeypatch.setenv("KMOD_RESULTS", str(tmp_path))
    monkeypatch.setenv("KMOD_PROFILE", "cpu")
    book._verdicts.cache_clear()
    assert {v.verdict for v in book.verdicts().values()} == {"not yet run"}
    assert "no records yet" in book.provenance("rq1_reliability")
    book._verdicts.cache_clear()


def test_a_share_ends_at_0_and_1(own):
    for found in book.cells("rq1_reliability").values():
        if len(found) > 1:
            share, gain = book.percent(found, "A_M"), book.percent(found, "delta_A_FS")
            assert 0 <= share.low <= share.value <= share.high <= 1
            assert gain.low <= gain.value


def test_rows_are_those_asked_for(own):
    rows = book.rows("rq2_where", "block", model="nano", method="FTM", constraint=("Linf", "L2"))
    assert {row["constraint"] for row in rows} == {"Linf", "L2"} and {row["model"] for row in rows} == {"nano"}
    with pytest.raises(ValueError, match="no finished records"):
        book.rows("rq2_where", "block", model="no such model")


def test_beside_the_paper_every_number_is_recalled(own):
    ours = {2: {"model": "nano", "method": "FTM", "constraint": "Linf", "block": 3}}
    rows = book.beside_paper("rq2_where", ours, paper.BEST)
    assert [row["paper"] for row in rows] == [paper.BEST[2].A_M, paper.BEST[2].A_FS]
    assert all(row["tag"] == "recalled" and len(row["ours"]) >= 3 for row in rows)


def test_unknown_names_list_the_known(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="known: C1, C2"):
        book.verdict("C99")
    monkeypatch.setenv("KMOD_PROFILE", "huge")
    with pytest.raises(ValueError, match="known: smoke, cpu, gpu"):
        book.profile()


def test_run_times_are_those_measured(own):
    assert "Not measured yet. On a Colab T4 it was not measured." in book.run_time("rq1").data
    folder = own / "benchmarks"
    folder.mkdir(exist_ok=True)
    took = [("rq1", 99.0, "CPU"), ("rq1", 40.0, "CPU"), ("rq2", 7.0, "CPU"), ("rq2", 3.0, "Tesla T4")]
    rows = [{"chapter": chapter, "seconds": seconds, "device": device} for chapter, seconds, device in took]
    (folder / "chapters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = book.run_time("rq1", suite="cost").data
    assert "40 s on CPU (measured)." in told and "99 s" not in told
    assert "python -m kmod run cost" in told and "On a Colab T4 it was not measured" in told
    assert "7 s on CPU, 3 s on Tesla T4 (measured). No GPU" in book.run_time("rq2").data


@pytest.mark.parametrize(
    "name",
    [
        "first_edit",
        "rq1",
        "trex",
        "rq2",
        "rq3",
        "rq4",
        "rq5",
        "cost",
        "edit_lab",
        "ladder",
        "editors",
        "sequences",
        "since2020",
        "change_a_fact",
    ],
)
def test_a_chapter_has_all_its_parts(name):
    chapter = nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4)
    told = "\n".join(cell.source for cell in chapter.cells)
    for part in ("## Limits", "## Exercises", "{dropdown} Answer"):
        assert part in told, f"{name} has no {part}"
    takeaway = max(told.find("{admonition} Takeaway"), told.find("book.takeaway("))
    assert 0 < takeaway < told.index("## Limits") < told.index("## Exercises")
