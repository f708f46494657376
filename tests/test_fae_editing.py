"""Training a FaE, editing its memory and its weights, and reading its mind."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from test_fae import LANDS, tiny_bert, toy_facts

import kmod
from kmod import Edit, FactBase, Linf, Question, WrongModelError
from kmod.evaluation import judge
from kmod.fae import Names, build_fae
from kmod.fae.finetune import PLACES, fae_parts, proportional
from kmod.fae.losses import Losses, examine, mask_tokens, step_losses
from kmod.fae.training import fit_fae, train_fae
from kmod.probes import Panel
from kmod.progress import watching

SETTINGS = dict(epochs=1, batch_size=24, lr=5e-3, progress=False)
HELD = ("Arva", "P190")  # its town and its twin's are in other facts


def state(model):
    return {name: tensor.clone() for name, tensor in model.net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def toy():
    facts = toy_facts()
    return FactBase([f for f in facts if (f.subject, f.relation) != HELD], facts.relations, "toy without one")


@pytest.fixture(scope="module")
def _trained(toy):
    model = build_fae(tiny_bert(toy), toy, entity_size=16)
    report = train_fae(model, toy, **SETTINGS)
    assert report.evidences["answer"] == 1.0 and report.evidences["retrieval"] > 0.7, report
    return model, report


@pytest.fixture
def model(_trained):
    return copy.deepcopy(_trained[0])


@pytest.fixture
def change(toy):
    return toy.modify(4, seed=0)


def test_questions_are_judged_by_the_entities(model, toy):
    asked = [(toy.tests(fact)[0], fact.object) for fact in toy[:6]]
    ranked, right = judge(model, *zip(*asked, strict=True), 3)
    answers = model.answers([statement for statement, _ in asked], k=3)
    assert [[name for name, _ in best] for best in ranked] == [[name for name, _ in best] for best in answers]
    assert right == [best[0][0] == name for best, (_, name) in zip(answers, asked, strict=True)]
    probe = Panel(model, {"x": [Question(*pair) for pair in asked] + [Question(asked[0][0], "no entity")]})
    assert probe.after(model)["x"].after.value == np.mean(right) and probe.after(model)["x"].counted == 6
    with pytest.raises(ValueError, match="answers with entities"):
        kmod.pseudo_perplexity(model)


# ---------------------------------------------------------------- training


def test_training_learns_every_part_and_says_so(_trained, toy):
    model, report = _trained
    measures = {"answer", "context_answer", "retrieval", "null", "lambda", "link_memory", "link_top"}
    assert set(report.evidences) == set(report.tests) == measures
    assert report.curve[-1]["step"] <= report.steps and all(measures < set(row) for row in report.curve)
    assert min(report.evidences[name] for name in ("link_memory", "link_top")) > 0.9
    assert examine(model, model.examples(toy, "evidences")) == report.evidences
    assert kmod.score(model, toy).rate("evidences").value == pytest.approx(report.evidences["answer"])
    assert "supporting row retrieved" in str(report) and "unseen phrasings" in str(report)


def test_what_is_trained_is_kept_and_found_again(_trained, toy):
    model, report = _trained
    again = build_fae(tiny_bert(toy), toy, entity_size=16)
    found = train_fae(again, toy, **SETTINGS)
    assert found.cached and dataclasses.replace(found, cached=False) == report
    assert again.fingerprint() == model.fingerprint()


@pytest.mark.parametrize("sample", [None, 4])
def test_interrupted_training_goes_on_to_the_same_weights(toy, tmp_path, monkeypatch, sample):
    monkeypatch.setenv("KMOD_CACHE", str(tmp_path))
    settings = SETTINGS | {"least_steps": 30, "epochs": 3, "sample": sample}

    def train(**others):
        model = build_fae(tiny_bert(toy), toy, entity_size=16)
        report = train_fae(model, toy, **settings | others)
        return model.fingerprint(), dataclasses.replace(report, seconds=0)

    whole = train(cache=False)
    for _ in range(2):
        with pytest.raises(TimeoutError, match=r"of at most 30 steps; run again to go on"):
            train(within=0.0)
    clip_grad_norm, steps = torch.nn.utils.clip_grad_norm_, []

    def clip(*args):
        steps.append(1)
        if len(steps) == 7:
            raise KeyboardInterrupt
        return clip_grad_norm(*args)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", clip)
        with pytest.raises(KeyboardInterrupt):
            train()
    (kept,) = (tmp_path / "fae").iterdir()
    assert kept.suffix == ".partial"
    with monkeypatch.context() as patch:  # in the middle of the validation after 10 steps, which is then done first
        patch.setattr("kmod.fae.training.examine", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train()
    seen = []
    with watching(lambda history: seen.append(history.steps)):
        assert train() == whole
    assert seen[0] == 11 and len(whole[1].curve) == 3
    assert [path.suffix for path in (tmp_path / "fae").iterdir()] == [".safetensors"]
    with pytest.raises(ValueError, match="within needs cache=True"):
        train(within=1.0, cache=False)


def test_frozen_parameters_make_another_training(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("KMOD_CACHE", str(tmp_path))
    frozen, free = (build_fae(tiny_bert(toy), toy, entity_size=16) for _ in range(2))
    for p in frozen.net.bert.parameters():
        p.requires_grad_(False)
    before, settings = state(frozen), SETTINGS | {"least_steps": 2}
    assert not train_fae(frozen, toy, **settings).cached and not train_fae(free, toy, **settings).cached
    name = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(before[name], state(frozen)[name]) and not torch.equal(before[name], state(free)[name])


def test_training_is_a_function_of_its_seed(toy):
    def trained(seed):
        model = build_fae(tiny_bert(toy), toy, entity_size=16)
        torch.manual_seed(7 + seed)
        before = torch.get_rng_state()
        fit_fae(
            model, model.examples(toy, "evidences"), model.sentences(toy), steps=4, batch_size=8, lr=1e-3,
            losses=Losses(), seed=seed,
        )  # fmt: skip
        assert torch.equal(before, torch.get_rng_state())
        return state(model)

    first = trained(0)
    assert same(first, trained(0)) and not same(first, trained(1))


def test_an_interrupted_training_leaves_no_gradients(toy):
    def interrupt(history):
        raise KeyboardInterrupt

    model = build_fae(tiny_bert(toy), toy, entity_size=16)
    with pytest.raises(KeyboardInterrupt):
        fit_fae(
            model, model.examples(toy, "evidences"), model.sentences(toy), steps=4, batch_size=8, lr=1e-3,
            losses=Losses(), stop=interrupt,
        )  # fmt: skip
    assert all(p.grad is None for p in model.net.parameters())


def test_each_loss_falls_and_a_zero_weight_leaves_its_part_alone(toy):
    model = build_fae(tiny_bert(toy), toy, entity_size=16)
    before = state(model)
    history = fit_fae(
        model, model.examples(toy, "evidences"), model.sentences(toy), steps=60, batch_size=24, lr=5e-3,
        losses=Losses(detection=0), warmup=5,
    )  # fmt: skip
    after = state(model)
    assert torch.equal(before["detection.weight"], after["detection.weight"])
    assert not torch.equal(before["entity_embeddings.weight"], after["entity_embeddings.weight"])
    for name in ("answer", "retrieval", "link_memory", "link_top", "tokens"):
        losses = history.curves[name]
        assert np.mean(losses[-10:]) < np.mean(losses[:10]), name
    assert set(history.curves) >= {f"right_{n}" for n in ("answer", "retrieval", "null", "link_memory", "link_top")}


def test_training_on_a_sample_learns_too(toy):
    """Sparse updates: entities that no batch draws keep their bits."""
    names = Names.of(toy_facts())
    names = Names((*names.entities, *(f"spare {i}" for i in range(400))), names.relations)
    model = build_fae(tiny_bert(toy), toy, names=names, entity_size=16)
    before = state(model)["entity_embeddings.weight"]
    history = fit_fae(
        model, model.examples(toy, "evidences"), model.sentences(toy), steps=60, batch_size=24, lr=5e-3,
        losses=Losses(), warmup=5, sample=2,
    )  # fmt: skip
    after = state(model)["entity_embeddings.weight"]
    moved = (before != after).any(1)
    assert moved[: len(names.entities) - 400].all() and 20 < int(moved[-400:].sum()) < 200
    assert np.mean(history.curves["answer"][-10:]) < np.mean(history.curves["answer"][:10])


@pytest.mark.parametrize("steps, lr", [(60, 1e30), (1, 1e39)])
def test_training_that_diverges_stops_and_says_so(toy, steps, lr):
    model = build_fae(tiny_bert(toy), toy, entity_size=16)
    with pytest.raises(FloatingPointError, match=r"^[^\n]*: lower the learning rate \(1e\+3\d\)$"):
        fit_fae(
            model, model.examples(toy, "evidences"), model.sentences(toy), steps=steps, batch_size=8, lr=lr,
            losses=Losses(), warmup=1,
        )  # fmt: skip


def test_a_single_loss_that_is_no_number_ends_the_training(toy):
    """Words alone: the entities, and so the other losses, are finite."""
    model = build_fae(tiny_bert(toy), toy, entity_size=16)
    with torch.no_grad():
        model.net.cls.predictions.bias[0] = torch.nan
    with pytest.raises(FloatingPointError, match="the loss became nan at step 0: lower the learning rate"):
        fit_fae(
            model, model.examples(toy, "evidences"), model.sentences(toy), steps=2, batch_size=16, lr=1e-3,
            losses=Losses(), sentences=1.0,
        )  # fmt: skip


def test_losses_that_have_nothing_to_judge_are_left_out(model, toy):
    whole = model.sentences(toy).collate(np.arange(8))
    losses, _ = step_losses(model, whole)
    assert set(losses) == {"link_memory", "link_top", "detection"}
    losses, _ = step_losses(model, dataclasses.replace(whole, linked=torch.full_like(whole.linked, -1)))
    assert set(losses) == {"detection"} and losses["detection"].isfinite()


def test_hidden_rows_make_the_null_row_right(model, toy):
    batch = model.examples(toy, "evidences").collate(np.arange(8))
    seen, _ = step_losses(model, batch)
    hidden = torch.ones(8, dtype=torch.bool)
    losses, right = step_losses(model, batch, hidden_rows=hidden)
    assert torch.equal(right["retrieval"], right["null"]) and losses["retrieval"] != seen["retrieval"]
    # and equals what an empty memory for these facts would say
    memory = copy.deepcopy(model)
    one = model.examples(toy, "evidences").collate(np.arange(1))
    memory.net.fact_memory.subjects[one.support[:, 1]] = -1
    expected, _ = step_losses(memory, dataclasses.replace(one, support=one.support[:0]))
    found, _ = step_losses(model, one, hidden_rows=hidden[:1])
    assert torch.allclose(expected["retrieval"], found["retrieval"], atol=1e-6)
    assert torch.allclose(expected["answer"], found["answer"], atol=1e-6)


def test_examine_is_what_the_losses_say(model, toy):
    """At inference all 17 entities and 23 rows are searched, so that both ways to measure must agree."""
    kmod.add_facts(model, [("Kell", "P190", "Mesa")]).apply(model)
    examples = model.examples(toy, "tests")
    cut = copy.deepcopy(model)
    cut.net.fact_memory.subjects[3:9] = -1  # some statements lose their row
    for other in (model, cut):
        tests = other.examples(toy, "tests")
        batch = tests.collate(np.arange(len(tests)))
        _, right = step_losses(other, batch)
        ours = examine(other, tests)
        for name in ("answer", "retrieval", "null", "link_memory", "link_top"):
            assert ours[name] == pytest.approx(float(right[name].float().mean())), name
    assert len(tests.rows) < len(examples.rows)


def test_only_whole_sentences_have_tokens_masked(model, toy):
    both = model.examples(toy, "evidences").joined(model.sentences(toy))
    batch = both.collate(np.arange(len(both)))
    special = set(model.tokenizer.all_special_ids)
    n, mask = len(model.tokenizer), model.tokenizer.mask_token_id
    new, chosen, old = mask_tokens(batch, np.random.default_rng(0), mask, n, special)
    asks = (batch.input_ids == mask).any(1)
    assert not chosen[asks].any() and torch.equal(new[~chosen], batch.input_ids[~chosen])
    assert torch.equal(old, batch.input_ids) and (new[chosen] == mask).float().mean() > 0.7
    assert 0.1 < float(chosen[~asks].sum() / batch.attention_mask[~asks].sum()) < 0.45
    assert not any((old[chosen] == s).any() for s in special)


def test_facts_without_tests_are_trained_on_and_reported(toy):
    facts = [kmod.Fact(f.subject, f.relation, f.object, toy.evidences(f)) for f in toy]
    bare = FactBase(facts, {name: kmod.Relation(name, name) for name in toy.relations}, untested=True)
    report = train_fae(build_fae(tiny_bert(toy), bare, entity_size=16), bare, **SETTINGS | {"least_steps": 2})
    assert report.tests == {} and str(report).count("–") == len(report.evidences)


def test_a_fae_may_start_without_facts(toy):
    empty = build_fae(tiny_bert(toy), FactBase([]), names=Names.of(toy), entity_size=16)
    assert empty.net.config.tail_width == 4 and (empty.net.fact_memory.subjects < 0).all()


@pytest.mark.parametrize("wrong", [dict(epochs=0), dict(batch_size=0), dict(hide=1.5), dict(sentences=-1), dict(lr=0)])
def test_wrong_training_settings_are_refused(model, toy, wrong):
    before = state(model)
    with pytest.raises(TypeError, match="train it with"):
        kmod.memorise(model, toy)
    with pytest.raises(ValueError, match="must be above 0"):
        train_fae(model, toy, progress=False, **wrong)
    assert same(before, state(model))


# ---------------------------------------------------------------- ADD and UPDATE


def test_update_is_an_edit_like_any_other(model, change, tmp_path):
    before = state(model)
    edit = kmod.update_facts(model, change)
    assert same(before, state(model)) and isinstance(edit, Edit) and set(edit.xor) == {"fact_memory.tails"}
    with edit(model):
        after = state(model)
        for fact, new in zip(change.originals, change.objects, strict=True):
            row = kmod.fae.Rows.of(model.names, model.net.fact_memory).find(fact.subject, fact.relation)
            assert model.names.entity(new) in after["fact_memory.tails"][row]
            assert model.names.entity(fact.object) not in after["fact_memory.tails"][row]
    assert same(before, state(model))
    edit.save(tmp_path / "update.edit")
    again = Edit.load(tmp_path / "update.edit")
    assert again.made["method"] == "UPDATE" and len(again.made["facts"]) == 4
    again.apply(model)
    assert same(after, state(model))
    with pytest.raises(WrongModelError, match="already applied"):
        edit.apply(model)
    again.undo(model)
    edit.merge(model, tmp_path / "merged")
    assert same(after, state(kmod.load_model(tmp_path / "merged", device="cpu")))
    assert same(before, state(model))


def test_update_changes_answers_without_a_gradient(model, toy, change):
    result = kmod.evaluate(model, toy, change, edit=kmod.update_facts(model, change))
    assert result.A_M_evidences.value > 0  # retrieval works, so some answers follow the memory
    assert len(result.answers) == 4 and all(len(answer.after) == 5 for answer in result.answers)


@pytest.mark.parametrize("keep", [0, 1, -1])
def test_an_edit_of_a_fae_is_judged_from_kept_states_as_it_is_whole(model, toy, change, keep):
    before = kmod.score(model, toy, keep=keep)
    edits = [kmod.update_facts(model, change), kmod.finetune(model, change, block=-1, steps=3, lr=0.05)]
    edits += [kmod.finetune_fae(model, change, where=where, steps=3, lr=0.05) for where in ("AWT", 2)]
    for edit in edits:
        whole = kmod.evaluate(model, toy, change, edit=edit)
        assert kmod.evaluate(model, toy, change, edit=edit, before=before).record() == whole.record()
        assert whole.A_M_evidences.value != kmod.evaluate(model, toy, change).A_M_evidences.value
    assert bool(before.kept) == (keep != 0)  # nothing enters the first block but the embeddings


def test_add_writes_a_row_that_is_found(model, toy):
    fact = next(f for f in toy_facts() if (f.subject, f.relation) == HELD)
    used = int((model.net.fact_memory.subjects >= 0).sum())
    assert model.supporting(fact) == []
    edit = kmod.add_facts(model, [fact])
    with edit(model):
        assert model.supporting(fact) == [used]
        more = kmod.add_facts(model, [(fact.subject, fact.relation, "Kell")])  # a second tail, stacked
        with more(model):
            assert (model.net.fact_memory.tails[used] >= 0).sum() == 2
            with pytest.raises(WrongModelError):
                edit.undo(model)
    assert model.supporting(fact) == [] and edit.made["method"] == "ADD"


def test_wrong_symbolic_edits_are_refused_by_name(model, toy):
    before = state(model)
    fact = toy[0]
    cases = [
        (kmod.add_facts, [("Atlantis", "P17", "Quor")], "'Atlantis' is not among the .* entities"),
        (kmod.add_facts, [("Arva", "P36", "Quor")], "'P36' is not in this model's table; known: P17, P190"),
        (kmod.add_facts, [(fact.subject, fact.relation, fact.object.upper())], "is already in the fact memory"),
        (kmod.add_facts, [("Arva", "P17", name) for name in (*LANDS[1:], "Belm")], "its row holds 4 objects already"),
        (kmod.add_facts, [], "nothing to ADD"),
        (kmod.update_facts, [("Arva", "P17", "Sedd", "Quor")], r"\(Arva, P17, Sedd\) is not in the fact memory"),
        (kmod.update_facts, [("Arva", "P190", "Pell", "Kell")], r"\(Arva, P190, Pell\) is not in the fact memory"),
        (kmod.update_facts, [(fact.subject, "P17", fact.object, fact.object)], "is already in the fact memory"),
        (kmod.update_facts, toy.modify_to([("Arva", "P17", "Mu")]), "'Mu' is not among"),
    ]
    for method, facts, message in cases:
        with pytest.raises(ValueError, match=message):
            method(model, facts)
    with pytest.raises(TypeError, match="only a FaE has a fact memory"):
        kmod.add_facts(tiny_bert(toy), [("Arva", "P17", "Quor")])
    assert same(before, state(model))
    small = build_fae(tiny_bert(toy), toy, entity_size=8, fact_capacity=len(toy))
    with pytest.raises(ValueError, match=r"no room for \(Arva, P190, Kell\): all 23 rows"):
        kmod.add_facts(small, [("Arva", "P190", "Kell")])


# ---------------------------------------------------------------- weights


def test_parts_are_those_of_the_paper_and_their_proportional_places(model):
    names = [name for name, _ in model.net.named_parameters()]
    inside = [name for name in names if ".encoder.layer." in name]
    awt = fae_parts(model, "AWT")
    assert sorted(awt + inside) == sorted(names) and "entity_embeddings.weight" in awt
    assert fae_parts(model, "all") == names
    assert fae_parts(model, 2) == [n for n in names if n in awt or ".layer.2." in n]
    # of 12 blocks themselves; of 4, the last below the memory and the middle of those above
    assert [proportional(b, 12) for b in (3, 7)] == [3, 7] and [proportional(b, 4) for b in (3, 7)] == [0, 2]
    assert fae_parts(model, "block 3 + AWT") == fae_parts(model, 0)
    with pytest.raises(ValueError, match="known: AWT, block 3"):
        fae_parts(model, "block 3")
    with pytest.raises(ValueError, match="no block"):
        fae_parts(model, 3)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("symbolic", [True, False])
def test_finetune_fae_stays_in_its_part_and_its_ball(model, change, where, symbolic):
    before = state(model)
    edit = kmod.finetune_fae(
        model, change, where=where, symbolic=symbolic, constraint=Linf(1e-3), steps=5, batch_size=8
    )
    assert same(before, state(model))
    part, buffers = set(fae_parts(model, where)), {"fact_memory.tails"} if symbolic else set()
    assert set(edit.xor) == part | buffers
    with edit(model):
        after = state(model)
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved <= part | buffers | {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
        assert buffers <= moved and len(moved) > 3
        for name in moved - buffers:
            assert float((after[name] - before[name]).abs().max()) <= 1e-3 * (1 + 1e-3), name
    assert same(before, state(model))
    assert edit.made["method"] == ("UPDATE + FTM" if symbolic else "FTM") and edit.made["where"] == where


def test_both_changes_in_one_edit_are_those_made_one_after_the_other(model, change):
    settings = dict(constraint=Linf(1e-3), steps=4, batch_size=8)
    one = kmod.finetune_fae(model, change, **settings)
    with one(model):
        at_once = state(model)
    with kmod.update_facts(model, change)(model), kmod.finetune_fae(model, change, symbolic=False, **settings)(model):
        assert same(at_once, state(model))


def test_tuning_learns_what_the_memory_alone_does_not(toy, change):
    """Of a model that has learnt to answer from the context, because the rows were hidden from it."""
    model = build_fae(tiny_bert(toy), toy, entity_size=16)
    fit_fae(
        model, model.examples(toy, "evidences"), model.sentences(toy), steps=120, batch_size=24, lr=5e-3,
        losses=Losses(), hide=1.0, warmup=5,
    )  # fmt: skip
    alone = kmod.evaluate(model, toy, change, edit=kmod.update_facts(model, change), answers=False)
    edit = kmod.finetune_fae(model, change, constraint=Linf(0.05), steps=60, batch_size=16, lr=5e-3)
    tuned = kmod.evaluate(model, toy, change, edit=edit, answers=False)
    assert tuned.A_M_evidences.value > 0.9 and alone.A_M_evidences.value < 0.5


def test_the_plain_finetune_works_on_a_fae(model, toy, change):
    before = state(model)
    for settings in (dict(block=-1), dict(block=1, mix=True)):
        edit = kmod.finetune(model, change, steps=6, batch_size=8, constraint=Linf(1e-2), **settings)
        assert edit.xor and all(".encoder.layer." in name for name in edit.xor)
        assert kmod.evaluate(model, toy, change, edit=edit).A_M.statements == 4
    assert same(before, state(model))


@pytest.mark.parametrize("block", ["all", -1])
def test_a_sweep_of_a_fae_is_its_edits_one_by_one(model, change, block):
    settings = dict(block=block, steps=3, batch_size=8)
    runs = [(change, Linf(1e-3), 0), (change, None, 1)]
    edits = kmod.sweep(model, runs, **settings)
    for edit, (_, ball, seed) in zip(edits, runs, strict=True):
        assert edit.after == kmod.finetune(model, change, constraint=ball, seed=seed, **settings).after != edit.before


def test_numbers_of_numpy_are_saved_as_pythons(model, change, tmp_path):
    numbers = dict(where=np.int64(1), steps=np.int64(2), batch_size=np.int64(8), seed=np.int64(3))
    kmod.finetune_fae(model, change, **numbers).save(tmp_path / "an.edit")
    made = Edit.load(tmp_path / "an.edit").made
    assert (made["where"], made["steps"], made["batch_size"], made["seed"]) == (1, 2, 8, 3)


def test_knn_on_a_fae_is_refused(model, change):
    with pytest.raises(ValueError, match="FaE does not answer by its decoder"):
        kmod.knn(model, change, epsilon=1.0)


def test_wrong_settings_are_refused(model, change):
    for wrong in (dict(steps=0), dict(steps=True), dict(lr=float("inf")), dict(lr="1"), dict(batch_size=1.5)):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a number above 0"):
            kmod.finetune_fae(model, change, **wrong)
    with pytest.raises(TypeError, match="constraint must be a constraint"):
        kmod.finetune_fae(model, change, constraint=1e-3)
    with pytest.raises(ValueError, match="no part 'head'"):
        kmod.finetune_fae(model, change, where="head")


# ---------------------------------------------------------------- what it thinks


def test_explain_is_what_the_model_does(model, toy):
    fact = toy[0]
    statement = toy.evidences(fact)[0]
    told = kmod.explain(model, statement, fact.subject)
    assert told.mentions[0] == (fact.subject, fact.subject)
    heaviest = max(told.rows, key=lambda row: row.weight)
    assert told.rows[0] == heaviest and sum(row.weight for row in told.rows) <= 1 + 1e-5
    one = model.examples(toy, "evidences", [fact]).collate(np.arange(1))
    with torch.no_grad():
        logits = model(one.input_ids, one.attention_mask, one.slots)
    assert told.answers[0][0] == model.names.entities[int(logits.argmax())]
    assert told.answers[0][1] == pytest.approx(float(logits.softmax(-1).max()), abs=1e-5)
    nothing = copy.deepcopy(model)
    nothing.set_facts([])
    assert nothing.answers([statement])[0][0][0] == told.without_facts[0][0]
    found = kmod.explain(nothing, statement, fact.subject)
    assert found.lam == pytest.approx(0, abs=1e-6) and [row.subject for row in found.rows] == [None]
    assert f"λ = {told.lam:.3f}" in str(told) and "(no fact)" in str(found)
    with pytest.raises(ValueError, match="'Peru' does not stand in"):
        kmod.explain(model, statement, "Peru")


def test_mentions_are_detected_where_they_stand(model, toy):
    """After training, the model's own mentions are those of the fact base, so that `answers` agrees with `correct`."""
    texts, subjects = zip(*((toy.evidences(f)[0], f.subject) for f in toy), strict=True)
    found = model.detect(texts)
    right = [{s.text[a:b] for a, b, _ in s.mentions} == {"[MASK]", n} for s, n in zip(found, subjects, strict=True)]
    assert np.mean(right) > 0.9
    assert all(len(answers) == 5 for answers in model.answers(texts))


def test_the_chart_of_an_explanation(model, toy):
    alt = pytest.importorskip("altair")
    from kmod.charts import retrieval_chart

    told = kmod.explain(model, toy.evidences(toy[0])[0])
    chart = retrieval_chart(told)
    assert isinstance(chart, alt.Chart) and told.answers[0][0] in str(chart.to_dict()["title"]["text"])
    assert len(told.frame()) == len(told.rows)


def test_held_out_facts_are_of_names_seen_elsewhere(atlas):
    from kmod.fae.added import hold_out

    kept, held = hold_out(atlas, 60, seed=1)
    normal = kmod.facts.normal
    assert len(held) == 60 and len(kept) == len(atlas) - 60
    names = {normal(name) for f in kept for name in (f.subject, f.object)}
    assert all(normal(name) in names for f in held for name in (f.subject, f.object))
    assert {f.relation for f in held} <= {f.relation for f in kept}
    assert {normal(f.subject) for f in held} <= {normal(f.subject) for f in kept}
    with pytest.raises(ValueError, match="can be held out"):
        hold_out(atlas, len(atlas))


def test_only_facts_with_tests_are_held_out(toy):
    from kmod.fae.added import hold_out

    facts = [
        kmod.Fact(f.subject, f.relation, f.object, toy.evidences(f), toy.tests(f) if i % 3 else ())
        for i, f in enumerate(toy)
    ]
    bare = {name: kmod.Relation(name, name) for name in toy.relations}
    kept, held = hold_out(FactBase(facts, bare, untested=True), 5)
    assert len(held) == 5 and all(held.tests(fact) for fact in held) and not all(kept.tests(fact) for fact in kept)


def test_add_is_measured_with_and_without(model, toy):
    from kmod.fae.added import rates

    whole = toy_facts()
    held = FactBase([f for f in whole if (f.subject, f.relation) == HELD], whole.relations, "held")
    before = state(model)
    found = rates(model, held, toy)
    assert found["held_out_added"]["facts"] == 1 and found["rest_before"]["facts"] == len(toy)
    assert found["held_out_evidences_added"]["statements"] == len(toy.evidences(held[0]))
    assert same(before, state(model))


def test_the_memories_of_a_fae_are_no_part_of_what_lies_above_its_blocks(model):
    """What feeds the blocks must not be trained from hidden states kept above them."""
    net = model.net
    assert not any("memory" in name for name in kmod.parts.select(net, component="head"))
    memories = [name for name, _ in net.named_parameters() if "memory" in name]
    assert memories and kmod.plan(net, component=memories).lowest is None
