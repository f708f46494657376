"""The edits that a reader of the book plays with: the same as made by hand, whole, and safe to put on a page."""

import json
from pathlib import Path

import numpy as np
import pytest

import kmod
from kmod import play
from kmod.play import edits as play_edits

PLAY = Path(__file__).parents[1] / "book" / "_static" / "play"
CHOICES = (("Friends", "P449", ("HBO", "CBS")), ("Keith Moon", "P1303", ("piano",)))
DELTAS = (2e-3, None)


@pytest.fixture(scope="module")
def made(_memorised, facts, tmp_path_factory):
    out = tmp_path_factory.mktemp("play")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(play_edits.TRAINING, "steps", 20)
        yield out, play.make(out, _memorised, facts, CHOICES, DELTAS, progress=False)


def entries(data: dict):
    for change in data["changes"]:
        for blocks, edits in change["edits"].items():
            for at, edit in enumerate(edits):
                yield change, blocks, at, edit


def check_whole(data: dict, index: dict):
    assert [change["object"] for change in data["changes"]] == next(
        fact["objects"] for fact in index["facts"] if fact["id"] == data["id"]
    )
    for change, _, at, edit in entries(data):
        assert 0 <= at < len(index["deltas"])
        assert len(edit["top"]) == len(change["before"]) == len(data["statements"])
        assert len(edit["near"]) == len(change["near"])
        assert sum(n for _, n in edit["by"]) == edit["broken"] >= len(edit["list"])
        assert len(edit["list"]) == min(edit["broken"], play_edits.LISTED)
        assert all(n <= data["intact"][label] for label, n in edit["by"])
        assert all(data["facts"][i][2] != now for i, _, now in edit["list"])  # broken: another answer than its object
        assert edit["kept"] <= data["asked"]
    assert all(set(change["edits"]) == set(index["blocks"]) for change in data["changes"])
    assert all(len(edits) == len(index["deltas"]) for c in data["changes"] for edits in c["edits"].values())


def test_index_and_scripts_agree(made):
    out, index = made
    assert index == play.read(out / "index.js")
    assert sorted(p.name for p in out.iterdir()) == ["friends-p449.js", "index.js", "keith-moon-p1303.js"]
    for fact in index["facts"]:
        check_whole(play.read(out / f"{fact['id']}.js"), index)


def test_an_edit_made_again_answers_the_same(made, model, facts):
    out, _ = made
    data = play.read(out / "friends-p449.js")
    known = kmod.known(model, facts)
    change = facts.modify_to([("Friends", "P449", "CBS")])
    own = change.indices[0]
    for _, blocks, at, entry in (e for e in entries(data) if e[0]["object"] == "CBS"):
        ball = kmod.Linf(DELTAS[at]) if DELTAS[at] else None
        edit = kmod.finetune(model, change, block=play_edits.BLOCKS[blocks], constraint=ball, **play_edits.TRAINING)
        found = kmod.evaluate(model, facts, change, edit=edit)
        assert found.A_M.value == pytest.approx(entry["learnt"][0] / data["tests"])
        assert found.A_M_evidences.value == pytest.approx(entry["learnt"][1] / 8)
        assert found.A_FS.value == pytest.approx(entry["kept"] / data["asked"])
        assert found.A_FS_before.value == pytest.approx(data["right"] / data["asked"])
        for shown, answer in zip(entry["top"], found.answers, strict=False):
            assert [p for _, p in shown] == pytest.approx([p for _, p in answer.after[:3]], abs=2e-3)
        with edit(model):
            after = kmod.known(model, facts)
        broken = known & ~after
        broken[own] = False
        assert broken.sum() == entry["broken"]
        named = {(facts[i].subject, facts.relations[facts[i].relation].label) for i in np.flatnonzero(broken)}
        assert {tuple(data["facts"][i][:2]) for i, *_ in entry["list"]} <= named
    assert any(entry["broken"] for *_, entry in entries(data))
    assert any(entry["learnt"][0] == data["tests"] for *_, entry in entries(data))


def test_what_is_done_is_not_done_again(made, model, facts, monkeypatch):
    out, index = made
    before = {path: path.read_bytes() for path in out.iterdir()}

    def refuse(*_, **__):
        raise AssertionError("an edit was made again")

    with monkeypatch.context() as patch:
        patch.setattr("kmod.play.edits.finetune", refuse)
        assert play.make(out, model, facts, CHOICES, DELTAS, progress=False) == index
        assert {path: path.read_bytes() for path in out.iterdir()} == before

        torn = out / "keith-moon-p1303.js"
        torn.write_bytes(before[torn][:100])
        with pytest.raises(AssertionError, match="again"):
            play.make(out, model, facts, CHOICES, DELTAS, progress=False)
        torn.write_bytes(before[torn])


@pytest.mark.parametrize(
    "choice, error",
    [
        (("Mona Lisa", "P170", ("Pablo Picasso",)), "3 word pieces and 'Pablo Picasso' 2"),
        (("Nobody", "P449", ("HBO",)), "unknown subject"),
        (("Friends", "P449", ("NBC",)), "already has the object"),
    ],
)
def test_a_wrong_choice_is_refused_before_any_work(model, facts, tmp_path, choice, error):
    with pytest.raises((KeyError, ValueError), match=error):
        play.make(tmp_path, model, facts, (*CHOICES, choice), DELTAS, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_widget_shows_one_edit(made):
    out, _ = made
    widget = play.widget("Friends", "CBS", "last", None, folder=out)
    page = widget._repr_html_()
    assert 'data-fact="friends-p449" data-object="CBS" data-blocks="last" data-delta="none"' in page
    assert "Friends, original network: NBC → CBS, the last block, without a limit" in page
    assert 'data-delta="0.002"' in play.widget("friends-p449", delta=2e-3, folder=out)._repr_html_()
    assert "NBC" in repr(widget)


@pytest.mark.parametrize(
    "wrong, known",
    [
        ({"fact": "Nobody"}, "Friends, Keith Moon"),
        ({"object": "Paris"}, "HBO, CBS"),
        ({"blocks": "middle"}, "all, first, last"),
        ({"delta": 7}, "0.002, None"),
    ],
)
def test_a_widget_names_what_there_is(made, wrong, known):
    with pytest.raises(ValueError, match=known):
        play.widget(**({"fact": "Friends", "delta": None} | wrong), folder=made[0])


def test_a_widget_without_the_edits_says_so(monkeypatch):
    monkeypatch.setattr("kmod.play.view._folder", lambda: None)
    assert "not of this installation" in play.widget()._repr_html_()


def test_names_are_escaped(made, tmp_path):
    evil = '"><img src=x onerror=alert(1)>'
    for path in made[0].iterdir():
        text = path.read_text(encoding="utf8")
        (tmp_path / path.name).write_text(text.replace('"CBS"', json.dumps(evil)), encoding="utf8")
    page = play.widget("Friends", evil, "all", None, folder=tmp_path)._repr_html_()
    assert "<img" not in page and "&lt;img" in page


def test_the_edits_of_the_book_are_whole():
    index = play.read(PLAY / "index.js")
    assert [(fact["subject"], tuple(fact["objects"])) for fact in index["facts"]] == [
        (subject, objects) for subject, _, objects in play.CHOICES
    ]
    assert {p.stem for p in PLAY.iterdir()} == {"index", *(fact["id"] for fact in index["facts"])}
    assert sum(p.stat().st_size for p in PLAY.iterdir()) < 2_000_000
    for fact in index["facts"]:
        check_whole(play.read(PLAY / f"{fact['id']}.js"), index)
