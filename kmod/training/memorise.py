"""Fine-tune a model on the evidences of facts until it recalls them; kept on disk, so that it is done once."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import asdict, dataclass

from ..evaluation import Rate, score
from ..facts import FactBase
from ..files import cache_dir
from ..models.masked_lm import MaskedLM
from ..versions import versions
from .checkpoint import Checkpoint, deadline, load_trained, save_trained
from .loop import History, fit, seconds_a_step


@dataclass(frozen=True)
class Memorised:
    """What memorising reached: recall on the evidences, and on the tests, whose phrasings were never trained on."""

    evidences: Rate
    tests: Rate
    steps: int
    seconds: float
    stopped: str
    cached: bool = False

    def __str__(self) -> str:
        where = "kept on disk; training took" if self.cached else "trained in"
        return (
            f"recall on evidences          {self.evidences}\n"
            f"recall on unseen phrasings   {self.tests}\n"
            f"{self.evidences.facts:,} facts, {self.steps:,} steps, {where} {self.seconds:.0f} s"
        )


def memorise(
    model: MaskedLM,
    facts: FactBase,
    *,
    epochs: float = 11,
    batch_size: int = 128,
    lr: float = 1.5e-3,
    least_steps: int = 500,
    seed: int = 0,
    cache: bool = True,
    within: float | None = None,
    progress: bool = True,
) -> Memorised:
    """Train the parameters of `model`, **in place**, on the evidences of `facts` until they are recalled.

    Stops once a whole pass over the evidences was answered right, and otherwise after `epochs` passes (or
    `least_steps`, if that is more). The learning rate warms up over 100 steps and falls as a cosine. No dropout.
    Interrupted, the model keeps what it has learnt so far.

    With `cache`, the weights are kept under `cache_dir()`, named by the hash of the model, the facts, the settings and
    the versions; the same call then loads them. A long training is kept every few minutes as well: interrupted, even
    killed, the same call goes on from there, to the same weights (to the bit on a CPU; on a GPU some kernels, such as
    attention's backward, add in no fixed order).

    Args:
        within: seconds (with `cache` only). A training that takes longer is kept, and the same call goes on with it.

    Raises ValueError for facts without evidences, or objects outside the model's vocabulary, before any training, and
    TimeoutError when the time is up.
    """
    if model.net.config.model_type == "fae":
        raise TypeError("a FaE has more to learn than its answers: train it with kmod.train_fae(model, facts)")
    settings = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
    if least_steps != 500:
        settings["least_steps"] = least_steps
    if within is not None and not cache:
        raise ValueError("within needs cache=True: a training that is not kept cannot go on")
    if not (epochs > 0 and batch_size > 0 and lr > 0):
        raise ValueError(f"epochs, batch_size and lr must be above 0; got {settings}")
    key = json.dumps([model.fingerprint(), facts.fingerprint(), settings, versions(), "memorise.1"], sort_keys=True)
    path = cache_dir() / "memorised" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    if cache and (report := load_trained(model.net, path)):
        report["evidences"], report["tests"] = Rate(**report["evidences"]), Rate(**report["tests"])
        return Memorised(**report | {"cached": True})
    examples = {kind: model.examples(facts, kind) for kind in ("evidences", "tests")}
    evidences = examples["evidences"]
    if len(evidences) == 0:
        raise ValueError(f"nothing to memorise: {facts} has no evidences")
    epoch = -(-len(evidences) // batch_size)
    steps = max(round(epochs * epoch), least_steps)
    params = {name: p for name, p in model.net.named_parameters() if p.requires_grad}
    if progress:
        estimate = steps * seconds_a_step(model, evidences, params, batch_size)
        print(
            f"memorising {len(facts):,} facts from {len(evidences):,} evidences: "
            f"at most {steps:,} steps, about {estimate / 60:.1f} minutes on this machine"
        )

    on_time = deadline(within, steps)

    def ended(history: History) -> str | None:
        if history.steps % epoch == 0 and min(history.recall[-epoch:]) == 1.0:
            return "recalled"
        on_time(history)

    checkpoint = Checkpoint(path.with_suffix(".partial"), key) if cache else None
    history = fit(
        model,
        evidences,
        params,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        warmup=100,
        decay=True,
        clip=1.0,
        seed=seed,
        stop=ended,
        checkpoint=checkpoint,
        progress="memorising" if progress else None,
    )
    reached = score(model, facts, examples=examples)
    report = Memorised(
        reached.rate("evidences"), reached.rate("tests"), history.steps, round(history.seconds, 1), history.stopped
    )
    if cache:
        try:
            save_trained(model.net, path, {"report": json.dumps(asdict(report)), "key": key})
            checkpoint.drop()
        except OSError as error:  # a full or read-only disk must not cost the training
            warnings.warn(f"memorised, but not kept on disk: {error}", stacklevel=2)
    return report
