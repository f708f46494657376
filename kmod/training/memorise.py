"""Fine-tune a model on the evidences of facts until it recalls them; kept on disk, so that it is done once."""

from __future__ import annotations

from dataclasses import dataclass

from ..checks import WrongTypeError, check_facts
from ..evaluation import Rate, score
from ..facts import FactBase
from ..models.door import check_model, trainable
from ..models.language_model import LanguageModel
from .checkpoint import Checkpoint, train_once
from .history import History
from .loop import fit, seconds_a_step


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
        origin = "kept on disk; training took" if self.cached else "trained in"
        return (
            f"recall on evidences          {self.evidences}\n"
            f"recall on unseen phrasings   {self.tests}\n"
            f"{self.evidences.facts:,} facts, {self.steps:,} steps, {origin} {self.seconds:.0f} s"
        )


def memorise(
    model: LanguageModel,
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

    Parameters with `requires_grad=False` stay as they are. Training stops once a whole pass over the evidences was
    answered right, and otherwise after `epochs` passes (or `least_steps`, if that is more). The learning rate warms up
    over 100 steps and falls as a cosine. No dropout. If it is interrupted, the model keeps what it has learnt so far.

    With `cache`, the weights are kept under `cache_dir()`, named by the hash of the model, the facts, the settings, the
    versions and the code that trains; the same call then loads them. A long training is also kept every few minutes:
    after an interruption, even a kill, the same call continues, to the same weights (to the bit on a CPU; on a GPU some
    kernels, such as attention's backward, add in no fixed order).

    Args:
        within: seconds (with `cache` only). A training that takes longer is kept, and the same call continues it.

    Raises ValueError for facts without evidences, or objects outside the model's vocabulary, before any training;
    TypeError for a model that is trained by another function; and TimeoutError when the time is up.
    """
    check_model(model, learns=True)
    check_facts(facts)
    if model.trained_by != "kmod.memorise":
        name = type(model).__name__
        raise WrongTypeError(f"a {name} learns more than its answers: train it with {model.trained_by}(model, facts)")
    settings = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "least_steps": least_steps, "seed": seed}
    if not (epochs > 0 and batch_size > 0 and lr > 0):
        raise ValueError(f"epochs, batch_size and lr must be above 0; got {settings}")

    def train(checkpoint: Checkpoint | None) -> Memorised:
        examples = {kind: model.examples(facts, kind) for kind in ("evidences", "tests")}
        evidences = examples["evidences"]
        if len(evidences) == 0:
            raise ValueError(f"nothing to memorise: {facts} has no evidences")
        epoch = -(-len(evidences) // batch_size)
        steps = max(round(epochs * epoch), least_steps)
        params = trainable(model)
        if progress:
            estimate = steps * seconds_a_step(model, evidences, params, batch_size)
            work = f"{len(facts):,} facts from {len(evidences):,} evidences: at most {steps:,} steps"
            print(f"memorising {work}, about {estimate / 60:.1f} minutes on this machine")

        def recalled(history: History) -> str | None:
            return "recalled" if history.steps % epoch == 0 and min(history.recall[-epoch:]) == 1.0 else None

        history = fit(
            model, evidences, params, steps=steps, batch_size=batch_size, lr=lr, warmup=100, decay=True, clip=1.0,
            seed=seed, stop=recalled, checkpoint=checkpoint, progress="memorising" if progress else None,
        )  # fmt: skip
        scores = score(model, facts, examples=examples)
        rates = (scores.rate(kind) for kind in ("evidences", "tests"))
        return Memorised(*rates, history.steps, round(history.seconds, 1), history.stopped)

    kept = {"folder": "memorised", "code": ("training", "models"), "cache": cache, "within": within}
    report = train_once(model, facts, settings, train, **kept)
    return Memorised(**report | {kind: Rate(**report[kind]) for kind in ("evidences", "tests")})
