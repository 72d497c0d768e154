"""How far a compressed stream can grow, and gzip by content, whatever a file is called."""

from __future__ import annotations

import gzip
import os
from io import BufferedIOBase
from pathlib import Path

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
