"""Choosing settings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kmod
from kmod import Linf
from kmod.editing.choose import choose, separate
from kmod.editing.knn import knn


@pytest.fixture
def change(facts, model):
    return facts.modify(6, seed=1, known=kmod.known(model, facts))


def test_the_choice_is_the_best_mean_on_each_side(model, facts, change, capsys):
    """Against the same runs made one by one."""
    before = kmod.score(model, facts, ["tests"])
    grid = [dict(block=-1, constraint=Linf(d), steps=15, batch_size=16) for d in (0, 1e-2, 2e-2)]
    fingerprint = model.fingerprint()
    found = choose(model, [change], grid, apart=2, before=before, seed=7)
    assert model.fingerprint() == fingerprint and len(found.records) == 9
    others = separate([change], before.known, 2, 7)
    for of, changes, chosen in (("separate", others, found.separate), ("reported", [change], found.reported)):
        means = []
        for i, setting in enumerate(grid):
            results = [
                kmod.evaluate(model, facts, c, edit=kmod.finetune(model, c, **setting), before=before, answers=False)
                for c in changes
            ]
            means.append(np.mean([r.A_mean for r in results]))
            assert found.mean(i, of) == pytest.approx(means[-1])
        assert chosen == int(np.argmax(means)) and chosen > 0  # δ = 0 learns nothing
    out = capsys.readouterr().out
    assert "3 settings on 3 modifications: about" in out
    assert str(found).count("Ā") == 3 and "Linf(delta=" in str(found)
    alone = choose(model, [change], [dict(epsilon=e) for e in (0, 3.0)], method=knn, reported=False, progress=False)
    assert alone.reported is None and alone.separate == 1 and len(alone.records) == 2
    for wrong in (
        dict(changes=[], grid=grid),
        dict(changes=[change], grid=[]),
        dict(changes=[change], grid=grid, apart=0),
    ):
        with pytest.raises(ValueError, match="choosing needs"):
            choose(model, **wrong)


@given(seed=st.integers(0, 1000), n=st.integers(1, 10), k=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_separate_modifications_touch_nothing_reported(facts, seed, n, k):
    changes = [facts.modify(n, s) for s in range(k)]
    known = np.random.default_rng(seed).random(len(facts)) < 0.8
    for other in separate(changes, known, 2, seed):
        assert len(other) == n and known[list(other.indices)].all()
        assert not set(other.indices) & {i for change in changes for i in change.indices}
