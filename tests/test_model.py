"""Sequential: shapes, views, training on every kind of data, predictions, and what it refuses."""

import copy
import math
import pickle
import re

import numpy as np
import pytest

import mlcore
from mlcore import (
    SGD,
    Activation,
    Adam,
    Dataset,
    Dense,
    Dropout,
    GaussianNoise,
    InputError,
    RMSprop,
    Sequential,
    door,
    kernels,
)

BACKENDS = [entry.name for entry in kernels.status() if entry.available]
SAMPLES, FEATURES, CLASSES = 30, 4, 3


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def data(dtype=np.float32):
    rng = np.random.default_rng(12)
    return rng.standard_normal((SAMPLES, FEATURES)).astype(dtype), rng.integers(0, CLASSES, SAMPLES)


def net(*layers, **given):
    return Sequential(layers or (Dense(6, "tanh"), Dense(CLASSES)), **{"seed": 5, **given})


def train(model, x=None, y=None, **given):
    if x is None:
        x, y = data()
    settings = {"optimizer": SGD(0.1, 0.9), "epochs": 3, "batch_size": 8, "verbose": 0}
    model.fit(x, y, **{**settings, **given})
    return model


def trained_bits(*given, model=None, **settings):
    return train(model or net(), *given, **settings).parameters.tobytes()


class TestShapes:
    def test_are_inferred_from_the_data(self):
        model = net(Dense(7, "relu"), Dropout(0.5), Dense(5), Activation("elu"), Dense(CLASSES))
        assert not model.built
        train(model)
        assert [layer.input_shape for layer in model.layers] == [(4,), (7,), (7,), (5,), (5,)]
        assert [layer.output_shape for layer in model.layers] == [(7,), (7,), (5,), (5,), (3,)]
        assert [layer.name for layer in model.layers] == [
            "dense_1", "dropout_1", "dense_2", "activation_1", "dense_3",
        ]  # fmt: skip
        assert model.layers[0].weight.shape == (4, 7)
        assert model.layers[0].bias.shape == (7,)
        assert model.parameters.shape == (4 * 7 + 7 + 7 * 5 + 5 + 5 * 3 + 3,)
        assert model.outputs == 3

    @pytest.mark.parametrize("features", [4, (4,), np.int64(4)])
    def test_are_known_after_build(self, features):
        assert net().build(features).layers[0].weight.shape == (4, 6)

    def test_without_bias(self):
        model = net(Dense(3, use_bias=False)).build(2)
        assert model.parameters.shape == (6,)
        with pytest.raises(InputError, match="no bias"):
            _ = model.layers[0].bias
        train(model, np.ones((4, 2)), [0, 1, 2, 0])

    @pytest.mark.parametrize(
        ("features", "message"),
        [
            ((4, 5), r"not samples of shape \(4, 5\): put Flatten\(\) before it"),
            (0, "features must be a whole number, 1 or more"),
            (2.5, "features must be a whole number"),
        ],
    )
    def test_bad_build(self, features, message):
        with pytest.raises(InputError, match=message):
            net().build(features)

    def test_build_once(self):
        with pytest.raises(InputError, match="already built for 4 features"):
            net().build(4).build(4)

    def test_no_layers(self):
        with pytest.raises(InputError, match="no layers"):
            Sequential().build(4)

    def test_add(self):
        model = Sequential(seed=5)
        model.add(Dense(6, "tanh"))
        model.add(Dense(CLASSES))
        assert train(model).parameters.tobytes() == trained_bits()
        with pytest.raises(InputError, match="is built: add layers before"):
            model.add(Dense(3))

    def test_what_is_no_layer(self):
        with pytest.raises(InputError, match=r"made of layers such as .*not int"):
            Sequential([3])

    def test_a_layer_belongs_to_one_model(self):
        layer = Dense(3)
        Sequential([layer])
        with pytest.raises(InputError, match="dense_1 already belongs to a model"):
            Sequential([layer])
        again = Dense(3)
        with pytest.raises(InputError, match="stands in the list twice"):
            Sequential([again, again])


class TestSummary:
    def test_table(self, capsys):
        model = net(
            Dense(7, {"name": "leaky_relu", "alpha": 0.3}, trainable=False), Dropout(0.25), Dense(3)
        )
        model.summary(4)
        printed = capsys.readouterr().out
        lines = printed.splitlines()
        assert printed == f"{model}\n"
        assert re.search(r"^dense_1 .*leaky_relu.*0.3.*frozen.*\(batch, 7\) +35$", printed, re.M)
        assert re.search(r"^dropout_1 +0.25 +\(batch, 7\) +0$", printed, re.M)
        assert re.search(r"^dense_2 +identity +\(batch, 3\) +24$", printed, re.M)
        assert re.search(r"^total +59$", printed, re.M)
        assert lines[-1] == "float32, 0.2 KiB, seed 5, 35 parameters that no update touches"

    def test_before_the_shapes_are_known(self, capsys):
        net().summary()
        assert "Dense(units=6" in capsys.readouterr().out


class TestParameters:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_weights_are_views(self, dtype, backend):
        model = net(dtype=dtype, backend=backend).build(FEATURES)
        first, last = model.layers
        for view in (first.weight, first.bias, last.weight, last.bias):
            assert np.shares_memory(view, model.parameters)
            assert view.dtype == dtype
            assert view.flags.c_contiguous
        first.weight[1, 2] = 17
        assert model.parameters[1 * 6 + 2] == 17
        model.parameters[-1] = 19
        assert last.bias[-1] == 19
        first.weight = np.full((4, 6), 2)
        assert (model.parameters[:24] == 2).all()
        model.parameters = np.arange(model.parameters.size)
        assert first.bias.tolist() == [24, 25, 26, 27, 28, 29]
        assert first.parameters["bias"].tolist() == first.bias.tolist()

    def test_views_hold_while_and_after_training(self, backend):
        model = net(backend=backend).build(FEATURES)
        weight = model.layers[0].weight
        seen = []
        train(model, callbacks=lambda *_: seen.append(weight.copy()))
        assert not np.array_equal(seen[0], seen[1])
        assert np.array_equal(weight, model.layers[0].weight)
        assert np.shares_memory(weight, model.parameters)

    def test_written_weights_are_used(self, backend):
        model = net(Dense(2), backend=backend).build(3)
        model.layers[0].weight[...] = [[1, 2], [3, 4], [5, 6]]
        model.layers[0].bias = [10, 20]
        assert model.predict([[1, 0, 1]]).tolist() == [[16, 28]]

    def test_are_aligned(self):
        assert net().build(FEATURES).parameters.ctypes.data % 64 == 0

    @pytest.mark.parametrize("value", [np.zeros((6, 4)), np.zeros(24), 0.0, np.zeros((1, 4, 6))])
    def test_a_weight_of_the_wrong_shape(self, value):
        model = net().build(FEATURES)
        before = model.parameters.copy()
        with pytest.raises(InputError, match=r"dense_1.weight has shape \(4, 6\), not "):
            model.layers[0].weight = value
        assert np.array_equal(model.parameters, before)

    @pytest.mark.parametrize("size", [0, 50, 52])
    def test_parameters_of_the_wrong_size(self, size):
        model = net().build(FEATURES)
        with pytest.raises(InputError, match=f"has 51 parameters, not .*{size}"):
            model.parameters = np.zeros(size)

    def test_before_they_are_there(self):
        with pytest.raises(InputError, match=r"no parameters yet.*build\(features\)"):
            _ = net().parameters
        with pytest.raises(InputError, match=r"no weight yet.*build\(features\)"):
            _ = net().layers[0].weight

    @pytest.mark.parametrize("make", [SGD, lambda rate: Adam(rate, weight_decay=0.1), RMSprop])
    def test_frozen_layers_do_not_move(self, make, backend):
        model = net(
            Dense(6, "tanh", trainable=False), Dense(5, "tanh"), Dense(CLASSES), backend=backend
        )
        model.build(FEATURES)
        model.layers[2].trainable = False
        before = [{k: v.copy() for k, v in layer.parameters.items()} for layer in model.layers]
        train(model, optimizer=make(0.05))
        for at, layer in enumerate(model.layers):
            for name, value in layer.parameters.items():
                assert np.array_equal(value, before[at][name]) == (at != 1), (at, name)

    def test_a_frozen_layer_can_be_thawed(self):
        model = net(Dense(6, "tanh", trainable=False), Dense(CLASSES))
        train(model)
        before = model.layers[0].weight.copy()
        model.layers[0].trainable = True
        train(model)
        assert not np.array_equal(model.layers[0].weight, before)

    def test_everything_frozen(self):
        model = net(Dense(CLASSES, trainable=False)).build(FEATURES)
        before = model.parameters.copy()
        train(model)
        assert np.array_equal(model.parameters, before)


class TestLearning:
    def test_xor(self, backend):
        x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
        model = net(Dense(8, "tanh"), Dense(2), backend=backend)
        train(model, x, y, optimizer=Adam(0.05), epochs=200)
        assert model.predict_classes(x).tolist() == y
        assert model.evaluate(x, y)["loss"] < 0.05
        assert model.evaluate(x, y)["accuracy"] == 1

    def test_regression(self, backend):
        x = np.linspace(-2, 2, 60)[:, None]
        y = np.sin(2 * x)
        model = net(Dense(24, "tanh"), Dense(1), backend=backend)
        train(model, x, y, loss="mse", optimizer=Adam(0.02), epochs=150)
        measured = model.evaluate(x, y)
        assert set(measured) == {"loss"}
        assert measured["loss"] < 0.01
        assert np.abs(model.predict(x) - y).mean() < 0.1

    def test_binary(self, backend):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((80, 2))
        y = (x[:, 0] > x[:, 1]).astype(int)
        model = net(Dense(1), backend=backend)
        train(model, x, y, loss="sigmoid_cross_entropy", optimizer=Adam(0.1), epochs=60)
        assert model.evaluate(x, y)["accuracy"] > 0.95
        assert np.mean(model.predict_classes(x) == y) == model.evaluate(x, y)["accuracy"]

    def test_a_net_of_one_class(self, backend):
        x, _ = data()
        y = np.zeros(SAMPLES, int)
        model = net(Dense(4, "relu"), Dense(1), backend=backend)
        train(model, x, y)
        assert model.evaluate(x, y) == {"loss": 0, "accuracy": 1}
        assert model.predict_proba(x).tolist() == [[1]] * SAMPLES
        assert model.predict_classes(x).tolist() == y.tolist()


class TestBatches:
    @pytest.mark.parametrize("batch_size", [1, 7, 8, SAMPLES, 1000])
    def test_of_any_size(self, batch_size, backend):
        x, y = data()
        model = net(backend=backend).build(FEATURES)
        before = model.evaluate(x, y)["loss"]
        train(model, x, y, batch_size=batch_size, epochs=20, optimizer=SGD(0.03))
        assert model.progress.steps == 20 * math.ceil(SAMPLES / batch_size)
        assert model.evaluate(x, y)["loss"] < before - 0.05

    def test_larger_than_the_data_is_the_data(self):
        assert trained_bits(batch_size=1000) == trained_bits(batch_size=SAMPLES)

    def test_one_sample(self, backend):
        x, y = data()
        model = train(net(backend=backend), x[:1], y[:1], epochs=30)
        assert model.predict_classes(x[:1]) == y[:1]

    @pytest.mark.parametrize("batch_size", [1, 7, 29, 30, 31])
    def test_evaluate_and_predict_do_not_depend_on_them(self, batch_size, backend):
        x, y = data()
        model = train(net(backend=backend))
        whole = model.evaluate(x, y)
        parts = model.evaluate(x, y, batch_size=batch_size)
        assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-6)
        assert parts["accuracy"] == whole["accuracy"]
        np.testing.assert_allclose(
            model.predict(x, batch_size=batch_size), model.predict(x), rtol=1e-5, atol=1e-6
        )

    def test_the_measured_loss_is_the_mean_over_samples(self, backend):
        x, y = data()
        model = train(net(backend=backend))
        proba = model.predict_proba(x).astype(float)
        wanted = -np.log(proba[np.arange(SAMPLES), y]).mean()
        assert model.evaluate(x, y, batch_size=8)["loss"] == pytest.approx(wanted, rel=1e-5)
        wanted = np.mean(proba.argmax(axis=1) == y)
        assert model.evaluate(x, y, batch_size=8)["accuracy"] == wanted


def strided(array):
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def reversed_rows(array):
    return array[::-1].copy()[::-1]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def big_endian(array):
    return array.astype(array.dtype.newbyteorder(">"))


class Wrapped:
    """What knows only how to become an array, as a data frame does."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype=dtype)


LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided": strided,
    "reversed": reversed_rows,
    "read-only": read_only,
    "big-endian": big_endian,
    "list": lambda array: array.tolist(),
    "wrapped": Wrapped,
}


class TestInputs:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_of_any_layout_give_the_same_bits(self, layout, dtype, backend):
        change = LAYOUTS[layout]
        x, y = data(dtype)

        def bits(x, y):
            model = net(dtype=dtype, backend=backend)
            train(model, x, y, validation_data=(x, y))
            return model.parameters.tobytes(), model.predict(x).tobytes(), model.evaluate(x, y)

        assert bits(change(x), change(y)) == bits(x, y)

    @pytest.mark.parametrize(
        "kind", ["uint8", "int8", "uint16", "int64", "bool", "float16", "float64"]
    )
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_of_any_dtype_give_the_same_bits(self, kind, dtype, backend):
        x = np.random.default_rng(3).integers(0, 2 if kind == "bool" else 100, (SAMPLES, FEATURES))
        y = data()[1]
        results = []
        for given in (x.astype(kind), big_endian(x.astype(kind)), x.astype(dtype)):
            model = net(dtype=dtype, backend=backend)
            train(model, given, y, optimizer=SGD(0.001))
            results.append((model.parameters.tobytes(), model.predict(given).tobytes()))
        assert results[0] == results[1] == results[2]

    def test_float64_data_is_rounded_once(self, backend):
        x, y = np.random.default_rng(1).standard_normal((SAMPLES, FEATURES)), data()[1]
        fine, rounded = (net(backend=backend) for _ in range(2))
        assert trained_bits(x, y, model=fine) == trained_bits(
            x.astype(np.float32), y, model=rounded
        )

    def test_are_never_modified(self, backend):
        x, y = data()
        soft = np.eye(CLASSES, dtype=np.float32)[y]
        kept = x.copy(), y.copy(), soft.copy()
        model = net(GaussianNoise(0.5), Dense(4), Dropout(0.5), Dense(CLASSES), backend=backend)
        train(model, x, y, validation_data=(x, soft))
        train(model, x, soft, validation_split=0.3)
        model.evaluate(x, soft)
        model.predict_proba(x)
        model.loss_and_gradients(x, y, training=True)
        for now, before in zip((x, y, soft), kept, strict=True):
            assert np.array_equal(now, before)
        predicted = model.predict(x)
        predicted[...] = 0
        assert model.predict(x).any()

    def test_a_dataset_brings_its_targets_and_scale(self, backend):
        rng = np.random.default_rng(8)
        images, y = rng.integers(0, 256, (SAMPLES, FEATURES), dtype=np.uint8), data()[1]
        model, other = net(backend=backend), net(backend=backend)
        train(model, Dataset(images, y), None)
        train(other, images.astype(np.float32) * np.float32(1 / 255), y)
        assert np.array_equal(model.parameters, other.parameters)
        with pytest.raises(InputError, match="brings its own targets"):
            model.fit(Dataset(images, y), y)

    def test_a_double_precision_model(self, backend):
        model = net(dtype="float64", backend=backend)
        x, y = data(np.float64)
        train(model, x, y)
        assert model.parameters.dtype == model.predict(x).dtype == np.float64
        single = train(net(dtype=np.float32, backend=backend), x, y)
        assert single.predict(x).dtype == np.float32
        np.testing.assert_allclose(single.predict(x), model.predict(x), rtol=1e-4, atol=1e-5)


class TestTargets:
    @pytest.mark.parametrize(
        "change",
        [
            lambda y: y[:, None],
            lambda y: y.astype(float),
            lambda y: y[:, None].astype(np.float32),
            lambda y: y.astype(np.uint8),
            lambda y: y.tolist(),
            lambda y: np.eye(CLASSES)[y],
            lambda y: np.eye(CLASSES, dtype=bool)[y],
            lambda y: np.eye(CLASSES, dtype=np.uint8)[y],
        ],
    )
    def test_labels_of_any_form_give_the_same_bits(self, change, backend):
        x, y = data()
        results = [
            (trained_bits(x, given, model=model), model.evaluate(x, given))
            for given in (y, change(y))
            for model in [net(backend=backend)]
        ]
        assert results[0] == results[1]
        assert "accuracy" in results[0][1]

    def test_one_hot_rows_as_soft_targets_train_the_same(self, backend):
        x, y = data()
        soft = np.eye(CLASSES)[y]
        soft[0] = [0.5, 0.25, 0.25]
        model = train(net(dtype="float64", backend=backend), x, soft)
        proba = model.predict_proba(x)
        wanted = -(soft * np.log(proba)).sum(axis=1).mean()
        assert model.evaluate(x, soft)["loss"] == pytest.approx(wanted, rel=1e-12)

    @pytest.mark.parametrize("change", [lambda y: y[:, None], lambda y: y.astype(float), np.array])
    def test_binary_labels(self, change, backend):
        x, y = data()
        y = y > 0
        kept = trained_bits(
            x, y, model=net(Dense(1), backend=backend), loss="sigmoid_cross_entropy"
        )
        other = net(Dense(1), backend=backend)
        assert trained_bits(x, change(y), model=other, loss="sigmoid_cross_entropy") == kept

    def test_classes_for_sigmoid_cross_entropy_and_mse_become_one_hot(self, backend):
        x, y = data()
        for loss in ("sigmoid_cross_entropy", "mse"):
            models = [net(backend=backend) for _ in range(2)]
            bits = [
                trained_bits(x, given, model=model, loss=loss)
                for model, given in zip(models, (y, np.eye(CLASSES)[y]), strict=True)
            ]
            assert bits[0] == bits[1]
            assert "accuracy" in models[0].evaluate(x, y)


class TestFusion:
    @pytest.mark.parametrize(
        ("activation", "loss", "units"),
        [
            ("softmax", "softmax_cross_entropy", CLASSES),
            ("sigmoid", "sigmoid_cross_entropy", 1),
            ("sigmoid", "sigmoid_cross_entropy", CLASSES),
        ],
    )
    @pytest.mark.parametrize("as_layer", [False, True])
    def test_an_output_activation_is_left_to_its_loss(
        self, activation, loss, units, as_layer, backend
    ):
        x, y = data()
        y = y if units > 1 else y > 0
        bare = net(Dense(5, "relu"), Dense(units), backend=backend)
        if as_layer:
            fused = net(Dense(5, "relu"), Dense(units), Activation(activation), backend=backend)
        else:
            fused = net(Dense(5, "relu"), Dense(units, activation), backend=backend)
        for model in (bare, fused):
            train(model, x, y, loss=loss)
        assert fused.parameters.tobytes() == bare.parameters.tobytes()
        assert fused.evaluate(x, y) == bare.evaluate(x, y)
        np.testing.assert_allclose(fused.predict(x), bare.predict_proba(x), rtol=1e-5, atol=1e-7)
        assert not np.allclose(fused.predict(x), bare.predict(x))
        assert np.array_equal(fused.predict_proba(x), fused.predict(x))
        assert np.array_equal(fused.predict_classes(x), bare.predict_classes(x))
        training, predicting = fused.plan(), fused.plan(training=False)
        assert f"({activation}" not in str(training)
        assert f"({activation}" in str(predicting)
        assert loss in str(training)

    def test_log_softmax(self, backend):
        x, y = data()
        bare = train(net(dtype="float64", backend=backend), x, y)
        logged = train(
            net(Dense(6, "tanh"), Dense(CLASSES, "log_softmax"), dtype="float64", backend=backend),
            x, y,
        )  # fmt: skip
        np.testing.assert_allclose(logged.parameters, bare.parameters, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(np.exp(logged.predict(x)).sum(axis=1), 1, rtol=1e-12)
        np.testing.assert_allclose(logged.predict_proba(x), bare.predict_proba(x), rtol=1e-8)

    def test_a_steep_sigmoid_is_refused(self):
        steep = {"name": "sigmoid", "slope": 2.0}
        x, y = data()
        with pytest.raises(InputError, match=r"takes logits or its own sigmoid.*slope 2: leave"):
            net(Dense(1, steep)).fit(x, y > 0, loss="sigmoid_cross_entropy", verbose=0)

    def test_softmax_before_sigmoid_cross_entropy_is_refused(self):
        x, y = data()
        with pytest.raises(InputError, match=r"takes logits or its own sigmoid.*ends in softmax"):
            net(Dense(3, "softmax")).fit(x, y, loss="sigmoid_cross_entropy", verbose=0)

    def test_a_hidden_softmax_stays(self, backend):
        model = train(net(Dense(5, "softmax"), Dense(CLASSES), backend=backend))
        assert "(softmax)" in str(model.plan())


class TestPredictions:
    def test_agree_with_each_other(self, backend):
        x, _ = data()
        model = train(net(backend=backend))
        logits, proba, classes = model.predict(x), model.predict_proba(x), model.predict_classes(x)
        assert logits.shape == proba.shape == (SAMPLES, CLASSES)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.testing.assert_allclose(proba, powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)
        assert classes.tolist() == proba.argmax(axis=1).tolist()
        assert classes.dtype == np.int64

    def test_binary_ones_agree(self, backend):
        x, y = data()
        model = train(net(Dense(1), backend=backend), x, y > 0, loss="sigmoid_cross_entropy")
        proba = model.predict_proba(x)
        np.testing.assert_allclose(proba, 1 / (1 + np.exp(-model.predict(x))), rtol=1e-5)
        assert model.predict_classes(x).tolist() == (proba[:, 0] > 0.5).astype(int).tolist()

    def test_a_single_probability_decides_before_any_fit_too(self, backend):
        x, _ = data()
        model = net(Dense(1, "sigmoid"), backend=backend).build(FEATURES)
        proba = model.predict_proba(x)[:, 0]
        assert 0 < np.count_nonzero(proba > 0.5) < SAMPLES
        assert model.predict_classes(x).tolist() == (proba > 0.5).astype(int).tolist()

    @pytest.mark.parametrize("last", ["identity", "softmax", "log_softmax", "sigmoid", "relu"])
    def test_probabilities_are_those_that_the_loss_measures(self, last, backend):
        x, y = data()
        model = train(net(Dense(CLASSES, last), backend=backend), x, y)
        proba = model.predict_proba(x)
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
        wanted = -np.log(proba[np.arange(SAMPLES), y]).mean()
        assert model.evaluate(x, y)["loss"] == pytest.approx(wanted, rel=1e-5)

    def test_mse_knows_no_probabilities(self):
        x, _ = data()
        model = train(net(Dense(1)), x, x[:, 0], loss="mse")
        with pytest.raises(InputError, match="says nothing of probabilities: use predict"):
            model.predict_proba(x)

    def test_noise_layers_do_nothing(self, backend):
        x, y = data()
        noisy = net(GaussianNoise(5.0), Dense(6, "tanh"), Dropout(0.9), Dense(3), backend=backend)
        plain = net(Dense(6, "tanh"), Dense(3), backend=backend)
        noisy.build(FEATURES)
        plain.build(FEATURES)
        plain.parameters = noisy.parameters
        assert np.array_equal(noisy.predict(x), plain.predict(x))
        assert noisy.evaluate(x, y) == plain.evaluate(x, y)
        assert noisy.loss_and_gradients(x, y)[0] == plain.loss_and_gradients(x, y)[0]
        assert noisy.loss_and_gradients(x, y, training=True)[0] != plain.loss_and_gradients(x, y)[0]

    def test_noise_layers_act_while_training(self, backend):
        x, y = data()
        plain = trained_bits(x, y, model=net(Dense(6), Dense(3), backend=backend))
        for layer in (GaussianNoise(0.1), Dropout(0.2)):
            assert (
                trained_bits(x, y, model=net(Dense(6), layer, Dense(3), backend=backend)) != plain
            )
        for layer in (GaussianNoise(0.0), Dropout(0.0)):
            assert (
                trained_bits(x, y, model=net(Dense(6), layer, Dense(3), backend=backend)) == plain
            )

    def test_of_an_empty_list_of_hidden_layers_and_before_any_fit(self):
        model = net().build(FEATURES)
        assert model.predict(data()[0]).shape == (SAMPLES, CLASSES)
        assert model.predict_proba(data()[0]).sum() == pytest.approx(SAMPLES)


def noisy_net(**given):
    return net(GaussianNoise(0.2), Dense(6, "tanh"), Dropout(0.3), Dense(CLASSES), **given)


class TestReproducibility:
    def test_the_same_seed_gives_the_same_bits(self, backend):
        bits = [trained_bits(model=noisy_net(backend=backend)) for _ in range(2)]
        assert bits[0] == bits[1]

    def test_another_seed_gives_others(self, backend):
        bits = [trained_bits(model=noisy_net(backend=backend, seed=seed)) for seed in (1, 2)]
        assert bits[0] != bits[1]

    def test_the_seed_of_fit_is_that_of_shuffling_and_noise(self, backend):
        x, y = data()
        base = noisy_net(backend=backend).build(FEATURES).parameters.copy()
        bits = []
        for seed in (5, 6, None):
            model = noisy_net(backend=backend).build(FEATURES)
            assert np.array_equal(model.parameters, base)
            bits.append(trained_bits(x, y, model=model, seed=seed))
        assert bits[0] != bits[1]
        assert bits[0] == bits[2]

    def test_no_seed_is_a_random_one(self):
        assert Sequential([Dense(1)]).seed != Sequential([Dense(1)]).seed

    def test_shuffling_changes_the_order(self):
        assert trained_bits(shuffle=False) != trained_bits(shuffle=True)

    def test_numpy_global_random_state_is_left_alone(self):
        state = repr(np.random.get_state())  # noqa: NPY002
        trained_bits(model=noisy_net())
        assert repr(np.random.get_state()) == state  # noqa: NPY002

    @pytest.mark.parametrize("make", [lambda: SGD(0.1, 0.9), lambda: Adam(0.01)])
    def test_fitting_twice_goes_on(self, make, backend):
        once = noisy_net(backend=backend)
        train(once, epochs=4, optimizer=make())
        twice = noisy_net(backend=backend)
        train(twice, epochs=3, optimizer=make())
        history = twice.fit(*data(), epochs=1, batch_size=8, verbose=0)
        assert twice.parameters.tobytes() == once.parameters.tobytes()
        assert history["epoch"] == [1]
        assert twice.progress.epochs == 4

    def test_a_new_optimizer_starts_anew(self):
        model = train(net(), optimizer=Adam(0.01))
        state = model.optimizer_state["first_moment"]
        assert state.any()
        train(model, optimizer=Adam(0.01), epochs=1)
        assert model.progress.updates == 4
        assert model.progress.steps == 16


COPIES = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "deepcopy": copy.deepcopy,
}


class TestCopies:
    @pytest.mark.parametrize("way", COPIES)
    def test_are_whole_and_apart(self, way, backend):
        x, y = data()
        model = train(noisy_net(backend=backend), optimizer=Adam(0.01))
        other = COPIES[way](model)
        assert other.parameters.tobytes() == model.parameters.tobytes()
        assert other.backend.name == backend
        assert other.history == model.history
        for layer in other.layers:
            for view in layer.parameters.values():
                assert np.shares_memory(view, other.parameters)
                assert not np.shares_memory(view, model.parameters)
        assert other.parameters.ctypes.data % 64 == 0
        for each in (model, other):
            each.fit(x, y, epochs=2, batch_size=8, verbose=0)
        assert other.parameters.tobytes() == model.parameters.tobytes()
        other.layers[1].weight[...] = 0
        assert (other.parameters[:24] == 0).all()
        assert model.layers[1].weight.all()
        assert not np.array_equal(other.predict(x), model.predict(x))

    @pytest.mark.parametrize("way", COPIES)
    def test_of_an_unbuilt_model(self, way):
        other = COPIES[way](net())
        assert not other.built
        assert trained_bits(model=other) == trained_bits()

    def test_a_shallow_copy_leaves_the_original_whole(self):
        model = net().build(FEATURES)
        copy.copy(model)
        model.parameters = np.zeros(model.parameters.size)
        assert not model.layers[0].weight.any()


X, Y = data()
NAN_X, INF_X = X.copy(), X.copy()
NAN_X[3, 2] = NAN_X[5, 0] = np.nan
INF_X[7, 1] = -np.inf
ONE_HOT = np.eye(CLASSES)[Y]
SHORT_ROW = np.where(np.arange(SAMPLES)[:, None] == 4, 0.5, 1) * ONE_HOT
TWO_ONES = ONE_HOT.astype(int)
TWO_ONES[6] = [1, 0, 1]
NEGATIVE = ONE_HOT.copy()
NEGATIVE[2] = [1.5, -0.5, 0]


def put(array, place, value):
    array = np.array(array, dtype=np.result_type(array, type(value)))
    array[place] = value
    return array


BAD_INPUTS = {
    "1-D x": (X[:, 0], r"x has shape \(30,\).*\(samples, features\).*x.reshape\(-1, 1\)"),
    "0-D x": (3.0, r"x has shape \(\)"),
    "3-D x": (X[:, :, None], r"samples of shape \(4, 1\)"),
    "empty x": (X[:0], "x is empty"),
    "no features": (X[:, :0], "x has no features"),
    "NaN": (NAN_X, r"x has nan at \[3, 2\].*finite"),
    "infinity": (INF_X, r"x has -inf at \[7, 1\].*finite"),
    "NaN in float16": (put(X, (9, 3), np.nan).astype(np.float16), r"x has nan at \[9, 3\]"),
    "NaN in big-endian": (big_endian(NAN_X), r"x has nan at \[3, 2\]"),
    "overflow": (put(X.astype(float), (1, 1), 1e39), r"x has 1e\+39 at \[1, 1\].*float32"),
    "strings": (X.astype(str), "x has dtype <U.*real numbers"),
    "bytes": (X.astype(bytes), r"x has dtype \|S.*real numbers"),
    "complex": (X.astype(complex), "x has dtype complex128.*real numbers"),
    "objects": (X.astype(object), "x has dtype object.*real numbers"),
    "None": (None, "x has dtype object"),
    "dates": (np.zeros((30, 4), "datetime64[s]"), "x has dtype datetime64.*real numbers"),
    "ragged": ([[1, 2], [3]], "x .*length"),
}

# (loss, y, message) with three outputs.
BAD_TARGETS = {
    "label too large": ("softmax_cross_entropy", put(Y, 11, 3), r"y\[11\] is 3: .* in 0..2"),
    "negative label": ("softmax_cross_entropy", put(Y, 2, -1), r"y\[2\] is -1: .* in 0..2"),
    "float label too large": ("softmax_cross_entropy", put(Y, 4, 7.0), r"y\[4\] is 7: .* 0..2"),
    "label in a column": ("softmax_cross_entropy", put(Y, 4, 9)[:, None], r"y\[4\] is 9: .* 0..2"),
    "label between": ("softmax_cross_entropy", put(Y, 5, 0.5), r"whole-numbered labels \(n,\)"),
    "NaN label": ("softmax_cross_entropy", put(Y, 5, np.nan), r"y\[5\].*nan|y has nan at \[5"),
    "infinite label": ("softmax_cross_entropy", put(Y, 5, np.inf), r"inf at \[5\]"),
    "not summing to one": ("softmax_cross_entropy", SHORT_ROW, r"y\[4\] sums to 0.5: .*one"),
    "two ones": ("softmax_cross_entropy", TWO_ONES, r"y\[6\] is \[1, 0, 1\], not one-hot"),
    "negative probability": ("softmax_cross_entropy", NEGATIVE, r"y\[2\] .*must be 0 or more"),
    "NaN probability": ("softmax_cross_entropy", put(ONE_HOT, (8, 1), np.nan), r"nan at \[8, 1\]"),
    "wrong width": ("softmax_cross_entropy", ONE_HOT[:, :2], r"shape \(30, 2\).*\(samples, 3\)"),
    "3-D": ("softmax_cross_entropy", ONE_HOT[:, :, None], r"y has shape \(30, 3, 1\)"),
    "strings": ("softmax_cross_entropy", Y.astype(str), "y has dtype <U|numbers"),
    "complex": ("softmax_cross_entropy", Y.astype(complex), "y has dtype complex128|real numbers"),
    "complex one-hot": ("softmax_cross_entropy", ONE_HOT.astype(complex), "y has dtype complex128"),
    "object one-hot": ("softmax_cross_entropy", ONE_HOT.astype(object), "y has dtype object"),
    "objects": ("softmax_cross_entropy", Y.astype(object), "y has dtype object|numbers"),
    "fewer": ("softmax_cross_entropy", Y[:-1], "x has 30 samples and y has 29"),
    "more": ("softmax_cross_entropy", np.append(Y, 0), "x has 30 samples and y has 31"),
    "none": ("softmax_cross_entropy", Y[:0], "x has 30 samples and y has 0"),
    "sigmoid range": ("sigmoid_cross_entropy", put(ONE_HOT, (3, 1), 1.5), r"has 1.5 at \[3, 1\]"),
    "sigmoid NaN": ("sigmoid_cross_entropy", put(ONE_HOT, (3, 1), np.nan), r"has nan at \[3, 1\]"),
    "sigmoid label": ("sigmoid_cross_entropy", put(Y, 3, 5), r"y\[3\] is 5"),
    "mse NaN": ("mse", put(ONE_HOT, (3, 1), np.nan), r"y has nan at \[3, 1\]"),
    "mse infinity": ("mse", put(ONE_HOT, (3, 1), np.inf), r"y has inf at \[3, 1\]"),
    "mse width": ("mse", X, r"y has shape \(30, 4\).*\(samples, 3\)"),
    "mse strings": ("mse", ONE_HOT.astype(str), "y has dtype <U"),
    "mse complex": ("mse", ONE_HOT.astype(complex), "y has dtype complex128"),
}  # fmt: skip

BAD_SETTINGS = {
    "loss": ({"loss": "softmax_crossentropy"}, "unknown loss.*mean 'softmax_cross_entropy'"),
    "optimizer": ({"optimizer": "adamm"}, "unknown optimizer 'adamm'.*mean 'adam"),
    "optimizer settings": ({"optimizer": {"name": "sgd", "lr": 1}}, "optimizer sgd: .*'lr'"),
    "schedule": ({"schedule": "cosin"}, "unknown schedule 'cosin'.*mean 'cosine'"),
    "epochs 0": ({"epochs": 0}, "epochs must be a whole number, 1 or more, not 0"),
    "epochs -1": ({"epochs": -1}, "epochs must be .*not -1"),
    "epochs 1.5": ({"epochs": 1.5}, "epochs must be .*not 1.5"),
    "epochs True": ({"epochs": True}, "epochs must be .*not True"),
    "batch_size 0": ({"batch_size": 0}, "batch_size must be a whole number, 1 or more, not 0"),
    "batch_size -3": ({"batch_size": -3}, "batch_size must be .*not -3"),
    "batch_size text": ({"batch_size": "8"}, "batch_size must be .*not '8'"),
    "seed -1": ({"seed": -1}, r"seed must be .*2\*\*64 - 1, not -1"),
    "seed 2**64": ({"seed": 2**64}, "seed must be"),
    "split 1": ({"validation_split": 1.0}, "validation_split must be at least 0 and below 1"),
    "split -0.1": ({"validation_split": -0.1}, "validation_split must be .*not -0.1"),
    "split text": ({"validation_split": "0.2"}, "validation_split must be"),
    "split leaves nothing": (
        {"validation_split": 0.999},
        "validation_split 0.999 of 30 samples leaves nothing to train on",
    ),
    "split takes nothing": (
        {"validation_split": 0.001},
        "validation_split 0.001 of 30 samples leaves nothing to validate on",
    ),
    "both validations": (
        {"validation_split": 0.2, "validation_data": (X, Y)},
        "validation_data or validation_split, not both",
    ),
    "validation of four": ({"validation_data": (X, Y, Y, Y)}, r"\(x, y\) or \(x, y, sample_w"),
    "validation of none": ({"validation_data": 3}, r"\(x, y\) or \(x, y, sample_weight\)"),
    "validation lengths": ({"validation_data": (X, Y[:3])}, "x has 30 samples and y has 3"),
    "validation label": ({"validation_data": (X, put(Y, 1, 8))}, r"\[1\] is 8"),
    "validation NaN": ({"validation_data": (NAN_X, Y)}, r"nan at \[3, 2\]"),
    "validation features": ({"validation_data": (X[:, :3], Y)}, "has 3 features"),
    "callback": ({"callbacks": [3]}, "a callback is a Callback or a function, not 3"),
    "callbacks": ({"callbacks": 3}, "callback"),
    "callback class": ({"callbacks": [mlcore.callbacks.NaNGuard]}, "an instance of NaNGuard"),
    "verbose": ({"verbose": 3}, "verbose must be 0 .silent., 1 .bar. or 2 .lines., not 3"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
class TestBadInputs:
    def test_of_a_new_model(self, name):
        x, message = BAD_INPUTS[name]
        model = net()
        with pytest.raises(InputError, match=message):
            model.fit(x, Y, verbose=0)
        assert not model.built

    def test_of_a_built_model(self, name):
        x, message = BAD_INPUTS[name]
        model = net().build(FEATURES)
        before = model.parameters.copy()
        if name == "no features":
            message = "x has 0 features; the model was built for 4"
        for call in (model.fit, model.evaluate, model.loss_and_gradients):
            with pytest.raises(InputError, match=message):
                call(x, Y)
        for call in (model.predict, model.predict_proba, model.predict_classes):
            with pytest.raises(InputError, match=message):
                call(x)
        assert np.array_equal(model.parameters, before)


@pytest.mark.parametrize("name", BAD_TARGETS)
def test_bad_targets(name):
    loss, y, message = BAD_TARGETS[name]
    model = net().build(FEATURES)
    before = model.parameters.copy()
    for call in (lambda: model.fit(X, y, loss=loss), lambda: model.evaluate(X, y, loss=loss)):
        with pytest.raises(InputError, match=message):
            call()
    assert np.array_equal(model.parameters, before)


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_bad_settings(name):
    given, message = BAD_SETTINGS[name]
    for model in (net(), net().build(FEATURES)):
        with pytest.raises(InputError, match=message):
            model.fit(X, Y, **{"verbose": 0, **given})


@pytest.mark.parametrize("labels", [Y[:-2], Y[:6], np.append(Y, [0, 1])])
def test_lengths_are_told_as_they_were_given_when_there_is_a_split(labels):
    with pytest.raises(InputError, match=f"x has 30 samples and y has {len(labels)}"):
        net().fit(X, labels, validation_split=0.2, verbose=0)


@pytest.mark.parametrize(
    "given",
    [{"y": put(Y, 3, 9)}, {"y": Y[:5]}, {"optimizer": "addam"}, {"schedule": "cosin"},
     {"callbacks": [3]}, {"verbose": 7}, {"validation_data": (X, Y[:2])}],
)  # fmt: skip
def test_a_refused_fit_leaves_the_model_as_it_was(given):
    new = net()
    with pytest.raises(InputError):
        new.fit(X, **{"y": Y, "verbose": 0, **given})
    assert not new.built
    model = train(net(), optimizer=Adam(0.01))
    before = model.parameters.copy(), model.optimizer, model.progress.config(), model.training
    with pytest.raises(InputError):
        model.fit(X, **{"y": Y, "verbose": 0, "loss": "mse", **given})
    after = model.parameters, model.optimizer, model.progress.config(), model.training
    assert np.array_equal(after[0], before[0])
    assert after[1:] == before[1:]
    assert model.loss.kind == "softmax_cross_entropy"


def test_the_wrong_number_of_features():
    model = net().build(FEATURES)
    for call in (model.predict, model.predict_classes, model.predict_proba):
        with pytest.raises(InputError, match="x has 5 features; the model was built for 4"):
            call(np.zeros((2, 5)))
    for call in (model.fit, model.evaluate, model.loss_and_gradients):
        with pytest.raises(InputError, match="x has 5 features; the model was built for 4"):
            call(np.zeros((2, 5)), [0, 1])


def test_labels_for_one_output_name_the_way_out():
    for labels in (Y, Y > 0):
        with pytest.raises(InputError, match=r"in 0..0.*sigmoid_cross_entropy for two classes"):
            net(Dense(1)).fit(X, labels, verbose=0)


def test_missing_targets():
    with pytest.raises(InputError, match="y is missing"):
        net().fit(X)


def test_an_unbuilt_model():
    model = net()
    for call in (
        lambda: model.predict(X), lambda: model.predict_proba(X), lambda: model.predict_classes(X),
        lambda: model.evaluate(X, Y), model.plan, lambda: model.outputs,
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"not built.*fit.*build\(features\)"):
            call()


def test_a_model_whose_fit_was_never_called_still_has_gradients():
    assert net().loss_and_gradients(X, Y)[1].any()


BAD_PARTS = {
    "units 0": (lambda: Dense(0), "units of Dense must be .*not 0"),
    "units -2": (lambda: Dense(-2), "units of Dense must be .*not -2"),
    "units 1.5": (lambda: Dense(1.5), "units of Dense must be .*not 1.5"),
    "units text": (lambda: Dense("3"), "units of Dense must be .*not '3'"),
    "activation": (lambda: Dense(3, "rellu"), r"unknown activation 'rellu'. Did you mean 'relu'"),
    "activation list": (lambda: Dense(3, ["relu"]), "unknown activation"),
    "activation alpha": (
        lambda: Dense(3, {"name": "elu", "alfa": 1}), r"parameter of activation elu 'alfa'. Did",
    ),
    "activation value": (lambda: Dense(3, {"name": "elu", "alpha": -1}), "alpha of elu must be 0"),
    "activation text": (lambda: Dense(3, {"name": "elu", "alpha": "x"}), "alpha of elu must be"),
    "activation layer": (lambda: Activation("tahn"), "Did you mean 'tanh'"),
    "initializer": (lambda: Dense(3, kernel_initializer="he"), "unknown initializer 'he'"),
    "rate 1": (lambda: Dropout(1.0), "rate of Dropout must be at least 0 and below 1, not 1.0"),
    "rate -0.1": (lambda: Dropout(-0.1), "rate of Dropout must be .*not -0.1"),
    "rate NaN": (lambda: Dropout(math.nan), "rate of Dropout must be"),
    "rate text": (lambda: Dropout("0.5"), "rate of Dropout must be"),
    "stddev -1": (lambda: GaussianNoise(-1), "stddev of GaussianNoise must be 0 or more, not -1"),
    "stddev NaN": (lambda: GaussianNoise(math.nan), "stddev of GaussianNoise must be"),
    "stddev inf": (lambda: GaussianNoise(math.inf), "stddev of GaussianNoise must be"),
    "stddev text": (lambda: GaussianNoise("0.1"), "stddev of GaussianNoise must be"),
    "rate of SGD": (lambda: SGD(-0.1), "learning_rate of SGD must be 0 or more, not -0.1"),
    "rate of Adam": (lambda: Adam(math.nan), "learning_rate of Adam must be 0 or more"),
    "rate inf": (lambda: RMSprop(math.inf), "learning_rate of RMSprop must be"),
    "rate of text": (lambda: Adam("fast"), "learning_rate of Adam must be"),
    "rate of list": (lambda: SGD([0.1]), "learning_rate of SGD must be"),
    "momentum": (lambda: SGD(0.1, 1.0), "momentum of SGD must be at least 0 and below 1, not 1.0"),
    "dampening": (lambda: SGD(0.1, 0.5, dampening=1.5), "dampening of SGD must be from 0 to 1"),
    "nesterov": (lambda: SGD(0.1, nesterov=True), "nesterov of SGD needs a momentum"),
    "beta_1": (lambda: Adam(beta_1=1.0), "beta_1 of Adam must be at least 0 and below 1"),
    "rho": (lambda: RMSprop(rho=1.0), "rho of RMSprop must be"),
    "weight_decay": (lambda: Adam(weight_decay=-1), "weight_decay of Adam must be 0 or more"),
    "backend": (lambda: net(backend="nativ"), r"unknown backend 'nativ'. Did you mean 'native'"),
    "dtype": (lambda: net(dtype="float23"), r"unknown dtype 'float23'. Did you mean 'float"),
    "dtype int": (lambda: net(dtype="int32"), "unknown dtype 'int32'.*Known: float32, float64"),
    "dtype half": (lambda: net(dtype=np.float16), "unknown dtype 'float16'"),
    "seed": (lambda: net(seed=-1), "seed must be a whole number"),
    "seed text": (lambda: net(seed="1"), "seed must be a whole number"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PARTS)
def test_bad_parts(name):
    make, message = BAD_PARTS[name]
    with pytest.raises(InputError, match=message):
        make()


def test_the_backend_of_the_environment(monkeypatch):
    monkeypatch.setenv("MLCORE_BACKEND", "numpy")
    assert net().backend.name == "numpy"
    monkeypatch.setenv("MLCORE_BACKEND", "nmpy")
    with pytest.raises(InputError, match="Did you mean 'numpy'"):
        net()


def test_backends_train_alike():
    """In float64 the two differ by rounding only."""
    wanted = train(noisy_net(dtype="float64", backend="numpy")).parameters
    for name in BACKENDS:
        found = train(noisy_net(dtype="float64", backend=name)).parameters
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


def test_a_loss_that_is_no_name():
    with pytest.raises(InputError, match=r"unknown loss 5\."):
        net().fit(X, Y, loss={"name": 5}, verbose=0)


@pytest.mark.parametrize("behind", [Dropout(0.5), GaussianNoise(0.1)], ids=repr)
def test_noise_behind_an_absorbed_activation_is_refused(behind):
    model = net(Dense(CLASSES, "softmax"), copy.deepcopy(behind))
    with pytest.raises(InputError, match=r"computes the softmax of dense_1.*leave .*_1 out"):
        model.fit(X, Y, verbose=0)


def test_masked_arrays_are_refused():
    x = np.ma.masked_greater(X, 1.0)
    assert np.ma.is_masked(x)
    with pytest.raises(InputError, match="x has masked values"):
        net().fit(x, Y, verbose=0)


def test_a_refused_model_leaves_its_layers_free():
    layer = Dense(CLASSES)
    with pytest.raises(InputError, match="not int"):
        Sequential([layer, 3])
    train(Sequential([layer], seed=1))


def test_a_model_fitted_with_a_function_as_schedule_can_be_pickled():
    model = train(net(), schedule=lambda _: 0.5)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).parameters, model.parameters)


def test_layers_that_no_longer_fit_their_parameters_are_refused():
    """Kernels do not look at shapes: a plan whose buffers disagree would write past their ends."""
    model = net(Dense(64), Dense(2)).build(FEATURES)
    model.layers[0].units = 1
    with pytest.raises(InputError, match=r"linear of dense_1: .* its axis N must be 64"):
        model.predict(X)


def test_labels_changed_while_training_change_nothing():
    def spoil(*_):
        y[:] = 2**30

    y = np.array(Y, np.int32)
    model = net()
    train(model, X, y, callbacks=spoil)
    assert model.parameters.tobytes() == train(net(), X, Y).parameters.tobytes()


def test_rows_are_judged_by_output_whatever_the_other_rows_hold():
    rows = np.eye(CLASSES)[Y]
    model = train(net(), X, rows, loss="sigmoid_cross_entropy")
    right = (model.predict(X) > 0) == (rows > 0.5)
    assert model.evaluate(X, rows)["accuracy"] == pytest.approx(right.mean())


def test_a_row_of_nan_is_wrong():
    outputs = np.array([[0.0, np.nan], [0.0, 1.0]])
    assert door.count_classes(outputs, np.array([1, 1])) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"schedule": "cosine:cycles=5", "optimizer": "adam"},
        {"schedule": lambda epoch: -1 if epoch == 1 else 1},
        {"callbacks": mlcore.callbacks.CSVLogger("/nowhere/a.csv"), "optimizer": "sgd"},
        {"callbacks": mlcore.callbacks.ModelCheckpoint("/nowhere/a.h5", "loss")},
    ],
    ids=["cycles", "function", "log", "checkpoint"],
)
def test_what_would_fail_later_is_refused_before_anything_changes(given):
    model = train(net(), optimizer=Adam(0.01))
    before = model.parameters.copy(), model.optimizer, model.history, model.progress.config()
    with pytest.raises(InputError):
        model.fit(X, Y, epochs=2, verbose=0, **given)
    assert np.array_equal(model.parameters, before[0])
    assert model.optimizer is before[1]
    assert model.history is before[2]
    assert model.progress.config() == before[3]
    new = net()
    with pytest.raises(InputError):
        new.fit(X, Y, epochs=2, verbose=0, **given)
    assert not new.built


def test_gradients_of_wrong_targets_leave_a_new_model_unbuilt():
    model = net()
    with pytest.raises(InputError):
        model.loss_and_gradients(X, put(Y, 0, 9))
    assert not model.built


def test_an_optimizer_whose_settings_were_changed_gets_the_state_it_needs():
    optimizer = SGD(0.1)
    model = train(net(), optimizer=optimizer)
    optimizer.momentum = 0.9
    train(model, optimizer=optimizer)
    assert model.optimizer_state["velocity"].any()


def test_noise_behind_the_last_activation_does_not_hide_it():
    layers = [Dense(CLASSES, "softmax"), Dropout(0.5)]
    model = net(*layers).build(FEATURES)
    np.testing.assert_array_equal(model.predict_proba(X), model.predict(X))


def test_forgotten_brackets():
    with pytest.raises(InputError, match=r"takes a list of layers: Sequential\(\[Dense"):
        Sequential(Dense(3))


def test_prints_of_a_model_and_a_plan_are_tables():
    model = net().build(FEATURES)
    assert repr(model) == str(model)
    plan = model.plan(4)
    assert repr(plan) == str(plan)
