"""Train a FaE on the evidences of facts: six losses at once (`fae.losses`), each watched; kept on disk.

model = build_fae("nano", facts)
print(train_fae(model, facts))
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from ..facts import FactBase
from ..files import cache_dir
from ..models.masked_lm import evaluating
from ..progress import silent
from ..training.checkpoint import Checkpoint, deadline, kept_if_interrupted, load_trained, save_trained
from ..training.history import FaEHistory
from ..training.loop import schedule
from ..versions import versions
from .fae import FaE
from .losses import Losses, examine, mask_tokens, step_losses
from .sampling import sample_memory
from .statements import MentionBatch, MentionExamples


@dataclass(frozen=True)
class FaELearnt:
    """What training reached: `examine` on the evidences and on the tests, whose phrasings were never trained on."""

    evidences: dict[str, float]
    tests: dict[str, float]
    curve: list[dict[str, float]]
    steps: int
    seconds: float
    cached: bool = False

    def __str__(self) -> str:
        names = {
            "answer": "answers right",
            "context_answer": "  from the context alone",
            "retrieval": "supporting row retrieved",
            "null": "null row the best",
            "lambda": "mean λ (weight not on null)",
            "link_memory": "linked right, at the memory",
            "link_top": "linked right, at the top",
        }
        lines = [f"{'':30}{'evidences':>10}{'unseen phrasings':>18}"]
        for name, label in names.items():  # facts without tests have no shares of them
            unseen = f"{100 * self.tests[name]:>16.1f} %" if name in self.tests else f"{'–':>18}"
            lines.append(f"{label:30}{100 * self.evidences[name]:>8.1f} %{unseen}")
        where = "kept on disk; training took" if self.cached else "trained in"
        return "\n".join([*lines, f"{self.steps:,} steps, {where} {self.seconds:.0f} s"])


def train_fae(
    model: FaE,
    facts: FactBase,
    *,
    epochs: float = 11,
    batch_size: int = 128,
    lr: float = 1.5e-3,
    losses: Losses | None = None,
    sentences: float = 0.25,
    hide: float = 0.1,
    sample: int | None = None,
    text: MentionExamples | None = None,
    least_steps: int = 500,
    seed: int = 0,
    cache: bool = True,
    within: float | None = None,
    progress: bool = True,
) -> FaELearnt:
    """Train the parameters of `model`, **in place**, by `epochs` passes over the evidences of `facts` (or
    `least_steps`, if that is more).

    There is no early stop: retrieval still improves when the answers, which the context gives as well, are all right.
    The learning rate warms up over 100 steps and falls as a cosine. No dropout.

    Args:
        batch_size: asked evidences in a batch.
        sentences: whole sentences in a batch, as a share of the asked evidences.
        hide: of the asked evidences, the share whose supporting rows are hidden, so that the null row and the answer
            from the context are learnt as well.
        sample: train on a part of the memories: what a batch needs and about this many other entities and rows. The
            entities are then trained by Adam that touches those rows alone. None trains on all.
        text: more statements with mentions (`models.fae.annotations`), mixed into the whole sentences.
        cache: keep the weights under `cache_dir()`, named by the hash of the model, the facts, the settings and the
            versions; the same call then loads them. A long training is kept every few minutes as well: interrupted,
            even killed, the same call goes on from there, to the same weights (to the bit on a CPU; on a GPU some
            kernels, such as attention's backward, add in no fixed order).
        within: seconds (with `cache` only). A training that takes longer is kept, and the same call goes on with it.

    Raises ValueError for settings out of range, and for facts without evidences, before any training, and TimeoutError
    when the time is up.
    """
    losses = losses or Losses()
    if not (epochs > 0 and batch_size > 0 and lr > 0 and sentences >= 0 and 0 <= hide <= 1):
        raise ValueError(
            "epochs, batch_size and lr must be above 0, sentences from 0, hide from 0 to 1; "
            f"got {epochs}, {batch_size}, {lr}, {sentences}, {hide}"
        )
    if within is not None and not cache:
        raise ValueError("within needs cache=True: a training that is not kept cannot go on")
    settings = [epochs, batch_size, lr, asdict(losses), sentences, hide, sample, seed, _digest(text)]
    settings += [least_steps] if least_steps != 500 else []
    key = json.dumps([model.fingerprint(), facts.fingerprint(), settings, versions(), "fae.1"], sort_keys=True)
    path = cache_dir() / "fae" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    if cache and (report := load_trained(model.net, path)):
        return FaELearnt(**report | {"cached": True})
    asked, tests = model.examples(facts, "evidences"), model.examples(facts, "tests")
    if len(asked) == 0:
        raise ValueError(f"nothing to learn from: {facts} has no evidences")
    whole = model.sentences(facts) if text is None else model.sentences(facts).joined(text)
    epoch = -(-len(asked) // batch_size)
    steps = max(round(epochs * epoch), least_steps)

    every = -(-steps // round(max(epochs, 1)))

    def validate(history: FaEHistory) -> None:
        done = history.validation[-1]["step"] if history.validation else 0
        if history.steps % every == 0 and history.steps > done:
            history.validation.append({"step": history.steps} | examine(model, tests))

    checkpoint = Checkpoint(path.with_suffix(".partial"), key) if cache else None
    history = fit_fae(
        model, asked, whole, steps=steps, batch_size=batch_size, lr=lr, losses=losses, sentences=sentences, hide=hide,
        sample=sample, seed=seed, after=validate, stop=deadline(within, steps), checkpoint=checkpoint,
        progress="training FaE" if progress else None,
    )  # fmt: skip
    report = FaELearnt(
        examine(model, asked), examine(model, tests), history.validation, history.steps, round(history.seconds, 1),
    )  # fmt: skip
    if cache:
        try:
            save_trained(model.net, path, {"report": json.dumps(asdict(report))})
            checkpoint.drop()
        except OSError as error:  # a full or read-only disk must not cost the training
            warnings.warn(f"trained, but not kept on disk: {error}", stacklevel=2)
    return report


def fit_fae(
    model: FaE,
    asked: MentionExamples,
    whole: MentionExamples,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    losses: Losses,
    sentences: float = 0.25,
    hide: float = 0.1,
    sample: int | None = None,
    warmup: int = 100,
    seed: int = 0,
    after: Callable[[FaEHistory], None] | None = None,
    stop: Callable[[FaEHistory], None] | None = None,
    checkpoint: Checkpoint | None = None,
    progress: str | None = None,
) -> FaEHistory:
    """The loop of `train_fae`: `steps` optimiser steps on the model's own parameters. After each, `after` and `stop`
    are called with the history; the latter may raise TimeoutError. With a `checkpoint` it goes on where it was
    interrupted, and calls `after` once more for the last step. Everything random comes from `seed`; the global random
    state is neither used nor changed.

    Raises FloatingPointError if a loss, or a weight after the last step, is not finite.
    """
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    net, tokenizer = model.net, model.tokenizer
    table = net.entity_embeddings.weight
    dense = [p for p in net.parameters() if sample is None or p is not table]
    optimizers = [torch.optim.Adam(dense, lr=lr, fused=True)]
    if sample is not None:
        optimizers.append(torch.optim.SparseAdam([table], lr=lr))
    special, weights = set(tokenizer.all_special_ids), asdict(losses)
    extra = round(sentences * batch_size)
    batches = _batches(asked, whole, batch_size, extra, rng)
    both = asked.joined(whole)
    history, params = FaEHistory(), dict(net.named_parameters())
    if checkpoint:
        checkpoint.load(params, optimizers, history)
    done, started = history.steps, time.perf_counter() - history.seconds
    bar = tqdm(total=steps, initial=done, desc=progress, leave=False, disable=silent(progress))
    with _gradients_dropped(net), evaluating(model), kept_if_interrupted(checkpoint, params, optimizers, history), bar:
        if done and after:
            after(history)
        for step, chosen in zip(range(steps), batches, strict=False):
            batch = both.collate(chosen, model.device)
            ids, masked, old = mask_tokens(batch, rng, tokenizer.mask_token_id, len(tokenizer), special)
            batch = MentionBatch(**vars(batch) | {"input_ids": ids})
            hidden_rows = torch.from_numpy(rng.random(len(batch.targets)) < hide).to(model.device)
            part = None
            if sample is not None:
                needed = torch.cat([batch.linked[batch.linked >= 0], batch.targets])
                part = sample_memory(net, needed, batch.support[:, 1], sample, generator)
            if step < done:  # only what was drawn is drawn again
                continue
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = lr * schedule(step, steps, warmup, decay=True)
            found, right = step_losses(model, batch, masked=(masked, old), hidden_rows=hidden_rows, sample=part)
            loss = sum(weights[name] * value for name, value in found.items())
            if not math.isfinite(loss.item()):
                raise FloatingPointError(f"the loss became {loss} at step {step}: lower the learning rate ({lr})")
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(dense, 1.0)
            for optimizer in optimizers:
                optimizer.step()
            shares = {f"right_{name}": float(value.float().mean()) for name, value in right.items()}
            history.note({name: value.item() for name, value in found.items()} | shares)
            history.seconds = time.perf_counter() - started
            bar.update()
            if step % 20 == 0:
                bar.set_postfix_str(f"answers {history.losses['right_answer'][-1]:.2f}")
            if after:
                after(history)
            if stop:
                stop(history)
            if checkpoint:
                checkpoint.keep(params, optimizers, history)
    if not all(p.isfinite().all() for p in net.parameters()):
        raise FloatingPointError(f"the last step left weights that are not finite: lower the learning rate ({lr})")
    return history


@contextmanager
def _gradients_dropped(net: nn.Module) -> Iterator[None]:
    """However it ends, no gradients stay: they are as large as the model."""
    try:
        yield
    finally:
        net.zero_grad()


def _batches(
    asked: MentionExamples, whole: MentionExamples, size: int, extra: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Batches without end: `size` statements of `asked`, and `extra` of `whole`, numbered on from the last of those."""

    def forever(examples: MentionExamples, size: int) -> Iterator[np.ndarray]:
        while True:
            yield from examples.shuffled(size, rng)

    sentences = forever(whole, extra) if extra else None
    for ours in forever(asked, size):
        yield ours if sentences is None else np.concatenate([ours, len(asked) + next(sentences)])


def _digest(text: MentionExamples | None) -> str | None:
    if text is None:
        return None
    arrays = (value for value in vars(text).values() if isinstance(value, np.ndarray))
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()
