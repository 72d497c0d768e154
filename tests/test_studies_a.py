"""Studies A1 to A5 in quick form come to their conclusions."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

import mlcore
from mlcore import InputError, studies
from mlcore.studies import _flips


def column(result, name):
    """Return a column by setting."""
    return {row["setting"]: row[name] for row in result.table if row[name] is not None}


@pytest.fixture(scope="module")
def noise_mlp():
    return studies.run("noise-mlp", quick=True)


def test_a1_gains_where_the_gradient_is_divided_once(noise_mlp):
    found = column(noise_mlp, "val_accuracy")
    for activation in ("relu", "tanh"):
        for rate in ("0.1", "0.05", "0.01"):
            name = f"{activation}, rate {rate}"
            assert found[name] > found[f"{name}, as run"]
            assert noise_mlp.histories[name]["learning_rate"][-1] == float(rate) / 4
    assert found["relu, rate 0.1"] > 0.85
    assert found["relu, rate 0.01, as run"] < 0.8
    assert "Divided twice, it trains too slowly" in noise_mlp.conclusion
    tested = column(noise_mlp, "test_accuracy")
    assert tested["relu, rate 0.1, all training data"] > 0.9
    good = next(value for name, value in tested.items() if name.startswith("good setting"))
    # In so few epochs, and on the bundled sample, it need not be the best.
    assert good > 0.9


def test_a1_saves_networks_that_the_notebook_can_read(noise_mlp, tmp_path):
    noise_mlp.save(tmp_path)
    with h5py.File(tmp_path / "relu-rate-0.1.h5") as file:
        assert sorted(file) == sorted(
            ["activation", *(f"linear_{n}.{p}" for n in (1, 2, 3, 4) for p in ("weight", "bias"))]
        )
    model = mlcore.load(tmp_path / "tanh-rate-0.1.h5")
    assert model.layers[0].activation.name == "tanh"
    assert (tmp_path / "tanh-accuracy.png").exists()


@pytest.fixture(scope="module")
def fashion_confusion():
    return studies.run("fashion-confusion", quick=True)


def test_a2_dropout_costs_accuracy_while_testing(fashion_confusion):
    accuracy = column(fashion_confusion, "test_accuracy")
    loss = column(fashion_confusion, "loss")
    assert accuracy["after epoch 6"] > accuracy["after epoch 6, as measured then"]
    assert accuracy["after epoch 6"] > accuracy["after epoch 1"]
    # The mean over all epochs so far lags behind.
    assert loss["after epoch 6, as measured then"] > 1.2 * loss["after epoch 6"]
    assert {f"confusion epoch {n:02}" for n in range(1, 7)} <= set(fashion_confusion.figures)


@pytest.fixture
def full_fashion():
    """The folder with the full sets: $MLCORE_DATA, or shared/data beside the checkout."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MLCORE_DATA") or beside)
    if not (folder / "fashion-mnist").is_dir():
        pytest.skip("Fashion-MNIST is not there: set MLCORE_DATA to a folder that has it")
    return folder


def test_a2_as_measured_then_gives_what_was_reported(full_fashion):
    result = studies.run(
        "fashion-confusion", data=full_fashion, seeds=1, good_epochs=1, plots=False
    )
    for row in result.table:
        if row["setting"].endswith("as measured then"):
            assert abs(row["loss"] - row["reported_loss"]) < 0.02
            assert abs(row["test_accuracy"] - row["reported_test_accuracy"]) < 0.01
    assert column(result, "test_accuracy")["after epoch 10"] > 0.82
    # Fashion-MNIST's classes are named, though its files hold numbers.
    shares = column(result, "share_of_all")
    assert abs(shares["Shirt taken for T-shirt/top"] - 0.0197) < 0.002


def test_a3_dropout_costs_training_accuracy_while_measuring():
    found = column(studies.run("weight-shrinkage", quick=True), "accuracy")
    name = "784-48-10, dropout 0.2, penalty"
    assert found[name] > found[f"{name}, as measured then"]
    assert found["784-128-10, plain"] > found["784-48-10, plain"]


@pytest.fixture(scope="module")
def coin_flips():
    return studies.run("coin-flips", quick=True)


def test_a4_the_network_comes_near_to_counting_and_the_notebook_guesses(coin_flips):
    found = column(coin_flips, "val_accuracy")
    assert found["counting switches"] > 0.63
    assert found["20-20-1"] > 0.58
    assert abs(found["20-20-1, as run"] - 0.5) < 0.04
    assert {"accuracy", "first layer", "weights"} <= set(coin_flips.figures)


def test_a4_takes_a_file_of_sequences(tmp_path):
    generator = np.random.default_rng(0)
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        # People who always switch are told at once.
        file["human"] = np.tile([0, 1], (200, 5))
        file["machine"] = generator.integers(0, 2, (200, 10))
    result = studies.run("coin-flips", quick=True, data=path, seeds=1, epochs=5, plots=False)
    assert result.settings["data"] == "mine.h5, 200 by people, 200 by a machine"
    found = column(result, "val_accuracy")
    assert found["counting switches"] > 0.98
    assert found["20-20-1"] > 0.95


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"human": np.zeros((3, 20))}, "has no dataset 'machine'"),
        ({"human": np.zeros((3, 20)), "machine": np.full((3, 20), 2)}, "machine must be"),
        ({"human": np.zeros((3, 20)), "machine": np.zeros((3, 10))}, "differ in length"),
    ],
)
def test_a4_refuses_other_files(tmp_path, content, message):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file[name] = values
    with pytest.raises(InputError, match=message):
        studies.run("coin-flips", quick=True, data=path)
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(InputError, match="is not an HDF5 file of sequences"):
        studies.run("coin-flips", quick=True, data=tmp_path / "text.h5")


def test_the_chain_switches_as_often_as_it_is_told():
    bits = _flips.chain(np.random.default_rng(0), 20_000, 0.6)
    assert bits.shape == (20_000, 20)
    assert abs(np.mean(bits[:, 1:] != bits[:, :-1]) - 0.6) < 0.005
    assert abs(bits.mean() - 0.5) < 0.01


def test_a5_the_convolution_sees_switches_and_the_embedding_cannot():
    found = column(studies.run("sequence-models", quick=True), "val_accuracy")
    assert found["convolution"] > 0.62
    assert abs(found["embedding"] - 0.5) < 0.05
