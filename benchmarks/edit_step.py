"""Time of one step of an edit, and of an evaluation, beside the same written plainly with transformers.

    python benchmarks/edit_step.py --preset base --block -1 --out results/benchmarks/edit_step.jsonl

Prints milliseconds (median, least and most of the repeats) and the ratio to the plain loop, all taken in turns within
one run, so that a busy machine slows all alike. Weights are random and the vocabulary is padded to the 30,522 entries
of BERT: time does not depend on what a model knows.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import kmod
from kmod.models.activations import activations
from kmod.parts import block_indices, select
from kmod.versions import versions

VOCABULARY = 30_522


def step_of(model, examples, names, lowest, keep):
    """A step of `kmod.training.fit` on all of `examples`, with the states below `lowest` kept or not."""
    current = dict(model.net.named_parameters())
    origin = {name: current[name].detach() for name in names}
    params = {name: theta.clone().requires_grad_() for name, theta in origin.items()}
    leaves = list(params.values())
    weights = {f"net.{n}": p.detach() for n, p in model.net.named_parameters()} | {
        f"net.{n}": p for n, p in params.items()
    }
    optimizer = torch.optim.Adam(leaves, lr=1e-4, fused=True)
    ball = kmod.Linf(1e-3)
    chosen = np.arange(len(examples))
    kept = activations(model, examples, lowest) if keep else None

    def step():
        batch = examples.collate(chosen, model.device)
        arguments = (batch.input_ids, batch.attention_mask, batch.slots)
        if kept:
            with kept.entering(model.net, chosen, batch):
                logits = functional_call(model, weights, arguments)
        else:
            logits = functional_call(model, weights, arguments)
        loss = cross_entropy(logits, batch.targets)
        for leaf, gradient in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
            leaf.grad = gradient
        optimizer.step()
        ball.project_(params, origin)

    def project():
        ball.project_(params, origin)

    return step, project


def plain_step(model, examples, names):
    """The same with transformers alone: labels, full-vocabulary logits, loss.backward(), Adam, clamp."""
    net = copy.deepcopy(model.net).eval()
    params = dict(net.named_parameters())
    for name, p in params.items():
        p.requires_grad_(name in names)
    origin = {name: params[name].detach().clone() for name in names}
    optimizer = torch.optim.Adam([params[name] for name in names], lr=1e-4)

    def step():
        batch = examples.collate(np.arange(len(examples)), model.device)
        labels = torch.full_like(batch.input_ids, -100)
        labels[batch.slots] = batch.targets
        optimizer.zero_grad()
        net(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss.backward()
        optimizer.step()
        with torch.no_grad():
            for name in names:
                params[name].copy_(origin[name] + (params[name] - origin[name]).clamp(-1e-3, 1e-3))

    return step


def in_turns(functions, repeats, device):
    """Milliseconds of each function, taken in turns; one turn to warm up."""
    times = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[name].append(1000 * (time.perf_counter() - started))
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="base", choices=kmod.models.PRESETS)
    parser.add_argument("--block", default="-1", help='a block number, or "all"')
    parser.add_argument("--facts", type=int, default=32, help="modified facts, one evidence each, all in one batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--evaluate", type=int, default=256, help="statements to evaluate; 0 for none")
    parser.add_argument("--out", type=Path, help="append the record to this file, as a line of JSON")
    args = parser.parse_args()

    facts = kmod.load_facts("atlas")
    model = kmod.load_model(args.preset, facts)
    model.net.resize_token_embeddings(VOCABULARY)
    block = args.block if args.block == "all" else int(args.block)
    names, lowest = select(model.net, block), min(block_indices(model.net, block))
    chosen = facts.modify(args.facts, seed=0).modified
    once = [kmod.Fact(f.subject, f.relation, f.object, facts.evidences(f)[:1], facts.tests(f)) for f in chosen]
    examples = model.examples(facts, "evidences", once)
    kept, project = step_of(model, examples, names, lowest, keep=True)
    whole, _ = step_of(model, examples, names, lowest, keep=False)
    functions = {"plain": plain_step(model, examples, names), "whole": whole, "kept": kept, "projection": project}
    if args.evaluate:
        from transformers import pipeline

        tests = model.examples(facts, "tests", facts[: args.evaluate // 2])
        texts = [facts.tests(f)[0].replace("[MASK]", model.tokenizer.mask_token) for f in facts[: args.evaluate // 2]]
        fill = pipeline("fill-mask", model=model.net, tokenizer=model.tokenizer, device=model.device)

        @torch.no_grad()
        def plain_evaluation():
            for part in tests.by_length(256):
                batch = tests.collate(part, model.device)
                model.net(batch.input_ids, attention_mask=batch.attention_mask).logits.argmax(-1)

        functions |= {
            "evaluate": lambda: model.correct(tests),
            "evaluate, full vocabulary": plain_evaluation,
            "evaluate, fill-mask, half the statements": lambda: fill(texts, top_k=1),
        }
    times = in_turns(functions, args.repeats, model.device)
    record = {
        "benchmark": "edit_step",
        "preset": args.preset,
        "block": block,
        "statements": len(examples),
        "tokens": int(examples.lengths.sum()),
        "milliseconds": {
            name: {"median": statistics.median(t), "least": min(t), "most": max(t)} for name, t in times.items()
        },
        "plain_over_kept": statistics.median(times["plain"]) / statistics.median(times["kept"]),
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "versions": versions(),
    }
    if model.device.type == "cuda":
        record["peak_bytes"] = torch.cuda.max_memory_allocated()
    for name, t in record["milliseconds"].items():
        print(f"{name:44} {t['median']:9.1f} ms   ({t['least']:.1f} to {t['most']:.1f})")
    print(f"a plain step takes {record['plain_over_kept']:.1f} times as long as ours")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with args.out.open("a") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
