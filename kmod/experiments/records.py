"""Records of runs: one line of JSON each, appended whole or not at all, never edited.

A record is {"schema", "id", "suite", "profile", "settings", "status", "metrics", "curve", "norms", "seconds",
"peak_bytes", "hardware", "versions", "commit", "dirty", "time"}; `id` is the hash of the settings. Files lie at
results/<suite>/<profile>.jsonl. Records of other machines are merged by id.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SCHEMA = 1


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open for reading and appending, with no other writer; on file systems without locks, without."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            warnings.warn(f"{path}: this file system has no locks; let one process write at a time", stacklevel=4)
        yield handle
    finally:
        os.close(handle)  # which unlocks


def append(path: Path, records: Iterable[dict]) -> None:
    """Add records to a file, in one write. A torn last line, left by a writer that was killed, is cut off first."""
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    if not lines:
        return
    with _locked(Path(path)) as handle:
        size = os.fstat(handle).st_size
        whole = _end_of_last_line(handle, size)
        if whole < size:
            warnings.warn(f"{path}: dropped a torn last line ({size - whole} bytes)", stacklevel=2)
            os.ftruncate(handle, whole)
        written = os.write(handle, lines)
        while written < len(lines):  # a signal, or a disk that fills up
            written += os.write(handle, lines[written:])
        os.fsync(handle)


def _end_of_last_line(handle: int, size: int) -> int:
    end = size
    while end > 0:
        begin = max(0, end - 65536)
        found = os.pread(handle, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def read(path: Path) -> list[dict]:
    """The records of a file, or of all files results/<suite>/*.jsonl under a folder; of each id the first by path and
    line that is done, or else the first.

    A torn last line is left out, with a warning. Raises ValueError that names file and line for one that is no record,
    or of a newer schema than this code knows.
    """
    path = Path(path)
    found: dict[str, dict] = {}
    for file in sorted(path.glob("*/*.jsonl")) if path.is_dir() else [path] if path.is_file() else []:
        for record in _lines(file):
            before = found.get(record["id"])
            if before is None or (before["status"] != "done" and record["status"] == "done"):
                found[record["id"]] = record
    return list(found.values())


def _lines(file: Path) -> Iterator[dict]:
    *whole, last = file.read_bytes().split(b"\n")
    if last:
        warnings.warn(f"{file}: left out a torn last line ({len(last)} bytes)", stacklevel=3)
    for number, line in enumerate(whole, 1):
        try:
            record = json.loads(line)
        except ValueError:
            raise ValueError(f"{file}, line {number}: no JSON; take that line out") from None
        if not isinstance(record, dict) or "schema" not in record:
            if number == 1:
                return  # results of another kind, which stand in folders beside these
            raise ValueError(f"{file}, line {number}: not a record of a run (it has no schema)")
        if record["schema"] != SCHEMA:
            raise ValueError(
                f"{file}, line {number}: schema {record['schema']!r} is not known to this version of kmod "
                f"(it knows {SCHEMA}); use the version that wrote it"
            )
        yield record


def merge(source: Path, into: Path) -> int:
    """Add to the folder `into` the records of the folder `source` that it lacks, by id, or whose runs failed here and
    not there; how many those were."""
    here = {record["id"]: record["status"] for record in read(into)}
    new: dict[Path, list[dict]] = {}
    for record in read(source):
        if here.get(record["id"]) not in ("done", record["status"]):
            new.setdefault(Path(into) / record["suite"] / f"{record['profile']}.jsonl", []).append(record)
    for path, records in new.items():
        append(path, records)
    return sum(map(len, new.values()))


def metric(record: Mapping, name: str) -> float:
    """A metric's value. Metrics of a record stand under "metrics"; those of a row in the row itself. Either is a number
    or a rate, {"value", "low", "high", ...}."""
    found = record.get("metrics", record)[name]
    return found["value"] if isinstance(found, Mapping) else found


def flat(record: Mapping) -> dict:
    """A record as one row of a table: its settings, the values of its metrics, its id and seconds."""
    metrics = {name: metric(record, name) for name in record["metrics"]}
    return {"id": record["id"], "status": record["status"]} | record["settings"] | metrics | record["seconds"]
