"""Time of an edit's step, an evaluation and a sweep, beside the same written with plain transformers.

    python benchmarks/edit_step.py --preset base --block -1 --out results/benchmarks/edit_step.jsonl

"ours" is `kmod.training.fit`; "slow path" is the same loop through the whole model at every step; "plain" is a loop of
transformers, `loss.backward()`, Adam and clamping; "FT+L" is ROME's published loop, run from a local copy of its code
(--rome FOLDER). Milliseconds are medians, with minimum and maximum. The kinds of steps take turns within one run, so a
busy machine slows them all. Weights are random and the vocabulary is padded to BERT's 30,522 entries: the time does not
depend on what a model knows.
"""

import contextlib
import copy
import io
import statistics
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from _record import add, argument_parser

import kmod
from kmod.models.activations import activations
from kmod.parts import plan
from kmod.training import fit
from kmod.training.flops import wait

VOCABULARY = 30_522
DELTA = 1e-3


@contextlib.contextmanager
def whole_model():
    """Inside, nothing is kept: every step runs every block."""
    with mock.patch("kmod.training.loop.activations", lambda *_: None):
        yield


def our_steps(model, examples, what, steps, keep=True):
    """Seconds of each step of `fit` but the first, which meets the statements for the first time."""
    current = dict(model.net.named_parameters())
    origin = {name: current[name].detach() for name in what.names}
    params = {name: theta.clone().requires_grad_() for name, theta in origin.items()}
    ball, ends = kmod.Linf(DELTA), []

    def stop(_):
        wait(model.device)
        ends.append(time.perf_counter())

    settings = dict(lowest=what.lowest, steps=steps + 1, batch_size=len(examples), lr=1e-4, stop=stop)
    if keep:
        fit(model, examples, params, project=lambda: ball.project_(params, origin), **settings)
    else:
        with whole_model():
            fit(model, examples, params, project=lambda: ball.project_(params, origin), **settings)
    return np.diff(ends).tolist()


def plain_steps(model, examples, what, steps):
    """The same with transformers alone: labels, full-vocabulary logits, loss.backward(), Adam, clamp."""
    net = copy.deepcopy(model.net).eval()
    params = dict(net.named_parameters())
    for name, p in params.items():
        p.requires_grad_(name in what.names)
    origin = {name: params[name].detach().clone() for name in what.names}
    optimizer = torch.optim.Adam([params[name] for name in what.names], lr=1e-4)
    seconds = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        batch = examples.collate(np.arange(len(examples)), model.device)
        labels = torch.full_like(batch.input_ids, -100)
        labels[batch.slots] = batch.targets
        optimizer.zero_grad()
        net(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss.backward()
        optimizer.step()
        with torch.no_grad():
            for name in what.names:
                params[name].copy_(origin[name] + (params[name] - origin[name]).clamp(-DELTA, DELTA))
        wait(model.device)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def projections(model, what, steps):
    origin = {name: p.detach() for name, p in model.net.named_parameters() if name in what.names}
    params = {name: theta + 2 * DELTA for name, theta in origin.items()}
    return [timed(lambda: kmod.Linf(DELTA).project_(params, origin), model.device) for _ in range(steps)]


def timed(function, device):
    wait(device)
    started = time.perf_counter()
    function()
    wait(device)
    return time.perf_counter() - started


def evaluations(model, facts, what, statements):
    """Functions that each ask for the same statements: ours, from kept states, full vocabulary, the pipeline."""
    from transformers import pipeline

    some = facts[:: max(1, len(facts) * 2 // statements)][: statements // 2]
    tests = model.examples(facts, "tests", some)
    texts = [s.replace("[MASK]", model.tokenizer.mask_token) for f in some for s in facts.tests(f)]
    fill = pipeline("fill-mask", model=model.net, tokenizer=model.tokenizer, device=model.device)
    kept = activations(model, tests, what.lowest)
    model.correct(tests, kept=kept)

    @torch.no_grad()
    def full_vocabulary():
        for part in tests.by_length(256):
            batch = tests.collate(part, model.device)
            model.net(batch.input_ids, attention_mask=batch.attention_mask).logits.argmax(-1)

    return {
        "evaluate": lambda: model.correct(tests),
        "evaluate, kept states": lambda: model.correct(tests, kept=kept),
        "evaluate, full vocabulary": full_vocabulary,
        "evaluate, fill-mask pipeline": lambda: fill(texts, top_k=1),
    }


def sweeps(model, change, block, runs, steps):
    """Functions that make the same edits, with shared work and each by itself."""
    settings = dict(block=block, steps=steps, batch_size=64, lr=1e-4)
    each = [(change, kmod.Linf(delta), seed) for seed in range(runs // 4) for delta in (5e-4, 1e-3, 2e-3, 4e-3)]
    return {
        f"sweep of {len(each)}": lambda: kmod.sweep(model, each, **settings),
        f"{len(each)} edits one by one": lambda: [
            kmod.finetune(model, c, constraint=ball, seed=seed, **settings) for c, ball, seed in each
        ],
    }


def rome_steps(folder, model, examples, what, steps):
    """Seconds a step of FT+L (Meng et al. 2022), by the function that its authors published, from a copy in `folder`.

    It trains one matrix, the MLP's second, reads the last token, and writes `.to("cuda")`, which is sent to the device
    there is.
    """
    sys.path.insert(0, str(folder))
    from baselines.ft import FTHyperParams, execute_ft

    net = copy.deepcopy(model.net).eval()
    name = [name for name in what.names if name.endswith(".output.dense.weight")][-1]
    parts = np.split(examples.ids, examples.starts[1:-1])
    texts = [model.tokenizer.decode(ids[1:-1]) for ids in parts]
    requests = [{"prompt": "{}", "subject": text, "target_new": {"str": "one"}} for text in texts]
    hparams = FTHyperParams(
        layers=[0], num_steps=steps + 1, lr=1e-4, weight_decay=0, kl_factor=0, norm_constraint=DELTA,
        rewrite_module_tmp=name, layer_module_tmp="", mlp_module_tmp="", attn_module_tmp="", ln_f_module="",
        lm_head_module="", batch_size=len(texts),
    )  # fmt: skip

    real = torch.Tensor.to

    def to(tensor, *arguments, **named):
        here = [model.device if value == "cuda" else value for value in arguments]
        return real(tensor, *here, **{k: model.device if value == "cuda" else value for k, value in named.items()})

    # A step begins when the tokeniser is asked for the texts, and every second time for the targets.
    starts, tokenizer = [], model.tokenizer
    asked = mock.Mock(wraps=tokenizer, side_effect=lambda *a, **k: starts.append(time.perf_counter()) or mock.DEFAULT)
    asked.unk_token_id = tokenizer.unk_token_id
    with mock.patch.object(torch.Tensor, "to", to), contextlib.redirect_stdout(io.StringIO()):
        execute_ft(net, asked, requests, hparams)
    return np.diff(starts[::2]).tolist()


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--preset", default="base", choices=kmod.models.PRESETS)
    parser.add_argument("--block", default="-1", help='a block number, or "all"')
    parser.add_argument("--facts", type=int, default=32, help="modified facts, one evidence each, all in one batch")
    parser.add_argument("--steps", type=int, default=5, help="steps of each kind, in three turns")
    parser.add_argument("--evaluate", type=int, default=256, help="statements to evaluate; 0 for none")
    parser.add_argument("--sweep", type=int, default=0, help="edits of a sweep, a multiple of 4; 0 for none")
    parser.add_argument("--rome", type=Path, help="a local copy of the code of ROME, for its FT+L loop")
    args = parser.parse_args()

    facts = kmod.load_facts("atlas")
    model = kmod.load_model(args.preset, facts)
    model.net.resize_token_embeddings(VOCABULARY)
    block = args.block if args.block == "all" else int(args.block)
    what = plan(model.net, block)
    change = facts.modify(args.facts, seed=0)
    once = [kmod.Fact(f.subject, f.relation, f.object, facts.evidences(f)[:1], facts.tests(f)) for f in change.modified]
    examples = model.examples(facts, "evidences", once)
    kinds = {
        "ours": lambda: our_steps(model, examples, what, args.steps),
        "slow path": lambda: our_steps(model, examples, what, args.steps, keep=False),
        "plain": lambda: plain_steps(model, examples, what, args.steps),
        "projection": lambda: projections(model, what, args.steps),
    }
    if args.rome:
        kinds["FT+L"] = lambda: rome_steps(args.rome, model, examples, what, args.steps)
    if args.evaluate:
        asked = evaluations(model, facts, what, args.evaluate)
        kinds |= {name: lambda f=f: [timed(f, model.device)] for name, f in asked.items()}
    if args.sweep:
        many = sweeps(model, change, block, args.sweep, steps=10)
        kinds |= {name: lambda f=f: [timed(f, model.device)] for name, f in many.items()}
    times, peaks = {name: [] for name in kinds}, {}
    for _ in range(3):
        for name, function in kinds.items():
            if model.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            times[name] += [1000 * seconds for seconds in function()]
            if model.device.type == "cuda":
                peaks[name] = torch.cuda.max_memory_allocated()
    medians = {name: statistics.median(t) for name, t in times.items()}
    record = {
        "benchmark": "edit_step",
        "preset": args.preset,
        "block": block,
        "statements": len(examples),
        "tokens": int(examples.lengths.sum()),
        "milliseconds": {name: {"median": medians[name], "least": min(t), "most": max(t)} for name, t in times.items()},
        "plain_over_ours": medians["plain"] / medians["ours"],
        "peak_bytes": peaks,
    }
    for name, t in record["milliseconds"].items():
        print(f"{name:32} {t['median']:9.1f} ms   ({t['least']:.1f} to {t['most']:.1f})")
    print(f"a plain step takes {record['plain_over_ours']:.1f} times as long as ours")
    add(args.out, record, model.device)


if __name__ == "__main__":
    main()
