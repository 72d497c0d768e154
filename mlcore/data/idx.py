"""IDX, the format MNIST comes in: a header of big-endian sizes, then the values."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlcore.data.compressed import is_gzip, most_unpacked, open_plain
from mlcore.data.files import atomic_write, require_file
from mlcore.kernels.errors import InputError

# The header's type byte, the values as stored, and the word for them in a file's name.
_TYPES: dict[int, tuple[np.dtype[Any], str]] = {
    0x08: (np.dtype(">u1"), "ubyte"),
    0x09: (np.dtype(">i1"), "byte"),
    0x0B: (np.dtype(">i2"), "short"),
    0x0C: (np.dtype(">i4"), "int"),
    0x0D: (np.dtype(">f4"), "float"),
    0x0E: (np.dtype(">f8"), "double"),
}
_CODES = {dtype.newbyteorder("="): (code, word) for code, (dtype, word) in _TYPES.items()}

# NumPy 1 has no more dimensions than this, and no data set has a tenth of them.
_MOST_DIMENSIONS = 32


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an IDX file, plain or gzip (told by its content, not by its name).

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ndarray
        In the header's shape, native byte order: uint8, int8, int16, int32, float32 or float64.

    Raises
    ------
    MissingFileError
        There is no such file.
    InputError
        It is not IDX, a size is zero or cannot be, it is cut short, goes on after its end, or its
        gzip data is damaged. Sizes are checked before memory is taken.
    """
    path = require_file(Path(path).expanduser())
    packed, on_disk = is_gzip(path), path.stat().st_size
    try:
        with open_plain(path) as file:
            shape, dtype = _read_header(file, path)
            header_bytes = 4 + 4 * len(shape)
            expected = header_bytes + math.prod(shape) * dtype.itemsize
            if not packed and on_disk != expected:
                raise InputError(_wrong_size(path, shape, dtype, expected, f"{on_disk:,}"))
            if packed and expected > most_unpacked(on_disk):
                bound = f"at most {most_unpacked(on_disk):,} once unpacked"
                raise InputError(_wrong_size(path, shape, dtype, expected, bound))
            values = np.empty(shape, dtype)
            received = _fill(file, values)
            if received != values.nbytes:
                found = f"{header_bytes + received:,} once unpacked"
                raise InputError(_wrong_size(path, shape, dtype, expected, found))
            # Reading on to the end is also what makes gzip compare its checksum.
            if file.read(1):
                found = "more once unpacked"
                raise InputError(_wrong_size(path, shape, dtype, expected, found))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: the gzip data is damaged or cut short: {error}") from error
    if dtype.itemsize > 1 and not dtype.isnative:
        return values.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return values


def write_idx(
    path: str | os.PathLike[str], values: ArrayLike, *, compress: bool | None = None
) -> None:
    """Write an array as an IDX file, whole or not at all.

    Parameters
    ----------
    path
        The file; one that is there is replaced.
    values
        uint8, int8, int16, int32, float32 or float64, of at least one dimension and one value.
    compress
        Whether to gzip it. Default: if the name ends in ``.gz``.

    Raises
    ------
    InputError
        The dtype has no IDX type, there are no values, or the place cannot be written to.
    """
    array = np.asarray(values)
    code, _ = _type_of(array.dtype, str(path))
    if not array.ndim or not array.size or max(array.shape) >= 2**32:
        raise InputError(
            f"{path}: an IDX file cannot hold the shape {array.shape}; every size is 1 to 2**32 - 1"
        )
    if array.ndim > _MOST_DIMENSIONS:
        raise InputError(f"{path}: {array.ndim} dimensions, at most {_MOST_DIMENSIONS} are read")
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    big_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder(">"))
    body = big_endian.reshape(-1).view(np.uint8).data
    packed = Path(path).suffix == ".gz" if compress is None else compress
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if packed:
            # No name and no time in the gzip header: the same values give the same bytes.
            with gzip.GzipFile("", "wb", 9, file, mtime=0) as stream:
                stream.write(header)
                stream.write(body)
        else:
            file.write(header)
            file.write(body)


def idx_ending(values: NDArray[Any]) -> str:
    """Return the official end of an IDX file's name, for instance ``idx3-ubyte``.

    Raises
    ------
    InputError
        The dtype has no IDX type.
    """
    _, word = _type_of(values.dtype, "IDX")
    return f"idx{values.ndim}-{word}"


def is_idx_header(head: bytes) -> bool:
    """Tell by its first four bytes whether a plain file is IDX."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in _TYPES and head[3] > 0


def _type_of(dtype: np.dtype[Any], where: str) -> tuple[int, str]:
    try:
        return _CODES[dtype.newbyteorder("=")]
    except KeyError:
        known = ", ".join(str(each) for each in _CODES)
        raise InputError(f"{where}: IDX has no type for {dtype}; it has {known}") from None


def _read_header(file: BufferedIOBase, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    magic = file.read(4)
    if len(magic) < 4:
        raise InputError(f"{path}: cut short in its magic number, {len(magic)} of 4 bytes")
    if magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise InputError(
            f"{path} is not an IDX file: its magic number is 0x{magic.hex()}, expected 0x0000, "
            "a type of 08, 09, 0b, 0c, 0d or 0e, and the number of dimensions"
        )
    dimensions = magic[3]
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise InputError(
            f"{path}: its header gives {dimensions} dimensions, expected 1 to {_MOST_DIMENSIONS}"
        )
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise InputError(
            f"{path}: cut short in its {dimensions} sizes, {len(sizes)} of {4 * dimensions} bytes"
        )
    shape = struct.unpack(f">{dimensions}I", sizes)
    if 0 in shape:
        raise InputError(f"{path}: size {shape.index(0)} of its shape {shape} is zero")
    return shape, _TYPES[magic[2]][0]


def _fill(file: BufferedIOBase, values: NDArray[Any]) -> int:
    """Read until `values` is full or the file ends, and return the bytes read."""
    view = values.reshape(-1).view(np.uint8).data
    received = 0
    while received < len(view):
        chunk = file.read(min(1 << 20, len(view) - received))
        if not chunk:
            break
        view[received : received + len(chunk)] = chunk
        received += len(chunk)
    return received


def _wrong_size(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], expected: int, found: str
) -> str:
    _, word = _type_of(dtype, str(path))
    sizes = "x".join(map(str, shape))
    return (
        f"{path}: its header promises {sizes} {word} values, {expected:,} bytes, but it has {found}"
    )
