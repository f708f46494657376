"""Ways to change what a model remembers: one file a method, each a function of (model, modification, settings) that
returns an `Edit`.

`knn` changes no weight; it returns a `Datastore` that is used like an edit. `sweep` makes many edits with shared work,
`sequence` edits one after the other.
"""

from .alphaedit import alphaedit
from .choose import choose
from .edit import Edit, WrongModelError
from .ewc import ewc
from .finetune import finetune
from .ft_l import ft_l
from .kl import kl
from .knn import Datastore, knn
from .layernorm import layernorm_tuning
from .lora import lora
from .loss_constrained import loss_constrained
from .low_curvature import low_curvature
from .memit import memit
from .retrain import retrain
from .rome import rome
from .sequence import EditSequence, sequence
from .sweep import sweep

__all__ = [
    "Datastore", "Edit", "EditSequence", "WrongModelError", "alphaedit", "choose", "ewc", "finetune", "ft_l", "kl",
    "knn", "layernorm_tuning", "lora", "loss_constrained", "low_curvature", "memit", "retrain", "rome", "sequence",
    "sweep",
]  # fmt: skip
