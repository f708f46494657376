"""How a FaE is edited: its memory, its parameters, or both."""

from __future__ import annotations

from ..editing.methods import Method, method, register
from .fae import FaE
from .finetune import finetune_fae
from .symbolic import update_facts

TUNING = "where constraint steps batch_size lr seed"
METHODS: dict[str, Method] = {
    "UPDATE": method(update_facts, ""),
    "UPDATE + FTM": method(finetune_fae, TUNING, dial="constraint"),
    "FTM": method(finetune_fae, TUNING, dial="constraint", fixed={"symbolic": False}),
}

register(FaE, METHODS)
