"""Which parameters an edit may touch, by exact name, for any Hugging Face encoder.

A substring match would take `layer.10` for `layer.1`; here blocks are found as modules, their parameters listed by
their full names, and each parameter belongs to exactly one component:

    inside a block    attention, mlp, layernorm
    outside           embeddings, decoder_bias, and head: what else lies between the last block and the logits
"""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

Block = int | str | Sequence[int]
"""Which blocks: an index (negative counts from the last), several, or "all" Transformer blocks."""

INSIDE = ("attention", "mlp", "layernorm")
OUTSIDE = ("embeddings", "head", "decoder_bias")


def blocks(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """The Transformer blocks of `net`, first to last, as (name, module): the list of modules as long as the model is
    deep.

    A model that shares one block's weights over all depths (ALBERT) has that one block. Raises ValueError if the model
    has no such list.
    """
    config = net.config
    depth = getattr(config, "num_hidden_groups", None) or config.num_hidden_layers
    lists = [(name, m) for name, m in net.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if not lists:
        raise ValueError(f"{type(net).__name__}: no list of {depth} Transformer blocks found")
    name, found = min(lists, key=lambda item: item[0].count("."))  # the outermost, should a block hold one itself
    return [(f"{name}.{i}", block) for i, block in enumerate(found)]


def block_indices(net: nn.Module, block: Block) -> list[int]:
    """`block` as sorted indices from 0. Raises TypeError or ValueError that names the blocks there are."""
    depth = len(blocks(net))
    if isinstance(block, str) and block == "all":
        return list(range(depth))
    wanted = list(block) if isinstance(block, (list, tuple, range, set)) else [block]
    if not all(isinstance(b, numbers.Integral) and not isinstance(b, bool) for b in wanted):
        raise TypeError(f'block must be a number, a list of numbers or "all", got {block!r}')
    outside = [b for b in wanted if not -depth <= b < depth]
    if outside or not wanted:
        raise ValueError(f"no block {outside or block}: this model has blocks 0 to {depth - 1} (or -1 to -{depth})")
    return sorted({int(b) % depth for b in wanted})


def layout(net: nn.Module) -> dict[str, tuple[int | None, str]]:
    """Full parameter name → (its block or None, its component), in the model's order.

    Components are told by the modules' names within the block or model, which the families have in common: a norm is
    called so, attention is called attention or attn (FNet's Fourier transform stands in its place), and what remains of
    a block is its MLP. A decoder matrix tied to the word embeddings is one parameter with them: embeddings. So are the
    memories of a FaE, which feed its blocks as embeddings do.
    """
    places = [(f"{name}.", i) for i, (name, _) in enumerate(blocks(net))]
    tables = {id(module.weight) for module in net.modules() if isinstance(module, nn.Embedding)}
    vocabulary = net.get_input_embeddings().weight.shape[0]
    found: dict[str, tuple[int | None, str]] = {}
    for name, parameter in net.named_parameters():
        prefix, block = next(((p, i) for p, i in places if name.startswith(p)), ("", None))
        words = name[len(prefix) :].lower().split(".")
        if block is not None:
            if any("norm" in word for word in words):
                component = "layernorm"
            elif any("attention" in word or "attn" in word or word == "fourier" for word in words):
                component = "attention"
            else:
                component = "mlp"
        elif words[-1] == "bias" and parameter.shape == (vocabulary,):
            component = "decoder_bias"
        elif id(parameter) in tables or any("embeddings" in w or "embedding_" in w or "_memory" in w for w in words):
            component = "embeddings"
        else:
            component = "head"
        found[name] = (block, component)
    return found


@dataclass(frozen=True)
class Plan:
    """What an edit will change: `print(plan)` lists it.

    `tensors` are (full name, block or None, component, number of parameters), in the model's order; `size` is the
    number of parameters of the whole model.
    """

    model: str
    depth: int
    size: int
    tensors: tuple[tuple[str, int | None, str, int], ...]

    @property
    def names(self) -> list[str]:
        return [name for name, *_ in self.tensors]

    @property
    def parameters(self) -> int:
        return sum(n for *_, n in self.tensors)

    @property
    def blocks(self) -> list[int]:
        """The blocks that change, wholly or in part."""
        return sorted({block for _, block, *_ in self.tensors if block is not None})

    @property
    def lowest(self) -> int | None:
        """The block that the same hidden states enter whatever these parameters are (the number of blocks: the head);
        None if the embeddings are among them."""
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
    """Which parameters of `net` (the plain Hugging Face model) an edit of these settings changes.

    Args:
        block: a Transformer block by number (negative from the last), several, or "all" of them.
        component: None takes the blocks whole. Otherwise one or several of "attention", "mlp", "layernorm" (of
            the chosen blocks), "embeddings", "head", "decoder_bias" (outside the blocks), "everything", and full
            names of parameters.

    Raises TypeError or ValueError for a block or name that is not there, and lists those that are; ValueError if
    `block` would have no effect, because all that is named lies outside the blocks or is named in full.
    """
    places = layout(net)
    inside = block_indices(net, block)
    present = {c for _, c in places.values()}
    if component is None:
        component = [c for c in INSIDE if c in present]
    wanted = [component] if isinstance(component, str) else component
    if not isinstance(wanted, (list, tuple, set)) or not wanted or not all(isinstance(name, str) for name in wanted):
        raise TypeError(f"component must be a name, or a list of names, or None; got {component!r}")
    for name in wanted:
        if name not in (*INSIDE, *OUTSIDE, "everything") and name not in places:
            near = difflib.get_close_matches(name, places, 1, 0) or list(places)[:1]
            raise ValueError(
                f"no component {name!r}; known: {', '.join((*INSIDE, *OUTSIDE))}, everything, "
                f"or the full name of a parameter, such as {near[0]}"
            )
        if name in (*INSIDE, *OUTSIDE) and name not in present:
            raise ValueError(f"{type(net).__name__} has no parameters called {name}")
    if not set(wanted) & set(INSIDE) and not (isinstance(block, str) and block == "all"):
        raise ValueError(
            f"{', '.join(wanted)}: not chosen by block; leave block out, or add one of {', '.join(INSIDE)}"
        )

    def chosen(name: str) -> bool:
        at, what = places[name]
        return "everything" in wanted or name in wanted or (what in wanted and (at is None or at in inside))

    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    return Plan(
        type(net).__name__,
        len(blocks(net)),
        sum(sizes.values()),
        tuple((name, *places[name], sizes[name]) for name in places if chosen(name)),
    )


def select(net: nn.Module, block: Block = "all", component: str | Sequence[str] | None = None) -> list[str]:
    """The full names of the parameters that `plan` chooses, in the model's order.

    `select(net)` means all Transformer blocks, neither embeddings nor the head.
    """
    return plan(net, block, component).names


def _ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] as "0 to 2, 5"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
