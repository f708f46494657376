"""FT-L against the loops of ROME and EasyEdit, in plain torch, and its way from there to `finetune`."""

import copy
import sys

import numpy as np
import pytest
import torch

import kmod
from kmod import Linf
from kmod.editing.ft_l import ft_l

MATRIX = "bert.encoder.layer.{}.output.dense."


@pytest.fixture
def change(facts, model):
    return facts.modify(4, seed=2, known=kmod.known(model, facts))


def their_loop(model, prompts, block, *, slots, num_steps=25, lr=5e-4, norm_constraint=5e-4, enough=1e-2):
    """One edit as in baselines/ft/ft_main.py of ROME and easyeditor/models/ft/ft_main.py (`prompts`: the statements of
    one batch with their objects), changing `model` in place: the same optimiser, order of steps, loss below which none
    is taken, and clamp. ROME asks the last token of the prompt for all tokens of the target ("first": here the first
    mask); EasyEdit asks every token of the target in its place."""
    net, tokenizer = model.net, model.tokenizer
    weights = {n: p for n, p in net.named_parameters() if MATRIX.format(block) in n}
    weights_copy = {k: v.detach().clone() for k, v in weights.items()}
    opt = torch.optim.Adam(list(weights.values()), lr=lr, weight_decay=0)
    for _ in range(num_steps):
        losses = []
        for statement, target in prompts:
            pieces = tokenizer(target, add_special_tokens=False)["input_ids"]
            text = statement.replace("[MASK]", " ".join([tokenizer.mask_token] * len(pieces)))
            inputs = tokenizer(text, return_tensors="pt")
            masks = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero()[:, 0]
            where = masks if slots == "every" else masks[:1].expand(len(pieces))
            probs = net(**inputs).logits[0, where].log_softmax(-1)
            losses.append(-probs.gather(1, torch.tensor(pieces)[:, None]))
        loss = torch.cat(losses).mean()
        opt.zero_grad()
        if loss.item() >= enough:
            loss.backward()
            opt.step()
        with torch.no_grad():
            for k, v in weights.items():
                v[...] = torch.clamp(v, min=weights_copy[k] - norm_constraint, max=weights_copy[k] + norm_constraint)
        if loss.item() < enough:
            break


@pytest.mark.parametrize("slots", ["first", "every"])
@pytest.mark.parametrize("delta, lr, evidences, enough", [
    (5e-4, 5e-4, 1, 1e-2), (2e-2, 5e-3, 1, 2.0), (2e-2, 5e-3, 3, 1e-2),
])  # fmt: skip
def test_one_by_one_gives_the_weights_of_their_loops(
    model, facts, change, slots, delta, lr, evidences, enough, monkeypatch
):
    monkeypatch.setattr(sys.modules["kmod.editing.ft_l"], "ENOUGH", enough)
    theirs = copy.deepcopy(model)
    for fact in change.modified:
        prompts = [(statement, fact.object) for statement in facts.evidences(fact)[:evidences]]
        their_loop(theirs, prompts, 3, slots=slots, lr=lr, norm_constraint=delta, enough=enough)
    edit = ft_l(model, change, constraint=Linf(delta), lr=lr, slots=slots, evidences=evidences)
    assert set(edit.xor) == {MATRIX.format(3) + end for end in ("weight", "bias")}
    for name, difference in edit.difference(model).items():
        wanted = theirs.net.get_parameter(name).detach() - model.net.get_parameter(name).detach()
        assert wanted.abs().max() > delta  # it goes on from fact to fact
        # Adam divides by the gradient's size: where that is near 0, its rounding decides the step.
        assert ((difference - wanted).abs() < 0.02 * delta).float().mean() > 0.99
        assert (difference - wanted).norm() < 0.03 * wanted.norm()
    if enough > 1:
        assert edit.made["gradients"] < 4 * 25  # the loss has ended some facts
    asked = [statement for fact in change.modified for statement in facts.evidences(fact)]
    objects = [fact.object for fact in change.modified for _ in facts.evidences(fact)]
    with edit(model):
        ours = model.answers(asked, objects, k=1)
    assert [a[0][0] for a in ours] == [a[0][0] for a in theirs.answers(asked, objects, k=1)]


def test_all_facts_together_is_finetune_of_the_matrix(model, change):
    same = dict(constraint=Linf(1e-2), steps=6, batch_size=8, seed=3)
    ours = ft_l(model, change, slots="every", evidences=8, order="together", lr=1e-3, **same)
    names = [MATRIX.format(3) + end for end in ("weight", "bias")]
    assert ours.after == kmod.finetune(model, change, component=names, **same).after
    assert ours.made["gradients"] == 6 * 8 and ours.made["steps"] == 6 and ours.made["norm"] <= 1.001e-2
    free = ft_l(model, change, constraint=None, order="together", steps=2)
    assert free.made["delta"] is None and np.isfinite(free.made["loss"])
    for wrong, message in (
        ({"slots": "last"}, "slots must be one of first, every, got 'last'"),
        ({"order": "mixed"}, "order must be one of one by one, together"),
        ({"evidences": 0}, "evidences"),
    ):
        with pytest.raises(ValueError, match=message):
            ft_l(model, change, **wrong)
