"""Published edit sets, with the new objects (targets) that their authors chose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..checks import brief, check_whole, is_whole
from ..facts import FactBase, Modification
from ..names import normal
from ..questions import Question
from ..relations import MASK
from .counterfact import cloze, counterfact, records
from .read import usable
from .zsre import EDITS, edit_rows, probe_rows, stand_in

EDIT_SETS = ("counterfact", *(f"zsre:{name}" for name in EDITS))


def load_edits(
    name: str, n: int | None = None, seed: int = 0, *, folder: str | Path | None = None
) -> tuple[FactBase, Modification]:
    """The facts of an edit set's source, and the modification of `n` of them (None: of all) to the set's own targets.

    `name` is "counterfact", or "zsre:knowedit", "zsre:mend" or "zsre:ke", whose facts are those of the stand-in that
    `load_facts("zsre")` describes. The new objects are the set's targets; those of `FactBase.modify` follow the paper's
    rule. An edit's fact is that of its subject, relation and true object. Edits of a fact that is not in the base, or
    to an object that its subject already has or is given in the relation, are left out. Of several edits of one fact
    the first counts.

    Raises ValueError for an unknown set, or more edits than there are.
    """
    if name not in EDIT_SETS:
        raise ValueError(brief(f"unknown edit set {name!r}; known: {', '.join(EDIT_SETS)}"))
    if name == "counterfact":
        base = counterfact(folder)
        rows = ((subject, relation, true, new) for subject, relation, true, _, _, new, _ in records(folder))
    else:
        base = stand_in(folder, seed)
        edits = edit_rows(folder, name.removeprefix("zsre:"))
        rows = ((subject, relation, true, new) for subject, relation, _, true, new in edits)
    return base, _modification(base, rows, name, n, seed)


def load_probes(name: str, change: Modification, *, folder: str | Path | None = None) -> dict[str, list[Question]]:
    """The set's own questions about `change`, which `load_edits` of the same name gave, for `evaluate(probes=)`. They
    are scored as their authors do.

    "counterfact" has "efficacy", "paraphrase" and "neighborhood" (Meng et al. 2022, ROME): the new object must have a
    higher mean log-probability a word piece than the old one on the prompt and on the paraphrases, and a lower one on
    the prompts of neighbours, whose true object is the old one. "zsre:..." has "portability": the share of the word
    pieces of the answer that are the best (Yao et al. 2023, EasyEdit); and "locality": the share of the word pieces
    whose best is as before the edit. A probe without questions is left out.

    Raises ValueError for an unknown set, or if the set has no question about these facts.
    """
    if name not in EDIT_SETS:
        raise ValueError(brief(f"unknown edit set {name!r}; known: {', '.join(EDIT_SETS)}"))
    pairs = zip(change.originals, change.objects, strict=True)
    at = {(normal(f.subject), f.relation, normal(f.object), normal(new)): i for i, (f, new) in enumerate(pairs)}
    probes: dict[str, dict[Question, None]] = {}
    asked = _counterfact_questions(folder, at) if name == "counterfact" else _zsre_questions(folder, name, at)
    for probe, question in asked:
        probes.setdefault(probe, {})[question] = None
    if not probes:
        raise ValueError(f"{name} has no question about these facts: give the change that load_edits({name!r}) draws")
    return {probe: list(questions) for probe, questions in probes.items()}


Positions = dict[tuple[str, str, str, str], int]
"""(subject, relation, old object, new object), the names as `normal` gives them → position in the change."""


def _counterfact_questions(folder: str | Path | None, at: Positions) -> Iterator[tuple[str, Question]]:
    for subject, relation, old, prompt, rephrased, new, near in records(folder):
        if not usable(old) or (i := at.get((normal(subject), relation, normal(old), normal(new)))) is None:
            continue
        texts = {"efficacy": [prompt], "paraphrase": rephrased, "neighborhood": near}
        for probe, text in ((probe, text) for probe, prompts in texts.items() for text in prompts if usable(text)):
            answer, rival = (old, new) if probe == "neighborhood" else (new, old)
            yield probe, Question(cloze(text), answer, by="rival", rival=rival, fact=i)


def _zsre_questions(folder: str | Path | None, name: str, at: Positions) -> Iterator[tuple[str, Question]]:
    ways = {"portability": "pieces", "locality": "unchanged"}
    for subject, relation, old, new, probes in probe_rows(folder, name.removeprefix("zsre:")):
        if not usable(old) or (i := at.get((normal(subject), relation, normal(old), normal(new)))) is None:
            continue
        for probe, pairs in probes.items():
            for text, answer in pairs:
                if usable(text, answer):
                    yield probe, Question(f"{text.strip()} {MASK}", answer.strip(), by=ways[probe], fact=i)


def _modification(base: FactBase, rows, name: str, n: int | None, seed: int) -> Modification:
    positions: dict[tuple[str, str], dict[str, int]] = {}  # subject and relation → objects, and where their facts are
    for i, fact in enumerate(base):
        positions.setdefault((normal(fact.subject), fact.relation), {})[normal(fact.object)] = i
    changes: dict[int, str] = {}
    for subject, relation, true, new in rows:
        objects = positions.get((normal(subject), relation), {})
        i = objects.get(normal(true)) if isinstance(true, str) else None
        taken = {*objects, *(normal(changes[j]) for j in objects.values() if j in changes)}
        if i is not None and i not in changes and base.tests(base[i]) and normal(new) not in {"", *taken}:
            changes[i] = new.strip()
    chosen = list(changes)
    if n is not None:
        if not is_whole(n) or not 1 <= n <= len(chosen):
            raise ValueError(
                brief(f"n must be from 1 to the {len(chosen):,} edits of {name}, or None for all; got {n!r}")
            )
        rng = np.random.default_rng(check_whole("seed", seed, 0))
        chosen = [chosen[i] for i in rng.choice(len(chosen), n, replace=False)]
    return Modification(base, tuple(chosen), tuple(changes[i] for i in chosen), seed)
