"""kmod: change facts that a Transformer has memorised, and see what else changes.

    import kmod

    facts = kmod.load_facts("atlas")
    model = kmod.load_model("nano-atlas")  # a small BERT that has memorised them
    change = facts.modify(32, seed=0, known=kmod.known(model, facts))
    edit = kmod.finetune(model, change, constraint=kmod.Linf(2.5e-3))
    print(kmod.evaluate(model, facts, change, edit=edit))

Method and terms: Zhu et al. 2020, "Modifying Memories in Transformer Models" (arXiv 2012.00363).
"""

import lazy_loader

# Names are imported from where __init__.pyi says when first asked for: torch and transformers take seconds to import.
__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [name for name in _names if name not in ("EditLab", "widgets")]  # they need ipywidgets, which is optional

__version__ = "0.1.0"
