"""NumPy archives: the names in use, round trips, and nothing unpickled."""

import io
import zipfile

import numpy as np
import pytest

from mlcore.data import Dataset, Splits, read_npz, write_npz
from mlcore.kernels.errors import InputError, MissingFileError

X, Y = np.arange(12, dtype=np.uint8).reshape(4, 3), np.array([0, 1, 2, 1])
DTYPES = ["u1", "i1", ">u2", "<i2", ">u4", "<i4", "<u8", ">i8", ">f2", ">f4", "<f4", ">f8", "<f8"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set.npz"


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("names", [("xdata", "ydata"), ("x", "y"), ("in", "out")])
def test_names_of_one_set(path, names):
    save(path, **dict(zip(names, (X, Y), strict=True)))
    splits = read_npz(path, x_name=names[0], y_name=names[1])
    assert splits.validation is splits.test is None
    np.testing.assert_array_equal(splits.train.inputs, X)
    assert splits.train.targets.tolist() == Y.tolist()
    assert splits.train.name == "set.npz"
    if names != ("in", "out"):
        np.testing.assert_array_equal(read_npz(path).train.inputs, X)


@pytest.mark.parametrize("validation", [None, "val", "validation"])
def test_keras_names(path, validation):
    arrays = {"x_train": X, "y_train": Y, "x_test": X[:2], "y_test": Y[:2]}
    if validation:
        arrays |= {f"x_{validation}": X[:1], f"y_{validation}": Y[:1]}
    splits = read_npz(save(path, **arrays), name="k")
    assert [len(part) for part in splits.parts().values()] == ([4, 1, 2] if validation else [4, 2])
    assert splits.test.name == "k test"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
def test_any_dtype_and_layout(path, dtype, layout, compressed):
    values = layout(np.arange(24).reshape(2, 3, 4).astype(dtype))
    (np.savez_compressed if compressed else np.savez)(path, x=values, y=np.eye(2)[[1, 0]])
    train = read_npz(path).train
    assert train.inputs.dtype == np.dtype(dtype).newbyteorder("=")
    assert train.image_shape == (3, 4)
    np.testing.assert_array_equal(train.inputs.reshape(2, 3, 4), values)
    assert train.targets.tolist() == [1, 0]


@pytest.mark.parametrize("one_hot", [False, True])
def test_round_trip_keeps_everything(path, one_hot):
    one = Dataset(X, Y, 0.25, "s", ["a", "ç", "c"], (3, 1))
    write_npz(path, one, one_hot_labels=one_hot)
    back = read_npz(path, name="s").train
    assert repr(back) == repr(one)
    assert back.class_names == one.class_names
    np.testing.assert_array_equal(back.inputs, one.inputs)
    np.testing.assert_array_equal(back.targets, one.targets)
    write_npz(path, Splits(one, one.subset([0]), one.subset([2, 1])))
    parts = read_npz(path).parts()
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 4,
        "validation": 1,
        "test": 2,
    }
    assert parts["test"].scale == 0.25


def test_nothing_is_written_that_reading_knows(path):
    write_npz(path, Dataset(X, Y))
    assert sorted(np.load(path).files) == ["x", "y"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "Y_": Y}, "has no arrays 'xdata' and 'ydata', x and y, or x_train and y_train"),
        ({"xdata": X, "y_data": Y}, "Did you mean 'y_data'.* choose with x_name and y_name"),
        ({}, "It holds no array at all"),
        ({"x": X, "y": Y[:2]}, "array 'x' has 4 rows but 'y' has 2"),
        ({"x": X[:0], "y": Y[:0]}, r"array 'x' is empty: its shape is \(0, 3\)"),
        ({"x": np.float32(1), "y": Y}, r"array 'x' is empty: its shape is \(\)"),
        ({"x": ["a"] * 4, "y": Y}, "array 'x' has dtype <U1"),
        ({"x": np.array([{}] * 4), "y": Y}, "array 'x' has dtype object"),
        ({"x": X, "y": [[1, 0], [0, 1], [1, 0], [1, 1]]}, "'y': one-hot row 3 sums to 2"),
        ({"x": X, "y": Y, "scale": [1.0, 2.0]}, r"array 'scale' has shape \(2,\)"),
        ({"x": X, "y": Y, "class_names": [1, 2]}, "array 'class_names' has dtype"),
    ],
)
def test_errors_name_file_and_array(path, arrays, message):
    with pytest.raises(InputError, match=message) as caught:
        read_npz(save(path, **arrays))
    assert str(path) in str(caught.value)


def test_pickles_are_never_loaded(path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.savez(path, x=np.array([Bomb()], dtype=object), y=np.zeros(1))
    with pytest.raises(InputError, match="has dtype object"):
        read_npz(path)


@pytest.mark.parametrize("shape", [(10**9, 10**9), (11, 1), (9, 1)])
def test_promises_are_checked_before_memory_is_taken(path, shape):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", head.getvalue() + bytes(80))
        archive.writestr("y.npy", b"nonsense")
    with pytest.raises(InputError, match=r"array 'x' has another size than it should: its shape"):
        read_npz(path)


def test_archive_that_lies_as_its_header_does(path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 1)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", head.getvalue() + bytes(80))
        archive.writestr("y.npy", b"nonsense")
        archive.filelist[0].file_size = len(head.getvalue()) + 10**9
    with pytest.raises(InputError, match="array 'x' has another size than it should"):
        read_npz(path)


def test_not_an_array(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"nonsense")
        archive.writestr("y.npy", b"nonsense")
    with pytest.raises(InputError, match=r"array 'x' is not an \.npy array"):
        read_npz(path)


def test_damaged_archives(path):
    np.savez_compressed(path, x=np.random.default_rng(0).random((50, 20)), y=np.arange(50))
    whole = path.read_bytes()
    for length in range(0, len(whole), 301):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="damaged or is not a NumPy archive"):
            read_npz(path)
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="damaged"):
        read_npz(path)


def test_checksum_of_stored_arrays_is_compared(path):
    np.savez(path, x=np.zeros((50, 20)), y=np.arange(50))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="Bad CRC-32"):
        read_npz(path)


def test_missing_and_write_errors(tmp_path, path):
    with pytest.raises(MissingFileError):
        read_npz(path)
    with pytest.raises(InputError, match="no samples"):
        write_npz(path, Dataset(X[:0], Y[:0]))
    with pytest.raises(InputError, match="must differ"):
        write_npz(path, Dataset(X, Y), x_name="a", y_name="a")
    assert list(tmp_path.iterdir()) == []
