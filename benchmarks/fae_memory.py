"""Time and memory of a FaE as its memories grow: N entities, 1.5 N facts.

    python benchmarks/fae_memory.py --sizes 1000 10000 100000 1000000 --out results/benchmarks/fae_memory.jsonl

Three things are measured for each N, each in its own process: a training step over all of the memories (up to
--full-up-to, beyond which its gradients would not fit), a training step on a sample of them, and answering with exact
search. A step is forward, backward and optimiser; milliseconds are the median of the repeats, with minimum and maximum.
Peak memory is that of the process, or of the GPU. Weights and facts are random: the time does not depend on what a
model knows.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from types import SimpleNamespace

import torch
from _record import add, argument_parser

from kmod.fae.losses import step_losses
from kmod.fae.memory import spans_of
from kmod.fae.sampling import sample_memory
from kmod.fae.statements import MentionBatch, Mentions
from kmod.models.presets import build_net

VOCABULARY, TOKENS, RELATIONS = 30_522, 16, 40


def build(n, preset, device):
    """A FaE with N random entities of width 256 and 1.5 N random facts."""
    from kmod.fae import FaEForMaskedLM

    torch.manual_seed(0)
    facts = n * 3 // 2
    net = FaEForMaskedLM.from_bert(
        build_net(preset, VOCABULARY, 0), entities=n, entity_size=256, relations=RELATIONS, fact_capacity=facts,
        tail_width=1,
    ).to(device)  # fmt: skip
    net.fact_memory.subjects.copy_(torch.arange(facts) % n)
    net.fact_memory.relations.copy_(torch.arange(facts) // n * 20 + torch.randint(20, (facts,)))
    net.fact_memory.tails.copy_(torch.randint(n, (facts, 1)))
    return net


def a_batch(net, size):
    """`size` statements with a subject and a masked object each, one supporting row each."""
    rows = torch.randint(len(net.fact_memory.subjects), (size,))
    subject = net.fact_memory.subjects[rows].cpu()
    object = net.fact_memory.tails[rows, 0].cpu()
    ids = torch.randint(5, VOCABULARY, (size, TOKENS))
    at = torch.arange(size)
    spans = torch.stack([torch.stack([at, at * 0 + 2, at * 0 + 4], 1), torch.stack([at, at * 0 + 9, at * 0 + 9], 1)], 1)
    batch = MentionBatch(
        ids, torch.ones_like(ids), Mentions(spans.reshape(-1, 3), 2 * at + 1), object, at,
        torch.stack([subject, object], 1).flatten(), torch.stack([at, rows], 1),
    )  # fmt: skip
    to = {k: v.to(net.device) for k, v in vars(batch).items() if isinstance(v, torch.Tensor)}
    return MentionBatch(**to, slots=Mentions(*(t.to(net.device) for t in batch.slots)))


def measure(function, repeats, device):
    """Milliseconds of the repeats, after one call to warm up."""
    times = []
    for turn in range(repeats + 1):
        started = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        if turn:
            times.append(1000 * (time.perf_counter() - started))
    return {"median": statistics.median(times), "least": min(times), "most": max(times)}


def peak(device):
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def one(args, n, what):
    """The record of one N and one kind of measurement."""
    net = build(n, args.preset, args.device)
    batch, model = a_batch(net, args.batch), SimpleNamespace(net=net)
    table, generator = net.entity_embeddings.weight, torch.Generator().manual_seed(0)
    built = peak(args.device)
    if what == "answer":
        net.eval()

        @torch.no_grad()
        def run():
            memory = net.memory()
            hidden = net.encode(batch.input_ids, batch.attention_mask, batch.slots.spans, memory, 100).hidden
            net.answer(spans_of(hidden, batch.slots.spans[batch.slots.asked]), memory, 100)[0].argmax(1)
    else:
        sparse = what == "sampled step"
        dense = [p for p in net.parameters() if not sparse or p is not table]
        optimizers = [torch.optim.Adam(dense, lr=1e-3, fused=True)]
        optimizers += [torch.optim.SparseAdam([table], lr=1e-3)] if sparse else []

        def run():
            part = None
            if sparse:
                part = sample_memory(net, batch.linked, batch.support[:, 1], args.sample, generator)
            losses, _ = step_losses(model, batch, sample=part)
            for optimizer in optimizers:
                optimizer.zero_grad()
            sum(losses.values()).backward()
            for optimizer in optimizers:
                optimizer.step()

    return {
        "benchmark": "fae_memory",
        "what": what,
        "entities": n,
        "facts": n * 3 // 2,
        "entity_size": 256,
        "preset": args.preset,
        "statements": args.batch,
        "sample": args.sample if what == "sampled step" else None,
        "milliseconds": measure(run, args.repeats, args.device),
        "peak_bytes": peak(args.device),
        "built_bytes": built,
        "threads": torch.get_num_threads(),
    }


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000], help="N")
    parser.add_argument("--what", nargs="+", default=["full step", "sampled step", "answer"])
    parser.add_argument("--preset", default="nano", help="the shape of the BERT; default nano")
    parser.add_argument("--batch", type=int, default=32, help="statements in a batch; default 32")
    parser.add_argument("--sample", type=int, default=4096, help="entities and rows in a sample; default 4096")
    parser.add_argument("--full-up-to", type=int, default=100_000, help="the largest N of a full step; default 100,000")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--alone", action="store_true", help="measure one size and one kind in this process")
    args = parser.parse_args()
    if args.alone:
        print(json.dumps(one(args, args.sizes[0], args.what[0])))
        return
    for n in args.sizes:
        for what in args.what:
            if what == "full step" and n > args.full_up_to:
                continue
            command = [sys.executable, __file__, "--alone", "--sizes", str(n), "--what", what]
            for name in ("preset", "batch", "sample", "repeats", "device"):
                command += [f"--{name}", str(getattr(args, name))]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            record = add(args.out, json.loads(done.stdout.splitlines()[-1]), args.device)
            t = record["milliseconds"]
            print(
                f"{n:>9,} entities  {what:13} {t['median']:9.1f} ms ({t['least']:.1f} to {t['most']:.1f})   "
                f"peak {record['peak_bytes'] / 2**30:.2f} GiB (built: {record['built_bytes'] / 2**30:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
