"""HDF5 files: round trips, every dtype and layout, and one clear error for each damage."""

import lzma
import sys

import h5py
import numpy as np
import pytest

from mlcore.data import Dataset, load, read_hdf5, write_hdf5
from mlcore.kernels.errors import InputError, MissingFileError

DTYPES = ["u1", "i1", ">u2", "<i2", ">u4", "<i4", ">u8", "<i8", ">f2", ">f4", "<f4", ">f8", "<f8"]


def write(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set.h5"


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_dtype_and_byte_order(path, dtype):
    values = np.arange(12).reshape(3, 4).astype(dtype)
    dataset = read_hdf5(write(path, xdata=values, ydata=np.arange(3, dtype=">i8")))
    assert dataset.inputs.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(dataset.inputs, values)
    assert dataset.targets.dtype == np.int32
    assert dataset.targets.tolist() == [0, 1, 2]


def test_notebook_format(path):
    images = np.random.default_rng(0).integers(0, 256, (5, 784), dtype=np.uint8)
    labels = np.array([3, 1, 4, 1, 5])
    for rows in (np.eye(10)[labels], np.eye(10, dtype=np.uint8)[labels]):
        dataset = read_hdf5(write(path, xdata=images, ydata=rows))
        assert dataset.targets.tolist() == labels.tolist()
        np.testing.assert_array_equal(dataset.inputs, images)
        assert (dataset.name, dataset.scale) == ("set.h5", 1 / 255)


def test_images_labels_columns_booleans_and_soft_targets(path):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    dataset = read_hdf5(write(path, xdata=images, ydata=np.array([[1], [0]])))
    assert (dataset.inputs.shape, dataset.image_shape) == ((2, 12), (3, 4))
    assert dataset.targets.tolist() == [1, 0]
    soft = np.array([[0.5, 0.5], [0.1, 0.9]], dtype=">f4")
    dataset = read_hdf5(write(path, xdata=images > 7, ydata=soft))
    assert dataset.inputs.dtype == np.uint8
    np.testing.assert_array_equal(dataset.targets, soft)


def test_named_datasets_in_groups(path):
    write(path, **{"a/x": np.ones((2, 3)), "a/y": np.zeros(2)})
    assert read_hdf5(path, x_name="a/x", y_name="a/y").inputs.shape == (2, 3)


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray, lambda a: a[::-1]])
def test_round_trip_keeps_everything(path, one_hot, layout):
    images = layout(np.arange(5 * 12, dtype=np.uint8).reshape(5, 12))
    images.flags.writeable = False
    written = Dataset(images, [0, 2, 1, 1, 0], 0.25, "s", ["a", "b", "ç"], (3, 4))
    write_hdf5(path, written, one_hot_labels=one_hot)
    back = read_hdf5(path, name="s")
    assert repr(back) == repr(written)
    assert back.class_names == written.class_names
    np.testing.assert_array_equal(back.inputs, images)
    np.testing.assert_array_equal(back.targets, written.targets)
    with h5py.File(path) as file:
        assert file["ydata"].shape == ((5, 3) if one_hot else (5,))


@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip_of_every_dtype(path, dtype):
    values = np.arange(-3, 9).astype(dtype).reshape(4, 3)
    write_hdf5(path, Dataset(values, np.array([0.5, 1, 2, 3])), chunk_rows=3)
    back = read_hdf5(path)
    assert back.inputs.tobytes() == values.astype(back.inputs.dtype).tobytes()
    assert back.targets.dtype == np.float64


def test_same_content_gives_same_bytes(tmp_path):
    dataset = Dataset(np.ones((3, 2)), [0, 1, 0], class_names=["a", "b"])
    for name in ("a.h5", "b.h5"):
        write_hdf5(
            tmp_path / name, dataset, attributes={"source": "here"}, extra={"i": np.arange(3)}
        )
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        # Times have a resolution of seconds, so equal bytes alone would not show them.
        assert h5py.h5g.get_objinfo(file.id, b"xdata").mtime == 0
        assert file.attrs["source"] == "here"
        assert file["i"][()].tolist() == [0, 1, 2]


def test_given_scale_and_names_go_before_the_file(path):
    write_hdf5(path, Dataset(np.ones((2, 2)), [0, 1], 0.25, class_names=["a", "b"]))
    dataset = read_hdf5(path, scale=3.0, class_names=["c", "d"])
    assert (dataset.scale, dataset.class_names) == (3.0, ("c", "d"))


X, Y = np.ones((4, 3)), np.arange(4)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"xdata": X, "y_data": Y}, "has no dataset 'ydata'. Did you mean 'y_data'?"),
        ({"xdata": X}, "It holds xdata; choose one with y_name"),
        ({"xdata/inner": X, "ydata": Y}, "has no dataset 'xdata'"),
        ({}, "holds no dataset at all, expected 'xdata'"),
        ({"xdata": X, "ydata": Y[:3]}, "'xdata' has 4 rows but 'ydata' has 3"),
        ({"xdata": X[:0], "ydata": Y[:0]}, r"'xdata' is empty: its shape is \(0, 3\)"),
        ({"xdata": X, "ydata": np.zeros((4, 0))}, "'ydata' is empty"),
        ({"xdata": 3.0, "ydata": Y}, r"'xdata' is empty: its shape is \(\)"),
        ({"xdata": h5py.Empty("f4"), "ydata": Y}, "'xdata' is empty"),
        ({"xdata": np.full(4, b"a"), "ydata": Y}, r"dataset 'xdata' has dtype \|S1, expected"),
        ({"xdata": ["a"] * 4, "ydata": Y}, "dataset 'xdata' has dtype object"),
        ({"xdata": X, "ydata": np.zeros(4, "i4,f4")}, "dataset 'ydata' has dtype"),
        ({"xdata": X * 1j, "ydata": Y}, "has dtype complex128"),
        (
            {"xdata": X, "ydata": np.array([[1, 0], [0, 1], [1, 1], [0, 0]])},
            "dataset 'ydata': one-hot row 2 sums to 2",
        ),
        ({"xdata": X, "ydata": np.zeros((4, 1, 2))}, r"'ydata' has shape \(4, 1, 2\)"),
    ],
)
def test_errors_name_file_and_dataset(path, arrays, message):
    with pytest.raises(InputError, match=message) as caught:
        read_hdf5(write(path, **arrays))
    assert str(path) in str(caught.value)


def test_files_that_are_not_hdf5(tmp_path, path):
    with pytest.raises(MissingFileError, match=r"set\.h5 does not exist"):
        read_hdf5(path)
    with pytest.raises(InputError, match="is not a file"):
        read_hdf5(tmp_path)
    for content in (b"", b"hello", b"\x89HDF"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is not an HDF5 file"):
            read_hdf5(path)


def test_every_truncation_is_an_error(path):
    write_hdf5(path, Dataset(np.random.default_rng(0).random((40, 30)), np.arange(40)))
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut short|not an HDF5"):
            read_hdf5(path)


def test_damaged_block_is_an_error(path):
    write_hdf5(path, Dataset(np.random.default_rng(0).random((40, 30)), np.arange(40)))
    with h5py.File(path) as file:
        chunk = file["xdata"].id.get_chunk_info(0)
    damaged = bytearray(path.read_bytes())
    damaged[chunk.byte_offset + chunk.size // 2] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"set\.h5 cannot be read as HDF5"):
        read_hdf5(path)


def test_random_damage_is_an_input_error_or_unseen(path):
    write_hdf5(path, Dataset(np.arange(60).reshape(20, 3), np.arange(20), class_names="a" * 20))
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = []
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[generator.integers(len(whole))] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            read_hdf5(path)
        except InputError as error:
            refused.append(str(error))
    assert refused
    assert not any("\n" in message for message in refused)


@pytest.mark.parametrize("keywords", [{"chunks": (1000, 1000)}, {"chunks": None}])
def test_promises_are_checked_before_memory_is_taken(path, keywords):
    with h5py.File(path, "w") as file:
        file.create_dataset("xdata", (10**12, 10**6), "u1", **keywords)
        file.create_dataset("ydata", (10**12,), "u1", **keywords | {"chunks": None})
    with pytest.raises(InputError, match=r"'xdata' is only partly stored: .* the file holds 0"):
        read_hdf5(path)


def test_bad_attributes(path):
    write(path, xdata=X, ydata=Y)
    with h5py.File(path, "a") as file:
        file["xdata"].attrs["scale"] = "big"
    with pytest.raises(InputError, match="attributes 'scale' and 'image_shape'"):
        read_hdf5(path)
    with h5py.File(path, "a") as file:
        file["xdata"].attrs["scale"] = 1.0
        file["xdata"].attrs["image_shape"] = [2, 2]
    with pytest.raises(InputError, match="image_shape"):
        read_hdf5(path)


def test_write_errors_leave_nothing(tmp_path, path):
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="no samples"):
        write_hdf5(path, Dataset(X[:0], Y[:0]))
    with pytest.raises(InputError, match="must differ"):
        write_hdf5(path, Dataset(X, Y), x_name="a", y_name="a")
    with pytest.raises(InputError, match="label 3"):
        write_hdf5(path, Dataset(X, Y, class_names="abc"), one_hot_labels=True)
    with pytest.raises(TypeError):
        write_hdf5(path, Dataset(X, Y), extra={"bad": np.array([object()])})
    assert [each.name for each in tmp_path.iterdir()] == ["set.h5"]
    assert path.read_bytes() == b"old"


class TestCompressedAsAWhole:
    @pytest.fixture
    def packed(self, tmp_path):
        images = np.random.default_rng(0).integers(0, 9, (50, 12), dtype=np.uint8)
        dataset = Dataset(images, np.arange(50) % 10, class_names=list("abcdefghij"))
        write_hdf5(tmp_path / "train.h5.xz", dataset)
        return tmp_path / "train.h5.xz", dataset

    def test_it_is_read_whatever_it_is_called(self, packed, tmp_path):
        path, dataset = packed
        assert path.read_bytes()[:6] == b"\xfd7zXZ\x00"
        copy = tmp_path / "other.h5"
        copy.write_bytes(path.read_bytes())
        for again in (read_hdf5(path), read_hdf5(copy), load(path).train, load(copy).train):
            np.testing.assert_array_equal(again.inputs, dataset.inputs)
            np.testing.assert_array_equal(again.targets, dataset.targets)
            assert again.class_names == dataset.class_names

    def test_as_a_part_in_a_folder(self, packed, tmp_path):
        dataset = packed[1]
        assert len(load(tmp_path).train) == len(dataset)
        write_hdf5(tmp_path / "train.h5", dataset)
        with pytest.raises(InputError, match=r"both train\.h5 and train\.h5\.xz as its"):
            load(tmp_path)

    @pytest.mark.parametrize("kept", [7, 100, -1])
    def test_cut_short(self, packed, kept):
        path, _ = packed
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(InputError, match=r"train.h5.xz is damaged or cut short: "):
            load(path)

    def test_something_else_inside(self, packed):
        path, _ = packed
        path.write_bytes(lzma.compress(b"not HDF5"))
        with pytest.raises(InputError, match=r"train.h5.xz cannot be read as HDF5"):
            load(path)

    def test_a_python_without_xz(self, packed, monkeypatch):
        monkeypatch.setitem(sys.modules, "lzma", None)
        with pytest.raises(InputError, match=r"compressed by xz, which this Python was built with"):
            load(packed[0])
