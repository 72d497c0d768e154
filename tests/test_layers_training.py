"""Networks of the layers for images and sequences learn what they are shown."""

import numpy as np
import pytest

from mlcore import (
    Adam,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dataset,
    Dense,
    Embedding,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    Reshape,
    Sequential,
    Standardize,
    data,
    kernels,
)

BACKENDS = [entry.name for entry in kernels.status() if entry.available]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(scope="module")
def digits():
    parts = data.load("mnist-sample")
    return parts.train.subset(slice(0, 600)), parts.test.subset(slice(0, 300))


def small_net(*before):
    return [
        *before, Conv2D(6, 5, 2, activation="relu"), BatchNorm(0.8), MaxPool(2), Flatten(),
        Dense(10),
    ]  # fmt: skip


def test_digits(backend, digits):
    train, test = digits
    model = Sequential(small_net(), seed=1, backend=backend)
    model.fit(train, optimizer=Adam(0.01), epochs=6, batch_size=50, verbose=0)
    assert model.input_shape == (28, 28, 1)
    assert model.evaluate(train)["accuracy"] > 0.97
    assert model.evaluate(test)["accuracy"] > 0.85


def test_rows_become_images(backend, digits):
    train, _ = digits
    rows = Dataset(train.x, train.targets)
    model = Sequential(small_net(Reshape((28, 28, 1))), seed=1, backend=backend)
    model.fit(rows, optimizer=Adam(0.01), epochs=2, batch_size=50, verbose=0)
    shaped = Sequential(small_net(), seed=1, backend=backend)
    images = train.x.reshape(-1, 28, 28)
    shaped.fit(images, train.targets, optimizer=Adam(0.01), epochs=2, batch_size=50, verbose=0)
    assert model.parameters.tobytes() == shaped.parameters.tobytes()


def test_which_of_two_comes_first(backend):
    """A place in a sequence can be seen by a convolution, and by no mean of its parts."""
    rng = np.random.default_rng(3)
    x = np.argsort(rng.random((400, 8)), axis=1)
    y = (x.argmax(axis=1) < x.argmin(axis=1)).astype(int)
    layers = [Embedding(8, 6), Conv1D(12, 7, activation="tanh", padding="same"), Flatten(),
              Dense(2)]  # fmt: skip
    model = Sequential(layers, seed=2, backend=backend)
    model.fit(x, y, optimizer=Adam(0.01), epochs=12, batch_size=32, verbose=0)
    assert model.evaluate(x, y)["accuracy"] > 0.95


def test_a_wave_anywhere(backend):
    rng = np.random.default_rng(5)
    phase, y = rng.uniform(0, 6, (300, 1)), rng.integers(0, 2, 300)
    x = 50 + np.sin(phase + np.arange(40) * (0.6 + 0.5 * y[:, None]))
    layers = [Standardize(), Conv1D(8, 7, activation="relu"), GlobalAvgPool(), Dense(2)]
    model = Sequential(layers, seed=2, backend=backend)
    model.fit(x[:, :, None], y, optimizer=Adam(0.02), epochs=15, batch_size=32, verbose=0)
    assert model.evaluate(x, y)["accuracy"] > 0.95
