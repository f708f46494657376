"""An edit is a value: the difference it makes to a model's tensors, how it was made, and for which model.

The difference is the XOR of the bit patterns before and after. XOR is its own inverse, so that applying and undoing
are exact to the bit; in floating-point arithmetic θ₀ + (θ − θ₀) is not always θ.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..checks import WrongTypeError, brief, check_facts
from ..facts import FactBase, Modification
from ..files import save_whole, user_path
from ..models.door import check_model
from ..models.fingerprint import format_of
from ..models.language_model import LanguageModel

FORMAT = "kmod.edit."  # followed by the format of the fingerprints: 2, or 1 in older files
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes an element → type of that width


class WrongModelError(ValueError):
    """The edit was made for another model, or the model is not in the state that the operation needs."""


def _made_together(first: dict, second: dict) -> dict:
    """How two edits, one after the other, were made. Without "indices" if they are not of the same facts."""
    edits = [*first.get("edits", [first]), *second.get("edits", [second])]
    ball = first.get("constraint") if first.get("constraint") == second.get("constraint") else None
    made = {"method": "sequence", "constraint": ball, "edits": edits, "change_seed": None}
    made |= {name: second[name] for name in ("versions",) if name in second}
    if all("indices" in each for each in (first, second)) and first["base_fingerprint"] == second["base_fingerprint"]:
        facts = dict(zip(first["indices"], first["facts"], strict=True))
        for i, (subject, relation, old, new) in zip(second["indices"], second["facts"], strict=True):
            facts[i] = [subject, relation, facts[i][2] if i in facts else old, new]
        about = {name: first[name] for name in ("base", "base_fingerprint")}
        return made | about | {"facts": list(facts.values()), "indices": list(facts)}
    return made | {"facts": [*first.get("facts", []), *second.get("facts", [])]}


def _bits(tensor: Tensor) -> Tensor:
    return tensor.view(_BITS[tensor.element_size()])


def _plain(value: object) -> object:
    """A number of NumPy's as one of Python's, for JSON. Raises TypeError for anything else."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(brief(f"an edit's record holds what JSON can hold, not {value!r}"))


@dataclass(frozen=True, eq=False)
class Edit:
    """A change of some of a model's parameters, or of the buffers that are saved with it.

    Args:
        xor: full name of a tensor → XOR of the bits before and after, as integers of its elements' width and its shape.
        before, after: `LanguageModel.fingerprint` of the model without and with the edit.
        made: how: method, settings, the facts changed, versions; anything JSON can hold.
    """

    xor: dict[str, Tensor]
    before: str
    after: str
    made: dict = field(default_factory=dict)

    @classmethod
    def between(cls, model: LanguageModel, new: dict[str, Tensor], made: dict) -> Edit:
        """The edit that gives those of the model's `tensors` that `new` names their new values. The model is not
        written to.

        Raises ValueError for a name that the model does not have, or another shape or type than its own.
        """
        check_model(model)
        current = model.tensors()
        for name, value in new.items():
            if name not in current:
                raise ValueError(f"{name} is no parameter of this model")
            if (value.shape, value.dtype) != (current[name].shape, current[name].dtype):
                raise ValueError(f"{name} must be {tuple(current[name].shape)}, {current[name].dtype}")
        with torch.no_grad():
            xor = {name: (_bits(current[name].detach()) ^ _bits(value.detach())).cpu() for name, value in new.items()}
        return cls(xor, *model.fingerprints(new), made)

    def __repr__(self) -> str:
        touched = sum(x.numel() for x in self.xor.values())
        facts = len(self.made.get("facts", []))
        return (
            f"Edit({self.made.get('method', '?')}: {facts} facts, {touched:,} parameters in {len(self.xor)} tensors, "
            f"{self.made.get('constraint') or 'no constraint'}{', changes no weight' * (self.before == self.after)})"
        )

    @torch.no_grad()
    def _toggle(self, model: LanguageModel) -> None:
        """Apply the edit to a model without it, or undo it on a model with it: to all tensors or to none."""
        current, done = model.tensors(), []
        try:
            for name, xor in self.xor.items():
                _bits(current[name].data).bitwise_xor_(xor.to(current[name].device))
                done.append(name)
        except BaseException:  # out of memory, or interrupted
            for name in done:
                _bits(current[name].data).bitwise_xor_(self.xor[name].to(current[name].device))
            raise

    @torch.no_grad()
    def _toggled(self, model: LanguageModel) -> dict[str, Tensor]:
        """The touched tensors as they would be after `_toggle`; the model is not written to."""
        current = model.tensors()
        thetas = {name: (current[name].detach(), xor.to(current[name].device)) for name, xor in self.xor.items()}
        return {name: (_bits(theta) ^ xor).view(theta.dtype) for name, (theta, xor) in thetas.items()}

    def _state(self, model: LanguageModel, verb: str) -> str:
        """The fingerprint of `model`, `before` or `after`. Raises WrongModelError if it is neither."""
        check_model(model)
        now = model.fingerprint(format=format_of(self.before))
        if now not in (self.before, self.after):
            prints = f"fingerprint {self.before[:12]}, this model has {now[:12]}"
            why = self._differs(model) + "; take back the edits that were made after it first" * (verb == "undo")
            raise WrongModelError(brief(f"cannot {verb}: the edit was made for another model ({prints}): {why}"))
        return now

    def _differs(self, model: LanguageModel) -> str:
        """What of `model` differs from the model that the edit was made for: a name, a shape, a type, or the values."""
        current = model.tensors()
        for name, xor in self.xor.items():
            if (theta := current.get(name)) is None:
                return f"this one has no {name}"
            if theta.shape != xor.shape:
                return f"the shape of {name} is {tuple(theta.shape)}, not {tuple(xor.shape)}"
            if _BITS[theta.element_size()] != xor.dtype:
                own = str(theta.dtype).removeprefix("torch.")
                return f"the type of {name} is {own}, not one of {8 * xor.element_size()} bits: load the model anew"
        return "the shapes and types of what it changes are the same, but other values or another vocabulary"

    def _require(self, model: LanguageModel, state: str, verb: str) -> None:
        """Raise WrongModelError unless `model` is in the state `before` or `after` that is given."""
        if (now := self._state(model, verb)) != state:
            how = "not" if now == self.before else "already"
            raise WrongModelError(f"cannot {verb}: the edit is {how} applied to this model")
        current = model.tensors()
        for name, xor in self.xor.items():  # right fingerprints beside wrong tensors: a damaged file
            theta = current.get(name)
            if theta is None or theta.shape != xor.shape or _BITS[theta.element_size()] != xor.dtype:
                raise WrongModelError(f"the edit is damaged: {name} does not fit the model it names")

    def applied(self, model: LanguageModel) -> bool:
        """Whether `model` is exactly the edited one. Raises WrongModelError if it is neither that nor the original."""
        return self._state(model, "tell") == self.after

    def apply(self, model: LanguageModel) -> None:
        """Change `model` in place. Raises WrongModelError, before anything is touched, unless it is the model the edit
        was made for, without the edit."""
        self._require(model, self.before, "apply")
        self._toggle(model)

    def undo(self, model: LanguageModel) -> None:
        """Take the edit back, bit for bit. Raises WrongModelError unless `model` is exactly the edited one."""
        self._require(model, self.after, "undo")
        self._toggle(model)

    @contextmanager
    def __call__(self, model: LanguageModel) -> Iterator[LanguageModel]:
        """`with edit(model): ...` applies the edit inside and undoes it after."""
        self.apply(model)
        try:
            yield model
        finally:
            self.undo(model)

    def then(self, other: Edit) -> Edit:
        """This edit and, on the model with it, `other`, as one edit, bit for bit. `made` lists both under "edits"; a
        fact that both change has the old object of the first and the new one of the second.

        Raises WrongModelError unless `other` was made for the model with this edit.
        """
        if not isinstance(other, Edit):
            raise WrongTypeError(f"a second edit is needed, not a {type(other).__name__}")
        if self.after != other.before:
            prints = f"it starts from {other.before[:12]}, this one ends at {self.after[:12]}"
            raise WrongModelError(f"the second edit was not made for the model with the first ({prints})")
        xor = dict(self.xor)
        for name, bits in other.xor.items():
            xor[name] = xor[name] ^ bits if name in xor else bits
        return Edit(xor, self.before, other.after, _made_together(self.made, other.made))

    def change(self, facts: FactBase) -> Modification:
        """The modification of `facts` that this edit makes, to measure it by. Raises ValueError if the edit's record
        names other facts, or none."""
        check_facts(facts)
        made = self.made
        if made.get("base_fingerprint") != facts.fingerprint() or "indices" not in made:
            base = made.get("base")
            raise ValueError(brief(f"this edit was made on the facts {base!r}, not on {facts.name!r}: load those"))
        return Modification(facts, tuple(made["indices"]), tuple(new for *_, new in made["facts"]), made["change_seed"])

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors that `save` writes: those of every tensor that the edit touches."""
        return sum(xor.nbytes for xor in self.xor.values())

    @torch.no_grad()
    def difference(self, model: LanguageModel, applied: bool | None = None) -> dict[str, Tensor]:
        """θ − θ₀ of each touched parameter, as floats. `model` may be with or without the edit; a caller that knows
        which says so by `applied`, which saves the check."""
        sign = -1 if (self.applied(model) if applied is None else applied) else 1
        current = model.tensors()
        return {name: sign * (other - current[name].detach()) for name, other in self._toggled(model).items()}

    def renewed(self, model: LanguageModel) -> Edit:
        """This edit with fingerprints of the present format; itself, if it has them. Raises WrongModelError unless an
        edit of the first format could be applied to `model`."""
        if format_of(self.before) == 2:
            return self
        self._require(model, self.before, "renew")
        return Edit(self.xor, *model.fingerprints(self._toggled(model)), self.made)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, tensors and metadata, atomically: the file appears whole or not at all."""
        about = {
            "format": f"{FORMAT}{format_of(self.before)}",
            "before": self.before,
            "after": self.after,
            "made": json.dumps(self.made, default=_plain),
        }
        save_whole(path, {name: xor.contiguous() for name, xor in self.xor.items()}, about)

    @classmethod
    def load(cls, path: str | Path) -> Edit:
        """Read a file that `save` wrote. Raises FileNotFoundError, or ValueError for a file that is not an edit."""
        path = user_path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no edit at {path}")
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get("format") not in (f"{FORMAT}1", f"{FORMAT}2"):
                    raise ValueError(f"{path} is a safetensors file but not an edit ({FORMAT}1 or {FORMAT}2)")
                if missing := {"before", "after", "made"} - about.keys():
                    raise ValueError(brief(f"{path} is not a whole edit: it lacks {', '.join(sorted(missing))}"))
                xor = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
                return cls(xor, about["before"], about["after"], json.loads(about["made"]))
        except SafetensorError as error:
            raise ValueError(f"{path} is not an edit: {error}") from error

    def merge(self, model: LanguageModel, folder: str | Path) -> None:
        """Write the edited model as a plain Hugging Face folder that transformers loads without kmod. `model`, with or
        without the edit, is not changed."""
        applied, edited = self.applied(model), copy.deepcopy(model)
        if not applied:
            self._toggle(edited)
        edited.save(folder)
