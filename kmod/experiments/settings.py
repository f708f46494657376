"""A setting: everything that decides the result of one run, and the hash by which its record is known."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..checks import brief, check_whole, is_number, is_whole
from ..constraints import CONSTRAINTS
from ..editing.methods import Method, methods_for
from ..editing.sequence import ANCHORS
from ..files import user_path
from ..models import LanguageModel
from ..models.presets import PRESETS

STARTS = ("RI", "RI+FT", "PT", "PT+FT")
"""Random weights or pretrained on text, each alone or then fine-tuned on the evidences of all facts."""
FAE, ALBERT = "fae-", "albert-"
"""Prefixes of a model's name: a FaE built on the model after it, and an ALBERT of the shape of the preset after it."""

OWN = "seed"
"""As the training of a setting: that of the run's own seed."""

FOLDERS: dict[str, Path] = {}
"""Models in folders of this machine, by the name that settings and records know them by."""


def model_name(model: str) -> str:
    """The name of a model in settings and records: of a folder its last part and a digest of its files, hidden ones
    left out, such as "my-bert@1a2b3c4d", so that no path of a machine gets into a record and a model that is trained
    anew is another one. Other names, and those of presets, stay as they are.

    Raises ValueError for a folder whose name begins like that of a FaE or an ALBERT.
    """
    if model in PRESETS or not (user_path(model) / "config.json").is_file():
        return model
    folder = user_path(model).resolve()
    if folder.name.startswith((FAE, ALBERT)):
        raise ValueError(f"{model}: names that begin with {FAE} or {ALBERT} are taken; rename the folder")
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            with path.open("rb") as file:
                digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    name = f"{folder.name}@{digest.hexdigest()[:8]}"
    FOLDERS[name] = folder
    return name


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
    batch_size: int | None = None  # of the memorising, where memory did not allow the usual one

    def __str__(self) -> str:
        without = f" without {self.without} ({self.seed})" * bool(self.without)
        training = f", training {self.training}" * bool(self.training)
        batches = f", in batches of {self.batch_size}" * bool(self.batch_size)
        return f"{self.model}, {self.start}, on {self.facts}{without}{training}{batches}"

    @property
    def memorised(self) -> bool:
        return self.start.endswith("FT")

    @property
    def fae(self) -> bool:
        return self.model.startswith(FAE)

    @property
    def plain(self) -> str:
        """The model, or the one that the FaE is built on."""
        return self.model.removeprefix(FAE)

    @property
    def albert(self) -> str | None:
        """The preset whose shape the model has as an ALBERT; None for any other model."""
        preset = self.plain.removeprefix(ALBERT)
        return preset if preset in PRESETS and preset != self.plain else None

    @property
    def reference(self) -> State:
        """The plain memorised model that says which facts are known: S is drawn from those for every start of a model,
        its FaE and an ALBERT of its shape, so that all of them change the same facts. A model of another vocabulary is
        its own reference."""
        model = self.albert or self.plain
        start = "RI+FT" if model in PRESETS else "PT+FT"
        own = (model, start) == (self.model, self.start)
        return replace(self, model=model, start=start, without=0, seed=0, batch_size=self.batch_size if own else None)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run. Equal settings have one id: numbers are kept in one form, NumPy's as Python's.

    Args:
        facts: name of a fact base, as `kmod.load_facts` takes it.
        model: a preset; "fae-" or "albert-" and a preset; or a pretrained model, as `kmod.load_model` takes it.
        start: one of `STARTS`.
        epochs, least_steps: the most passes of memorising, if the start has FT, and the least steps of that (None:
            `kmod.memorise`'s own).
        method: a name of `kmod.editing.methods`, of a FaE of `kmod.fae.methods`; or "ADD", facts added to a FaE.
        block: a block's number, "all", or a part of a FaE such as "AWT"; None where the method has none.
        constraint: one of `kmod.constraints.CONSTRAINTS` or None.
        delta: radius of the constraint, or the method's own radius (its `dial`): for kNN ε.
        n: |M|, the number of facts to modify.
        seed: draws S, the new objects and the batches.
        steps, batch_size, lr: of the fine-tuning.
        training: the seed that the starting state was trained from; None is 0, "seed" is the run's own, so that each
            seed starts from a training of its own.
        options: the method's own settings, a mapping or (name, value) pairs; kept as sorted pairs, None for none.
        start_batch_size: of the memorising, where memory did not allow the usual one.
        portion: facts edited at a time, one portion after the other (`kmod.sequence`); None edits all at once.
        anchor: the centre of the ball in such a sequence, one of `ANCHORS`.

    Raises ValueError, by name, for a start or constraint that is unknown and a number that is none.
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
    training: int | str | None = None
    options: Mapping[str, object] | tuple[tuple[str, object], ...] | None = None
    start_batch_size: int | None = None
    portion: int | None = None
    anchor: str | None = None

    def __post_init__(self):
        known_values = {"start": STARTS, "constraint": (*CONSTRAINTS, None), "anchor": (*ANCHORS, None)}
        for name, known in known_values.items():
            if getattr(self, name) not in known:
                raise ValueError(brief(f"unknown {name} {getattr(self, name)!r}; known: {', '.join(map(str, known))}"))
        for name, value in list(vars(self).items()):
            if name == "options":
                value = _options(value)
            elif value is not None and name in WHOLE and not _named(name, value):
                value = check_whole(name, value, WHOLE[name])
            elif value is not None and name in ("epochs", "delta", "lr"):
                value = _number(name, value, name == "epochs" or (name == "delta" and self.method == "kNN"))
            object.__setattr__(self, name, None if name == "training" and value == 0 else value)

    def record(self) -> dict:
        """The settings as records hold them; `Setting(**record)` gives them back. Fields added later are left out where
        they are None."""
        values = vars(self) | {"options": dict(self.options) if self.options else None}
        return {name: value for name, value in values.items() if value is not None or name not in LATER}

    @property
    def id(self) -> str:
        """16 hexadecimal digits of the hash of the settings. What is None is left out, so that a new field with the
        default None changes no old id."""
        given = {name: value for name, value in self.record().items() if value is not None}
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def state(self) -> State:
        others = {"without": self.n, "seed": self.seed} if self.method == "ADD" else {}
        others |= {"least_steps": self.least_steps} if self.least_steps else {}
        training = self.seed if self.training == OWN else self.training or 0
        others |= {"training": training, "batch_size": self.start_batch_size}
        return State(facts=self.facts, model=self.model, start=self.start, epochs=self.epochs, **others)

    @property
    def own(self) -> Setting | None:
        """The same run among those of which each seed has a training of its own, if it begins from such a one: seed 3
        of the starting states of training 3. None for the others."""
        return replace(self, training=OWN) if (self.training or 0) == self.seed else None

    @property
    def registered(self) -> Method | None:
        """The method's entry in the registry; None for ADD, which edits no given facts. Raises ValueError that lists
        the methods of the model's family."""
        if self.method == "ADD" and self.state.fae:
            return None
        family = LanguageModel
        if self.state.fae:
            from ..fae import FaE as family  # imported here, for it takes seconds
        methods = methods_for(family)
        if self.method not in methods:
            raise ValueError(brief(f"no method {self.method!r} for {self.model}; known: {', '.join(methods)}"))
        return methods[self.method]

    @property
    def trains(self) -> bool:
        """Whether the run trains a model of its own, as long as its starting state was trained."""
        return self.registered is None or self.registered.from_start

    @property
    def cell(self) -> Setting:
        """The setting but for its seed: what is averaged over."""
        return replace(self, seed=0)

    @property
    def group(self) -> Setting:
        """The setting but for its radius: runs that differ in nothing else are done together, as one sweep."""
        return replace(self, delta=None)

    @property
    def dials(self) -> str:
        """What an editor may choose, in words: block, learning rate, steps, radius and options."""
        radius = "ε" if self.method == "kNN" else "δ" if self.constraint else self.registered and self.registered.dial
        parts = [
            f"block {self.block}" * isinstance(self.block, int),
            f"lr {self.lr:g}" if self.lr else "", f"{self.steps} steps" if self.steps else "",
            f"{radius} {self.delta:g}" if self.delta is not None else "",
            *(f"{name} {value:g}" if is_number(value) else f"{name} {value}" for name, value in self.options or ()),
        ]  # fmt: skip
        return ", ".join(filter(None, parts))

    @property
    def label(self) -> str:
        where = {None: "", "all": ", all blocks"}.get(self.block, f", {self.block}")
        where = f", block {self.block}" if isinstance(self.block, int) else where
        name = "ε" if self.method == "kNN" else self.constraint
        limit = f", {name}" * bool(name) + (f" {self.delta:g}" if self.delta is not None else "")
        options = "".join(f", {name} {value}" for name, value in self.options or ())
        options += f", {self.portion} at a time" * bool(self.portion) + f", around the {self.anchor}" * bool(
            self.anchor
        )
        training = "a training each" if self.training == OWN else f"training {self.training}"
        training = f" ({training})" * bool(self.training)
        return f"{self.model} {self.start}{training}: {self.method}{where}{limit}{options}, |M| = {self.n}"


WHOLE = {
    "block": 0, "n": 1, "seed": 0, "steps": 1, "batch_size": 1, "least_steps": 0, "training": 0, "start_batch_size": 1,
    "portion": 1,
}  # fmt: skip
"""Fields that are whole numbers, and the least that each may be; a block may be a name as well."""
LATER = ("options", "start_batch_size", "portion", "anchor")


def _named(name: str, value: object) -> bool:
    """Whether the value of a field for whole numbers is one of the names that the field may also have."""
    return (name == "block" and isinstance(value, str)) or (name == "training" and value == OWN)


def _number(name: str, value: object, whole: bool) -> int | float:
    """As a float, or (`whole`) as an int where it is a whole number: the form that ids were made from."""
    if not is_number(value) or not 0 <= value < math.inf:
        raise ValueError(brief(f"{name} must be a number, zero or more, got {value!r}"))
    return int(value) if whole and value == int(value) else float(value)


def _options(options: Mapping[str, object] | Iterable[tuple[str, object]] | None) -> tuple | None:
    def plain(name: str, value: object) -> object:
        return value if isinstance(value, str) else int(value) if is_whole(value) else _number(name, value, whole=True)

    pairs = sorted(dict(options or ()).items())
    return tuple((name, plain(name, value)) for name, value in pairs if value is not None) or None
