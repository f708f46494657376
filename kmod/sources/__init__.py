"""Where facts come from."""

from __future__ import annotations

from ..facts import FactBase
from .atlas import atlas
from .bios import bios

__all__ = ["atlas", "bios", "load_facts"]

SOURCES = {
    "atlas": "some 2,200 true, well-known facts, embedded in the package",
    "bios:N": "N generated people with six attributes each (bios:N:SEED for another seed)",
}


def load_facts(name: str = "atlas") -> FactBase:
    """The fact base called `name`: "atlas", or "bios:N" (optionally "bios:N:SEED") for N generated people.

    Raises ValueError that lists the known sources.
    """
    source, _, rest = str(name).partition(":")
    if source == "atlas" and not rest:
        return atlas()
    if source == "bios":
        numbers = rest.split(":")
        if len(numbers) <= 2 and all(part.isdecimal() for part in numbers):
            return bios(*map(int, numbers))
        raise ValueError(f"write generated people as bios:N or bios:N:SEED, such as bios:1000; got {name!r}")
    raise ValueError(
        f"unknown facts {name!r}; known: " + "; ".join(f"{key} ({about})" for key, about in SOURCES.items())
    )
