"""The diagonal of the Fisher information: what it costs, and that the draw is the one of record."""

import numpy as np
import torch
from test_fae import tiny_bert, toy_facts
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import kmod
from kmod.parts import select


def by_hand(model, change, block, evidences, seed):
    """As it was computed when all evidences were tokenised first; and the examples drawn."""
    examples = model.examples(change.base, "evidences", change.unmodified)
    chosen = np.random.default_rng(seed).permutation(len(examples))[:evidences]
    weights = {f"net.{name}": p.detach() for name, p in model.net.named_parameters()}
    params = {name: weights[f"net.{name}"].requires_grad_() for name in select(model.net, block)}
    total = {name: torch.zeros_like(theta, requires_grad=False) for name, theta in params.items()}
    drawn = []
    for i in chosen:
        batch = examples.collate(np.array([i]))
        drawn.append((batch.input_ids.tolist(), batch.targets.tolist()))
        logits = functional_call(model, weights, (batch.input_ids, batch.attention_mask, batch.slots))
        loss = cross_entropy(logits.float(), batch.targets)
        for name, gradient in zip(params, torch.autograd.grad(loss, list(params.values())), strict=True):
            total[name] += gradient.square()
    return {name: value / len(chosen) for name, value in total.items()}, drawn


def test_only_what_is_drawn_is_tokenised_and_the_draw_is_as_it_was(monkeypatch):
    facts = toy_facts()
    model, change = tiny_bert(facts), facts.modify(3, seed=0)
    expected, drawn = by_hand(model.eval(), change, -1, 12, 5)
    made, examples = [], model.examples

    def counted(*args, **kwargs):
        made.append(examples(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(model, "examples", counted)
    ours = kmod.fisher_diagonal(model, change, block=-1, evidences=12, seed=5)
    assert [len(e) for e in made] == [12]
    batches = [made[0].collate(np.array([i])) for i in range(12)]
    assert [(batch.input_ids.tolist(), batch.targets.tolist()) for batch in batches] == drawn
    assert ours.keys() == expected.keys() and all(torch.equal(ours[name], expected[name]) for name in ours)
