"""How a FaE is edited: its memory, its parameters, or both."""

from __future__ import annotations

from ..editing.methods import TUNING, Method, register
from .fae import FaE
from .finetune import finetune_fae, parts_of
from .symbolic import update_facts

PLACED = {"takes": TUNING - {"block"} | {"where"}, "dial": "constraint", "places": ("AWT", "all"), "parts": parts_of}
METHODS: dict[str, Method] = {
    "UPDATE": Method(update_facts),
    "UPDATE + FTM": Method(finetune_fae, **PLACED),
    "FTM": Method(finetune_fae, fixed={"symbolic": False}, **PLACED),
}

register(FaE, METHODS)
