"""Which parameters an edit may change, by full name, for any Hugging Face encoder.

Each parameter belongs to exactly one component: inside a block to attention, mlp or layernorm; outside to embeddings,
decoder_bias, or head, which is all else between the last block and the logits.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import nn

from .checks import WrongTypeError, brief, is_whole

Block = int | str | Sequence[int]
"""Which Transformer blocks: an index (negative counts from the last), several indices, or "all"."""

INSIDE = ("attention", "mlp", "layernorm")
OUTSIDE = ("embeddings", "head", "decoder_bias")


def blocks(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """The Transformer blocks of `net`, first to last, as (name, module): its list of as many modules as it has layers.
    An encoder-decoder has those of its encoder, then those of its decoder.

    A model that uses the same block at all depths (ALBERT) has one block. Raises ValueError if the model has no such
    list, TypeError if `net` is not a Hugging Face model.
    """
    return [(f"{name}.{i}", block) for name in _lists(net) for i, block in enumerate(net.get_submodule(name))]


def unshared(net: nn.Module) -> bool:
    """Whether each block of `net` is run once, one after the other: not in ALBERT, nor in an encoder-decoder."""
    return len(blocks(net)) == _text_config(net).num_hidden_layers


def _text_config(net: nn.Module):
    """The configuration of `net`, or that of its language model, if it has a vision model, too."""
    config = getattr(net, "config", None)
    if hasattr(net, "_orig_mod"):
        raise WrongTypeError("the net is compiled: give it as it was before torch.compile (compiled._orig_mod)")
    if not isinstance(net, nn.Module) or not hasattr(config, "get_text_config"):
        raise WrongTypeError(f"a Hugging Face model is needed, such as model.net; got {type(net).__name__}")
    return config if config.is_encoder_decoder else config.get_text_config()


def _lists(net: nn.Module) -> list[str]:
    """The names of the lists that hold the blocks: one, or two in an encoder-decoder."""
    config = _text_config(net)
    stacks = [getattr(config, "num_hidden_groups", None) or getattr(config, "num_hidden_layers", None)]
    stacks += [config.decoder_layers] if config.is_encoder_decoder else []
    found: list[str] = []
    for depth in stacks:
        lists = [
            name
            for name, module in net.named_modules()
            if isinstance(module, nn.ModuleList) and len(module) == depth and name not in found and "vision" not in name
        ]
        if not lists:
            raise ValueError(
                f"{type(net).__name__} cannot be edited: it has no list of Transformer blocks, one a layer"
            )
        found.append(min(lists, key=lambda name: name.count(".")))  # the outermost: a block may hold such a list, too
    return found


def _prefixes(net: nn.Module) -> dict[str, int]:
    """The beginning of a parameter's name → the block that it belongs to.

    XLM keeps the attentions, norms and MLPs of its blocks in lists of their own, side by side.
    """
    prefixes: dict[str, int] = {}
    for name in _lists(net):
        home, depth = name.rpartition(".")[0], len(net.get_submodule(name))
        beside = [
            f"{home}.{own}".lstrip(".")
            for own, module in net.get_submodule(home).named_children()
            if isinstance(module, nn.ModuleList) and len(module) == depth
        ]
        first = len(set(prefixes.values()))
        prefixes |= {f"{other}.{i}.": first + i for other in beside for i in range(depth)}
    return prefixes


def block_indices(net: nn.Module, block: Block) -> list[int]:
    """`block` as sorted indices from 0. Raises TypeError for no number, ValueError that says which blocks there are."""
    depth = len(blocks(net))
    if isinstance(block, str) and block == "all":
        return list(range(depth))
    wanted = list(block) if isinstance(block, (list, tuple, range, set)) else [block]
    if not all(map(is_whole, wanted)):
        raise WrongTypeError(brief(f'block must be a number, a list of numbers or "all", got {block!r}'))
    outside = [b for b in wanted if not -depth <= b < depth]
    if outside or not wanted:
        raise ValueError(f"no block {outside or block}: this model has blocks 0 to {depth - 1} (or -1 to -{depth})")
    return sorted({int(b) % depth for b in wanted})


def layout(net: nn.Module) -> dict[str, tuple[int | None, str]]:
    """Full parameter name → (its block or None, its component), in the model's order.

    Components are recognised by what the model families share. A norm has "norm" in its name or its class, attention is
    called attention or attn (or fourier, in FNet), and the rest of a block is its MLP. Outside the blocks, embeddings
    are the tables and what the model's base holds before its blocks. A decoder matrix tied to the word embeddings is
    the same parameter as they are, and counts as embeddings. So do the memories of a FaE, which feed its blocks as
    embeddings do.
    """
    prefixes, special = _prefixes(net), _special(net)
    tables = {id(module.weight) for module in net.modules() if isinstance(module, nn.Embedding)}
    vocabulary = net.get_input_embeddings().weight.shape[0]
    base = f"{net.base_model_prefix}." if net.base_model is not net else None
    places: dict[str, tuple[int | None, str]] = {}
    apart = len(prefixes) > len(set(prefixes.values()))
    below = True  # until the first block is met
    for name, parameter in net.named_parameters():
        prefix = next((p for p in prefixes if name.startswith(p)), "")
        block, words = prefixes.get(prefix), name.lower().split(".")
        below = below and block is None
        if (place := next((place for start, place in special.items() if name.startswith(start)), None)) is not None:
            block, component = place
        elif block is not None:
            own = words[prefix.count(".") - (2 if apart else 0) :]  # apart, the list's name says what it holds
            norm = "norm" in type(net.get_submodule(name.rpartition(".")[0])).__name__.lower()
            if norm or any("norm" in word for word in own):
                component = "layernorm"
            elif any("attention" in word or "attn" in word or word == "fourier" for word in own):
                component = "attention"
            else:
                component = "mlp"
        elif words[-1] == "bias" and parameter.shape == (vocabulary,):
            component = "decoder_bias"
        elif (
            id(parameter) in tables
            or any("embedding" in w or w.startswith("embed_") or "_memory" in w for w in words)
            or (below and base and name.startswith(base))
        ):
            component = "embeddings"
        else:
            component = "head"
        places[name] = (block, component)
    return places


def _special(net: nn.Module) -> dict[str, tuple[int | None, str]]:
    """Where parameters belong whose names and order do not tell: the beginning of a name → block and component."""
    found: dict[str, tuple[int | None, str]] = {}
    for name, module in net.named_modules():
        if type(module).__name__ == "DebertaV2Encoder":  # its norm is that of the relative positions
            found |= {f"{name}.LayerNorm.": (None, "embeddings"), f"{name}.conv.LayerNorm.": (0, "layernorm")}
            found |= {f"{name}.conv.": (0, "mlp")}  # it runs once, on what the first block gives
    return found


@dataclass(frozen=True)
class Plan:
    """Which parameters an edit will change; `print(plan)` lists them.

    `model` is the class of the model, `depth` its number of blocks and `size` its number of parameters. `tensors` are
    (full name, block or None, component, number of parameters) of those to change, in the model's order.
    """

    model: str
    depth: int
    size: int
    tensors: tuple[tuple[str, int | None, str, int], ...]

    @property
    def names(self) -> list[str]:
        """The full names of the parameters to change."""
        return [name for name, *_ in self.tensors]

    @property
    def parameters(self) -> int:
        """How many numbers change."""
        return sum(n for *_, n in self.tensors)

    @property
    def blocks(self) -> list[int]:
        """The blocks that change, wholly or in part."""
        return sorted({block for _, block, *_ in self.tensors if block is not None})

    @property
    def lowest(self) -> int | None:
        """Lowest edited block; the states entering it do not depend on the edit, so they can be cached.

        `depth` if only parameters above the blocks change; None if embeddings do.
        """
        if any(component == "embeddings" for _, _, component, _ in self.tensors):
            return None
        return min(self.blocks, default=self.depth)

    def __str__(self) -> str:
        lines = [f"of {self.model} ({self.depth} block{'s' * (self.depth > 1)}, {self.size:,} parameters) will change:"]
        for component in (*INSIDE, *OUTSIDE):
            rows = [(name, block, n) for name, block, c, n in self.tensors if c == component]
            if rows:
                inside = sorted({block for _, block, _ in rows if block is not None})
                where = f" of block{'s' * (len(inside) > 1)} {_ranges(inside)}" if inside else ""
                count = f"{len(rows)} tensor{'s' * (len(rows) > 1)}"
                lines.append(f"  {component + where:32} {count:>12} {sum(n for *_, n in rows):>14,} parameters")
        share = f"{100 * self.parameters / self.size:.3g} % of the model"
        count = f"{len(self.tensors)} tensor{'s' * (len(self.tensors) > 1)}"
        lines.append(f"  {'in all':32} {count:>12} {self.parameters:>14,} parameters, {share}")
        return "\n".join(lines)


def plan(net: nn.Module, block: Block = "all", component: str | Sequence[str] | None = None) -> Plan:
    """Which parameters of `net` (the Hugging Face model, such as `model.net`) an edit with these settings changes.

    Args:
        block: a Transformer block by number (negative from the last), several, or "all".
        component: None means whole blocks. Otherwise one or several of "attention", "mlp", "layernorm" (of the chosen
            blocks), "embeddings", "head", "decoder_bias" (outside the blocks), "everything", and full names of
            parameters.

    Raises TypeError or ValueError, which lists what there is, for an unknown block or component. Raises ValueError if
    `block` would have no effect, because every component lies outside the blocks or is the full name of a parameter.
    """
    places = layout(net)
    inside = block_indices(net, block)
    present = {c for _, c in places.values()}
    if component is None:
        component = [c for c in INSIDE if c in present]
    wanted = [component] if isinstance(component, str) else component
    if not isinstance(wanted, (list, tuple, set)) or not wanted or not all(isinstance(name, str) for name in wanted):
        raise WrongTypeError(brief(f"component must be a name, a list of names, or None; got {component!r}"))
    for name in wanted:
        if name not in (*INSIDE, *OUTSIDE, "everything") and name not in places:
            near = difflib.get_close_matches(name, places, 1, 0) or list(places)[:1]
            raise ValueError(
                brief(
                    f"no component {name!r}; known: {', '.join((*INSIDE, *OUTSIDE))}, everything, "
                    f"or the full name of a parameter, such as {near[0]}"
                )
            )
        if name in (*INSIDE, *OUTSIDE) and name not in present:
            raise ValueError(f"{type(net).__name__} has no parameters called {name}")
    if not set(wanted) & set(INSIDE) and not (isinstance(block, str) and block == "all"):
        raise ValueError(
            brief(f"block has no effect on {', '.join(wanted)}: leave block out, or add {'/'.join(INSIDE)}")
        )

    def chosen(name: str) -> bool:
        at, own = places[name]
        return "everything" in wanted or name in wanted or (own in wanted and (at is None or at in inside))

    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    tensors = tuple((name, *places[name], sizes[name]) for name in places if chosen(name))
    return Plan(type(net).__name__, len(blocks(net)), sum(sizes.values()), tensors)


def select(net: nn.Module, block: Block = "all", component: str | Sequence[str] | None = None) -> list[str]:
    """The full names of the parameters that `plan` chooses, in the model's order: by default, of all blocks."""
    return plan(net, block, component).names


def linear_layers(net: nn.Module, names: Iterable[str]) -> dict[str, nn.Module]:
    """Those of the parameters `names` that are a linear layer's own → the layer: a `Linear`, or GPT-2's `Conv1D`."""
    modules = dict(net.named_modules())
    owners = {name: modules[name.rpartition(".")[0]] for name in names}
    return {name: layer for name, layer in owners.items() if is_linear(layer)}


def is_linear(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or turned(layer)


def turned(layer: nn.Module) -> bool:
    """Whether it is a linear layer as GPT-2 has it, whose weight is (in, out) and not (out, in)."""
    return type(layer).__name__ == "Conv1D"


def _ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] as "0 to 2, 5"."""
    groups = groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])  # equal in a run of successive numbers
    runs = [[n for _, n in group] for _, group in groups]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
