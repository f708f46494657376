"""How a FaE is edited: its memory, its parameters, or both."""

from __future__ import annotations

from ..editing.methods import Method, method, register
from .fae import FaE
from .finetune import finetune_fae, parts_of
from .symbolic import update_facts

TUNING = "where constraint steps batch_size lr seed"
PLACES = {"places": ("AWT", "all"), "parts": parts_of}
METHODS: dict[str, Method] = {
    "UPDATE": method(update_facts, ""),
    "UPDATE + FTM": method(finetune_fae, TUNING, dial="constraint", **PLACES),
    "FTM": method(finetune_fae, TUNING, dial="constraint", fixed={"symbolic": False}, **PLACES),
}

register(FaE, METHODS)
