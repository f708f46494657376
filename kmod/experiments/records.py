"""Records of runs: one line of JSON each, appended whole or not at all, never edited.

A record is {"schema", "id", "suite", "profile", "settings", "status", "metrics", "curve", "norms", "seconds",
"peak_bytes", "hardware", "versions", "commit", "dirty", "time"}; `id` is the hash of the settings. "facts", "model" and
"reference" are fingerprints of the facts, of the starting state and of the model that says which facts are known;
"change" is a checksum of the modification, which `known.modification` draws again. Files lie at
results/<suite>/<profile>.jsonl. Records of other machines are merged by id.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from ..files import append, user_path
from ..rates import FIELD

SCHEMA = 1


def read(path: str | Path) -> list[dict]:
    """The records of a file, or of all files results/<suite>/*.jsonl under a folder; of each id the first by path and
    line that is done, or else the first.

    A torn last line is left out, with a warning. Raises ValueError that names file and line for one that is no record,
    or of a newer schema than this code knows.
    """
    path, by_id = user_path(path), {}
    for file in sorted(path.glob("*/*.jsonl")) if path.is_dir() else [path] * path.is_file():
        for record in _records(file):
            before = by_id.setdefault(record["id"], record)
            if before["status"] != "done" and record["status"] == "done":
                by_id[record["id"]] = record
    return list(by_id.values())


def lines(file: Path) -> Iterator[object]:
    """The values of a file of JSON lines, without a torn last one. Raises ValueError that names file and line."""
    *whole, last = Path(file).read_bytes().split(b"\n")
    if last:
        warnings.warn(f"{file}: left out a torn last line ({len(last)} bytes)", stacklevel=4)
    for number, line in enumerate(whole, 1):
        try:
            yield json.loads(line)
        except ValueError:
            raise ValueError(f"{file}, line {number}: no JSON; take that line out") from None


def _records(file: Path) -> Iterator[dict]:
    for number, record in enumerate(lines(file), 1):
        if not isinstance(record, dict) or "schema" not in record:
            if number == 1:
                return  # results of another kind, which stand in folders beside these
            raise ValueError(f"{file}, line {number}: not a record of a run (it has no schema)")
        if record["schema"] != SCHEMA:
            unknown = f"schema {record['schema']!r} is not known to this version of kmod (it knows {SCHEMA})"
            raise ValueError(f"{file}, line {number}: {unknown}; use the version that wrote it")
        yield record


def merge(source: Path, into: Path) -> int:
    """Add to the folder `into` the records of the folder `source` that it lacks, by id, or whose runs failed here and
    not there; how many those were."""
    here = {record["id"]: record["status"] for record in read(into)}
    new = [record for record in read(source) if here.get(record["id"]) not in ("done", record["status"])]
    place = itemgetter("suite", "profile")
    for (suite, profile), records in groupby(sorted(new, key=place), place):
        append(user_path(into) / suite / f"{profile}.jsonl", records)
    return len(new)


def metric(record: Mapping, name: str) -> float | None:
    """A metric's value, by its name or the field's (`rates.FIELD`); None where the record lacks it, as older ones lack
    what was not measured then. Metrics of a record stand under "metrics"; those of a row in the row itself. Either is a
    number or a rate, {"value", "low", "high", ...}."""
    metrics = record.get("metrics", record)
    value = metrics.get(name, metrics.get(FIELD.get(name)))
    return value["value"] if isinstance(value, Mapping) else value


def flat(record: Mapping) -> dict:
    """A record as one row of a table: its settings, the values of its metrics, its id and seconds."""
    metrics = {name: metric(record, name) for name in record["metrics"]}
    return {"id": record["id"], "status": record["status"]} | record["settings"] | metrics | record["seconds"]


def commits(records: Iterable[Mapping]) -> list[str]:
    """The commits that records were made by, sorted, with "+" where files differed from the commit."""
    return sorted({str(record["commit"]) + "+" * bool(record.get("dirty")) for record in records})
