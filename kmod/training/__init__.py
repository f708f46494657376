"""Training: the one descent loop, its history, checkpoints, and memorising facts with it."""

from .history import History, Stop
from .loop import Forward, descend, fit, random_batches

__all__ = ["Forward", "History", "Stop", "descend", "fit", "random_batches"]
