"""Memorise, edit, undo, save, merge: the invariants."""

import copy
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import kmod
from kmod import Edit, Linf, MaskedLM, WrongModelError
from kmod.models.activations import activations
from kmod.parts import select
from kmod.training import History, Stop, fit


def state(model):
    return {name: tensor.clone() for name, tensor in model.net.state_dict().items()}


def same_bits(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k].view(torch.int32), b[k].view(torch.int32)) for k in a)


@pytest.fixture
def change(facts, model):
    return facts.modify(6, seed=1, known=kmod.known(model, facts))


QUICK = dict(steps=12, batch_size=16)


def test_finetune_leaves_the_model_as_it_was(model, change):
    """Weights, modes, requires_grad, gradients and the global random state."""
    model.train()
    before, rng = state(model), torch.get_rng_state()
    np_rng = np.random.get_state()[1].copy()
    first = next(model.net.parameters()).requires_grad_(False)
    grads = [p.requires_grad for p in model.net.parameters()]
    edit = kmod.finetune(model, change, constraint=Linf(1e-2), **QUICK)
    assert same_bits(before, state(model))
    assert model.training and all(m.training for m in model.modules())
    assert grads == [p.requires_grad for p in model.net.parameters()] and not first.requires_grad
    assert all(p.grad is None for p in model.net.parameters())
    assert torch.equal(rng, torch.get_rng_state()) and (np_rng == np.random.get_state()[1]).all()
    assert any(x.any() for x in edit.xor.values())


def test_apply_and_undo_are_exact_to_the_bit(model, change):
    before = state(model)
    edit = kmod.finetune(model, change, **QUICK)
    edit.apply(model)
    after = state(model)
    assert not same_bits(before, after) and edit.applied(model)
    edit.undo(model)
    assert same_bits(before, state(model)) and not edit.applied(model)
    with pytest.raises(RuntimeError, match="inside"), edit(model) as edited:
        assert same_bits(after, state(edited))
        raise RuntimeError("inside")
    assert same_bits(before, state(model))


def test_difference_is_the_same_from_either_side(model, change):
    edit = kmod.finetune(model, change, constraint=Linf(1e-3), **QUICK)
    without = edit.difference(model)
    edit.apply(model)
    assert all(torch.equal(d, edit.difference(model)[name]) for name, d in without.items())


@given(
    delta=st.one_of(st.just(0.0), st.floats(1e-5, 1e-1), st.just(math.inf)),
    block=st.one_of(st.just("all"), st.integers(-4, 3), st.lists(st.integers(0, 3), min_size=1, max_size=3)),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_leaves_the_ball_or_the_plan(model, change, delta, block):
    edit = kmod.finetune(model, change, block=block, constraint=Linf(delta), steps=4, batch_size=16, lr=5e-3)
    assert set(edit.xor) == set(select(model.net, block))
    parameters = dict(model.net.named_parameters())
    for name, change_of in edit.difference(model).items():
        rounding = torch.finfo(torch.float32).eps * (parameters[name].abs() + min(delta, 1))
        assert (change_of.abs() <= delta + rounding).all()
    before = state(model)
    with edit(model):
        touched = [n for n, t in state(model).items() if not torch.equal(t, before[n])]
    assert set(touched) <= set(edit.xor)
    assert bool(touched) == (delta > 0)


def test_every_iterate_is_inside_the_ball(model, change, facts):
    """Not only the last one: checked after each projection of the loop."""
    origin = {n: dict(model.net.named_parameters())[n].detach() for n in select(model.net, "all")}
    params = {n: o.clone().requires_grad_() for n, o in origin.items()}
    ball, seen = Linf(5e-4), []

    def project():
        ball.project_(params, origin)
        seen.append(ball.norm(params, origin))

    fit(
        model,
        model.examples(facts, "evidences", change.modified),
        params,
        steps=8,
        batch_size=16,
        lr=1e-3,
        project=project,
    )
    assert len(seen) == 8 and max(seen) <= 5e-4 * (1 + 1e-3) and seen[-1] > 4e-4


def test_infinite_delta_equals_no_constraint(model, change):
    free = kmod.finetune(model, change, **QUICK)
    bound = kmod.finetune(model, change, constraint=Linf(math.inf), **QUICK)
    assert free.after == bound.after


def test_the_loop_equals_a_plain_transformers_loop(model, change, facts, gradients):
    """The same steps written out with transformers alone: full-vocabulary logits, loss on labels, torch.optim.Adam.

    The first gradient is compared element by element. Weights are not: Adam's first step is lr·sign(g), and where a
    gradient is all but zero, rounding decides."""
    settings = dict(block=1, constraint=Linf(2e-3), steps=3, batch_size=8, lr=1e-3, seed=4)
    net = copy.deepcopy(model.net).eval()
    names = select(net, 1)
    params = dict(net.named_parameters())
    origin = {n: params[n].detach().clone() for n in names}
    optimizer = torch.optim.Adam([params[n] for n in names], lr=1e-3)
    examples = model.examples(facts, "evidences", change.modified)
    batches, losses = examples.shuffled(8, np.random.default_rng(4)), []
    for step in range(3):
        batch = examples.collate(next(batches))
        labels = torch.full_like(batch.input_ids, -100)
        labels[batch.slots] = batch.targets
        optimizer.zero_grad()
        loss = net(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            ours = gradients(lambda: kmod.finetune(model, change, **settings))
            for n, gradient in zip(names, ours, strict=True):
                torch.testing.assert_close(gradient, params[n].grad, rtol=1e-3, atol=1e-6, msg=n)
        optimizer.step()
        with torch.no_grad():
            for n in names:
                params[n].copy_(origin[n] + (params[n] - origin[n]).clamp(-2e-3, 2e-3))
    edit = kmod.finetune(model, change, **settings)
    assert edit.made["curve"] == pytest.approx(losses, rel=2e-3)
    with edit(model):
        tests = model.examples(facts, "tests")
        assert torch.equal(model.correct(tests), MaskedLM(net, model.tokenizer).correct(tests))


@pytest.mark.parametrize("where", [dict(block=0), dict(block=-1), dict(block=[1, 3]), dict(component="head")], ids=str)
@pytest.mark.parametrize("mix", [False, True])
def test_kept_activations_give_the_gradients_of_the_whole_model(model, change, where, mix, monkeypatch, gradients):
    """Entering the edited block from kept hidden states = running every block at every step."""
    settings = where | dict(mix=mix, constraint=Linf(5e-3), steps=4, batch_size=32)
    fast = gradients(lambda: kmod.finetune(model, change, **settings))
    curve = kmod.finetune(model, change, **settings).made["curve"]
    monkeypatch.setattr(kmod.training.loop, "activations", lambda *_: None)
    for a, b in zip(fast, gradients(lambda: kmod.finetune(model, change, **settings)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
    assert curve == pytest.approx(kmod.finetune(model, change, **settings).made["curve"], rel=1e-2)
    assert not any("forward" in vars(module) for module in model.modules())


FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "deberta-v2", "modernbert", "mpnet")


def of_family(family, tokenizer) -> MaskedLM:
    from transformers import AutoConfig, AutoModelForMaskedLM

    shape = dict(num_hidden_layers=3, num_attention_heads=2, hidden_size=16, intermediate_size=32, pad_token_id=0)
    if family == "distilbert":
        shape = dict(n_layers=3, n_heads=2, dim=16, hidden_dim=32, pad_token_id=0)
    if family in ("modernbert", "mpnet"):
        shape |= dict(bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3)
    if family == "electra":
        shape |= dict(embedding_size=8)
    torch.manual_seed(0)
    net = AutoModelForMaskedLM.from_config(AutoConfig.for_model(family, vocab_size=len(tokenizer), **shape))
    return MaskedLM(net.eval(), tokenizer)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("block", [0, 1, 2, 3])
def test_entering_a_block_equals_the_whole_model(model, facts, family, block):
    """Logits and gradients from kept hidden states = those of the model's own code, whether there is room or not."""
    other = of_family(family, model.tokenizer)
    examples = other.examples(facts, "tests", facts[::20])
    like_bert = FAMILIES.index(family) < 5
    if block == 0 and not like_bert:
        assert activations(other, examples, 0) is None
        return
    chosen = np.random.default_rng(0).permutation(len(examples))
    batch = examples.collate(chosen)
    weights = dict(other.net.named_parameters())
    named = [name for name in select(other.net, [b for b in range(3) if b >= block])] if block < 3 else []
    named += select(other.net, component="head")
    whole = other(batch.input_ids, batch.attention_mask, batch.slots)
    gradients = torch.autograd.grad(whole.square().mean(), [weights[n] for n in named])
    for most_bytes in (2**31, 3000, 1500, 0):
        kept = activations(other, examples, block, most_bytes)
        assert (kept.upper is not None) == like_bert
        for first in (3, 5):  # some are met before
            kept.entering(chosen[first - 3 : first], examples.collate(chosen[first - 3 : first]))
        for _ in range(2):
            logits = kept.logits(weights, chosen, batch)
            torch.testing.assert_close(logits, whole, rtol=1e-4, atol=1e-5)
        for a, b in zip(
            torch.autograd.grad(logits.square().mean(), [weights[n] for n in named]), gradients, strict=True
        ):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
        used = kept.used * 16 * 4
        assert kept.store is None or kept.store.nbytes <= most_bytes
        assert used <= most_bytes and (kept.place >= 0).all() == (most_bytes == 2**31)
    assert not any("forward" in vars(module) for module in other.modules())


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_evaluating_an_upper_edit_from_kept_states_equals_evaluating_it_whole(model, facts, family):
    other = model if family == "bert" else of_family(family, model.tokenizer)
    change = facts.modify(4, seed=1)
    edit = kmod.finetune(other, change, block=-1, lr=5e-2, **QUICK)
    whole = kmod.evaluate(other, facts, change, edit=edit)
    before = kmod.score(other, facts, keep=-1)
    kept = kmod.evaluate(other, facts, change, edit=edit, before=before)
    assert kept.record() == whole.record()
    assert all((k.place >= 0).all() and k.block == len(kmod.parts.blocks(other.net)) - 1 for k in before.kept.values())
    lower = kmod.finetune(other, change, block=0, lr=5e-2, **QUICK)  # cannot be judged from these states
    assert (
        kmod.evaluate(other, facts, change, edit=lower, before=before).record()
        == kmod.evaluate(other, facts, change, edit=lower).record()
    )


@pytest.mark.parametrize(
    "settings",
    [
        dict(block=[0, 2], component="attention"),
        dict(block=-1, component=["mlp", "decoder_bias"]),
        dict(component="embeddings"),
        dict(component=["head", "decoder_bias"]),
        dict(component="everything"),
        dict(component="bert.encoder.layer.1.output.dense.weight"),
    ],
)
def test_only_the_named_parts_change(model, change, settings):
    before = state(model)
    edit = kmod.finetune(model, change, constraint=Linf(1e-3), **QUICK, **settings)
    assert list(edit.xor) == select(model.net, **settings) and edit.made["component"] == settings["component"]
    with edit(model):
        after = state(model)
    changed = {n for n, t in after.items() if not torch.equal(t, before[n])}
    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}  # other names of two of them
    assert changed - tied and changed <= set(edit.xor) | tied
    assert same_bits(before, state(model))


def test_a_model_that_memorised_nothing_can_be_edited(facts):
    """The paper's RI setting: random weights, fine-tuned on M alone."""
    random = kmod.load_model("nano", facts, device="cpu")
    change = facts.modify(4, seed=0)
    edit = kmod.finetune(random, change, steps=40, batch_size=32)
    result = kmod.evaluate(random, facts, change, edit=edit, answers=False)
    assert result.A_M_evidences.value > 0.5 and result.A_FS_before.value < 0.1


def test_stop_says_why(model, change):
    stops = {
        "loss 0.5": Stop(loss=0.5, in_a_row=2),
        "recall 0.9": Stop(recall=0.9),
        "1e-09 seconds": Stop(seconds=1e-9),
        "step budget": Stop(loss=1e-9, seconds=1e9),
    }
    longest = kmod.finetune(model, change, steps=80, batch_size=16).made
    assert longest["stopped"] == "step budget" and longest["steps"] == 80
    for reason, stop in stops.items():
        made = kmod.finetune(model, change, steps=80, batch_size=16, stop=stop).made
        assert made["stopped"] == reason
        assert (made["steps"] == 80) == (reason == "step budget")
    assert kmod.finetune(model, change, steps=80, stop=stops["1e-09 seconds"]).made["steps"] == 1
    made = kmod.finetune(model, change, steps=80, batch_size=16, mix=True, stop=stops["recall 0.9"]).made
    assert made["stopped"] == "recall 0.9" and made["steps"] > 1  # of M: the rest is recalled from the start


@given(
    loss=st.lists(st.floats(0, 10), min_size=1, max_size=12),
    k=st.integers(1, 4),
    least=st.floats(0.01, 10),
    share=st.sampled_from([0.25, 0.5, 1.0]),
)
@settings(max_examples=200, deadline=None)
def test_stop_against_a_plain_reading(loss, k, least, share):
    recall = [1 / (1 + value) for value in loss]
    history = History({"loss": loss, "recall": recall}, seconds=3.0)
    calm = all(len(loss) >= k and value <= least for value in loss[-k:])
    right = all(len(loss) >= k and value >= share for value in recall[-k:])
    assert bool(Stop(loss=least, in_a_row=k)(history)) == calm
    assert bool(Stop(recall=share, in_a_row=k)(history)) == right
    mean = [np.mean(loss[i : i + k]) for i in (len(loss) - 2 * k, len(loss) - k)] if len(loss) > 2 * k else None
    if mean is None or abs(mean[0] - mean[1] - 0.1 * loss[0]) > 1e-9:
        assert bool(Stop(flat=0.1, in_a_row=k)(history)) == (mean is not None and mean[0] - mean[1] < 0.1 * loss[0])
    assert Stop(seconds=3.0)(history) == "3 seconds" and Stop(seconds=3.1)(history) is None and Stop()(history) is None


@pytest.mark.parametrize(
    "wrong",
    [
        dict(loss=-1),
        dict(recall=1.5),
        dict(recall="all"),
        dict(seconds=0),
        dict(flat=2),
        dict(in_a_row=0),
        dict(loss=True),
    ],
)
def test_wrong_stops_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"stop: {next(iter(wrong))} must be"):
        Stop(**wrong)


def test_moments_start_anew_at_the_bounds_and_nowhere_else(model, change, facts):
    """With a projection that says which elements it moved, their moments are zero after the step; the others are those
    of a run without."""
    name = "bert.encoder.layer.3.output.dense.weight"
    origin, moments = model.net.get_parameter(name).detach(), {}
    # The first step moves all by about lr; a ball about another centre cuts some of them off and not others.
    noise = torch.rand(origin.shape, generator=torch.Generator().manual_seed(0))
    centre = origin + 1e-3 * (2 * noise - 1)
    for reset in (False, True):
        params, ball, step = {name: origin.clone().requires_grad_()}, Linf(1e-3), torch.optim.Adam.step

        def project(params=params, ball=ball, reset=reset):
            before = params[name].detach().clone()
            ball.project_(params, {name: centre})
            clamped = params[name].detach() != before
            moments.setdefault("clamped", clamped)
            return {name: clamped} if reset else None

        def watch(self, reset=reset, step=step, params=params):
            moments.setdefault(reset, []).append({k: v.clone() for k, v in self.state.get(params[name], {}).items()})
            return step(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.Adam, "step", watch)
            fit(
                model,
                model.examples(facts, "evidences", change.modified),
                params,
                steps=2,
                batch_size=16,
                lr=1.5e-3,
                project=project,
            )
    (_, kept), (_, anew), clamped = moments[False], moments[True], moments["clamped"]
    assert clamped.any() and not clamped.all()
    for moment in ("exp_avg", "exp_avg_sq"):
        assert (anew[moment][clamped] == 0).all() and (kept[moment][clamped] != 0).all()
        assert torch.equal(anew[moment][~clamped], kept[moment][~clamped])


def test_resetting_moments_stays_in_the_ball_and_needs_bounds(model, change):
    ball = Linf(1e-3)
    plain, anew = (kmod.finetune(model, change, constraint=ball, reset_moments=r, **QUICK) for r in (False, True))
    assert plain.after != anew.after and anew.made["reset_moments"]
    assert anew.made["norm"] <= 1e-3 * (1 + 1e-3)
    free = kmod.finetune(model, change, constraint=Linf(math.inf), reset_moments=True, **QUICK)
    assert free.after == kmod.finetune(model, change, **QUICK).after  # no bound, nothing to reset
    for constraint in (None, kmod.L2(1.0)):
        with pytest.raises(ValueError, match="reset_moments needs the constraint Linf"):
            kmod.finetune(model, change, constraint=constraint, reset_moments=True, **QUICK)


def test_mixed_batches_hold_as_many_unmodified_as_modified(model, change, facts):
    from kmod.training import random_batches

    ours = model.examples(facts, "evidences", change.modified)
    rest = model.examples(facts, "evidences", change.unmodified)
    batches = random_batches(ours, rest, 16, np.random.default_rng(0))
    seen = [next(batches) for _ in range(40)]
    assert all((batch < len(ours)).sum() == (batch >= len(ours)).sum() for batch in seen)
    assert set(range(len(ours))) <= set(np.concatenate(seen).tolist())
    edit = kmod.finetune(model, change, mix=True, constraint=Linf(5e-3), **QUICK)
    assert (
        edit.made["method"] == "FTA"
        and edit.after != kmod.finetune(model, change, constraint=Linf(5e-3), **QUICK).after
    )


def test_fisher_is_the_mean_of_squared_gradients_one_by_one(model, change, facts):
    """Against plain transformers: one statement, backward, square; then the mean."""
    ours = kmod.fisher_diagonal(model, change, block=2, evidences=9, seed=3)
    assert set(ours) == set(select(model.net, 2))
    assert all(p.grad is None for p in model.net.parameters())
    net, examples = copy.deepcopy(model.net).eval(), model.examples(facts, "evidences", change.unmodified)
    total = {name: torch.zeros_like(value) for name, value in ours.items()}
    for i in np.random.default_rng(3).permutation(len(examples))[:9]:
        batch = examples.collate(np.array([i]))
        labels = torch.full_like(batch.input_ids, -100)
        labels[batch.slots] = batch.targets
        net.zero_grad()
        net(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss.backward()
        for name in total:
            total[name] += dict(net.named_parameters())[name].grad ** 2
    for name, value in ours.items():
        torch.testing.assert_close(value, total[name] / 9, rtol=1e-3, atol=1e-10)
    with pytest.raises(ValueError, match="evidences must be"):
        kmod.fisher_diagonal(model, change, evidences=0)


@pytest.mark.parametrize("kind", ["L2", "L2PerTensor", "Fisher"])
def test_every_ball_holds_an_edit(model, change, kind):
    if kind == "Fisher":
        ball = kmod.Fisher(1e-4, kmod.fisher_diagonal(model, change, block=-1, evidences=30))
        with pytest.raises(ValueError, match="lacks"):
            kmod.finetune(model, change, block=0, constraint=ball, **QUICK)
    else:
        ball = {"L2": kmod.L2(0.2), "L2PerTensor": kmod.L2PerTensor(1e-3)}[kind]
    edit = kmod.finetune(model, change, block=-1, constraint=ball, steps=20, batch_size=32)
    parameters = dict(model.net.named_parameters())
    with edit(model):
        after = {name: parameters[name].detach().clone() for name in edit.xor}
    origin = {name: parameters[name].detach() for name in edit.xor}
    assert 0.9 * ball.delta < ball.norm(after, origin) <= ball.delta * (1 + 1e-4)  # at the edge, not beyond


def test_save_and_load(model, change, tmp_path):
    edit = kmod.finetune(model, change, block=-1, constraint=Linf(1e-3), **QUICK)
    edit.save(tmp_path / "sub" / "an.edit")
    again = Edit.load(tmp_path / "sub" / "an.edit")
    assert again.made == edit.made and again.before == edit.before and again.after == edit.after
    assert again.xor.keys() == edit.xor.keys() and all(torch.equal(again.xor[n], edit.xor[n]) for n in edit.xor)
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["an.edit"]
    assert (tmp_path / "sub" / "an.edit").stat().st_size < 1.1 * sum(4 * x.numel() for x in edit.xor.values()) + 8192


def test_numbers_of_numpy_are_saved_as_pythons(model, facts, tmp_path):
    change = facts.modify(np.int64(3), np.int64(1))
    numbers = dict(steps=np.int64(2), batch_size=np.int32(8), lr=np.float32(1e-3))
    edits = [kmod.finetune(model, change, seed=np.int64(3), block=np.int64(-1), **numbers)]
    edits += kmod.sweep(model, [(change, Linf(np.float32(1e-3)), np.int64(3))], **numbers)
    edits += [kmod.editing.lora(model, change, rank=np.int64(2), seed=np.int64(3), **numbers)]
    for edit in edits:
        edit.save(tmp_path / "an.edit")
        made = Edit.load(tmp_path / "an.edit").made
        assert made == edit.made and (made["seed"], made["steps"], made["change_seed"]) == (3, 2, 1)
    with pytest.raises(TypeError, match="not "):
        Edit({}, "", "", {"facts": {1}}).save(tmp_path / "an.edit")


def test_an_edit_in_a_new_process_gives_the_same_predictions(model, change, facts, tmp_path):
    edit = kmod.finetune(model, change, constraint=Linf(5e-3), **QUICK)
    model.save(tmp_path / "model")
    edit.save(tmp_path / "an.edit")
    statements = [facts.tests(f)[0] for f in change.originals]
    objects = list(change.objects)
    (tmp_path / "ask.json").write_text(json.dumps([statements, objects]))
    script = (
        "import json, sys, kmod\n"
        "folder = sys.argv[1]\n"
        "model = kmod.load_model(folder + '/model', device='cpu')\n"
        "kmod.Edit.load(folder + '/an.edit').apply(model)\n"
        "print(json.dumps([model.fingerprint(), model.answers(*json.load(open(folder + '/ask.json')))]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    fingerprint, theirs = json.loads(done.stdout.splitlines()[-1])
    with edit(model):
        ours = model.answers(statements, objects)
    assert fingerprint == edit.after
    assert [[a for a, _ in row] for row in theirs] == [[a for a, _ in row] for row in ours]


def test_merge_writes_a_folder_that_plain_transformers_answers_the_same(model, change, facts, tmp_path):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    edit = kmod.finetune(model, change, constraint=Linf(5e-3), **QUICK)
    before = state(model)
    edit.merge(model, tmp_path / "merged")
    assert same_bits(before, state(model))
    assert not list((tmp_path / "merged").glob("*.bin"))
    net = AutoModelForMaskedLM.from_pretrained(tmp_path / "merged").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    asked = [f for f in facts if len(tokenizer(f.object, add_special_tokens=False)["input_ids"]) == 1][:20]
    statements = [facts.tests(f)[0] for f in asked]
    with edit(model):
        ours = [best[0][0] for best in model.answers(statements, [f.object for f in asked])]
    for statement, answer in zip(statements, ours, strict=True):
        ids = tokenizer(statement, return_tensors="pt")
        with torch.no_grad():
            logits = net(**ids).logits[0, ids["input_ids"][0] == tokenizer.mask_token_id]
        assert tokenizer.decode(logits.argmax(-1)) == answer
    edit.apply(model)
    edit.merge(model, tmp_path / "again")  # from the edited side: the same folder
    assert kmod.load_model(tmp_path / "again", device="cpu").fingerprint() == edit.after


def test_an_edit_refuses_a_model_it_was_not_made_for(model, change, facts):
    edit = kmod.finetune(model, change, **QUICK)
    with pytest.raises(WrongModelError, match="not applied"):
        edit.undo(model)
    edit.apply(model)
    with pytest.raises(WrongModelError, match="already applied"):
        edit.apply(model)
    edit.undo(model)
    other = kmod.load_model("nano", facts, seed=9, device="cpu")
    before = state(other)
    for operation in (edit.apply, edit.undo, edit.applied):
        with pytest.raises(WrongModelError, match="made for another model"):
            operation(other)
    assert same_bits(before, state(other))
    with torch.no_grad():
        model.net.bert.embeddings.LayerNorm.bias[0] += 1e-6  # a parameter the edit does not touch
    with pytest.raises(WrongModelError, match="made for another model"):
        edit.apply(model)


def test_two_edits_stack_and_come_off_in_order(model, change, facts):
    start = model.fingerprint()
    first = kmod.finetune(model, change, **QUICK)
    first.apply(model)
    second = kmod.finetune(model, change, block=0, seed=2, **QUICK)
    second.apply(model)
    with pytest.raises(WrongModelError):
        first.undo(model)
    second.undo(model)
    first.undo(model)
    assert model.fingerprint() == start


def test_files_that_are_not_edits_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no edit at"):
        Edit.load(tmp_path / "none")
    save_file({"x": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(ValueError, match="not an edit"):
        Edit.load(tmp_path / "other")
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(ValueError, match="not an edit"):
        Edit.load(tmp_path / "junk")


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(constraint=2e-3), "constraint must be a constraint"),
        (dict(steps=0), "steps must be"),
        (dict(steps=2.5), "steps must be"),
        (dict(batch_size=True), "batch_size must be"),
        (dict(lr=-1.0), "lr must be"),
        (dict(lr=float("nan")), "lr must be"),
        (dict(block=7), "blocks 0 to 3"),
        (dict(block="first"), "block must be"),
        (dict(component="mpl"), "known: attention, mlp"),
        (dict(stop=0.1), "stop must be"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(model, change, settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        kmod.finetune(model, change, **settings)


@pytest.mark.parametrize("steps, lr", [(60, 1e30), (1, 1e39)])
def test_training_that_diverges_stops_and_says_so(model, change, steps, lr):
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        kmod.finetune(model, change, steps=steps, lr=lr)


def test_an_edit_of_tensors_that_do_not_fit_is_refused(model):
    name, theta = next(iter(model.net.named_parameters()))
    for new, message in [
        ({"nothing": theta}, "no parameter"),
        ({name: theta[:1]}, "must be"),
        ({name: theta.half()}, "must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            Edit.between(model, new, {})


def test_tied_tensors_are_edited_as_one(model):
    """The decoder shares the word embeddings: both names change, and both come back."""
    name = "bert.embeddings.word_embeddings.weight"
    before = state(model)
    edit = Edit.between(model, {name: dict(model.net.named_parameters())[name].detach() + 1}, {})
    edit.apply(model)
    assert model.fingerprint() == edit.after
    assert torch.equal(model.net.cls.predictions.decoder.weight, before[name] + 1)
    edit.undo(model)
    assert same_bits(before, state(model))


def test_a_damaged_edit_changes_nothing(model, change):
    edit = kmod.finetune(model, change, block=0, **QUICK)
    name = next(iter(edit.xor))
    for xor in ({"nothing": edit.xor[name]}, {name: edit.xor[name][:1]}, {name: edit.xor[name].to(torch.int16)}):
        damaged = Edit({**edit.xor, **xor}, edit.before, edit.after, edit.made)
        before = state(model)
        with pytest.raises(WrongModelError, match="damaged"):
            damaged.apply(model)
        assert same_bits(before, state(model))


def test_a_disk_that_takes_nothing_does_not_cost_the_training(facts, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KMOD_CACHE", str(tmp_path / "file"))  # no folder can be made below a file
    few = kmod.FactBase(facts[:4], facts.relations, "few")
    with pytest.warns(UserWarning, match="not kept on disk"):
        assert kmod.memorise(kmod.load_model("nano", few, device="cpu"), few, batch_size=8, progress=False).steps > 0


def test_nothing_to_memorise_is_said(model):
    with pytest.raises(ValueError, match="nothing to memorise"):
        kmod.memorise(model, kmod.FactBase([]), progress=False)


def test_memorised_weights_come_back_from_the_cache(facts, tmp_path, monkeypatch):
    monkeypatch.setenv("KMOD_CACHE", str(tmp_path))
    few = kmod.FactBase(facts[:12], facts.relations, "few")
    settings = dict(batch_size=16, progress=False)
    first, second = (kmod.load_model("nano", few, device="cpu") for _ in range(2))
    made, again = kmod.memorise(first, few, **settings), kmod.memorise(second, few, **settings)
    assert not made.cached and again.cached
    assert first.fingerprint() == second.fingerprint()
    assert (made.evidences, made.tests, made.steps) == (again.evidences, again.tests, again.steps)
    third = kmod.load_model("nano", few, device="cpu")
    assert not kmod.memorise(third, few, **settings | {"lr": 1e-3}).cached  # other settings, other weights
    for file in (tmp_path / "memorised").iterdir():
        file.write_bytes(b"damaged")
    fourth = kmod.load_model("nano", few, device="cpu")
    assert not kmod.memorise(fourth, few, **settings).cached and fourth.fingerprint() == first.fingerprint()


@pytest.mark.parametrize("wrong", [dict(epochs=0), dict(lr=0), dict(batch_size=0), dict(lr=float("nan"))])
def test_memorise_refuses_wrong_settings(model, facts, wrong):
    with pytest.raises(ValueError, match="above 0"):
        kmod.memorise(model, facts, **wrong)
