"""Many edits of one model: one after the other, with shared examples and hidden states."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tqdm.auto import tqdm

from ..constraints import Constraint
from ..facts import Modification
from ..models.door import check_model
from ..models.language_model import LanguageModel
from ..parts import plan
from ..progress import silent
from ..training.sharing import sharing
from .common import check_constraint
from .edit import Edit
from .finetune import finetune

Run = tuple[Modification, Constraint | None, int]
"""What differs between the edits of a sweep: the modification, the constraint, the seed."""


def sweep(
    model: LanguageModel, runs: Sequence[Run], *, method: Callable = finetune, progress: bool = False, **settings
) -> list[Edit]:
    """`[method(model, change, constraint=constraint, seed=seed, **settings) for change, constraint, seed in runs]`.

    What the runs have in common is done once: the tokenised evidences of a modification, and the hidden states that
    enter the lowest edited block. These may differ in the last bit from those of an edit by itself, as a statement is
    met in another batch.

    Args:
        method: `finetune`, or a method that passes its settings on to it.
        settings: those of `method`, the same for all runs.

    Raises as `method` does, and TypeError or ValueError for a wrong constraint of any run, before any training; a
    FloatingPointError names the run that diverged.
    """
    check_model(model)
    names = plan(model.net, settings.get("block", "all"), settings.get("component")).names
    origin = {name: model.net.get_parameter(name).detach() for name in names}
    for _, constraint, _ in runs:
        check_constraint(constraint, origin)
    edits = []
    with sharing():
        for change, constraint, seed in tqdm(runs, desc="editing", leave=False, disable=silent(progress)):
            try:
                edits.append(method(model, change, constraint=constraint, seed=seed, **settings))
            except FloatingPointError as error:
                run = f"{change}, {constraint or 'no constraint'}, seed {seed}"
                raise FloatingPointError(f"{error}; in the run of {run}") from error
    return edits
