"""Edits of single facts made beforehand, for a page on which a reader changes a memory without a kernel."""

from .scripts import CHOICES, make
from .view import read, widget

__all__ = ["CHOICES", "make", "read", "widget"]
