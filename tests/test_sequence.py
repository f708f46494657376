"""Edits one after the other are, together, one edit; anchors hold where they say."""

import numpy as np
import pytest
import torch

import kmod
from kmod.constraints import Around
from kmod.editing import WrongModelError
from kmod.editing.balls import STATISTICS

SETTINGS = {"block": -1, "steps": 15, "batch_size": 16}


@pytest.fixture
def facts(facts):
    return kmod.FactBase(facts[::3], facts.relations, "small")


@pytest.fixture
def changes(model, facts):
    known = kmod.known(model, facts)
    whole = facts.modify(6, seed=3, known=known)
    pairs = list(zip(whole.indices, whole.objects, strict=True))
    return [kmod.Modification(facts, *zip(*pairs[i : i + 2], strict=True)) for i in (0, 2, 4)]


def test_two_edits_as_one_are_both_bit_for_bit(model, facts, changes, tmp_path):
    first = kmod.finetune(model, changes[0], **SETTINGS)
    fingerprint = model.fingerprint()
    with first(model):
        again = kmod.Modification(
            facts, (changes[0].indices[0], changes[1].indices[0]), ("Jupiter", changes[1].objects[0])
        )
        second = kmod.finetune(model, again, block=0, component="mlp", steps=5, batch_size=16)
        second.apply(model)
        wanted = {name: tensor.clone() for name, tensor in model.tensors().items()}
        with pytest.raises(WrongModelError, match=r"cannot undo.*; take back the edits that were made after it first"):
            first.undo(model)
        second.undo(model)
    both = first.then(second)
    both.save(tmp_path / "both")
    both = kmod.Edit.load(tmp_path / "both")
    with both(model):
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.tensors().items())
    assert model.fingerprint() == fingerprint and set(both.xor) == {*first.xor, *second.xor}
    with pytest.raises(WrongModelError, match="was not made for the model with the first"):
        second.then(first)
    change = both.change(facts)
    assert dict(zip(change.indices, change.objects, strict=True)) == {
        changes[0].indices[0]: "Jupiter", changes[0].indices[1]: changes[0].objects[1],
        changes[1].indices[0]: changes[1].objects[0],
    }  # fmt: skip
    assert [old for _, _, old, _ in both.made["facts"]] == [fact.object for fact in change.originals]
    assert first.change(facts).indices == changes[0].indices and len(both.made["edits"]) == 2
    with pytest.raises(ValueError, match="was made on the facts 'small', not on 'atlas': load those"):
        both.change(kmod.load_facts("atlas"))


@pytest.mark.parametrize("how", [{}, {"anchor": "start"}, {"anchor": "last"}, {"mix": True}], ids=str)
def test_a_sequence_is_its_edits_applied_by_hand(model, facts, changes, how):
    ball = kmod.Linf(1e-3) if "anchor" in how else None
    fingerprint = model.fingerprint()
    found = kmod.sequence(model, changes, constraint=ball, **how, **SETTINGS)
    assert model.fingerprint() == fingerprint
    origin = {name: p.detach().clone() for name, p in model.net.named_parameters()}
    own, base = SETTINGS | {name: how[name] for name in how if name == "mix"}, facts
    for number, change in enumerate(changes):
        settings = own | {"constraint": Around(ball.delta, ball, origin) if how == {"anchor": "start"} else ball}
        hand = kmod.finetune(model, kmod.Modification(base, change.indices, change.objects), **settings)
        assert hand.after == found.portions[number].edit.after
        hand.apply(model)
        base = kmod.Modification(base, change.indices, change.objects).result()
        so_far = [i for c in changes[: number + 1] for i in c.indices]
        scores = kmod.score(model, base, ["tests"])
        result, rest = found.portions[number].result, ~np.isin(np.arange(len(facts)), so_far)
        assert result.A_M.value == scores.rate("tests", ~rest).value
        assert result.A_FS.value == scores.rate("tests", rest).value
        moved = [(p - origin[name]).abs().max().item() for name, p in model.net.named_parameters()]
        assert found.portions[number].linf == pytest.approx(max(moved), abs=1e-9)
        if ball:
            bound = ball.delta * (1 if how["anchor"] == "start" else number + 1)
            assert found.portions[number].linf <= bound + 1e-6
    assert model.fingerprint() == found.edit.after == found.portions[-1].edit.after
    if how == {"anchor": "last"}:
        assert found.portions[-1].linf > 1.5 * ball.delta


@pytest.mark.parametrize("ball", ["Fisher", "KFAC"])
def test_a_ball_of_the_trained_tensors_alone_is_kept_around_the_start(ball, model, changes):
    settings = {"block": -1, "component": "mlp"}
    factors = STATISTICS[ball](model, changes[0], evidences=5, **settings)
    ball = getattr(kmod, ball)(1e-3, factors)
    found = kmod.sequence(model, changes, constraint=ball, every=3, steps=5, batch_size=16, **settings)
    origin = {name: model.net.get_parameter(name).detach().clone() for name in found.edit.xor}
    with found.edit(model):
        moved = {name: model.net.get_parameter(name).detach() for name in origin}
        assert 0 < ball.norm(moved, origin) <= 1e-3 * (1 + 1e-3)


def test_one_portion_is_taken_out_by_training_those_after_it_anew(model, changes):
    found = kmod.sequence(model, changes, every=3, constraint=kmod.Linf(2e-3), **SETTINGS)
    assert [p.result is None for p in found.portions] == [True, True, False] and len(found.rows()) == 1
    without = found.without(model, 2)
    assert without.portions[0] is found.portions[0]
    fresh = kmod.sequence(model, [changes[0], changes[2]], every=3, constraint=kmod.Linf(2e-3), **SETTINGS)
    assert without.edit.after == fresh.edit.after != found.edit.after
    assert "facts edited" in str(without) and without.rows()[0]["edited"] == 4
    assert found.without(model, 3).rows()[0]["edited"] == 4
    light = kmod.sequence(model, changes[:2], every=2, keep=False, **SETTINGS)
    assert [portion.edit for portion in light.portions] == [None, None] and len(light.edit.made["edits"]) == 2
    with pytest.raises(ValueError, match="were not kept: make the sequence with keep=True"):
        light.without(model, 1)
    with pytest.raises(ValueError, match="there is no portion 4: this sequence has 1 to 3"):
        found.without(model, 4)


def test_what_cannot_be_a_sequence_is_refused(model, atlas, changes):
    with pytest.raises(ValueError, match="needs at least one portion"):
        kmod.sequence(model, [])
    with pytest.raises(ValueError, match="anchor must be one of start, last, got 'first'"):
        kmod.sequence(model, changes, anchor="first")
    with pytest.raises(ValueError, match="drawn from the same facts"):
        kmod.sequence(model, [changes[0], atlas.modify(1)])
    with pytest.raises(ValueError, match="gives edits of weights, not Datastore"):
        kmod.sequence(model, changes, method=kmod.knn, epsilon=1.0)
