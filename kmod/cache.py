"""Where results of long computations and downloads are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """$KMOD_CACHE, or ~/.cache/kmod."""
    return Path(os.environ.get("KMOD_CACHE") or Path.home() / ".cache" / "kmod")
