"""Choosing settings, and the claims' arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kmod
from kmod import Linf, claims, cli
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


@given(gaps=st.lists(st.floats(-1, 1), min_size=3, max_size=6), least=st.sampled_from([0.0, 0.1]))
def test_a_reading_rests_on_two_standard_errors(gaps, least):
    values = np.array(gaps)
    mean, error = claims.difference(values, np.zeros_like(values))
    by_hand = 2 * np.sqrt(((values - values.mean()) ** 2).sum() / (len(values) - 1) / len(values))
    assert mean == pytest.approx(values.mean()) and error == pytest.approx(by_hand)
    reading = claims.holds((mean, error), seeds=len(values), least=least)
    if reading == "in line with the claim":
        assert mean - error > least
    elif reading == "against the claim":
        assert mean + error < least
    else:
        assert mean - error <= least <= mean + error
    for seeds in (1, 2):
        assert "no reading" in claims.holds((1.0, 0.0), seeds=seeds)


@pytest.mark.parametrize("name", claims.CLAIMS)
def test_every_claim_runs(name, model, facts, monkeypatch, capsys):
    """On few facts, two seeds, few steps: records for each setting and seed, and no reading from two seeds."""
    few = kmod.FactBase(facts[::4], facts.relations, "few")
    before = kmod.score(model, few, ["tests"])

    def small(seeds, n=32):
        changes = [few.modify(min(n, 4), seed, known=before.known) for seed in range(seeds)]
        return claims.Bench(model, few, before, changes)

    monkeypatch.setattr(claims, "nano", small)
    monkeypatch.setattr(claims.Bench, "of", classmethod(lambda cls, model, facts, seeds: small(seeds)))
    monkeypatch.setattr(claims, "DELTAS", (2.5e-3,))
    monkeypatch.setattr(claims, "BLOCK_DELTAS", (1e-2,))
    monkeypatch.setattr(claims, "BLOCKS", (0, 3))
    fisher = kmod.fisher_diagonal
    monkeypatch.setattr(claims, "fisher_diagonal", lambda *a: fisher(*a, evidences=5))
    tune = kmod.finetune
    monkeypatch.setattr(claims, "finetune", lambda *a, **k: tune(*a, **k | {"steps": 2, "batch_size": 8}))
    records, reading = claims.claim(name, 2)
    names = {r["setting"] for r in records}
    assert len(records) == 2 * len(names) > 2 and "no reading from 2 seeds" in reading
    assert all(0 <= r["A_mean"] <= 1 for r in records)
    text = claims.table(records)
    assert all(name in text for name in names) and "2 seeds" in text


def test_albert_shares_one_block_at_nanos_shape(facts):
    shared, plain = claims.albert(facts), kmod.load_model("nano", facts, device="cpu")
    assert shared.net.config.num_hidden_layers == plain.net.config.num_hidden_layers
    assert shared.net.config.hidden_size == plain.net.config.hidden_size
    assert len(kmod.parts.blocks(shared.net)) == 1 and shared.fingerprint() == claims.albert(facts).fingerprint()
    assert kmod.finetune(shared, facts.modify(2), steps=1, batch_size=4).xor


@pytest.mark.parametrize(
    "arguments, message", [(["C7"], "known: C1, C2"), (["C1", "--seeds", "0"], "seeds must be a whole number from 1")]
)
def test_the_command_refuses_what_it_cannot_test(arguments, message, capsys):
    assert cli.main(["claim", *arguments]) == 2
    assert message in capsys.readouterr().err
