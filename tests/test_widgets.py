"""The edit lab: the rules of its session, and the lab driven through its Python objects. No browser."""

import copy
import dataclasses
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fae import tiny_bert, toy_facts

import kmod
from kmod import Fact, FactBase, Relation, WrongModelError
from kmod.constraints import CONSTRAINTS
from kmod.editing import methods
from kmod.evaluation import judge
from kmod.fae.finetune import fae_parts
from kmod.lab import Session, Settings
from kmod.lab import broken as broken_module
from kmod.lab.broken import Checker
from kmod.lab.index import OWN, FactIndex, joined, own_statement, plain
from kmod.lab.measure import SampledFacts, measure
from kmod.lab.paste import read_changes
from kmod.lab.settings import offered
from kmod.lab.worker import _seconds_in_a_thread
from kmod.parts import layout
from kmod.progress import report as report_step
from kmod.progress import watching
from kmod.training.history import History
from kmod.widgets import BlockChooser, DeltaExplorer, EditLab, view
from kmod.widgets.choosing import STATEMENT, TABLE
from kmod.widgets.controls import TIP, SettingControls

QUICK = Settings(delta=2e-2, steps=8)


@pytest.fixture(scope="module")
def toy():
    return toy_facts()


@pytest.fixture(scope="module")
def _tiny(toy):
    model = tiny_bert(toy)
    kmod.memorise(model, toy, epochs=1, batch_size=24, lr=3e-3, progress=False)
    return model


@pytest.fixture
def model(_tiny):
    return copy.deepcopy(_tiny)


@pytest.fixture
def session(model, toy):
    return Session(model, toy)


@pytest.fixture
def lab(model, toy, tmp_path):
    return EditLab(model, toy, tmp_path)


def made(session, index=0, new="Quor", settings=QUICK):
    change = session.change(index, new)
    return session.commit(settings.make(session.model, change), change, settings)


def refuses(message, action, *values, error=ValueError):
    with pytest.raises(error, match=message):
        action(*values)


def text(markup):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", markup))


def finished(lab):
    lab.start()
    lab.wait(60)
    return lab.session.steps[-1] if lab.session.steps else None


def rerun(step, session, model, facts):
    """The edit that the recipe of `step` makes."""
    names = {"model": model, "facts": facts}
    exec(session.recipe(step), names)
    return names[f"edit_{step.number}"]


def edited(lab, subject="Arva", relation="P17", new="Quor", steps=8):
    lab.pick(subject, relation)
    lab.choosing.new.value = new
    lab.how.steps.value = steps
    return finished(lab)


def test_ten_edits_and_ten_undos_end_at_the_same_bits(session, toy):
    start = {name: p.clone() for name, p in session.model.net.state_dict().items()}
    for i in range(10):
        made(session, i, next(o for o in ("Quor", "Sedd") if o != toy[i].object), Settings(steps=2))
    assert len({s.edit.after for s in session.steps} | {session.start}) == 11
    for _ in range(10):
        session.undo()
    assert session.stack == [] and session.model.fingerprint() == session.start
    assert all(torch.equal(start[name], p) for name, p in session.model.net.state_dict().items())


def test_only_the_top_is_undone_and_the_refusal_names_what_stands_on_it(session):
    one, two, three = (made(session, i) for i in (0, 1, 4))
    before = session.model.fingerprint()
    refuses(r"edit 1 cannot be undone yet: edits 2, 3 stand on it", session.undo, one)
    refuses(r"edit 2 cannot be undone yet: edit 3 stands on it", session.undo, two)
    assert session.model.fingerprint() == before and session.stack == [one, two, three]
    assert session.undo(three) is three and session.undo(two) is two
    refuses("edit 3 is undone already", session.undo, three)


def test_an_edit_is_redone_only_where_it_was_made_and_the_refusal_says_the_way(session):
    one, two = made(session, 0), made(session, 1)
    session.undo(), session.undo()
    refuses(r"edit 2 cannot be redone here: first redo 1", session.redo, two)
    other = made(session, 4)  # a second branch from the start
    refuses(r"edit 2 cannot be redone here: first undo 3, then redo 1", session.redo, two)
    refuses("edit 3 is applied already", session.redo, other)
    session.undo(other)
    assert session.redo(one) is one and session.redo() is two
    assert session.model.fingerprint() == two.edit.after
    refuses("nothing to redo", session.redo)
    session.undo(), session.undo()
    refuses("nothing to undo", session.undo)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["undo", "redo"]), st.integers(0, 3)), max_size=25))
def test_any_walk_keeps_the_model_in_a_state_that_was_made(walkable, walk):
    session, states = walkable
    for verb, i in walk:
        before = session.model.fingerprint()
        try:
            getattr(session, verb)(session.steps[i])
        except ValueError:
            assert session.model.fingerprint() == before
        assert session.model.fingerprint() == session.state
        assert states[tuple(s.number for s in session.stack)] == session.state
    while session.stack:
        session.undo()
    assert session.model.fingerprint() == session.start


@pytest.fixture(scope="module")
def walkable(_tiny, toy):
    """A session with two branches, 1-2-3 and 4, and the fingerprint of each of its states."""
    session = Session(copy.deepcopy(_tiny), toy)
    states = {(): session.start}
    for i in (0, 1, 4):
        made(session, i, settings=Settings(steps=2))
        states[tuple(s.number for s in session.stack)] = session.model.fingerprint()
    for _ in range(3):
        session.undo()
    made(session, 5, settings=Settings(steps=2))
    states[(4,)] = session.model.fingerprint()
    session.undo()
    return session, states


def test_a_model_changed_outside_is_noticed(session):
    made(session)
    with torch.no_grad():
        next(session.model.net.parameters()).add_(1)
    for verb in (session.check, session.undo, session.redo):
        refuses("changed outside of this lab", verb, error=WrongModelError)


def test_impossible_objects_say_why(session):
    refuses("upper tam is the answer already", session.change, 0, " upper tam")
    refuses("cannot be written", session.change, 0, "漢字")
    refuses("new object", session.change, 0, "  ")
    refuses("holds a slot", session.change, 0, "[MASK]")
    assert session.change(0, "Low Rill").objects == ("Low Rill",)  # several word pieces


def test_an_edit_is_saved_and_read_again(session, toy, _tiny, tmp_path):
    step = made(session)
    path = session.save(step, tmp_path / "edit.safetensors")
    refuses("applied already", session.read, path, error=WrongModelError)
    fresh = Session(copy.deepcopy(_tiny), toy)
    edit, change = fresh.read(path)
    assert change.originals == step.change.originals and change.objects == step.change.objects
    fresh.commit(edit, change, file=str(path))
    assert fresh.model.fingerprint() == session.model.fingerprint()
    made(fresh, 1)
    refuses("this is edit 1, which is applied already, under edit 2", fresh.read, path, error=WrongModelError)
    other = Session(copy.deepcopy(_tiny), toy)
    made(other, 1)
    refuses("made for another model", other.read, path, error=WrongModelError)


@pytest.mark.parametrize(
    ("method", "constraint"),
    [(m, "Linf") for m in offered(kmod.MaskedLM)]
    + [("FTM", "Fisher"), ("FTM", "KFAC"), ("LayerNorm tuning", "Fisher"), ("FTA", "L2"), ("KL", None)],
)
def test_the_recipe_gives_the_same_edit_to_the_bit(method, constraint, session, toy, _tiny):
    if method == "LoRA":
        pytest.importorskip("peft")
    made(session)
    step = made(session, 1, "Sedd", Settings(method, 1, constraint, 1e-2, 3))
    again = rerun(step, session, copy.deepcopy(_tiny), toy)
    assert again.after == step.edit.after
    assert all(torch.equal(again.xor[name], x) for name, x in step.edit.xor.items())


def test_the_recipe_of_a_statement_of_ones_own_and_of_a_loaded_edit(session, toy, _tiny, tmp_path):
    loaded = session.save(made(session), tmp_path / "one's own.safetensors")
    session.undo()
    edit, change = session.read(loaded)
    session.commit(edit, change, file=str(loaded))
    own = own_statement("The 'twin' of Arva is [MASK].", "Belm", ("Who twins Arva? [MASK]",), "Arva")
    change = session.own_change(own, "Low Rill")
    step = session.commit(QUICK.make(session.model, change), change, QUICK)
    again = rerun(step, session, copy.deepcopy(_tiny), toy)
    assert again.after == step.edit.after
    assert again.made["base_fingerprint"] == step.edit.made["base_fingerprint"]
    with pytest.raises(ValueError, match="as the session began"):  # it stands on edits now
        rerun(step, session, session.model, toy)


def test_every_part_of_a_fae_that_is_offered_can_be_edited_in_every_ball(toy):
    model = kmod.build_fae(tiny_bert(toy), toy, entity_size=16)
    change = toy.modify(2, seed=0)
    places = [place for _, place in SettingControls(model).block.options]
    assert places == ["AWT", "all", 0, 1, 2]
    cases = [(m, place, "Fisher") for m in ("UPDATE + FTM", "FTM") for place in ("all", 1, "AWT")]
    cases += [("FTM", "AWT", name) for name in CONSTRAINTS if name != "Fisher"]
    for method, place, constraint in cases:
        chosen = Settings(method, place, constraint, 1e-2, 1, family=kmod.FaE)
        assert chosen.call().startswith(
            f"kmod.finetune_fae(model, change, where={place!r}, constraint=kmod.{constraint}("
        )
        edit = chosen.make(model, change)
        trained = {n for n, (block, _) in layout(model.net).items() if block in (None, place) or place == "all"}
        assert set(edit.xor) - {"fact_memory.tails"} == trained == set(fae_parts(model, place)), chosen
    diagonal = kmod.fisher_diagonal(model, change, component="everything", evidences=5)
    assert not diagonal["detection.weight"].any() and diagonal["entity_embeddings.weight"].any()


def test_settings_refuse_unknown_names():
    for values, message in (
        (("LoRA", "AWT"), "LoRA edits a block's number or all, not AWT"),
        (("ROME", "all"), "ROME edits a block's number, not all"),
        (("FTX",), "no method 'FTX'; known: FTM"),
        (("FTM", 0, "L7"), "no constraint 'L7'; known: Linf"),
        (("EWC", 0, None, 1, 1, 0, (("weight", -1.0),)), "weight must be a number from 0"),
        (("FTM", 0, None, 1, 1, 0, (("rank", 2),)), "no option 'rank'"),
    ):
        refuses(message, Settings, *values)


def interpolated(model, change, *, block, steps, share, power):
    """A method that the registry does not have."""
    far = kmod.finetune(model, change, block=block, steps=steps)
    weights = dict(model.net.named_parameters())
    new = {name: weights[name] + share**power * moved for name, moved in far.difference(model).items()}
    return kmod.Edit.between(model, {k: v.detach() for k, v in new.items()}, far.made | {"method": "interpolated"})


def test_a_method_that_is_added_to_the_registry_is_in_the_lab_and_its_recipe_runs(model, toy, tmp_path, monkeypatch):
    own = {"share": methods.Option(0.5, high=1), "power": methods.Option(1, 1, whole=True)}
    entry = methods.Method(interpolated, frozenset({"block", "steps"}), dial="share", options=own)
    monkeypatch.setitem(methods.METHODS, "interpolated", entry)
    original, lab = copy.deepcopy(model), EditLab(model, toy, tmp_path)
    lab.how.method.value = "interpolated"
    assert lab.how.constraint.disabled and not lab.how.delta.disabled and not lab.how.block.disabled
    (power,) = lab.how.own.children
    lab.pick("Arva", "P17")
    lab.choosing.new.value, power.value = "Quor", 0
    assert "power must be a whole number from 1" in lab.run.estimate.value
    power.value, lab.how.delta.value = 2, 0.5
    step = edited(lab)
    assert str(step.settings) == "interpolated, block 2, δ = 0.5, 8 steps, power = 2", lab.run.status.value
    assert rerun(step, lab.session, original, toy).after == step.edit.after


def test_search_finds_what_a_plain_search_finds(toy):
    index = FactIndex(toy)
    for query in ("arva", "country quor", "TOWN arva", "low", "P17", "xyz", "", "rill low"):
        words = plain(query).split()
        lines = [plain(f"{f.subject} {toy.relations[f.relation].label} {f.relation} {f.object}") for f in toy]
        expected = {i for i, line in enumerate(lines) if all(word in line for word in words)}
        assert set(index.search(query)) == expected, query
    assert toy[index.search("belm")[0]].subject == "Belm"
    assert len(index.search("", most=7)) == 7


def test_search_ignores_accents_and_is_quick_on_many_facts(atlas):
    index = FactIndex(atlas)
    assert any("Brasília" in index.name(i) for i in index.search("brasilia"))
    relation = Relation("P1", "place", ("[X] is in [Y].",), ("[X] lies in [Y].",))
    many = FactIndex(FactBase([Fact(f"Thing {i}", "P1", f"Place {i % 97}") for i in range(34_039)], {"P1": relation}))
    assert many.search("thing 33999") == [33999]
    started = time.process_time()
    for query in ("t", "th", "thi", "thing 3", "place 96", "no such thing"):
        many.search(query)
    assert time.process_time() - started < 2  # six keys, each at most 50 ms on an idle core


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("Einstien", "Albert Einstein"), ("einstein", "Albert Einstein"), ("franze", "France"),
        ("capital of France", "France · capital"), ("What is the capital of France?", "France · capital"),
        ("frnace cappital", "France · capital"), ("capital Japan please", None), ("xyzzy plugh", None),
    ],
)  # fmt: skip
def test_search_takes_questions_and_misspellings(atlas, query, first):
    index = FactIndex(atlas)
    found, words = index.find(query)
    if first is None:
        assert (found, words) == ([], "")
    else:
        assert index.name(found[0]).startswith(first)
        assert all(set(words.split()) <= set(index.lines[i].split()) for i in found[:1])


def test_the_lab_says_what_it_searched_for_and_when_there_is_nothing(lab):
    hits = lab.choosing.hits
    lab.choosing.search.value = "arva country"
    assert text(hits.value) == ""
    lab.choosing.search.value = "What is the country of Belmm?"
    assert "found by: country belm" in text(hits.value) and lab.choosing.found.options
    lab.choosing.search.value = "zzzz"
    assert "No fact has these words" in text(hits.value) and not lab.choosing.found.options


def test_the_lab_begins_with_an_example_and_the_recipe_makes_its_model_and_facts(atlas, tmp_path):
    facts = atlas.subset([f for f in atlas if f.relation == "P36"], "capitals", "of the atlas")
    lab = EditLab(kmod.load_model("nano-atlas"), facts, tmp_path)
    assert lab.choosing.fact().subject == "France" and lab.choosing.new.value == "Rome"
    assert "Can be written" in lab.choosing.note.value
    assert finished(lab) and "if facts.fingerprint() !=" in lab.session.recipe(lab.session.steps[0])
    session = Session(kmod.load_model("nano-atlas"), atlas)
    step = made(session, atlas.find("France", "P36"), "Rome", Settings(block=3, steps=3))
    made(session, atlas.find("Spain", "P36"), "Berlin", Settings(block=3, steps=2))  # stands on it when the recipe runs
    names = {}
    exec(session.recipe(step), names)
    assert names["edit_1"].after == step.edit.after and names["model"] is not session.model


def test_suggestions_put_the_same_relation_first(toy):
    found = FactIndex(toy).suggestions(toy[0])
    assert set(found[:3]) == {"Low Rill", "Quor", "Sedd"} and "Upper Tam" not in found and len(found) > 3


def test_neighbours_are_what_their_kind_says(toy):
    index, fact = FactIndex(toy), toy[0]
    near = index.neighbours(fact, [0])
    everything = [j for kind in near.values() for j in kind]
    assert all(near.values()) and len(everything) == len(set(everything)) and 0 not in everything
    for j in near["same subject"]:
        assert toy[j].subject == fact.subject and toy[j].relation != fact.relation
    for j in near["same old object"]:
        assert toy[j].object == fact.object and toy[j].subject != fact.subject
    for j in near["same relation"]:
        assert toy[j].relation == fact.relation and toy[j].subject != fact.subject
    assert not set(everything) & {j for k in index.neighbours(fact, everything).values() for j in k}


def test_a_statement_of_ones_own(toy):
    index = FactIndex(toy)
    assert index.subject_in("Where is arva? In [MASK].") == "Arva"
    assert index.subject_in("[MASK] is good.") == "is good"
    own = own_statement("Arva has [MASK].", "x", (), "Arva")
    base = joined(toy, own)
    assert len(base) == len(toy) + 1 and base[-1] == own and base.tests(own) == () and own.relation == OWN
    for bad in ("no slot", "[MASK] and [MASK]", "[X] is [MASK]"):
        refuses(r"exactly once", own_statement, bad, "x", (), "it")
    refuses("the statement itself", own_statement, "A [MASK].", "x", ("A [MASK].",), "it")


@pytest.mark.parametrize("mark", [",", "\t", ";"])
def test_a_table_is_read_and_bad_lines_are_refused_by_number(mark, session, toy):
    rows = [
        ("subject", "relation", "object"),
        ("Arva", "country", "Quor"),
        ("Nowhere", "P17", "Quor"),
        ("", "", ""),
        ("Belm", "P17", "漢字"),
        ("Belm", "P99", "Quor"),
        ("Cort", "P17"),
        ("arva", "p17", "Sedd"),
        ("Dune", "P17", "Sedd"),
        ("Dune", "P190", "Low Rill"),
    ]
    before = session.model.fingerprint()
    change, refused = read_changes("\n".join(mark.join(row) for row in rows), session)
    assert [(toy[i].subject, toy[i].relation, new) for i, new in zip(change.indices, change.objects, strict=True)] == [
        ("Arva", "P17", "Quor"),
        ("Dune", "P190", "Low Rill"),
    ]
    assert [line.split(":")[0] for line in refused] == [f"line {n}" for n in (3, 5, 6, 7, 8, 9)]
    for line, why in zip(
        refused,
        ("Nowhere", "cannot be written", "unknown relation 'P99'; known: P17, P190", "three cells", "by line 2 already",
         "already has the object"),
        strict=True,
    ):  # fmt: skip
        assert why in line and "\n" not in line
    assert session.model.fingerprint() == before
    assert read_changes("", session) == (None, []) and read_changes("a,b", session)[0] is None


def test_a_fact_with_several_objects_asks_which_in_the_lab(model, toy, tmp_path):
    several = Fact("Arva", "P17", "Quor")
    lab = EditLab(model, kmod.FactBase([*toy, several], toy.relations), tmp_path)
    old, new = toy[toy.find("Arva", "P17")].object, "Low Rill"
    index = len(toy)
    change, refused = read_changes(f"Arva,P17,{new}\nArva,P17,quor -> {new}\nArva,P17,{old} → {new}", lab.session)
    assert (change.indices, change.objects) == ((index,), (new,))
    assert "Arva has 2 objects in P17" in refused[0] and "by line 2 already" in refused[1] and len(refused) == 2
    refuses("Arva has 2 objects in P17", lab.pick, "Arva", "P17")
    lab.pick("Arva", "P17", "Quor")
    assert lab.choosing.fact() == several


def test_the_report_counts_as_evaluate_does(session, toy):
    index, sample = FactIndex(toy), SampledFacts(session.model, toy)
    change = toy.modify_to([("Arva", "P17", "Quor"), ("Belm", "P190", "Low Rill")])
    edit = kmod.finetune(session.model, change, constraint=kmod.Linf(2e-2), steps=8)
    before = session.model.fingerprint()
    report = measure(session.model, index, sample, change, edit, set())
    assert session.model.fingerprint() == before
    result = kmod.evaluate(session.model, toy, change, edit=edit)
    assert (report.learnt, report.kept, report.kept_before, report.lost) == (
        result.A_M, result.A_FS, result.A_FS_before, result.delta_A_FS,
    )  # fmt: skip
    lines = [line for line in report.lines if line.kind == "unseen phrasing"]
    for line, answer in zip(lines, result.answers, strict=True):
        assert line.statement == answer.statement
        for ours, theirs in ((line.before, answer.before), (line.after, answer.after)):  # in batches of other sizes
            assert dict(ours) == pytest.approx(dict(theirs), abs=1e-5)
    difference = edit.difference(session.model)
    assert sum(m.l2**2 for m in report.moved) == pytest.approx(
        sum(float(d.double().square().sum()) for d in difference.values())
    )
    assert max(m.largest for m in report.moved) == pytest.approx(max(float(d.abs().max()) for d in difference.values()))
    assert [m.part for m in report.moved] == ["block 0", "block 1", "block 2"]
    avoiding = measure(session.model, index, sample, change, edit, {3})
    assert avoiding.kept.facts == report.kept.facts - 1


def test_a_training_is_watched_in_its_own_thread_alone_and_can_be_ended(model, toy):
    change = toy.modify(2, seed=0)
    seen, elsewhere = [], []
    before = model.fingerprint()
    with watching(lambda history: seen.append(history.steps)):
        edit = kmod.finetune(model, change, steps=3)
        thread = threading.Thread(target=lambda: elsewhere.append(kmod.finetune(model, change, steps=3)))
        thread.start()
        thread.join()
        kmod.rome(model, change, block=0, steps=2)
    assert seen == [1, 2, 3, 1, 2] and elsewhere[0].after == edit.after
    kmod.finetune(model, change, steps=1)
    assert len(seen) == 5

    def end(history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), watching(end):
        kmod.finetune(model, change, steps=3)
    assert model.fingerprint() == before


def press_enter(text):
    text._handle_string_msg(text, {"event": "submit"}, [])  # as it comes from a browser


def test_enter_takes_the_first_fact_even_before_the_last_letters(lab):
    search, found = lab.choosing.search, lab.choosing.found
    for before, at_last in (("arva country", "arva country"), ("b", "belm"), ("belm", "belm town")):
        search.value = ""
        search.value = before
        press_enter(search)
        search.value = at_last  # what the browser held back
        assert found.value == found.options[0][1] == lab.choosing.index.search(at_last)[0]
        assert lab.session.facts[found.value].subject in text(lab.choosing.answers.value)
        lab.choosing.new.value = lab.choosing.new.options[0]
        assert "Can be written" in text(lab.choosing.note.value)


def test_a_chosen_fact_stays_while_the_search_still_finds_it(lab):
    search, found = lab.choosing.search, lab.choosing.found
    search.value = "arva"
    found.index = 1
    chosen = found.value
    search.value = "arv"
    assert found.value == chosen
    lab.choosing.new.value = lab.choosing.new.options[0]
    assert text(lab.run.estimate.value)
    search.value = "belm"
    assert found.value is None
    shown = (lab.choosing.answers, lab.choosing.note, lab.run.estimate)
    assert [text(area.value) for area in shown] == ["", "", ""]
    search.value = ""
    press_enter(search)
    search.value = "belm"  # typed afterwards: Enter on nothing promised nothing
    assert found.options and found.value is None


def test_an_edit_from_search_to_undo(lab):
    start = lab.session.start
    lab.choosing.search.value = "arva country"
    assert lab.choosing.found.index is None
    lab.choosing.found.index = 0
    assert "Arva lies in [MASK]" in text(lab.choosing.answers.value)
    assert lab.choosing.new.options[0] in ("Low Rill", "Quor", "Sedd")
    lab.choosing.new.value = "Quor"
    assert "Can be written, in one piece" in text(lab.choosing.note.value)
    assert re.search(r"at most \d+\.\d s", text(lab.run.estimate.value))
    lab.how.early.value = False
    assert re.search(r"about \d+\.\d s", text(lab.run.estimate.value))
    lab.how.steps.value, lab.how.radius.value = 40, "0.05"
    assert lab.how.delta.value == 0.05
    lab.run.edit.click()
    lab.wait(60)
    step = lab.session.steps[0]
    assert step.edit.made["steps"] == 40 and lab.session.model.fingerprint() == step.edit.after != start
    kinds = ("same subject", "same relation", "same old object")
    for part in ("Arva, country: Upper Tam → Quor", *kinds, "A_F∖S", "block 2"):
        assert part in text(lab.run.result.value)
    assert "step 40 of 40" in lab.run.curve.value and lab.run.progress.value == 40
    assert step.report.lines[0].after[0][0] == "quor"
    assert lab.session.object_now(0) == "Quor" and lab.session.object_now(1) == "Low Rill"
    lab.history.undo_button.click()
    assert lab.session.model.fingerprint() == start and "undone" in lab.run.status.value
    lab.history.redo_button.click()
    assert lab.session.model.fingerprint() == step.edit.after
    assert lab.session.stack == [step] and lab.history.list.value is step


def test_undo_by_clicks_goes_from_the_top_to_the_start_and_down_to_a_lower_edit_at_once(lab):
    edited(lab), edited(lab, "Belm"), edited(lab, "Cort", "P17", "Sedd")
    history, session = lab.history, lab.session
    assert len(session.stack) == 3, lab.run.status.value
    assert history.undo_button.description == "Undo"
    history.list.value = session.steps[1]
    assert history.undo_button.description == "Undo down to here (2)"
    history.undo_button.click()
    assert session.stack == session.steps[:1] and "Edits 3, 2 are undone" in lab.run.status.value
    assert session.model.fingerprint() == session.steps[0].edit.after and history.undo_button.description == "Undo"
    history.redo_button.click(), history.redo_button.click()
    assert session.stack == session.steps
    for _ in range(3):
        history.undo_button.click()
    assert session.model.fingerprint() == session.start and not session.stack
    refuses("undone already", session.undo_to, session.steps[0])


def test_the_lab_shows_what_the_session_is_whoever_changes_it(lab):
    one, two = edited(lab), edited(lab, "Belm")
    assert "Belm" in lab.run.result.value and [s for _, s in lab.history.list.options] == [one, two]
    lab.session.undo()  # from a cell, not by the button
    assert [label[:7] for label, _ in lab.history.list.options] == ["applied", "undone "]
    assert lab.history.list.value is one and "Arva" in lab.run.result.value and "Arva" in text(lab._page())
    lab.session.undo()
    assert "as it was at the start" in lab.run.result.value and lab.run.verdict.value == lab.run.broken.value == ""
    lab.session.redo(one)
    assert "✓" in lab.run.verdict.value or "✗" in lab.run.verdict.value or "◐" in lab.run.verdict.value


def test_the_verdict_counts_as_asking_every_fact_before_and_after_does(lab, toy):
    model = copy.deepcopy(lab.session.model)
    step = edited(lab, steps=40)
    lab.wait(60, broken=True)
    before = kmod.score(model, toy, ["tests"])
    step.edit.apply(model)
    after = kmod.score(model, toy, ["tests"], before.examples)
    others = np.arange(len(toy)) != step.change.indices[0]
    broke = np.flatnonzero(before.known & ~after.known & others)
    broken = lab._broken[step]
    assert [i for i, _ in broken.facts] == broke.tolist() and broken.done and broken.before == 0 and broken.edits == ()
    assert broken.known == (before.known & others).sum()
    said = text(lab.run.verdict.value)
    tests = list(toy.tests(step.change.originals[0]))
    assert f"{sum(judge(model, tests, ['Quor'] * len(tests))[1])} of {len(tests)} unseen phrasing" in said
    assert f"; {len(broke)} of {broken.known} other facts broke" in said
    for i, wrong in broken.facts:
        assert f"{toy[i].subject}, {toy.relations[toy[i].relation].label} → {wrong}" in text(lab.run.broken.value)
        answers, right = judge(model, list(toy.tests(toy[i])), [toy[i].object] * len(toy.tests(toy[i])), 1)
        assert wrong.lower() in [a[0][0].lower() for a, ok in zip(answers, right, strict=True) if not ok]


def test_what_edits_broke_together_is_counted_and_earlier_edits_are_asked_again(lab, toy):
    lab.how.delta.value, lab.how.block.value = 0.3, "all"  # wide enough to break facts and earlier edits
    start = copy.deepcopy(lab.session.model)
    one, two = edited(lab, steps=30), edited(lab, "Belm", new="Sedd", steps=30)
    lab.wait(60, broken=True)
    broken, known = lab._broken[two], kmod.score(start, toy, ["tests"]).known
    one.edit.apply(start)
    middle = kmod.score(start, toy, ["tests"]).known
    now = kmod.score(lab.session.model, toy, ["tests"])
    rest = ~np.isin(np.arange(len(toy)), [*one.change.indices, *two.change.indices])
    assert broken.before == (known & ~middle & ~now.known & rest).sum() > 0
    assert [i for i, _ in broken.facts] == np.flatnonzero(middle & ~now.known & rest).tolist()
    ((step, right, asked),) = broken.edits
    tests = list(toy.tests(toy[one.change.indices[0]]))
    assert step is one and (right, asked) == (
        sum(judge(lab.session.model, tests, ["Quor"] * len(tests))[1]),
        len(tests),
    )
    said = text(lab.run.broken.value)
    assert f"Earlier edits had broken {broken.before} more" in said and f"{right} of {asked} still answered" in said
    lab.session.undo()
    alone = np.arange(len(toy)) != one.change.indices[0]
    lab.wait(60, broken=True)  # the first edit's answers, which the second one's comparison has asked for
    assert [i for i, _ in lab._broken[one].facts] == np.flatnonzero(known & ~middle & alone).tolist()


def test_asking_again_ends_when_the_session_goes_on_and_goes_on_where_it_ended(session, toy, monkeypatch):
    monkeypatch.setattr(broken_module, "PORTION", 4)
    seen, asked = [], []
    checker = Checker(session, seen.append)
    ask = checker._known_in

    def counting(start):
        asked.append(start)
        if len(asked) == 3:
            checker.stop()
        return ask(start)

    monkeypatch.setattr(checker, "_known_in", counting)
    checker.start()
    checker.wait(30)
    assert asked == [0, 4, 8] and not seen
    checker.start()
    checker.wait(30)
    assert asked == [0, 4, 8, 12, 16, 20] and not seen, "nothing is compared before there is an edit"
    made(session)
    checker.start()
    checker.wait(30)
    assert [b.asked for b in seen] == [4, 8, 12, 16, 20, 24] and [b.done for b in seen] == [False] * 5 + [True]
    before = list(seen)
    with checker.held():
        made(session, 1)
        checker.start()
        time.sleep(0.2)
        assert seen == before
    checker.wait(30)
    assert len(seen) == 12 and seen[-1].step is session.stack[-1]


def test_an_error_goes_when_its_cause_has_gone(lab):
    def alert():
        return "alert" in lab.run.status.value

    lab.run.edit.click()
    assert alert() and "choose a fact" in lab.run.status.value
    lab.choosing.search.value = "arva country"
    assert not alert()
    lab.choosing.tabs.selected_index = STATEMENT
    lab.choosing.own.value = "no slot"
    assert alert() and "exactly once" in lab.run.status.value
    lab.choosing.own.value = "The river of Arva is the [MASK]."
    assert not alert()
    lab.history.path.value = "nowhere.safetensors"
    lab.history.load_button.click()
    assert alert()
    lab.pick("Arva", "P17")
    lab.choosing.new.value = "Quor"
    assert not alert() and "24 facts" in lab.run.status.value


def test_a_new_object_is_not_carried_over_to_another_fact(lab):
    lab.pick("Arva", "P17")
    lab.choosing.new.value = "Quor"
    lab.pick("Belm", "P17")
    assert lab.choosing.new.value == "" and not text(lab.choosing.note.value)
    lab.choosing.new.value = "Quor"
    lab.choosing.tabs.selected_index = STATEMENT
    assert lab.choosing.new.value == ""


def test_an_empty_radius_is_refused_and_not_taken_for_a_small_one(lab):
    lab.pick("Arva", "P17")
    lab.choosing.new.value = "Quor"
    for typed in ("", "wide", "-1", "0", "1e9"):
        lab.how.radius.value = typed
        assert "δ must be a number from 1e-05 to 10" in lab.run.estimate.value and "alert" in lab.run.estimate.value
        lab.run.edit.click()
        assert "δ must be a number" in lab.run.status.value and not lab.worker.busy and not lab.session.steps
    lab.how.radius.value = "0,02"
    assert lab.how.delta.value == 0.02 and "alert" not in lab.run.estimate.value
    lab.how.radius.value, lab.how.constraint.value = "", None
    assert lab.how.settings().constraint is None, "no ball, no radius"


@pytest.mark.parametrize("method", ["ROME", "MEMIT", "AlphaEdit", "FT-L"])
def test_a_method_starts_at_its_own_block_and_its_defaults_work(lab, method):
    lab.how.method.value = method
    assert edited(lab).edit.made["method"].startswith(method.split()[0]), text(lab.run.status.value)


def test_edits_that_differ_in_settings_differ_in_the_list(lab):
    edited(lab)
    lab.session.undo()
    lab.how.delta.value = 2e-2
    edited(lab)
    edited(lab, "Belm")
    first, second, third = (label for label, _ in lab.history.list.options)
    assert first.endswith("(Linf δ = 0.003)") and second.endswith("(Linf δ = 0.02)") and third.endswith("Quor")


def test_an_edit_ends_when_its_loss_is_flat(lab):
    step = edited(lab, steps=2000)
    assert step.edit.made["steps"] < 200 and "flat loss" in step.edit.made["stopped"]
    assert f"after {step.edit.made['steps']} of 2000 steps, as the loss was flat" in lab.run.status.value
    assert f"step {step.edit.made['steps']} of {step.edit.made['steps']}" in lab.run.curve.value
    lab.session.undo()
    lab.how.early.value = False
    assert edited(lab, steps=150).edit.made["steps"] == 150


def test_the_estimate_of_a_step_is_not_that_of_the_first(lab, monkeypatch):
    def fit(*_, **__):
        history = History()
        for seconds in (3.0, 3.5, 3.6, 3.9):  # the first step does what is done once
            history.note({"loss": 1.0})
            history.seconds = seconds
            report_step(history)

    monkeypatch.setattr("kmod.lab.worker.fit", fit)
    change = lab.session.change(0, "Quor")
    few, many = (lab.worker.seconds(change, Settings(steps=n)) for n in (10, 1010))
    assert many - few == pytest.approx(100)


@pytest.mark.parametrize("error", [RuntimeError("boom\nsecond line"), KeyboardInterrupt(), MemoryError()])
def test_a_crash_in_the_loop_leaves_the_model_and_a_lab_that_works(lab, error, monkeypatch):
    start = lab.session.start
    watched = type(lab)._watch

    def crash(self, training):
        watched(self, training)
        if training.steps == 3:
            raise error

    monkeypatch.setattr(lab.worker, "watch", lambda training: crash(lab, training))
    assert edited(lab) is None
    assert lab.session.model.fingerprint() == start and not lab.session.steps
    said = text(lab.run.status.value)
    assert "the model is as it was" in said and "second line" not in said
    assert not lab.run.edit.disabled and lab.run.stop.disabled
    monkeypatch.undo()
    assert edited(lab).edit.after == lab.session.model.fingerprint()


def test_a_crash_while_measuring_or_applying_leaves_the_model(lab, monkeypatch):
    monkeypatch.setattr("kmod.lab.worker.measure", lambda *_: 1 / 0)
    assert edited(lab) is None and "ZeroDivisionError" in lab.run.status.value
    monkeypatch.undo()
    toggle = kmod.Edit._toggle

    def half(self, model):
        toggle(self, model)
        if model is lab.session.model:
            toggle(self, model)
            raise MemoryError

    monkeypatch.setattr(kmod.Edit, "_toggle", half)
    assert edited(lab) is None and lab.session.model.fingerprint() == lab.session.start
    monkeypatch.undo()
    assert edited(lab) is not None


def test_the_estimate_is_new_when_an_edit_has_ended(lab, monkeypatch):
    crashed = []
    monkeypatch.setattr(lab.worker, "seconds", lambda *_: 1.0 + len(lab.session.steps) + 5 * len(crashed))
    lab.pick("Arva", "P17")
    lab.choosing.new.value = "Quor"
    assert "at most 1.0 s" in lab.run.estimate.value
    edited(lab)
    assert "at most 2.0 s" in lab.run.estimate.value

    def crash(training):
        crashed.append(training)
        raise RuntimeError("boom")

    monkeypatch.setattr(lab.worker, "watch", crash)
    edited(lab, "Belm")
    assert "at most 7.0 s" in lab.run.estimate.value and "boom" in lab.run.status.value
    assert not lab.run.edit.disabled


def test_an_estimate_that_fails_says_why_and_stops_nothing(lab, monkeypatch):
    with pytest.raises(ZeroDivisionError):
        _seconds_in_a_thread(lambda: 1 / 0)
    monkeypatch.setattr("kmod.lab.worker.fit", lambda *_, **__: 1 / 0)
    lab.pick("Arva", "P17")
    lab.choosing.new.value = "Quor"
    assert "no estimate: ZeroDivisionError" in lab.run.estimate.value
    assert "Can be written" in lab.choosing.note.value and edited(lab) is not None


def test_stop_ends_a_long_edit_and_the_lab_answers_meanwhile(lab):
    lab.pick("Arva", "P17")
    lab.choosing.new.value, lab.how.steps.value, lab.how.early.value = "Quor", 5000, False
    lab.run.edit.click()
    deadline = time.time() + 30
    while lab.run.progress.value < 2 and time.time() < deadline:
        time.sleep(0.01)
    assert lab.worker.busy and lab.run.edit.disabled and not lab.run.stop.disabled
    lab.choosing.search.value = "belm country"  # asked and answered while it runs, by the model as it was
    lab.choosing.found.index = 0
    assert "Belm lies in [MASK]" in text(lab.choosing.answers.value)
    assert lab.session.model.fingerprint() == lab.session.start
    refuses("an edit is running", lab.worker.start, None, None)
    lab.run.stop.click()
    lab.wait(30)
    assert not lab.worker.busy and not lab.session.steps and "stopped" in lab.run.status.value
    assert lab.session.model.fingerprint() == lab.session.start
    assert edited(lab) is not None


def test_an_interrupt_while_waiting_stops_the_edit(lab, monkeypatch):
    lab.pick("Arva", "P17")
    lab.choosing.new.value, lab.how.steps.value = "Quor", 5000
    lab.start()
    join = threading.Thread.join

    def interrupted(thread, seconds=None):
        monkeypatch.setattr(threading.Thread, "join", join)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lab.wait()
    assert not lab.worker.busy and lab.session.model.fingerprint() == lab.session.start


def test_what_is_missing_is_said_in_one_line(lab):
    lab.run.edit.click()
    assert "choose a fact" in lab.run.status.value
    lab.pick("Arva", "P17")
    lab.run.edit.click()
    assert "type or choose a new object" in lab.run.status.value
    lab.choosing.new.value = "漢字"
    assert "cannot be written" in lab.choosing.note.value
    lab.run.edit.click()
    assert "cannot be written" in lab.run.status.value and not lab.run.edit.disabled
    lab.history.path.value = "nowhere.safetensors"
    lab.history.load_button.click()
    assert "no edit at nowhere.safetensors" in lab.run.status.value
    for mark in ("[SEP]", "Quor [CLS]"):
        lab.choosing.new.value = mark
        assert "cannot be written" in lab.choosing.note.value
    lab.choosing.new.value = "Qour"
    assert "Did you mean Quor?" in lab.choosing.note.value
    assert lab.session.model.fingerprint() == lab.session.start


def test_a_statement_of_ones_own_in_the_lab(lab):
    choosing = lab.choosing
    choosing.tabs.selected_index = STATEMENT
    choosing.own.value = "The river of Arva is the [MASK]."
    assert text(choosing.answers.value).count("%") == 3
    choosing.others.value = "Arva stands on the [MASK].\n\n"
    choosing.new.value = "Low Rill"
    assert "in 2 pieces" in choosing.note.value
    lab.how.steps.value, lab.how.delta.value = 60, 0.1
    step = finished(lab)
    assert step.report.lines[0].after[0][0] == "low rill"
    assert {line.kind for line in step.report.lines} == {"learnt from", "unseen phrasing", "same subject"}
    choosing.own.value = "no slot"
    assert "exactly once" in lab.run.status.value


def test_a_table_in_the_lab(lab, toy):
    lab.choosing.tabs.selected_index = TABLE
    lab.choosing.table.value = "Arva, P17, Quor\nnonsense\nBelm, P17, Sedd"
    said = text(lab.choosing.answers.value)
    assert "Changes that can be made: 2. Lines that are refused: 1." in said and "line 2" in said
    lab.how.steps.value = 3
    assert "at most" in lab.run.estimate.value
    assert [f[0] for f in finished(lab).edit.made["facts"]] == ["Arva", "Belm"]


def test_comparing_saving_and_loading(lab, model, toy, tmp_path):
    one = edited(lab)
    lab.history.undo_button.click()
    lab.how.method.value = "LayerNorm tuning"
    two = edited(lab)
    lab.history.other.value = one
    lab.history.compare_button.click()
    shown = text(lab.run.result.value)
    assert "FTM" in shown and "LayerNorm tuning" in shown and "Two edits side by side" in shown
    lab.history.save_button.click()
    path = tmp_path / f"edit-{two.slug}.safetensors"
    assert kmod.Edit.load(path).after == two.edit.after
    assert path.with_suffix(".py").read_text("utf-8") == lab.session.recipe(two)
    assert lab.history.files.value.count("download=") == 2
    lab.history.undo_button.click()
    other = EditLab(lab.session.model, toy, tmp_path)
    other.history.path.value = str(path)
    other.history.load_button.click()
    assert other.session.model.fingerprint() == two.edit.after
    assert other.session.steps[0].report.learnt == two.report.learnt


def test_everything_typed_is_escaped(toy, tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    facts = FactBase([*toy, Fact(f"Arva {evil}", "P17", "Quor")], toy.relations, evil)
    lab = EditLab(tiny_bert(facts), facts, tmp_path)
    lab.pick(f"Arva {evil}", "P17")
    lab.choosing.new.value = f"Sedd {evil}"
    lab.how.steps.value = 2
    finished(lab)
    lab.history.save_button.click()
    lab.history.other.value = lab.session.steps[0]
    pages = [lab.choosing.answers.value, lab.choosing.note.value, lab.run.result.value, lab.history.files.value]
    lab.history.compare_button.click()
    pages += [lab.run.result.value, lab._page()]
    lab.choosing.tabs.selected_index = TABLE
    lab.choosing.table.value = f"{evil},P17,Quor"
    pages += [lab.choosing.answers.value]
    lab.choosing.tabs.selected_index = STATEMENT
    lab.choosing.own.value = f"{evil} [MASK] [MASK]"
    pages += [lab.run.status.value]
    assert all("<img" not in page for page in pages)
    assert sum("&lt;img" in page for page in pages) >= 6


def test_controls_have_labels_and_places_that_stay(lab):
    import ipywidgets as w

    def walk(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    for control in walk(lab):
        if isinstance(control, (w.Text, w.Textarea, w.Select, w.Dropdown, w.Combobox, w.FloatLogSlider, w.Button)):
            assert control.description.strip() and getattr(control, TIP if control.has_trait(TIP) else "tooltip"), (
                control
            )
    for place in (lab.run.status, lab.run.curve, lab.run.result, lab.choosing.answers, lab.choosing.note):
        assert place.layout.height.endswith("px") and place.layout.overflow == "auto"


def test_settings_that_a_method_does_not_take_are_disabled(lab):
    lab.how.method.value = "LoRA"
    assert lab.how.constraint.disabled and lab.how.delta.disabled and not lab.how.block.disabled
    lab.how.method.value = "loss-constrained"
    assert lab.how.constraint.disabled and not lab.how.delta.disabled
    lab.how.method.value, lab.how.constraint.value = "FTM", None
    assert not lab.how.constraint.disabled and lab.how.delta.disabled


def test_a_fae_is_edited_by_its_memory_and_shows_what_it_retrieves(toy, tmp_path):
    model = kmod.build_fae(tiny_bert(toy), toy, entity_size=16)
    lab = EditLab(model, toy, tmp_path)
    assert list(lab.how.method.options) == list(kmod.fae.METHODS) == list(offered(model))
    step = edited(lab)
    assert step.edit.made["method"] == "UPDATE", lab.run.status.value
    (retrieval,) = step.report.retrieved
    assert "Upper Tam" in str(retrieval.before) and "Quor" in str(retrieval.after)
    assert "Facts retrieved" in lab.run.result.value and "fact memory" in lab.run.result.value
    few, many = (lab.worker.seconds(step.change, dataclasses.replace(step.settings, steps=n)) for n in (1, 5000))
    assert few == many > 2 * lab.worker._seconds_to_measure + 0.3, "an UPDATE takes time, and no steps"
    lab.how.method.value = "UPDATE + FTM"
    lab.how.block.value = "AWT"
    step = edited(lab, "Belm", new="Quor", steps=3)
    assert step.edit.made["method"] == "UPDATE + FTM", lab.run.status.value
    lab.history.undo_button.click(), lab.history.undo_button.click()
    assert model.fingerprint() == lab.session.start
    assert rerun(step, lab.session, copy.deepcopy(model), toy).after == step.edit.after
    lab.choosing.new.value = "Atlantis"
    assert "is not among the" in lab.choosing.note.value


def test_a_change_of_facts_with_and_without_tests_is_measured(toy):
    base = joined(toy, own_statement("The twin of Arva is [MASK].", "Belm", (), "Arva"))
    model = kmod.build_fae(tiny_bert(base), base, entity_size=16)
    change = kmod.Modification(base, (0, len(base) - 1), ("Quor", "Cort"))
    edit = kmod.update_facts(model, change)
    report = measure(model, FactIndex(base), SampledFacts(model, base), change, edit, set())
    assert [r.statement for r in report.retrieved] == [base.tests(base[0])[0], "The twin of Arva is [MASK]."]


def test_the_delta_explorer_shows_the_edit_of_its_slider(model, toy):
    change = toy.modify(2, seed=0)
    explorer = DeltaExplorer(model, change, (1e-3, 5e-2), steps=10)
    edit = kmod.finetune(model, change, constraint=kmod.Linf(5e-2), steps=10)
    expected = kmod.evaluate(model, toy, change, edit=edit, before=kmod.score(model, toy, ["tests"]))
    assert explorer.results[1].A_M == expected.A_M and explorer.results[1].answers == expected.answers
    explorer.slider.value = 0
    first = explorer.shown.value
    explorer.slider.value = 1
    assert "δ = 0.05" in explorer.shown.value != first
    explorer.menu.value = 0  # what screen readers find, in place of the slider's nameless handle
    assert explorer.slider.value == 0 and explorer.shown.value == first
    assert {"method", "delta", "seed", "A_M", "A_FS", "A_FS_before", "A_M_evidences"} <= explorer.records[0].keys()
    refuses("ascending", DeltaExplorer, model, change, (2e-3, 1e-3))


def test_the_block_chooser_gives_what_plan_takes(model):
    chooser = BlockChooser(model)
    assert chooser.block == [2] and chooser.component is None
    assert chooser.plan().names == kmod.plan(model.net, 2).names
    chooser.buttons[0].value, chooser.inside.value = True, "mlp"
    assert chooser.plan().names == kmod.plan(model.net, [0, 2], "mlp").names
    chooser.buttons["embeddings"].value = True
    assert chooser.plan().names == kmod.plan(model.net, [0, 2], ["mlp", "embeddings"]).names
    chooser.buttons[0].value = chooser.buttons[2].value = False
    assert chooser.plan().names == kmod.plan(model.net, "all", "embeddings").names
    chooser.buttons["embeddings"].value = False
    refuses("at least one part", chooser.plan)
    assert "at least one part" in chooser.shown.value
    sizes = [re.search(r"([\d,]+) param", b.description)[1].replace(",", "") for b in chooser.buttons.values()]
    assert sum(map(int, sizes)) == sum(p.numel() for p in model.net.parameters())


@pytest.mark.skipif(TIP != "tooltip", reason="with ipywidgets 7 a widget is always live")
def test_on_a_page_a_widget_is_still_and_sends_nothing(model, toy, tmp_path, monkeypatch):
    monkeypatch.setenv("KMOD_CHARTS", "book")
    lab = EditLab(model, toy, tmp_path)
    edited(lab)
    for widget in (lab, BlockChooser(model), DeltaExplorer(model, toy.modify(1), (1e-2,), steps=1)):
        bundle = widget._repr_mimebundle_()
        assert set(bundle) == {"text/html", "text/plain"}
        assert "This page is still" in bundle["text/html"] and "<script" not in bundle["text/html"]
        assert widget.comm is None
    assert "Upper Tam → Quor" in lab._repr_mimebundle_()["text/html"]
    monkeypatch.setenv("KMOD_CHARTS", "altair")
    assert "application/vnd.jupyter.widget-view+json" in lab._repr_mimebundle_()


def test_only_the_widgets_need_ipywidgets_and_they_say_so():
    code = """if True:
        import sys
        sys.modules["ipywidgets"] = None
        import kmod, kmod.lab.paste, kmod.lab.worker
        try:
            kmod.EditLab
        except ImportError as error:
            print(error)
        del sys.modules["ipywidgets"]
        assert kmod.widgets.EditLab is kmod.EditLab
        """
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True)
    assert done.stdout == "the widgets need ipywidgets: pip install 'kmod[widgets]'\n"


def test_view_shows_small_chances_and_long_files(tmp_path, monkeypatch):
    assert [view.percent(p) for p in (0.0004, 0.5, 0)] == ["<0.1\u00a0%", "50\u00a0%", "0\u00a0%"]
    path = tmp_path / "a.bin"
    path.write_bytes(b"1234")
    assert "download=" in view.link(path)
    monkeypatch.setattr(view, "LARGEST_LINK", 3)
    assert "download=" not in view.link(path) and "a.bin" in view.link(path)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), None, np.float32("nan"), np.float32(0.25)]
)
def test_tables_of_the_lab_show_any_value(session, value):
    step = made(session)
    sample = SampledFacts(session.model, session.facts)
    session.undo()
    r = measure(session.model, FactIndex(session.facts), sample, step.change, step.edit, set())
    lines = tuple(dataclasses.replace(line, after=[(name, value) for name, _ in line.after]) for line in r.lines)
    moved = tuple(dataclasses.replace(part, l2=value, largest=value) for part in r.moved)
    rate = dataclasses.replace(r.learnt, value=value, low=value, high=value)
    retrieved = (view.Retrieval("In [MASK].", [("a", value)], [("a", value)]),)
    odd = dataclasses.replace(r, lines=lines, moved=(*moved, *r.moved), learnt=rate, lost=rate, retrieved=retrieved)
    step = dataclasses.replace(step, report=odd)
    for html in (view.report(step), view.compare(step, step), view.curve([1.0, value], [0.5, value], 4)):
        assert not re.search(r"\b(nan|inf|None)\b", html)
