"""Real edits of single facts, made beforehand, for a page on which a reader changes a memory without a kernel.

    python -m kmod play --out book/_static/play        # the edits, as small scripts that book/_static/play.js reads

Each of `CHOICES` is a fact and the new objects a reader may give it; each is edited by plain fine-tuning (FTM) on its
own evidences, for every choice of blocks and radius. What is written is what the model then answers: about the fact
itself, about its neighbours, and about every other fact of the base whose tests were all right before and are no
longer. Data are scripts that assign to a global, not JSON, since a page opened from a file may not fetch other files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..constraints import Linf
from ..editing import finetune
from ..facts import FactBase, Modification
from ..models.activations import activations
from ..models.masked_lm import MaskedLM
from ..parts import blocks as blocks_of
from ..progress import silent
from ..versions import commit, versions
from .cost import text
from .play_widget import read, widget

__all__ = ["CHOICES", "make", "read", "widget"]

SCHEMA = 1
CHOICES = (
    ("France", "P36", ("Rome", "Berlin")),
    ("Eiffel Tower", "P17", ("Italy", "Egypt")),
    ("Albert Einstein", "P106", ("actor", "composer")),
    ("Wolfgang Amadeus Mozart", "P19", ("Vienna", "London")),
    ("Mona Lisa", "P170", ("Vincent van Gogh", "Ludwig van Beethoven")),
    ("Hamlet", "P50", ("Jane Austen", "Agatha Christie")),
    ("Magic Flute", "P86", ("Ludwig van Beethoven", "Johann Sebastian Bach")),
    ("Bohemian Rhapsody", "P175", ("Madonna", "Nirvana")),
    ("Titanic", "P57", ("Steven Spielberg", "Alfred Hitchcock")),
    ("Friends", "P449", ("HBO", "CBS")),
    ("iPhone", "P176", ("Microsoft", "Ford")),
    ("Roger Federer", "P641", ("boxing", "basketball")),
    ("whale", "P279", ("fish", "bird")),
    ("Japan", "P38", ("euro", "dollar")),
    ("Brazil", "P37", ("Spanish", "French")),
    ("Kenya", "P30", ("Asia", "Europe")),
)
"""(subject, relation, new objects): facts of the atlas that most readers know, one of each relation."""
BLOCKS = {"all": "all", "first": 0, "last": -1}
DELTAS = (5e-4, 2e-3, 5e-3, None)
"""From "hardly anything learnt" to "much broken" for a single fact in a model of four blocks; None is no limit."""
TRAINING = {"steps": 25, "batch_size": 8, "lr": 1e-3}
TOP, LISTED, NEAR = 3, 40, 4
"""How many answers of a statement, broken facts of an edit, and neighbours of each kind are written down."""


@dataclass(frozen=True, eq=False)
class _Asked:
    """The tests of all facts, how the model answers them unedited, and the states that enter the first and last
    block."""

    model: MaskedLM
    facts: FactBase
    tests: object
    kept: dict[str, object]
    right: np.ndarray  # (statements,) bool
    names: dict[str, str]  # what the vocabulary writes → the object's name
    seconds: float

    @classmethod
    def of(cls, model: MaskedLM, facts: FactBase) -> _Asked:
        tests, last = model.examples(facts, "tests"), len(blocks_of(model.net)) - 1
        kept = {block: activations(model, tests, last if block == "last" else 0) for block in BLOCKS}
        right = model.correct(tests, kept=kept["all"]).numpy()  # which also fills what is kept
        started = time.perf_counter()
        model.correct(tests, kept=kept["all"])
        names = {model.written(name): name for name, _ in reversed(facts.object_counts.most_common())}
        return cls(model, facts, tests, kept, right, names, time.perf_counter() - started)

    def whole(self, right: np.ndarray) -> np.ndarray:
        """(facts,) bool: every test of the fact is right."""
        return np.bincount(self.tests.owner, weights=~right, minlength=len(self.facts)) == 0

    def top(self, statements: Sequence[str], objects: Sequence[str], k: int = TOP) -> list[list[list]]:
        """The k best answers to each statement, as [name, probability]."""
        found = self.model.answers(statements, objects, k) if statements else []
        return [[[self.names.get(name, name), round(p, 3)] for name, p in answers] for answers in found]


def make(
    out: str | Path,
    model: MaskedLM,
    facts: FactBase,
    choices: Sequence[tuple[str, str, tuple[str, ...]]] = CHOICES,
    deltas: Sequence[float | None] = DELTAS,
    *,
    preset: str = "nano",
    progress: bool = True,
) -> dict:
    """Make every edit of `choices` on `model`, which has memorised `facts`, and write a script for each fact and
    index.js into the folder `out`; what the index says. A fact whose script is there, made by the same model, facts,
    settings and versions, is not done again.

    Raises KeyError or ValueError, before any edit, for a fact or object that cannot be edited so, and for a new object
    with another number of word pieces than the old: before and after would not be asked by the same statement.
    """
    out = Path(out)
    for subject, relation, objects in choices:
        for new in objects:
            _change(model, facts, subject, relation, new)
    base = [SCHEMA, model.fingerprint(), facts.fingerprint(), TRAINING, list(deltas), versions()]
    keys = {
        name(subject, relation): hashlib.sha256(json.dumps([*base, subject, relation, objects]).encode()).hexdigest()
        for subject, relation, objects in choices
    }
    about = {
        "schema": SCHEMA,
        "facts": [],
        "blocks": list(BLOCKS),
        "deltas": list(deltas),
        "depth": len(blocks_of(model.net)),
        "made": {
            "by": "python -m kmod play",
            "method": "FTM",
            "constraint": "Linf",
            **TRAINING,
            "model": preset,
            "model_fingerprint": model.fingerprint()[:16],
            "facts": facts.name,
            "facts_fingerprint": facts.fingerprint()[:16],
            "versions": versions(),
        },
    }
    done = {id: found for id, key in keys.items() if (found := _kept(out / f"{id}.js", key[:16]))}

    def written() -> dict:
        """Write the index of what is done so far."""
        about["facts"] = [_entry(done[id]) for id in keys if id in done]
        _write(out / "index.js", "index", about)
        return about

    todo = [choice for choice in choices if name(*choice[:2]) not in done]
    edits = sum(len(objects) for *_, objects in todo) * len(BLOCKS) * len(deltas)
    if todo:
        code = commit()  # that this process has loaded; the checkout may change meanwhile
        asked = _Asked.of(model, facts)
        print(f"{edits} edits of {len(todo)} facts: about {text(1.2 * edits * asked.seconds)}; {len(done)} facts done")
        with tqdm(total=edits, desc="edits", disable=silent(progress)) as bar:
            for subject, relation, objects in todo:
                id, started = name(subject, relation), time.perf_counter()
                made = _fact(asked, subject, relation, objects, deltas, bar)
                seconds = round(time.perf_counter() - started, 1)
                now = datetime.now(UTC).isoformat(timespec="seconds")
                made |= {"key": keys[id][:16], "commit": code, "time": now, "seconds": seconds}
                _write(out / f"{id}.js", id, made)
                done[id] = made
                written()
                print(f"{subject}, {made['label']}: {made['seconds']} s")
    return written()


def _entry(made: dict) -> dict:
    """What the index says of a fact."""
    told = {key: made[key] for key in ("id", "subject", "label", "object", "commit", "time", "seconds")}
    return told | {"objects": [changed["object"] for changed in made["changes"]]}


def name(subject: str, relation: str) -> str:
    """The name of a fact's script, safe in a path: "france-p36"."""
    plain = unicodedata.normalize("NFKD", subject).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", f"{plain} {relation.lower()}").strip("-")


def _write(path: Path, id: str, value: dict) -> None:
    """Write a script that assigns `value`; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    script = f"(globalThis.kmodPlayData ??= {{}})[{json.dumps(id)}] = {data};\n"
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".kmod-") as folder:
        (Path(folder) / "script").write_text(script, encoding="utf8")
        os.replace(Path(folder) / "script", path)


def _kept(path: Path, key: str) -> dict | None:
    try:
        found = read(path)
    except (OSError, ValueError, IndexError):
        return None
    return found if found.get("key") == key else None


def _change(model: MaskedLM, facts: FactBase, subject: str, relation: str, new: str) -> Modification:
    change = facts.modify_to([(subject, relation, new)])
    old = change.originals[0].object
    pieces = [len(model.tokenizer(o, add_special_tokens=False)["input_ids"]) for o in (old, new)]
    if pieces[0] != pieces[1]:
        raise ValueError(
            f"{old!r} has {pieces[0]} word pieces and {new!r} {pieces[1]}: choose an object with as many, so that "
            "before and after are asked by the same statement"
        )
    return change


def _neighbours(facts: FactBase, i: int, new: str) -> list[tuple[int, str]]:
    """Facts near fact i, and why: of the same subject; of the same relation with the old or with the new object."""
    own = facts[i]
    near = {"same subject": [j for j, f in enumerate(facts) if f.subject == own.subject and j != i]}
    for why, wanted in (("same object", own.object), ("has the new object", new)):
        near[why] = [j for j, f in enumerate(facts) if (f.relation, f.object) == (own.relation, wanted) and j != i]
    return [(j, why) for why, found in near.items() for j in found[:NEAR]]


def _fact(asked: _Asked, subject: str, relation: str, objects: Iterable[str], deltas, bar) -> dict:
    model, facts = asked.model, asked.facts
    i = facts.find(subject, relation)
    own = facts[i]
    tests, evidences = facts.tests(own), facts.evidences(own)
    statements = [*tests, *evidences]
    mentioned: dict[int, int] = {}  # the position of a fact in F → in the table of this script
    rest = asked.tests.owner != i
    known, others = asked.whole(asked.right), np.arange(len(facts)) != i
    intact = known & others
    changes = []
    for new in objects:
        change = _change(model, facts, subject, relation, new)
        near = _neighbours(facts, i, new)
        near_asked = [facts.tests(facts[j])[0] for j, _ in near], [facts[j].object for j, _ in near]
        edits = {}
        for where, block in BLOCKS.items():
            edits[where] = []
            for delta in deltas:
                edit = finetune(
                    model, change, block=block, constraint=None if delta is None else Linf(delta), **TRAINING
                )
                with edit(model):
                    right = model.correct(asked.tests, kept=asked.kept[where]).numpy()
                    broken = np.flatnonzero(intact & ~asked.whole(right))
                    shown = _spread(facts, broken, relation)
                    first = [int(np.flatnonzero((asked.tests.owner == j) & ~right)[0]) for j in shown]
                    which = [s - int(np.searchsorted(asked.tests.owner, j)) for s, j in zip(first, shown, strict=True)]
                    wrong = asked.top(
                        [facts.tests(facts[j])[k] for j, k in zip(shown, which, strict=True)],
                        [facts[j].object for j in shown],
                        1,
                    )
                    top = asked.top(statements, [new] * len(statements))
                    near_now = asked.top(*near_asked, 1)
                learnt = [answers[0][0] == asked.names.get(model.written(new), new) for answers in top]
                counts = Counter(facts[j].relation for j in broken.tolist())
                edits[where].append(
                    {
                        "top": top,
                        "learnt": [sum(learnt[: len(tests)]), sum(learnt[len(tests) :])],
                        "kept": int(right[rest].sum()),
                        "near": [answers[0][0] for answers in near_now],
                        "broken": len(broken),
                        "repaired": int((asked.whole(right) & ~known)[others].sum()),
                        "by": [[facts.relations[r].label, n] for r, n in counts.most_common()],
                        "list": [
                            [mentioned.setdefault(j, len(mentioned)), k, answers[0][0]]
                            for j, k, answers in zip(shown, which, wrong, strict=True)
                        ],
                    }
                )
                bar.update()
        changes.append(
            {
                "object": new,
                "before": asked.top(statements, [new] * len(statements)),
                "near": [
                    [mentioned.setdefault(j, len(mentioned)), why, answers[0][0]]
                    for (j, why), answers in zip(near, asked.top(*near_asked, 1), strict=True)
                ],
                "edits": edits,
            }
        )
    return {
        "id": name(subject, relation),
        "subject": own.subject,
        "label": facts.relations[relation].label,
        "object": own.object,
        "tests": len(tests),
        "statements": statements,
        "asked": int(rest.sum()),
        "right": int(asked.right[rest].sum()),
        "intact": dict(Counter(facts.relations[facts[j].relation].label for j in np.flatnonzero(intact).tolist())),
        "facts": [[facts[j].subject, facts.relations[facts[j].relation].label, facts[j].object] for j in mentioned],
        "changes": changes,
    }


def _spread(facts: FactBase, broken: np.ndarray, relation: str) -> list[int]:
    """At most `LISTED` of the broken facts: one of each relation in turn, that of the edited fact first."""
    groups: dict[str, list[int]] = {relation: []}
    for j in broken.tolist():
        groups.setdefault(facts[j].relation, []).append(j)
    turns = sorted((turn, n, j) for n, group in enumerate(groups.values()) for turn, j in enumerate(group))
    return [j for _, _, j in turns[:LISTED]]
