"""What runs will cost, before they start: their floating-point operations over what this device does in a second.

The estimate of each method is corrected by past runs on the same device: the median of measured over estimated seconds.
"""

from __future__ import annotations

import statistics
from collections import defaultdict, namedtuple
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import torch

from ..checks import brief
from ..models import PRESETS
from ..sources import load_facts
from ..training.flops import device_name, matmul_flops
from .settings import FOLDERS, Setting, State
from .starts import BATCH

SHAPES = {"bert-base-uncased": "base", "bert-large-uncased": "large", "albert-base-v2": "base", "nano-wiki": "nano"}
EFFICIENCY = 0.4  # share of the rate of large matrix products that a training step reaches, a guess
LAUNCH = {"cuda": 2.5e-5, "cpu": 1e-5}  # seconds to start an operation, a guess; a block has about forty
SAMPLE = 500  # facts whose statements are counted
STEPS = 60  # of a method where a setting leaves them to it
RATES = {"h200": 4.0e14, "h100": 4.0e14, "a100": 1.4e14, "t4": 6.0e12}  # FLOP/s of large products, in TF32 but on t4


Size = namedtuple("Size", "facts evidences tests evidence_tokens test_tokens")
"""The size of a fact base: facts, evidences, tests, and tokens a statement of either kind."""


@cache
def size(facts: str) -> Size:
    base, counts, tokens = load_facts(facts), [], []
    for kind in (base.evidences, base.tests):
        statements = [kind(fact) for fact in base]
        counts.append(sum(map(len, statements)))
        words = [len(text.split()) for texts in statements[:: max(1, len(base) // SAMPLE)] for text in texts]
        tokens.append(2 + 1.35 * statistics.fmean(words))  # [CLS] and [SEP]; about 1.35 word pieces a word
    return Size(len(base), *counts, *tokens)


@dataclass(frozen=True)
class Device:
    """What runs are done on: FLOP/s of large matrix products, and how many such devices work side by side."""

    name: str
    kind: str  # "cuda" or "cpu"
    flops: float
    slots: int = 1


@cache
def here() -> Device:
    """This machine's own device, measured once a process."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Device(device_name(device), device.type, matmul_flops(device, torch.float32))


def shape(state: State) -> tuple[int, int]:
    """(blocks, width) of a state's model. Raises ValueError for one whose shape cannot be found without loading it."""
    name = state.albert or SHAPES.get(state.plain, state.plain)
    if name in PRESETS:
        return PRESETS[name][:2]
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(FOLDERS.get(name, name), trust_remote_code=False)
    except OSError as error:
        raise ValueError(
            brief(f"no model {state.model!r} to estimate the cost of ({str(error).splitlines()[0]})")
        ) from error
    return config.num_hidden_layers, config.hidden_size


class Estimate:
    """Seconds of runs and of starting states on one device, corrected by the records of runs there."""

    def __init__(self, records: Iterable[dict] = (), on: str | Device | None = None):
        """`on`: one of `RATES`, or a device, instead of this machine. Raises ValueError that lists them."""
        if isinstance(on, str) and on not in RATES:
            raise ValueError(brief(f"no rate is known for {on!r}; known: {', '.join(RATES)}"))
        device = Device(on, "cuda", RATES[on]) if isinstance(on, str) else on or here()
        self.kind, self.name, self.slots = device.kind, device.name, device.slots
        self.flops = EFFICIENCY * device.flops
        self.correction: dict[str, float] = {}
        ratios: dict[str, list[float]] = defaultdict(list)
        for record in records:
            seconds, run = record["seconds"], Setting(**record["settings"])
            whole = record["status"] == "done" and {"edit", "evaluate"} <= seconds.keys() and not run.portion
            if record["hardware"]["device"] == self.name and whole:
                with suppress(ValueError):  # a model that is not here
                    ratios[run.method] += [(seconds["edit"] + seconds["evaluate"]) / self.run(run)]
        self.correction = {method: statistics.median(values) for method, values in ratios.items() if values}

    def _seconds(self, flops: float, steps: float, depth: int) -> float:
        arithmetic, launches = flops / self.flops, steps * 3 * 40 * depth * LAUNCH[self.kind]
        return max(arithmetic, launches) if self.kind == "cuda" else arithmetic + launches  # a GPU does both at once

    def _pass(self, state: State, statements: float, tokens: float, blocks: int | None = None) -> float:
        """FLOPs of a forward pass over so many blocks, and of the decoder for one masked slot a statement."""
        depth, width = shape(state)
        vocabulary = 4_000 if state.model in PRESETS else 30_000
        return statements * (tokens * (blocks or depth) * 2 * 12 * width**2 + 2 * width * vocabulary)

    def state(self, state: State) -> float:
        """Seconds to memorise, or next to nothing where there is nothing to learn."""
        if not state.memorised:
            return 1.0
        facts, (depth, _), batch_size = size(state.facts), shape(state), state.batch_size or BATCH
        passes = state.epochs * (2.0 if state.fae else 1.0)
        passes = max(passes, state.least_steps * min(batch_size, facts.evidences) / facts.evidences)
        work = 3 * self._pass(state, passes * facts.evidences, facts.evidence_tokens)
        return self._seconds(work, max(state.least_steps, passes * facts.evidences / batch_size), depth)

    def run(self, run: Setting) -> float:
        """Seconds to edit and to judge."""
        facts, (depth, _), method = size(run.facts), shape(run.state), run.registered
        seconds = self._seconds(self._pass(run.state, facts.tests, facts.test_tokens), facts.tests / 256, depth)
        times = -(-run.n // run.portion) if run.portion else 1
        seconds *= 5 if run.portion else 1  # measured at some portions only
        if method is None:
            seconds *= 4
        elif method.from_start:
            seconds += self.state(run.state)
        elif method.descends:
            lowest, steps = run.block if isinstance(run.block, int) else 0, run.steps or STEPS
            statements = steps * min(run.batch_size or BATCH, max(1, run.n * facts.evidences / facts.facts))
            forward = self._pass(run.state, statements, facts.evidence_tokens, depth - lowest)
            seconds += times * method.cost * self._seconds(3 * forward, steps, depth - lowest)
        return seconds * self.correction.get(run.method, 1.0)


def text(seconds: float) -> str:
    """Such as "40 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
