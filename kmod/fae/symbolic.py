"""ADD and UPDATE: change the fact memory of a FaE, with no gradient step.

A row's tail entities are integers in buffers of the model, so the result is an `Edit` like any other: it is applied and
undone to the bit, saved, combined with a fine-tuning edit. Source: Verga et al. 2020 (arXiv 2007.00849); in "Modifying
Memories in Transformer Models" this is the symbolic part of editing FaE.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..editing.common import changed_facts
from ..editing.edit import Edit
from ..facts import Fact, Modification
from ..models.door import check_model
from ..versions import versions
from .entities import Rows, tensors
from .fae import FaE


def add_facts(model: FaE, facts: Iterable[Fact | tuple[str, str, str]]) -> Edit:
    """ADD: write facts (subject, relation, object) to the fact memory. `model` is not changed.

    A subject and relation that has a row gets one more tail entity; any other gets a free row.

    Raises ValueError, naming the fact, for an entity or relation that the model does not have, a fact that is already
    there, or no room; TypeError if `model` has no fact memory.
    """
    rows, added = _rows(model), []
    for fact in facts:
        subject, relation, object = (fact.subject, fact.relation, fact.object) if isinstance(fact, Fact) else fact
        rows.add(subject, relation, object)
        added.append([subject, relation, None, object])
    return _edit(model, rows, "ADD", added)


def update_facts(model: FaE, change: Modification | Iterable[tuple[str, str, str, str]]) -> Edit:
    """UPDATE: replace the old objects of `change`, or of tuples (subject, relation, old, new), by the new ones. `model`
    is not changed.

    Raises ValueError, naming the fact, for an entity or relation that the model does not have, an old object that its
    row does not hold, or a new one that it holds; TypeError if `model` has no fact memory.
    """
    rows, updated = _rows(model), changed_facts(change) if isinstance(change, Modification) else list(map(list, change))
    for subject, relation, old, new in updated:
        rows.update(subject, relation, old, new)
    return _edit(model, rows, "UPDATE", updated)


def _rows(model: FaE) -> Rows:
    check_model(model)
    if not isinstance(model, FaE):
        raise TypeError(f"only a FaE has a fact memory to edit, not a {type(model).__name__}")
    return Rows.of(model.names, model.net.fact_memory)


def _edit(model: FaE, rows: Rows, method: str, facts: list) -> Edit:
    if not facts:
        raise ValueError(f"nothing to {method}: name at least one fact")
    new = {
        f"fact_memory.{name}": getattr(rows, name).to(buffer.device)
        for name, buffer in tensors(model.net.fact_memory).items()
        if not getattr(rows, name).equal(buffer.cpu())
    }
    return Edit.between(model, new, {"method": method, "facts": facts, "versions": versions()})
