"""Balls and blocks: what an edit may change, and how far."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
)

from kmod.constraints import L2, Fisher, L2PerTensor, Linf
from kmod.parts import block_indices, blocks, select


def tensors(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"matrix": (7, 3), "vector": (5,), "one": (1,)}
    return {name: torch.randn(shape, generator=generator) * scale for name, shape in shapes.items()}


def make(kind, delta):
    if kind is Fisher:
        return Fisher(delta, {name: t.abs() for name, t in tensors(99, 1.0).items()})
    return kind(delta)


def copy_of(params):
    return {name: p.clone() for name, p in params.items()}


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


KINDS = [Linf, L2, L2PerTensor, Fisher]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@kinds
@given(seed=st.integers(0, 10_000), delta=st.floats(0, 10), scale=st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_projection_ends_in_the_ball_and_stays_there(kind, seed, delta, scale):
    ball, origin, params = make(kind, delta), tensors(seed, 1.0), tensors(seed + 1, scale)
    before = ball.norm(params, origin)
    ball.project_(params, origin)
    rounding = 1e-6 * (delta + max(float(t.abs().max()) for t in origin.values()))
    assert ball.norm(params, origin) <= delta + rounding
    again = copy_of(params)
    ball.project_(again, origin)
    for name in params:
        torch.testing.assert_close(again[name], params[name], rtol=0, atol=rounding)
    if kind is Linf:
        assert equal(again, params)  # exactly
    if before > delta > rounding and kind is not L2PerTensor:
        assert ball.norm(params, origin) == pytest.approx(delta, rel=1e-3, abs=rounding)  # on the edge, not well inside


@kinds
@given(seed=st.integers(0, 1000), delta=st.floats(0.01, 5))
@settings(max_examples=20, deadline=None)
def test_the_inside_is_left_alone(kind, seed, delta):
    ball, origin = make(kind, delta), tensors(seed, 1.0)
    inside = {name: p + 0.1 * delta * torch.rand_like(p) for name, p in origin.items()}
    projected = copy_of(inside)
    ball.project_(projected, origin)
    assert equal(inside, projected) and ball.norm(inside, origin) <= delta


@kinds
def test_zero_is_the_origin_and_infinity_no_constraint(kind):
    origin, params = tensors(0, 1.0), tensors(1, 100.0)
    free = copy_of(params)
    make(kind, math.inf).project_(free, origin)
    assert equal(free, params)
    make(kind, 0).project_(params, origin)
    assert equal(params, origin)


def test_each_ball_bounds_what_its_name_says():
    origin = {"a": torch.zeros(3), "b": torch.zeros(4)}
    far = {"a": torch.tensor([3.0, 0.0, 4.0]), "b": torch.full((4,), 6.0)}
    assert Linf(1).norm(far, origin) == 6
    assert L2(1).norm(far, origin) == pytest.approx(13)  # √(25 + 144)
    assert L2PerTensor(1).norm(far, origin) == pytest.approx(6)  # the larger of √(25/3) and 6
    fisher = Fisher(1, {"a": torch.tensor([1.0, 9.0, 0.0]), "b": torch.zeros(4)})
    assert fisher.norm(far, origin) == pytest.approx(3)
    L2PerTensor(2).project_(far, origin)
    assert far["a"].norm() == pytest.approx(2 * math.sqrt(3)) and far["b"].norm() == pytest.approx(2 * math.sqrt(4))


def test_a_fisher_diagonal_that_does_not_fit_is_refused_by_name():
    origin = {"a": torch.zeros(3)}
    for diagonal, message in [
        ({}, "lacks a"),
        ({"a": torch.zeros(2)}, "of a has shape"),
        ({"a": torch.tensor([0.0, -1.0, 0.0])}, "of a must be finite"),
        ({"a": torch.tensor([0.0, math.nan, 0.0])}, "of a must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            Fisher(1, diagonal).check(origin)


@kinds
@pytest.mark.parametrize(
    "delta, error",
    [("2e-3", TypeError), (True, TypeError), (None, TypeError), (-1e-3, ValueError), (math.nan, ValueError)],
)
def test_a_wrong_delta_is_refused_by_name(kind, delta, error):
    with pytest.raises(error, match="delta must be"):
        kind(delta)


def bert(depth=12):
    return BertForMaskedLM(
        BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=depth, num_attention_heads=2, intermediate_size=16)
    )


def test_block_1_is_not_block_10():
    net = bert()
    names = select(net, 1)
    assert names and all(name.startswith("bert.encoder.layer.1.") for name in names)
    assert len(blocks(net)) == 12
    assert select(net, -1) == select(net, 11)
    assert set(select(net, [0, 5])) == set(select(net, 0)) | set(select(net, 5))
    everything = select(net)
    assert len(everything) == 12 * len(names) and not any("embeddings" in n or "cls" in n for n in everything)


@pytest.mark.parametrize("block", [12, -13, [0, 12], []])
def test_a_block_that_is_not_there_is_refused(block):
    with pytest.raises(ValueError, match="this model has blocks 0 to 11"):
        block_indices(bert(), block)


@pytest.mark.parametrize("block", ["last", True, 1.0, [True], ["0"]])
def test_a_block_that_is_no_number_is_refused(block):
    with pytest.raises(TypeError, match="block must be"):
        block_indices(bert(), block)


def test_blocks_of_other_families():
    distil = DistilBertForMaskedLM(DistilBertConfig(vocab_size=50, dim=8, n_layers=3, n_heads=2, hidden_dim=16))
    assert [name for name, _ in blocks(distil)] == [f"distilbert.transformer.layer.{i}" for i in range(3)]
    albert = AlbertForMaskedLM(
        AlbertConfig(
            vocab_size=50,
            embedding_size=8,
            hidden_size=8,
            num_hidden_layers=6,
            num_attention_heads=2,
            intermediate_size=16,
        )
    )
    assert len(blocks(albert)) == 1  # one block, shared by all depths
