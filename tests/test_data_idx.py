"""IDX files: every type, plain and gzip, and no memory for false promises."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from mlcore.data import read_idx, write_idx
from mlcore.data.idx import idx_ending, is_idx_header
from mlcore.kernels.errors import InputError, MissingFileError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def header(code, *sizes):
    return struct.pack(f">HBB{len(sizes)}I", 0, code, len(sizes), *sizes)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", CODES)
def test_reads_what_the_format_says(tmp_path, dtype, packed):
    values = np.arange(-6, 18).reshape(2, 3, 4).astype(dtype)
    content = header(CODES[dtype], 2, 3, 4) + values.astype(">" + dtype).tobytes()
    # The name says the opposite of the content.
    path = tmp_path / ("a-idx3" if packed else "a-idx3.gz")
    path.write_bytes(gzip.compress(content) if packed else content)
    read = read_idx(path)
    assert read.dtype == np.dtype(dtype)
    assert read.dtype.isnative
    assert read.flags.c_contiguous
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize(
    "layout", [np.ascontiguousarray, np.asfortranarray, lambda a: a[:, ::-1], lambda a: a[::2]]
)
def test_round_trip(tmp_path, dtype, order, layout, compress):
    values = layout(np.arange(-6, 18).reshape(4, 6).astype(order + dtype))
    values.flags.writeable = False
    path = tmp_path / "a"
    write_idx(path, values, compress=compress)
    back = read_idx(path)
    assert back.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(back, values)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == compress


def test_compression_is_by_suffix_and_repeats_bit_for_bit(tmp_path):
    values = np.arange(10, dtype=np.uint8)
    for name in ("a.gz", "b.gz", "c"):
        write_idx(tmp_path / name, values)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    # Bytes 4 to 7 of a gzip file are its time.
    assert (tmp_path / "a.gz").read_bytes()[4:8] == bytes(4)
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == (tmp_path / "c").read_bytes()
    assert (tmp_path / "c").read_bytes() == header(8, 10) + values.tobytes()


GOOD = header(8, 2, 3) + bytes(6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut short in its magic number, 0 of 4 bytes"),
        (b"\0\0\x08", "3 of 4 bytes"),
        (b"\x89PNG" + bytes(20), "is not an IDX file: its magic number is 0x89504e47"),
        (b"\0\0\x0a\x01" + bytes(20), "magic number is 0x00000a01"),
        (b"\0\x01\x08\x01" + bytes(20), "magic number is 0x00010801"),
        (header(8), "its header gives 0 dimensions, expected 1 to 32"),
        (b"\0\0\x08\xff" + bytes(2000), "255 dimensions"),
        (GOOD[:9], "cut short in its 2 sizes, 5 of 8 bytes"),
        (header(8, 2, 0), r"size 1 of its shape \(2, 0\) is zero"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_header_errors(tmp_path, content, message, packed):
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "packed", "found"),
    [
        (GOOD[:-1], False, "but it has 17$"),
        (GOOD + b"\0", False, "but it has 19$"),
        (GOOD[:-1], True, "but it has 17 once unpacked"),
        (GOOD + b"\0", True, "but it has more once unpacked"),
    ],
)
def test_wrong_length(tmp_path, content, packed, found):
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=f"promises 2x3 ubyte values, 18 bytes, {found}"):
        read_idx(path)


@pytest.mark.parametrize("packed", [False, True])
def test_absurd_sizes_take_no_memory(tmp_path, packed):
    content = header(0x0E, 10**9, 10**9) + bytes(100)
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    with pytest.raises(InputError, match="8,000,000,000,000,000,012 bytes, but it has"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_zeros_at_the_highest_compression_are_read(tmp_path):
    zeros = np.zeros((2000, 1000), dtype=np.uint8)
    write_idx(tmp_path / "a.gz", zeros)
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz"), zeros)


def test_damaged_gzip(tmp_path):
    path = tmp_path / "a.gz"
    write_idx(path, np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8))
    whole = path.read_bytes()
    for length in range(2, len(whole), 211):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"a\.gz: the gzip data is damaged or cut short"):
            read_idx(path)
    for position in range(10, len(whole), 211):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        with pytest.raises(InputError):
            read_idx(path)
    # The checksum stands in the last eight bytes, and only reading to the end compares it.
    path.write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    with pytest.raises(InputError, match="CRC"):
        read_idx(path)


def test_missing_file(tmp_path):
    (tmp_path / "train-images").touch()
    with pytest.raises(MissingFileError, match="Did you mean 'train-images'"):
        read_idx(tmp_path / "train-image")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(3, np.int64), "IDX has no type for int64; it has uint8, int8, int16, int32"),
        (np.zeros(3, np.float16), "no type for float16"),
        (np.uint8(3), r"cannot hold the shape \(\)"),
        (np.zeros((0, 3), np.uint8), r"cannot hold the shape \(0, 3\)"),
        pytest.param(
            [1] * 33,
            "33 dimensions, at most 32",
            marks=pytest.mark.skipif(
                np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy 1 has 32 dimensions"
            ),
        ),
    ],
)
def test_write_errors_leave_nothing(tmp_path, values, message):
    if isinstance(values, list):
        values = np.zeros(values, np.uint8)
    with pytest.raises(InputError, match=message):
        write_idx(tmp_path / "a", values)
    assert list(tmp_path.iterdir()) == []


def test_names():
    assert idx_ending(np.zeros((1, 2, 3), np.uint8)) == "idx3-ubyte"
    assert idx_ending(np.zeros(1, np.float32)) == "idx1-float"
    assert is_idx_header(header(8, 1))
    assert not is_idx_header(b"\0\0\x08")
    assert not is_idx_header(b"GIF8")
