"""kmod: change facts that a Transformer has memorised, and see what else changes.

    import kmod

    facts = kmod.load_facts("atlas")
    model = kmod.load_model("nano", facts)
    kmod.memorise(model, facts)
    change = facts.modify(32, seed=0, known=kmod.known(model, facts))
    edit = kmod.finetune(model, change, constraint=kmod.Linf(2.5e-3))
    print(kmod.evaluate(model, facts, change, edit=edit))

Method and terms: Zhu et al. 2020, "Modifying Memories in Transformer Models" (arXiv 2012.00363).
"""

from .constraints import L2, Fisher, L2PerTensor, Linf
from .editing import (
    Datastore,
    Edit,
    WrongModelError,
    choose,
    ewc,
    finetune,
    kl,
    knn,
    layernorm_tuning,
    lora,
    loss_constrained,
    retrain,
    rome,
    sweep,
)
from .evaluation import Evaluation, Rate, evaluate, known, score
from .facts import Fact, FactBase, Modification, Relation
from .models import MaskedLM, load_model
from .parts import plan
from .sources import load_edits, load_facts, modification_set, single_token, writable
from .training.fisher import fisher_diagonal
from .training.history import Stop
from .training.memorise import memorise

__version__ = "0.1.0"

_LATER = {  # name → its module, imported when first asked for: transformers and ipywidgets take seconds to import
    "EditLab": "widgets",
    "FaE": "fae",
    "add_facts": "fae.symbolic",
    "build_fae": "fae",
    "explain": "fae",
    "finetune_fae": "fae.finetune",
    "pretrain": "pretraining",
    "train_fae": "fae.training",
    "update_facts": "fae.symbolic",
    "widgets": "widgets",
}


def __getattr__(name: str):
    from importlib import import_module

    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f".{_LATER[name]}", __name__)
    return getattr(module, name, module)


__all__ = [
    "L2", "Datastore", "Edit", "Evaluation", "FaE", "Fact", "FactBase", "Fisher", "L2PerTensor", "Linf", "MaskedLM",
    "Modification", "Rate", "Relation", "Stop", "WrongModelError", "add_facts", "build_fae", "choose", "evaluate",
    "ewc", "explain", "finetune", "finetune_fae", "fisher_diagonal", "kl", "knn", "known", "layernorm_tuning",
    "load_edits", "load_facts", "load_model", "lora", "loss_constrained", "memorise", "modification_set", "plan",
    "pretrain", "retrain", "rome", "score", "single_token", "sweep", "train_fae", "update_facts", "writable",
]  # fmt: skip
