"""Many networks side by side: each as if it were alone, to the bit."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

import mlcore
from mlcore import kernels
from mlcore.kernels import native

# By instruction set: plain "native" is one of them.
NATIVE = [s.name for s in kernels.status() if s.available and s.name.startswith("native-")]
BACKENDS = [*NATIVE, "numpy"]


def narrow() -> list[mlcore.layers.Layer]:
    return [mlcore.Dense(2), *(mlcore.Dense(2, "relu") for _ in range(4)), mlcore.Dense(1)]


def noisy() -> list[mlcore.layers.Layer]:
    return [
        mlcore.GaussianNoise(0.3),
        mlcore.Dense(5, "tanh"),
        mlcore.Dropout(0.3),
        mlcore.Dense(1),
    ]


def wide() -> list[mlcore.layers.Layer]:
    return [mlcore.Dense(40, "relu"), mlcore.BatchNorm(), mlcore.Dense(1)]


def networks(make, count=5, backend=None, dtype="float32"):
    return [
        mlcore.Sequential(make(), seed=seed, backend=backend, dtype=dtype) for seed in range(count)
    ]


def curve(samples=75, sets=None, seed=0):
    shape = (samples, 1) if sets is None else (sets, samples, 1)
    x = np.random.default_rng(seed).uniform(-2, 2, shape).astype(np.float32)
    return x, np.abs(x)


def assert_same(ours, alone):
    """Parameters, optimizer state, counts and history, but for the seconds."""
    assert ours.parameters.tobytes() == alone.parameters.tobytes()
    assert list(ours.optimizer_state) == list(alone.optimizer_state)
    for name, state in ours.optimizer_state.items():
        assert state.tobytes() == alone.optimizer_state[name].tobytes(), name
    assert ours.progress.config() == alone.progress.config()
    for name, column in ours.history.history.items():
        if name not in ("seconds", "samples_per_second"):
            np.testing.assert_array_equal(column, alone.history[name], name)


def check(make, x, y, *, backend=None, workers=2, count=5, own=False, dtype="float32", **settings):
    settings = {"loss": "mse", "epochs": 3, "batch_size": 16, **settings}
    ours, alone = (networks(make, count, backend, dtype) for _ in range(2))
    histories = mlcore.fit_many(ours, x, y, workers=workers, **settings)
    assert [model.history for model in ours] == histories
    for number, (our, model) in enumerate(zip(ours, alone, strict=True)):
        given = (x[number], y[number]) if own else (x, y)
        model.fit(*given, evaluate_train=False, verbose=0, **settings)
        assert_same(our, model)
    return ours


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", [narrow, noisy, wide])
def test_each_as_if_alone(make, backend):
    check(make, *curve(), backend=backend, optimizer="adam")


@pytest.mark.parametrize("make", [narrow, wide])
@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_own_data(make, workers):
    check(make, *curve(sets=7), own=True, count=7, workers=workers, optimizer="adam")


@pytest.mark.parametrize("units", [1, 2, 3, 8])
@pytest.mark.parametrize("activation", ["tanh", {"name": "leaky_relu", "alpha": 0.3}, "silu"])
def test_units_and_activations(units, activation):
    def make():
        hidden = [mlcore.Dense(units, activation) for _ in range(2)]
        return [*hidden, mlcore.Dense(2, use_bias=False), mlcore.Dense(1)]

    check(make, *curve(), count=3)


SETTINGS = {
    "momentum": {"optimizer": mlcore.SGD(0.05, momentum=0.9, weight_decay=1e-3)},
    "gathered": {"optimizer": mlcore.Adam(0.01, gradient_accumulation_steps=3)},
    "clipped": {"optimizer": mlcore.Adam(0.01, global_clipnorm=0.1)},
    "schedule": {"schedule": "cosine", "optimizer": "rmsprop"},
    "function": {"schedule": lambda epoch: 1 / (1 + epoch)},
    "penalty": {"regularizer": mlcore.L2(1e-2)},
    "in order": {"shuffle": False},
    "one batch": {"batch_size": 1000},
    "huber": {"loss": {"name": "huber", "delta": 0.5}},
    "double": {"dtype": "float64", "optimizer": "adam"},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("make", [narrow, wide])
def test_settings(make, name):
    check(make, *curve(), **SETTINGS[name], count=3)


def test_frozen_layers():
    def make():
        layers = narrow()
        layers[1].trainable = layers[3].trainable = False
        return layers

    check(make, *curve(), count=3, optimizer="adam")


@pytest.mark.parametrize(
    ("loss", "make"),
    [
        ("softmax_cross_entropy", lambda: [mlcore.Dense(4, "relu"), mlcore.Dense(3)]),
        ("softmax_cross_entropy", lambda: [mlcore.Dense(30, "relu"), mlcore.Dense(3)]),
        ("sigmoid_cross_entropy", lambda: [mlcore.Dense(2, "tanh"), mlcore.Dense(1)]),
        ("hinge", lambda: [mlcore.Dense(2, "tanh"), mlcore.Dense(1)]),
    ],
)
def test_classes_and_their_accuracy(loss, make):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((4, 90, 2)).astype(np.float32)
    classes = 3 if loss.startswith("softmax") else 2
    y = rng.integers(0, classes, (4, 90))
    ours = check(make, x, y, own=True, count=4, loss=loss)
    assert 0 < ours[0].history["running_accuracy"][-1] < 1


def test_images_of_bytes_and_one_hot_targets():
    rng = np.random.default_rng(4)
    x = rng.integers(0, 256, (3, 40, 6, 6, 1)).astype(np.uint8)
    y = np.eye(4, dtype=np.uint8)[rng.integers(0, 4, (3, 40))]

    def make():
        return [
            mlcore.Conv2D(3, 3, activation="relu"), mlcore.MaxPool(2), mlcore.Flatten(),
            mlcore.Dense(4),
        ]  # fmt: skip

    check(make, x, y, own=True, count=3, loss="softmax_cross_entropy")


def test_bytes_for_narrow_networks():
    rng = np.random.default_rng(5)
    x = rng.integers(0, 4, (60, 2)).astype(np.uint8)
    check(narrow, x, x.sum(axis=1) / 6.0, count=3, optimizer="adam")


def test_a_data_set_and_its_scale():
    rng = np.random.default_rng(6)
    x = rng.integers(0, 256, (60, 3)).astype(np.uint8)
    data = mlcore.Dataset(x, rng.integers(0, 2, 60), name="made up", scale=1 / 255)

    def make():
        return [mlcore.Dense(3, "relu"), mlcore.Dense(2)]

    ours, alone = networks(make, 3), networks(make, 3)
    mlcore.fit_many(ours, data, epochs=2)
    for our, model in zip(ours, alone, strict=True):
        model.fit(data, epochs=2, evaluate_train=False, verbose=0)
        assert_same(our, model)


def test_each_is_standardized_by_its_own_samples():
    check(lambda: [mlcore.Standardize(), *narrow()], *curve(sets=3), own=True, count=3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_second_fit_goes_on(backend):
    x, y = curve()
    rule = mlcore.Adam(0.01)
    ours, alone = networks(noisy, 3, backend), networks(noisy, 3, backend)
    for optimizer in (rule, rule, None, "adam"):
        settings = {"loss": "mse", "optimizer": optimizer, "epochs": 2, "batch_size": 16}
        mlcore.fit_many(ours, x, y, **settings)
        for our, model in zip(ours, alone, strict=True):
            model.fit(x, y, evaluate_train=False, verbose=0, **settings)
            assert_same(our, model)


def test_one_network():
    check(narrow, *curve(), count=1, workers=4)


def test_from_a_state_of_its_own():
    """Networks may have been trained differently before."""
    x, y = curve()
    ours, alone = networks(noisy, 3), networks(noisy, 3)
    for models in (ours, alone):
        models[1].fit(x, y, loss="mse", epochs=3, verbose=0)
        models[2].build(1).parameters[...] = 0.25
    mlcore.fit_many(ours, x, y, loss="mse", optimizer="adam", epochs=2)
    for our, model in zip(ours, alone, strict=True):
        model.fit(x, y, loss="mse", optimizer="adam", epochs=2, evaluate_train=False, verbose=0)
        assert_same(our, model)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", [narrow, wide])
def test_one_that_does_not_stay_finite_stops_alone(make, backend):
    x, y = curve(samples=72, sets=4)
    y[1] *= 1e18  # whose square overflows when some steps have been made
    ours, alone = networks(make, 4, backend), networks(make, 4, backend)
    settings = {"loss": "mse", "optimizer": mlcore.SGD(10.0), "epochs": 4, "batch_size": 16}
    # The others stay finite because nothing is learned from targets of zero.
    for number in (0, 2, 3):
        y[number] = 0
        for models in (ours, alone):
            models[number].build(1).parameters[...] = 0
    with pytest.warns(RuntimeWarning, match="1 of 4 networks stopped .* finite: 1"):
        histories = mlcore.fit_many(ours, x, y, workers=1, **settings)
    for number, (our, model) in enumerate(zip(ours, alone, strict=True)):
        try:
            model.fit(x[number], y[number], evaluate_train=False, verbose=0, **settings)
        except mlcore.NonFiniteLossError:
            assert number == 1
        assert_same(our, model)
    assert [len(history) == 4 for history in histories] == [True, False, True, True]


def test_parameters_that_the_last_update_broke():
    x, y = curve(samples=16)
    ours, alone = networks(narrow, 2), networks(narrow, 2)
    settings = {"loss": "mse", "optimizer": mlcore.SGD(3e38), "batch_size": 16}
    with pytest.warns(RuntimeWarning, match="2 of 2"):
        mlcore.fit_many(ours, x, y, **settings)
    for our, model in zip(ours, alone, strict=True):
        with pytest.raises(mlcore.NonFiniteLossError):
            model.fit(x, y, evaluate_train=False, verbose=0, **settings)
        assert_same(our, model)


def test_dead_networks_train_on():
    def make():
        return [mlcore.Dense(2), mlcore.Dense(2, "relu"), mlcore.Dense(1)]

    x, y = curve()
    ours, alone = networks(make, 2), networks(make, 2)
    for model in (*ours, *alone):
        model.build(1)
        model.layers[1].bias[...] = -100
    mlcore.fit_many(ours, x, y, loss="mse", optimizer="adam", epochs=2)
    for our, model in zip(ours, alone, strict=True):
        model.fit(x, y, loss="mse", optimizer="adam", epochs=2, evaluate_train=False, verbose=0)
        assert_same(our, model)


def of_four_units():
    """The kernels of narrow.h keep a row of ones in a buffer, from the first step to the last."""
    return [mlcore.Dense(4, "tanh"), mlcore.Dense(1)]


@pytest.mark.parametrize("make", [of_four_units, narrow, wide])
def test_nothing_is_left_of_the_one_before(make, monkeypatch):
    """Buffers full of NaN, as another network might leave them, are as good as new ones."""

    def spoiled(program, vectors, memory, sources):
        berth = native.berth(program, vectors, memory, sources)
        memory[...] = 255
        return berth

    monkeypatch.setattr(
        "mlcore.engine.many.native", SimpleNamespace(berth=spoiled, many=native.many)
    )
    check(make, *curve(), count=2)


class TestCtrlC:
    @pytest.mark.parametrize("make", [narrow, wide])
    def test_leaves_whole_steps_from_which_fit_resumes(self, make):
        x, y = curve(samples=1600)
        ours, epochs = networks(make, 6), 40_000 // 25
        settings = {"loss": "mse", "optimizer": mlcore.Adam(1e-4), "batch_size": 16}
        for model in ours:
            model.build(1)
        before = [model.parameters.copy() for model in ours]
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        handler = signal.getsignal(signal.SIGINT)
        timer.start()
        began = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            mlcore.fit_many(ours, x, y, epochs=40 * epochs, workers=2, **settings)
        timer.join()
        assert time.perf_counter() - began < 2
        assert signal.getsignal(signal.SIGINT) is handler
        begun = [model for model in ours if model.progress.steps]
        assert len(begun) == 2
        for model, parameters in zip(ours[2:], before[2:], strict=True):
            assert model.parameters.tobytes() == parameters.tobytes()
            assert len(model.history) == 0
        for model in begun:
            done = model.progress
            assert done.steps == done.updates == 100 * done.epoch + done.step
            assert len(model.history) == done.epoch
            assert done.totals.samples == 16 * done.step
        # The one network's steps, made by fit: as many, and then the rest of the epoch.
        ended, seed = begun[0].progress.epoch + 1, begun[0].seed
        alone = mlcore.Sequential(make(), seed=seed)
        begun[0].fit(x, y, epochs=ended, resume=True, evaluate_train=False, verbose=0, **settings)
        alone.fit(x, y, epochs=ended, evaluate_train=False, verbose=0, **settings)
        assert_same(begun[0], alone)

    def test_a_network_that_is_done_is_whole(self):
        """The first stops with whole epochs; so does what a handler of the caller's raises."""
        x, y = curve(samples=160)
        ours = networks(narrow, 50)

        def handler(*_):
            raise TimeoutError("mine")

        previous = signal.signal(signal.SIGINT, handler)
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            with pytest.raises(TimeoutError, match="mine"):
                mlcore.fit_many(ours, x, y, loss="mse", epochs=30_000, workers=2)
        finally:
            signal.signal(signal.SIGINT, previous)
        timer.join()
        assert all(np.isfinite(model.parameters).all() for model in ours)
        for model in ours:
            assert len(model.history) == model.progress.epoch


class TestRefused:
    def refused(self, models, x, y, match, **settings):
        before = [model.built for model in models if isinstance(model, mlcore.Sequential)]
        with pytest.raises(mlcore.InputError, match=match):
            mlcore.fit_many(models, x, y, **{"loss": "mse", **settings})
        after = [model.built for model in models if isinstance(model, mlcore.Sequential)]
        assert after == before
        assert all(
            model.history is None for model in models if isinstance(model, mlcore.Sequential)
        )

    def test_no_models(self):
        self.refused([], *curve(), "a list of models")
        with pytest.raises(mlcore.InputError, match="a list of models"):
            mlcore.fit_many(networks(narrow, 1)[0], *curve())

    def test_what_is_no_model(self):
        self.refused([*networks(narrow, 1), "model"], *curve(), r"models\[1\] is no Sequential")

    def test_a_model_twice(self):
        (model,) = networks(narrow, 1)
        self.refused([model, model], *curve(), r"models\[1\] is models\[0\] again")

    @pytest.mark.parametrize(
        ("other", "match"),
        [
            (lambda: [*narrow(), mlcore.Dense(1)], "number of layers: network 1 has 7"),
            (lambda: [*narrow()[:-1], mlcore.Dense(1, "tanh")], "dense_6: network 1 has .*tanh"),
            (lambda: [mlcore.Dense(3), *narrow()[1:]], "dense_1: network 1 has .*3"),
            (lambda: [mlcore.Dense(2, trainable=False), *narrow()[1:]], "dense_1: .*frozen"),
            (
                lambda: [mlcore.Dense(2, kernel_regularizer="l2"), *narrow()[1:]],
                "dense_1: network 1",
            ),
        ],
    )
    def test_another_architecture(self, other, match):
        self.refused([*networks(narrow, 1), *networks(other, 1)], *curve(), match)

    def test_other_numbers(self):
        models = [*networks(narrow, 1), *networks(narrow, 1, dtype="float64")]
        self.refused(models, *curve(), "same dtype")

    def test_another_backend(self):
        models = [*networks(narrow, 1), *networks(narrow, 1, "numpy")]
        if models[0].backend.name != "numpy":
            self.refused(models, *curve(), "same backend")

    def test_models_of_other_data(self):
        models = networks(narrow, 2)
        models[1].build(3)
        self.refused(models, *curve(), "same input_shape: network 1 has")

    def test_sets_for_another_number_of_networks(self):
        self.refused(networks(narrow, 2), *curve(sets=3), "there are 3 sets and 2 networks")

    def test_a_bad_value_in_one_set(self):
        x, y = curve(sets=3)
        x[2, 5, 0] = np.nan
        self.refused(networks(narrow, 3), x, y, r"network 2: x has nan at \[5, 0\]")

    def test_targets_of_two_kinds(self):
        x = np.zeros((2, 4, 1), np.float32)
        y = np.array([[[1, 0]] * 4, [[0.5, 0.5]] * 4])

        def make():
            return [mlcore.Dense(2)]

        self.refused(networks(make, 2), x, y, "network 1 are rows of numbers", loss=None)

    def test_unlike_optimizers_of_their_own(self):
        models = networks(narrow, 2)
        x, y = curve()
        for model, rate in zip(models, (0.1, 0.2), strict=True):
            model.fit(x, y, loss="mse", optimizer=mlcore.SGD(rate), verbose=0)
        with pytest.raises(mlcore.InputError, match="same optimizer: network 1"):
            mlcore.fit_many(models, x, y)

    @pytest.mark.parametrize("workers", [0, -1, 1.5, True])
    def test_workers(self, workers):
        self.refused(networks(narrow, 1), *curve(), "workers must be", workers=workers)

    def test_no_targets(self):
        self.refused(networks(narrow, 1), curve()[0], None, "y is missing")


def test_alike_regularizers_are_alike():
    def make():
        return [mlcore.Dense(2, kernel_regularizer=mlcore.L2(0.01)), mlcore.Dense(1)]

    check(make, *curve(), count=3)


def test_initializers_may_differ():
    x, y = curve()
    made = [
        [mlcore.Sequential([mlcore.Dense(2, kernel_initializer=k), mlcore.Dense(1)], seed=1)
         for k in ("he_normal", "glorot_uniform")] for _ in range(2)
    ]  # fmt: skip
    mlcore.fit_many(made[0], x, y, loss="mse")
    for our, model in zip(*made, strict=True):
        model.fit(x, y, loss="mse", evaluate_train=False, verbose=0)
        assert_same(our, model)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("validation_data", ([[0.0]], [0.0])),
        ("validation_split", 0.2),
        ("sample_weight", [1.0]),
        ("class_weight", {0: 1.0}),
        ("callbacks", []),
        ("evaluate_train", True),
        ("resume", True),
    ],
)
def test_what_only_fit_takes_is_refused_in_one_sentence(name, value):
    models = networks(narrow, 2)
    with pytest.raises(mlcore.InputError, match=f"fit_many takes no {name}, which only fit does"):
        mlcore.fit_many(models, *curve(), loss="mse", **{name: value})
    assert not models[0].built


def test_what_nobody_takes_is_a_type_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        mlcore.fit_many(networks(narrow, 2), *curve(), loss="mse", epoch=3)
