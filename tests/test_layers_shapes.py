"""Samples of any shape: what layers make of them, what the door takes, files, and refusals."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import mlcore
from mlcore import (
    SGD,
    Activation,
    AvgPool,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dataset,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GaussianNoise,
    GlobalAvgPool,
    InputError,
    LayerNorm,
    MaxPool,
    Reshape,
    Sequential,
    Standardize,
    kernels,
)
from mlcore.layers import LAYERS, from_config

BACKENDS = [entry.name for entry in kernels.status() if entry.available]
CLASSES = 3


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def images(count=23, sample=(9, 8, 2), dtype=np.float32):
    rng = np.random.default_rng(7)
    return rng.standard_normal((count, *sample)).astype(dtype), rng.integers(0, CLASSES, count)


def every_layer():
    return [
        Standardize(), GaussianNoise(0.1), Conv2D(5, 3, padding="same", activation="relu"),
        BatchNorm(), MaxPool(2, padding="same"), Dropout(0.2), Conv2D(4, (2, 1), (1, 2), "valid",
        "silu", use_bias=False), LayerNorm(), AvgPool((2, 1), 1), Activation("tanh"),
        Reshape((-1, 4)), Conv1D(6, 2, activation="gelu"), MaxPool(2), GlobalAvgPool(), Flatten(),
        Dense(CLASSES),
    ]  # fmt: skip


def train(model, x, y, **given):
    settings = {"optimizer": SGD(0.05, 0.9), "epochs": 2, "batch_size": 8, "verbose": 0}
    model.fit(x, y, **{**settings, **given})
    return model


# (layer, sample, output): the numbers are Keras's.
SHAPES = [
    (Conv2D(6, 5), (28, 28, 1), (24, 24, 6)),
    (Conv2D(6, 5, padding="same"), (28, 28, 1), (28, 28, 6)),
    (Conv2D(6, 3, 2), (28, 28, 1), (13, 13, 6)),
    (Conv2D(6, 3, 2, "same"), (28, 27, 1), (14, 14, 6)),
    (Conv2D(16, (1, 5), (3, 2)), (7, 11, 3), (3, 4, 16)),
    (Conv2D(1, 1, 3), (7, 7, 3), (3, 3, 1)),
    (Conv1D(4, 3), (10, 2), (8, 4)),
    (Conv1D(4, 3, 2, "same"), (9, 2), (5, 4)),
    (MaxPool(), (28, 28, 6), (14, 14, 6)),
    (MaxPool(), (5, 7, 6), (2, 3, 6)),
    (MaxPool(3, 2, "same"), (5, 8, 6), (3, 4, 6)),
    (MaxPool((1, 3)), (5, 7, 6), (5, 2, 6)),
    (MaxPool(3, 1), (9, 4), (7, 4)),
    (AvgPool(2, 1), (5, 7, 6), (4, 6, 6)),
    (AvgPool(4, padding="same"), (9, 4), (3, 4)),
    (GlobalAvgPool(), (5, 7, 6), (6,)),
    (GlobalAvgPool(), (7, 6), (6,)),
    (Flatten(), (5, 7, 6), (210,)),
    (Flatten(), (4,), (4,)),
    (Reshape((28, 28, 1)), (784,), (28, 28, 1)),
    (Reshape((-1, 2)), (3, 4), (6, 2)),
    (Reshape(12), (3, 4), (12,)),
    (Embedding(10, 4), (7,), (7, 4)),
    (BatchNorm(), (5, 7, 6), (5, 7, 6)),
    (LayerNorm(), (4,), (4,)),
    (Standardize(), (5, 6), (5, 6)),
]


@pytest.mark.parametrize(
    ("layer", "sample", "output"), SHAPES, ids=lambda value: str(value).replace(" ", "")
)
def test_shapes(layer, sample, output):
    model = Sequential([layer.__class__(**layer.config())], seed=1).build(sample)
    assert model.input_shape == sample
    assert model.output_shape == output
    assert model.layers[0].output_shape == output
    assert model.outputs == np.prod(output)


class TestWeights:
    def test_of_lenet_5(self):
        layers = [
            Conv2D(6, 5, padding="same"), AvgPool(), Conv2D(16, 5), AvgPool(), Flatten(),
            Dense(120), Dense(84), Dense(10),
        ]  # fmt: skip
        model = Sequential(layers, seed=0).build((28, 28, 1))
        counts = [sum(view.size for view in layer.parameters.values()) for layer in model.layers]
        assert counts == [156, 0, 2416, 0, 0, 48_120, 10_164, 850]
        assert model.layers[0].weight.shape == (5, 5, 1, 6)

    def test_start_as_in_keras(self):
        model = Sequential([Conv2D(40, 5)], seed=0).build((28, 28, 2))
        limit = np.sqrt(6 / (5 * 5 * 2 + 5 * 5 * 40))
        weight = model.layers[0].weight
        assert 0.98 * limit < np.abs(weight).max() <= limit
        assert (model.layers[0].bias == 0).all()
        weight = Sequential([Embedding(100, 30)], seed=0).build(4).layers[0].weight
        assert 0.049 < np.abs(weight).max() <= 0.05

    def test_can_be_set(self):
        model = Sequential([Conv1D(1, 2)], seed=0, backend="numpy").build((3, 1))
        model.layers[0].weight = [[[2]], [[3]]]
        model.layers[0].bias[:] = 1
        assert model.predict([[1, 2, 3]]).tolist() == [[[9], [14]]]
        with pytest.raises(InputError, match=r"conv1d_1.bias has shape \(1,\), not \(2,\)"):
            model.layers[0].bias = [1, 2]
        with pytest.raises(InputError, match="Conv2D has no weight yet"):
            _ = Conv2D(1, 1).weight


class TestPadding:
    """TensorFlow's: the odd place is added behind."""

    def test_of_a_convolution(self, backend):
        layer = Conv1D(1, 3, 2, "same", kernel_initializer={"name": "constant", "value": 1.0})
        model = Sequential([layer], backend=backend).build((6, 1))
        assert model.predict([[1, 2, 3, 4, 5, 6]])[0, :, 0].tolist() == [6, 12, 11]

    def test_is_never_the_largest(self, backend):
        model = Sequential([MaxPool(3, 2, "same")], backend=backend).build((6, 1))
        assert model.predict([[-1, -2, -3, -4, -5, -6]])[0, :, 0].tolist() == [-1, -3, -5]

    def test_does_not_count_in_a_mean(self, backend):
        model = Sequential([AvgPool(2, padding="same")], backend=backend).build((5, 1))
        assert model.predict([[1, 2, 3, 4, 5]])[0, :, 0].tolist() == [1.5, 3.5, 5]


class TestTheDoor:
    def model(self, backend=None, **given):
        layers = [Conv2D(3, 3, activation="relu"), Flatten(), Dense(CLASSES)]
        return Sequential(layers, seed=1, backend=backend, **given)

    def test_every_form_of_the_same_images(self, backend):
        x, y = images(sample=(6, 5, 1))
        wanted = train(self.model(backend), x, y).parameters.tobytes()
        rows = x.reshape(len(x), -1)
        for given in (
            x[..., 0],
            np.asfortranarray(x),
            x.astype(">f4"),
            np.concatenate([x, x], axis=3)[..., :1],
            x.tolist(),
            Dataset(x[..., 0], y),
            Dataset(rows, y, image_shape=(6, 5)),
            Dataset(rows, y, image_shape=(6, 5, 1)),
        ):
            targets = None if isinstance(given, Dataset) else y
            model = train(self.model(backend), given, targets)
            assert model.input_shape == (6, 5, 1)
            assert model.parameters.tobytes() == wanted
        model = self.model(backend).build((6, 5))
        assert train(model, rows, y).parameters.tobytes() == wanted

    def test_contiguous_images_are_not_copied(self):
        x, _ = images()
        inputs = mlcore.door.as_inputs(x, shape=None, dtype=np.dtype("float32"))
        assert np.shares_memory(inputs.array, x)
        assert (inputs.array.shape, inputs.sample) == ((23, 144), (9, 8, 2))

    def test_bytes_are_scaled(self, backend):
        rng = np.random.default_rng(3)
        x, y = rng.integers(0, 256, (20, 6, 5), np.uint8), rng.integers(0, CLASSES, 20)
        model = train(self.model(backend), Dataset(x, y), None)
        as_floats = train(self.model(backend), (x / 255).astype(np.float32), y)
        np.testing.assert_allclose(model.parameters, as_floats.parameters, rtol=1e-4, atol=1e-6)

    def test_noise_before_images(self):
        x, y = images(sample=(6, 5))
        layers = [Standardize(), GaussianNoise(0.1), Conv2D(2, 3), Flatten(), Dense(CLASSES)]
        assert train(Sequential(layers, seed=1, backend="numpy"), x, y).input_shape == (6, 5, 1)

    def test_sequences_have_channels(self, backend):
        x, y = images(sample=(6, 5))
        model = Sequential([Conv1D(3, 2), Flatten(), Dense(CLASSES)], seed=1, backend=backend)
        assert train(model, x, y).layers[0].weight.shape == (2, 5, 3)
        model = Sequential([Conv1D(3, 2), Flatten(), Dense(CLASSES)], seed=1, backend=backend)
        assert train(model, x[..., 0], y).layers[0].weight.shape == (2, 1, 3)

    def test_predictions_have_the_shape_of_the_output(self, backend):
        x, _ = images()
        model = Sequential([Conv2D(4, 3)], seed=1, backend=backend).build((9, 8, 2))
        assert model.predict(x).shape == (23, 7, 6, 4)
        np.testing.assert_allclose(model.predict(x[:1]), model.predict(x)[:1], rtol=1e-5, atol=1e-6)
        assert model.predict(x, batch_size=5).shape == (23, 7, 6, 4)

    def test_targets_may_be_images(self, backend):
        x, _ = images(sample=(6, 5, 1))
        model = Sequential([Conv2D(1, 3, padding="same")], seed=1, backend=backend)
        train(model, x, x, loss="mse", epochs=40, optimizer=SGD(0.5), validation_split=0.2)
        assert model.history.history["loss"][-1] < 0.05
        flat = model.evaluate(x, x.reshape(len(x), -1))
        assert model.evaluate(x, x) == flat

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (np.zeros((4, 2, 9, 8)), r"shape \(2, 9, 8\); .* \(9, 8, 2\): channels stand last"),
            (np.zeros((4, 8, 9, 2)), r"samples of shape \(8, 9, 2\); .*built for \(9, 8, 2\)$"),
            (np.zeros((4, 9, 8)), r"samples of shape \(9, 8\)"),
            (np.zeros((4, 143)), r"samples of shape \(143,\)"),
            (np.full((4, 9, 8, 2), np.nan), r"x has nan at \[0, 0, 0, 0\]"),
        ],
    )
    def test_another_shape_is_refused(self, x, message):
        model = self.model().build((9, 8, 2))
        for call in (model.predict, lambda x: model.fit(x, [0, 1, 2, 0], verbose=0)):
            with pytest.raises(InputError, match=message):
                call(x)

    def test_images_into_dense_layers(self):
        x, y = images()
        model = Sequential([Dense(CLASSES)], seed=1)
        with pytest.raises(InputError, match=r"dense_1 takes rows .*\(9, 8, 2\): put Flatten"):
            model.fit(x, y, verbose=0)
        assert not model.built
        with pytest.raises(InputError, match=r"built for \(144,\): x.reshape\(len\(x\), -1\)"):
            model.build(144).predict(x)


class TestLookingUp:
    def model(self, *before, backend=None):
        layers = [*before, Embedding(5, 3), Flatten(), Dense(CLASSES)]
        return Sequential(layers, seed=1, backend=backend)

    def test_whole_numbers_of_every_dtype(self, backend):
        x, y = np.random.default_rng(2).integers(0, 5, (12, 4)), np.arange(12) % CLASSES
        wanted = train(self.model(backend=backend), x, y).parameters.tobytes()
        for dtype in (np.uint8, np.int16, np.float32, np.float64):
            model = train(self.model(backend=backend), x.astype(dtype), y)
            assert model.parameters.tobytes() == wanted
        shaped = self.model(Flatten(), backend=backend)
        assert train(shaped, x.reshape(12, 2, 2), y).parameters.tobytes() == wanted

    @pytest.mark.parametrize("bad", [-1, 5, 0.5])
    def test_what_is_not_there_is_refused(self, bad):
        x, y = np.zeros((6000, 4)), np.zeros(6000, int)
        x[5000, 2] = bad
        model = self.model()
        message = rf"x has {bad} at \[5000, 2\]; Embedding takes whole numbers from 0 to 4"
        with pytest.raises(InputError, match=message):
            model.fit(x, y, verbose=0)
        model.build(4)
        for call in (model.predict, lambda x: model.evaluate(x, y)):
            with pytest.raises(InputError, match=message):
                call(x)
        with pytest.raises(InputError, match=r"at \[0, 2\]"):
            model.predict(x[5000:5001].astype(np.float32))

    def test_validation_data_too(self):
        x, y = np.zeros((6, 4)), np.zeros(6, int)
        with pytest.raises(InputError, match="x has 7 at"):
            self.model().fit(x, y, validation_data=(x + 7, y), verbose=0)

    def test_only_of_the_data_themselves(self):
        with pytest.raises(InputError, match=r"embedding_1 looks up .* only Flatten and"):
            self.model(Dense(4)).build(4)
        with pytest.raises(InputError, match=r"not samples of shape \(2, 2\): put Flatten"):
            self.model().build((2, 2))
        with pytest.raises(InputError, match="at most 16,777,216"):
            Embedding(2**24 + 1, 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
class TestFiles:
    def test_come_back(self, backend, dtype, tmp_path):
        x, y = images(dtype=dtype)
        model = train(Sequential(every_layer(), seed=3, dtype=dtype, backend=backend), x, y)
        model.save(tmp_path / "model.h5")
        again = mlcore.load(tmp_path / "model.h5", backend=backend)
        assert repr(again.layers) == repr(model.layers)
        assert again.input_shape == (9, 8, 2)
        assert again.predict(x).tobytes() == model.predict(x).tobytes()
        fresh = Sequential(every_layer(), seed=9, dtype=dtype, backend=backend)
        mlcore.checkpoint.load_weights(fresh, tmp_path / "model.h5")
        assert fresh.predict(x).tobytes() == model.predict(x).tobytes()
        for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert copied.predict(x).tobytes() == model.predict(x).tobytes()
            copied.layers[2].weight[:] = 0
            assert copied.predict(x).tobytes() != model.predict(x).tobytes()

    def test_a_resumed_run_has_the_same_bits(self, backend, dtype, tmp_path):
        x, y = images(dtype=dtype)
        whole = train(Sequential(every_layer(), seed=3, dtype=dtype, backend=backend), x, y)
        half = Sequential(every_layer(), seed=3, dtype=dtype, backend=backend)
        train(half, x, y, epochs=1).save(tmp_path / "half.h5")
        again = mlcore.load(tmp_path / "half.h5", backend=backend)
        train(again, x, y, resume=True)
        assert again.parameters.tobytes() == whole.parameters.tobytes()


def test_settings_survive_a_file():
    for layer in (*every_layer(), Embedding(4, 2), *(layer for layer, _, _ in SHAPES)):
        settings = pickle.loads(pickle.dumps(layer.config()))
        assert repr(from_config(layer.kind, settings)) == repr(layer)
        assert LAYERS[layer.kind] is type(layer)


def test_every_layer_is_documented():
    page = (Path(__file__).parents[1] / "docs" / "layers.md").read_text(encoding="utf-8")
    for layer in LAYERS.values():
        assert f"| `{layer.__name__}(" in page
        assert layer is getattr(mlcore, layer.__name__)


def test_weights_for_other_images_are_refused(tmp_path):
    def model(sample):
        return Sequential([Conv2D(2, 3), GlobalAvgPool(), Dense(2)], seed=1).build(sample)

    model((6, 5, 1)).save(tmp_path / "model.h5")
    with pytest.raises(InputError, match="takes samples of 6x5x1, the model samples of 7x5x1"):
        mlcore.checkpoint.load_weights(model((7, 5, 1)), tmp_path / "model.h5")


def test_a_batch_of_one_and_a_short_last_batch(backend):
    x, y = images(count=7)
    for size in (1, 3, 7, 100):
        model = Sequential(every_layer(), seed=3, backend=backend)
        train(model, x, y, batch_size=size)
        assert np.isfinite(model.parameters).all()
        assert model.progress.steps == 2 * -(-7 // min(size, 7))


def test_tables():
    x, y = images(count=7)
    model = train(Sequential(every_layer(), seed=3, backend="numpy"), x, y)
    table = str(model)
    assert "(batch, 9, 8, 2)" in table
    assert "3x3, same, relu" in table
    assert table.endswith("14 parameters that no update touches")
    plan = str(model.plan(4))
    for kernel in ("conv2d", "conv2d_backward", "batch_norm", "normalize", "layer_norm"):
        assert f"  {kernel}  " in plan
    assert "(strides 1x2, pads 0x0)" in plan
    assert "batch_norm  " not in str(model.plan(4, training=False))
    assert model.plan(4).flops > 2 * 4 * 9 * 8 * 5 * 9 * 2


REFUSED = {
    "filters": (lambda: Conv2D(0, 3), "filters of Conv2D must be a whole number, 1 or more"),
    "kernel": (lambda: Conv2D(2, (1, 2, 3)), "kernel_size of Conv2D must be one number, or two"),
    "kernel of 1-D": (lambda: Conv1D(2, (1, 2)), "kernel_size of Conv1D must be one number, not"),
    "padding": (lambda: Conv2D(2, 3, padding="sane"), "Did you mean 'same'"),
    "strides": (lambda: MaxPool(2, 0), "strides of MaxPool must be a whole number"),
    "softmax": (lambda: Conv2D(2, 3, activation="softmax"), "Conv2D cannot end in softmax"),
    "two unknowns": (lambda: Reshape((-1, -1)), "-1 for one of them"),
    "no shape": (lambda: Reshape(()), "target_shape of Reshape must be"),
    "momentum": (lambda: BatchNorm(1.0), "momentum of BatchNorm must be at least 0 and below 1"),
    "epsilon": (lambda: LayerNorm(0), "epsilon of LayerNorm must be above 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_settings(name):
    make, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        make()


MISFITS = {
    "rows": (Conv2D(2, 3), (7,), r"conv2d_1 takes samples of \(height, width, channels\)"),
    "images": (Conv1D(2, 3), (7, 7, 1), r"conv1d_1 takes samples of \(length, channels\)"),
    "large": (Conv2D(2, 5), (4, 7, 1), r"window of 5x5 does not fit .*\(4, 7, 1\).*same"),
    "pool of rows": (MaxPool(), (7,), r"max_pool_1 takes samples of \(length, channels\) or"),
    "pool of two": (MaxPool((2, 2)), (7, 3), "pool_size of max_pool_1 must be one number, not"),
    "mean of rows": (GlobalAvgPool(), (7,), "global_avg_pool_1 takes samples"),
    "rest": (Reshape((-1, 4)), (7,), r"reshape_1 cannot make \(-1, 4\) .* have 7 numbers"),
    "softmax": (Activation("softmax"), (7, 3), "computed over rows of outputs.*put Flatten"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_samples_that_do_not_fit(name):
    layer, sample, message = MISFITS[name]
    model = Sequential([type(layer)(**layer.config())])
    with pytest.raises(InputError, match=message):
        model.build(sample)
    assert not model.built
    assert model.input_shape == ()


def test_losses_of_images():
    x, y = images()
    model = Sequential([Conv2D(3, 3)], seed=1)
    with pytest.raises(InputError, match=r"takes rows of logits; conv2d_1 gives .*\(7, 6, 3\)"):
        model.fit(x, y, verbose=0)
    with pytest.raises(InputError, match="the model gives samples of 7x6x3"):
        model.build((9, 8, 2)).predict_classes(x)
    hidden = Sequential([Conv2D(1, (9, 8), activation="sigmoid"), Flatten()], seed=1)
    hidden.fit(x, y > 0, loss="sigmoid_cross_entropy", verbose=0)
    kernels_used = [op.kernel for op in hidden.plan().operations]
    assert "activation" not in kernels_used, "the loss computes the sigmoid"
    proba = hidden.predict_proba(x)
    np.testing.assert_array_equal(proba, hidden.predict(x))
    assert 0 < proba.min() < proba.max() < 1
