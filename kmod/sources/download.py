"""Downloads that are complete or absent: resumed where they broke off, and checked by checksum.

A file must have the SHA-256 that its source states. If it states none (LAMA's archive), that of the first download is
recorded in `checksums.json` beside the file, and every later use and download of the file must have it.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from filelock import FileLock
from tqdm import tqdm

from ..checks import brief
from ..files import appearing, file_sha256

RECORDS = "checksums.json"


def download(url: str, folder: Path, *, sha256: str | None = None, tries: int = 3) -> Path:
    """The file at `url`, in `folder`: downloaded unless it is there already. One process at a time uses a folder.

    An interrupted download stays in a .part file. The next of the `tries`, or the next call, resumes it if the server
    can and its file has not changed.

    Raises ValueError for a checksum other than `sha256`, or other than that of the first download; a wrong download is
    deleted. Raises ConnectionError if the server cannot be reached, the transfer breaks off, or HF_HUB_OFFLINE forbids
    the network.
    """
    path = folder / PurePosixPath(urllib.request.url2pathname(url.split("?")[0])).name
    if not path.exists() and os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise ConnectionError(f"{url} is not in {folder}, and HF_HUB_OFFLINE forbids to download it")
    with _locked(folder):
        return _download(url, path, sha256, tries)


def _locked(folder: Path) -> FileLock:
    """A lock on `folder`, which is made, so that two processes do not write the same files in it."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".lock")


def _download(url: str, path: Path, sha256: str | None, tries: int) -> Path:
    expected = sha256 or _recorded(path.parent).get(path.name, {}).get("sha256")
    if path.exists():
        if expected and (actual := file_sha256(path)) != expected:
            raise ValueError(f"{path} has checksum {actual[:12]}…, not {expected[:12]}…; delete it to get it again")
        return path
    part = path.with_name(path.name + ".part")
    for attempt in range(tries):
        try:
            _fetch(url, part)
            break
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                raise ConnectionError(f"{url}: the server says {error.code} {error.reason}") from None
            if attempt == tries - 1:
                kept = f"; {part.stat().st_size:,} bytes are kept: try again to go on" if part.exists() else ""
                raise ConnectionError(f"{url} broke off ({getattr(error, 'reason', None) or error}){kept}") from None
    actual = file_sha256(part)
    if expected and actual != expected:
        part.unlink()
        raise ValueError(f"{url} has checksum {actual[:12]}…, not {expected[:12]}…: not the file wanted; nothing kept")
    _record(path, {"url": url, "sha256": actual, "bytes": part.stat().st_size})
    os.replace(part, path)
    return path


def _fetch(url: str, part: Path) -> None:
    """Download the rest of `part`. Raises OSError if the transfer ends before the file does."""
    have = part.stat().st_size if part.exists() else 0
    tag = _recorded(part.parent).get(part.name, {}).get("version")
    request = urllib.request.Request(url, headers={"User-Agent": "kmod"})
    if have and tag:  # without a version, nothing shows that the rest belongs to this part
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag)
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        part.unlink()  # the part is complete, or of another file: start again to be sure
        raise OSError("the server's file ends before this part does") from None
    with response:
        resumed = response.status == 206
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if tag and not tag.startswith("W/"):  # a weak tag does not promise the same bytes
            _record(part, {"version": tag})
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None)
        with open(part, "ab" if resumed else "wb") as file, bar:
            while chunk := response.read(1 << 20):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and part.stat().st_size != total:
        raise OSError(f"{part.stat().st_size:,} of {total:,} bytes arrived")


def _recorded(folder: Path) -> dict[str, dict]:
    """File name → what is known about it, from `checksums.json`."""
    try:
        return json.loads((folder / RECORDS).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ValueError(f"{folder / RECORDS} is damaged; delete it and the files beside it") from None


def _record(path: Path, about: dict) -> None:
    records = _recorded(path.parent) | {path.name: about}
    records.pop(f"{path.name}.part", None)
    with appearing(path.with_name(RECORDS)) as draft:
        draft.write_text(json.dumps(records, indent=1), "utf-8")


def unzip(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> Path:
    """The folder with the members of a zip `archive` whose names are `wanted`, unpacked unless it exists. Its name is
    that of `folder` and the archive's checksum.

    The folder appears with all members or not at all; of several processes one unpacks and the others wait.

    Raises ValueError for an archive that is damaged or holds nothing that is wanted, and for a wanted member that would
    land outside `folder`.
    """
    folder = folder.with_name(f"{folder.name}-{file_sha256(archive)[:12]}")
    with _locked(folder.parent):
        if folder.is_dir():
            return folder
        with appearing(folder) as draft:
            try:
                with zipfile.ZipFile(archive) as file:
                    members = [name for name in file.namelist() if not name.endswith("/") and wanted(name)]
                    for name in members:
                        path = PurePosixPath(name.replace("\\", "/"))
                        if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                            raise ValueError(brief(f"{archive} holds {name!r}, which would land outside; not unpacked"))
                    file.extractall(draft, members)
            except (zipfile.BadZipFile, EOFError, zlib.error) as error:
                raise ValueError(f"{archive} is damaged ({error}); delete it to download it again") from None
            if not members:
                raise ValueError(f"{archive} holds none of the files wanted")
    return folder
