"""EaE and FaE: a BERT with a memory of entities between its blocks and a memory of facts at its top.

Entities as Experts (Févry et al. 2020, arXiv 2004.07202) and Facts as Experts (Verga et al. 2020, arXiv 2007.00849).
"""

from .config import FaEConfig
from .entities import Names, Rows
from .explain import Explanation, explain
from .fae import FaE, build_fae
from .methods import METHODS
from .model import FaEForMaskedLM, FaEOutput

__all__ = [
    "METHODS", "Explanation", "FaE", "FaEConfig", "FaEForMaskedLM", "FaEOutput", "Names", "Rows", "build", "build_fae",
    "explain", "load",
]  # fmt: skip


build, load = build_fae, FaE.load  # what `kmod.load_model` calls
