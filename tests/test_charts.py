"""kmod.charts: numbers, specifications, escaping, determinism, and one clear line for bad input."""

import json
import math
import random
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

alt = pytest.importorskip("altair")
charts = pytest.importorskip("kmod.charts")

from kmod.charts.runs import around  # noqa: E402
from kmod.experiments.statistics import Mean  # noqa: E402


def make_records(methods=("FTM",), deltas=(5e-4, 1e-3, 2e-3, None), seeds=3):
    rng = random.Random(0)
    return [
        {
            "method": method,
            "delta": delta,
            "seed": seed,
            "A_M": rng.random(),
            "A_M_evidences": rng.random(),
            "A_FS": rng.random(),
            "A_FS_before": 0.7,
        }
        for method in methods
        for delta in deltas
        for seed in range(seeds)
    ]


CHARTS = (charts.tradeoff, charts.frontier)


@pytest.fixture(autouse=True)
def book_renderer(monkeypatch):
    monkeypatch.setenv("KMOD_CHARTS", "book")
    charts.use_book_renderer()


def bundle(chart):
    return charts.to_bundle(chart.to_dict())


# ---- numbers


def test_interval_is_students_t():
    rate = around([0.4, 0.5, 0.6])
    assert rate.value == pytest.approx(0.5)
    assert rate.high - rate.value == pytest.approx(4.303 * 0.1 / 3**0.5)
    assert rate.value - rate.low == pytest.approx(rate.high - rate.value)


def test_interval_of_one_value_and_at_the_edge():
    assert around([0.3]) == Mean(0.3, 0.3, 0.3, 1)
    assert around([0.9, 1.0, 1.0]).high == 1.0


def test_interval_goes_on_smoothly_where_the_table_ends():
    widths = [around([0.4, 0.6] * (n // 2)).high * n**0.5 for n in (30, 32, 34)]
    assert widths == sorted(widths)


def test_deltas_ascend_and_no_limit_comes_last():
    records = make_records(deltas=(None, 2e-3, 1e-3))
    random.Random(1).shuffle(records)
    chart = charts.tradeoff(records)
    assert list(dict.fromkeys(row["δ"] for row in charts.numbers(chart).rows)) == ["1e-3", "2e-3", "no limit"]
    places = {point["delta"]: point["x"] for point in chart.to_dict()["data"]["values"]}
    assert places["1e-3"] < places["2e-3"] < places["no limit"]


@pytest.mark.parametrize(
    "delta, text", [(2e-3, "2e-3"), (1.5e-4, "1.5e-4"), (0.05, "0.05"), (3, "3"), (None, "no limit")]
)
def test_delta_text(delta, text):
    assert charts.delta_text(delta) == text


# ---- charts


@pytest.mark.parametrize("draw", CHARTS)
@pytest.mark.parametrize("records", [
    make_records(),
    make_records(methods=("FTM", "FTA")),
    make_records(seeds=1),
    make_records(deltas=(1e-3,)),
    make_records(deltas=(None,)),
    make_records(deltas=(1e-3, 2e-3)),
    make_records(("FTM",), (1e-3, None)) + make_records(("FTA",), (2e-3,)),
])  # fmt: skip
def test_every_shape_of_records_draws(draw, records):
    html = bundle(draw(records))["text/html"]
    figure = ElementTree.fromstring(html)  # well-formed
    assert figure.find("div").get("aria-label").startswith("Accuracy against")
    assert figure.find("figcaption/strong").text and figure.find("figcaption/span").text
    assert "NaN" not in html and "undefined" not in html
    json.loads(figure.find("script").text)


@pytest.mark.parametrize("draw", CHARTS)
def test_same_chart_same_bytes(draw):
    assert bundle(draw(make_records())) == bundle(draw(make_records()))


def test_tradeoff_reads_with_hands():
    params = {p["name"]: p for p in charts.tradeoff(make_records(methods=("FTM", "FTA"))).to_dict()["params"]}
    assert params["pick"]["bind"]["input"] == "range"
    assert params["method"]["bind"]["options"] == ["FTM", "FTA"]
    assert params["highlight"]["bind"]["input"] == "select"
    assert params["legend"]["bind"] == "legend"


def test_sliders_share_a_group_when_the_deltas_are_the_same():
    groups = [draw(make_records()).to_dict()["usermeta"]["group"] for draw in CHARTS]
    assert groups[0] == groups[1] != charts.tradeoff(make_records(deltas=(1e-3,))).to_dict()["usermeta"]["group"]


def test_the_title_states_the_finding():
    records = make_records(deltas=(1e-3, 2e-3))
    for record in records:
        record |= {"A_M": 0.8, "A_FS": 0.6} if record["delta"] == 2e-3 else {"A_M": 0.1, "A_FS": 0.7}
    title = charts.tradeoff(records).to_dict()["title"]
    finding = "FTM at δ = 2e-3 learns 80 % of the new facts; accuracy on the others goes from 70 % to 60 %"
    assert " ".join(title["text"]) == finding
    assert "3 runs" in title["subtitle"] and "95 %" in title["subtitle"]
    assert charts.tradeoff(records, finding="Mine").to_dict()["title"]["text"] == "Mine"


@pytest.mark.parametrize("draw", CHARTS)
def test_names_are_escaped(draw):
    nasty = "</script><b onclick='x'>&\""
    html = bundle(draw(make_records(methods=(nasty,))))["text/html"]
    assert "<b onclick" not in html
    assert html.count("</script>") == 1
    assert nasty in json.dumps(json.loads(ElementTree.fromstring(html).find("script").text)).replace('\\"', '"')


def test_titled_refuses_silence():
    chart = alt.Chart().mark_point()
    assert charts.titled(chart, "finding", "n = 3", "words").to_dict()["description"] == "words"
    with pytest.raises(ValueError, match="description"):
        charts.titled(chart, "finding", "n = 3", " ")


def without(key):
    return [{k: v for k, v in record.items() if k != key} for record in make_records()]


@pytest.mark.parametrize("draw", CHARTS)
@pytest.mark.parametrize("records, message", [
    ([], "no rows"),
    (without("A_FS"), "row 0 .* lacks A_FS"),
    (make_records() + make_records(), "method FTM, delta 0.0005, seed 0 are one run twice"),
    ([make_records()[0] | {"A_M": 83.0}], "A_M is 83.0, not a fraction"),
    ([make_records()[0] | {"A_M": float("nan")}], "not a fraction"),
    ([make_records()[0] | {"delta": 0}], "delta is 0"),
])  # fmt: skip
def test_bad_records_are_named_in_one_line(draw, records, message):
    with pytest.raises(ValueError, match=message) as error:
        draw(records)
    assert "\n" not in str(error.value)


# ---- renderer and theme


def test_renderer_is_quiet_and_idempotent(monkeypatch):
    assert charts.use_book_renderer() is None
    assert charts.use_book_renderer() is None
    assert alt.renderers.active == "kmod" and alt.theme.active == "kmod"
    assert alt.Chart().mark_point().to_dict()["config"]["background"] is None
    monkeypatch.setenv("KMOD_CHARTS", "pdf")
    with pytest.raises(ValueError, match="KMOD_CHARTS"):
        charts.use_book_renderer()


def test_colab_and_jupyter_keep_altairs_renderer(monkeypatch):
    monkeypatch.delenv("KMOD_CHARTS")
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setitem(sys.modules, "google.colab", object())
    charts.use_book_renderer()
    assert alt.renderers.active == "default"


def test_without_vl_convert_charts_are_altairs_own(monkeypatch):
    monkeypatch.setattr("kmod.charts.page.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"need vl-convert-python: pip install 'kmod\[book\]'"):
        charts.use_book_renderer()
    monkeypatch.delenv("KMOD_CHARTS")
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    charts.use_book_renderer()
    assert alt.renderers.active == "default"


def test_text_and_lines_follow_the_page():
    html = bundle(charts.tradeoff(make_records()))["text/html"]
    assert "currentColor" in html and 'fill="black"' not in html and 'fill="#000"' not in html


def test_importing_kmod_does_not_import_altair():
    code = "import kmod, sys; sys.exit('altair' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---- tables


def test_table_is_accessible_and_escaped():
    table = charts.table([{"fact": "a < b", "before": None, "p": 0.123456}], caption="Q & A")
    html = table._repr_html_()
    root = ElementTree.fromstring(html)
    assert root.find("table/caption").text == "Q & A"
    assert [th.get("scope") for th in root.iter("th")] == ["col", "col", "col", "row"]
    assert [td.text for td in root.iter("td")] == ["–", "0.1235"]
    assert "a &lt; b" in html
    assert root.get("tabindex") == "0"  # a box that scrolls has to be reachable by key


def test_table_as_text():
    text = repr(charts.table([{"fact": "x", "n": 1}, {"fact": "longer", "n": 20}], caption="Title"))
    assert text.splitlines() == ["Title", "fact    n", "------  --", "x       1", "longer  20"]


@pytest.mark.parametrize("rows, caption, message", [
    ([], "c", "no rows"),
    ([{}], "c", "no rows"),
    ([{"a": 1}], " ", "caption"),
    ([{"a": 1}, {"b": 2}], "c", "row 1"),
])  # fmt: skip
def test_table_refuses_bad_rows(rows, caption, message):
    with pytest.raises(ValueError, match=message):
        charts.table(rows, caption=caption)


# ---- charts of rows of records


def run(label="block 0", delta=1e-3, seed=0, a_m=0.5, a_fs=0.9, **others):
    loss = [[0, 9.0], [10, 1.0], [20, 1e-3 / delta]]
    norms = {"block 0, mlp": {"l2": 2.0 + 0.01 * seed, "linf": delta}, "block 0, attention": {"l2": 1.0, "linf": delta}}
    row = {"label": label, "delta": delta, "seed": seed, "n": 8, "A_M": a_m, "A_FS": a_fs, "A_mean": (a_m + a_fs) / 2}
    return row | {"curve": loss, "norms": norms, "edit": 2.0 + 0.01 * seed, "peak_bytes": 2**30} | others


def grid(seeds=3, gap=0.2, labels=("block 0", "all blocks"), **others):
    """The first label is ahead by `gap`; seeds differ a little."""
    return [
        run(label, delta, seed, 0.5 + gap * (label == labels[0]) + 0.01 * ((seed + at) % 3), 0.9 - 20 * delta, **others)
        for at, label in enumerate(labels)
        for delta in (1e-3, 2e-3, 4e-3)
        for seed in range(seeds)
    ]


def one_delta(rows):
    return [row for row in rows if row["delta"] == 2e-3]


def sized(rows):
    return [row | {"n": n} for row in rows for n in (8, 32)]


def compared(rows):
    labels = {row["label"] for row in rows}
    return [
        {
            "what": name,
            "paper": 0.4,
            "tag": "recalled",
            "ours": [r["A_M"] for r in one_delta(rows) if r["label"] == name],
        }
        for name in sorted(labels)
    ]


ROW_CHARTS = {
    "plane": lambda rows: charts.tradeoff_curves(rows),
    "heat": lambda rows: charts.heat_map(rows),
    "size": lambda rows: charts.over_size(sized(rows)),
    "change": lambda rows: charts.change_by_part(rows),
    "learning": lambda rows: charts.learning_curves(rows),
    "cost": lambda rows: charts.cost_chart(one_delta(rows)),
    "paper": lambda rows: charts.paper_and_ours(compared(rows)),
}


def title(chart):
    text = chart.to_dict()["title"]["text"]
    return text if isinstance(text, str) else " ".join(text)


def subtitle(chart):
    text = chart.to_dict()["title"]["subtitle"]
    return text if isinstance(text, str) else " ".join(text)


@pytest.mark.parametrize("name", ROW_CHARTS)
def test_row_charts_are_whole(name):
    nasty = "</script><b onclick='x'>&\""
    chart = ROW_CHARTS[name](grid(labels=("block 0", nasty)))
    html = bundle(chart)["text/html"]
    figure = ElementTree.fromstring(html)  # well-formed
    assert "<b onclick" not in html and html.count("</script>") == 1
    assert figure.find("div").get("aria-label") and figure.find("figcaption/span").text
    assert figure.find("details/summary").text == "The numbers" and list(figure.find("details").iter("td"))
    assert "NaN" not in html and "currentColor" in html
    spec = json.loads(figure.find("script").text)
    assert "numbers" not in spec.get("usermeta", {})  # they stand in the table
    if name != "paper":
        bound = [p["bind"]["input"] for p in spec["params"] if isinstance(p.get("bind"), dict)]
        assert "select" in bound
    assert len(charts.numbers(chart).rows) >= 2
    assert bundle(ROW_CHARTS[name](grid(labels=("block 0", nasty))))["text/html"] == html


@pytest.mark.parametrize("name", ROW_CHARTS)
def test_row_charts_of_one_seed_say_so_and_of_none_refuse(name):
    chart = ROW_CHARTS[name](grid(seeds=1))
    assert "one seed each, so no intervals" in subtitle(chart) and "n = 3" in subtitle(ROW_CHARTS[name](grid()))
    if name in ("plane", "heat", "size", "cost"):
        assert "undecided" in title(chart).lower()
    with pytest.raises(ValueError, match="no rows"):
        ROW_CHARTS[name]([])


def test_what_an_edit_is_worth_stands_beside_the_model_left_alone():
    told = [dict(row, A_FS_before=0.9) for row in grid()]
    for draw in (charts.tradeoff_curves, charts.heat_map, charts.over_size):
        rows = [dict(row, n=n) for n in (8, 32) for row in told] if draw is charts.over_size else told
        spec = draw(rows).to_dict()
        assert "nothing is learnt and nothing lost" in " ".join(spec["title"]["subtitle"]) and "45.0 %" in json.dumps(
            spec
        )
        apart = [dict(row, A_FS_before=row["A_FS_before"] - 0.1 * (row["seed"] == 0)) for row in rows]
        assert "nothing lost" not in json.dumps(draw(apart).to_dict())


def test_brushes_link_the_panels_and_fit_the_page():
    spec = json.loads(ElementTree.fromstring(bundle(charts.tradeoff_curves(grid()))["text/html"]).find("script").text)
    select = {p["name"]: p["select"]["type"] for p in spec["params"] if "select" in p}
    assert select == {"area": "interval", "span": "interval", "legend": "point"}
    for panel in spec["concat"]:  # either brush dims the points of both panels
        condition = json.dumps(panel["layer"][-1]["encoding"]["opacity"]["condition"])
        assert '"area"' in condition and '"span"' in condition
        assert "picked == datum.delta" in condition  # as a brush, without a mouse
    patched = {change["path"] for change in spec["usermeta"]["embedOptions"]["patch"]}
    assert "/layout/columns" in patched and any(path.endswith("/update") for path in patched)


@pytest.mark.parametrize("name, flips", [
    ("plane", lambda first: f"{first} trades off best"),
    ("heat", lambda first: f"{first} at δ = 1e-3 reaches the highest Ā"),
    ("size", lambda first: f"Best block by Ā: {first[0].lower()}{first[1:]} at |M| = 8 and 32"),
])  # fmt: skip
def test_titles_follow_the_rows(name, flips):
    assert title(ROW_CHARTS[name](grid(gap=0.2))).startswith(flips("Block 0"))
    assert title(ROW_CHARTS[name](grid(gap=-0.2))).startswith(flips("All blocks"))


@pytest.mark.parametrize("name", ["plane", "size"])
def test_titles_are_undecided_where_the_seeds_are(name):
    noisy = [row | {"A_mean": row["A_mean"] + 0.05 * ((row["seed"] + len(row["label"])) % 3)} for row in grid(gap=0.0)]
    assert "ndecided" in title(ROW_CHARTS[name](noisy))


def test_learning_change_cost_and_paper_follow_the_rows():
    turned = [row | {"curve": [[0, 9.0], [20, row["delta"]]]} for row in grid(labels=("a",))]
    assert "ends lowest, 1e-03 at δ = 1e-3" in title(charts.learning_curves(turned)).replace("0.001", "1e-03")
    assert "mlp 80" in title(charts.change_by_part(grid(labels=("a",))))
    swapped = {"block 0, mlp": {"l2": 1.0, "linf": 1.0}, "block 0, attention": {"l2": 2.0, "linf": 1.0}}
    assert "attention 80.0 %" in title(charts.change_by_part(grid(labels=("a",), norms=swapped)))
    slow = [row | {"edit": 40.0 if row["label"] == "block 0" else 2.0 + 0.01 * row["seed"]} for row in grid()]
    assert title(charts.cost_chart(one_delta(slow))).startswith("Quickest is all blocks")
    assert "block 0 takes 19.9 times as long" in title(charts.cost_chart(one_delta(slow)))
    ours = {"what": "A_M", "paper": 0.5, "tag": "recalled", "ours": [0.7, 0.71, 0.72]}
    assert "ours is above" in title(charts.paper_and_ours([ours]))
    assert "ours is below" in title(charts.paper_and_ours([ours | {"paper": 0.9}]))
    assert "undecided" in title(charts.paper_and_ours([ours | {"paper": 0.71}]))
    assert "50.0 % (recalled)" in json.dumps(charts.paper_and_ours([ours]).to_dict(), ensure_ascii=False)


@pytest.mark.parametrize("draw, message", [
    (lambda: charts.heat_map([run(), run()]), "are one run twice"),
    (lambda: charts.heat_map([run(), run(seed=1, n=32)]), "differ in n: choose one"),
    (lambda: charts.heat_map([run() | {"A_M": 83.0}]), "A_M is 83.0, not a fraction"),
    (lambda: charts.heat_map([{"label": "ADD", "delta": None, "seed": 0}]), "lacks A_mean"),
    (lambda: charts.change_by_part([run(norms={})]), "no rows with norms"),
    (lambda: charts.learning_curves([run(curve=[])]), "no rows with a curve"),
    (lambda: charts.cost_chart([run(edit=0.0)]), "must be positive"),
    (lambda: charts.paper_and_ours([{"what": "x", "paper": 0.1, "tag": "weak", "ours": [1]}]), "known: sure, recalled"),
    (lambda: charts.rows([], by="size"), "unknown setting 'size' in `by`; known: facts"),
    (lambda: charts.rows([]), "no finished records"),
    (lambda: charts.numbers(alt.Chart().mark_point()), "carries no numbers"),
])  # fmt: skip
def test_bad_rows_are_named_in_one_line(draw, message):
    with pytest.raises(ValueError, match=message) as error:
        draw()
    assert "\n" not in str(error.value)


def test_rows_of_records_are_labelled():
    settings = {"method": "FTM", "block": "all", "constraint": "Linf", "delta": 1e-3, "n": 8, "seed": 0}
    record = {
        "id": "x",
        "status": "done",
        "settings": settings,
        "metrics": {"A_M": {"value": 0.5}},
        "seconds": {"edit": 1},
    }
    (row,) = charts.rows([record, record | {"status": "failed"}], by=("method", "block", "constraint"))
    assert row["label"] == "FTM, all blocks, ℓ∞" and row["A_M"] == 0.5 and row["edit"] == 1
    knn = record | {"settings": settings | {"method": "kNN", "block": None, "constraint": None}}
    assert charts.rows([knn], by=("method", "block", "constraint"))[0]["label"] == "kNN"
    assert [r["delta"] for r in charts.at_best(grid(seeds=1, labels=("a",)))] == [1e-3]


# ---- values that are not finite, and numbers of NumPy


def explained(weights, p=0.5):
    from kmod.fae.explain import Explanation, Recalled

    rows = tuple(Recalled("Cuba", "capital", (f"Havana {i}",), weight) for i, weight in enumerate(weights))
    return Explanation("Cuba: [MASK]", (), rows, p, [("Havana", p)], [("Rome", p)])


def plain_chart(values):
    return alt.Chart(alt.Data(values=[{"x": value} for value in values])).mark_point().encode(x="x:Q")


def beside(value):
    """Rows of which one lacks each value, and a row that has them."""
    odd = {"A_M": value, "A_mean": value, "norms": {"block 0, mlp": {"l2": value, "linf": value}}, "edit": value}
    odd |= {"curve": [[0, 9.0], [10, 1.0], [20, value]], "A_M_evidences": 0.5, "A_FS_before": 0.5, "method": "FTM"}
    return [run(seed=seed) | {name: odd[name] for name in list(odd)[-3:]} for seed in range(2)] + [run(seed=2) | odd]


WITH_GAPS = {
    "tradeoff": lambda value: charts.tradeoff(beside(value)),
    "frontier": lambda value: charts.frontier(beside(value)),
    "tradeoff_curves": lambda value: charts.tradeoff_curves(beside(value)),
    "heat_map": lambda value: charts.heat_map(beside(value)),
    "over_size": lambda value: charts.over_size(beside(value)),
    "change_by_part": lambda value: charts.change_by_part(beside(value)),
    "learning_curves": lambda value: charts.learning_curves(beside(value)),
    "cost_chart": lambda value: charts.cost_chart(beside(value)),
    "paper_and_ours": lambda value: charts.paper_and_ours(
        [
            {"what": "a", "paper": value, "tag": "sure", "ours": [0.5, value]},
            {"what": "b", "paper": 0.5, "tag": "sure", "ours": np.array([0.5, value], dtype=object)},
            {"what": "c", "paper": 0.5, "tag": "sure", "ours": [value]},
        ]
    ),
    "retrieval_chart": lambda value: charts.retrieval_chart(explained([np.float32(0.5), value], value)),
    "over_edits": lambda value: charts.over_edits(
        [row | {"label": "none", "size": 8, "edited": 64, "linf": 0.1, "l2": 0.5} for row in beside(value)]
    ),
    "titled": lambda value: charts.titled(
        plain_chart([1]), "Finding", "sub", "text", [{"a": "x", "b": value or math.nan}, {"a": "y", "b": np.float32(1)}]
    ),
}
ODD = {"nan": math.nan, "inf": math.inf, "none": None, "nan32": np.float32("nan"), "inf32": np.float32("-inf")}


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", WITH_GAPS)
def test_charts_say_what_they_left_out(name, value):
    chart = WITH_GAPS[name](ODD[value])
    assert "Left out: " in subtitle(chart)
    json.dumps(chart.to_dict(), allow_nan=False)
    if value == "nan":
        html = bundle(chart)["text/html"]
        assert "Left out: " in html and not re.search(r"\b(NaN|Infinity|nan|inf)\b", html)


@pytest.mark.parametrize("name", WITH_GAPS)
def test_charts_take_float32(name):
    chart = WITH_GAPS[name](np.float32(0.25))
    assert "Left out" not in subtitle(chart)
    json.dumps(chart.to_dict())


def test_every_public_chart_is_tried_with_gaps():
    draws = {
        name for name in charts.__all__ if name.islower() and name not in ("theme", "rows", "numbers", "delta_text")
    }
    others = {"table", "to_bundle", "at_best", "use_book_renderer"}
    others |= {"ladder", "editors", "over_rates", "forest"}  # of finished records, chosen among
    assert draws - others == set(WITH_GAPS)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_chart_of_one_s_own_is_drawn_without_its_gaps(value):
    spec = {"title": {"text": "Own", "subtitle": "sub"}, "mark": "point", "encoding": {"x": {"field": "x"}}}
    spec |= {"data": {"values": [{"x": value}, {"x": np.float32(0.1)}]}}
    html = charts.to_bundle(spec)["text/html"]
    assert "sub. Left out: 1 values that are not finite" in html and '{"x": null}, {"x": 0.1}' in html
    assert "Left out" not in charts.to_bundle(spec | {"data": {"values": [{"x": 1}]}})["text/html"]


@pytest.mark.parametrize("value", ODD)
def test_the_best_delta_is_that_of_finite_values(value):
    with pytest.warns(UserWarning, match="Left out: 1 rows without a finite A_mean"):
        assert len(charts.at_best(beside(ODD[value]))) == 2
    assert len(charts.at_best(beside(np.float32(0.5)))) == 3
