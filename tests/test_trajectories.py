"""Ten training steps against a float64 loop written from the formulas, PyTorch's definitions."""

import math

import numpy as np
import pytest

import mlcore
from mlcore import SGD, Adam, AdamW, Dense, Dropout, GaussianNoise, RMSprop, Sequential, kernels
from mlcore.callbacks import Callback
from mlcore.kernels.table import ACTIVATIONS

BACKENDS = [entry.name for entry in kernels.status() if entry.available]
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
SAMPLES, FEATURES, OUTPUTS, BATCH, EPOCHS = 23, 6, 3, 5, 2
erf = np.vectorize(math.erf, otypes=[float])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def log_sum_exp(x):
    top = x.max(axis=1, keepdims=True)
    return top + np.log(np.exp(x - top).sum(axis=1, keepdims=True))


def normal_cdf(x):
    return (1 + erf(x / math.sqrt(2))) / 2


def normal_density(x):
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def forward_of(name, z, a):
    return {
        "identity": lambda: z,
        "relu": lambda: np.where(z > 0, z, 0),
        "relu6": lambda: np.clip(z, 0, 6),
        "leaky_relu": lambda: np.where(z > 0, z, a * z),
        "elu": lambda: np.where(z > 0, z, a * (np.exp(z) - 1)),
        "tanh": lambda: np.tanh(z),
        "sigmoid": lambda: sigmoid(a * z),
        "softplus": lambda: np.log(1 + np.exp(z)),
        "silu": lambda: z * sigmoid(z),
        "gelu": lambda: z * normal_cdf(z),
        "softmax": lambda: softmax(z),
        "log_softmax": lambda: z - log_sum_exp(z),
    }[name]()


def backward_of(name, z, a, upstream):
    """The gradient of the input, from the input itself."""
    if name == "softmax":
        y = softmax(z)
        return np.stack(
            [(np.diag(r) - np.outer(r, r)) @ g for r, g in zip(y, upstream, strict=True)]
        )
    if name == "log_softmax":
        return upstream - softmax(z) * upstream.sum(axis=1, keepdims=True)
    slope = {
        "identity": lambda: np.ones_like(z),
        "relu": lambda: (z > 0).astype(float),
        "relu6": lambda: ((z > 0) & (z < 6)).astype(float),
        "leaky_relu": lambda: np.where(z > 0, 1, a),
        "elu": lambda: np.where(z > 0, 1, a * np.exp(z)),
        "tanh": lambda: 1 / np.cosh(z) ** 2,
        "sigmoid": lambda: a * sigmoid(a * z) * (1 - sigmoid(a * z)),
        "softplus": lambda: sigmoid(z),
        "silu": lambda: sigmoid(z) + z * sigmoid(z) * (1 - sigmoid(z)),
        "gelu": lambda: normal_cdf(z) + z * normal_density(z),
    }[name]()
    return upstream * slope


def loss_gradient(loss, outputs, y):
    count = len(outputs)
    if loss == "mse":
        return 2 * (outputs - y) / outputs.size
    if loss == "sigmoid_cross_entropy":
        return (sigmoid(outputs) - y) / outputs.size
    rows = np.eye(outputs.shape[1])[y] if y.ndim == 1 else y
    return (softmax(outputs) - rows) / count


class Net:
    """Dense layers in float64: [weight, bias, activation, parameter] each."""

    def __init__(self, layers):
        self.layers = layers

    @property
    def tensors(self):
        return [tensor for layer in self.layers for tensor in layer[:2]]

    def gradients(self, x, y, loss):
        inputs, sums = [], []
        for weight, bias, name, parameter in self.layers:
            inputs.append(x)
            sums.append(x @ weight + bias)
            x = forward_of(name, sums[-1], parameter)
        upstream = loss_gradient(loss, x, y)
        found = []
        for (weight, _, name, parameter), given, z in reversed(
            list(zip(self.layers, inputs, sums, strict=True))
        ):
            delta = backward_of(name, z, parameter, upstream)
            found = [given.T @ delta, delta.sum(axis=0), *found]
            upstream = delta @ weight.T
        return found


def sgd_step(p, g, s, t, lr, *, momentum=0.0, dampening=0.0, nesterov=False):
    if momentum:
        s["v"] = g.copy() if t == 1 else momentum * s["v"] + (1 - dampening) * g
        g = g + momentum * s["v"] if nesterov else s["v"]
    p -= lr * g


def adam_step(p, g, s, t, lr, *, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    s["m"] = beta_1 * s.get("m", 0) + (1 - beta_1) * g
    s["v"] = beta_2 * s.get("v", 0) + (1 - beta_2) * g**2
    mean, square = s["m"] / (1 - beta_1**t), s["v"] / (1 - beta_2**t)
    p -= lr * mean / (np.sqrt(square) + epsilon)


def rmsprop_step(p, g, s, _t, lr, *, rho=0.99, epsilon=1e-8, centered=False, momentum=0.0):
    s["v"] = rho * s.get("v", 0) + (1 - rho) * g**2
    variance = s["v"]
    if centered:
        s["m"] = rho * s.get("m", 0) + (1 - rho) * g
        variance = variance - s["m"] ** 2
    change = g / (np.sqrt(variance) + epsilon)
    if momentum:
        s["b"] = momentum * s.get("b", 0) + change
        change = s["b"]
    p -= lr * change


def rule(step, *, decay=0.0, decay_bias=True, decoupled=False, **settings):
    """An update of one tensor: (tensor, gradient, state, t, lr, whether it is a bias)."""

    def update(p, g, s, t, lr, bias):
        share = 0.0 if bias and not decay_bias else decay
        if decoupled:
            p *= 1 - lr * share
        else:
            g = g + share * p
        step(p, g, s, t, lr, **settings)

    return update


OPTIMIZERS = {
    "sgd": (lambda: SGD(0.1), rule(sgd_step)),
    "momentum": (lambda: SGD(0.1, 0.9), rule(sgd_step, momentum=0.9)),
    "nesterov": (
        lambda: SGD(0.1, 0.8, nesterov=True),
        rule(sgd_step, momentum=0.8, nesterov=True),
    ),
    "dampening": (
        lambda: SGD(0.1, 0.9, dampening=0.4),
        rule(sgd_step, momentum=0.9, dampening=0.4),
    ),
    "sgd-decay": (
        lambda: SGD(0.1, 0.9, weight_decay=0.05),
        rule(sgd_step, momentum=0.9, decay=0.05),
    ),
    "sgd-decay-no-bias": (
        lambda: SGD(0.1, weight_decay=0.05, decay_bias=False),
        rule(sgd_step, decay=0.05, decay_bias=False),
    ),
    "adam": (lambda: Adam(0.01), rule(adam_step)),
    "adam-settings": (
        lambda: Adam(0.01, 0.7, 0.95, 1e-3),
        rule(adam_step, beta_1=0.7, beta_2=0.95, epsilon=1e-3),
    ),
    "adam-decay": (lambda: Adam(0.01, weight_decay=0.1), rule(adam_step, decay=0.1)),
    "adamw": (lambda: AdamW(0.01), rule(adam_step, decay=0.01, decoupled=True)),
    "adamw-no-bias": (
        lambda: AdamW(0.01, weight_decay=0.3, decay_bias=False),
        rule(adam_step, decay=0.3, decay_bias=False, decoupled=True),
    ),
    "rmsprop": (lambda: RMSprop(0.002), rule(rmsprop_step)),
    "rmsprop-centered": (
        lambda: RMSprop(0.002, 0.9, centered=True, weight_decay=0.02),
        rule(rmsprop_step, rho=0.9, centered=True, decay=0.02),
    ),
    "rmsprop-momentum": (
        lambda: RMSprop(0.002, momentum=0.5, weight_decay=0.1, decay_bias=False),
        rule(rmsprop_step, momentum=0.5, decay=0.1, decay_bias=False),
    ),
    "rmsprop-both": (
        lambda: RMSprop(0.002, 0.8, 0.5, 1e-4, centered=True),
        rule(rmsprop_step, rho=0.8, momentum=0.5, epsilon=1e-4, centered=True),
    ),
}


def settings_of(name, parameter):
    spelled = ACTIVATIONS[name].parameter
    return {"name": name, spelled: parameter} if spelled else name


ACTIVATION_CASES = [
    *((name, spec.default) for name, spec in ACTIVATIONS.items()),
    *((name, 0.3) for name, spec in ACTIVATIONS.items() if spec.parameter),
]


class Recorder(Callback):
    """Keeps the parameters after every step."""

    def __init__(self):
        self.seen = []

    def on_progress(self, model, *_):
        self.seen.append(
            [view.copy() for layer in model.layers for view in layer.parameters.values()]
        )


@pytest.fixture(autouse=True)
def every_step_is_shown(monkeypatch):
    monkeypatch.setattr("mlcore.trainer.SECONDS_BETWEEN_LOOKS", 0.0)


def example(loss):
    rng = np.random.default_rng(20)
    x = rng.standard_normal((SAMPLES, FEATURES)).astype(np.float32)
    if loss == "softmax_cross_entropy":
        return x, rng.integers(0, OUTPUTS, SAMPLES)
    if loss == "mse":
        return x, rng.standard_normal((SAMPLES, OUTPUTS)).astype(np.float32)
    return x, rng.random((SAMPLES, OUTPUTS)).astype(np.float32)


def start(model):
    """Give the model weights and biases that float32 holds, and return the same net in float64."""
    rng = np.random.default_rng(7)
    model.build(FEATURES)
    drawn = 0.5 * rng.standard_normal(model.parameters.size)
    model.parameters = drawn.astype(np.float32)
    return Net(
        [
            [
                layer.weight.astype(float), layer.bias.astype(float),
                layer.activation.name, layer.activation.parameter,
            ]
            for layer in model.layers
        ]
    )  # fmt: skip


def wanted_steps(net, x, y, loss, update, *, order, rates, frozen=()):
    x, y = x.astype(float), y if y.dtype.kind == "i" else y.astype(float)
    states = [{} for _ in net.tensors]
    steps, t = [], 0
    for epoch in range(EPOCHS):
        rows = order(epoch)
        for first in range(0, SAMPLES, BATCH):
            t += 1
            batch = rows[first : first + BATCH]
            gradients = net.gradients(x[batch], y[batch], loss)
            for at, (tensor, gradient) in enumerate(zip(net.tensors, gradients, strict=True)):
                if at // 2 not in frozen:
                    update(tensor, gradient, states[at], t, rates[epoch], at % 2 == 1)
            steps.append([tensor.copy() for tensor in net.tensors])
    return steps


def assert_same_steps(found, wanted, dtype):
    assert len(found) == len(wanted) == 10
    for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True), start=1):
        for at, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert a.dtype == dtype
            error = np.linalg.norm(a.astype(float) - b) / np.linalg.norm(b)
            assert error <= TOLERANCE[dtype], f"step {number}, tensor {at}: {error:.2e}"


def in_order(_):
    return np.arange(SAMPLES)


def check(layers, loss, case, backend, dtype, *, order=in_order, schedule=None, data=None, **given):
    x, y = data or example(loss)
    model = Sequential(layers, seed=3, dtype=dtype, backend=backend)
    net = start(model)
    make, update = OPTIMIZERS[case]
    optimizer, recorder = make(), Recorder()
    rates = [optimizer.learning_rate * (schedule(e) if schedule else 1) for e in range(EPOCHS)]
    frozen = [at for at, layer in enumerate(model.layers) if not layer.trainable]
    wanted = wanted_steps(net, x, y, loss, update, order=order, rates=rates, frozen=frozen)
    model.fit(
        x, y, loss=loss, optimizer=optimizer, epochs=EPOCHS, batch_size=BATCH, verbose=0,
        callbacks=recorder, schedule=schedule, **{"shuffle": False, **given},
    )  # fmt: skip
    assert_same_steps(recorder.seen, wanted, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", OPTIMIZERS)
def test_every_optimizer(case, backend, dtype):
    layers = [Dense(7, "tanh"), Dense(5, "sigmoid"), Dense(OUTPUTS)]
    check(layers, "softmax_cross_entropy", case, backend, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "parameter"), ACTIVATION_CASES)
def test_every_activation(name, parameter, backend, dtype):
    settings = settings_of(name, parameter)
    layers = [Dense(8, settings), Dense(5, settings), Dense(OUTPUTS)]
    check(layers, "softmax_cross_entropy", "momentum", backend, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ["sgd", "adam"])
@pytest.mark.parametrize("loss", ["mse", "sigmoid_cross_entropy"])
def test_other_losses(loss, case, backend, dtype):
    check([Dense(7, "elu"), Dense(OUTPUTS)], loss, case, backend, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_mse_of_an_activated_output(backend, dtype):
    check([Dense(7, "relu"), Dense(OUTPUTS, "tanh")], "mse", "nesterov", backend, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_soft_targets(backend, dtype):
    # Rows of quarters sum to one in every dtype.
    rows = np.array([[0.5, 0.25, 0.25], [0, 0.75, 0.25], [1, 0, 0]])
    soft = rows[np.random.default_rng(4).integers(0, 3, SAMPLES)]
    loss = "softmax_cross_entropy"
    data = (example(loss)[0], soft)
    check([Dense(7, "silu"), Dense(OUTPUTS)], loss, "sgd", backend, dtype, data=data)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_shuffled_in_the_documented_order(backend, dtype):
    seed = 2**40 + 9

    def order(epoch):
        rows = np.empty(SAMPLES, np.int64)
        kernels.get("numpy").call("permutation", seed=seed, epoch=epoch, out=rows)
        return rows

    assert not np.array_equal(order(0), order(1))
    layers = [Dense(7, "tanh"), Dense(OUTPUTS)]
    check(
        layers, "softmax_cross_entropy", "adam", backend, dtype,
        order=order, shuffle=True, seed=seed,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ["momentum", "adamw"])
def test_a_schedule_scales_the_rate_and_leaves_the_state(case, backend, dtype):
    check(
        [Dense(7, "tanh"), Dense(OUTPUTS)], "softmax_cross_entropy", case, backend, dtype,
        schedule=lambda epoch: [1.0, 0.25][epoch],
    )  # fmt: skip


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 1)])
def test_frozen_layers(frozen, backend, dtype):
    layers = [
        Dense(7, "tanh", trainable=0 not in frozen),
        Dense(5, "gelu", trainable=1 not in frozen),
        Dense(OUTPUTS, trainable=2 not in frozen),
    ]
    check(layers, "softmax_cross_entropy", "sgd-decay", backend, dtype)


# A five-point difference: the fourth power of the step is far below rounding.
STEP = 2e-5
POINTS = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}


def numeric_gradient(model, x, y, loss, **given):
    found = np.zeros_like(model.parameters)
    for at in range(len(found)):
        held = model.parameters[at]
        for steps, factor in POINTS.items():
            model.parameters[at] = held + steps * STEP
            value = model.loss_and_gradients(x, y, loss=loss, **given)[0]
            found[at] += factor * value / STEP
        model.parameters[at] = held
    return found


def assert_gradients_agree(model, x, y, loss, **given):
    before = model.parameters.copy()
    value, analytic = model.loss_and_gradients(x, y, loss=loss, **given)
    assert math.isfinite(value)
    assert np.array_equal(model.parameters, before)
    numeric = numeric_gradient(model, x, y, loss, **given)
    assert np.linalg.norm(numeric) > 1e-3
    np.testing.assert_allclose(analytic, numeric, rtol=1e-7, atol=2e-10 * max(1, value))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "parameter"), ACTIVATION_CASES)
def test_gradients_of_a_net_with_each_activation(name, parameter, backend):
    settings = settings_of(name, parameter)
    model = Sequential(
        [Dense(5, settings), Dense(4), mlcore.Activation(settings), Dense(OUTPUTS)],
        seed=11, dtype="float64", backend=backend,
    )  # fmt: skip
    x, y = example("softmax_cross_entropy")
    model.build(FEATURES)
    model.parameters = 0.6 * np.random.default_rng(5).standard_normal(model.parameters.size)
    assert_gradients_agree(model, x, y, "softmax_cross_entropy")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "mse", "sigmoid_cross_entropy"])
def test_gradients_of_a_net_with_every_activation_and_of_each_loss(loss, backend):
    layers = [Dense(4, settings_of(name, spec.default)) for name, spec in ACTIVATIONS.items()]
    model = Sequential([*layers, Dense(OUTPUTS)], seed=11, dtype="float64", backend=backend)
    x, y = example(loss)
    model.build(FEATURES)
    model.parameters = 0.9 * np.random.default_rng(6).standard_normal(model.parameters.size)
    assert_gradients_agree(model, x, y, loss)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_with_noise_and_dropout(backend):
    model = Sequential(
        [GaussianNoise(0.3), Dense(6, "tanh"), Dropout(0.4), Dense(OUTPUTS)],
        seed=11, dtype="float64", backend=backend,
    )  # fmt: skip
    x, y = example("softmax_cross_entropy")
    model.build(FEATURES)
    noisy = model.loss_and_gradients(x, y, training=True)[0]
    assert noisy != model.loss_and_gradients(x, y)[0]
    assert_gradients_agree(model, x, y, "softmax_cross_entropy", training=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "mse", "sigmoid_cross_entropy"])
def test_losses_against_their_formulas(loss, backend):
    x, y = example(loss)
    model = Sequential([Dense(OUTPUTS)], dtype="float64", backend=backend, seed=1)
    net = start(model)
    z = x.astype(float) @ net.layers[0][0] + net.layers[0][1]
    t = y.astype(float)
    wanted = {
        "softmax_cross_entropy": lambda: -np.log(softmax(z)[np.arange(SAMPLES), y]).mean(),
        "mse": lambda: ((z - t) ** 2).mean(),
        "sigmoid_cross_entropy": lambda: (
            -(t * np.log(sigmoid(z)) + (1 - t) * np.log(1 - sigmoid(z))).mean()
        ),
    }[loss]()
    assert model.evaluate(x, y, loss=loss, batch_size=4)["loss"] == pytest.approx(wanted, rel=1e-12)
