"""Edits of single facts made beforehand, for a page on which a reader changes a memory without a kernel."""

from .make import CHOICES, make
from .widget import read, widget

__all__ = ["CHOICES", "make", "read", "widget"]
