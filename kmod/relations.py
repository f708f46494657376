"""Relations, their phrasings and the masked statements that these make.

A masked statement is a sentence with exactly one "[MASK]", which stands for the whole object, however many word pieces
a model's tokeniser makes of it. A phrasing is a statement of a relation, with [X] for the subject and [Y] for the
object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .checks import brief
from .names import UnknownNameError, listed, shown

SUBJECT, OBJECT, MASK = "[X]", "[Y]", "[MASK]"


def check_texts(owner, where: str, what: str, slots: Sequence[str]) -> None:
    """Make tuples of the evidences and tests of `owner`. Raises ValueError unless each holds each slot once."""
    for kind in ("evidences", "tests"):
        texts = getattr(owner, kind)
        if not isinstance(texts, (tuple, list)) or not all(isinstance(text, str) for text in texts):
            raise ValueError(brief(f"{where}: {kind} must be a tuple of {what}s, got {texts!r}"))
        object.__setattr__(owner, kind, tuple(texts))
        for text in texts:
            if wrong := ", ".join(f"{slot} {text.count(slot)} times" for slot in slots if text.count(slot) != 1):
                needed = " and ".join(slots)
                shown = text if len(text) <= 120 else f"{text[:119]}…"
                raise ValueError(brief(f"{where}: the {what} {shown!r} needs {needed} exactly once; it has {wrong}"))


@dataclass(frozen=True, slots=True)
class Relation:
    """A kind of fact, named by its Wikidata property id, with the phrasings that ask for it.

    `hops` maps a second relation to a phrasing that asks for two steps at once: with P37 it is, for P17, "The official
    language of the country where [X] is located is [Y]." Models are never trained on it.

    Raises ValueError if a phrasing lacks [X] or [Y], or if a test phrasing is also an evidence phrasing.
    """

    id: str
    label: str
    evidences: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    hops: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self):
        check_texts(self, f"relation {self.id}", "phrasing", (SUBJECT, OBJECT))
        if not isinstance(self.hops, Mapping):
            raise ValueError(brief(f"relation {self.id}: hops map a second relation to a phrasing, got {self.hops!r}"))
        for second, text in self.hops.items():
            if not isinstance(text, str) or text.count(SUBJECT) != 1 or text.count(OBJECT) != 1:
                needed = f"the hop to {second} needs {SUBJECT} and {OBJECT} once"
                raise ValueError(brief(f"relation {self.id}: {needed}: {text!r}"))
        if shared := set(self.evidences) & set(self.tests):
            raise ValueError(
                brief(f"relation {self.id}: {shared.pop()!r} is an evidence and a test; tests must be unseen")
            )


def fill(phrasing: str, subject: str) -> str:
    """The masked statement of `phrasing` about `subject`: "[X] is in [Y]." about Peru is "Peru is in [MASK]."."""
    text = phrasing.replace(OBJECT, MASK).replace(SUBJECT, subject)
    first = text.split(" ", 1)[0]
    return text[0].upper() + text[1:] if first == first.lower() else text  # "Cobra is ...", but "iPhone is ..."


class Relations(dict[str, Relation]):
    """Relations by id. The KeyError for an unknown one lists those that are known."""

    def __missing__(self, id: str):
        raise UnknownNameError(brief(f"unknown relation {shown(id)}; known: {listed(self)}"))
