"""A sweep gives the edits of its runs one by one, with less work."""

import pytest

import kmod
from kmod import Linf
from kmod.progress import watching

SETTINGS = dict(steps=6, batch_size=16, lr=2e-3)


@pytest.fixture
def runs(facts, model):
    known = kmod.known(model, facts)
    first, second = facts.modify(3, seed=1, known=known), facts.modify(5, seed=2, known=known)
    return [(first, Linf(1e-3), 0), (first, Linf(4e-3), 0), (second, None, 1), (second, Linf(0.0), 1)]


@pytest.mark.parametrize(
    "where", [dict(block=-1), dict(block=-1, mix=True), {}, dict(component="embeddings"), dict(block=1, method=kmod.kl)]
)
def test_a_sweep_is_its_edits_one_by_one_to_the_bit(model, runs, where):
    before, steps = model.fingerprint(), []
    with watching(lambda history: steps.append(history.steps)):
        edits = kmod.sweep(model, runs, **where, **SETTINGS)
    assert steps == [1, 2, 3, 4, 5, 6] * len(runs) and model.fingerprint() == before
    settings = SETTINGS | where
    method = settings.pop("method", kmod.finetune)
    one_by_one = [method(model, change, constraint=ball, seed=seed, **settings) for change, ball, seed in runs]
    assert [edit.after for edit in edits] == [edit.after for edit in one_by_one]
    assert edits[3].before == edits[3].after  # a ball of radius 0
    for edit, other in zip(edits, one_by_one, strict=True):
        assert edit.made | {"seconds": 0} == other.made | {"seconds": 0}


def test_runs_of_one_modification_share_statements_and_states(model, runs, monkeypatch):
    made, real = [], kmod.training.loop.activations
    monkeypatch.setattr(kmod.training.loop, "activations", lambda *args: made.append(real(*args)) or made[-1])
    kmod.sweep(model, runs, block=-1, **SETTINGS)
    assert len(made) == 2 and made[0].examples is not made[1].examples


def test_wrong_runs_are_refused_before_any_training(model, runs, monkeypatch):
    monkeypatch.setattr(kmod.MaskedLM, "examples", lambda *_: pytest.fail("worked before it refused"))
    with pytest.raises(TypeError, match="constraint must be"):
        kmod.sweep(model, [*runs, (runs[0][0], 1e-3, 0)], block=-1)
    with pytest.raises(ValueError, match="no block"):
        kmod.sweep(model, runs, block=9)
    with pytest.raises(ValueError, match="steps must be"):
        kmod.sweep(model, runs, steps=True)


@pytest.mark.parametrize("steps, lr", [(200, 1e20), (1, 1e39)])  # in its last step, only the weights show it
def test_a_run_that_diverges_is_named(model, runs, steps, lr):
    with pytest.raises(FloatingPointError, match=r"lower the learning rate.*no constraint, seed 1"):
        kmod.sweep(model, runs[2:], block=-1, steps=steps, batch_size=16, lr=lr)
