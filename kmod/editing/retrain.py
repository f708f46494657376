"""Retraining: correct the training set and train from the start on F′ = (F∖S) ∪ M. The costly upper reference.

Source: Zhu et al. 2020 (arXiv 2012.00363), section on naive approaches ("retraining with modified training set").
"""

from __future__ import annotations

import copy

from ..facts import Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel
from ..training.memorise import memorise
from .common import record
from .edit import Edit


def retrain(model: LanguageModel, change: Modification, *, start: LanguageModel, **settings) -> Edit:
    """Train a copy of `start` on F′ with `memorise`, and return the edit that makes `model` equal to it; neither is
    changed.

    Args:
        model: the model that memorised F: the edit is applied to it, like any other.
        start: the model as it was before it memorised, such as `load_model("nano", facts)`; new objects must be in its
            vocabulary.
        settings: those of `memorise`; give the same as for F. The result is kept on disk as there.

    Raises ValueError if `start` is not of the shape of `model`, or settings are wrong, before any training.
    """
    for of in (model, start):
        check_model(of, change, learns=True)
    shapes = [{name: p.shape for name, p in m.net.named_parameters()} for m in (model, start)]
    if shapes[0] != shapes[1] or model.tokenizer.get_vocab() != start.tokenizer.get_vocab():
        raise ValueError("`start` is not the model that `model` was trained from: its shapes or vocabulary differ")
    fresh = copy.deepcopy(start)
    reached = memorise(fresh, change.result(), **settings)
    settings = {name: value for name, value in settings.items() if name not in ("cache", "progress")}
    reached = {"steps": reached.steps, "seconds": reached.seconds, "stopped": reached.stopped}
    made = record("retrain", change, **reached | settings)
    return Edit.between(model, {name: p.detach() for name, p in fresh.net.named_parameters()}, made)
