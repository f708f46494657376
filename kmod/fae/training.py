"""Train a FaE on the evidences of facts: six losses at once (`fae.losses`), each in the history; kept on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from ..checks import check_facts
from ..facts import FactBase
from ..models.door import check_model, trainable
from ..models.language_model import evaluating
from ..training.checkpoint import Checkpoint, train_once
from ..training.history import History
from ..training.loop import Gradients, descend, random_batches
from .fae import FaE
from .losses import Losses, examine, mask_tokens, step_losses
from .sampling import Sample, sample_memory
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
        for name, label in names.items():  # facts without tests have no such shares
            unseen = f"{100 * self.tests[name]:>16.1f} %" if name in self.tests else f"{'–':>18}"
            lines.append(f"{label:30}{100 * self.evidences[name]:>8.1f} %{unseen}")
        origin = "kept on disk; training took" if self.cached else "trained in"
        return "\n".join([*lines, f"{self.steps:,} steps, {origin} {self.seconds:.0f} s"])


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
            entities are then trained by an Adam that touches only those rows. None trains on all.
        cache, within: as for `kmod.memorise`.

    Raises ValueError for settings out of range, and for facts without evidences, before any training, and TimeoutError
    when the time is up.
    """
    check_model(model, learns=True, family="FaE")
    check_facts(facts)
    losses = losses or Losses()
    if not (epochs > 0 and batch_size > 0 and lr > 0 and sentences >= 0 and 0 <= hide <= 1):
        raise ValueError(
            "epochs, batch_size and lr must be above 0, sentences from 0, hide from 0 to 1; "
            f"got {epochs}, {batch_size}, {lr}, {sentences}, {hide}"
        )
    how = {"batch_size": batch_size, "lr": lr, "sentences": sentences, "hide": hide, "sample": sample, "seed": seed}

    def train(checkpoint: Checkpoint | None) -> FaELearnt:
        asked, tests = model.examples(facts, "evidences"), model.examples(facts, "tests")
        if len(asked) == 0:
            raise ValueError(f"nothing to learn from: {facts} has no evidences")
        steps = max(round(epochs * -(-len(asked) // batch_size)), least_steps)
        every = -(-steps // round(max(epochs, 1)))

        def validate(history: History) -> None:
            done = history.validation[-1]["step"] if history.validation else 0
            if history.steps % every == 0 and history.steps > done:
                history.validation.append({"step": history.steps} | examine(model, tests))

        history = fit_fae(
            model, asked, model.sentences(facts), steps=steps, losses=losses, **how, stop=validate,
            checkpoint=checkpoint, progress="training FaE" if progress else None,
        )  # fmt: skip
        return FaELearnt(
            examine(model, asked), examine(model, tests), history.validation, history.steps, round(history.seconds, 1),
        )  # fmt: skip

    settings = how | {"epochs": epochs, "losses": asdict(losses), "least_steps": least_steps}
    code = ("training", "models", "fae")
    return FaELearnt(**train_once(model, facts, settings, train, folder="fae", code=code, cache=cache, within=within))


_Drawn = tuple[MentionBatch, tuple[Tensor, Tensor], Tensor, Sample | None]
"""A batch after masking, and the `masked`, `hidden_rows` and `sample` of `step_losses`."""


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
    **settings,
) -> History:
    """Train the model's own parameters by `steps` steps on the six losses of `asked` statements and `whole` sentences.

    The history has a curve of each loss (before its weight) and of each share right in the batch ("right_answer", …).
    Everything random comes from `seed`; the global random state is neither used nor changed. `settings` are stop,
    checkpoint and progress of `descend`.

    Raises FloatingPointError if a loss, or a weight after the last step, is not finite.
    """
    net, weights = model.net, asdict(losses)
    params = trainable(model)
    table = net.entity_embeddings.weight
    dense = [p for p in params.values() if sample is None or p is not table]
    optimizers = [torch.optim.Adam(dense, lr=lr, fused=True)]
    if sample is not None:
        optimizers.append(torch.optim.SparseAdam([table], lr=lr))

    def gradients(step: int, drawn: _Drawn) -> Gradients:
        batch, masked, hidden_rows, sampled = drawn
        parts, right = step_losses(model, batch, masked=masked, hidden_rows=hidden_rows, sample=sampled)
        loss = sum(weights[name] * value for name, value in parts.items())
        values = {"loss": loss.item(), "recall": float(right["answer"].float().mean())}
        values |= {name: value.item() for name, value in parts.items()}
        values |= {f"right_{name}": float(value.float().mean()) for name, value in right.items()}
        return loss.item(), values, torch.autograd.grad(loss, list(params.values()), allow_unused=True)

    def batches() -> Iterator[_Drawn]:
        """Endless batches, with all that a step draws at random."""
        rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        tokenizer, both = model.tokenizer, asked.joined(whole)
        special = set(tokenizer.all_special_ids)
        extra = round(sentences * batch_size)
        others = random_batches(whole, None, extra, rng) if extra else None
        for chosen in random_batches(asked, None, batch_size, rng):
            if others is not None:
                chosen = np.concatenate([chosen, len(asked) + next(others)])
            batch = both.collate(chosen, model.device)
            ids, masked, old = mask_tokens(batch, rng, tokenizer.mask_token_id, len(tokenizer), special)
            batch = MentionBatch(**vars(batch) | {"input_ids": ids})
            hidden_rows = torch.from_numpy(rng.random(len(batch.targets)) < hide).to(model.device)
            sampled = None
            if sample is not None:
                needed = torch.cat([batch.linked[batch.linked >= 0], batch.targets])
                sampled = sample_memory(model.net, needed, batch.support[:, 1], sample, generator)
            yield batch, (masked, old), hidden_rows, sampled

    with evaluating(model):
        return descend(
            params, gradients, batches(), steps=steps, lr=lr, optimizers=optimizers, warmup=warmup, decay=True,
            clip=1.0, **settings,
        )  # fmt: skip
