"""Masked-LM pretraining on text, for models whose past is ours to know: what was read, how often, for how long.

    python -m kmod pretrain --model nano --text wiki.jsonl.zst --out my-model --minutes 30
    accelerate launch --num_processes 2 -m kmod pretrain ...

Which sequences a step reads and what it masks follow from (seed, step) alone: that, the weights and the optimiser's
moments are all that a checkpoint needs to go on exactly where it stopped.

Method: Devlin et al. 2019, "BERT" (15 % masked; 80/10/10), packed as in Liu et al. 2019, "RoBERTa" (full sentences).
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from ..files import save_whole
from ..models.masked_lm import MaskedLM, evaluating
from ..progress import silent
from ..training.checkpoint import MOMENTS
from ..training.flops import device_name, flops_a_token, matmul_flops, wait
from ..training.loop import schedule
from ..versions import versions
from .packed import MASKED, PackedText

CHECKPOINT = "checkpoint.safetensors"
RECORD = "pretraining.json"


@dataclass(frozen=True)
class Pretrained:
    """What a pretraining run reached. Losses are nats a masked token; `finished` is False if the time was up first."""

    finished: bool
    steps: int
    tokens: int
    loss: float  # mean over the last 100 steps
    validation_loss: float
    validation_accuracy: float
    validation_sequences: int
    frequency_loss: float  # of answering every mask of the validation with the frequencies of the words alone
    seconds: float  # of training, over all calls
    tokens_a_second: float
    flops_a_token: float
    matmul_flops: float  # what this device reaches in large matrix products of the type used
    device: str
    settings: dict
    versions: dict

    @property
    def utilisation(self) -> float:
        """Model FLOPs utilisation: useful FLOPs a second as a share of the measured matrix rate."""
        return self.tokens_a_second * self.flops_a_token / self.matmul_flops

    def __str__(self) -> str:
        return (
            f"{self.steps:,} steps, {self.tokens / 1e6:.1f} M tokens in {self.seconds / 60:.1f} min"
            f"{'' if self.finished else ' (not finished: run the same again to go on)'}\n"
            f"loss {self.loss:.3f}; on unseen text {self.validation_loss:.3f} "
            f"(word frequencies alone: {self.frequency_loss:.3f}), "
            f"{100 * self.validation_accuracy:.1f} % of masked tokens right ({self.validation_sequences} sequences)\n"
            f"{self.tokens_a_second:,.0f} tokens a second, {100 * self.utilisation:.0f} % of the matrix rate of "
            f"{self.device} ({self.matmul_flops / 1e12:.2f} TFLOP/s)"
        )


class MaskedLoss(nn.Module):
    """The loss as a module, so that it can be compiled, and wrapped for several processes, as one."""

    def __init__(self, model: MaskedLM):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, columns: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy over the masked tokens of (B, T) sequences, and the share whose argmax is right."""
        rows = torch.arange(len(ids), device=ids.device)[:, None].expand_as(columns)
        logits = self.model(ids, None, (rows.reshape(-1), columns.reshape(-1))).float()
        right = (logits.argmax(-1) == targets.reshape(-1)).float().mean()
        return cross_entropy(logits, targets.reshape(-1)), right


def pretrain(
    model: MaskedLM,
    tokens: np.ndarray,
    out: str | Path,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    batch_size: int = 64,
    length: int = 128,
    lr: float = 1e-3,
    warmup: float = 0.05,
    weight_decay: float = 0.01,
    accumulate: int = 1,
    held_out: int = 256,
    checkpoint_minutes: float = 5,
    compile: bool | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Pretrained:
    """Train `model`, **in place**, to predict masked tokens of `tokens`, and write it to the folder `out`.

    Run again after an interruption, even a kill, it goes on from the last checkpoint in `out`. In bf16 where a GPU
    has it. No dropout: a text read about once is not overfitted. Started by `accelerate launch`, it runs on all its
    processes.

    Args:
        tokens: one array of token ids, as `kmod.pretraining.corpus.read_text` makes it.
        steps: optimiser steps; by default as many as fit `minutes`, or one pass over the text if that is None too.
        minutes: time for this call; when it is up, a checkpoint is written and the run can be continued.
        batch_size: sequences of `length` tokens a step, over all processes.
        lr, warmup: the learning rate rises linearly over the share `warmup` of the steps, then falls as a cosine to 0.
        accumulate: micro-batches a step: less memory, the same result.
        held_out: sequences at the end of the text kept for validation.
        compile: torch.compile; by default on a GPU only, where it pays.

    Raises ValueError for settings that do not fit each other, the text, or the checkpoint in `out`.
    """
    from accelerate import Accelerator

    settings = {
        "batch_size": batch_size, "length": length, "lr": lr, "warmup": warmup, "weight_decay": weight_decay,
        "held_out": held_out, "seed": seed, "corpus_tokens": len(tokens),
    }  # fmt: skip
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    accelerator = Accelerator(mixed_precision="bf16" if bf16 else "no")
    others = {"steps": steps, "minutes": minutes, "accumulate": accumulate, "checkpoint_minutes": checkpoint_minutes}
    _check(model, settings, others, accumulate * accelerator.num_processes)
    corpus = PackedText(tokens, model.tokenizer, length, batch_size, held_out, seed)
    out, device = Path(out), accelerator.device
    out.mkdir(parents=True, exist_ok=True)
    model.to(device)
    started = time.perf_counter()
    decayed = [p for p in model.net.parameters() if p.ndim > 1]
    others = [p for p in model.net.parameters() if p.ndim <= 1]  # biases and LayerNorms keep their size
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)
    state = _load(out / CHECKPOINT, model, optimizer, settings, steps)
    loss_of = accelerator.prepare(MaskedLoss(model))
    if device.type == "cuda" if compile is None else compile:
        loss_of = torch.compile(loss_of)

    def micro_batches(step: int) -> list[tuple[Tensor, ...]]:
        mine = slice(accelerator.process_index, None, accelerator.num_processes)
        parts = [torch.from_numpy(x[mine]).to(device).chunk(accumulate) for x in corpus.batch(step)]
        return list(zip(*parts, strict=True))

    def gradients(step: int) -> Tensor:
        """Leaves the gradient of the step's mean loss in the parameters; returns that loss."""
        total = torch.zeros((), device=device)
        for i, part in enumerate(micro_batches(step)):
            last = i == accumulate - 1
            with accelerator.autocast(), nullcontext() if last else accelerator.no_sync(loss_of):
                loss = loss_of(*part)[0] / accumulate
                accelerator.backward(loss)
            total += loss.detach()
        return total

    with evaluating(model), _asked_to_stop() as asked:
        pace = torch.tensor(_seconds_a_step(gradients, optimizer, state.step, device), device=device)
        seconds_a_step = accelerator.reduce(pace, reduction="mean").item()  # one number for all processes
        if state.steps is None:
            fits = int(0.95 * 60 * minutes / seconds_a_step) if minutes else corpus.n // batch_size
            state.steps = steps or max(fits, 10)
        if progress and accelerator.is_main_process:
            share = state.steps * batch_size / corpus.n
            print(
                f"{state.steps - state.step:,} steps of {batch_size * length:,} tokens ({share:.2f} passes over "
                f"{len(tokens) / 1e6:.1f} M), about {(state.steps - state.step) * seconds_a_step / 60:.1f} minutes"
                + (f", from step {state.step:,}" if state.step else "")
            )
        first, saved = state.step, time.perf_counter()
        begun = saved
        bar = tqdm(total=state.steps, initial=first, desc="pretraining", leave=False, disable=silent(progress))
        with bar:
            while state.step < state.steps:
                for group in optimizer.param_groups:
                    group["lr"] = lr * schedule(state.step, state.steps, max(1, round(warmup * state.steps)), True)
                state.losses.append(gradients(state.step))
                torch.nn.utils.clip_grad_norm_(model.net.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                state.step += 1
                bar.update()
                stop_now = asked and accelerator.num_processes == 1
                if state.step % 50 and state.step < state.steps and not stop_now:
                    continue  # reading the loss waits for the device: not at every step
                state.flush(accelerator)
                bar.set_postfix_str(f"loss {np.mean(state.curve[-50:]):.3f}")
                if not np.isfinite(state.curve[-1]):
                    raise FloatingPointError(f"the loss became {state.curve[-1]} by step {state.step}: lower lr ({lr})")
                now = time.perf_counter()
                if state.step < state.steps and now - saved > 60 * checkpoint_minutes:
                    _save(out / CHECKPOINT, model, optimizer, settings, state, now - begun, accelerator)
                    saved = now
                leave = bool(asked) or (minutes is not None and now - started > 60 * minutes)
                if accelerator.reduce(torch.tensor(float(leave), device=device)).item():  # all leave together
                    break
        spent = time.perf_counter() - begun
        _save(out / CHECKPOINT, model, optimizer, settings, state, spent, accelerator)
        if asked:
            raise KeyboardInterrupt(f"pretraining stopped at step {state.step:,}; the same call goes on from there")
        validation_loss, accuracy = _validate(model, corpus, device, accelerator)
    report = Pretrained(
        finished=state.step == state.steps,
        steps=state.step,
        tokens=state.step * batch_size * length,
        loss=float(np.mean(state.curve[-100:])),
        validation_loss=validation_loss,
        validation_accuracy=accuracy,
        validation_sequences=held_out,
        frequency_loss=corpus.frequency_loss(),
        seconds=round(state.seconds + spent, 1),
        tokens_a_second=round(state.step * batch_size * length / (state.seconds + spent)),
        flops_a_token=flops_a_token(model, length, MASKED),
        matmul_flops=matmul_flops(device) * accelerator.num_processes,
        device=device_name(device),
        settings=settings | {"steps": state.steps, "accumulate": accumulate, "processes": accelerator.num_processes},
        versions=versions(),
    )
    if accelerator.is_main_process:
        model.save(out)
        curve = [round(x, 4) for x in state.curve]
        (out / RECORD).write_text(json.dumps(asdict(report) | {"curve": curve}) + "\n", "utf-8")
    accelerator.wait_for_everyone()
    return report


@dataclass
class _State:
    """Where a run stands: the next step, of how many, the losses so far, and the seconds of earlier calls."""

    step: int
    steps: int | None
    curve: list[float]
    seconds: float
    losses: list[Tensor]  # of steps since the last flush, still on the device

    def flush(self, accelerator) -> None:
        self.curve += accelerator.reduce(torch.stack(self.losses), reduction="mean").tolist()
        self.losses.clear()


def _check(model: MaskedLM, settings: dict, others: dict, parts: int) -> None:
    for name, value in (settings | others).items():
        least = 0 if name in ("seed", "warmup", "weight_decay") else 1e-12
        if isinstance(value, bool) or (value is not None and not value >= least):
            raise ValueError(f"{name} must be a number {'from' if least == 0 else 'above'} 0, got {value!r}")
    if not 8 <= settings["length"] <= model.limit:
        raise ValueError(f"length must be from 8 to {model.limit}, the model's longest input; got {settings['length']}")
    if settings["batch_size"] % parts:
        raise ValueError(f"batch_size {settings['batch_size']} must be a multiple of accumulate × processes = {parts}")


def _save(path: Path, model, optimizer, settings, state: _State, spent: float, accelerator) -> None:
    """Write weights, moments and place as one file, which appears whole or not at all."""
    if not accelerator.is_main_process:
        return
    tensors = {}
    for name, p in model.net.named_parameters():
        moments = optimizer.state.get(p, {})
        tensors[f"weight.{name}"] = p.detach().cpu().contiguous()
        for key in MOMENTS:
            if key in moments:
                tensors[f"{key}.{name}"] = moments[key].detach().cpu().contiguous()
    tensors["curve"] = torch.tensor(state.curve, dtype=torch.float64)
    about = {"step": state.step, "steps": state.steps, "seconds": state.seconds + spent, "settings": settings}
    save_whole(path, tensors, {"pretraining": json.dumps(about)})


def _load(path: Path, model, optimizer, settings, steps: int | None) -> _State:
    """Go on from the checkpoint, or start. Raises ValueError if the checkpoint is of other settings."""
    if not path.is_file():
        return _State(0, steps, [], 0.0, [])
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["pretraining"])
        was, now = about["settings"] | {"steps": about["steps"]}, settings | {"steps": steps or about["steps"]}
        if changed := [f"{key} was {was.get(key)}, is {now[key]}" for key in now if was.get(key) != now[key]]:
            raise ValueError(f"{path} is of other settings ({'; '.join(changed)}): choose another folder, or delete it")
        shapes = {f"weight.{name}": list(p.shape) for name, p in model.net.named_parameters()}
        kept = {key: file.get_slice(key).get_shape() for key in file.keys() if key.startswith("weight.")}  # noqa: SIM118
        if shapes != kept:
            raise ValueError(f"{path} is of another model: choose another folder, or delete it")
        for name, p in model.net.named_parameters():
            with torch.no_grad():
                p.copy_(file.get_tensor(f"weight.{name}"))
            optimizer.state[p] = {key: file.get_tensor(f"{key}.{name}").to(p.device) for key in MOMENTS}
        return _State(about["step"], about["steps"], file.get_tensor("curve").tolist(), about["seconds"], [])


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM are noted in the list and the step under way ends first, so that its checkpoint is
    whole. Outside of the main thread, where Python takes no signals, nothing is noted."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {s: signal.signal(s, lambda number, _: asked.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _seconds_a_step(gradients, optimizer, step: int, device) -> float:
    """Measured on a few gradients, which are thrown away (the first ones, which compile, are not counted)."""
    for i in range(5):
        if i == 2:
            wait(device)
            started = time.perf_counter()
        gradients(step + i)
        optimizer.zero_grad()
    wait(device)
    return (time.perf_counter() - started) / 3


@torch.no_grad()
def _validate(model, corpus: PackedText, device, accelerator, size: int = 32) -> tuple[float, float]:
    """Loss and accuracy over the masked tokens of the held-out sequences."""
    loss_of, parts = MaskedLoss(model), corpus.validation()
    sums = torch.zeros(2, device=device)
    for i in range(0, corpus.held_out, size):
        part = [torch.from_numpy(x[i : i + size]).to(device) for x in parts]
        with accelerator.autocast():
            sums += torch.stack(loss_of(*part)) * len(part[0])
    loss, right = (sums / corpus.held_out).tolist()
    return loss, right
