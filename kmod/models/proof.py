"""What a model must show before kmod takes a short cut with it: that the short cut gives what the whole model gives.

Three short cuts save most of the time. Each holds for most families of models, and not for all:

- only the slots pass through the head;
- statements of different lengths are padded and share a batch;
- hidden states below the lowest edited block are kept (`activations`).

A few statements of random tokens go both ways, once for each model, and for kept states once for each block. Where the
answers differ beyond rounding, or the short cut fails, the model takes the long way. One forward pass costs
milliseconds, and no result of a model that passes depends on it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..parts import blocks, layout
from .statements import Batch, Examples

ROUNDING = 1000  # how many times the precision of a type two ways may differ, relative to the largest logit


class CannotEditError(ValueError):
    """A model that kmod cannot edit, and why."""

    def __init__(self, net: nn.Module, reason: str):
        super().__init__(f"{type(net).__name__} cannot be edited: {reason}"[:300])


def check(model) -> None:
    """Set `model.head` to None if its slots cannot pass the head alone, and `model.apart` if it sees padding, each with
    a warning. Raises CannotEditError, with the reason, for a model that cannot be edited."""
    net, name = model.net, type(model.net).__name__
    blocks(net)  # raises ValueError where there are none
    examples = model.probes()
    batch = examples.collate(np.arange(len(examples)), model.device)
    ones = [examples.collate(np.array([i]), model.device) for i in range(len(examples))]
    with _at_rest(model):
        try:
            alone = _alone(net, ones)
        except (CannotEditError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            tokens = " or ".join(map(str, sorted(set(examples.lengths.tolist()))))
            reason = f"its own code fails on statements of {tokens} tokens: {' '.join(str(error).split())}"
            raise CannotEditError(net, reason) from error

    def slots() -> Tensor:
        return model(batch.input_ids, batch.attention_mask, batch.slots)

    with _at_rest(model), torch.no_grad():
        whole = _whole(net, batch)
        if model.head and not _agrees(slots, whole):
            model.head = None
            _say(f"{name}: all tokens pass the head, as slots alone give other logits; right, but slower")
        if not agree(whole, alone):
            model.apart = True
            _say(f"{name} sees padding: statements of different lengths are run apart; right, but slower")
            if not _agrees(slots, alone):
                raise CannotEditError(net, "an answer depends on what else is asked with it")


def _alone(net: nn.Module, batches: list[Batch]) -> Tensor:
    """The logits of the slots of `batches`. Raises CannotEditError if they are not finite, if hooks do not see the
    blocks, or if the blocks' weights get no gradient."""
    ends = dict(blocks(net)[i] for i in (0, -1))
    ours = {f"{at}.{own}": p.detach() for at, block in ends.items() for own, p in block.named_parameters()}
    ours = {name: theta.requires_grad_() for name, theta in ours.items()}
    seen: list[int] = []
    with blocks(net)[-1][1].register_forward_hook(lambda *_: seen.append(1)), torch.enable_grad():
        logits = torch.cat([_whole(net, batch, ours) for batch in batches])
        if not logits.isfinite().all():
            raise CannotEditError(net, "its logits are not finite; do its weights hold NaN or infinity?")
        if not seen:
            raise CannotEditError(net, "its blocks are run past their hooks, so that their states cannot be seen")
        if not logits.requires_grad:  # inside torch.inference_mode, where answers are all that can be asked for
            return logits
        slopes = torch.autograd.grad(logits.square().mean(), list(ours.values()), allow_unused=True)
    reached = {n for n, slope in zip(ours, slopes, strict=True) if slope is not None and 0 < slope.norm() < math.inf}
    for at in ends:
        if not any(name.startswith(f"{at}.") for name in reached):
            raise CannotEditError(net, f"no gradient reaches the weights of {at}")
    return logits.detach()


def _say(text: str) -> None:
    warnings.warn(text, stacklevel=5)  # where the user asked for the model


def holds(model, block: int, keeping: Callable[[Examples], object], above: object) -> bool:
    """Whether states kept below `block` give the logits of the whole model, for any change of the parameters that
    `layout` finds at or above it. `keeping` makes the `Activations` of statements; `above` is their `upper`."""
    from .language_model import LanguageModel

    if type(model).forward is not LanguageModel.forward:  # a family of kmod's own, which its own tests prove
        return True
    if (key := (type(model.net), block, above is not None)) not in model.proven:
        model.proven[key] = _same_from(model, block, keeping)
    return model.proven[key]


@torch.no_grad()
def _same_from(model, block: int, keeping: Callable) -> bool:
    examples = model.probes()
    every, few = np.arange(len(examples)), np.arange(2)
    batch = examples.collate(every, model.device)
    now = {name: p.detach() for name, p in model.net.named_parameters()}
    edited = now | {
        name: _changed(now[name])
        for name, (at, component) in layout(model.net).items()
        if (at is not None and at >= block) or component in ("head", "decoder_bias")
    }
    with _at_rest(model):
        kept = keeping(examples)

        def from_kept() -> Tensor:
            kept.logits(now, few, examples.collate(few, model.device))  # some are kept from a batch of their own
            return kept.logits(edited, every, batch)

        named = {f"net.{name}": w for name, w in edited.items()}
        whole = functional_call(model, named, (batch.input_ids, batch.attention_mask, batch.slots))
        return _agrees(from_kept, whole)


def _changed(theta: Tensor) -> Tensor:
    """Another tensor near `theta`. Neither the same for all elements nor a factor, which a norm would take away."""
    if not theta.numel():
        return theta
    size = theta.abs().mean().clamp_min(0.01)
    return theta + size * torch.linspace(-0.5, 0.5, theta.shape[-1] if theta.ndim else 1).to(theta).view(
        theta.shape[-1:]
    )


def _agrees(short: Callable[[], Tensor], long: Tensor) -> bool:
    """Whether the short cut `short` gives `long`."""
    try:
        return agree(short(), long)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # the family's own code, on states that it does not expect
        return False


def agree(a: Tensor, b: Tensor) -> bool:
    """Whether logits `a` and `b` are the same up to rounding."""
    if a.shape != b.shape or not (a.isfinite().all() and b.isfinite().all()):
        return False
    rounding = min(ROUNDING * torch.finfo(b.dtype).eps, 0.1)
    return bool((a - b).abs().max() <= rounding * b.abs().max())


def _whole(net: nn.Module, batch: Batch, weights: Mapping[str, Tensor] | None = None) -> Tensor:
    """Logits of the slots by the model's own code alone, under `weights` in place of its own."""
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    return functional_call(net, dict(weights or {}), kwargs=inputs).logits[batch.slots]


@contextmanager
def _at_rest(model) -> Iterator[None]:
    """Inside, the model is in evaluation mode, random numbers are drawn from a state of their own, and products are
    computed in full precision: that of TF32 would hide a difference, or look like one."""
    from .language_model import evaluating

    devices, precision = [model.device] if model.device.type == "cuda" else [], torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.random.fork_rng(devices), evaluating(model):
            torch.manual_seed(0)
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
