"""Many edits at once are the edits one by one."""

import sys

import pytest
import torch

import kmod
from kmod import L2, Linf

module = sys.modules["kmod.editing.sweep"]
SETTINGS = dict(steps=15, batch_size=16, lr=2e-3)


@pytest.fixture
def runs(facts, model):
    known = kmod.known(model, facts)
    first, second = facts.modify(3, seed=1, known=known), facts.modify(5, seed=2, known=known)
    return [
        (first, Linf(1e-3), 0),
        (first, Linf(4e-3), 0),
        (second, None, 0),
        (second, L2(0.05), 1),
        (first, Linf(0.0), 1),
    ]


def close(model, edits, others):
    for edit, other in zip(edits, others, strict=True):
        a, b = (torch.cat([d.flatten() for d in e.difference(model).values()]) for e in (edit, other))
        assert ((a - b).abs() > 1e-4).float().mean() < 0.02  # Adam's first steps are the signs of tiny gradients
        for key in ("method", "facts", "blocks", "constraint", "seed", "steps", "lr"):
            assert edit.made[key] == other.made[key]
        assert edit.made["loss"] == pytest.approx(other.made["loss"], rel=0.05, abs=0.02)


@pytest.mark.parametrize("where", [dict(block=-1), dict(block=[0, 2], component="mlp"), dict(component="head"), {}])
def test_a_sweep_is_its_edits_one_by_one(model, runs, where):
    before = model.fingerprint()
    edits = kmod.sweep(model, runs, most_bytes=2**34, **where, **SETTINGS)
    one_by_one = [kmod.finetune(model, c, constraint=ball, seed=s, **where, **SETTINGS) for c, ball, s in runs]
    assert model.fingerprint() == before
    close(model, edits, one_by_one)
    assert edits[4].before == edits[4].after  # a ball of radius 0
    for edit, (_, ball, _) in zip(edits, runs, strict=True):
        assert ball is None or edit.made["norm"] <= ball.delta * (1 + 1e-5) + 1e-7


def test_mixed_batches_too(model, runs):
    edits = kmod.sweep(model, runs[:3], block=-1, mix=True, most_bytes=2**34, **SETTINGS)
    close(
        model,
        edits,
        [kmod.finetune(model, c, constraint=b, seed=s, block=-1, mix=True, **SETTINGS) for c, b, s in runs[:3]],
    )


def test_what_does_not_fit_is_done_in_parts(model, runs, monkeypatch):
    whole = kmod.sweep(model, runs, block=-1, most_bytes=2**34, **SETTINGS)
    trained = []
    real = module._train
    monkeypatch.setattr(module, "_train", lambda *a: trained.append(len(a[1])) or real(*a))
    size = 6 * 4 * kmod.plan(model.net, -1).parameters
    close(model, kmod.sweep(model, runs, block=-1, most_bytes=2 * size, **SETTINGS), whole)
    assert trained == [2, 2, 1]
    close(model, kmod.sweep(model, runs, block=-1, **SETTINGS), whole)  # as a CPU does them
    assert trained == [2, 2, 1] + [1] * 5


def test_embeddings_are_done_one_by_one(model, runs):
    edits = kmod.sweep(model, runs[:2], component="embeddings", **SETTINGS)
    assert [list(edit.xor) for edit in edits] == [kmod.parts.select(model.net, component="embeddings")] * 2


def test_wrong_runs_are_refused_before_any_training(model, runs, monkeypatch):
    monkeypatch.setattr(module, "_train", lambda *_: pytest.fail("worked before it refused"))
    with pytest.raises(TypeError, match="constraint must be"):
        kmod.sweep(model, [*runs, (runs[0][0], 1e-3, 0)], block=-1)
    with pytest.raises(ValueError, match="no block"):
        kmod.sweep(model, runs, block=9)
    with pytest.raises(ValueError, match="steps must be"):
        kmod.sweep(model, runs, steps=True)


def test_a_run_that_diverges_is_named(model, runs):
    with pytest.raises(FloatingPointError, match="no constraint, seed 0"):
        kmod.sweep(model, runs, block=-1, steps=200, batch_size=16, lr=1e20)
