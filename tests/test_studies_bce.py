"""The studies of the notebooks B, C and E come to their conclusions in quick form too."""

import numpy as np
import pytest

from mlcore import studies
from mlcore.studies import _full_batch


def run(name, plots=False, **settings):
    return studies.run(name, quick=True, plots=plots, **settings)


def columns(result, column):
    """Return what was measured, by setting."""
    return {row["setting"]: row[column] for row in result.table}


def test_pieces_make_the_step_of_the_full_batch():
    from mlcore import SGD, data
    from mlcore.studies.lambda_cv import network

    part = data.load("mnist-sample").train.subset(slice(1_000))
    whole, pieces = network(16), network(16)
    whole.fit(
        part, optimizer=SGD(0.5, weight_decay=0.01), epochs=5, batch_size=1_000, shuffle=False,
        verbose=0,
    )  # fmt: skip
    settings = _full_batch.full_batch(part, 0.5, 5, weight_decay=0.01)
    assert settings["batch_size"] == 500
    history = pieces.fit(part, **settings)
    np.testing.assert_allclose(pieces.parameters, whole.parameters, atol=1e-6)
    assert history["running_loss"] == pytest.approx(whole.history["running_loss"], rel=1e-5)


def test_lambda_cv_a_wrong_sign_lengthens_the_weights():
    result = run("lambda-cv")
    length, loss = columns(result, "length_of_weights"), columns(result, "loss")
    assert length["lambda 0.1, as run"] > 1.2 * length["lambda 0.0001, as run"]
    assert length["lambda 0.1"] < 0.9 * length["lambda 0.0001"]
    assert loss["lambda 0.1, as run"] > loss["lambda 0.0001, as run"]
    assert all(len(row["folds"].split()) == 4 for row in result.table if row.get("folds"))


def test_the_notebooks_faults_are_what_the_callback_puts_in():
    """One step, against the notebook's own arithmetic."""
    from mlcore import data
    from mlcore.studies.lambda_cv import AS_RUN, descend, network

    part = data.load("mnist-sample").train.subset(slice(100))
    model, rate, decay = network(16).build(784), 0.05, 0.1
    before = model.parameters.copy()
    _, gradient = model.loss_and_gradients(part, loss="softmax_cross_entropy")
    descend(model, part, rate, decay, 1, AS_RUN)
    start = 0
    for layer in model.layers:
        for array in layer.parameters.values():
            own = slice(start, start := start + array.size)
            slope = gradient[own] if array.ndim == 2 else gradient[own].sum()
            right = before[own] - rate * (slope - decay * before[own])
            np.testing.assert_allclose(array.ravel(), right, atol=1e-6)


def test_two_hidden_learns():
    result = run("two-hidden")
    assert columns(result, "test_accuracy")["784-128-64-10"] > 0.8
    assert [row["setting"] for row in result.table][1] == "784-128-64-10, as run"


def test_lr_sweep_the_large_rates_learn_nothing():
    result = run("lr-sweep", rates=(3e-5, 1e-5, 1e-3, 1e-1))
    accuracy = columns(result, "accuracy")
    assert accuracy["rate 0.1"] < 0.2
    assert accuracy["rate 0.001"] < 0.2
    assert min(accuracy[f"rate {rate}"] for rate in ("3e-05", "1e-05")) > 0.5
    assert result.table[0]["reported_accuracy"] == 0.71


def test_slope_sweep_flat_sigmoids_learn_slowly():
    accuracy = columns(run("slope-sweep", slopes=(0.4, 0.5, 1.0)), "accuracy")
    slopes = [accuracy[f"slope {slope}"] for slope in ("0.4", "0.5", "1")]
    assert slopes == sorted(slopes)
    assert accuracy["slope 0.5, left out of the derivative"] > accuracy["slope 0.5"]


def test_init_sweep_fan_out_is_among_the_two_best_and_poisson_learns_nothing():
    accuracy = columns(run("init-sweep"), "accuracy")
    first, second, *_ = sorted(accuracy, key=accuracy.get, reverse=True)
    assert {first, second} == {"N(0, 2 / fan_out)", "N(0, 1) / 3"}
    assert accuracy["N(0, 2 / fan_out)"] > accuracy["U(-1, 1)"]
    assert accuracy["Poisson(1) / 4"] < 0.15


def test_activation_zoo_relus_die_at_twice_the_rate_and_a_nan_is_told():
    result = run("activation-zoo")
    accuracy = columns(result, "accuracy")
    assert accuracy["relu"] > 0.8
    assert accuracy["relu, rate 2e-5"] < 0.5
    assert accuracy["relu, cross-entropy, rate 5e-6"] > 0.9
    assert "dense_" in columns(result, "stopped")["leaky relu, softmax, rate 1e-4"]
    many = next(row for row in result.table if "10 seeds" in row["setting"])
    # What the seed alone decides; a lost class is a tenth of the accuracy.
    assert many["share_that_lost_classes"] >= 0.2
    assert many["accuracy_of_best_seed"] > 0.97
    assert many["accuracy_of_worst_seed"] < 0.92


def test_cosine_takes_the_steps_less_far():
    accuracy = columns(run("cosine"), "accuracy")
    assert accuracy["cosine from 3e-05"] < accuracy["constant 3e-05"]
    assert accuracy["constant 6.17e-05, as run"] < accuracy["constant 3e-05"]


def test_dashboard_draws_all_and_stops_at_nan():
    pytest.importorskip("matplotlib")
    result = run("dashboard", plots=True, steps=60)
    assert {"sample", "progress", "panels", "confusion"} <= set(result.figures)
    # Twelve panels, and the bars of colours beside nine of them.
    assert len(result.figures["panels"].axes) >= 12
    accuracy = columns(result, "accuracy")
    assert accuracy["rate 1e-5"] > 0.9
    assert "dense_" in columns(result, "stopped")["rate 1e-4, as run"]


def test_init_lr_zeros_never_learn_and_higher_rates_are_better():
    accuracy = columns(run("init-lr"), "test_accuracy")
    assert accuracy["zeros, rate 0.01"] < 0.15
    slower = max(accuracy[f"random, rate {rate}"] for rate in ("0.01", "0.05", "0.1"))
    assert accuracy["random, rate 0.3"] > slower + 0.1
    assert accuracy["glorot, rate 0.1"] > accuracy["glorot, rate 0.01"] + 0.1


def test_adam_activations_learn_and_the_printed_figures_are_means():
    result = run("adam-activations", seeds=2)
    accuracy = columns(result, "test_accuracy")
    worst, best = (columns(result, f"accuracy_of_{which}_seed") for which in ("worst", "best"))
    assert all(worst[name] <= accuracy[name] <= best[name] for name in accuracy)
    assert worst["tanh"] < best["tanh"]
    assert accuracy["tanh"] > 0.6
    assert accuracy["model 1, as printed: mean of 1"] == accuracy["tanh"]
    assert accuracy["model 2, as printed: mean of 2"] == pytest.approx(
        (accuracy["tanh"] + accuracy["relu"]) / 2
    )
