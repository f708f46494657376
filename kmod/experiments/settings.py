"""A setting: everything that decides the result of one run, and the hash by which its record is known."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..constraints import CONSTRAINTS
from ..models.presets import PRESETS

STARTS = {
    "RI": "random weights",
    "RI+FT": "random weights, then fine-tuned on the evidences of all facts",
    "PT": "pretrained on text",
    "PT+FT": "pretrained, then fine-tuned on the evidences of all facts",
}
FOLDERS: dict[str, Path] = {}
"""Models in folders of this machine, by the name that settings and records know them by: the folder's own."""


def named(model: str) -> str:
    """The name of a model: a folder's last part, so that no path of a machine gets into a record; or `model` itself.

    Raises ValueError for a folder that is called like a preset, or like another folder given before.
    """
    if not (Path(model) / "config.json").is_file():
        return model
    folder = Path(model).resolve()
    if folder.name in PRESETS or FOLDERS.setdefault(folder.name, folder) != folder:
        raise ValueError(f"{model}: another model is called {folder.name!r}; rename the folder")
    return folder.name


@dataclass(frozen=True, kw_only=True)
class State:
    """What an edit starts from: a model in one of `STARTS`, and the facts it may have memorised."""

    facts: str
    model: str
    start: str
    epochs: float
    least_steps: int = 500
    without: int = 0  # facts kept out of training, to be ADDed to a FaE later
    seed: int = 0  # of the facts kept out
    training: int = 0  # the seed of random weights, and of the batches that facts were memorised from

    def __str__(self) -> str:
        without = f" without {self.without} ({self.seed})" if self.without else ""
        training = f", training {self.training}" if self.training else ""
        return f"{self.model}, {self.start}, on {self.facts}{without}{training}"

    @property
    def memorised(self) -> bool:
        return self.start.endswith("FT")

    @property
    def reference(self) -> State:
        """The plain memorised model that says which facts are known: S is drawn from those for every start of a model,
        its FaE and an ALBERT of its shape, so that all of them change the same facts. A model of another vocabulary is
        its own reference."""
        plain = self.model.removeprefix("fae-")
        if self.model.removeprefix("albert-") in PRESETS:
            plain = self.model.removeprefix("albert-")
        return State(
            facts=self.facts,
            model=plain,
            start="RI+FT" if plain in PRESETS else "PT+FT",
            epochs=self.epochs,
            least_steps=self.least_steps,
            training=self.training,
        )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run.

    Args:
        facts: name of a fact base, as `kmod.load_facts` takes it.
        model: a preset; "fae-" or "albert-" and a preset; or a pretrained model, as `kmod.load_model` takes it.
        start: one of `STARTS`.
        epochs, least_steps: the most passes of memorising, if the start has FT, and the least steps of that (None:
            `kmod.memorise`'s own).
        method: "FTM", "FTA", "retrain", "kNN"; of a FaE "UPDATE", "UPDATE + FTM", "FTM", "ADD".
        block: a block's number, "all", or a part of a FaE such as "AWT"; None where the method has none.
        constraint: "Linf", "L2", "Fisher" or None, with the radius `delta`. For kNN `delta` is ε.
        n: |M|, the number of facts to modify.
        seed: draws S, the new objects and the batches.
        steps, batch_size, lr: of the fine-tuning.
        training: the seed that the starting state was trained from; None is 0, whatever `seed` is.
        options: settings of the method's own (`kmod.editing.methods`), as (name, value) pairs.
    """

    facts: str
    model: str
    start: str
    epochs: float = 11
    least_steps: int | None = None
    method: str
    block: int | str | None = None
    constraint: str | None = None
    delta: float | None = None
    n: int
    seed: int = 0
    steps: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    training: int | None = None
    options: tuple[tuple[str, object], ...] | None = None

    def __post_init__(self):
        for name, value, known in (
            ("start", self.start, STARTS),
            ("constraint", self.constraint, {**CONSTRAINTS, None: 0}),
        ):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(map(str, known))}")

    @property
    def id(self) -> str:
        """16 hexadecimal digits of the hash of the settings; what is None is left out, so that a new field with the
        default None changes no old id."""
        told = {name: value for name, value in asdict(self).items() if value is not None}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def state(self) -> State:
        held = {"without": self.n, "seed": self.seed} if self.method == "ADD" else {}
        held |= {"least_steps": self.least_steps} if self.least_steps else {}
        held |= {"training": self.training} if self.training else {}
        return State(facts=self.facts, model=self.model, start=self.start, epochs=self.epochs, **held)

    @property
    def cell(self) -> Setting:
        """The setting but for its seed: what is averaged over."""
        return replace(self, seed=0)

    @property
    def group(self) -> Setting:
        """The setting but for its radius: runs that differ in nothing else are done together, as one sweep."""
        return replace(self, delta=None)

    @property
    def label(self) -> str:
        where = {None: "", "all": ", all blocks"}.get(self.block, f", {self.block}")
        where = f", block {self.block}" if isinstance(self.block, int) else where
        name = "ε" if self.method == "kNN" else self.constraint
        limit = f", {name}" if name else ""
        limit += f" {self.delta:g}" if self.delta is not None else ""
        training = f" (training {self.training})" if self.training else ""
        return f"{self.model} {self.start}{training}: {self.method}{where}{limit}, |M| = {self.n}"
