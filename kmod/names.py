"""When two names are one, and what to say of a name that is not known."""

from __future__ import annotations

import unicodedata


class UnknownNameError(KeyError):
    """A name that is not known; the message lists those that are. Unlike other KeyErrors it prints without quotes."""

    def __str__(self) -> str:
        return str(self.args[0])


def normal(name: str) -> str:
    """A name as it is compared: without case and surrounding space, accents composed (NFC)."""
    return unicodedata.normalize("NFC", name).strip().casefold()
