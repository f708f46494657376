"""Ways to change what a model remembers: one file a method, each a function of (model, modification, settings) →
`Edit`."""

from .edit import Edit, WrongModelError
from .finetune import finetune

__all__ = ["Edit", "WrongModelError", "finetune"]
