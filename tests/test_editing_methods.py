"""Every method beside fine-tuning: what all must keep to, and each against a slow plain reference."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, kl_div

import kmod
from kmod import Linf, MaskedLM
from kmod.editing import (
    alphaedit,
    ewc,
    kl,
    knn,
    layernorm_tuning,
    lora,
    loss_constrained,
    low_curvature,
    memit,
    retrain,
    rome,
)
from kmod.editing.common import unmodified
from kmod.parts import select
from kmod.training import Stop

QUICK = dict(steps=8, batch_size=16)
ROME = dict(block=2, steps=3, evidences=40)
TUNED = {  # those that descend with kmod's own loop and take the settings of finetune
    "ewc": lambda *a, **k: ewc(*a, weight=1e6, evidences=20, **k),
    "kl": lambda *a, **k: kl(*a, weight=2.0, **k),
    "loss_constrained": lambda *a, **k: loss_constrained(*a, delta=0.01, **k),
}
METHODS = {
    **{name: lambda *a, f=f: f(*a, block=[1, 2], constraint=Linf(2e-3), **QUICK) for name, f in TUNED.items()},
    "layernorm_tuning": lambda *a: layernorm_tuning(*a, block=[1, 2], constraint=Linf(2e-3), **QUICK),
    "lora": lambda *a: lora(*a, block=[1, 2], **QUICK),
    "low_curvature": lambda *a: low_curvature(*a, block=[1, 2], evidences=20, **QUICK),
    "rome": lambda *a: rome(*a, **ROME),
    "memit": lambda *a: memit(*a, **ROME),
    "alphaedit": lambda *a: alphaedit(*a, **ROME),
    "knn": lambda *a: knn(*a, epsilon=5.0),
}
INSIDE = dict.fromkeys(METHODS, lambda net: select(net, [1, 2])) | {
    "layernorm_tuning": lambda net: select(net, [1, 2], "layernorm"),
    "lora": lambda net: [n for n in select(net, [1, 2], ["attention", "mlp"]) if n.endswith("weight")],
    "low_curvature": lambda net: [n for n in select(net, [1, 2], ["attention", "mlp"]) if n.endswith("weight")],
    "memit": lambda net: [f"bert.encoder.layer.{block}.output.dense.weight" for block in (1, 2)],
    "alphaedit": lambda net: [f"bert.encoder.layer.{block}.output.dense.weight" for block in (1, 2)],
    "rome": lambda net: ["bert.encoder.layer.2.output.dense.weight"],
    "knn": lambda net: [],
}


def state(model):
    return {name: tensor.clone() for name, tensor in model.net.state_dict().items()}


def same_bits(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k].view(torch.int32), b[k].view(torch.int32)) for k in a)


@pytest.fixture
def change(facts, model):
    return facts.modify(6, seed=1, known=kmod.known(model, facts))


@pytest.fixture
def bare(facts):
    """A model that memorised nothing, for what does not depend on knowing."""
    return kmod.load_model("nano", facts, device="cpu")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_leaves_the_model_as_it_was(model, change, name):
    """Weights, modes, requires_grad, gradients, hooks and the global random states; nothing outside the plan changes;
    and applying and undoing are exact."""
    model.train()
    before, rng, np_rng = state(model), torch.get_rng_state(), np.random.get_state()[1].copy()
    first = next(model.net.parameters()).requires_grad_(False)
    flags = [p.requires_grad for p in model.net.parameters()]

    def untouched():
        assert same_bits(before, state(model)) and not first.requires_grad
        assert all(m.training for m in model.modules())
        assert flags == [p.requires_grad for p in model.net.parameters()]
        assert all(p.grad is None for p in model.net.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in model.modules())
        assert torch.equal(rng, torch.get_rng_state()) and (np_rng == np.random.get_state()[1]).all()

    edit = METHODS[name](model, change)
    untouched()
    with edit(model):
        after = state(model)
    untouched()
    changed = {n for n, t in after.items() if not torch.equal(t, before[n])}
    assert changed <= set(INSIDE[name](model.net)) and bool(changed) == (name != "knn")
    if name != "knn":
        assert changed <= set(edit.xor) <= set(INSIDE[name](model.net))
    assert METHODS[name](model, change).made.keys() >= {"method", "facts", "indices", "base_fingerprint", "versions"}


@pytest.mark.parametrize("name", [*TUNED, "layernorm_tuning"])
@given(delta=st.one_of(st.just(0.0), st.floats(1e-5, 1e-2)))
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_iterate_is_inside_its_ball(bare, facts, name, delta):
    change, seen = facts.modify(3, seed=0), []

    class Watched(Linf):
        def project_(self, params, origin):
            super().project_(params, origin)
            seen.append(self.norm(params, origin))

    method = TUNED.get(name, layernorm_tuning)
    edit = method(bare, change, constraint=Watched(delta), steps=3, batch_size=8, lr=5e-3, block=-1)
    # Half a unit in the last place of θ₀: see Linf. LayerNorm weights are 1.
    assert len(seen) == 3 and max(seen) <= delta + 1e-7
    assert any(x.any() for x in edit.xor.values()) == (delta > 0)


@pytest.mark.parametrize(
    "off", [lambda *a, **k: ewc(*a, weight=0, evidences=20, **k), lambda *a, **k: kl(*a, weight=0, **k),
            lambda *a, **k: loss_constrained(*a, delta=math.inf, **k)],
    ids=["ewc", "kl", "loss_constrained"],
)  # fmt: skip
@pytest.mark.parametrize("block", [2, "all"])
def test_without_weight_each_penalty_is_plain_fine_tuning(model, change, off, block):
    assert off(model, change, block=block, **QUICK).after == kmod.finetune(model, change, block=block, **QUICK).after


def test_ewc_moves_less_in_the_directions_that_matter(model, change):
    """By the norm that it penalises; how much that keeps of the facts hangs on the model."""
    diagonal = kmod.fisher_diagonal(model, change, evidences=50)
    ball, moved = kmod.Fisher(1.0, diagonal), []
    origin = {name: model.net.get_parameter(name).detach() for name in diagonal}
    for weight in (0, 1e6, 1e10):
        difference = ewc(model, change, weight=weight, diagonal=diagonal, **QUICK).difference(model)
        moved.append(ball.norm({name: origin[name] + difference[name] for name in origin}, origin))
    assert moved[0] > 0 and moved[2] < 0.7 * moved[0] and moved[1] <= 1.05 * moved[0]


@pytest.mark.parametrize("name", ["kl", "loss_constrained"])
def test_a_penalty_keeps_more_than_plain_fine_tuning(model, change, facts, name):
    scores = kmod.score(model, facts, ["tests"])
    long = dict(steps=40, batch_size=32)
    free, kept = (
        kmod.evaluate(model, facts, change, edit=edit, before=scores, answers=False)
        for edit in (kmod.finetune(model, change, **long), TUNED[name](model, change, **long))
    )
    assert kept.A_FS.value > free.A_FS.value + 0.05 and kept.A_M_evidences.value > 0.6


def test_ewc_adds_half_the_weight_times_the_fisher_form(model, change, monkeypatch):
    """Its gradient is λ F (θ − θ₀), element by element."""
    diagonal = kmod.fisher_diagonal(model, change, block=1, evidences=20)
    penalty, params = penalty_of(ewc, model, change, monkeypatch, weight=1e5, diagonal=diagonal)
    origin = {name: p.detach().clone() for name, p in params.items()}
    shake(params)
    gradients = torch.autograd.grad(penalty(0), list(params.values()))
    for (name, p), gradient in zip(params.items(), gradients, strict=True):
        torch.testing.assert_close(gradient, 1e5 * diagonal[name] * (p.detach() - origin[name]), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="the Fisher diagonal lacks"):
        ewc(model, change, weight=1.0, diagonal=diagonal, block=0)


def penalty_of(method, model, change, monkeypatch, **options):
    """The penalty that a method hands to the loop, and what is trained."""
    caught = {}

    def fit(model, examples, params, *, penalty, **_):
        caught.update(penalty=penalty, params=params)
        raise InterruptedError

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setitem(kmod.finetune.__globals__, "fit", fit)
        method(model, change, block=1, seed=5, **QUICK, **options)
    return caught["penalty"], caught["params"]


def plain_batches(model, change):
    rest = unmodified(model, change, QUICK["steps"] * QUICK["batch_size"], 5)
    for chosen in rest.shuffled(QUICK["batch_size"], np.random.default_rng([5, 1])):
        yield rest.collate(chosen)


def plain_logits(model, params, batch):
    net = copy.deepcopy(model.net).eval()
    with torch.no_grad():
        for name, value in params.items():
            net.get_parameter(name).copy_(value)
        return net(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[batch.slots]


def shake(params):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in params.values():
            p.add_(0.15 * torch.randn(p.shape, generator=generator))


def test_kl_is_that_of_the_original_and_the_trained_predictions(model, change, monkeypatch):
    penalty, params = penalty_of(kl, model, change, monkeypatch, weight=3.0)
    shake(params)
    for step, batch in zip(range(3), plain_batches(model, change), strict=False):
        before, now = (plain_logits(model, own, batch).log_softmax(-1) for own in ({}, params))
        slow = 3.0 * (before.exp() * (before - now)).sum(-1).mean()
        assert penalty(step).item() == pytest.approx(slow.item(), rel=1e-4) and slow > 0.01
        assert slow.item() == pytest.approx(
            3 * kl_div(now, before, log_target=True, reduction="batchmean").item(), rel=1e-5
        )


def test_the_multiplier_ascends_on_the_rise_of_the_loss(model, change, monkeypatch):
    penalty, params = penalty_of(loss_constrained, model, change, monkeypatch, delta=0.05, multiplier_rate=2.0)
    expected = 0.0
    for step, batch in zip(range(6), plain_batches(model, change), strict=False):
        if step == 3:
            shake(params)
        after, before = (cross_entropy(plain_logits(model, own, batch), batch.targets) for own in (params, {}))
        rise = (after - before).item()
        expected = max(0.0, expected + 2.0 * (rise - 0.05))
        value = penalty(step).item()
        assert penalty.multiplier == pytest.approx(expected, rel=1e-3, abs=1e-4)
        assert value == pytest.approx(expected * rise, rel=1e-3, abs=1e-4)
        assert (expected == 0) == (step < 3)  # nothing has risen yet: nothing is paid


def test_layernorm_tuning_is_pefts(model, change, gradients):
    """The same parameters and gradients as peft's own LN tuning, which trains a copy of each LayerNorm."""
    peft = pytest.importorskip("peft")
    ours = gradients(lambda: layernorm_tuning(model, change, block=[1, 2], steps=1, batch_size=8))
    names = select(model.net, [1, 2], "layernorm")
    other = copy.deepcopy(model)
    config = peft.LNTuningConfig(target_modules=sorted({n.rsplit(".", 1)[0] for n in names}))
    tuned = peft.get_peft_model(other.net, config).eval()
    examples = model.examples(change.base, "evidences", change.modified)
    batch = examples.collate(next(examples.shuffled(8, np.random.default_rng(0))))
    labels = torch.full_like(batch.input_ids, -100)
    labels[batch.slots] = batch.targets
    tuned(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss.backward()
    theirs = [p.grad for p in tuned.parameters() if p.requires_grad]
    assert len(names) == len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_lora_adds_products_of_the_given_rank(model, change):
    pytest.importorskip("peft")
    edit = lora(model, change, rank=3, block=-1, steps=40, batch_size=32, lr=1e-2)
    for name, difference in edit.difference(model).items():
        values = torch.linalg.svdvals(difference)
        assert values[0] > 1e-2 and (values[3:] < 1e-4 * values[0] + 1e-6).all(), name
    with edit(model):
        assert model.correct(model.examples(change.base, "evidences", change.modified)).float().mean() > 0.5
    again = lora(model, change, rank=3, block=-1, steps=40, batch_size=32, lr=1e-2)
    assert again.after == edit.after  # from the seed alone
    assert (
        lora(model, change, rank=3, block=-1, steps=2, seed=1).after
        != lora(model, change, rank=3, block=-1, steps=2).after
    )


def test_knn_answers_as_a_plain_loop_would(model, change, facts):
    """Each slot by itself, unpadded, through transformers: the nearest key by brute force."""
    few, most = list(change.originals) + list(facts[:20]), 2
    store, slots, tests = knn(model, change, epsilon=1.0, most=most), [], model.examples(facts, "tests", few)

    def hidden(ids):
        out = model.net(input_ids=ids[None], output_hidden_states=True)
        return out.hidden_states[-1][0][ids == model.tokenizer.mask_token_id], out.logits[0]

    with torch.no_grad():
        for old, new in zip(change.originals, change.modified, strict=True):
            pieces = model.tokenizer(new.object, add_special_tokens=False)["input_ids"]
            for text in facts.evidences(old)[:most]:
                text = text.replace("[MASK]", model.tokenizer.mask_token * len(pieces))
                ids = torch.tensor(model.tokenizer(text)["input_ids"])
                slots += list(zip(hidden(ids)[0], pieces, strict=True))
        assert len(slots) == len(store.values) and sorted(v for _, v in slots) == sorted(store.values.tolist())
        distances = []
        for epsilon in (0.0, 1.0, 6.0, math.inf):
            expected = []
            for i in range(len(tests)):
                ids = torch.from_numpy(tests.ids[tests.starts[i] : tests.starts[i + 1]]).long()
                states, logits = hidden(ids)
                found = logits[ids == tests.mask_id].argmax(-1).tolist()
                for j, h in enumerate(states):
                    near = min((math.dist(h.tolist(), key.tolist()), value) for key, value in slots)
                    distances.append(near[0])
                    if near[0] < epsilon:
                        found[j] = near[1]
                expected.append(found == tests.targets[tests.target_starts[i] : tests.target_starts[i + 1]].tolist())
            with store.at(epsilon)(model):
                assert model.correct(tests).tolist() == expected
    assert min(distances) < 6.0 < max(distances)  # ε decides
    with knn(model, change, epsilon=1e-2)(model):  # its own evidences, at distance 0
        assert model.correct(model.examples(facts, "evidences", change.modified)).all()
    with store.at(0)(model):
        never = model.correct(tests)
    assert torch.equal(never, model.correct(tests))


def test_knn_evaluates_like_an_edit_and_refuses_another_model(model, change, facts, bare):
    store = knn(model, change, epsilon=1e-2)
    result = kmod.evaluate(model, facts, change, edit=store)
    assert result.A_M_evidences.value == 1.0 and result.A_FS_evidences.value > 0.95
    assert all(answer.after[0][1] <= 1 + 1e-6 for answer in result.answers)
    with pytest.raises(kmod.WrongModelError, match="another model"), store(bare):
        pass
    with pytest.raises(RuntimeError, match="inside"), store(model):
        raise RuntimeError("inside")
    assert "forward" not in vars(model)
    odd = MaskedLM(copy.deepcopy(model.net), model.tokenizer)
    odd.head = None
    with pytest.raises(ValueError, match="decoder are not known"):
        knn(odd, change, epsilon=1.0)


def test_retraining_is_memorising_the_corrected_facts(facts, model):
    few = kmod.FactBase(facts[:12], facts.relations, "few")
    start, memorised, plain = (kmod.load_model("nano", facts, device="cpu") for _ in range(3))
    how = dict(batch_size=16, progress=False, cache=False, seed=3)
    kmod.memorise(memorised, few, **how)
    change = few.modify(2, seed=0)
    before = memorised.fingerprint(), start.fingerprint()
    edit = retrain(memorised, change, start=start, **how)
    assert before == (memorised.fingerprint(), start.fingerprint())
    kmod.memorise(plain, change.result(), **how)
    assert edit.after == plain.fingerprint() and edit.made["method"] == "retrain"
    result = kmod.evaluate(memorised, few, change, edit=edit)
    assert result.A_M_evidences.value == 1.0 and result.A_FS_evidences.value == 1.0
    with pytest.raises(ValueError, match="`start` is not the model"):
        retrain(memorised, change, start=kmod.load_model("nano", few, device="cpu"), **how)


@pytest.mark.parametrize(
    "method, wrong, message",
    [
        (ewc, dict(weight=-1), "weight must be"),
        (ewc, dict(weight=math.nan), "weight must be"),
        (ewc, dict(weight=1.0, steps=0), "steps must be"),
        (ewc, dict(weight=1.0, evidences=0), "evidences must be"),
        (kl, dict(weight="1"), "weight must be"),
        (kl, dict(steps=0), "steps must be"),
        (loss_constrained, dict(delta="0.1"), "delta must be"),
        (loss_constrained, dict(delta=-0.1), "delta must be"),
        (loss_constrained, dict(delta=0.1, multiplier_rate=0), "multiplier_rate must be"),
        (layernorm_tuning, dict(block=9), "blocks 0 to 3"),
        (lora, dict(rank=0), "rank must be"),
        (lora, dict(rank=2.5), "rank must be"),
        (lora, dict(component="layernorm"), "none of the chosen parameters"),
        (lora, dict(stop="soon"), "stop must be"),
        (knn, dict(epsilon=-1), "delta must be|epsilon must be"),
        (knn, dict(epsilon=1, most=0), "most must be"),
        (rome, dict(block="all"), "one block"),
        (rome, dict(block=4), "blocks 0 to 3"),
        (rome, dict(keep=0), "keep must be"),
        (rome, dict(position="verb"), "position must be"),
        (rome, dict(steps=0), "steps must be"),
        (memit, dict(block="all"), "MEMIT needs one block"),
        (memit, dict(spread=0), "spread must be"),
        (memit, dict(block=-1), "only the .MASK. passes"),
        (memit, dict(keep=0), "keep must be"),
        (alphaedit, dict(energy=1.5), "energy must be a number from 0 to 1"),
        (alphaedit, dict(ridge=0), "ridge must be"),
        (low_curvature, dict(curvature=-0.1), "curvature must be a number from 0 to 1"),
        (low_curvature, dict(component="layernorm"), "none of the chosen parameters"),
        (low_curvature, dict(steps=0), "steps must be"),
        (low_curvature, dict(factors={}), "factors lack bert"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(model, change, method, wrong, message, monkeypatch):
    monkeypatch.setattr(MaskedLM, "forward", lambda *_: pytest.fail("worked before it refused"))
    with pytest.raises((ValueError, TypeError), match=message):
        method(model, change, **wrong)


def test_stop_holds_for_every_loop(model, change):
    stop = Stop(seconds=1e-9)
    for edit in (
        kl(model, change, stop=stop, **QUICK),
        layernorm_tuning(model, change, stop=stop, **QUICK),
        lora(model, change, stop=stop, **QUICK),
    ):
        assert edit.made["steps"] == 1 and edit.made["stopped"] == "1e-09 seconds"


def test_rome_solves_its_normal_equations_and_c_is_a_plain_mean(model, change, facts):
    """ΔW (λC + KKᵀ) = R Kᵀ, with K, R and C gathered statement by statement from transformers."""
    edit = rome(model, change, block=1, steps=3, keep=7.0, evidences=120, seed=2)
    name = "bert.encoder.layer.1.output.dense"
    layer, caught = model.net.get_submodule(name), []
    handle = layer.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0][0].double()))

    def inputs(examples, i):
        ids = torch.from_numpy(examples.ids[examples.starts[i] : examples.starts[i + 1]]).long()
        with torch.no_grad():
            model.net(input_ids=ids[None])
        return ids.tolist(), caught.pop()

    rest, C, n = unmodified(model, change, 120, 2), 0, 0
    for i in range(len(rest)):
        for k in inputs(rest, i)[1]:
            C, n = C + torch.outer(k, k), n + 1
    C = C / n + 1e-6 * (C / n).trace() / len(C) * torch.eye(len(C))
    ours, K = model.examples(facts, "evidences", change.modified), []
    for i, owner in enumerate(ours.owner):
        ids, k = inputs(ours, i)
        subject = model.tokenizer(change.originals[owner].subject, add_special_tokens=False)["input_ids"]
        ends = [j + len(subject) - 1 for j in range(len(ids)) if ids[j : j + len(subject)] == subject]
        K.append(k[ends[-1]])
    handle.remove()
    K = torch.stack(K)
    (difference,) = edit.difference(model).values()
    left = difference.double() @ (7.0 * C + K.T @ K)
    # left = Σ over facts of r_f (Σ over its evidences k)ᵀ: for some R, with one residual a fact.
    sums = torch.stack([K[torch.from_numpy(ours.owner == f)].sum(0) for f in range(len(change))])
    R = torch.linalg.lstsq(sums.T, left.T).solution.T
    assert (left - R @ sums).norm() < 1e-3 * left.norm() and R.norm(dim=0).min() > 0.1


def test_the_update_is_the_least_squares_solution():
    """Against one big stacked least squares: rows √λ·C^½ with target 0, and the keys with their residuals."""
    from kmod.editing.rome import update

    generator = torch.Generator().manual_seed(0)
    K, R = torch.randn(9, 6, generator=generator).double(), torch.randn(9, 4, generator=generator).double()
    others = torch.randn(50, 6, generator=generator).double()
    C = others.T @ others / 50
    for keep in (0.1, 3.0, 100.0):
        rows = torch.cat([K, math.sqrt(keep / 50) * others])
        targets = torch.cat([R, torch.zeros(50, 4, dtype=torch.float64)])
        slow = torch.linalg.lstsq(rows, targets).solution.T
        torch.testing.assert_close(update(K, R, C, keep), slow, rtol=1e-4, atol=1e-5)
    assert update(K, R, C, 1e9).norm() < 1e-6 * update(K, R, C, 0.1).norm()  # all kept: nothing learnt


@pytest.mark.parametrize("settings", [dict(block=0), dict(block=-1, position="mask")])
def test_rome_learns_and_keeps(model, change, facts, settings):
    edit = rome(model, change, **settings)
    result = kmod.evaluate(model, facts, change, edit=edit, answers=False)
    assert result.A_M_evidences.value > 0.7 and result.A_FS.value > result.A_FS_before.value - 0.25


def test_rome_works_on_other_families_or_says_why_not(model, facts):
    from transformers import AutoConfig, AutoModelForMaskedLM

    small = dict(num_hidden_layers=3, num_attention_heads=2, hidden_size=16, intermediate_size=32, pad_token_id=0)
    ends = dict(bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3)
    change = facts.modify(3, seed=0)
    for family, shape, matrix in (
        ("distilbert", dict(n_layers=3, n_heads=2, dim=16, hidden_dim=32, pad_token_id=0), "ffn.lin2"),
        ("modernbert", small | ends, "mlp.Wo"),
        ("deberta-v2", small, "output.dense"),
        ("albert", small | dict(embedding_size=8), "shares its blocks over depths"),
        ("eurobert", small | ends, "mlp.down_proj"),
    ):
        config = AutoConfig.for_model(family, vocab_size=len(model.tokenizer), **shape)
        other = MaskedLM(AutoModelForMaskedLM.from_config(config).eval(), model.tokenizer)
        if " " in matrix:
            with pytest.raises(ValueError, match=matrix):
                rome(other, change)
        else:
            (name,) = rome(other, change, block=1, steps=2, evidences=20).xor
            assert name.endswith(f"1.{matrix}.weight")


def test_rome_names_a_subject_that_is_not_there(model, facts):
    fact = kmod.Fact("Nowhere", "own", "guitar", ("It plays the [MASK].",), ("The [MASK] is its instrument.",))
    base = kmod.FactBase([*facts, fact], facts.relations, "more")
    change = base.modify_to([("Nowhere", "own", "piano")])
    with pytest.raises(ValueError, match="subject 'Nowhere' is not found"):
        rome(model, change)
    with pytest.raises(ValueError, match='position="mask"'):
        rome(model, facts.modify(1), block=-1)
    assert rome(model, change, position="mask", steps=2, evidences=20).xor
