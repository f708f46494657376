"""Real edits of single facts, made beforehand, for a page on which a reader changes a memory without a kernel.

    python -m kmod play --out book/_static/play        # the edits, as small scripts that book/_static/play.js reads

Each fact of `CHOICES` is edited by plain fine-tuning (FTM) on its own evidences, for every new object, choice of blocks
and radius; its script holds what the model then answers (`edits.edit_fact`). The files are scripts that assign to a
global, not JSON: a page opened from a file may load scripts but not fetch data.
"""

import hashlib
import json
import re
import time
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tqdm.auto import tqdm

from ..experiments.cost import text
from ..facts import FactBase
from ..files import appearing, user_path
from ..models.language_model import LanguageModel
from ..parts import blocks as blocks_of
from ..progress import silent
from ..versions import commit, versions
from .edits import BLOCKS, TRAINING, Unedited, edit_fact, single_change
from .view import read

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
"""(subject, relation, new objects): facts of the atlas that most readers know, each of another relation."""
DELTAS = (5e-4, 2e-3, 5e-3, None)
"""For a single fact and a model of four blocks: from hardly anything learnt to much broken; None is no limit."""


def make(
    out: str | Path, model: LanguageModel, facts: FactBase, choices: Sequence[tuple] = CHOICES,
    deltas: Sequence[float | None] = DELTAS, *, preset: str = "nano", progress: bool = True
) -> dict:  # fmt: skip
    """Make every edit of `choices` on `model`, which has memorised `facts`; write a script for each fact and index.js.

    A fact is left alone if its script is there already, made by the same model, facts, settings and versions.

    Returns what index.js holds. Raises KeyError or ValueError, before any edit, for an unknown fact, an object that it
    cannot be given, and a new object with another number of word pieces than the old.
    """
    out = user_path(out)
    for subject, relation, objects in choices:
        for new in objects:
            single_change(model, facts, subject, relation, new)
    # Format 1, so that the keys of the scripts that are there stay what they were.
    base = [SCHEMA, model.fingerprint(format=1), facts.fingerprint(), TRAINING, list(deltas), versions()]
    keys = {}
    for choice in choices:
        keys[script_name(*choice[:2])] = hashlib.sha256(json.dumps([*base, *choice]).encode()).hexdigest()[:16]
    made = {"by": "python -m kmod play", "method": "FTM", "constraint": "Linf", **TRAINING, "model": preset}
    made |= {"model_fingerprint": model.fingerprint()[:16], "facts": facts.name}
    made |= {"facts_fingerprint": facts.fingerprint()[:16], "versions": versions()}
    index = {"schema": SCHEMA, "facts": [], "blocks": list(BLOCKS), "deltas": list(deltas)}
    index |= {"depth": len(blocks_of(model.net)), "made": made}
    done = {id: script for id, key in keys.items() if (script := _made_before(out / f"{id}.js", key))}

    def write_index() -> dict:
        index["facts"] = [_entry(done[id]) for id in keys if id in done]
        _write(out / "index.js", "index", index)
        return index

    todo = [choice for choice in choices if script_name(*choice[:2]) not in done]
    edits = sum(len(objects) for *_, objects in todo) * len(BLOCKS) * len(deltas)
    if todo:
        code = commit()  # of the code that is loaded; the checkout may change meanwhile
        unedited = Unedited.of(model, facts)
        duration = text(1.2 * edits * unedited.seconds)
        print(f"{edits} edits of {len(todo)} facts: about {duration}; {len(done)} facts done")
        with tqdm(total=edits, desc="edits", disable=silent(progress)) as bar:
            for subject, relation, objects in todo:
                id, started = script_name(subject, relation), time.perf_counter()
                script = {"id": id} | edit_fact(unedited, subject, relation, objects, deltas, bar.update)
                seconds = round(time.perf_counter() - started, 1)
                now = datetime.now(UTC).isoformat(timespec="seconds")
                done[id] = script | {"key": keys[id], "commit": code, "time": now, "seconds": seconds}
                _write(out / f"{id}.js", id, done[id])
                write_index()
                print(f"{subject}, {script['label']}: {seconds} s")
    return write_index()


def _entry(script: dict) -> dict:
    """A fact's entry in the index."""
    entry = {key: script[key] for key in ("id", "subject", "label", "object", "commit", "time", "seconds")}
    return entry | {"objects": [change["object"] for change in script["changes"]]}


def script_name(subject: str, relation: str) -> str:
    """The name of a fact's script, safe in a path: "france-p36"."""
    ascii = unicodedata.normalize("NFKD", subject).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", f"{ascii} {relation.lower()}").strip("-")


def _write(path: Path, id: str, value: dict) -> None:
    """Write a script that assigns `value`."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    with appearing(path) as draft:
        draft.write_text(f"(globalThis.kmodPlayData ??= {{}})[{json.dumps(id)}] = {data};\n", encoding="utf8")


def _made_before(path: Path, key: str) -> dict | None:
    """What the script at `path` holds, if it is whole and was made under this key."""
    try:
        script = read(path)
    except (OSError, ValueError, IndexError):
        return None
    return script if script.get("key") == key else None
