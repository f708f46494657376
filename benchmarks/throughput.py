"""Tokens per second of pretraining and of fine-tuning, by preset, on this machine.

    python benchmarks/throughput.py --presets nano mini base --out results/benchmarks/throughput.jsonl

Pretraining: full sequences, 15 % of the tokens predicted, bf16 where a GPU has it. Fine-tuning: atlas statements,
as `kmod.memorise` trains on them, in float32. The vocabulary has the 30,522 entries of BERT. Utilisation is useful work
(6 FLOPs per weight and token, the decoder only for predicted tokens) divided by the rate of a large matrix product,
measured in the same run.
"""

import tempfile

import numpy as np
import torch
from _record import add, argument_parser

import kmod
from kmod.models.masked_lm import MaskedLM
from kmod.models.presets import PRESETS, build_net
from kmod.pretraining.pretrain import pretrain
from kmod.training import fit
from kmod.training.flops import flops_a_token, matmul_flops

VOCABULARY = 30_522


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--presets", nargs="+", default=["nano", "mini"], choices=PRESETS)
    parser.add_argument("--batch-size", type=int, default=32, help="sequences, and statements, per step")
    parser.add_argument("--length", type=int, default=128, help="tokens per sequence in pretraining")
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()

    facts = kmod.load_facts("atlas")
    tokenizer = kmod.models.build_tokenizer(facts)
    rng = np.random.default_rng(0)
    tokens = rng.integers(5, len(tokenizer), (args.steps + 2) * args.batch_size * args.length).astype(np.uint16)
    for preset in args.presets:
        model = MaskedLM(build_net(preset, VOCABULARY, 0), tokenizer)
        with tempfile.TemporaryDirectory() as folder:
            trained = pretrain(
                model, tokens, folder, steps=args.steps, batch_size=args.batch_size, length=args.length, held_out=8,
                lr=1e-5, progress=False,
            )  # fmt: skip
        examples = model.examples(facts, "evidences", facts[: args.batch_size * args.steps // 4])
        params = dict(model.net.named_parameters())
        fit(model, examples, params, steps=2, batch_size=args.batch_size, lr=1e-5)  # to warm up
        history = fit(model, examples, params, steps=args.steps, batch_size=args.batch_size, lr=1e-5)
        mean_length = float(examples.lengths.mean())
        tuned = args.batch_size * mean_length * history.steps / history.seconds
        rate = matmul_flops(model.device)
        record = {
            "benchmark": "throughput",
            "preset": preset,
            "parameters": sum(p.numel() for p in model.net.parameters()),
            "pretraining_tokens_a_second": round(trained.tokens_a_second),
            "pretraining_utilisation": round(trained.utilisation, 3),
            "finetuning_tokens_a_second": round(tuned),
            "finetuning_statements_a_second": round(tuned / mean_length),
            "finetuning_utilisation": round(tuned * flops_a_token(model, 12, 1 / mean_length) / rate, 3),
            "batch_size": args.batch_size,
            "length": args.length,
            "matmul_flops": round(trained.matmul_flops),
        }
        if model.device.type == "cuda":
            record["peak_bytes"] = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        print(
            f"{preset:7} {record['parameters'] / 1e6:6.1f} M parameters   pretraining "
            f"{record['pretraining_tokens_a_second']:9,} tokens/s ({100 * record['pretraining_utilisation']:.0f} % of "
            f"the matrix rate)   fine-tuning {record['finetuning_statements_a_second']:7,} statements/s "
            f"({100 * record['finetuning_utilisation']:.0f} %)",
            flush=True,
        )
        add(args.out, record, model.device)


if __name__ == "__main__":
    main()
