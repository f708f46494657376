"""The machine that runs are done on: its hardware, the code, its memory and whether it ran out."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import torch

from ..training.flops import device_name
from ..versions import commit


class Memory:
    """As a context: an error for lack of memory ends the block quietly and sets `full`; other errors pass.

    The traceback keeps tensors alive; after the block it is gone, and memory can be released."""

    full = False

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, kind: type | None, error: Exception | None, traceback: object) -> bool:
        # Driver, cuBLAS, cuDNN and the allocator of a CPU have no exception of their own.
        phrases = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
        named = isinstance(error, RuntimeError) and any(text in str(error) for text in phrases)
        self.full = named or isinstance(error, (torch.OutOfMemoryError, MemoryError))
        return self.full


@cache
def code() -> str | None:
    """The commit that this process began with: a later commit changes the files, not the code that runs."""
    return commit()


@contextmanager
def tensor_cores() -> Iterator[None]:
    """Inside, a GPU multiplies float32 matrices by its tensor cores (TF32, ten bits of mantissa): several times
    quicker. Afterwards the process has the precision it had."""
    before = torch.get_float32_matmul_precision()
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def hardware() -> dict:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return {
        "device": device_name(device), "cores": os.cpu_count(), "memory_gib": memory, "system": platform.system(),
        "matmul": torch.get_float32_matmul_precision(),
    }  # fmt: skip


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():  # Linux: the peak is counted anew
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> int:
    """Peak memory in bytes: of the device, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
