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
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tqdm.auto import tqdm

from ..experiments.cost import text
from ..facts import FactBase
from ..models.masked_lm import MaskedLM
from ..parts import blocks as blocks_of
from ..progress import silent
from ..versions import commit, versions
from .edits import BLOCKS, TRAINING, Asked, change_of, edited
from .widget import read, widget

__all__ = ["CHOICES", "make", "read", "widget"]

SCHEMA = 1
CHOICES = (
    ("France", "P36", ("Rome", "Berlin")),
    ("Eiffel Tower", "P17", ("Italy", "Egypt")),
    ("Albert Einstein", "P106", ("actor", "composer")),
    ("Wolfgang Amadeus Mozart", "P19", ("Vienna", "London")),
    ("Hamlet", "P50", ("Jane Austen", "Agatha Christie")),
    ("Bohemian Rhapsody", "P175", ("Madonna", "Nirvana")),
    ("Titanic", "P57", ("Steven Spielberg", "Alfred Hitchcock")),
    ("iPhone", "P176", ("Microsoft", "Ford")),
    ("whale", "P279", ("fish", "bird")),
    ("Japan", "P38", ("euro", "dollar")),
)
"""(subject, relation, new objects): facts of the atlas that most readers know, one of each relation."""
DELTAS = (5e-4, 2e-3, 5e-3, None)
"""From "hardly anything learnt" to "much broken" for a single fact in a model of four blocks; None is no limit."""


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
            change_of(model, facts, subject, relation, new)
    # Format 1, so that the keys of the scripts that are there stay what they were.
    base = [SCHEMA, model.fingerprint(format=1), facts.fingerprint(), TRAINING, list(deltas), versions()]
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
        asked = Asked.of(model, facts)
        print(f"{edits} edits of {len(todo)} facts: about {text(1.2 * edits * asked.seconds)}; {len(done)} facts done")
        with tqdm(total=edits, desc="edits", disable=silent(progress)) as bar:
            for subject, relation, objects in todo:
                id, started = name(subject, relation), time.perf_counter()
                made = {"id": id} | edited(asked, subject, relation, objects, deltas, bar.update)
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
