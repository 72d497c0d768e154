"""Conversion loses nothing, and writes all or nothing."""

import contextlib
import gzip

import h5py
import numpy as np
import pytest

from mlcore.data import Dataset, convert, load, write_hdf5, write_idx
from mlcore.kernels.errors import InputError, MissingFileError


@pytest.fixture
def source(tmp_path):
    """A folder with four IDX files of random bytes."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "source"
    folder.mkdir()
    for part, count in (("train", 30), ("t10k", 20)):
        images = generator.integers(0, 256, (count, 4, 5), dtype=np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10)
    return folder


def unpacked(folder):
    return {
        path.name.removesuffix(".gz"): gzip.decompress(path.read_bytes())
        if path.suffix == ".gz"
        else path.read_bytes()
        for path in folder.iterdir()
    }


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("way", [["hdf5"], ["npz"], ["one.npz"], ["hdf5", "one.npz", "npz"]])
def test_bytes_are_equal_after_a_round_trip(tmp_path, source, way, one_hot):
    here = source
    for number, step in enumerate(way):
        there = tmp_path / f"{number}-{step}"
        format = None if "." in step else step
        written = convert(here, there, format=format, one_hot_labels=one_hot)
        assert all(path.is_file() for path in written)
        here = there
    convert(here, tmp_path / "back", format="idx")
    assert unpacked(tmp_path / "back") == unpacked(source)


def test_single_file_of_one_part(tmp_path, source):
    for path in source.glob("t10k*"):
        path.unlink()
    assert convert(source, tmp_path / "a.h5", x_name="in", y_name="out") == (tmp_path / "a.h5",)
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) == {"in", "out"}
    convert(tmp_path / "a.h5", tmp_path / "back", format="idx", x_name="in", y_name="out")
    assert unpacked(tmp_path / "back") == unpacked(source)


def test_names_of_other_types_and_of_validation(tmp_path):
    folder = tmp_path / "h5"
    folder.mkdir()
    floats = Dataset(np.ones((3, 2), np.float32), np.array([0.5, 1, 2], dtype=np.float32))
    write_hdf5(folder / "train.h5", floats)
    write_hdf5(folder / "validation.h5", Dataset(np.ones((3, 2), np.int16), [0, 1, 300]))
    convert(folder, tmp_path / "idx", format="idx")
    assert {path.name for path in (tmp_path / "idx").iterdir()} == {
        "train-images-idx2-float.gz",
        "train-labels-idx1-float.gz",
        "validation-images-idx2-short.gz",
        "validation-labels-idx1-int.gz",
    }
    back = load(tmp_path / "idx")
    np.testing.assert_array_equal(back.train.targets, floats.targets)
    assert back.validation.targets.tolist() == [0, 1, 300]


def test_bundled_sample_survives(tmp_path):
    convert("mnist-sample", tmp_path / "sample", format="idx")
    before, after = load("mnist-sample"), load(tmp_path / "sample")
    for part, dataset in before.parts().items():
        np.testing.assert_array_equal(after.parts()[part].inputs, dataset.inputs)
        np.testing.assert_array_equal(after.parts()[part].targets, dataset.targets)


def test_nothing_is_overwritten_unasked(tmp_path, source):
    target = tmp_path / "a.npz"
    target.write_bytes(b"old")
    with pytest.raises(InputError, match=r"a\.npz is there already"):
        convert(source, target)
    assert target.read_bytes() == b"old"
    convert(source, target, overwrite=True)
    assert len(load(target).train) == 30
    convert(source, tmp_path / "f", format="hdf5")
    with pytest.raises(InputError, match=r"f holds test\.h5 already"):
        convert(source, tmp_path / "f", format="hdf5")
    convert(source, tmp_path / "f", format="hdf5", overwrite=True)


def test_folders_are_not_mixed(tmp_path, source):
    convert(source, tmp_path / "f", format="hdf5")
    with pytest.raises(InputError, match=r"holds test\.h5, which would be mixed"):
        convert(source, tmp_path / "f", format="npz", overwrite=True)
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "README").touch()
    convert(source, tmp_path / "g", format="npz")
    assert len(load(tmp_path / "g").test) == 20


@pytest.mark.parametrize(
    ("destination", "format", "message"),
    [
        ("out", None, "does not say which format is meant"),
        ("out.txt", None, "does not say which format"),
        ("out", "hdf", "unknown format 'hdf'. Did you mean 'hdf5'?"),
        ("out.h5", "npz", "asks for hdf5, the format given is npz"),
        ("out.h5", None, "source has the parts train, test, and an HDF5 file holds one"),
        ("source", "hdf5", "holds t10k-images-idx3-ubyte, which would be mixed"),
        ("folder.npz", None, "is a folder already"),
        ("file", "idx", "is a file already"),
    ],
)
def test_errors_write_nothing(tmp_path, source, destination, format, message):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        convert(source, tmp_path / destination, format=format)
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_places(tmp_path, source):
    with pytest.raises(MissingFileError, match=r"the folder .*nowhere does not exist"):
        convert(source, tmp_path / "nowhere" / "a.npz")
    with pytest.raises(MissingFileError, match=r"sorce does not exist\. Did you mean 'source'"):
        convert(tmp_path / "sorce", tmp_path / "a.npz")


def test_failure_half_way_leaves_nothing(tmp_path, source, monkeypatch):
    written = []

    @contextlib.contextmanager
    def interrupted(path):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        yield path

    monkeypatch.setattr("mlcore.data.idx.atomic_write", interrupted)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out", format="idx")
    assert written
    assert sorted(tmp_path.rglob("*")) == before


def test_wide_integers_have_no_idx_type(tmp_path):
    write_hdf5(tmp_path / "a.h5", Dataset(np.ones((3, 2), np.int64), [0, 1, 0]))
    with pytest.raises(InputError, match="IDX has no type for int64"):
        convert(tmp_path / "a.h5", tmp_path / "out", format="idx")
    assert not (tmp_path / "out").exists()
