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

from kmod import Linf
from kmod.parts import block_indices, blocks, select


def tensors(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) * scale for shape in [(7, 3), (5,), (1,)]]


@given(seed=st.integers(0, 10_000), delta=st.floats(0, 10), scale=st.floats(1e-3, 1e3))
@settings(max_examples=100, deadline=None)
def test_linf_projects_into_the_ball_and_only_once(seed, delta, scale):
    origin, params = tensors(seed, 1.0), tensors(seed + 1, scale)
    Linf(delta).project_(params, origin)
    for theta, theta0 in zip(params, origin, strict=True):
        rounding = torch.finfo(torch.float32).eps * (theta0.abs() + delta)
        assert ((theta - theta0).abs() <= delta + rounding).all()
    again = [p.clone() for p in params]
    Linf(delta).project_(again, origin)
    assert all(torch.equal(a, b) for a, b in zip(again, params, strict=True))


@given(seed=st.integers(0, 1000), delta=st.floats(0.01, 5))
@settings(max_examples=30, deadline=None)
def test_linf_leaves_the_inside_alone(seed, delta):
    origin = tensors(seed, 1.0)
    inside = [p + delta * 0.9 * torch.rand_like(p) for p in origin]
    projected = [p.clone() for p in inside]
    Linf(delta).project_(projected, origin)
    assert all(torch.equal(a, b) for a, b in zip(inside, projected, strict=True))
    assert Linf(delta).norm(inside, origin) <= delta


def test_linf_zero_is_the_origin_and_infinity_no_constraint():
    origin, params = tensors(0, 1.0), tensors(1, 100.0)
    free = [p.clone() for p in params]
    Linf(math.inf).project_(free, origin)
    assert all(torch.equal(a, b) for a, b in zip(free, params, strict=True))
    Linf(0).project_(params, origin)
    assert all(torch.equal(a, b) for a, b in zip(params, origin, strict=True))


@pytest.mark.parametrize(
    "delta, error",
    [("2e-3", TypeError), (True, TypeError), (None, TypeError), (-1e-3, ValueError), (math.nan, ValueError)],
)
def test_a_wrong_delta_is_refused_by_name(delta, error):
    with pytest.raises(error, match="delta must be"):
        Linf(delta)


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
