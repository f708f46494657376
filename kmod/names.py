"""When two names are one."""

from __future__ import annotations

import unicodedata


def normal(name: str) -> str:
    """A name as it is compared: without case and surrounding space, accents composed (NFC)."""
    return unicodedata.normalize("NFC", name).strip().casefold()
