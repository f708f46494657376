"""Fingerprints: every change is seen, only what changed is hashed, and the first format is still read."""

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForMaskedLM

from kmod import Edit, MaskedLM, WrongModelError
from kmod.models import fingerprint
from kmod.models.fingerprint import COLUMNS, checksum
from kmod.models.vocabulary import tokenizer_of

DATA = Path(__file__).parent / "data"


@pytest.fixture
def tiny():
    """A model of a few weights that no random numbers decide: the one that `first_format.edit` was made for."""
    tokenizer = tokenizer_of(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"])
    shape = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    net = BertForMaskedLM(BertConfig(vocab_size=13, max_position_embeddings=16, **shape))
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(torch.arange(p.numel()).view(p.shape).remainder(7 + i) / 64)
    return MaskedLM(net.eval(), tokenizer)


@pytest.fixture
def hashed(monkeypatch):
    """How many tensors are hashed, call by call."""
    counts = []

    def digests(tensors, real=fingerprint.digests):
        counts.append(len(tensors))
        return real(tensors)

    monkeypatch.setattr(fingerprint, "digests", digests)
    return counts


NORM = "bert.encoder.layer.0.output.LayerNorm."


def changes(model):
    """Ways to change a model that its tensors' versions may not tell, each with its way back."""
    net, words = model.net, model.net.bert.embeddings.word_embeddings.weight
    dense, norm = net.cls.predictions.transform.dense, net.get_submodule(NORM.strip("."))
    old, other = dense.weight, torch.nn.Parameter(dense.weight.detach() * 2)

    def swap_rows():
        words.data[[2, 5]] = words.data[[5, 2]]

    yield "data", lambda: norm.bias.data.add_(1), lambda: norm.bias.data.sub_(1)
    yield "sign", lambda: norm.weight.data[3:5].neg_(), lambda: norm.weight.data[3:5].neg_()
    yield "rows", swap_rows, swap_rows
    yield "another tensor", lambda: setattr(dense, "weight", other), lambda: setattr(dense, "weight", old)


def test_every_change_is_seen_and_the_way_back_too(tiny):
    start = tiny.fingerprint()
    assert start == tiny.fingerprint() and start.startswith("2:") and len(start) == 66
    for name, there, back in changes(tiny):
        there()
        assert tiny.fingerprint() != start, name
        assert not tiny.matches(start) and tiny.fingerprint() == copy.deepcopy(tiny).fingerprint(), name
        back()
        assert tiny.fingerprint() == start, name
    tiny.tokenizer.add_tokens(["zebra"])
    assert tiny.fingerprint() != start


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool])
@given(n=st.integers(2, 9 * COLUMNS), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_checksum_sees_a_changed_a_negated_and_a_moved_element(dtype, n, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 2 if dtype == torch.bool else 100, (n,), generator=generator).to(dtype)
    before, (i, j) = checksum(values), torch.randint(0, n, (2,), generator=generator).tolist()
    changed, moved = values.clone(), values.clone()
    changed[i] = ~values[i] if dtype == torch.bool else values[i] + 1
    moved[[i, j]] = values[[j, i]]
    assert checksum(values.clone()) == before != checksum(changed)
    assert (checksum(moved) == before) == bool(values[i] == values[j])
    if dtype.is_floating_point and values.any():
        assert checksum(-values) != before


def test_a_checksum_tells_free_rows_from_rows_of_number_0():
    free = torch.full((40,), -1)
    one_used = free.index_fill(0, torch.tensor(3), 0)
    assert len({int(checksum(values)) for values in (free, one_used, torch.zeros_like(free))}) == 3


def test_only_what_may_have_changed_is_hashed(tiny, hashed, monkeypatch):
    every = len(tiny.tensors())
    new = {NORM + name: torch.full((16,), 2.0) for name in ("weight", "bias")}
    edit = Edit.between(tiny, new, {})
    assert hashed == [every, 2]  # all tensors once, then the new ones alone
    with monkeypatch.context() as patch:
        patch.setattr(MaskedLM, "fingerprint", None)  # a caller that knows the state needs no check
        assert edit.difference(tiny, applied=False).keys() == new.keys()
    hashed.clear()
    for _ in range(2):
        edit.apply(tiny)
        edit.undo(tiny)
        with edit(tiny):
            pass
        assert tiny.matches(edit.before)
    assert sum(hashed) == 0
    for value in (3.0, 4.0, 5.0):
        Edit.between(tiny, {NORM + "bias": torch.full((16,), value)}, {})
    assert sum(hashed) == 3  # however many edits are made of one model


def test_a_copy_and_its_model_know_nothing_of_each_others_changes(tiny):
    start, other = tiny.fingerprint(), copy.deepcopy(tiny)
    other.net.get_submodule(NORM.strip(".")).bias.data.zero_()
    assert other.fingerprint() != start == tiny.fingerprint()
    tiny.net.load_state_dict(other.net.state_dict())
    assert other.fingerprint() == tiny.fingerprint() != start


def test_an_edit_file_of_the_first_format_is_applied_undone_and_renewed(tiny, tmp_path):
    edit = Edit.load(DATA / "first_format.edit")
    bias, start = tiny.net.get_submodule(NORM.strip(".")).bias, tiny.fingerprint()
    before = bias.detach().clone()
    assert tiny.matches(edit.before) and tiny.matches(edit.before[:16]) and not tiny.matches(edit.before[:8])
    assert torch.equal(edit.difference(tiny)[NORM + "bias"], torch.full((16,), 1 / 64))
    renewed = edit.renewed(tiny)
    assert renewed.before == start and renewed.made == edit.made
    edit.apply(tiny)
    assert torch.equal(bias, before + 1 / 64) and tiny.matches(edit.after) and tiny.matches(renewed.after)
    with pytest.raises(WrongModelError, match="already applied"):
        edit.apply(tiny)
    renewed.undo(tiny)
    assert torch.equal(bias, before) and tiny.fingerprint() == start
    for one in (edit, renewed):
        one.save(tmp_path / "an.edit")
        assert Edit.load(tmp_path / "an.edit").before == one.before
    bias.data.add_(1)
    with pytest.raises(WrongModelError, match="made for another model"):
        edit.apply(tiny)
