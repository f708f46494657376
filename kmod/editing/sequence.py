"""Edits one after the other: each portion of facts is learnt by the model that has learnt those before it.

One portion says little about the hundredth: the weights drift, and what was learnt first may be lost. A ball around θ₀
bounds the drift of all portions together. A ball around the weights at the start of a portion bounds that step alone:
n portions may go as far as n·δ. Sources: Zhu et al. 2020 (arXiv 2012.00363) for the ball around θ₀; Gupta et al. 2025
(ENCORE, arXiv 2502.01636) for the drift of the norm in sequences of edits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from tqdm.auto import tqdm

from ..checks import brief, check_whole
from ..constraints import Around, Constraint
from ..evaluation import Evaluation, evaluate, score
from ..facts import Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel
from ..probes import pseudo_perplexity
from ..progress import silent
from .edit import Edit
from .finetune import finetune

ANCHORS = ("start", "last")


@dataclass(frozen=True, eq=False)
class Portion:
    """One portion of a sequence, and the model after it.

    Args:
        edit: the portion's own edit, which applies to the model with all portions before it; None if it was not kept.
        change: all facts changed so far, each with its latest object.
        result: `evaluate` of all edits so far as one: A_M of all facts changed so far, A_F∖S of the others; None where
            it was not measured.
        linf, l2: the norms of θ − θ₀ over all that was touched so far.
        seconds: of the editing.
    """

    edit: Edit | None
    change: Modification
    result: Evaluation | None
    linf: float
    l2: float
    seconds: float


@dataclass(frozen=True, eq=False)
class EditSequence:
    """A sequence of edits of one model, in order. `edit` is all of them as one."""

    portions: list[Portion]
    edit: Edit
    changes: list[Modification]
    settings: dict = field(default_factory=dict)

    def rows(self) -> list[dict]:
        """One row for each portion that was measured: the portion's number (from 1), how many facts are changed so far,
        norms, seconds, and `Evaluation.record`."""
        return [
            {"portion": number, "edited": len(portion.change), "linf": portion.linf, "l2": portion.l2}
            | {"seconds": portion.seconds}
            | portion.result.record()
            for number, portion in enumerate(self.portions, 1)
            if portion.result is not None
        ]

    def without(self, model: LanguageModel, number: int) -> EditSequence:
        """The sequence without its portion of this number (from 1). Those before it stay as they are; those after it
        were trained on a model with it, so they are trained anew, with the same settings. `model` is the model without
        any of the edits, and is not changed.

        Raises ValueError for a portion that there is not, or the only one, and if the portions' edits were not kept.
        """
        if not 1 <= check_whole("number", number) <= len(self.portions):
            raise ValueError(f"there is no portion {number}: this sequence has 1 to {len(self.portions)}")
        if not self.settings["keep"]:
            raise ValueError("the portions' own edits were not kept: make the sequence with keep=True")
        changes = [change for i, change in enumerate(self.changes, 1) if i != number]
        return _run(model, changes, self.portions[: number - 1], **self.settings)

    def __str__(self) -> str:
        lines = [f"{'facts edited':>12}  {'A_M':>7}  {'A_F∖S':>7}  {'‖θ − θ₀‖₂':>9}  {'‖θ − θ₀‖∞':>9}"]
        for row in self.rows():
            shares = f"{100 * row['A_M']:6.1f}%  {100 * row['A_FS']:6.1f}%"
            lines.append(f"{row['edited']:>12,}  {shares}  {row['l2']:>9.3g}  {row['linf']:>9.3g}")
        return "\n".join(lines)


def sequence(
    model: LanguageModel,
    changes: Sequence[Modification],
    *,
    method: Callable[..., Edit] = finetune,
    constraint: Constraint | None = None,
    anchor: str = "start",
    every: int | Collection[int] = 1,
    general: bool | Sequence[str] = False,
    keep: bool = True,
    progress: bool = False,
    **settings,
) -> EditSequence:
    """Edit in portions, and measure all edits so far after each; `model` is not changed in the end.

    For each portion the facts F are those that the earlier portions left: `mix=True` of `finetune` fills batches with
    the earlier edits' new objects, not with the old ones. A fact may be changed again; its latest object counts.

    Args:
        changes: the portions, all drawn from the same facts, such as by `modify_to`.
        method: of (model, change, **settings), gives an `Edit`.
        constraint: a ball, such as `kmod.Linf(4e-3)`; None for none.
        anchor: the ball's centre: "start" is θ₀, the weights before the first portion; "last" the weights before each.
        every: measure after every so many portions, or after those of these numbers (from 1); and after the last.
        general: measure general ability as well (`pseudo_perplexity`), or the sentences to measure it on.
        keep: keep each portion's own edit, as large as the tensors that it touches; `EditSequence.without` needs them.
        settings: those of `method`; one that has a name of the above (MEMIT's `keep`) goes with `method`, by
            `partial(memit, keep=100)` of functools.

    Raises ValueError for changes of different facts, or none, another anchor, and as `method` does.
    """
    if isinstance(every, Collection) and not isinstance(every, str):
        every = tuple(check_whole("every", number) for number in every)
    else:
        check_whole("every", every)
    how = {"constraint": constraint, "anchor": anchor, "every": every, "general": general, "keep": keep}
    return _run(model, list(changes), [], method=method, progress=progress, **how, **settings)


def _run(
    model: LanguageModel,
    changes: list[Modification],
    done: list[Portion],
    *,
    method: Callable,
    anchor: str,
    every: int | tuple[int, ...],
    constraint: Constraint | None,
    general: bool | Sequence[str],
    keep: bool,
    progress: bool = False,
    **settings,
) -> EditSequence:
    """The sequence of `changes`; the first of them are `done`."""
    for change in changes or [None]:
        check_model(model, change)
    if not changes:
        raise ValueError("a sequence needs at least one portion")
    if anchor not in ANCHORS:
        raise ValueError(brief(f"anchor must be one of {', '.join(ANCHORS)}, got {anchor!r}"))
    base = changes[0].base
    if any(change.base is not base and change.base.fingerprint() != base.fingerprint() for change in changes):
        raise ValueError("the portions of a sequence must be drawn from the same facts")
    how = dict(settings)
    if constraint is not None:
        origin = {name: theta.detach().clone() for name, theta in model.net.named_parameters()}
        how["constraint"] = Around(constraint.delta, constraint, origin) if anchor == "start" else constraint
    block = settings.get("block")
    before = score(model, base, ["tests"], keep=block if isinstance(block, int) else None)
    if general:
        before = replace(before, perplexity=pseudo_perplexity(model, None if general is True else general))

    def measure(change: Modification, edit: Edit) -> Evaluation:
        return evaluate(model, base, change, edit=edit, before=before, answers=False, general=general)

    portions, whole, so_far = list(done), None, None
    for portion in done:
        whole = portion.edit if whole is None else whole.then(portion.edit)
        so_far = portion.change
    for change in tqdm(changes[len(done) :], desc="portions", leave=False, disable=silent(progress)):
        started = time.perf_counter()
        with whole(model) if whole else nullcontext():
            edit = method(model, change if so_far is None else _after(so_far, change), **how)
        if not isinstance(edit, Edit):
            raise ValueError(f"a sequence needs a method that gives edits of weights, not {type(edit).__name__}")
        edit.made.update(base=base.name, base_fingerprint=base.fingerprint())  # the positions are the same in F′
        seconds = time.perf_counter() - started
        whole = edit if whole is None else whole.then(edit)
        so_far = change if so_far is None else _merged(so_far, change)
        number = len(portions) + 1
        due = number in every if isinstance(every, tuple) else number % every == 0
        result = measure(so_far, whole) if due else None
        portions.append(Portion(edit if keep else None, so_far, result, *_norms(model, whole), round(seconds, 3)))
    if portions[-1].result is None:
        portions[-1] = replace(portions[-1], result=measure(so_far, whole))
    about = {"constraint": constraint, "anchor": anchor, "every": every, "general": general, "keep": keep}
    return EditSequence(portions, whole, changes, {"method": method} | about | settings)


def _merged(first: Modification, second: Modification) -> Modification:
    """Both as one: a fact that both change gets the object of `second`."""
    objects: dict[int, str] = {}
    for change in (first, second):
        objects |= zip(change.indices, change.objects, strict=True)
    return Modification(first.base, tuple(objects), tuple(objects.values()))


def _after(earlier: Modification, change: Modification) -> Modification:
    """The same change of the facts F′ that the earlier ones left, whose positions are those of F."""
    facts = earlier.result()
    if len(facts) != len(change.base):
        raise ValueError("after the earlier portions two facts are the same: leave one of their changes out")
    return replace(change, base=facts)


def _norms(model: LanguageModel, edit: Edit) -> tuple[float, float]:
    """The ℓ∞ and ℓ2 norms of θ − θ₀; `model` is without the edit."""
    moved = [difference.double() for difference in edit.difference(model, applied=False).values()]
    largest = max((float(part.abs().max()) for part in moved if part.numel()), default=0.0)
    return largest, math.sqrt(sum(float(part.square().sum()) for part in moved))
