"""Predictions written as CSV, .npz and HDF5."""

import csv
import errno

import h5py
import numpy as np
import pytest

from mlcore import Dense, Sequential, predictions
from mlcore.data import Dataset
from mlcore.kernels.errors import InputError

RNG = np.random.default_rng(2)
X = RNG.random((7, 3)).astype("float32")
DATA = Dataset(X, np.arange(7) % 2)


def model(outputs, loss="softmax_cross_entropy", targets=DATA.targets):
    made = Sequential([Dense(outputs)], seed=1)
    made.fit(X, targets, loss=loss, verbose=0)
    return made


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".hdf5", ".NPZ"])
def test_arrays_are_those_of_the_model(tmp_path, suffix):
    target = predictions.check_target(tmp_path / f"p{suffix}")
    classifier = model(2)
    predictions.write(classifier, DATA, target)
    if suffix.lower() == ".npz":
        with np.load(target) as archive:
            found = dict(archive)
    else:
        with h5py.File(target) as file:
            found = {name: values[()] for name, values in file.items()}
    assert set(found) == {"predicted", "probabilities"}
    np.testing.assert_array_equal(found["predicted"], classifier.predict_classes(X))
    np.testing.assert_array_equal(found["probabilities"], classifier.predict_proba(X))
    assert [path.name for path in tmp_path.iterdir()] == [f"p{suffix}"]


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_csv_keeps_every_bit(tmp_path):
    classifier = model(2)
    predictions.write(classifier, DATA, tmp_path / "p.csv")
    head, *rows = rows_of(tmp_path / "p.csv")
    assert head == ["index", "predicted", "probabilities_0", "probabilities_1"]
    assert [int(row[0]) for row in rows] == list(range(7))
    written = np.array([row[2:] for row in rows], float).astype("float32")
    np.testing.assert_array_equal(written, classifier.predict_proba(X))


def test_a_single_output_and_a_regression(tmp_path):
    predictions.write(model(1, "sigmoid_cross_entropy"), DATA, tmp_path / "binary.csv")
    head, *rows = rows_of(tmp_path / "binary.csv")
    assert head == ["index", "predicted", "probabilities"]
    assert all((float(row[2]) > 0.5) == (row[1] == "1") for row in rows)
    predictions.write(model(1, "mse", X[:, 0]), DATA, tmp_path / "numbers.csv")
    assert rows_of(tmp_path / "numbers.csv")[0] == ["index", "outputs"]
    predictions.write(model(1, "hinge"), DATA, tmp_path / "sides.csv")
    head, *rows = rows_of(tmp_path / "sides.csv")
    assert head == ["index", "predicted", "outputs"]
    assert all((float(row[2]) > 0) == (row[1] == "1") for row in rows)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("p", "end it in .csv"),
        ("p.txt", "end it in .csv"),
        ("there.csv", "already exists"),
        ("no/p.csv", "does not exist"),
        ("there.csv/p.csv", "does not exist"),
    ],
)
def test_targets_that_cannot_be(tmp_path, name, word):
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(InputError, match=word):
        predictions.check_target(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]


def test_a_folder_that_takes_no_files():
    with pytest.raises(InputError, match="cannot write to the folder /proc"):
        predictions.check_target("/proc/p.csv")


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".h5"])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, suffix):
    def full(*_arguments, **_settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    classifier = model(2)
    monkeypatch.setattr("mlcore.data.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        predictions.write(classifier, DATA, tmp_path / f"p{suffix}")
    assert list(tmp_path.iterdir()) == []
