"""What a run does with its data and its folder, below the command line."""

import numpy as np
import pytest

import mlcore
from mlcore import Dense, NonFiniteLossError, Sequential, run
from mlcore.config import RunConfig
from mlcore.data import Dataset
from mlcore.data.hdf5 import write_hdf5
from mlcore.kernels.errors import InputError
from mlcore.losses import MeanSquaredError, SoftmaxCrossEntropy

RNG = np.random.default_rng(1)
X = RNG.random((30, 3)).astype("float32")
LABELS = np.arange(30) % 3
SOFT = RNG.dirichlet([1, 1, 1], 30)


def config(**settings):
    return RunConfig(**{"layers": (4,), "epochs": 2, "batch_size": 8, **settings})


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.h5"
    write_hdf5(path, Dataset(X, LABELS))
    return str(path)


@pytest.mark.parametrize(
    ("targets", "loss"),
    [
        (LABELS, SoftmaxCrossEntropy),
        (SOFT, SoftmaxCrossEntropy),
        (SOFT.astype("float32"), SoftmaxCrossEntropy),
        (X[:, 0], MeanSquaredError),
        (X[:, :1], MeanSquaredError),
        (np.ones((30, 1), "float32"), MeanSquaredError),
        (X, MeanSquaredError),
        (np.stack([X[:, 0] + 1, -X[:, 0]], axis=1), MeanSquaredError),
    ],
)
def test_the_targets_choose_the_loss(targets, loss):
    assert isinstance(run._loss(Dataset(X, targets)), loss)


def test_soft_targets_are_counted_by_their_greatest_entry():
    model = Sequential([Dense(3)], seed=0).build(3)
    measured, report = run.evaluate(model, Dataset(X, SOFT))
    assert report.accuracy == measured["accuracy"]
    assert report.support.tolist() == np.bincount(SOFT.argmax(axis=1), minlength=3).tolist()


@pytest.mark.parametrize(
    ("loss", "outputs"),
    [
        ("mse", 1),
        ("mse", 3),
        ("sigmoid_cross_entropy", 1),
        ("sigmoid_cross_entropy", 3),
        ("softmax_cross_entropy", 3),
    ],
)
def test_every_loss_is_reported(loss, outputs):
    labels = LABELS if outputs == 3 else LABELS % 2
    model = Sequential([Dense(outputs)], seed=0)
    model.fit(X, labels, loss=loss, verbose=0)
    measured, report = run.evaluate(model, Dataset(X, labels))
    assert (report is None) == ("accuracy" not in measured)
    if report is not None:
        assert report.accuracy == pytest.approx(measured["accuracy"])


def test_the_last_class_may_stand_in_the_validation_part_alone(tmp_path):
    write_hdf5(tmp_path / "sorted.h5", Dataset(X, np.sort(LABELS)))
    sorted_data = config(data=str(tmp_path / "sorted.h5"), validation_split=0.4)
    result = run.train(sorted_data, tmp_path / "run", plots=False, quiet=True)
    assert len(result.report.matrix) == 3


def test_without_validation_there_is_no_best_checkpoint(data, tmp_path):
    result = run.train(
        config(data=data, validation_split=0), tmp_path / "run", plots=False, quiet=True
    )
    assert "best.h5" not in result.files
    assert result.part == "train"
    assert len(result.history) == 2


def test_a_validation_part_of_the_data_is_kept(tmp_path):
    np.savez(tmp_path / "parts.npz", x_train=X, y_train=LABELS, x_val=X[:9], y_val=LABELS[:9])
    own = config(data=str(tmp_path / "parts.npz"), validation_split=0.5)
    result = run.train(own, tmp_path / "run", plots=False, quiet=True)
    assert result.part == "validation"
    assert result.report.samples == 9


def test_files_are_those_of_the_folder(data, tmp_path):
    result = run.train(config(data=data), tmp_path / "run", quiet=True)
    assert {path.name for path in result.folder.iterdir()} == set(result.files) == set(run.FILES)


def test_default_folders_do_not_clash(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = {run.train(config(data=data), plots=False, quiet=True).folder for _ in range(2)}
    assert len(folders) == 2
    assert all(folder.parent.name == "runs" for folder in folders)


def test_one_thread_is_used_where_it_is_asked_for(data, tmp_path, monkeypatch):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    seen = []
    fit = Sequential.fit

    def spy(self, *arguments, **settings):
        seen.extend(
            pool["num_threads"]
            for pool in threadpoolctl.threadpool_info()
            if pool["user_api"] == "blas"
        )
        return fit(self, *arguments, **settings)

    monkeypatch.setattr(Sequential, "fit", spy)
    one = config(data=data, threads=1, backend="numpy")
    run.train(one, tmp_path / "run", plots=False, quiet=True)
    assert set(seen) <= {1}


def test_a_folder_that_holds_files_is_left_as_it_is(data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="already holds files"):
        run.train(config(data=data), tmp_path, plots=False, quiet=True)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "data.h5"}


@pytest.mark.parametrize("rate", [1e38, 1e39])
def test_a_run_whose_last_update_overflows_leaves_no_broken_checkpoint(tmp_path, rate):
    config = RunConfig(learning_rate=rate, epochs=1, batch_size=10_000, layers=(8,))
    with pytest.raises(NonFiniteLossError):
        run.train(config, tmp_path / "run", plots=False, quiet=True)
    last = tmp_path / "run" / "last.h5"
    assert not last.exists() or np.isfinite(mlcore.load(last).parameters).all()
    assert not (tmp_path / "run" / "best.h5").exists()
    assert not (tmp_path / "run" / "result.json").exists()
