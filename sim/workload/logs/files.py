"""The files of a log: one, a folder of parts or a glob; plain or compressed; CSV, JSON or Parquet by what they hold."""

from __future__ import annotations

import glob
import io
import stat
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from hashlib import file_digest, sha256
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from sim.schema import TraceError

Kind = Literal["csv", "json", "parquet", "arrow"]
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\x04\x22\x4d\x18": "lz4"}
_UNPACK_FIRST = {b"PK\x03\x04": "a ZIP archive (or an Excel workbook)", b"\xfd7zXZ\x00": "an xz archive"}
_PEEKED = 1 << 16


class LogFile(NamedTuple):
    """One file of a log. `shown` is what the user calls it; `encoding` is that of its text, as far as bytes tell."""

    file: Path
    shown: str
    kind: Kind
    compression: str | None
    encoding: str | None

    def open(self) -> BinaryIO:
        """Its content, unpacked. Raises TraceError."""
        return _opened(self.file, self.shown, self.compression)


def files_of(path: str) -> list[Path]:
    """The files that a path stands for, in order of their names. Raises TraceError if there are none.

    Only regular files are read: a pipe or a device may never end. Names that begin with a dot or an underscore are left
    out of folders, as other programs do that write tables in parts.
    """
    file = Path(path).expanduser()
    if any(sign in path for sign in "*?[") and not file.exists():
        files = [Path(name) for name in sorted(glob.glob(str(file), recursive=True)) if Path(name).is_file()]
        if not files:
            raise TraceError(f"{path}: no file has such a name")
        return files
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        parts = [part for part in sorted(file.rglob("*")) if part.is_file() and part.name[0] not in "._"]
        if not parts:
            raise TraceError(f"{path}: cannot be read: the folder holds no file")
        return parts
    if not stat.S_ISREG(mode):
        raise TraceError(f"{path}: is not a regular file")
    return [file]


def digest_of(files: list[Path], path: str) -> str:
    """SHA-256 of a file's content; of several files, of their digests in order. Raises TraceError."""
    digests = []
    for file in files:
        try:
            with file.open("rb") as content:
                digests.append(file_digest(content, "sha256").hexdigest())
        except OSError as error:
            raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
    return digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()


def look_into(file: Path, shown: str) -> LogFile:
    """What a file holds, by its first bytes. Raises TraceError for one that is empty, binary or a mere pointer."""
    try:
        with file.open("rb") as content:
            start = content.read(8)
    except OSError as error:
        raise TraceError(f"{shown}: cannot be read: {error.strerror}") from None
    compression = next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), None)
    if file.suffix == ".parquet" or start.startswith(b"PAR1"):
        return LogFile(file, shown, "parquet", None, None)
    if start.startswith(b"ARROW1"):
        return LogFile(file, shown, "arrow", None, None)
    for magic, what in _UNPACK_FIRST.items():
        if start.startswith(magic):
            raise TraceError(f"{shown}: is {what}; unpack it, or save it as CSV")
    with _opened(file, shown, compression) as content:
        try:
            peeked = content.read(_PEEKED)
        except (OSError, EOFError) as error:
            raise TraceError(f"{shown}: cannot be unpacked: {' '.join(str(error).split())}") from None
    encoding = "utf-16" if peeked.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else None
    text = peeked.decode("utf-16", errors="replace").encode() if encoding else peeked.removeprefix(BOM_UTF8)
    text = text.lstrip()
    if not text:
        raise TraceError(f"{shown}: is empty")
    if text.startswith(b"version https://git-lfs"):
        raise TraceError(f"{shown}: is a Git LFS pointer, not the data; fetch it with `git lfs pull`")
    if b"\x00" in text:
        raise TraceError(f"{shown}: is not a text file")
    return LogFile(file, shown, "json" if text[:1] in b"{[" else "csv", compression, encoding)


def _opened(file: Path, shown: str, compression: str | None) -> BinaryIO:
    import pyarrow as pa  # here, so that runs without a log need not load it

    try:
        if compression is None:
            return file.open("rb")
        return io.BufferedReader(pa.input_stream(str(file), compression=compression), 1 << 20)
    except (OSError, pa.ArrowException) as error:
        raise TraceError(f"{shown}: cannot be read: {' '.join(str(error).split())}") from None
