"""Training: the one descent loop, what it notes, how it is kept on disk, and memorising facts with it."""

from .history import History, Stop
from .loop import Forward, fit, random_batches

__all__ = ["Forward", "History", "Stop", "fit", "random_batches"]
