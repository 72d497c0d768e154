"""D1 to D5 in quick form: what each study concludes is so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcore import studies
from mlcore.studies.eggholder import height
from mlcore.studies.result import Result
from mlcore.studies.vanishing import untrained

Rows = dict[str, dict[str, Any]]


def run(name: str, **settings: Any) -> tuple[Result, Rows]:
    """Run a study in quick form; return its result, and its rows by what was run."""
    result = studies.run(name, quick=True, plots=False, **settings)
    return result, {row["setting"]: row for row in result.table}


def test_the_perceptron_is_ahead_of_the_hinge_at_equal_epochs() -> None:
    result, rows = run("perceptron-hinge")
    for epochs in (50, 200):
        perceptron, hinge = (
            rows[f"{loss}, {epochs} epochs, lr 0.1"] for loss in ("perceptron", "hinge")
        )
        assert perceptron["test_accuracy"] > hinge["test_accuracy"] > 0.85
        assert perceptron["training_accuracy"] > hinge["training_accuracy"]
        for row in (perceptron, hinge):
            assert row["accuracy_of_worst_20th"] < row["test_accuracy"]
            assert row["test_accuracy"] < row["accuracy_of_best_20th"]
    faster = rows["hinge, 200 epochs, lr 1"]
    assert faster["test_accuracy"] > rows["hinge, 200 epochs, lr 0.1"]["test_accuracy"]
    assert rows["perceptron, 50 epochs, lr 0.1"]["reported_test_accuracy"] == 0.902
    assert "300 draws" in result.conclusion


def test_without_a_bias_the_lines_are_better() -> None:
    _, through_corner = run("perceptron-hinge", use_bias=False)
    _, anywhere = run("perceptron-hinge")
    for name, row in anywhere.items():
        assert through_corner[name]["test_accuracy"] > row["test_accuracy"]


def test_glorot_keeps_the_spread_of_tanh_and_he_that_of_relu() -> None:
    result, rows = run("vanishing")
    glorot, fixed = rows["tanh, Glorot"], rows["tanh, N(0, 0.10²)"]
    assert glorot["spread_kept"] > 0.6 > fixed["spread_kept"]
    assert rows["tanh, N(0, 0.28²)"]["share_saturated_after_six"] > 0.4
    assert glorot["share_saturated_after_six"] < 0.02
    he, too_small = rows["relu, He"], rows["relu, Glorot"]
    assert he["spread_kept"] > 0.8
    assert too_small["spread_kept"] < 0.4
    assert he["signal_kept"] > 2 * too_small["signal_kept"]
    for weights in ("N(0, 0.10²)", "N(0, 0.14²)", "Glorot"):
        assert rows[f"sigmoid, {weights}"]["signal_kept"] < 0.05
        assert rows[f"sigmoid, {weights}"]["gradient_second_to_sixth"] < 0.05
    assert "Glorot" in result.conclusion
    activations = [layer.activation for layer in untrained("tanh", "Glorot", seed=0).layers]
    names = [activation.name for activation in activations if activation is not None]
    assert names == ["identity", *["tanh"] * 5, "identity"]


def test_relu_networks_die_and_fewer_leaky_ones() -> None:
    result, rows = run("dying-relu")
    share = {name: row["share_dead"] for name, row in rows.items()}
    assert share["relu, N(0, 0.05²)"] > 0.9
    assert share["relu, He"] > 0.9
    for weights in ("N(0, 0.05²)", "He"):
        relu, leaky = share[f"relu, {weights}"], share[f"leaky relu 0.01, {weights}"]
        assert leaky < relu
        assert share[f"leaky relu 0.3, {weights}"] < leaky
    assert share["leaky relu 0.3, He"] < 0.05
    for row in rows.values():
        assert row["share_flat_to_the_last_bit"] <= row["share_dead"]
    assert rows["relu, He"]["share_born_dead"] <= share["relu, He"]
    narrow = result.networks["relu, He, the liveliest"].layers
    names = [layer.activation.name for layer in narrow if layer.activation is not None]
    assert names == ["identity", *["relu"] * 10, "identity"]


def test_a_dead_network_is_one_that_is_nearly_flat() -> None:
    few = {"networks": 20, "epochs": 2, "samples": 640}
    _, strict = run("dying-relu", tolerance=0.0, **few)
    _, loose = run("dying-relu", tolerance=0.1, **few)
    for name, row in strict.items():
        assert row["share_dead"] == row["share_flat_to_the_last_bit"]
        assert row["share_dead"] <= loose[name]["share_dead"]


def test_lenet_learns_sooner_with_batch_norm_than_with_dropout_alone() -> None:
    result, rows = run("lenet-norm")
    by_name = {name.rpartition(", ")[0]: row for name, row in rows.items()}
    for row in by_name.values():
        median = row["test_accuracy"]
        assert row["accuracy_of_worst_seed"] <= median <= row["accuracy_of_best_seed"]
    assert by_name["BN, input as it is"]["reported_test_accuracy"] == 0.9511
    assert by_name["good setting"]["test_accuracy"] > 0.93
    assert by_name["BN and dropout"]["test_accuracy"] > by_name["dropout"]["test_accuracy"]
    assert "seeds reach from" in result.conclusion


def test_deep_networks_learn_the_eggholder_and_the_fault_flatters() -> None:
    _, rows = run("eggholder")
    flat = rows["the mean height everywhere"]["rmse"]
    assert flat == pytest.approx(300, abs=10)
    best = min(row["rmse"] for name, row in rows.items() if name != "good setting")
    assert rows["good setting"]["rmse"] < best
    assert rows["128-256-128"]["rmse_with_the_fault"] < flat
    assert rows["64"]["rmse_with_the_fault"] is None
    slow, fast = rows["slow means"], rows["64-64"]
    assert slow["rmse_with_the_fault"] == pytest.approx(fast["rmse_with_the_fault"], rel=1e-3)
    assert slow["rmse"] > slow["rmse_with_the_fault"]


def test_the_eggholder_has_its_known_minimum() -> None:
    assert height(np.array([512.0]), np.array([404.2319]))[0] == pytest.approx(-959.6407, abs=1e-4)
