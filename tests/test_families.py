"""Every family of masked language models in transformers works, or is refused: none is silently wrong."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import kmod
from kmod.models import MaskedLM
from kmod.models.activations import activations
from kmod.parts import blocks, layout

sys.path.insert(0, str(Path(__file__).parents[1] / "book" / "_ext"))
import families


@pytest.fixture(scope="module")
def base():
    return families.facts()


@pytest.fixture(scope="module")
def small(base):
    """Function of a family: a small model of it with random weights, and the warnings that making it gave."""
    tokenizer = kmod.models.build_tokenizer(base)

    def make(family):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            return MaskedLM(families.small_net(family, len(tokenizer)), tokenizer), [str(w.message) for w in said]

    return make


def test_the_table_in_the_book_is_that_of_the_families_tried_now():
    """`trial` raises where a family is silently wrong. After a change: python book/_ext/families.py."""
    found = list(families.rows())
    if transformers.__version__ in families.PAGE.read_text("utf-8"):
        assert families.page(found) == families.PAGE.read_text("utf-8")
    assert sum(not row.reason for row in found) > 40


@pytest.mark.parametrize("family", ["xlm", "longformer", "flaubert"])
def test_where_kept_states_differ_the_whole_model_runs_and_one_line_says_so(family, small, base):
    model, said = small(family)
    assert not said
    examples = model.examples(base, "tests")
    with pytest.warns(UserWarning, match=r"blocks below 2 run in every step.*right, but slower$"):
        assert activations(model, examples, 2) is None


@pytest.mark.parametrize("family", ["fnet", "convbert", "yoso"])
def test_a_model_that_sees_padding_runs_each_length_by_itself(family, small, base):
    model, said = small(family)
    assert any("sees padding" in line for line in said)
    examples = model.examples(base, "tests")
    assert len(set(examples.lengths.tolist())) > 1
    every = np.arange(len(examples))
    batch = examples.collate(every)
    with torch.no_grad():
        together = model(batch.input_ids, batch.attention_mask, batch.slots)
        torch.testing.assert_close(together, families.alone(model, examples), rtol=1e-3, atol=1e-4)
        places = batch.slots.nonzero(as_tuple=True)
        backwards = tuple(index.flip(0) for index in places)
        torch.testing.assert_close(model(batch.input_ids, batch.attention_mask, backwards), together.flip(0))


def test_methods_that_look_into_padded_batches_refuse_a_model_that_sees_padding(small, base):
    model, _ = small("convbert")
    change = base.modify(2, seed=0)
    for method, settings in ((kmod.knn, {"epsilon": 1.0}), (kmod.rome, {}), (kmod.memit, {}), (kmod.alphaedit, {})):
        with pytest.raises(ValueError, match="sees padding"):
            method(model, change, **settings)


def test_a_head_of_more_modules_than_kmod_knows_is_not_cut_short(small):
    model, said = small("modernvbert")
    assert model.head is None and any("all tokens pass the head" in line for line in said)


def test_a_proof_catches_a_parameter_that_is_counted_to_the_wrong_block(small, base, monkeypatch):
    """It changes every parameter that counts as above the block: the states below must not depend on one."""
    model, _ = small("bert")
    first = f"{blocks(model.net)[0][0]}.intermediate.dense.weight"
    wrong = layout(model.net) | {first: (2, "mlp")}
    monkeypatch.setattr("kmod.models.proof.layout", lambda net: wrong)
    with pytest.warns(UserWarning, match="right, but slower"):
        assert activations(model, model.examples(base, "tests"), 2) is None


def test_the_proof_is_made_once_for_a_model_and_block_and_draws_no_random_number(small, base, monkeypatch):
    model, _ = small("bert")
    examples, state, calls = model.examples(base, "tests"), torch.get_rng_state(), []
    real = kmod.models.proof._same_from
    monkeypatch.setattr("kmod.models.proof._same_from", lambda *inputs: calls.append(1) or real(*inputs))
    for _ in range(3):
        assert activations(model, examples, 1).upper
    assert len(calls) == 1 and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("family", "name", "place"),
    [
        ("xlm", "transformer.attentions.1.q_lin.weight", (1, "attention")),
        ("xlm", "transformer.ffns.1.lin1.weight", (1, "mlp")),
        ("flaubert", "transformer.layer_norm2.2.weight", (2, "layernorm")),
        ("flaubert", "transformer.layer_norm_emb.weight", (None, "embeddings")),
        ("megatron-bert", "bert.encoder.layer.0.ln.weight", (0, "layernorm")),
        ("megatron-bert", "bert.encoder.ln.weight", (None, "head")),
        ("bart", "model.decoder.layers.0.fc1.weight", (3, "mlp")),
        ("bart", "model.decoder.layernorm_embedding.weight", (None, "embeddings")),
        ("esm", "esm.encoder.emb_layer_norm_after.weight", (None, "head")),
        ("mpnet", "mpnet.encoder.relative_attention_bias.weight", (None, "embeddings")),
    ],
)
def test_a_parameter_belongs_to_its_block_and_component(family, name, place, small):
    assert layout(small(family)[0].net)[name] == place


def test_the_norm_of_relative_positions_is_not_the_head_s():
    """In DeBERTa-v3 it stands after the blocks, but serves what every block reads."""
    from transformers import AutoConfig, AutoModelForMaskedLM

    more = {"relative_attention": True, "norm_rel_ebd": "layer_norm", "conv_kernel_size": 3, "pos_att_type": ["c2p"]}
    config = AutoConfig.for_model("deberta-v2", **families.SMALL | more | {"vocab_size": 50})
    places = layout(AutoModelForMaskedLM.from_config(config))
    assert places["deberta.encoder.LayerNorm.weight"] == (None, "embeddings")
    assert places["deberta.encoder.conv.conv.weight"] == (0, "mlp")
