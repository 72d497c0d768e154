"""Names, files and folders through one door, and the places that names are looked for in."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlcore.data import (
    CATALOG,
    Dataset,
    available,
    cache_folder,
    load,
    write_hdf5,
    write_idx,
    write_npz,
)
from mlcore.data.catalog import cached, entry, locate, places
from mlcore.data.folder import read_folder
from mlcore.kernels.errors import InputError, MissingFileError

IMAGES = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
LABELS = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)
SET = Dataset(IMAGES, LABELS)


@pytest.fixture(autouse=True)
def places_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("MLCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLCORE_DATA", raising=False)


@pytest.fixture(scope="module")
def full_data():
    """The folder with the full sets: $MLCORE_DATA, or shared/data beside the checkout."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MLCORE_DATA") or beside)
    if not (folder / "mnist").is_dir():
        pytest.skip("the full MNIST is not there: set MLCORE_DATA to a folder that has mnist/")
    return folder


def write_idx_folder(folder, *, dot=False, packed=True, parts=("train", "t10k")):
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        for kind, ending, values in (("images", "idx3", IMAGES), ("labels", "idx1", LABELS)):
            name = f"{part}-{kind}{'.' if dot else '-'}{ending}-ubyte{'.gz' if packed else ''}"
            write_idx(folder / name, values)
    return folder


def test_bundled_sample():
    splits = load("mnist-sample")
    train, test = splits
    assert [len(part) for part in splits.parts().values()] == [10_000, 1_000, 2_000]
    assert train.inputs.dtype == np.uint8
    assert train.image_shape == (28, 28)
    assert np.bincount(train.targets).tolist() == [1000] * 10
    assert np.bincount(test.targets).tolist() == [200] * 10
    assert train.class_names == tuple("0123456789")
    assert "CC BY-SA 3.0" in splits.source
    assert train.x.max() == 1.0


def test_hdf5_and_npz_files_by_content(tmp_path):
    # The suffixes are exchanged: content decides.
    write_hdf5(tmp_path / "a.npz", SET)
    write_npz(tmp_path / "b.h5", SET)
    for name in ("a.npz", "b.h5"):
        splits = load(tmp_path / name)
        assert splits.validation is splits.test is None
        np.testing.assert_array_equal(splits.train.inputs, SET.inputs)
        assert splits.source == str(tmp_path / name)
    write_hdf5(tmp_path / "c.h5", SET, x_name="in", y_name="out")
    assert len(load(str(tmp_path / "c.h5"), x_name="in", y_name="out", scale=2.0).train) == 6


@pytest.mark.parametrize("validation", ["validation.h5", "val.h5", None])
def test_folder_of_hdf5(tmp_path, validation):
    for name in ("train.h5", "test.hdf5", *([validation] if validation else [])):
        write_hdf5(tmp_path / name, SET)
    splits = load(tmp_path)
    assert (splits.validation is not None) == bool(validation)
    assert len(splits.test) == 6
    assert splits.train.name == f"{tmp_path.name} train"


def test_folder_of_npz(tmp_path):
    write_npz(tmp_path / "train.npz", SET)
    assert load(tmp_path).test is None
    np.savez(tmp_path / "test.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)
    with pytest.raises(InputError, match=r"test\.npz holds several parts itself"):
        load(tmp_path)


@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_folder_of_idx(tmp_path, dot, packed):
    train, test = load(write_idx_folder(tmp_path / "s", dot=dot, packed=packed))
    np.testing.assert_array_equal(train.inputs.reshape(IMAGES.shape), IMAGES)
    assert test.targets.tolist() == LABELS.tolist()
    assert train.image_shape == (4, 5)


def test_plain_idx_goes_before_gz(tmp_path):
    write_idx_folder(tmp_path, packed=True)
    write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES + 1)
    np.testing.assert_array_equal(load(tmp_path).train.inputs.ravel(), IMAGES.ravel() + 1)


def test_validation_split_of_the_train_part(tmp_path):
    folder = write_idx_folder(tmp_path / "s")
    splits = load(folder, validation_split=2)
    assert splits.train.targets.tolist() == [0, 1, 2, 0]
    assert splits.validation.targets.tolist() == [1, 2]
    assert len(splits.test) == 6
    stratified = load(folder, validation_split=0.5, stratify=True, shuffle=True, seed=1)
    assert sorted(stratified.validation.targets.tolist()) == [0, 1, 2]
    with pytest.raises(InputError, match="mnist-sample has a validation part of 1,000 samples"):
        load("mnist-sample", validation_split=0.1)


def test_folder_errors(tmp_path):
    with pytest.raises(InputError, match=r"has no train part: expected train\.h5"):
        load(tmp_path)
    write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    with pytest.raises(InputError, match=r"but not train-labels-idx1-ubyte, plain or \.gz"):
        load(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS[:5])
    with pytest.raises(InputError, match="holds 6 images but train-labels-idx1-ubyte 5 labels"):
        load(tmp_path)
    write_npz(tmp_path / "train.npz", SET)
    write_hdf5(tmp_path / "train.h5", SET)
    with pytest.raises(InputError, match=r"has both train\.h5 and train\.npz as its train part"):
        load(tmp_path)


def test_folder_that_does_not_exist(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere does not exist"):
        read_folder(tmp_path / "nowhere")


def test_what_is_no_data(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InputError, match="neither an HDF5 file, a NumPy archive"):
        load(tmp_path / "a.txt")
    (tmp_path / "a.h5").write_text("hello")
    with pytest.raises(InputError, match="is not an HDF5 file"):
        load(tmp_path / "a.h5")
    (tmp_path / "a.npz").write_text("hello")
    with pytest.raises(InputError, match="is not a NumPy archive"):
        load(tmp_path / "a.npz")
    for name in ("labels", "labels.gz"):
        write_idx(tmp_path / name, LABELS)
        with pytest.raises(InputError, match=f"is one IDX file: name the folder .*{tmp_path.name}"):
            load(tmp_path / name)
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"hello"))
    with pytest.raises(InputError, match="neither an HDF5"):
        load(tmp_path / "b.gz")


def test_names_and_paths_that_are_wrong(tmp_path):
    with pytest.raises(InputError, match=r"unknown data set .mnits.\. Did you mean .mnist."):
        load("mnits")
    (tmp_path / "train.h5").touch()
    with pytest.raises(MissingFileError, match=r"trian\.h5 does not exist. Did you mean 'train.h5"):
        load(str(tmp_path / "trian.h5"))
    with pytest.raises(MissingFileError, match="nor does the folder"):
        load("no/such/folder")
    with pytest.raises(MissingFileError, match="mnits does not exist"):
        load(Path("mnits"))
    with pytest.raises(InputError, match="unknown data set 'mnits'"):
        entry("mnits")


def test_set_that_is_not_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("MLCORE_DATA", str(tmp_path / "own"))
    with pytest.raises(MissingFileError) as caught:
        load("mnist")
    message = str(caught.value)
    assert "run `mlcore data fetch mnist`" in message
    assert str(tmp_path / "own" / "mnist") in message
    assert str(tmp_path / "cache" / "data" / "mnist") in message
    assert "\n" not in message


def test_order_of_places(tmp_path, monkeypatch):
    in_cache = write_idx_folder(cached("mnist"))
    assert locate("mnist") == in_cache
    monkeypatch.setenv("MLCORE_DATA", str(tmp_path / "own"))
    in_own = tmp_path / "own" / "mnist"
    # Half a set is not taken for one, nor are images without labels.
    write_idx_folder(in_own, parts=["train"])
    assert locate("mnist") == in_cache
    write_idx(in_own / "t10k-images-idx3-ubyte", IMAGES)
    assert locate("mnist") == in_cache
    write_idx_folder(in_own)
    assert locate("mnist") == in_own
    assert load("mnist").train.class_names == tuple("0123456789")
    assert places("fashion-mnist")[-1] == Path("/usr/share/datasets/fashion-mnist")


def test_a_folder_of_a_known_name_is_meant_only_with_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_idx_folder(tmp_path / "mnist")
    assert len(load("./mnist").train) == 6
    with pytest.raises(MissingFileError, match="mlcore data fetch"):
        load("mnist")


def test_cache_folder(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("MLCORE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "mlcore"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "mlcore"


def test_available():
    write_idx_folder(cached("mnist"))
    known = {each.entry.name: each for each in available()}
    assert list(known) == ["mnist-sample", "mnist", "fashion-mnist"]
    assert known["mnist-sample"].found
    assert 1e6 < known["mnist-sample"].bytes <= 3e6
    on_disk = sum(path.stat().st_size for path in cached("mnist").iterdir())
    assert (known["mnist"].folder, known["mnist"].bytes) == (cached("mnist"), on_disk)
    for name, each in known.items():
        assert each.entry is CATALOG[name]
        assert each.entry.licence
        assert each.entry.source
        assert not any(mirror.verified for mirror in each.entry.mirrors)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_full_sets(full_data, name, monkeypatch):
    monkeypatch.setenv("MLCORE_DATA", str(full_data))
    splits = load(name)
    assert {part: len(data) for part, data in splits.parts().items()} == CATALOG[name].images
    assert splits.train.inputs.shape == (60_000, 784)
    assert np.bincount(splits.test.targets).tolist() == CLASS_COUNTS[name]
    assert splits.train.class_names == CATALOG[name].class_names


CLASS_COUNTS = {
    "mnist": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    "fashion-mnist": [1000] * 10,
}


def test_fashion_class_names():
    assert CATALOG["fashion-mnist"].class_names[0] == "T-shirt/top"
    assert CATALOG["fashion-mnist"].class_names[6:] == ("Shirt", "Sneaker", "Bag", "Ankle boot")


def test_h5py_and_tqdm_are_imported_only_when_needed(tmp_path):
    code = "import sys, mlcore.data; sys.exit(bool({'h5py', 'tqdm', 'urllib3'} & set(sys.modules)))"
    # A folder of its own, because the checkout's mlcore goes before an installed one.
    run = subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path)
    assert run.returncode == 0
