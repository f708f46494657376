"""Ways to change what a model remembers: one file a method, each a function of (model, modification, settings) →
`Edit`."""

from .edit import Edit, WrongModelError
from .finetune import finetune
from .finetune_fae import finetune_fae
from .symbolic import add_facts, update_facts

__all__ = ["Edit", "WrongModelError", "add_facts", "finetune", "finetune_fae", "update_facts"]
