"""Layers beside PyTorch in float64: outputs, gradients and twenty training steps of random nets."""

import math

import numpy as np
import pytest

from mlcore import (
    SGD,
    Activation,
    Adam,
    AvgPool,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Embedding,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    MaxPool,
    Reshape,
    Sequential,
    Standardize,
    kernels,
)

torch = pytest.importorskip("torch")

BACKENDS = [entry.name for entry in kernels.status() if entry.available]
FUNCTIONS = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
}
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
STEPS, BATCH = 20, 5


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pair(lengths):
    return (1,) * (2 - len(lengths)) + tuple(lengths)


def padded(x, sizes, strides, padding, value=0.0):
    """NCHW with TensorFlow's padding: the odd row or column below and to the right."""
    if padding == "valid":
        return x
    ends = []
    for axis, size, stride in zip((2, 3), sizes, strides, strict=True):
        length = x.shape[axis]
        total = max(0, (math.ceil(length / stride) - 1) * stride + size - length)
        ends = [total // 2, total - total // 2, *ends]
    return torch.nn.functional.pad(x, ends, value=value)


class Twin:
    """A built model of ours in PyTorch: its parameters, and what its layers compute."""

    def __init__(self, model):
        self.model = model
        self.tensors = {
            key: torch.tensor(
                np.array(model.parameters[place.start : place.stop].reshape(place.shape)),
                requires_grad=place.trainable,
            )
            for key, place in model.places.items()
        }

    @property
    def learning(self):
        return [tensor for tensor in self.tensors.values() if tensor.requires_grad]

    def flat(self, of):
        return np.concatenate([of(tensor).reshape(-1) for tensor in self.tensors.values()])

    def values(self):
        return self.flat(lambda tensor: tensor.detach().numpy())

    def gradients(self):
        return self.flat(
            lambda tensor: np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
        )

    def __call__(self, x, training):
        self.training = training
        x = torch.tensor(np.asarray(x, np.float64))
        x = x.reshape(len(x), *self.model.input_shape)
        for layer in self.model.layers:
            own = {name: self.tensors[layer.name, name] for name in layer.parameters}
            x = COMPUTED[layer.kind](self, layer, x, own)
        return x

    def image(self, x):
        """Our (batch, places, channels) or (batch, height, width, channels) as NCHW."""
        return (x[:, None] if x.ndim == 3 else x).permute(0, 3, 1, 2)

    def back(self, x, like):
        x = x.permute(0, 2, 3, 1)
        return x[:, 0] if like.ndim == 3 else x

    def conv2d(self, layer, x, own):
        sizes, strides = pair(layer.kernel_size), pair(layer.strides)
        weight = (
            own["weight"]
            .reshape(*sizes, x.shape[-1], layer.filters)
            .permute(3, 2, 0, 1)
            .contiguous()
        )
        image = padded(self.image(x), sizes, strides, layer.padding)
        z = torch.nn.functional.conv2d(image, weight, own.get("bias"), strides)
        return FUNCTIONS[layer.activation.name](self.back(z, x))

    def max_pool(self, layer, x, own):
        sizes, strides = self.windows(layer, x)
        image = padded(self.image(x), sizes, strides, layer.padding, -math.inf)
        return self.back(torch.nn.functional.max_pool2d(image, sizes, strides), x)

    def avg_pool(self, layer, x, own):
        sizes, strides = self.windows(layer, x)
        mean = torch.nn.functional.avg_pool2d
        image, ones = self.image(x), torch.ones_like(self.image(x))
        sums = mean(padded(image, sizes, strides, layer.padding), sizes, strides)
        counts = mean(padded(ones, sizes, strides, layer.padding), sizes, strides)
        return self.back(sums / counts, x)

    def windows(self, layer, x):
        def lengths(value):
            return pair(value if isinstance(value, list) else [value] * (x.ndim - 2))

        sizes = lengths(layer.pool_size)
        return sizes, sizes if layer.strides is None else lengths(layer.strides)

    def batch_norm(self, layer, x, own):
        features = x.reshape(-1, x.shape[-1])
        running = own["moving_mean"], own["moving_variance"]
        if self.training and layer.trainable:
            found = features.mean(0).detach(), features.var(0, correction=0).detach()
            for kept, new in zip(running, found, strict=True):
                kept.mul_(layer.momentum).add_((1 - layer.momentum) * new)
            running = None, None
        z = torch.nn.functional.batch_norm(
            features, *running, own.get("gamma"), own.get("beta"), running == (None, None),
            eps=layer.epsilon,
        )  # fmt: skip
        return z.reshape(x.shape)


COMPUTED = {
    "dense": lambda twin, layer, x, own: FUNCTIONS[layer.activation.name](
        x @ own["weight"] + own["bias"]
    ),
    "activation": lambda twin, layer, x, own: FUNCTIONS[layer.activation.name](x),
    "conv2d": Twin.conv2d,
    "conv1d": Twin.conv2d,
    "max_pool": Twin.max_pool,
    "avg_pool": Twin.avg_pool,
    "global_avg_pool": lambda twin, layer, x, own: x.mean(dim=tuple(range(1, x.ndim - 1))),
    "flatten": lambda twin, layer, x, own: x.reshape(len(x), -1),
    "reshape": lambda twin, layer, x, own: x.reshape(len(x), *layer.output_shape),
    "embedding": lambda twin, layer, x, own: own["weight"][x.long()],
    "batch_norm": Twin.batch_norm,
    "layer_norm": lambda twin, layer, x, own: torch.nn.functional.layer_norm(
        x, x.shape[-1:], own.get("gamma"), own.get("beta"), layer.epsilon
    ),
    "standardize": lambda twin, layer, x, own: (x - own["mean"]) / own["variance"].sqrt(),
}


def pick(rng, *values):
    return values[rng.integers(len(values))]


def random_layers(rng, axes):
    """A net with one layer of every kind that fits, in settings of every kind."""

    def lengths(most):
        return tuple(int(n) for n in rng.integers(1, most + 1, axes))

    convolution = Conv2D if axes == 2 else Conv1D
    pool = pick(rng, MaxPool, AvgPool)
    whole = pick(rng, Flatten, GlobalAvgPool)
    norm = pick(
        rng,
        BatchNorm(0.9, 1e-3), BatchNorm(0.7, 1e-2, center=False), BatchNorm(scale=False),
        BatchNorm(trainable=False), LayerNorm(), LayerNorm(1e-5, scale=False),
    )  # fmt: skip
    size = lengths(3)
    return [
        convolution(
            int(rng.integers(3, 8)), lengths(4), lengths(2), pick(rng, "valid", "same"),
            pick(rng, *FUNCTIONS), use_bias=bool(rng.integers(2)), bias_initializer="normal",
        ),
        pool(size if axes == 2 else size[0], pick(rng, None, 2, 3), pick(rng, "valid", "same")),
        norm,
        convolution(int(rng.integers(2, 18)), 2, padding="same", activation=pick(rng, *FUNCTIONS)),
        Activation(pick(rng, "tanh", "silu")),
        whole(),
        Dense(4, "tanh"),
        BatchNorm(0.8),
        Dense(3),
    ]  # fmt: skip


def random_case(number, backend):
    rng = np.random.default_rng(number)
    axes = 2 if number % 3 else 1
    sample = (*rng.integers(7, 12, axes), pick(rng, 1, 2, 3))
    x = rng.standard_normal((STEPS * BATCH // 4 - 2, *sample))
    y = rng.standard_normal((len(x), 3))
    model = Sequential(random_layers(rng, axes), seed=number, dtype="float64", backend=backend)
    return model.build(tuple(int(n) for n in sample)), x, y


def mean_square(outputs, y):
    return ((outputs - torch.tensor(y)) ** 2).mean()


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_and_gradients(backend, number):
    model, x, y = random_case(number, backend)
    for name in ("batch_norm_1", "batch_norm_2"):
        if (name, "moving_mean") in model.places:
            layer = next(layer for layer in model.layers if layer.name == name)
            layer.moving_mean[:] = np.linspace(-1, 1, layer.moving_mean.size)
            layer.moving_variance[:] = np.linspace(0.5, 2, layer.moving_mean.size)
    before = model.parameters.copy()
    np.testing.assert_allclose(
        model.predict(x), Twin(model)(x, False).detach().numpy(), **TOLERANCE
    )
    for training in (False, True):
        twin = Twin(model)
        wanted = mean_square(twin(x, training), y)
        wanted.backward()
        loss, gradients = model.loss_and_gradients(x, y, loss="mse", training=training)
        np.testing.assert_allclose(loss, wanted.item(), **TOLERANCE)
        np.testing.assert_allclose(gradients, twin.gradients(), **TOLERANCE)
    np.testing.assert_array_equal(model.parameters, before)


@pytest.mark.parametrize("number", range(12, 18))
@pytest.mark.parametrize("backend", BACKENDS)
def test_twenty_steps(backend, number):
    model, x, y = random_case(number, backend)
    twin = Twin(model)
    if number % 2:
        ours, theirs = SGD(0.01, 0.9), torch.optim.SGD(twin.learning, 0.01, 0.9)
    else:
        ours, theirs = Adam(0.01), torch.optim.Adam(twin.learning, 0.01)
    # 23 samples are four batches of five and one of three.
    epochs = STEPS // 5
    model.fit(
        x, y, loss="mse", optimizer=ours, epochs=epochs, batch_size=BATCH, shuffle=False, verbose=0
    )
    for _ in range(epochs):
        for start in range(0, len(x), BATCH):
            rows = slice(start, start + BATCH)
            theirs.zero_grad()
            mean_square(twin(x[rows], True), y[rows]).backward()
            theirs.step()
    assert model.progress.steps == STEPS
    np.testing.assert_allclose(model.parameters, twin.values(), **TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_embedding(backend):
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 11, (23, 6)), rng.standard_normal((23, 3))
    layers = [Embedding(11, 5), Conv1D(4, 3, activation="relu"), GlobalAvgPool(), Dense(3)]
    model = Sequential(layers, seed=3, dtype="float64", backend=backend).build(6)
    twin = Twin(model)
    mean_square(twin(x, True), y).backward()
    _, gradients = model.loss_and_gradients(x, y, loss="mse")
    np.testing.assert_allclose(gradients, twin.gradients(), **TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_flow_through_reshape_and_standardize(backend):
    rng = np.random.default_rng(5)
    x, y = 3 + 2 * rng.standard_normal((9, 12)), rng.standard_normal((9, 3))
    standardize = Standardize().adapt(1 + rng.standard_normal((50, 6)))
    layers = [Dense(12), Reshape((-1, 6)), standardize, LayerNorm(), Flatten(), Dense(3)]
    model = Sequential(layers, seed=3, dtype="float64", backend=backend).build(12)
    twin = Twin(model)
    mean_square(twin(x, True), y).backward()
    _, gradients = model.loss_and_gradients(x, y, loss="mse")
    np.testing.assert_allclose(gradients, twin.gradients(), **TOLERANCE)
