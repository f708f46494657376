"""Checks at the door of everything that takes a model: what is wrong with it, and what to do, in one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ..checks import WrongTypeError
from ..facts import FactBase, Modification

POINTER = b"version https://git-lfs"
JSON = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "model.safetensors.index.json",
)  # fmt: skip


def check_model(model: object, change: object = None, *, learns: bool = False, family: str = "LanguageModel") -> None:
    """Raise TypeError, which says what to give instead, unless `model` is a `LanguageModel` (or its subclass `family`)
    and `change` a `Modification` (or None, where there is none).

    With `learns`, raise ValueError where no gradient can be computed: inside torch.no_grad or torch.inference_mode, or
    for weights that were made there.
    """
    kinds = {kind.__name__ for kind in type(model).__mro__}
    if isinstance(model, (FactBase, Modification)):
        raise WrongTypeError(f"the model comes first, then the facts or the change; got a {type(model).__name__} first")
    if "LanguageModel" not in kinds:
        raise WrongTypeError(f"a kmod.MaskedLM or CausalLM is needed, got {_instead(model)}")
    if family not in kinds:
        raise WrongTypeError(
            f"a {family} is needed, such as load_model('fae-nano', facts), not a {type(model).__name__}"
        )
    if compiled(model.net):
        raise WrongTypeError("model.net is compiled: make a kmod.MaskedLM of the net as it was before torch.compile")
    if change is not None and not isinstance(change, Modification):
        raise WrongTypeError(f"a change is needed, such as facts.modify(32); got a {type(change).__name__}")
    if learns:
        check_gradients(model)


def check_gradients(model) -> None:
    """Raise ValueError where no gradient of `model` can be computed."""
    if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
        where = "torch.inference_mode" if torch.is_inference_mode_enabled() else "torch.no_grad"
        raise ValueError(f"training needs gradients: call this outside {where} (or set_grad_enabled(False))")
    if any(p.is_inference() for p in model.net.parameters()):
        raise ValueError("the model was made inside torch.inference_mode and cannot be trained: load it outside")


def trainable(model) -> dict[str, nn.Parameter]:
    """The parameters of `model.net` that are not frozen, by full name. Raises ValueError if all are."""
    if not (params := {name: p for name, p in model.net.named_parameters() if p.requires_grad}):
        raise ValueError("all parameters are frozen: model.net.requires_grad_(True) frees them")
    return params


def compiled(module: object) -> bool:
    """Whether `module` was compiled by torch.compile, or in place by its method compile."""
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def _instead(model: object) -> str:
    """What `model` is, and what to do with it."""
    if hasattr(model, "_orig_mod"):
        return "a model compiled by torch.compile: give the model that was compiled (compiled._orig_mod)"
    if isinstance(model, nn.Module) and isinstance(getattr(model, "module", None), nn.Module):
        return f"a {type(model).__name__}: give the model inside (.module)"
    if isinstance(model, nn.Module):
        name = type(model).__name__
        return f"the plain {name}: wrap it as kmod.MaskedLM(net, tokenizer), or load its folder by kmod.load_model"
    if isinstance(model, (str, Path)):
        return f"{str(model)[:80]!r}: load it first, by kmod.load_model"
    return f"a {type(model).__name__}: kmod.load_model gives one"


def check_net(net: object, tokenizer: object, needs: Sequence[str]) -> None:
    """Raise TypeError or ValueError unless `net` is a plain Hugging Face model and `tokenizer` has its vocabulary."""
    name = type(net).__name__
    if hasattr(net, "get_vocab") or isinstance(tokenizer, nn.Module):
        raise WrongTypeError("the net comes first, then the tokeniser: kmod.MaskedLM(net, tokenizer)")
    if isinstance(net, nn.Module) and any(kind.__name__ == "LanguageModel" for kind in type(net).__mro__):
        raise WrongTypeError("this is a model of kmod already: use it as it is, or give its net")
    if compiled(net):
        raise WrongTypeError("the net is compiled: give it as it was before torch.compile (compiled._orig_mod)")
    if hasattr(net, "merge_and_unload"):
        raise WrongTypeError(f"the net is a {name} of peft: give net.merge_and_unload()")
    if isinstance(getattr(net, "module", None), nn.Module) and not hasattr(net, "config"):
        raise WrongTypeError(f"the net is wrapped in a {name}: give the model inside (net.module)")
    if not isinstance(net, nn.Module) or not hasattr(net, "config"):
        raise WrongTypeError(f"a Hugging Face model is needed, such as AutoModelForMaskedLM gives; got a {name}")
    if not hasattr(tokenizer, "get_vocab"):
        raise WrongTypeError(f"a tokeniser is needed, such as AutoTokenizer gives; got a {type(tokenizer).__name__}")
    for role in needs:
        if getattr(tokenizer, role, None) is None:
            raise ValueError(f"the tokeniser has no {role}: {name} is not a masked language model")
    ids, rows = set(tokenizer.get_vocab().values()), rows_of(net)
    if len(ids - set(tokenizer.all_special_ids)) < 5:  # what no file gives: special tokens, an empty piece
        raise ValueError(
            f"the tokeniser has {len(ids)} pieces for the {rows or 0:,} rows of the model: its own files are missing "
            "(tokenizer.json, or vocab.txt and the like); save them beside the model by tokenizer.save_pretrained"
        )
    if rows is not None and max(ids) >= rows:
        raise ValueError(
            f"the tokeniser has {max(ids) + 1:,} tokens and the model {rows:,} rows: after adding tokens, call "
            "net.resize_token_embeddings(len(tokenizer)) and train them, or load the tokeniser of this model"
        )


def rows_of(net: nn.Module) -> int | None:
    """How many tokens the embeddings of `net` have rows for; None for a model without such a table."""
    table = net.get_input_embeddings()
    return table.weight.shape[0] if isinstance(table, nn.Module) else None


def check_files(folder: str | Path) -> None:
    """Raise ValueError for a file of a model's folder that is a Git LFS pointer in place of the data, or damaged."""
    for path in sorted(Path(folder).iterdir()):
        if path.suffix in (".json", ".safetensors", ".txt", ".model") and path.is_file():
            with path.open("rb") as file:
                pointer = file.read(len(POINTER)) == POINTER
            if pointer:
                raise ValueError(f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` in its folder")
        if path.name in JSON and path.is_file():
            try:
                json.loads(path.read_bytes())
            except ValueError:  # of JSON, or of its encoding
                raise ValueError(f"{path} is cut short or damaged: copy or download it again") from None
