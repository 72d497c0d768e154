"""The bundled sample is what its README says, and can be drawn again."""

import io
import lzma
import os
from importlib import resources
from pathlib import Path

import h5py
import numpy as np
import pytest

from mlcore.data import read_idx, write_idx
from mlcore.data.mnist_sample import make
from mlcore.kernels.errors import InputError

SIZES = {"train": 10_000, "validation": 1_000, "test": 2_000}
SAMPLE = Path(str(resources.files("mlcore.data.mnist_sample")))


@pytest.fixture(scope="module")
def official():
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MLCORE_DATA") or beside) / "mnist"
    if not folder.is_dir():
        pytest.skip("the full MNIST is not there: set MLCORE_DATA to a folder that has mnist/")
    return folder


def unpacked(path):
    return h5py.File(io.BytesIO(lzma.decompress(path.read_bytes())))


@pytest.fixture(scope="module")
def contents():
    held = {}
    for part in SIZES:
        with unpacked(SAMPLE / f"{part}.h5.xz") as file:
            held[part] = {name: file[name][()] for name in file} | {"attributes": dict(file.attrs)}
    return held


@pytest.mark.parametrize("part", SIZES)
def test_notebook_format(contents, part):
    count = SIZES[part]
    x, y = contents[part]["xdata"], contents[part]["ydata"]
    assert (x.shape, x.dtype) == ((count, 784), np.uint8)
    assert (y.shape, y.dtype) == ((count, 10), np.uint8)
    assert y.sum(axis=0).tolist() == [count // 10] * 10
    assert (y.sum(axis=1) == 1).all()
    # Shuffled: the classes do not stand in blocks.
    labels = y.argmax(axis=1)
    assert np.count_nonzero(labels[1:] == labels[:-1]) < count / 5


def test_parts_are_disjoint(contents):
    train, validation = contents["train"], contents["validation"]
    assert not set(train["source_index"]) & set(validation["source_index"])
    for part, limit in (("train", 60_000), ("validation", 60_000), ("test", 10_000)):
        index = contents[part]["source_index"]
        assert len(np.unique(index)) == SIZES[part]
        assert 0 <= index.min() <= index.max() < limit


def test_source_and_licence_go_with_the_files(contents):
    for part in SIZES:
        attributes = contents[part]["attributes"]
        assert attributes["licence"] == "CC BY-SA 3.0"
        assert "LeCun" in attributes["source"]
        assert "drawn from" in attributes["changes"]
    assert "CC BY-SA 3.0" in (SAMPLE / "README.md").read_text()


def test_at_most_two_megabytes():
    assert sum(path.stat().st_size for path in SAMPLE.glob("*.h5*")) <= 2_000_000


def test_drawn_again_it_is_the_same(official, contents, tmp_path, capsys):
    assert make.main([str(official), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("bytes") == 3
    for part in SIZES:
        with unpacked(tmp_path / f"{part}.h5.xz") as file:
            assert dict(file.attrs) == contents[part]["attributes"]
            for name in ("xdata", "ydata", "source_index"):
                np.testing.assert_array_equal(file[name][()], contents[part][name])


def test_wrong_source_is_refused(official, tmp_path, capsys):
    for path in official.iterdir():
        (tmp_path / path.name).symlink_to(path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    changed = read_idx(official / "train-labels-idx1-ubyte.gz")
    changed[0] ^= 1
    write_idx(labels, changed)
    with pytest.raises(InputError, match="train-labels-idx1-ubyte is not the official file"):
        make.draw(tmp_path)
    assert make.main([str(tmp_path / "nowhere"), "--out", str(tmp_path)]) == 2
    assert "error: " in capsys.readouterr().err
    labels.unlink()
    for path in tmp_path.glob("t10k*"):
        path.unlink()
    with pytest.raises(InputError, match="has no t10k"):
        make.draw(tmp_path)
