"""The metrics count what they say, against a slow count; intervals against an ordinary bootstrap."""

import numpy as np
import pytest

import kmod
from kmod.evaluation import known, rate, score


def slow_right(model, base, fact, kind):
    """One statement at a time through the plain Hugging Face model: is every word piece right?"""
    pieces = model.tokenizer(fact.object, add_special_tokens=False)["input_ids"]
    right = []
    for statement in getattr(base, kind)(fact):
        text = statement.replace("[MASK]", " ".join([model.tokenizer.mask_token] * len(pieces)))
        ids = model.tokenizer(text, return_tensors="pt")
        best = model.net(**ids).logits[0].argmax(-1)[ids["input_ids"][0] == model.tokenizer.mask_token_id]
        right.append(best.tolist() == pieces)
    return right


def test_score_equals_a_slow_count(model, facts):
    few = kmod.FactBase(facts[::9], facts.relations, "few")
    scores = score(model, few)
    for kind in ("tests", "evidences"):
        slow = [slow_right(model, few, fact, kind) for fact in few]
        assert scores.right[kind].tolist() == [sum(row) for row in slow]
        assert scores.asked[kind].tolist() == [len(row) for row in slow]
    assert known(model, few).tolist() == [all(slow_right(model, few, fact, "tests")) for fact in few]


def test_evaluate_splits_modified_from_unmodified(model, facts):
    change = facts.modify(5, seed=2, known=known(model, facts))
    edit = kmod.finetune(model, change, constraint=kmod.Linf(1e-2), steps=40, batch_size=40)
    fingerprint = model.fingerprint()
    result = kmod.evaluate(model, facts, change, edit=edit)
    assert model.fingerprint() == fingerprint
    with edit(model):
        right = [slow_right(model, facts, fact, "tests") for fact in change.modified]
        rest = score(model, kmod.FactBase(change.unmodified, facts.relations, "rest"))
    assert result.A_M.value == np.mean([r for row in right for r in row]) and result.A_M.facts == 5
    assert result.A_FS.value == rest.rate("tests").value and result.A_FS.facts == len(facts) - 5
    assert result.delta_A_FS.value == pytest.approx(result.A_FS.value - result.A_FS_before.value)
    assert result.A_mean == (result.A_M.value + result.A_FS.value) / 2
    assert result.A_M_evidences.value >= 0.8  # 40 steps learn five facts
    assert len(result.answers) == sum(len(facts.tests(f)) for f in change.originals)
    before = kmod.evaluate(model, facts, change, before=score(model, facts), answers=False)
    assert before.delta_A_FS.value == 0 and before.A_FS_before == before.A_FS and before.A_M.value == 0
    for text in ("A_M", "A_F∖S", "ΔA_F∖S", "Ā"):
        assert text in str(result)
    assert set(result.record()) >= {"A_M", "A_M_evidences", "A_FS", "A_FS_before", "A_mean"}


def test_evaluate_refuses_a_change_of_other_facts(model, facts, atlas):
    with pytest.raises(ValueError, match="was drawn from"):
        kmod.evaluate(model, facts, atlas.modify(2))


def test_what_cannot_be_measured_is_said_in_one_line(model, facts):
    untested = [kmod.Fact(f.subject, "own", f.object, (f"{f.subject}: [MASK]",)) for f in facts[:2]]
    base = kmod.FactBase([*untested, *facts[2:4]], facts.relations, untested=True)
    with pytest.raises(
        ValueError, match=r"no modified fact has tests, so the edit cannot be measured: \(.*\) has none"
    ):
        kmod.evaluate(model, base, kmod.Modification(base, (0,), (facts[1].object,)))
    scores = score(model, base, "tests")
    assert scores.asked["tests"].tolist()[:2] == [0, 0] and not scores.known[:2].any()
    with pytest.raises(ValueError, match="no scores on 'evidences', only on tests"):
        scores.rate("evidences")
    with pytest.raises(ValueError, match="kinds must be among tests, evidences, got 'test'"):
        score(model, base, ["test"])
    with pytest.raises(ValueError, match="holds no facts"):
        known(model, kmod.FactBase([]))
    with pytest.raises(TypeError, match=r"such as model\.net; got MaskedLM"):
        kmod.plan(model)


def test_interval_equals_an_ordinary_bootstrap_over_facts():
    rng = np.random.default_rng(0)
    asked = rng.integers(1, 4, 200)
    right = rng.binomial(asked, 0.7)
    ours = rate(right, asked, resamples=20_000)
    picks = rng.integers(0, 200, (20_000, 200))
    shares = right[picks].sum(1) / asked[picks].sum(1)
    assert ours.value == right.sum() / asked.sum()
    assert np.allclose([ours.low, ours.high], np.percentile(shares, [2.5, 97.5]), atol=3e-3)
    assert (ours.facts, ours.statements) == (200, asked.sum())
    assert str(rate(np.array([1, 1]), np.array([1, 1]))) == "100.0 % [100.0, 100.0]"
    with pytest.raises(ValueError, match="nothing to rate"):
        rate(np.array([]), np.array([]))
