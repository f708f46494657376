"""The edit lab without its widgets: a session of edits, an index of facts, measures, settings and recipes."""

from .session import Session
from .settings import Settings

__all__ = ["Session", "Settings"]
