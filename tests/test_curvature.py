"""K-FAC, low-curvature fine-tuning, MEMIT and AlphaEdit, each against a slow plain reference."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForMaskedLM

import kmod
from kmod.editing import alphaedit, low_curvature, memit, rome
from kmod.editing.alphaedit import projected
from kmod.editing.common import modified, unmodified
from kmod.editing.low_curvature import OpenDirections
from kmod.editing.memit import leaving, write
from kmod.editing.rome import find_places, update
from kmod.parts import select
from kmod.training import kfac
from kmod.training.kfac import flattest, kfac_factors
from kmod.training.loop import Forward

LAYERS = (
    "bert.encoder.layer.1.output.dense",
    "bert.encoder.layer.3.attention.self.query",
    "cls.predictions.transform.dense",
)


@pytest.fixture
def change(facts, model):
    return facts.modify(6, seed=1, known=kmod.known(model, facts))


@pytest.fixture
def likeliest(monkeypatch):
    """Labels are the likeliest in place of drawn ones, so that a reference has the same."""
    monkeypatch.setattr(torch, "multinomial", lambda p, n, generator: p.argmax(-1, keepdim=True))


def alone(model, examples, i):
    """A statement by itself, unpadded: the inputs of each of `LAYERS`, and the gradients at its outputs."""
    ids = torch.from_numpy(examples.ids[examples.starts[i] : examples.starts[i + 1]]).long()
    caught, hooks = {}, []
    for name in LAYERS:
        layer = model.net.get_submodule(name)
        hooks.append(layer.register_forward_hook(lambda _, x, out, name=name: caught.update({name: (x[0], out)})))
    logits = model.net(input_ids=ids[None]).logits[0][ids == examples.mask_id]
    for hook in hooks:
        hook.remove()
    loss = cross_entropy(logits, logits.argmax(-1), reduction="sum")
    gradients = torch.autograd.grad(loss, [out for _, out in caught.values()])
    slots = ids == examples.mask_id
    found = {name: (x[0].double(), g[0].double()) for (name, (x, _)), g in zip(caught.items(), gradients, strict=True)}
    head = found[LAYERS[2]]  # through transformers the head sees all tokens; kmod sends the slots alone
    return found | {LAYERS[2]: (head[0][slots], head[1][slots])}


def test_the_factors_are_plain_sums_of_outer_products(model, change, likeliest):
    names = [f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")]
    norm = "bert.encoder.layer.2.output.LayerNorm.weight"
    ours = kfac_factors(model, change, component=[*names, norm], evidences=12, seed=3)
    examples = kfac.drawn_evidences(model, change, 12, 3)
    sums = {name: [0.0, 0.0, 0] for name in LAYERS}
    for i in range(12):
        for name, (inputs, gradients) in alone(model, examples, i).items():
            for a, g in zip(inputs, gradients, strict=True):
                sums[name][0] += torch.outer(a, a)
                sums[name][1] += torch.outer(g, g)
                sums[name][2] += 1
    slots = len(examples.targets)
    for name, (A, G, tokens) in sums.items():
        for kind, own in (("weight", A / tokens), ("bias", torch.ones(1, 1))):
            for mine, slow in zip(ours[f"{name}.{kind}"], (own, G / slots), strict=True):
                torch.testing.assert_close(mine.double(), slow.double(), rtol=2e-3, atol=1e-4 * slow.abs().max().item())
    diagonal = kmod.fisher_diagonal(model, change, component=norm, evidences=12, seed=3)
    assert torch.equal(ours[norm], diagonal[norm])


def test_the_factors_are_those_of_curvlinops(model, change, likeliest, monkeypatch):
    """For statements of one length: the library counts padding as tokens."""
    skipped = "REFERENCE SKIPPED: pip install --no-deps -r tests/references.txt"
    curvlinops = pytest.importorskip("curvlinops", reason=skipped)
    drawn = kfac.drawn_evidences(model, change, 200, 0)
    kinds = list(zip(drawn.lengths.tolist(), np.diff(drawn.target_starts).tolist(), strict=True))
    chosen = [i for i, kind in enumerate(kinds) if kind == max(set(kinds), key=kinds.count)][:16]
    few = np.random.default_rng(0).permutation(sum(len(change.base.evidences(f)) for f in change.unmodified))[chosen]
    same = model.examples(change.base, "evidences", change.unmodified, only=few)
    monkeypatch.setattr(kfac, "drawn_evidences", lambda *_: same)
    names = [f"{layer}.weight" for layer in LAYERS]
    ours = kfac_factors(model, change, component=names)
    batch = same.collate(np.arange(len(same)))
    with torch.no_grad():
        labels = model.eval()(batch.input_ids, batch.attention_mask, batch.slots).argmax(-1)

    class Slots(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, data):
            return self.model(data["input_ids"], None, data["slots"])

    operator = curvlinops.KFACLinearOperator(
        Slots(), torch.nn.CrossEntropyLoss(reduction="sum"), [model.net.get_parameter(name) for name in names],
        [({"input_ids": batch.input_ids, "slots": batch.slots}, labels)], fisher_type="empirical",
        check_deterministic=False, num_per_example_loss_terms=1, num_data=len(same),
        batch_size_fn=lambda data: len(data["input_ids"]),
    )  # fmt: skip
    operator.compute_kronecker_factors()
    theirs = operator.state_dict()
    for name in LAYERS:
        A, G = ours[f"{name}.weight"]
        if name != LAYERS[2] or len(labels) == len(same):  # its head counts slots by statements
            torch.testing.assert_close(A, theirs["input_covariances"][f"model.net.{name}"], rtol=1e-3, atol=1e-4)
        G, other = len(labels) * G, theirs["gradient_covariances"][f"model.net.{name}"]
        torch.testing.assert_close(G, other, rtol=2e-3, atol=1e-4 * other.abs().max().item())


def test_the_flattest_are_the_smallest_up_to_the_share():
    values = torch.tensor([[4.0, 0.0], [1.0, 5.0]])  # sum 10
    for share, count in ((0, 1), (0.09, 1), (0.1, 2), (0.49, 2), (0.5, 3), (0.99, 3), (1, 4)):
        mask = flattest(values, share)
        assert mask.sum() == count and values[mask].sum() <= share * 10 + 1e-6
        assert mask.all() or values[mask].max() <= values[~mask].min()


def test_the_projection_is_that_of_the_whole_curvature():
    """Against the eigenvectors of the whole Kronecker product, and the same again changes nothing."""
    generator = torch.Generator().manual_seed(0)
    A, G = (t @ t.T for t in (torch.randn(n, n, generator=generator).double() for n in (4, 5)))
    origin, theta = (torch.randn(5, 4, generator=generator).double() for _ in range(2))
    values, vectors = torch.linalg.eigh(torch.kron(G, A))
    for share in (0.0, 0.05, 0.4, 1.0):
        U = vectors[:, flattest(values, share)]
        slow = origin + (U @ (U.T @ (theta - origin).flatten())).view(5, 4)
        params, directions = {"w": theta.clone()}, OpenDirections(share, {"w": (A, G)})
        for _ in range(2):
            directions.project_(params, {"w": origin})
            torch.testing.assert_close(params["w"], slow, rtol=1e-6, atol=1e-9)
        assert directions.open == pytest.approx(U.shape[1] / 20)


def test_low_curvature_stays_in_its_directions_and_with_all_open_is_fine_tuning(model, change):
    names = [n for n in select(model.net, 2, ["attention", "mlp"]) if n.endswith("weight")]
    factors = kfac_factors(model, change, component=names, evidences=60)
    quick = dict(block=2, steps=8, batch_size=16)
    edit = low_curvature(model, change, curvature=1e-3, factors=factors, **quick)
    for name, moved in edit.difference(model).items():
        A, G = (torch.linalg.eigh(part.double()) for part in factors[name])
        closed = ~flattest(torch.outer(G[0].clamp_min(0), A[0].clamp_min(0)), 1e-3)
        within = G[1].T @ moved.double() @ A[1]
        assert 0 < closed.sum() < closed.numel()
        assert within[closed].abs().max() < 1e-5 and within[~closed].abs().max() > 1e-4
    assert 0.5 < edit.made["open"] < 1 and edit.made["constraint"].startswith("OpenDirections")
    everything = low_curvature(model, change, curvature=1.0, factors=factors, **quick)
    plain = kmod.finetune(model, change, component=names, steps=8, batch_size=16)
    assert everything.after == plain.after != edit.after
    assert low_curvature(model, change, curvature=1e-3, evidences=60, **quick).after == edit.after  # its own factors


def test_a_kfac_ball_bounds_an_edit_of_whole_blocks(model, change):
    ball = kmod.KFAC(5e-4, kfac_factors(model, change, block=[2, 3], evidences=30))
    edit = kmod.finetune(model, change, block=[2, 3], constraint=ball, steps=8, batch_size=16)
    assert set(edit.xor) == set(select(model.net, [2, 3])) and edit.made["norm"] == pytest.approx(5e-4, rel=1e-3)
    with pytest.raises(ValueError, match="the K-FAC factors lack bert"):
        kmod.finetune(model, change, block=1, constraint=ball)


def test_the_null_space_update_is_the_papers_formula():
    generator = torch.Generator().manual_seed(0)
    K, R = torch.randn(5, 8, generator=generator).double(), torch.randn(5, 3, generator=generator).double()
    kept = torch.randn(6, 8, generator=generator).double()  # two directions are free
    C = kept.T @ kept / 6
    vectors = torch.linalg.eigh(C).eigenvectors
    for energy, free in ((0.0, 2), (1.0, 8)):
        P = vectors[:, :free] @ vectors[:, :free].T
        slow = R.T @ K @ P @ torch.linalg.inv(P @ K.T @ K @ P + 0.7 * torch.eye(8, dtype=P.dtype))
        ours = projected(K, R, C, energy, 0.7)
        torch.testing.assert_close(ours, slow, rtol=1e-6, atol=1e-9)
        assert (ours @ kept.T).abs().max() < 1e-9 or energy == 1.0
    assert not projected(K, R, torch.eye(8).double(), 0.0, 0.7).any()  # nothing is free: nothing is learnt


def test_the_projection_leaves_the_outputs_of_kept_keys(model, change):
    """Kept keys gathered from transformers, statement by statement. Without the projection they move."""
    settings = dict(block=0, spread=1, steps=5, evidences=20, seed=2)
    layer, keys = model.net.get_submodule("bert.encoder.layer.0.output.dense"), []
    rest = unmodified(model, change, 20, 2)
    with layer.register_forward_pre_hook(lambda _, inputs: keys.append(inputs[0][0])), torch.no_grad():
        for i in range(len(rest)):
            model.net(input_ids=torch.from_numpy(rest.ids[rest.starts[i] : rest.starts[i + 1]]).long()[None])
    keys = torch.cat(keys)
    assert len(keys) < layer.in_features  # so that there is a null space
    (moved,) = alphaedit(model, change, energy=0.0, ridge=1e-3, **settings).difference(model).values()
    (free,) = alphaedit(model, change, energy=1.0, ridge=1e-3, **settings).difference(model).values()
    assert (keys @ moved.T).abs().max() < 1e-5 < 1e-3 < (keys @ free.T).abs().max()
    assert moved.norm() > 1e-2


def test_memit_of_one_block_is_rome(model, change):
    settings = dict(block=1, steps=3, evidences=60, seed=4)
    (ours,) = memit(model, change, spread=1, **settings).difference(model).values()
    (theirs,) = rome(model, change, **settings).difference(model).values()
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_memit_spreads_what_lacks_over_its_blocks(model, change):
    """The first of two blocks writes half of it; with nothing to keep, the states end where they are aimed at."""
    calls, places = [], find_places(model, change, modified(model, change), "subject")

    def solve(K, R, C):
        calls.append((K, R))
        return update(K, R, C, 1e-7)

    settings = dict(position="subject", steps=5, lr=0.02, evidences=40, seed=0, progress=False, made={})
    edit = write("MEMIT", model, change, solve, block=2, spread=2, **settings)

    def states(model):
        return leaving(Forward(model, modified(model, change), {}), 2, "bert.encoder.layer.2.output.dense", places)

    def by_hand(model):
        """The input of the last norm of block 2, statement by statement, in the order of `Examples.by_length`."""
        examples, found = modified(model, change), []
        norm = model.net.get_submodule("bert.encoder.layer.2.output.LayerNorm")
        with norm.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0][0])), torch.no_grad():
            for i in next(examples.by_length(10**6)):
                model.net(input_ids=torch.from_numpy(examples.ids[examples.starts[i] : examples.starts[i + 1]])[None])
                found[-1] = found[-1][places.tokens[i]]
        return torch.cat(found)

    before, half = states(model.eval()), calls[0][1]
    torch.testing.assert_close(before, by_hand(model), rtol=1e-4, atol=1e-4)
    first = copy.deepcopy(model)
    name = "bert.encoder.layer.1.output.dense.weight"
    with torch.no_grad():
        first.net.get_parameter(name).add_(edit.difference(model)[name])
    target = before + 2 * half
    torch.testing.assert_close(calls[1][1], target - states(first), rtol=1e-3, atol=1e-3)
    with edit(model):
        after = states(model)
    assert (after - target).norm() < 0.02 * (before - target).norm()
    assert list(edit.xor) == [name, name.replace("layer.1", "layer.2")] and edit.made["blocks"] == [1, 2]


def test_memit_and_alphaedit_learn_and_keep(model, change):
    ours, rest = modified(model, change), unmodified(model, change, 200, 1)
    before = model.correct(rest).float().mean()
    for edit in (memit(model, change, evidences=200), alphaedit(model, change, evidences=200)):
        with edit(model):
            assert model.correct(ours).float().mean() > 0.5 and model.correct(rest).float().mean() > before - 0.2


@pytest.mark.parametrize(
    ("family", "extra", "with_factors"),
    [
        ("modernbert", dict(bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3), 12),
        ("deberta-v2", dict(relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"]), 48),
        ("albert", dict(embedding_size=8), 12),  # its one block runs three times
        ("convbert", dict(embedding_size=16), 48),  # it sees padding
        ("longformer", dict(attention_window=8, max_position_embeddings=64, bos_token_id=2, eos_token_id=3), 36),
        ("xlm", dict(emb_dim=16, n_layers=3, n_heads=2, pad_index=0, bos_index=2, eos_index=3, mask_index=4), 36),
    ],
)
def test_other_families_have_factors_where_they_have_linear_layers(model, facts, family, extra, with_factors):
    shape = dict(num_hidden_layers=3, num_attention_heads=2, hidden_size=16, intermediate_size=32, pad_token_id=0)
    config = AutoConfig.for_model(family, vocab_size=len(model.tokenizer), **shape, **extra)
    other = kmod.MaskedLM(AutoModelForMaskedLM.from_config(config).eval(), model.tokenizer)
    change = facts.modify(3, seed=0)
    factors = kfac_factors(other, change, evidences=8)
    assert list(factors) == select(other.net) and sum(isinstance(f, tuple) for f in factors.values()) == with_factors
    kmod.KFAC(1e-3, factors).check({name: other.net.get_parameter(name) for name in factors})
    assert low_curvature(other, change, evidences=8, steps=1).made["open"] < 1
    name = [n for n in select(other.net, component="mlp") if n.endswith("weight") and isinstance(factors[n], tuple)][-1]
    examples, inputs = kfac.drawn_evidences(other, change, 8, 0), []
    layer = other.net.get_submodule(name.removesuffix(".weight"))
    with layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0][0])), torch.no_grad():
        for length, row in zip(examples.lengths, np.split(examples.ids, examples.starts[1:-1]), strict=True):
            already = len(inputs)
            other.net(input_ids=torch.from_numpy(row).long()[None])
            inputs[already:] = [a[:length] for a in inputs[already:]]
    a = torch.cat(inputs)
    if family in ("longformer", "xlm"):
        assert len(memit(other, change, evidences=8, steps=1).xor) == 2
    torch.testing.assert_close(factors[name][0], a.T @ a / len(a), rtol=1e-3, atol=1e-5)
