"""What is inside a network, against NumPy written out, in every backend."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

from mlcore import (
    SGD,
    Activation,
    Adam,
    AvgPool,
    BatchNorm,
    Conv2D,
    Dataset,
    Dense,
    Dropout,
    Flatten,
    InputError,
    Sequential,
    inspection,
    kernels,
)

BACKENDS = [entry.name for entry in kernels.status() if entry.available]
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
RNG = np.random.default_rng(5)
X = RNG.normal(size=(33, 6))
Y = np.arange(33) % 3
IMAGES = RNG.normal(size=(9, 5, 5, 2))


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


def mlp(*layers, **settings):
    layers = layers or (Dense(7, "tanh"), Dense(5, "sigmoid"), Dense(3))
    return Sequential(layers, **{"seed": 3, **settings}).build(6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def forward(model, x):
    """The three layers of `mlp`, in float64."""
    p = {name: array.astype(float) for name, array in inspection.weights(model).items()}
    a = np.tanh(x @ p["dense_1.weight"] + p["dense_1.bias"])
    b = sigmoid(a @ p["dense_2.weight"] + p["dense_2.bias"])
    return a, b, b @ p["dense_3.weight"] + p["dense_3.bias"], p


class TestActivations:
    @pytest.mark.parametrize("samples", [1, 33])
    @pytest.mark.parametrize("batch_size", [1, 8, 256])
    def test_of_dense_layers(self, backend, dtype, samples, batch_size):
        model = mlp(backend=backend, dtype=dtype)
        x = X[:samples].astype(dtype)
        found = inspection.activations(model, x, batch_size=batch_size)
        assert list(found) == ["dense_1", "dense_2", "dense_3"]
        for values, wanted in zip(found.values(), forward(model, x.astype(float)), strict=False):
            assert values.dtype == dtype
            np.testing.assert_allclose(values, wanted, atol=TOLERANCE[dtype])

    def test_of_images(self, backend, dtype):
        layers = [Conv2D(3, 2, activation="relu"), BatchNorm(), AvgPool(2), Flatten(), Dense(4)]
        model = Sequential(layers, seed=1, dtype=dtype, backend=backend).build((5, 5, 2))
        norm = model.layers[1]
        norm.gamma, norm.beta = [1, 2, 3], [0, 1, -1]
        norm.moving_mean, norm.moving_variance = [0.1, 0.2, 0.3], [1, 4, 9]
        x = IMAGES.astype(dtype)
        found = inspection.activations(model, x, batch_size=4)
        p = {name: array.astype(float) for name, array in inspection.weights(model).items()}
        conv = np.empty((9, 4, 4, 3))
        for i in range(4):
            for j in range(4):
                window = x[:, i : i + 2, j : j + 2].astype(float)
                conv[:, i, j] = np.einsum("nhwc,hwcf->nf", window, p["conv2d_1.weight"])
        conv = np.maximum(conv + p["conv2d_1.bias"], 0)
        scaled = (conv - [0.1, 0.2, 0.3]) / np.sqrt(np.array([1, 4, 9]) + 1e-3)
        normal = scaled * [1, 2, 3] + [0, 1, -1]
        pooled = normal.reshape(9, 2, 2, 2, 2, 3).mean(axis=(2, 4))
        wanted = {
            "conv2d_1": conv,
            "batch_norm_1": normal,
            "avg_pool_1": pooled,
            "flatten_1": pooled.reshape(9, -1),
            "dense_1": pooled.reshape(9, -1) @ p["dense_1.weight"] + p["dense_1.bias"],
        }
        assert list(found) == list(wanted)
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, atol=10 * TOLERANCE[dtype])

    def test_the_last_are_the_predictions(self, backend):
        model = mlp(Dense(4, "relu"), Dense(3, "softmax"), backend=backend)
        found = inspection.activations(model, X)["dense_2"]
        np.testing.assert_allclose(found, model.predict(X), atol=1e-6)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)

    def test_as_in_training_or_not(self, backend, dtype):
        layers = [Dense(40, "relu"), BatchNorm(), Dropout(0.5), Dense(3)]
        model = mlp(*layers, backend=backend, dtype=dtype)
        before = inspection.weights(model)
        still = inspection.activations(model, X)
        np.testing.assert_array_equal(still["dropout_1"], still["batch_norm_1"])
        found = inspection.activations(model, X, training=True)
        dense = found["dense_1"].astype(float)
        wanted = (dense - dense.mean(axis=0)) / np.sqrt(dense.var(axis=0) + 1e-3)
        np.testing.assert_allclose(found["batch_norm_1"], wanted, atol=1e3 * TOLERANCE[dtype])
        kept = found["dropout_1"] != 0
        assert 0.3 < kept.mean() < 0.7
        np.testing.assert_allclose(
            found["dropout_1"][kept], 2 * found["batch_norm_1"][kept], rtol=1e-5
        )
        for name, array in inspection.weights(model).items():
            np.testing.assert_array_equal(array, before[name])

    def test_of_some_layers_of_a_dataset(self):
        images = RNG.integers(256, size=(9, 2, 3), dtype=np.uint8)
        model = mlp()
        found = inspection.activations(model, Dataset(images, np.zeros(9, int)), "dense_2")
        assert list(found) == ["dense_2"]
        wanted = forward(model, images.reshape(9, 6) / 255)[1]
        np.testing.assert_allclose(found["dense_2"], wanted, atol=1e-6)
        assert list(inspection.activations(model, X, ["dense_3", "dense_1"])) == [
            "dense_1",
            "dense_3",
        ]

    def test_refuses(self):
        with pytest.raises(InputError, match=r"unknown layer 'dense_4'.*Known: dense_1"):
            inspection.activations(mlp(), X, "dense_4")
        with pytest.raises(InputError, match="build"):
            inspection.activations(Sequential([Dense(2)]), X)
        with pytest.raises(InputError, match="5"):
            inspection.activations(mlp(), X[:, :5])
        with pytest.raises(InputError, match="batch_size"):
            inspection.activations(mlp(), X, batch_size=0)


class TestGradients:
    @pytest.mark.parametrize("samples", [1, 33])
    def test_of_dense_layers(self, backend, dtype, samples):
        model = mlp(backend=backend, dtype=dtype)
        x, y = X[:samples].astype(dtype), Y[:samples]
        a, b, logits, p = forward(model, x.astype(float))
        dz = (softmax(logits) - np.eye(3)[y]) / samples
        db = dz @ p["dense_3.weight"].T * b * (1 - b)
        da = db @ p["dense_2.weight"].T * (1 - a * a)
        wanted = {
            "dense_1.weight": x.astype(float).T @ da,
            "dense_1.bias": da.sum(axis=0),
            "dense_2.weight": a.T @ db,
            "dense_2.bias": db.sum(axis=0),
            "dense_3.weight": b.T @ dz,
            "dense_3.bias": dz.sum(axis=0),
        }
        found = inspection.gradients(model, x, y)
        assert list(found) == list(wanted)
        for name, gradient in wanted.items():
            np.testing.assert_allclose(found[name], gradient, atol=TOLERANCE[dtype], err_msg=name)

    def test_only_of_what_learns(self):
        model = mlp(Dense(4, "relu", trainable=False), BatchNorm(), Dense(3))
        assert list(inspection.gradients(model, X, Y)) == [
            "batch_norm_1.gamma",
            "batch_norm_1.beta",
            "dense_2.weight",
            "dense_2.bias",
        ]


class TestUpdates:
    def test_of_an_untrained_model_are_minus_the_rate_times_the_gradients(self, backend, dtype):
        model = mlp(backend=backend, dtype=dtype)
        before = inspection.weights(model)
        found = inspection.updates(model, X, Y, optimizer=SGD(0.5))
        for name, gradient in inspection.gradients(model, X, Y).items():
            np.testing.assert_allclose(found[name], -0.5 * gradient, atol=TOLERANCE[dtype])
        halved = inspection.updates(model, X, Y, optimizer=SGD(0.5), learning_rate=0.25)
        np.testing.assert_allclose(
            halved["dense_1.weight"], found["dense_1.weight"] / 2, atol=TOLERANCE[dtype]
        )
        for name, array in inspection.weights(model).items():
            np.testing.assert_array_equal(array, before[name])

    def test_are_those_of_the_next_step(self, backend):
        """With Adam's state, dropout's next draws, and the rate that the schedule has come to."""
        layers = [Dense(8, "relu"), Dropout(0.3), Dense(3)]
        model = mlp(*layers, backend=backend, dtype="float64")
        settings = {"batch_size": 33, "shuffle": False, "verbose": 0}
        model.fit(X, Y, optimizer=Adam(0.01), epochs=3, schedule=lambda _: 0.1, **settings)
        state = copy.deepcopy((model.parameters, model.optimizer_state, model.progress))
        found = inspection.updates(model, X, Y)
        assert (model.parameters == state[0]).all()
        for name, values in model.optimizer_state.items():
            np.testing.assert_array_equal(values, state[1][name])
        assert model.progress == state[2]
        before = inspection.weights(model)
        model.fit(X, Y, epochs=1, schedule=lambda _: 0.1, **settings)
        for name, after in inspection.weights(model).items():
            np.testing.assert_allclose(found[name], after - before[name], atol=1e-14)
            assert np.abs(found[name]).max() < 0.0012

    def test_refuses(self):
        with pytest.raises(InputError, match="learning_rate must be 0 or more"):
            inspection.updates(mlp(), X, Y, learning_rate=-1)
        with pytest.raises(InputError, match="build"):
            inspection.updates(Sequential([Dense(3)]), X, Y)


class TestUpdateRatios:
    def test_are_norms(self):
        before = {"a": np.array([[3.0, 4.0]]), "b": np.zeros(2), "c": np.zeros(2), "d": np.ones(1)}
        after = {"a": np.array([[3.0, 4.5]]), "b": np.zeros(2), "c": np.ones(2)}
        assert inspection.update_ratios(before, after) == {"a": 0.1, "b": 0.0, "c": math.inf}

    def test_of_models(self):
        model = mlp()
        other = copy.deepcopy(model)
        other.layers[0].weight *= 1.5
        ratios = inspection.update_ratios(model, other)
        assert ratios["dense_1.weight"] == pytest.approx(0.5, rel=1e-6)
        assert ratios["dense_2.weight"] == 0

    def test_refuses(self):
        with pytest.raises(InputError, match="the same network twice"):
            inspection.update_ratios({"a": np.ones(2)}, {"b": np.ones(2)})
        with pytest.raises(InputError, match=r"a has shape \(2,\) before and \(3,\) after"):
            inspection.update_ratios({"a": np.ones(2)}, {"a": np.ones(3)})


class TestDeadUnits:
    def test_units_that_never_act(self, backend, dtype):
        model = mlp(Dense(4, "relu"), Dense(3), backend=backend, dtype=dtype)
        model.layers[0].bias = [-1e3, 0, 0, 1e3]
        model.layers[0].weight[:, 2] = 0
        dead = inspection.dead_units(model, X, batch_size=5)
        assert dead["dense_1"].tolist() == [True, False, True, False]
        assert not dead["dense_2"].any()
        model.layers[0].bias = [-1e3, -1e3, 0, -1e3]
        assert inspection.dead_units(model, X, "dense_2")["dense_2"].all()

    def test_the_tolerance_is_relative(self):
        model = mlp(Dense(1))
        model.layers[0].weight *= 1e-9
        assert not inspection.dead_units(model, X)["dense_1"].any()
        model.layers[0].bias = [1.0]
        assert inspection.dead_units(model, X)["dense_1"].all()

    def test_channels_are_units(self):
        layers = [Conv2D(3, 2, activation="relu"), Flatten(), Dense(2)]
        model = Sequential(layers, seed=1).build((5, 5, 2))
        model.layers[0].bias = [0, -1e3, 0]
        dead = inspection.dead_units(model, IMAGES)
        assert dead["conv2d_1"].tolist() == [False, True, False]
        assert list(dead) == ["conv2d_1", "dense_1"]

    def test_refuses(self):
        with pytest.raises(InputError, match="two samples"):
            inspection.dead_units(mlp(), X[:1])
        with pytest.raises(InputError, match="tolerance"):
            inspection.dead_units(mlp(), X, tolerance=-1)


class TestSaturation:
    @pytest.mark.parametrize(
        ("activation", "flat"),
        [
            ("relu", lambda a: a <= 0),
            ("tanh", lambda a: np.abs(a) >= 0.8),
            ("sigmoid", lambda a: (a <= 0.1) | (a >= 0.9)),
            ("relu6", lambda a: (a <= 0.6) | (a >= 5.4)),
            ({"name": "elu", "alpha": 2.0}, lambda a: a <= -1.8),
        ],
    )
    def test_is_the_share_near_a_bound(self, activation, flat, backend):
        model = mlp(Dense(5, activation), Dense(3), backend=backend, dtype="float64")
        model.layers[0].weight *= 3
        found = inspection.saturation(model, X, margin=0.1, batch_size=8)
        assert list(found) == ["dense_1"]
        wanted = flat(inspection.activations(model, X, "dense_1")["dense_1"]).mean(axis=0)
        assert 0 < wanted.mean() < 1
        np.testing.assert_array_equal(found["dense_1"], wanted)

    def test_refuses(self):
        with pytest.raises(InputError, match="dense_3 cannot be saturated: identity has no bound"):
            inspection.saturation(mlp(), X, "dense_3")
        model = mlp(Dense(3, "tanh"), BatchNorm())
        with pytest.raises(InputError, match=r"batch_norm_1 cannot.*no activation function"):
            inspection.saturation(model, X, "batch_norm_1")
        with pytest.raises(InputError, match="margin"):
            inspection.saturation(mlp(), X, margin=0.5)


class TestLastUpdates:
    def test_per_epoch(self, backend):
        model = mlp(backend=backend)
        seen = [inspection.weights(model)]
        watch = inspection.LastUpdates()

        def keep(_epoch, _logs):
            seen.append(inspection.weights(model))

        model.fit(X, Y, epochs=3, batch_size=8, verbose=0, callbacks=[watch, keep])
        assert watch.epochs == [1, 2, 3]
        for name, last in watch.updates.items():
            np.testing.assert_array_equal(last, seen[3][name] - seen[2][name])
            norms = [np.linalg.norm(seen[n + 1][name] - seen[n][name]) for n in range(3)]
            sizes = np.array(norms) / math.sqrt(last.size)
            np.testing.assert_allclose(watch.magnitudes[name], sizes, rtol=1e-5)
            lengths = [np.linalg.norm(seen[n][name]) for n in range(3)]
            ratios = [n / m if m else math.inf for n, m in zip(norms, lengths, strict=True)]
            np.testing.assert_allclose(watch.ratios[name], ratios, rtol=1e-5)

    def test_per_step(self, backend):
        model, other = mlp(backend=backend), mlp(backend=backend)
        watch = inspection.LastUpdates("step")
        model.fit(X, Y, epochs=2, batch_size=11, verbose=0, callbacks=watch)
        np.testing.assert_allclose(watch.epochs, np.arange(1, 7) / 3)
        other.fit(X, Y, epochs=2, batch_size=11, verbose=0)
        np.testing.assert_array_equal(model.parameters, other.parameters)
        first = mlp(backend=backend)
        gradient = inspection.gradients(first, X[:11], Y[:11])["dense_1.weight"]
        first.fit(X[:11], Y[:11], optimizer=SGD(0.1), batch_size=11, verbose=0, callbacks=watch)
        np.testing.assert_allclose(watch.updates["dense_1.weight"], -0.1 * gradient, atol=1e-7)
        assert watch.epochs == [1]

    def test_costs_nothing_while_steps_run(self, monkeypatch):
        """Per epoch, nobody looks between steps; the engine keeps its parameters to itself."""
        from mlcore.trainer import Trainer

        syncs = []
        train = Trainer._train_epoch

        def counting(self, executor, rate, interrupts):
            sync = executor.sync
            executor.sync = lambda: syncs.append(1) or sync()
            train(self, executor, rate, interrupts)
            executor.sync = sync

        monkeypatch.setattr(Trainer, "_train_epoch", counting)
        for per, wanted in (("epoch", 0), ("step", 8)):
            syncs.clear()
            watch = inspection.LastUpdates(per)
            mlp().fit(X[:32], Y[:32], epochs=2, batch_size=8, verbose=0, callbacks=watch)
            assert len(syncs) == wanted

    def test_refuses(self):
        with pytest.raises(InputError, match="unknown per of LastUpdates 'batch'"):
            inspection.LastUpdates("batch")


def test_inspect_has_a_row_for_each_epoch_and_layer():
    model = mlp(Dense(4, "relu"), BatchNorm(), Activation("tanh"), Dense(3))
    watch = inspection.Inspect(X, Y)
    model.fit(X, Y, epochs=2, verbose=0, callbacks=watch)
    assert [(row["epoch"], row["layer"]) for row in watch.rows] == [
        (epoch, layer) for epoch in (1, 2) for layer in ("dense_1", "activation_1", "dense_2")
    ]
    values = inspection.activations(model, X)["activation_1"]
    row = watch.rows[4]
    assert row["mean"] == pytest.approx(values.mean(), abs=1e-6)
    assert row["std"] == pytest.approx(values.std(), abs=1e-6)
    assert row["dead"] == inspection.dead_units(model, X)["activation_1"].mean()
    assert row["saturated"] == inspection.saturation(model, X)["activation_1"].mean()
    assert row["gradient"] is None
    gradients = inspection.gradients(model, X, Y)
    norm = math.hypot(*(np.linalg.norm(gradients[f"dense_2.{n}"]) for n in ("weight", "bias")))
    assert watch.rows[5]["gradient"] == pytest.approx(norm)
    assert watch.rows[5]["saturated"] is None
    untargeted = inspection.Inspect(X)
    model.fit(X, Y, verbose=0, callbacks=untargeted)
    assert {row["gradient"] for row in untargeted.rows} == {None}


def test_weights_are_copies():
    model = mlp()
    found = inspection.weights(model)
    assert list(found)[:2] == ["dense_1.weight", "dense_1.bias"]
    found["dense_1.weight"][...] = 7
    assert not (model.layers[0].weight == 7).any()
    with pytest.raises(InputError, match="build"):
        inspection.weights(Sequential([Dense(2)]))
