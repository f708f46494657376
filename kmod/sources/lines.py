"""The lines of a text file, whatever program wrote it. What is wrong is said in one line, with the place and remedy."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..checks import brief

BYTE_ORDER_MARKS = {  # UTF-32 first: its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}
LINE_END = re.compile("\r\n?|\n")
NUL = "a NUL byte: a binary file, or UTF-16 without a byte order mark; save it as UTF-8 text"
NO_TEXT = {  # how files begin that are often taken for text
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or save the sheet as .csv",
    b"\xd0\xcf\x11\xe0": "a spreadsheet: save it as .csv",
    b"PAR1": "a Parquet file: read it with pandas or polars, and give the data frame",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself: get the file with git lfs pull",
}


class _Zstandard(io.RawIOBase):
    """The content of a Zstandard file of any number of frames.

    Reading raises EOFError where a frame is cut short, which zstandard's own reader takes for the end of the file, and
    OSError where one is damaged.
    """

    def __init__(self, path: Path):
        try:
            import zstandard
        except ImportError:
            raise ImportError(f"{path} needs the package zstandard: pip install zstandard") from None
        self.fault = zstandard.ZstdError
        self.unpack = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self.file, self.frame = path.open("rb"), None
        self.packed, self.ready = b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.file.close()
        super().close()

    def readinto(self, buffer) -> int:
        while not self.ready:
            self.packed = self.packed or self.file.read(1 << 16)
            if not self.packed and self.frame:
                raise EOFError
            if not self.packed:
                return 0
            self.frame = self.frame or self.unpack.decompressobj()
            try:
                self.ready = memoryview(self.frame.decompress(self.packed))
            except self.fault as error:
                raise OSError(str(error)) from None
            self.packed = self.frame.unused_data
            if self.frame.eof:
                self.frame = None
        n = min(len(buffer), len(self.ready))
        buffer[:n], self.ready = self.ready[:n], self.ready[n:]
        return n


COMPRESSED = {  # ending → how such a file begins, and what reads it
    ".gz": (b"\x1f\x8b", gzip.open),
    ".bz2": (b"BZh", bz2.open),
    ".xz": (b"\xfd7zXZ\0", lzma.open),
    ".zst": (b"(\xb5/\xfd", lambda path: io.BufferedReader(_Zstandard(path), 1 << 17)),
}


def ending(path: str | Path) -> str:
    """The ending of a file's name in lower case, without that of a compression: ".csv" for "Facts.CSV.gz"."""
    name = Path(path).name.lower()
    return Path(name.removesuffix(next((end for end in COMPRESSED if name.endswith(end)), ""))).suffix


def fault(where: object, what: object) -> ValueError:
    """The error that says `what` is wrong, and where: one line."""
    return ValueError(brief(f"{where}: {what}"))


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, text with its line end) of every line of a file that is plain, or compressed by gzip, bzip2, xz or
    Zstandard; in UTF-8, or in UTF-16 or UTF-32 with a byte order mark. Lines end as on any system.

    Raises FileNotFoundError, IsADirectoryError. Raises ValueError that names the first line that cannot be decoded or
    holds a NUL byte, or the last line before the place where a compressed file is damaged or cut short.
    """
    number, file = 0, _open(path)
    try:
        with file:
            head = file.peek(4)[:4]
            mark = next((mark for mark in BYTE_ORDER_MARKS if head.startswith(mark)), b"")
            file.read(len(mark))
            encoding = BYTE_ORDER_MARKS.get(mark, "utf-8")
            for number, text in enumerate(io.TextIOWrapper(file, encoding, newline=""), 1):
                if "\0" in text:
                    raise fault(f"{path}, line {number}", NUL)
                yield number, text
    except UnicodeDecodeError as error:
        good, nul, _ = error.object[: error.start].decode(encoding, "replace").partition("\0")
        where = f"{path}, line {number + 1 + len(LINE_END.findall(good))}"
        if nul:
            raise fault(where, NUL) from None
        byte = error.object[error.start]
        raise fault(where, f"byte 0x{byte:02x} is not {encoding.upper()}; save the whole file as UTF-8") from None
    except EOFError:
        raise fault(f"{path}, after line {number}", "the file is cut short; get it again") from None
    except (OSError, zlib.error, lzma.LZMAError) as error:
        if getattr(error, "errno", None) is not None:  # of the system, not of the content
            raise
        raise fault(f"{path}, after line {number}", f"the file is damaged ({error}); get it again") from None


def _open(path: Path) -> BinaryIO:
    """The content of a file, unpacked if it begins as a compressed file does."""
    if path.is_dir():
        raise IsADirectoryError(brief(f"{path} is a folder; give a file"))
    if not path.exists():
        raise FileNotFoundError(brief(f"no file {path}"))
    with path.open("rb") as file:
        head = file.read(32)
    if what := next((what for start, what in NO_TEXT.items() if head.startswith(start)), None):
        raise fault(path, f"this is {what}")
    if head[1:4] == b"*M\x18":  # a frame of Zstandard to be skipped, before those with content
        return COMPRESSED[".zst"][1](path)
    for start, opened in COMPRESSED.values():
        if head.startswith(start) and (start != b"BZh" or head[4:10] in (b"1AY&SY", b"\x17rE8P\x90")):
            return opened(path)
    if (end := path.suffix.lower()) in COMPRESSED:
        state = "not compressed so, or damaged" if head else "empty"
        raise fault(path, f"the file is {state}, though its name ends in {end}; get it again, or mend the name")
    return path.open("rb")
