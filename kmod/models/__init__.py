"""Models: any masked LM behind one small interface; presets to start from random weights."""

from __future__ import annotations

from pathlib import Path

from ..facts import FactBase
from .masked_lm import MaskedLM, evaluating
from .presets import PRESETS, build_net, build_tokenizer

__all__ = ["PRESETS", "MaskedLM", "evaluating", "load_model"]


def load_model(
    name: str | Path,
    facts: FactBase | None = None,
    *,
    seed: int = 0,
    vocab_size: int = 16_384,
    device: str | None = None,
) -> MaskedLM:
    """A masked LM: a preset with random weights, a local folder, or a Hugging Face id.

    fae-nano, fae-mini and fae-base are presets of FaE (`kmod.build_fae`); a folder that holds a FaE gives one.

    Args:
        name: nano, mini, small, medium, base or large (random weights from `seed`, a WordPiece vocabulary of at most
            `vocab_size` built from `facts`); or a folder that holds config.json; or an id such as "bert-base-uncased":
            any architecture that AutoModelForMaskedLM knows. Only safetensors are read and no remote code is run.
        device: "cpu", "cuda", ...; a GPU if there is one, by default.

    Raises ValueError if a preset is asked for without facts, or the weights are not those of a masked LM, and OSError
    if nothing is found.
    """
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name in PRESETS and not Path(name).is_dir():
        if facts is None:
            raise ValueError(f"the preset {name!r} needs facts to build its vocabulary: load_model({name!r}, facts)")
        tokenizer = build_tokenizer(facts, vocab_size)
        return MaskedLM(build_net(name, len(tokenizer), seed), tokenizer).to(device)
    if (Path(name) / "entities.json").is_file():
        from .fae import FaE

        return FaE.load(name).to(device)
    if str(name).startswith("fae-") and facts is not None and not Path(name).is_dir():
        from .fae import build_fae

        return build_fae(str(name).removeprefix("fae-"), facts, seed=seed, vocab_size=vocab_size).to(device)
    known = f"presets: {', '.join(PRESETS)}; or a folder with config.json; or a Hugging Face id"
    if Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        raise ValueError(f"the folder {name} holds no model (no config.json). {known}")
    try:
        # In float32 whatever the file holds: a step within a small ball would be lost in half precision.
        net, report = AutoModelForMaskedLM.from_pretrained(
            name, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except OSError as error:
        raise OSError(f"no model {str(name)!r}: {known}. ({str(error).splitlines()[0]})") from error
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{name} is no masked language model: its weights lack {', '.join(missing[:3])}")
    return MaskedLM(net.eval(), tokenizer).to(device)
