"""Ways to change what a model remembers: one file a method, each a function of (model, modification, settings) →
`Edit`."""

from .edit import Edit, WrongModelError
from .ewc import ewc
from .finetune import finetune
from .kl import kl
from .loss_constrained import loss_constrained

__all__ = ["Edit", "WrongModelError", "ewc", "finetune", "kl", "loss_constrained"]
