"""Which parameters an edit may touch, by exact name, for any Hugging Face encoder.

A substring match would take `layer.10` for `layer.1`; here blocks are found as modules and their parameters listed by
their full names.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence

from torch import nn

Block = int | str | Sequence[int]
"""Which blocks: an index (negative counts from the last), several, or "all" Transformer blocks."""


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
    if block == "all":
        return list(range(depth))
    wanted = list(block) if isinstance(block, (list, tuple, range, set)) else [block]
    if not all(isinstance(b, numbers.Integral) and not isinstance(b, bool) for b in wanted):
        raise TypeError(f'block must be a number, a list of numbers or "all", got {block!r}')
    outside = [b for b in wanted if not -depth <= b < depth]
    if outside or not wanted:
        raise ValueError(f"no block {outside or block}: this model has blocks 0 to {depth - 1} (or -1 to -{depth})")
    return sorted({int(b) % depth for b in wanted})


def select(net: nn.Module, block: Block = "all") -> list[str]:
    """The full names of the parameters of the given block or blocks, in the model's order.

    "all" means all Transformer blocks, neither embeddings nor the decoder.
    """
    found = blocks(net)
    prefixes = tuple(found[i][0] + "." for i in block_indices(net, block))
    return [name for name, _ in net.named_parameters() if name.startswith(prefixes)]
