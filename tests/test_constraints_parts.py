"""Balls and blocks: what an edit may change, and how far."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AutoConfig,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
)

from kmod.constraints import CONSTRAINTS, KFAC, L2, Fisher, L2PerTensor, Linf
from kmod.parts import INSIDE, OUTSIDE, block_indices, blocks, layout, plan, select


def tensors(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"matrix": (7, 3), "vector": (5,), "one": (1,)}
    return {name: torch.randn(shape, generator=generator) * scale for name, shape in shapes.items()}


def make(kind, delta):
    if kind is Fisher:
        return Fisher(delta, {name: t.abs() for name, t in tensors(99, 1.0).items()})
    if kind is KFAC:
        return KFAC(delta, factors())
    return kind(delta)


def factors():
    """Two factors for the matrix, those of a bias for the vector, a diagonal for the rest."""
    A, G, bias = (t @ t.T / 100 for t in torch.randn(3, 7, 7, generator=torch.Generator().manual_seed(98)))
    return {"matrix": (A[:3, :3], G), "vector": (torch.ones(1, 1), bias[:5, :5]), "one": torch.tensor([0.3])}


def copy_of(params):
    return {name: p.clone() for name, p in params.items()}


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


kinds = pytest.mark.parametrize("kind", CONSTRAINTS.values(), ids=lambda kind: kind.__name__)


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
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@given(seed=st.integers(0, 10_000), delta=st.floats(0, 10), scale=st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_in_16_bits_no_rounding_leads_out_of_the_ball(kind, dtype, seed, delta, scale):
    origin, params = ({n: t.to(dtype) for n, t in tensors(seed + i, s).items()} for i, s in enumerate((1.0, scale)))
    ball = make(kind, delta)
    ball.project_(params, origin)
    exact = [{name: t.double() for name, t in some.items()} for some in (params, origin)]
    assert ball.norm(*exact) <= delta * (1 + 1e-6)
    again = copy_of(params)
    ball.project_(again, origin)
    assert equal(again, params)


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


def test_the_kfac_norm_is_that_of_the_whole_kronecker_product():
    origin, far = tensors(0, 1.0), tensors(1, 2.0)
    moved = {name: (far[name] - origin[name]).double() for name in far}
    (A, G), (_, bias) = factors()["matrix"], factors()["vector"]
    whole = torch.kron(G.double(), A.double())
    slow = moved["matrix"].flatten() @ whole @ moved["matrix"].flatten()
    slow += moved["vector"] @ bias.double() @ moved["vector"] + 0.3 * moved["one"].square().sum()
    assert KFAC(1, factors()).norm(far, origin) == pytest.approx(slow.sqrt().item(), rel=1e-5)


def test_kfac_factors_that_do_not_fit_are_refused_by_name():
    origin = {"a": torch.zeros(3, 2)}
    for own, message in [
        ({}, "lack a"),
        ({"a": (torch.eye(3), torch.eye(2))}, "of a are for shape"),
        ({"a": torch.ones(3)}, "of a are for shape"),
        ({"a": (torch.eye(2), torch.eye(3) * math.nan)}, "of a must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            KFAC(1, own).check(origin)


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


SMALL = dict(
    vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, pad_token_id=0
)
ENDS = dict(bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3)
BERT_BLOCK = {
    "attention": "attention.self.query attention.self.key attention.self.value attention.output.dense",
    "mlp": "intermediate.dense output.dense",
    "layernorm": "attention.output.LayerNorm output.LayerNorm",
}
FAMILIES = {  # shape, and the modules of each component of a block, by hand
    "bert": (SMALL, BERT_BLOCK),
    "roberta": (SMALL, BERT_BLOCK),
    "xlm-roberta": (SMALL, BERT_BLOCK),
    "electra": (SMALL | dict(embedding_size=8), BERT_BLOCK),
    "distilbert": (
        dict(vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=32, pad_token_id=0),
        {
            "attention": "attention.q_lin attention.k_lin attention.v_lin attention.out_lin",
            "mlp": "ffn.lin1 ffn.lin2",
            "layernorm": "sa_layer_norm output_layer_norm",
        },
    ),
    "albert": (
        SMALL | dict(embedding_size=8),
        {
            "attention": " ".join(f"albert_layers.0.attention.{name}" for name in ("query", "key", "value", "dense")),
            "mlp": "albert_layers.0.ffn albert_layers.0.ffn_output",
            "layernorm": "albert_layers.0.attention.LayerNorm albert_layers.0.full_layer_layer_norm",
        },
    ),
    "deberta-v2": (
        SMALL | dict(relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"]),
        {
            "attention": "attention.self.query_proj attention.self.key_proj attention.self.value_proj "
            "attention.self.pos_key_proj attention.self.pos_query_proj attention.output.dense",
            "mlp": "intermediate.dense output.dense",
            "layernorm": "attention.output.LayerNorm output.LayerNorm",
        },
    ),
    "mpnet": (
        SMALL | ENDS,
        {
            "attention": "attention.attn.q attention.attn.k attention.attn.v attention.attn.o",
            "mlp": "intermediate.dense output.dense",
            "layernorm": "attention.LayerNorm output.LayerNorm",
        },
    ),
    "modernbert": (
        SMALL | ENDS,
        {"attention": "attn.Wqkv attn.Wo", "mlp": "mlp.Wi mlp.Wo", "layernorm": "attn_norm mlp_norm"},
    ),
    "fnet": (
        SMALL | ENDS,
        {"mlp": "intermediate.dense output.dense", "layernorm": "fourier.output.LayerNorm output.LayerNorm"},
    ),
}


def family(name):
    shape, expected = FAMILIES[name]
    return AutoModelForMaskedLM.from_config(AutoConfig.for_model(name, **shape)), expected


@pytest.mark.parametrize("name", FAMILIES)
def test_components_are_those_of_the_family_and_partition_the_model(name):
    net, expected = family(name)
    everything = [n for n, _ in net.named_parameters()]
    parts = [n for c in {c for _, c in layout(net).values()} for n in select(net, component=c)]
    assert sorted(parts) == sorted(everything) == sorted(select(net, component="everything"))
    last = len(blocks(net)) - 1
    prefix = blocks(net)[last][0] + "."
    for component, modules in expected.items():
        found = {n.removeprefix(prefix).rsplit(".", 1)[0] for n in select(net, last, component)}
        assert found == set(modules.split())
    assert sorted(select(net, last)) == sorted(n for c in expected for n in select(net, last, c))
    words = next(n for n, p in net.named_parameters() if p is net.get_input_embeddings().weight)
    assert words in select(net, component="embeddings")
    (bias,) = select(net, component="decoder_bias")
    assert dict(net.named_parameters())[bias].shape == (60,) and "embed" not in bias
    assert select(net, component="head")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_lowest_block_is_the_first_whose_output_changes(name):
    """Moving the planned parameters leaves the hidden states that enter `lowest` as they were, and none above."""
    net, _ = family(name)
    net.eval()
    ids = torch.tensor([[2, 7, 8, 9, 10, 3]])
    for component in {c for _, c in layout(net).values()}:
        for block in (0, len(blocks(net)) - 1) if component in INSIDE else ("all",):
            what = plan(net, block, component)
            with torch.no_grad():
                before = net(ids, output_hidden_states=True).hidden_states
                for n in what.names:
                    net.get_parameter(n).mul_(1.5).add_(0.5)
                after = net(ids, output_hidden_states=True).hidden_states
            first = next((i for i, pair in enumerate(zip(before, after, strict=True)) if not torch.equal(*pair)), None)
            if component == "embeddings":
                assert what.lowest is None and first == 0
            elif component in INSIDE:  # hidden_states[i] enters block i
                assert first == what.lowest + 1
            else:  # a norm after the last block may count as the last hidden state
                assert what.lowest == len(blocks(net)) and first in (None, net.config.num_hidden_layers)


def test_a_plan_prints_what_will_change_and_how_much():
    net = bert(12)
    what = plan(net, [0, 1, 2, 7], "mlp")
    text, sizes = str(what), {n: p.numel() for n, p in net.named_parameters()}
    assert what.parameters == sum(sizes[n] for n in what.names) == 4 * (8 * 16 * 2 + 16 + 8)
    assert "mlp of blocks 0 to 2, 7" in text and "16 tensors" in text and f"{what.parameters:,} parameters" in text
    assert f"{100 * what.parameters / sum(sizes.values()):.3g} % of the model" in text and what.lowest == 0
    assert plan(net, [5, 9], ["attention", "layernorm"]).lowest == 5
    assert plan(net, component=["head", "decoder_bias"]).lowest == 12
    assert plan(net, 3, ["mlp", "embeddings"]).lowest is None  # the embeddings, and the MLP of block 3 alone
    assert plan(net, 3, ["mlp", "embeddings"]).blocks == [3]
    assert "100 % of the model" in str(plan(net, component="everything"))
    for component in OUTSIDE:
        assert component in str(plan(net, component=component))
    name = "bert.encoder.layer.1.output.dense.bias"
    assert select(net, component=name) == [name] and plan(net, component=name).lowest == 1
    assert set(select(net, 2, ["attention", name])) == {name, *select(net, 2, "attention")}


@pytest.mark.parametrize(
    "settings, error, message",
    [
        (dict(component="mpl"), ValueError, "known: attention, mlp, layernorm, embeddings, head, decoder_bias, every"),
        (dict(component="bert.encoder.layer.1"), ValueError, "such as bert.encoder.layer.1"),
        (dict(component=[]), TypeError, "component must be"),
        (dict(component=3), TypeError, "component must be"),
        (dict(component="embeddings", block=1), ValueError, "leave block out"),
        (dict(component="mlp", block=12), ValueError, "blocks 0 to 11"),
    ],
)
def test_wrong_components_are_refused_by_name(settings, error, message):
    with pytest.raises(error, match=message):
        plan(bert(), **settings)


def test_a_component_that_a_family_lacks_is_refused():
    with pytest.raises(ValueError, match="FNetForMaskedLM has no parameters called attention"):
        plan(family("fnet")[0], component="attention")
