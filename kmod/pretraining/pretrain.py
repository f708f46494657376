"""Masked-LM pretraining on text, for models whose training data are known exactly.

Which sequences a step reads, and what it masks, depend on (seed, step) alone. So a checkpoint needs only the weights,
the optimiser's moments and the step to continue exactly.

Method: Devlin et al. 2019, "BERT" (15 % masked; 80/10/10), packed as in Liu et al. 2019, "RoBERTa" (full sentences).
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from ..checks import brief
from ..files import appearing, user_path
from ..models.door import check_model, trainable
from ..models.language_model import evaluating
from ..models.masked_lm import MaskedLM
from ..progress import noted_signals, silent
from ..training.checkpoint import Checkpoint
from ..training.flops import device_name, flops_a_token, matmul_flops, wait
from ..training.history import History
from ..training.loop import schedule
from ..versions import versions
from .packed import MASKED, PackedText
from .text import CHECKPOINT


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
    frequency_loss: float  # of predicting every mask of the validation by the frequencies of the words alone
    seconds: float  # of training, over all calls
    tokens_a_second: float
    flops_a_token: float
    matmul_flops: float  # per second, of large matrix products of the same type on this device
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
            f"{'' if self.finished else ' (not finished: run the same again to continue)'}\n"
            f"loss {self.loss:.3f}; on unseen text {self.validation_loss:.3f} "
            f"(word frequencies alone: {self.frequency_loss:.3f}), "
            f"{100 * self.validation_accuracy:.1f} % of masked tokens right ({self.validation_sequences} sequences)\n"
            f"{self.tokens_a_second:,.0f} tokens a second, {100 * self.utilisation:.0f} % of the matrix rate of "
            f"{self.device} ({self.matmul_flops / 1e12:.2f} TFLOP/s)"
        )


class MaskedLoss(nn.Module):
    """The loss as one module, so that it can be compiled and wrapped for several processes."""

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

    After an interruption, even a kill, the same call continues from the last checkpoint in `out`. On a GPU with bf16 it
    computes in bf16. No dropout: a text read about once is not overfitted. `accelerate launch` runs it on several
    processes.

    Args:
        tokens: one array of token ids, as `kmod.pretraining.read_text` makes it.
        steps: optimiser steps; by default as many as fit `minutes`, or one pass over the text if that is None too.
        minutes: time for this call; a run that takes longer writes a checkpoint and can be continued.
        batch_size: sequences of `length` tokens a step, over all processes.
        lr, warmup: the learning rate rises linearly over the share `warmup` of the steps, then falls as a cosine to 0.
        accumulate: micro-batches a step: less memory, the same result.
        held_out: sequences at the end of the text kept for validation.
        compile: whether to use torch.compile; by default only on a GPU.

    Raises ValueError for settings that do not fit each other, the text, or the checkpoint in `out`.
    """
    from accelerate import Accelerator

    check_model(model, learns=True)
    trainable(model)  # raises, if all are frozen
    settings = {
        "batch_size": batch_size, "length": length, "lr": lr, "warmup": warmup, "weight_decay": weight_decay,
        "held_out": held_out, "seed": seed, "corpus_tokens": len(tokens),
    }  # fmt: skip
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    accelerator = Accelerator(mixed_precision="bf16" if bf16 else "no")
    limits = {"steps": steps, "minutes": minutes, "accumulate": accumulate, "checkpoint_minutes": checkpoint_minutes}
    _check(model, settings, limits, accumulate * accelerator.num_processes)
    settings["corpus"] = _digest(tokens, model.tokenizer)
    corpus = PackedText(tokens, model.tokenizer, length, batch_size, held_out, seed)
    out, device = user_path(out), accelerator.device
    steps = _steps_of_checkpoint(out / CHECKPOINT, settings, steps)
    out.mkdir(parents=True, exist_ok=True)
    model.to(device)
    started = time.perf_counter()
    params = dict(model.net.named_parameters())
    decayed = [p for p in params.values() if p.ndim > 1]
    others = [p for p in params.values() if p.ndim <= 1]  # biases and LayerNorms keep their size
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)
    loss_of = accelerator.prepare(MaskedLoss(model))
    if device.type == "cuda" if compile is None else compile:
        loss_of = torch.compile(loss_of)

    def gradients(step: int) -> Tensor:
        """Add the gradient of the step's mean loss to that of the parameters; returns that loss."""
        mine = slice(accelerator.process_index, None, accelerator.num_processes)
        parts = [torch.from_numpy(x[mine]).to(device).chunk(accumulate) for x in corpus.batch(step)]
        total = torch.zeros((), device=device)
        for i, part in enumerate(zip(*parts, strict=True)):
            last = i == accumulate - 1
            with accelerator.autocast(), nullcontext() if last else accelerator.no_sync(loss_of):
                loss = loss_of(*part)[0] / accumulate
                accelerator.backward(loss)
            total += loss.detach()
        return total

    with evaluating(model), noted_signals() as signals:
        pace = torch.tensor(_seconds_a_step(gradients, optimizer, device), device=device)
        seconds_a_step = accelerator.reduce(pace, reduction="mean").item()  # one number for all processes
        if steps is None:
            steps = max(int(0.95 * 60 * minutes / seconds_a_step) if minutes else corpus.n // batch_size, 10)
        history, losses = History(), []  # losses of the steps since the last reading stay on the device
        checkpoint = Checkpoint(out / CHECKPOINT, json.dumps(settings | {"steps": steps}), checkpoint_minutes)
        if not checkpoint.resume(params, [optimizer], history) and checkpoint.path.is_file():
            raise ValueError(f"{checkpoint.path} is of another model: choose another folder, or delete it")
        if progress and accelerator.is_main_process:
            left, start = steps - history.steps, f", from step {history.steps:,}" if history.steps else ""
            passes = f"{steps * batch_size / corpus.n:.2f} passes over {len(tokens) / 1e6:.1f} M"
            time_left = f"about {left * seconds_a_step / 60:.1f} minutes{start}"
            print(f"{left:,} steps of {batch_size * length:,} tokens ({passes}), {time_left}")
        step, begun = history.steps, time.perf_counter() - history.seconds
        with tqdm(total=steps, initial=step, desc="pretraining", leave=False, disable=silent(progress)) as bar:
            while step < steps:
                for group in optimizer.param_groups:
                    group["lr"] = lr * schedule(step, steps, max(1, round(warmup * steps)), True)
                losses.append(gradients(step))
                torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                step += 1
                bar.update()
                stop_now = signals and accelerator.num_processes == 1
                if step % 50 and step < steps and not stop_now:
                    continue  # reading the loss waits for the device: not at every step
                history.loss.extend(accelerator.reduce(torch.stack(losses), reduction="mean").tolist())
                history.seconds = time.perf_counter() - begun
                losses.clear()
                bar.set_postfix_str(f"loss {np.mean(history.loss[-50:]):.3f}")
                if not np.isfinite(history.loss[-1]):
                    raise FloatingPointError(f"the loss became {history.loss[-1]} by step {step}: lower lr ({lr})")
                if step < steps and checkpoint.due and accelerator.is_main_process:
                    checkpoint.write()
                leave = bool(signals) or (minutes is not None and time.perf_counter() - started > 60 * minutes)
                if accelerator.reduce(torch.tensor(float(leave), device=device)).item():  # all leave together
                    break
        history.seconds = time.perf_counter() - begun
        if accelerator.is_main_process:
            checkpoint.write()
        if signals:
            raise KeyboardInterrupt(f"pretraining stopped at step {step:,}; the same call goes on from there")
        validation_loss, accuracy = _validate(model, corpus, device, accelerator)
    report = Pretrained(
        finished=step == steps,
        steps=step,
        tokens=step * batch_size * length,
        loss=float(np.mean(history.loss[-100:])),
        validation_loss=validation_loss,
        validation_accuracy=accuracy,
        validation_sequences=held_out,
        frequency_loss=corpus.frequency_loss(),
        seconds=round(history.seconds, 1),
        tokens_a_second=round(step * batch_size * length / history.seconds),
        flops_a_token=flops_a_token(model, length, MASKED),
        matmul_flops=matmul_flops(device) * accelerator.num_processes,
        device=device_name(device),
        settings=settings | {"steps": steps, "accumulate": accumulate, "processes": accelerator.num_processes},
        versions=versions(),
    )
    if accelerator.is_main_process:
        model.save(out)
        curve = [round(x, 4) for x in history.loss]
        with appearing(out / "pretraining.json") as draft:
            draft.write_text(json.dumps(asdict(report) | {"curve": curve}) + "\n", "utf-8")
    accelerator.wait_for_everyone()
    return report


def _check(model: MaskedLM, settings: dict, others: dict, parts: int) -> None:
    for name, value in (settings | others).items():
        least = 0 if name in ("seed", "warmup", "weight_decay") else 1e-12
        if isinstance(value, bool) or (value is not None and not value >= least):
            raise ValueError(brief(f"{name} must be a number {'from' if least == 0 else 'above'} 0, got {value!r}"))
    if not 8 <= settings["length"] <= model.limit:
        raise ValueError(f"length must be from 8 to {model.limit}, the model's longest input; got {settings['length']}")
    if settings["batch_size"] % parts:
        raise ValueError(f"batch_size {settings['batch_size']} must be a multiple of accumulate × processes = {parts}")


def _digest(tokens: np.ndarray, tokenizer) -> str:
    """Which text it is, in which word pieces."""
    total = hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    for i in range(0, len(tokens), 1 << 24):
        total.update(np.ascontiguousarray(tokens[i : i + (1 << 24)]))
    return total.hexdigest()[:16]


def _steps_of_checkpoint(path: Path, settings: dict, steps: int | None) -> int | None:
    """The steps of the run that the checkpoint at `path` belongs to; `steps` if there is none. Raises ValueError if it
    is of other settings."""
    if not path.is_file():
        return steps
    try:
        stored = json.loads(Checkpoint.stored_key(path))
    except (TypeError, ValueError):
        raise ValueError(f"{path} is damaged, or of an older kmod: choose another folder, or delete it") from None
    wanted = settings | {"steps": steps or stored["steps"]}
    if changed := [f"{k} was {stored.get(k)}, is {wanted[k]}" for k in wanted if stored.get(k) != wanted[k]]:
        raise ValueError(
            brief(f"{path} is of other settings ({'; '.join(changed)}): choose another folder, or delete it")
        )
    return stored["steps"]


def _seconds_a_step(gradients, optimizer, device) -> float:
    """Measured on a few gradients, which are dropped; the first two, which compile, do not count."""
    for i in range(5):
        if i == 2:
            wait(device)
            started = time.perf_counter()
        gradients(i)
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
