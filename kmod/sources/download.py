"""Downloads that are whole or not there: resumed where they broke off, checked by checksum, put in place at once.

The SHA-256 of a file is recorded in `checksums.json` beside it when it is first downloaded, and enforced ever after.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from ..files import cache_dir

CHUNK = 1 << 20


def source_cache() -> Path:
    """Where downloaded sources are kept: $KMOD_CACHE/sources, or ~/.cache/kmod/sources."""
    return cache_dir() / "sources"


def download(url: str, folder: Path, *, sha256: str | None = None, progress: bool = True, tries: int = 3) -> Path:
    """The file at `url`, in `folder`: downloaded unless it is there already.

    What arrived before a break stays in a .part file, which is never taken for the whole; the next try (of `tries`, or
    the next call) goes on from there if the server can and the file there has not changed.

    Raises ValueError for a checksum other than `sha256`, or than the one recorded at the first download (nothing of a
    wrong download stays); ConnectionError if the server cannot be reached or the transfer breaks off, or if
    HF_HUB_OFFLINE forbids network.
    """
    from filelock import FileLock  # huggingface_hub brings it

    path = folder / PurePosixPath(urllib.request.url2pathname(url.split("?")[0])).name
    if not path.exists() and os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise ConnectionError(f"{url} is not at hand, and HF_HUB_OFFLINE forbids to download it")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # two processes would write into one .part file
        return _download(url, path, sha256, progress, tries)


def _download(url: str, path: Path, sha256: str | None, progress: bool, tries: int) -> Path:
    records = _Records(path.with_name("checksums.json"))
    expected = sha256 or records.get(path.name, "sha256")
    if path.exists():
        if expected and (found := file_sha256(path)) != expected:
            raise ValueError(f"{path} has checksum {found[:12]}…, not {expected[:12]}…; delete it to download it again")
        return path
    part = path.with_name(path.name + ".part")
    for attempt in range(tries):
        try:
            _fetch(url, part, records, progress)
            break
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                raise ConnectionError(f"{url}: the server says {error.code} {error.reason}") from None
            if attempt == tries - 1:
                kept = f"; {part.stat().st_size:,} bytes are kept: try again to go on" if part.exists() else ""
                raise ConnectionError(f"{url} broke off ({getattr(error, 'reason', None) or error}){kept}") from None
    found = file_sha256(part)
    if expected and found != expected:
        part.unlink()
        raise ValueError(f"{url} has checksum {found[:12]}…, not {expected[:12]}…: not the file wanted; nothing kept")
    records.put(path.name, {"url": url, "sha256": found, "bytes": part.stat().st_size})
    os.replace(part, path)
    return path


def _fetch(url: str, part: Path, records: _Records, progress: bool) -> None:
    """Bring `part` to its full length. Raises OSError if the transfer ends before."""
    have = part.stat().st_size if part.exists() else 0
    tag = records.get(part.name, "version")
    request = urllib.request.Request(url, headers={"User-Agent": "kmod"})
    if have and tag:  # without a version, nothing tells whether the rest belongs to what is here
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag)
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        part.unlink()  # nothing follows what is here, so it was of another file, or is whole: begin again to be sure
        raise OSError("the server has nothing after what is here") from None
    with response:
        resumed = response.status == 206
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if tag and not tag.startswith("W/"):  # a weak tag does not promise the same bytes
            records.put(part.name, {"version": tag})
        with (
            open(part, "ab" if resumed else "wb") as file,
            tqdm(
                total=total,
                initial=have,
                unit="B",
                unit_scale=True,
                desc=part.stem,
                disable=None if progress else True,
            ) as bar,
        ):
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and part.stat().st_size != total:
        raise OSError(f"{part.stat().st_size:,} of {total:,} bytes came")


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Records:
    """What is known of the files of a folder, by name, in one JSON file."""

    def __init__(self, path: Path):
        self.path = path

    def _all(self) -> dict[str, dict]:
        try:
            return json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            raise ValueError(f"{self.path} is not readable; delete it and the files beside it") from None

    def get(self, name: str, field: str):
        return self._all().get(name, {}).get(field)

    def put(self, name: str, record: dict) -> None:
        records = self._all() | {name: record}
        records.pop(f"{name}.part", None)
        draft = self.path.with_suffix(".tmp")
        draft.write_text(json.dumps(records, indent=1), "utf-8")
        os.replace(draft, self.path)


def unzip(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> Path:
    """The members of a zip `archive` whose names are `wanted`, in `folder`; all of them, or no folder at all.

    Raises ValueError for an archive that is cut short or damaged, that holds nothing wanted, or a wanted member that
    would land outside `folder`.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        try:
            with zipfile.ZipFile(archive) as file:
                members = [m for m in file.infolist() if not m.is_dir() and wanted(m.filename)]
                for member in members:
                    name = PurePosixPath(member.filename.replace("\\", "/"))
                    if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
                        raise ValueError(f"{archive} holds {member.filename!r}, which would land outside; not unpacked")
                    target = Path(temporary, "whole", *name.parts)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with file.open(member) as packed, open(target, "wb") as plain:
                        shutil.copyfileobj(packed, plain, CHUNK)
        except (zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{archive} is damaged ({error}); delete it to download it again") from None
        if not members:
            raise ValueError(f"{archive} holds none of the files wanted")
        os.replace(Path(temporary, "whole"), folder)
    return folder
