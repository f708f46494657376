"""Where results of long computations and downloads are kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def cache_dir() -> Path:
    """$KMOD_CACHE, or ~/.cache/kmod."""
    return Path(os.environ.get("KMOD_CACHE") or Path.home() / ".cache" / "kmod")


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A path to write to. What is written there appears at `path` when the block ends, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".kmod-") as folder:
        yield (draft := Path(folder) / path.name)
        os.replace(draft, path)


def save_whole(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that appears whole or not at all. Raises OSError if it cannot be written."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with appearing(path) as draft:
        try:
            save_file(dict(tensors), draft, dict(metadata))
        except SafetensorError as error:  # a full disk, among others
            raise OSError(str(error)) from error
