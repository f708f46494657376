"""Whether to show a progress bar."""

from __future__ import annotations

import os


def silent(progress: str | bool | None) -> bool:
    """Whether to show no progress bar: none is asked for, or TQDM_DISABLE=1, which tqdm's own notebook bar forgets."""
    return not progress or os.environ.get("TQDM_DISABLE") == "1"
