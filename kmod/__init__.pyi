# What `kmod` offers, and where it lives: read by __init__.py, editors and type checkers.

from . import widgets
from .constraints import KFAC, L2, Fisher, L2PerTensor, Linf
from .editing import (
    Datastore,
    Edit,
    EditSequence,
    WrongModelError,
    alphaedit,
    choose,
    ewc,
    finetune,
    ft_l,
    kl,
    knn,
    layernorm_tuning,
    lora,
    loss_constrained,
    low_curvature,
    memit,
    retrain,
    rome,
    sequence,
    sweep,
)
from .evaluation import Evaluation, Rate, evaluate, known, score
from .facts import Fact, FactBase, Modification, Relation
from .fae import FaE, build_fae, explain
from .fae.finetune import finetune_fae
from .fae.symbolic import add_facts, update_facts
from .fae.training import train_fae
from .models import CausalLM, LanguageModel, MaskedLM, left_to_right, load_model
from .parts import plan
from .pretraining import pretrain
from .probes import Perplexity, Probe, pseudo_perplexity
from .questions import Question, portability
from .sources import load_edits, load_facts, load_probes, modification_set, single_token, writable
from .training.fisher import fisher_diagonal
from .training.history import Stop
from .training.kfac import kfac_factors
from .training.memorise import memorise
from .widgets import EditLab

__all__ = [
    "KFAC", "L2", "CausalLM", "Datastore", "Edit", "EditLab", "EditSequence", "Evaluation", "FaE", "Fact",
    "FactBase", "Fisher", "L2PerTensor", "LanguageModel", "Linf", "MaskedLM", "Modification", "Perplexity", "Probe",
    "Question", "Rate", "Relation", "Stop", "WrongModelError", "add_facts", "alphaedit", "build_fae", "choose",
    "evaluate", "ewc", "explain", "finetune", "finetune_fae", "fisher_diagonal", "ft_l", "kfac_factors", "kl",
    "knn", "known", "layernorm_tuning", "left_to_right", "load_edits", "load_facts", "load_model", "load_probes",
    "lora", "loss_constrained", "low_curvature", "memit", "memorise", "modification_set", "plan", "portability",
    "pretrain", "pseudo_perplexity", "retrain", "rome", "score", "sequence", "single_token", "sweep", "train_fae",
    "update_facts", "widgets", "writable",
]  # fmt: skip
