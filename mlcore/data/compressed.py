"""Compressed files: gzip and xz, told by content, and how far a gzip stream can grow."""

from __future__ import annotations

import gzip
import os
from io import BufferedIOBase, BytesIO
from pathlib import Path

from mlcore.kernels.errors import InputError

XZ_MAGIC = b"\xfd7zXZ\x00"
GZIP_MAGIC = b"\x1f\x8b"

# Deflate cannot do better than 1032 to 1, so a header that promises more is false.
MOST_GROWTH = 1032
SLACK = 1024


def most_unpacked(packed_bytes: int) -> int:
    """Return a bound on what `packed_bytes` of deflate data can unpack to, in bytes."""
    return packed_bytes * MOST_GROWTH + SLACK


def is_gzip(path: str | os.PathLike[str]) -> bool:
    """Tell by its first two bytes whether a file is gzip."""
    with Path(path).open("rb") as file:
        return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def open_plain(path: str | os.PathLike[str]) -> BufferedIOBase:
    """Open a file for reading, unpacking it on the way if it is gzip."""
    return gzip.open(path, "rb") if is_gzip(path) else Path(path).open("rb")


def is_xz(path: str | os.PathLike[str]) -> bool:
    """Tell by its first bytes whether a file is xz."""
    with Path(path).open("rb") as file:
        return file.read(len(XZ_MAGIC)) == XZ_MAGIC


def without_xz(path: Path) -> Path:
    """Return the name of what is inside: train.h5 for train.h5.xz, and any other as it is."""
    return path.with_suffix("") if path.suffix.casefold() == ".xz" else path


def read_xz(path: Path) -> BytesIO:
    """Return the unpacked content of an xz file, in memory.

    Raises
    ------
    InputError
        It is damaged, cut short or too large for the memory, or this Python cannot read xz.
    """
    try:
        import lzma
    except ImportError as error:
        raise InputError(
            f"{path} is compressed by xz, which this Python was built without: use another one, "
            "or build it again with the headers of liblzma"
        ) from error
    try:
        return BytesIO(lzma.decompress(path.read_bytes()))
    except (lzma.LZMAError, EOFError) as error:
        raise InputError(f"{path} is damaged or cut short: {error}") from error
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory once unpacked") from error


def pack_xz(content: bytes) -> bytes:
    """Return `content` as an xz file, as small as can be for pixels of a byte each."""
    import lzma

    # What a byte is follows from the one before it, and not from its place in a word.
    pixels = {"lc": 4, "lp": 0, "pb": 0}
    best = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, **pixels}
    return lzma.compress(content, lzma.FORMAT_XZ, filters=[best])
