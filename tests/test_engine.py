"""The native executor against the Python executor, and what it must leave alone.

Every test of agreement runs one case on both: `PythonExecutor` over the NumPy kernels, the
definition of right, and `NativeExecutor` over each instruction set that is there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import tracemalloc
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore
from mlcore import (
    L1,
    L1L2,
    L2,
    SGD,
    Activation,
    Adagrad,
    Adam,
    AdamW,
    Dense,
    Dropout,
    GaussianNoise,
    MaxNorm,
    NonFiniteLossError,
    Norm,
    RMSprop,
    Sequential,
    kernels,
    layers,
    losses,
)
from mlcore.engine import NativeExecutor, executor_for
from mlcore.engine.narrow import NarrowCompiler
from mlcore.executor import PythonExecutor, Totals
from mlcore.kernels import threads
from mlcore.kernels.table import ACTIVATIONS
from mlcore.plan import aligned_zeros, lower
from mlcore.weights import weighted

# "native" alone is one of these.
BACKENDS = [
    entry.name for entry in kernels.status() if entry.available and entry.name.startswith("native-")
]
pytestmark = pytest.mark.skipif(not BACKENDS, reason="nothing was compiled")
# Relative, in the norm of a tensor.
# In 200 steps a network multiplies a rounding by up to 1e7.
CLOSE = {"float64": 1e-8, "float32": 1e-5}
TIME_LIMIT = 120


@pytest.fixture(autouse=True)
def _threads_as_before(monkeypatch):
    monkeypatch.setattr(threads, "_chosen", threads._chosen)


@dataclass(eq=False)
class Case:
    """A network, its data, and how it is trained."""

    layers: Callable[[], list[Any]]
    optimizer: Any
    features: int = 5
    outputs: int = 3
    samples: int = 23
    batch_size: int = 6
    loss: Any = "softmax_cross_entropy"
    soft: bool = False
    weighted: bool = False
    source: str = "float32"
    scale: float = 1.0
    seed: int = 0
    factors: list[float] = field(default_factory=lambda: [1.0])
    # Of a sample, where it is not a row of features.
    shape: tuple[int, ...] = ()
    # Where inputs are whole numbers below it.
    vocabulary: int = 0
    regularizer: Any = None

    @property
    def steps(self) -> int:
        return -(-self.samples // self.batch_size)

    def data(self, dtype):
        rng = np.random.default_rng(self.seed)
        if self.source == "uint8":
            top = self.vocabulary or 256
            x = rng.integers(0, top, (self.samples, self.features), np.uint8)
        else:
            x = rng.standard_normal((self.samples, self.features)).astype(self.source)
        loss = losses.get(self.loss)
        targets = loss.targets(self._answers(loss, rng), self.outputs, np.dtype(dtype))
        if not self.weighted:
            return x, targets
        # Some of them zero, but never all of them.
        drawn = np.maximum(0, rng.random(self.samples) - 0.2)
        drawn[0] = 1
        return x, weighted(targets, drawn.astype(dtype), None, self.outputs, np.dtype(dtype))

    def _answers(self, loss, rng):
        if isinstance(loss, losses.Regression):
            return rng.standard_normal((self.samples, self.outputs))
        if loss.kind == "sigmoid_cross_entropy":
            return rng.random((self.samples, self.outputs))
        if isinstance(loss, losses.Margin) and (self.soft or self.outputs == 1):
            return rng.choice([-1, 1], (self.samples, self.outputs))
        if self.soft:
            return rng.dirichlet(np.ones(self.outputs), self.samples)
        return rng.integers(0, self.outputs, self.samples)

    def order(self, epoch):
        return np.random.default_rng([self.seed, epoch]).permutation(self.samples)

    def rate(self, epoch):
        return self.optimizer.learning_rate * self.factors[epoch % len(self.factors)]


class Side:
    """One case on one executor."""

    def __init__(self, case, kind, backend, dtype, *, change=None, guard=True, **lowering):
        self.case = case
        self.model = Sequential(case.layers(), seed=case.seed, dtype=dtype, backend=backend)
        self.model.build(case.shape or case.features)
        rng = np.random.default_rng(case.seed)
        for layer in self.model.layers:
            for name in ("bias", "beta", "moving_mean"):
                if name in layer.parameters:
                    setattr(layer, name, 0.1 * rng.standard_normal(getattr(layer, name).shape))
        self.inputs, self.targets = case.data(dtype)
        if change is not None:
            change(self)
        loss = losses.get(case.loss)
        if not lowering:
            lowering = {"loss": loss, "optimizer": case.optimizer, "noise": True}
        if "loss" in lowering:
            lowering["regularizer"] = case.regularizer
        self.plan = lower(
            self.model, batch_size=case.batch_size, source_dtype=self.inputs.dtype,
            labelled=self.targets.labelled, weighted=self.targets.weights is not None, **lowering,
        )  # fmt: skip
        size = self.model.parameters.size
        self.vectors = {
            "parameters": self.model.parameters,
            **{
                name: aligned_zeros(size, self.model.dtype)
                for name in ("gradients", *case.optimizer.state)
            },
        }
        for name, value in case.optimizer.initial.items():
            self.vectors[name][...] = value
        self.executor = kind(
            self.plan, self.vectors, self.inputs, self.targets if "loss" in lowering else None,
            scale=case.scale, seed=case.seed, guard=guard,
        )  # fmt: skip

    def advance(self, done, until, totals=None, offset=0, chunk=10**9):
        """Make the steps `done` to `until` - 1, counted over the epochs."""
        totals = Totals() if totals is None else totals
        while done < until:
            epoch, first = divmod(done, self.case.steps)
            last = min(self.case.steps, first + until - done, first + chunk)
            self.executor.run(
                self.case.order(epoch), first, last, step=offset + done, update=done,
                learning_rate=self.case.rate(epoch), totals=totals,
            )  # fmt: skip
            done += last - first
        self.sync()
        return totals

    def sync(self):
        if isinstance(self.executor, NativeExecutor):
            self.executor.sync()

    @property
    def tensors(self):
        return self.cut(self.model.parameters)

    def cut(self, parameters):
        return {
            f"{layer}.{name}": parameters[place.start : place.stop]
            for (layer, name), place in self.model.places.items()
        }

    @property
    def state(self):
        return {name: self.vectors[name] for name in self.case.optimizer.state}

    @property
    def bits(self):
        return b"".join(array.tobytes() for array in [self.model.parameters, *self.state.values()])


def python(case, dtype, **settings):
    return Side(case, PythonExecutor, "numpy", dtype, **settings)


def native(case, dtype="float32", backend=BACKENDS[0] if BACKENDS else "", **settings):
    return Side(case, NativeExecutor, backend, dtype, **settings)


def trained(case, steps, dtype="float32", count=None, **settings):
    """Return a native side after so many steps on `count` threads."""
    if count is not None:
        mlcore.set_num_threads(count)
    side = native(case, dtype, **settings)
    side.advance(0, steps)
    return side


def assert_close(found, wanted, bound, where):
    assert found.keys() == wanted.keys()
    for name, right in wanted.items():
        assert np.isfinite(right).all(), f"{where}: the case itself diverges in {name}"
        error = np.linalg.norm(found[name].astype(float) - right)
        # A gradient that has all but vanished keeps the rounding of the terms that it sums.
        assert error <= bound * np.linalg.norm(right) + 1e-16, (
            f"{where}: {name} is off by {error:.2e}"
        )


def assert_same_change(found, wanted, before, where):
    """A step changes parameters little, so what it changes is looked at by itself."""
    for name, old in before.items():
        change = np.linalg.norm(wanted[name] - old)
        error = np.linalg.norm(found[name] - wanted[name])
        rounding = 3e-7 * np.linalg.norm(old)
        assert error <= 1e-3 * change + rounding, f"{where}: {name} is off by {error:.2e}"


def assert_same_totals(found, wanted, dtype):
    assert found.samples == wanted.samples
    assert found.loss == pytest.approx(wanted.loss, rel=CLOSE[dtype])
    assert found.weight == pytest.approx(wanted.weight, rel=CLOSE[dtype])
    # In float32 two outputs may be so close that rounding decides which is larger.
    assert abs(found.correct - wanted.correct) <= (1 if dtype == "float32" else 1e-9)


@cache
def trajectory(case, dtype):
    """Return steps, the totals since those before, and the vectors after them, as is right."""
    side, done, found = python(case, dtype), 0, []
    # Where a slope jumps, a rounding may in the long run decide a step.
    long = 40 if losses.get(case.loss).kind in ("mae", "hinge", "perceptron") else 200
    for stop in (1, 2, 10, long) if dtype == "float64" else range(1, 13):
        totals = side.advance(done, stop)
        done = stop
        found.append((stop, totals, {name: value.copy() for name, value in side.vectors.items()}))
    return found


def assert_agreement(case, backend, dtype):
    """Compare step by step: in float64 trajectories, in float32 steps from equal parameters."""
    ours, done = native(case, dtype, backend), 0
    before = ours.model.parameters.copy()
    untouched = ours.cut(before)
    for stop, totals, vectors in trajectory(case, dtype):
        assert_same_totals(ours.advance(done, stop), totals, dtype)
        done = stop
        state = {name: vectors[name] for name in ours.state}
        tensors = ours.cut(vectors["parameters"])
        assert_close(ours.tensors, tensors, CLOSE[dtype], f"after step {stop}")
        assert_close(ours.state, state, CLOSE[dtype], f"state after step {stop}")
        if dtype == "float32":
            assert_same_change(ours.tensors, tensors, ours.cut(before), f"step {stop}")
            for name, vector in ours.vectors.items():
                vector[...] = vectors[name]
            before = vectors["parameters"]
    for (layer, name), place in ours.model.places.items():
        # Running statistics follow the data, whoever is trained.
        if not place.layer.trainable:
            which = f"{layer}.{name}"
            np.testing.assert_array_equal(ours.tensors[which], untouched[which])


def drawn_gathering(rng):
    """What may happen to gradients before an update; half of the time nothing does."""
    if rng.random() < 0.5:
        return {}
    limit = rng.choice(["global_clipnorm", "clipvalue", ""])
    # Limits of that size are sometimes reached.
    limits = {"global_clipnorm": 1.0, "clipvalue": 0.01}
    return {
        "gradient_accumulation_steps": int(rng.integers(1, 5)),
        **({limit: limits[limit]} if limit else {}),
    }


def drawn_regularizer(rng, chance):
    kinds = [L1(2e-3), L2(3e-3), L1L2(1e-3, 2e-3), Norm(0.01)]
    return kinds[rng.integers(len(kinds))] if rng.random() < chance else None


def drawn_optimizer(rng, extra):
    kind = rng.choice(["sgd", "adam", "adamw", "rmsprop"])
    decay = {"weight_decay": float(rng.choice([0.0, 0.01])), "decay_bias": bool(rng.random() < 0.5)}
    decay |= drawn_gathering(extra)
    momentum = float(rng.choice([0.0, 0.5, 0.9]))
    if kind == "sgd":
        nesterov = bool(momentum and rng.random() < 0.5)
        dampening = 0.0 if nesterov else float(rng.choice([0.0, 0.3]))
        return SGD(0.001, momentum, nesterov=nesterov, dampening=dampening, **decay)
    if kind == "rmsprop":
        centered = bool(rng.random() < 0.5)
        return RMSprop(5e-4, rng.uniform(0.8, 0.99), momentum, 1e-4, centered=centered, **decay)
    if extra.random() < 0.3:
        return Adagrad(1e-3, float(extra.choice([0.0, 0.1])), 1e-4, **decay)
    make = Adam if kind == "adam" else AdamW
    return make(1e-3, rng.uniform(0.5, 0.95), rng.uniform(0.9, 0.9999), 1e-4, **decay)


def drawn_activation(rng, width):
    # NumPy has no error function, and the reference's takes long on a wide layer.
    name = str(rng.choice([name for name in ACTIVATIONS if width < 512 or name != "gelu"]))
    parameter = ACTIVATIONS[name].parameter
    return {"name": name, parameter: rng.uniform(0.1, 1.5)} if parameter else name


def drawn_loss(seed):
    rng = np.random.default_rng([seed, 1])
    name = str(rng.choice(list(losses.LOSSES)))
    setting = {
        "softmax_cross_entropy": {"label_smoothing": float(rng.choice([0.0, 0.1]))},
        "sigmoid_cross_entropy": {"label_smoothing": float(rng.choice([0.0, 0.1]))},
        "huber": {"delta": rng.uniform(0.2, 2)},
        "hinge": {"margin": rng.uniform(0.2, 2)},
        "squared_hinge": {"margin": rng.uniform(0.2, 2)},
    }
    return {"name": name, **setting.get(name, {})}


@cache
def drawn_case(seed):
    """Return a random network of up to five hidden layers, with data that fit it."""
    rng = np.random.default_rng(seed)
    # Of its own, so that the networks stay as they were.
    extra = np.random.default_rng([seed, 1])
    widths = [int(rng.integers(1, 131)) for _ in range(rng.integers(0, 6))]
    if widths and seed % 5 == 0:
        widths[rng.integers(0, len(widths))] = int(rng.integers(513, 700))
    outputs = int(rng.integers(1, 12))
    loss = drawn_loss(seed)
    absorbed = losses.get(loss).link
    specs: list[tuple[Any, ...]] = []

    def disturb():
        if rng.random() < 0.25:
            specs.append((Dropout, rng.uniform(0.05, 0.5)))
        if rng.random() < 0.25:
            specs.append((GaussianNoise, rng.uniform(0.01, 0.2)))

    disturb()
    for width in widths:
        apart = rng.random() < 0.3
        settings = {
            "use_bias": bool(rng.random() < 0.8), "trainable": bool(rng.random() < 0.85),
            "activation": None if apart else drawn_activation(rng, width),
            "kernel_regularizer": drawn_regularizer(extra, 0.15),
            "bias_regularizer": drawn_regularizer(extra, 0.1),
            "kernel_constraint": MaxNorm(1.0) if extra.random() < 0.15 else None,
        }  # fmt: skip
        specs.append((Dense, width, settings))
        if apart:
            disturb()
            specs.append((Activation, drawn_activation(rng, width)))
        disturb()
    last = absorbed if absorbed and rng.random() < 0.5 else None
    specs.append((Dense, outputs, {"activation": last, "use_bias": bool(rng.random() < 0.8)}))

    def layers():
        return [
            kind(*(p for p in given if not isinstance(p, dict) or kind is Activation),
                 **(given[-1] if kind is Dense else {}))
            for kind, *given in specs
        ]  # fmt: skip

    samples = int(rng.integers(1, 60))
    source = str(rng.choice(["uint8", "float32", "float64"]))
    return Case(
        layers,
        drawn_optimizer(rng, extra),
        features=int(rng.integers(1, 131)),
        outputs=outputs,
        samples=samples,
        batch_size=int(rng.choice([1, 2, 7, 16, 33, samples, samples + 9])),
        loss=loss,
        soft=bool(outputs > 1 and rng.random() < 0.5),
        weighted=bool(rng.random() < 0.5),
        source=source,
        scale=1 / 255 if source == "uint8" else float(rng.choice([1.0, 0.5])),
        seed=seed,
        factors=[1.0, 0.7, 0.4],
        regularizer=drawn_regularizer(extra, 0.3),
    )


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(30))
def test_random_networks(seed, backend, dtype):
    mlcore.set_num_threads(1 + seed % 4)
    assert_agreement(drawn_case(seed), backend, dtype)


@cache
def activation_case(activation, loss, soft):
    def layers():
        behind = [Activation(activation)] if loss == "mse" else []
        return [Dense(19, activation), Dense(8), Activation(activation), Dense(3), *behind]

    # The gradient of log_softmax grows with the width, and with it that of a square.
    steep = activation == "log_softmax" and loss in ("mse", "squared_hinge")
    return Case(layers, SGD(1e-4 if steep else 0.01), loss=loss, soft=soft, seed=4)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("loss", losses.LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_with_every_loss(activation, loss, soft, backend, dtype):
    if soft and not losses.get(loss).takes_labels(3):
        pytest.skip("takes rows of numbers always")
    assert_agreement(activation_case(activation, loss, soft), backend, dtype)


@cache
def weighted_case(loss, outputs, width):
    def layers():
        return [Dense(width, "tanh"), Dense(outputs)]

    return Case(
        layers, SGD(0.01), 5, outputs, samples=330, batch_size=150, loss=loss, weighted=True, seed=5
    )


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
# On samples along the vectors, in groups, and on rows.
@pytest.mark.parametrize("width", [19, 90])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_weights_with_every_loss(loss, outputs, width, backend, dtype):
    assert_agreement(weighted_case(loss, outputs, width), backend, dtype)


@cache
def narrow_case(seed):
    """Return a random network whose samples stand along the vectors, in one group or in several."""
    rng = np.random.default_rng([seed, 7])
    outputs = int(rng.choice([1, 2, 4]))
    specs = []
    for width in rng.choice([1, 2, 3, 8, 15, 16, 17, 31, 33, 48, 64], rng.integers(0, 5)):
        apart = rng.random() < 0.3
        activation = drawn_activation(rng, width)
        if ACTIVATIONS[activation["name"] if isinstance(activation, dict) else activation].rowwise:
            activation = "tanh"
        specs.append((
            int(width), None if apart else activation,
            {
                "use_bias": bool(rng.random() < 0.8), "trainable": bool(rng.random() < 0.85),
                "kernel_regularizer": drawn_regularizer(rng, 0.2),
                "kernel_constraint": MaxNorm(1.0) if rng.random() < 0.15 else None,
            },
        ))  # fmt: skip
        if apart:
            specs.append((activation,))

    def layers():
        hidden = [
            Dense(given[0], given[1], **given[2]) if len(given) > 1 else Activation(given[0])
            for given in specs
        ]
        return [*hidden, Dense(outputs)]

    source = str(rng.choice(["uint8", "float32", "float64"]))
    samples = int(rng.integers(40, 700))
    return Case(
        layers,
        drawn_optimizer(rng, rng),
        features=int(rng.integers(1, 65)),
        outputs=outputs,
        samples=samples,
        batch_size=int(rng.choice([16, 17, 31, 127, 128, 129, 256, 300, samples])),
        loss=str(rng.choice([name for name in losses.LOSSES if name != "softmax_cross_entropy"])),
        soft=True,
        weighted=bool(rng.random() < 0.5),
        source=source,
        scale=1 / 255 if source == "uint8" else (1.0, 0.5)[seed % 2],
        seed=seed,
        regularizer=drawn_regularizer(rng, 0.3),
    )


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(40))
def test_random_narrow_networks(seed, backend, dtype):
    case = narrow_case(seed)
    side = native(case, dtype, backend)
    if side.plan.backend.module.LANES[dtype] >= 8:
        assert NarrowCompiler.suits(side.plan, side.targets)
    mlcore.set_num_threads(1 + seed % 4)
    assert_agreement(case, backend, dtype)


OPTIMIZERS = [
    SGD(0.05),
    SGD(0.05, 0.9),
    SGD(0.05, 0.9, nesterov=True),
    SGD(0.05, 0.9, dampening=0.5, weight_decay=0.02),
    SGD(0.05, weight_decay=0.02, decay_bias=False),
    Adam(0.003, epsilon=1e-5),
    Adam(0.003, 0.5, 0.9, 1e-3, weight_decay=0.1, decay_bias=False),
    AdamW(0.003, epsilon=1e-5),
    AdamW(0.003, epsilon=1e-5, weight_decay=0.3, decay_bias=False),
    RMSprop(0.001, epsilon=1e-5),
    RMSprop(0.001, 0.9, 0.8, 1e-4, centered=True, weight_decay=0.01, decay_bias=False),
    Adagrad(0.003, epsilon=1e-5),
    Adagrad(0.003, 0.1, weight_decay=0.02, decay_bias=False),
    SGD(0.05, 0.9, global_clipnorm=0.1),
    SGD(0.05, 0.9, clipvalue=0.01, gradient_accumulation_steps=2),
    Adam(0.003, epsilon=1e-5, gradient_accumulation_steps=3),
    AdamW(
        0.003, epsilon=1e-5, decay_bias=False, global_clipnorm=0.1, gradient_accumulation_steps=3
    ),
]


@cache
def optimizer_case(at):
    def layers():
        frozen = Dense(17, "relu", trainable=False)
        return [Dense(40, "tanh"), frozen, Dense(9, "gelu"), Dense(3)]

    return Case(layers, OPTIMIZERS[at], factors=[1.0, 0.5])


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("at", range(len(OPTIMIZERS)), ids=lambda at: repr(OPTIMIZERS[at]))
def test_every_optimizer(at, backend, dtype):
    assert_agreement(optimizer_case(at), backend, dtype)


EDGES = {
    "one of everything": Case(lambda: [Dense(1)], SGD(0.1), 1, 1, 1, 1, "mse"),
    "batch larger than the data": Case(lambda: [Dense(8, "relu"), Dense(3)], SGD(0.1), samples=3),
    "short last batch of one": Case(lambda: [Dense(8, "relu"), Dense(3)], SGD(0.1), samples=13),
    "noise first and last": Case(
        lambda: [GaussianNoise(0.1), Dropout(0.2), Dense(3), Dropout(0.3), GaussianNoise(0.2)],
        SGD(0.1, 0.9),
    ),
    "all frozen": Case(
        lambda: [Dense(6, "relu", trainable=False), Dense(3, trainable=False)], Adam(0.1)
    ),
    "first layer frozen": Case(
        lambda: [Dense(6, "relu", trainable=False), Dropout(0.5), Dense(3)], Adam(0.01)
    ),
    "nothing to learn": Case(lambda: [Activation("tanh")], SGD(0.1), 3, 3),
    "no bias anywhere": Case(
        lambda: [Dense(70, "silu", use_bias=False), Dense(3, use_bias=False)], SGD(0.1)
    ),
    "a few units without a bias": Case(
        lambda: [
            *(Dense(units, name, use_bias=False) for units, name in ((1, "relu"), (2, "tanh"))),
            *(Dense(2, name, use_bias=False) for name in ("leaky_relu", "identity", "gelu")),
            Dense(1, use_bias=False),
        ],
        SGD(0.1), 1, 1, 50, 20, "mse", seed=1,
    ),
    "activation on activation": Case(
        lambda: [Activation("gelu"), Dense(7, "relu"), Activation("silu"), Activation("elu"),
                 Dense(3)],
        SGD(0.1),
    ),
    "large batch": Case(
        lambda: [Dense(64, "relu"), Dense(64, "relu"), Dense(1)], SGD(0.02), 2, 1, 700, 520, "mse"
    ),
    "one class": Case(lambda: [Dense(5, "relu"), Dense(1)], SGD(0.1), outputs=1),
    "many classes": Case(lambda: [Dense(300)], SGD(0.1), outputs=300),
    "weights of a large batch": Case(
        lambda: [Dense(64, "relu"), Dense(64, "relu"), Dense(1)], SGD(0.02), 2, 1, 700, 520,
        "huber", weighted=True,
    ),
    "a perceptron that starts at a tie": Case(
        lambda: [Dense(8, "relu"), Dense(1, "relu")], SGD(0.1), outputs=1, loss="perceptron"
    ),
    "largest seed": Case(
        lambda: [Dropout(0.2), Dense(9), GaussianNoise(0.1), Dense(3)], SGD(0.1), seed=2**64 - 1
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", EDGES)
def test_edges(name, backend, dtype):
    assert_agreement(EDGES[name], backend, dtype)


@pytest.mark.parametrize("offset", [2**32 - 3, 2**40])
@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_counts_on_from_any_step(offset, backend):
    case = EDGES["noise first and last"]
    sides = python(case, "float64"), native(case, "float64", backend)
    for side in sides:
        side.advance(0, 8, offset=offset)
    assert_close(sides[1].tensors, sides[0].tensors, 1e-9, f"from step {offset}")


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(12))
def test_outputs_of_a_prediction(seed, backend, dtype):
    case = drawn_case(seed)
    outputs = []
    for side in (python(case, dtype, loss=None), native(case, dtype, backend, loss=None)):
        rows = np.full((case.samples, case.outputs), np.nan, dtype)
        for first in range(0, case.steps, 2):
            last = min(first + 2, case.steps)
            side.executor.run(case.order(0), first, last, outputs=rows)
        outputs.append(rows)
    assert_close({"outputs": outputs[1]}, {"outputs": outputs[0]}, CLOSE[dtype], "predicting")


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(12))
def test_gradients_and_evaluation(seed, backend, dtype):
    case = drawn_case(seed)
    lowering = {"loss": losses.get(case.loss), "gradients": True, "noise": True}
    for settings in (lowering, {"loss": lowering["loss"]}):
        right = python(case, dtype, **settings)
        ours = Side(case, executor_for, backend, dtype, **settings)
        totals = [side.executor.run(case.order(0), 0, case.steps, step=3) for side in (ours, right)]
        assert_same_totals(*totals, dtype)
        ours.sync()
        found, wanted = ({"gradients": side.vectors["gradients"]} for side in (ours, right))
        assert_close(found, wanted, 10 * CLOSE[dtype], "after an epoch")


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_that_is_built_in_trains_natively(backend):
    for case in [*(drawn_case(seed) for seed in range(30)), *EDGES.values()]:
        assert isinstance(Side(case, executor_for, backend, "float32").executor, NativeExecutor)
        assert isinstance(Side(case, executor_for, "numpy", "float32").executor, PythonExecutor)


def mlp(*widths, activation="relu", noise=False, **settings):
    """Return the layers of a network, with the noise of DESIGN's second workload if wanted."""

    def layers():
        hidden = []
        for width in widths[:-1]:
            hidden += [GaussianNoise(0.05)] if noise else []
            hidden += [Dense(width, activation, **settings)]
            hidden += [Dropout(0.1)] if noise else []
        return [*hidden, Dense(widths[-1], **settings)]

    return layers


def lenet():
    """Return the layers of LeNet-5, with rectified units and largest values."""
    return [
        layers.Conv2D(6, 5, activation="relu"), layers.MaxPool(2),
        layers.Conv2D(16, 5, activation="relu"), layers.MaxPool(2), layers.Flatten(),
        Dense(120, "relu"), Dense(84, "relu"), Dense(10),
    ]  # fmt: skip


def normed_lenet():
    """Return LeNet as study D4 has it: batch norm, sigmoid, mean values, and noise."""

    def norm():
        return [layers.BatchNorm(), Activation("sigmoid")]

    return [
        Dropout(0.2), layers.Conv2D(6, 5, padding="same"), *norm(), layers.AvgPool(2),
        layers.Conv2D(16, 5), *norm(), layers.AvgPool(2), layers.Flatten(), Dense(120), *norm(),
        Dropout(0.5), Dense(84), *norm(), Dense(10),
    ]  # fmt: skip


IMAGES = {"features": 784, "outputs": 10, "source": "uint8", "scale": 1 / 255}
NUMBER = {"outputs": 1, "loss": "mse"}
BINARY = {"outputs": 1, "loss": "sigmoid_cross_entropy"}
WORKLOADS = {
    "mnist-mlp": Case(
        mlp(512, 64, 32, 10), SGD(0.1), samples=230, batch_size=50, **IMAGES
    ),
    "mnist-mlp with noise": Case(
        mlp(512, 64, 32, 10, noise=True), SGD(0.1), samples=230, batch_size=50, **IMAGES
    ),
    "sigmoid": Case(
        mlp(500, 250, 100, 10, activation="sigmoid"), SGD(0.1, 0.9), samples=300, batch_size=64,
        **IMAGES,
    ),
    "784-128-10": Case(mlp(128, 10), SGD(0.1), samples=450, batch_size=100, **IMAGES),
    "higgs": Case(
        mlp(300, 300, 300, 300, 300, 1, activation="tanh"), Adam(0.001), 28, samples=450,
        batch_size=100, **BINARY,
    ),
    "eggholder": Case(mlp(64, 64, 1), SGD(0.01), 2, samples=3500, batch_size=1000, **NUMBER),
    "tiny": Case(
        mlp(16, 16, 1, activation="tanh"), Adam(0.001), 4, samples=100, batch_size=32, **NUMBER
    ),
    "binary": Case(mlp(20, 1), Adam(0.001), 20, samples=100, batch_size=16, **BINARY),
    "dying": Case(mlp(*[2] * 10, 1), Adam(0.001), 1, samples=300, batch_size=64, **NUMBER),
    "matrix exponential": Case(
        mlp(32, 16, 4, activation="tanh"), Adam(0.001), 4, 4, 10_000, 10_000, "mse"
    ),
    "lenet": Case(lenet, Adam(0.001), samples=100, batch_size=40, shape=(28, 28, 1), **IMAGES),
    "lenet with norms": Case(
        normed_lenet, SGD(0.01, 0.9), samples=100, batch_size=40, shape=(28, 28, 1), **IMAGES
    ),
    "weighted": Case(
        mlp(64, 64, 3), SGD(0.01, 0.9), samples=500, batch_size=230, loss="hinge", weighted=True
    ),
    "wide": Case(mlp(1100, 1030, 7), RMSprop(0.001), 33, 7, samples=70, batch_size=64),
    # Layers whose optimizer state stays in its flat vectors, in whole and in part vectors.
    "large state": Case(
        mlp(530, 1003, 7), RMSprop(0.001, momentum=0.5, centered=True, weight_decay=0.01,
        decay_bias=False), 513, 7, samples=70, batch_size=64,
    ),
    "large state and batch": Case(
        mlp(520, 517, 7), Adam(0.001), 33, 7, samples=700, batch_size=300,
    ),
    "mnist-mlp, whole gradients": Case(
        mlp(512, 64, 32, 10, kernel_regularizer=L1L2(1e-5, 1e-4), kernel_constraint=MaxNorm(1.5)),
        AdamW(0.001, decay_bias=False, global_clipnorm=0.5, gradient_accumulation_steps=2),
        samples=230, batch_size=50, regularizer=Norm(1e-3), **IMAGES,
    ),
    "eggholder, whole gradients": Case(
        mlp(64, 64, 1, kernel_constraint="max_norm"), Adagrad(0.01, clipvalue=0.1), 2,
        samples=3500, batch_size=1000, regularizer=L2(1e-4), **NUMBER,
    ),
    "dying, whole gradients": Case(
        mlp(*[2] * 10, 1, bias_regularizer="l1"),
        Adam(0.001, global_clipnorm=0.1, gradient_accumulation_steps=3), 1, samples=300,
        batch_size=64, **NUMBER,
    ),
}  # fmt: skip


CHUNKED = [
    "mnist-mlp with noise", "tiny", "higgs", "lenet with norms", "weighted",
    "mnist-mlp, whole gradients",
]  # fmt: skip


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", WORKLOADS)
def test_the_same_bits_for_any_number_of_threads_and_run_to_run(name, backend, dtype):
    case = WORKLOADS[name]
    first = trained(case, 7, dtype, 1, backend=backend)
    assert np.isfinite(first.model.parameters).all()
    for count in (1, 2, 3, 4, 2):
        assert trained(case, 7, dtype, count, backend=backend).bits == first.bits, count


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads_agree(name, backend):
    case = WORKLOADS[name]
    mlcore.set_num_threads(2)
    sides = python(case, "float64"), native(case, "float64", backend)
    totals = [side.advance(0, 7) for side in sides]
    assert_same_totals(*totals, "float64")
    assert_close(sides[1].tensors, sides[0].tensors, 1e-9, name)
    assert_close(sides[1].state, sides[0].state, 1e-9, name)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", CHUNKED)
def test_the_same_bits_in_any_chunks(name, count):
    case, steps = WORKLOADS[name], WORKLOADS[name].steps
    whole = trained(case, 2 * steps, count=count)
    for chunk in (1, 3):
        parts = native(case)
        parts.advance(0, 2 * steps, chunk=chunk)
        assert parts.bits == whole.bits


@pytest.mark.parametrize("name", ["mnist-mlp", "weighted"])
def test_sums_do_not_depend_on_the_chunks(name):
    case = WORKLOADS[name]
    totals = [
        native(case, "float64").advance(0, case.steps, chunk=chunk) for chunk in (1, 2, 10**9)
    ]
    assert totals[0] == totals[1] == totals[2]


def test_a_huge_number_of_threads_is_cut_down():
    case = WORKLOADS["higgs"]
    bits = trained(case, 2, count=1).bits
    assert trained(case, 2, count=10**8).bits == bits


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
@pytest.mark.parametrize("widths", [(1, 1), (15, 17), (128, 10), (129, 300), (784, 127, 16)])
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_predictions_of_a_few_samples_have_the_bits_of_many(backend, dtype, widths, samples):
    layers = [Dense(width, "tanh") for width in widths[1:]]
    model = Sequential(layers, seed=1, dtype=dtype, backend=backend).build(widths[0])
    model.parameters[...] += 0.01
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, widths[0])).astype(dtype)
    many = model.predict(x)
    few = model.predict(x[:samples])
    assert few.tobytes() == many[:samples].tobytes()
    model.parameters[...] *= 2
    assert model.predict(x[:samples]).tobytes() == model.predict(x)[:samples].tobytes()
    np.testing.assert_array_equal(
        model.predict(x[:samples][:, ::-1][:, ::-1]), model.predict(x[:samples])
    )
    x[0, 0] = np.nan
    with pytest.raises(mlcore.kernels.errors.InputError, match="nan at"):
        model.predict(x[:samples])


def test_the_number_of_threads_may_change_between_chunks():
    case = WORKLOADS["mnist-mlp with noise"]
    side = native(case)
    for step, count in enumerate([3, 1, 2, 4, 1]):
        mlcore.set_num_threads(count)
        side.advance(step, step + 1)
    assert side.bits == trained(case, 5, count=2).bits


@pytest.mark.parametrize("name", ["mnist-mlp", "tiny", "higgs", "mnist-mlp, whole gradients"])
def test_changes_between_runs_are_seen(name):
    case = WORKLOADS[name]
    sides = native(case, "float64"), python(case, "float64")
    for side in sides:
        side.advance(0, 2)
        side.model.parameters[...] *= 0.9
        side.advance(2, 3)
        side.model.layers[0].weight[0, 0] = 0.5
        for vector in side.state.values():
            vector[::2] *= 0.5
        side.advance(3, 4)
    assert_close(sides[0].tensors, sides[1].tensors, 1e-9, "parameters")
    assert_close(sides[0].state, sides[1].state, 1e-9, "state")


def test_two_executors_over_the_same_parameters():
    """A prediction between two runs sees what was trained, and training sees what was set."""
    case = WORKLOADS["tiny"]
    outputs = []
    for kind in (NativeExecutor, PythonExecutor):
        side = Side(case, kind, BACKENDS[0], "float64")
        for step in range(3):
            side.advance(step, step + 1)
            outputs.append(side.model.predict(side.inputs))
            side.model.parameters[...] *= 1.1
    for found, wanted in zip(outputs[:3], outputs[3:], strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)


def nan_in_inputs(side):
    side.inputs[side.case.order(0)[7 * side.case.batch_size + 1], 2] = np.nan


def nan_in_second_weight(side):
    side.model.layers[1].weight[3, 1] = np.nan


def infinite_target(side):
    side.targets.array[side.case.order(0)[5 * side.case.batch_size], 0] = np.inf


def far_too_large_weights(side):
    side.model.layers[0].weight[...] = 1e300 if side.model.dtype == np.float64 else 1e38


def nothing(_side):
    pass


FAULTS = [
    (nan_in_inputs, 0.01, "softmax_cross_entropy"),
    (nan_in_second_weight, 0.01, "softmax_cross_entropy"),
    (infinite_target, 0.01, "mse"),
    (far_too_large_weights, 0.01, "mse"),
    (nothing, 1e250, "mse"),
]


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("fault", "rate", "loss"), FAULTS)
def test_a_loss_that_is_not_finite(fault, rate, loss, backend, dtype):
    if dtype == "float32":
        rate = min(rate, 1e30)
    case = Case(
        lambda: [Dense(40, "elu"), Dense(9, "leaky_relu"), Dense(3)], SGD(rate, 0.9),
        samples=80, loss=loss,
    )  # fmt: skip
    errors, totals, sides = [], [], []
    for side in (python(case, dtype, change=fault), native(case, dtype, backend, change=fault)):
        before = Totals()
        with pytest.raises(NonFiniteLossError) as caught:
            side.advance(0, 12, before)
        side.sync()
        errors.append(caught.value)
        totals.append(before)
        sides.append(side)
    right, found = errors
    assert (found.step, found.layer, found.tensor) == (right.step, right.layer, right.tensor)
    assert found.tensor in str(found)
    assert f"step {right.step + 1}" in str(found)
    assert totals[1].samples == totals[0].samples == right.step * case.batch_size
    assert totals[1].loss == pytest.approx(totals[0].loss, rel=CLOSE[dtype])
    whole = native(case, dtype, backend, change=fault)
    whole.advance(0, right.step)
    assert sides[1].bits == whole.bits


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_goes_on_after_a_loss_that_was_not_finite(backend):
    case = EDGES["short last batch of one"]
    side, clean = native(case, backend=backend), native(case, backend=backend)
    side.advance(0, 1)
    row = side.case.order(0)[2 * case.batch_size]
    right, side.inputs[row] = side.inputs[row].copy(), np.nan
    with pytest.raises(NonFiniteLossError) as caught:
        side.advance(1, 3)
    side.inputs[row] = right
    side.advance(caught.value.step, 3)
    clean.advance(0, 3)
    assert side.bits == clean.bits


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_the_guard_nan_goes_on(backend):
    case = EDGES["short last batch of one"]
    settings = {"change": nan_in_second_weight, "guard": False}
    sides = python(case, "float32", **settings), native(case, "float32", backend, **settings)
    totals = [side.advance(0, 4) for side in sides]
    assert np.isnan([total.loss for total in totals]).all()
    assert totals[0].samples == totals[1].samples
    for name, right in sides[0].tensors.items():
        np.testing.assert_array_equal(np.isnan(sides[1].tensors[name]), np.isnan(right), name)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", CHUNKED)
def test_nothing_is_allocated_while_training(name, count):
    """What Python, NumPy and the kernels allocate, and what the process holds after many steps."""
    case = WORKLOADS[name]
    side = trained(case, 10, count=count)
    order = case.order(0)

    def train(epochs):
        for epoch in range(epochs):
            side.executor.run(
                order, 0, case.steps, step=epoch * case.steps, update=epoch * case.steps,
                learning_rate=1e-5,
            )  # fmt: skip

    train(2)
    resident = resident_bytes()
    tracemalloc.start()
    try:
        train(40)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32_000, f"{peak} bytes were allocated"
    assert resident_bytes() - resident < 500_000


def resident_bytes():
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        pytest.skip("the system does not say how much memory a process holds")
    return pages * os.sysconf("SC_PAGE_SIZE")


PREAMBLE = """
import os, signal, sys, threading, time
import numpy as np
import mlcore
from mlcore.callbacks import Callback

rng = np.random.default_rng(0)
x = rng.integers(0, 256, (SAMPLES, 784), np.uint8)
y = rng.integers(0, 10, SAMPLES)

def made(width=512):
    return mlcore.Sequential(
        [mlcore.Dense(width, "relu"), mlcore.Dropout(0.1), mlcore.Dense(64, "relu"),
         mlcore.Dense(10)], seed=5, backend=BACKEND)

def fit(model, epochs=1, rows=None, **settings):
    data = mlcore.Dataset(x[:rows], y[:rows])
    settings = dict(batch_size=50, verbose=0, evaluate_train=False, **settings)
    model.fit(data, optimizer=mlcore.SGD(0.05, 0.9), epochs=epochs, **settings)
    return model

def bits(model):
    return model.parameters.tobytes()

def tasks():
    return len(os.listdir("/proc/self/task"))
"""


def run_script(code, *, samples=2_000, backend=None, seconds=TIME_LIMIT, **environment):
    """Run a script in a process of its own, which must end by itself and without complaint."""
    preamble = PREAMBLE.replace("SAMPLES", str(samples)).replace(
        "BACKEND", repr(backend or BACKENDS[0])
    )
    # Elsewhere than in a checkout, whose sources would be imported in place of what is installed.
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [sys.executable, "-c", preamble + textwrap.dedent(code)],
            env={**os.environ, **environment}, capture_output=True, text=True, timeout=seconds,
            check=False, cwd=folder,
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork and no SIGINT")


@posix
@pytest.mark.parametrize("count", [1, 2])
def test_ctrl_c_stops_soon_with_the_parameters_of_a_whole_step(count):
    out = run_script(
        """
        sent, model = [], made()

        class Begun(Callback):
            def __init__(self):
                self.event = threading.Event()
            def on_progress(self, *_):
                self.event.set()

        def interrupt():
            begun.event.wait()
            time.sleep(0.12)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        begun = Begun()
        threading.Thread(target=interrupt).start()
        try:
            fit(model, 1_000, callbacks=begun)
            sys.exit("fit ended by itself")
        except KeyboardInterrupt:
            took = time.perf_counter() - sent[0]
        # Going on leads to the bits of a run that was never stopped.
        epochs = model.progress.epoch + 2
        assert model.progress.steps > 0
        assert bits(fit(model, epochs, resume=True)) == bits(fit(made(), epochs))
        print(took)
        """,
        MLCORE_NUM_THREADS=str(count),
    )
    # 100 ms is what is wanted; the machine that runs the tests may be busy.
    assert float(out) < 1


@posix
def test_several_python_threads_train_at_once():
    run_script(
        """
        alone = {width: bits(fit(made(width), 3)) for width in (512, 100, 16)}
        before, most = tasks(), 0
        widths = [512, 100, 16, 512, 100, 16, 512, 512]
        found = [None] * len(widths)

        def train(at):
            found[at] = bits(fit(made(widths[at]), 3))

        workers = [threading.Thread(target=train, args=(at,)) for at in range(len(widths))]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            most = max(most, tasks())
            time.sleep(0.01)
        assert found == [alone[width] for width in widths]
        # The engine's workers are the same few, however many train.
        assert most <= before + len(widths), (before, most)
        """,
        MLCORE_NUM_THREADS="3",
    )


FORK = """
def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hangs"
"""


@posix
def test_a_child_trains_after_its_parent_did():
    run_script(
        FORK
        + textwrap.dedent(
            """
            expected = bits(fit(made()))
            for _ in range(3):
                assert in_child(lambda: bits(fit(made())) == expected) == 0
                assert bits(fit(made())) == expected
            grandchild = lambda: in_child(lambda: bits(fit(made())) == expected) == 0
            assert in_child(grandchild) == 0
            """
        ),
        MLCORE_NUM_THREADS="3",
    )


@posix
def test_a_child_trains_that_was_forked_in_the_middle_of_training():
    run_script(
        FORK
        + textwrap.dedent(
            """
            expected = bits(fit(made()))
            stop = threading.Event()

            def keep_training():
                while not stop.is_set():
                    fit(made())

            other = threading.Thread(target=keep_training)
            other.start()
            try:
                for _ in range(5):
                    time.sleep(0.05)
                    assert in_child(lambda: bits(fit(made())) == expected) == 0
            finally:
                stop.set()
                other.join()
            """
        ),
        MLCORE_NUM_THREADS="2",
    )


def test_workers_sleep_when_nothing_trains():
    out = run_script(
        """
        fit(made())
        began = time.process_time()
        time.sleep(0.5)
        print(time.process_time() - began)
        """,
        MLCORE_NUM_THREADS="4",
    )
    assert float(out) < 0.02


@posix
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads cannot be counted")
@pytest.mark.parametrize("name", ["MLCORE_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_environment_says_how_many_threads_work(name, count):
    out = run_script(
        """
        before = tasks()
        fit(made())
        print(tasks() - before)
        """,
        OPENBLAS_NUM_THREADS="1", **{name: str(count)},
    )  # fmt: skip
    assert int(out) == count - 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_denormals_are_the_callers_as_before(backend):
    run_script(
        """
        def denormals():
            halves = np.full(64, 1e-310) / np.full(64, 2.0)
            small = np.full(64, 1e-40, np.float32) * np.full(64, 0.5, np.float32)
            return bool((halves > 0).all() and (small > 0).all() and 5e-324 * 1.0 > 0)

        def in_a_thread():
            found = []
            worker = threading.Thread(target=lambda: found.append(denormals()))
            worker.start()
            worker.join()
            return found[0]

        class Looks(Callback):
            seen = 0
            def on_progress(self, *_):
                assert denormals() and in_a_thread(), "while training"
                self.seen += 1

        looks = Looks()
        assert denormals()
        model = fit(made(), 2, callbacks=looks)
        assert looks.seen and denormals() and in_a_thread()
        model.predict(x)
        assert denormals() and in_a_thread()
        x[0] = 0
        model.parameters[0] = np.nan
        try:
            fit(model)
        except mlcore.NonFiniteLossError:
            pass
        assert denormals() and in_a_thread()
        """,
        backend=backend,
        MLCORE_NUM_THREADS="3",
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_deep_networks_of_a_few_units_have_the_same_bits_for_any_number_of_threads(backend):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2048, 8)), rng.integers(0, 8, 2048)

    def bits(count):
        mlcore.set_num_threads(count)
        model = Sequential([Dense(8, "tanh") for _ in range(9)], seed=1, backend=backend)
        model.fit(x, y, optimizer=SGD(0.1), epochs=2, batch_size=1024, verbose=0)
        return model.parameters.tobytes()

    assert bits(1) == bits(2) == bits(4)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("apart", [False, True])
def test_narrow_networks_do_not_see_what_stood_in_the_scratch(apart, backend, dtype, monkeypatch):
    def layers():
        hidden = [Dense(48), Activation("gelu")] if apart else [Dense(48, "gelu")]
        return [Dense(48, "silu"), *hidden, Dense(1)]

    # The second thread begins with the short group, whose last vector is not full.
    case = Case(layers, SGD(0.01), 8, 1, 199, 199, "mse")
    clean, empty = trained(case, 3, dtype, 2, backend=backend).bits, np.empty

    def used_before(shape, dtype=float, **given):
        array = empty(shape, dtype, **given)
        if array.dtype == np.uint8:
            array.fill(255)  # As a float, NaN.
        return array

    monkeypatch.setattr(np, "empty", used_before)
    assert trained(case, 3, dtype, 2, backend=backend).bits == clean


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_lies_behind_the_last_sample_may_overflow(backend, dtype):
    """Only for samples does the activation keep the numbers small from layer to layer."""

    def layers():
        steep = {"name": "constant", "value": 1e15}
        return [*(Dense(8, "tanh", kernel_initializer=steep) for _ in range(25)), Dense(1)]

    assert_agreement(Case(layers, SGD(0.01), 5, 1, 37, 21, "mse"), backend, dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_predictions_of_a_few_samples_follow_the_layers(backend):
    model = Sequential([Dense(4, "relu"), Dense(3)], seed=1, backend=backend).build(5)
    x = np.random.default_rng(0).random((20, 5), np.float32)
    model.predict(x[:2])
    model.layers[-1].activation = Dense(3, "softmax").activation
    assert model.predict(x[:2]).tobytes() == model.predict(x)[:2].tobytes()
    with pytest.raises(mlcore.kernels.errors.InputError, match="batch_size"):
        model.predict(x[:2], batch_size=0)


def test_predicting_keeps_no_hold_on_the_samples():
    model = Sequential([Dense(3)], seed=1).build(5)
    samples = np.zeros((100, 5), np.float32)
    model.predict(samples[:2])
    gone = weakref.ref(samples)
    del samples
    assert gone() is None


def drawn_size(rng, length, most=4):
    return int(rng.integers(1, min(length, most) + 1))


def drawn_stage(rng, shape):
    """Return a random stage of a convolutional network for samples of `shape`."""
    axes = len(shape) - 1
    convolve = layers.Conv2D if axes == 2 else layers.Conv1D
    sizes = tuple(drawn_size(rng, length) for length in shape[:-1])
    padding = str(rng.choice(["valid", "same"]))
    bare = rng.random() < 0.4
    specs: list[Callable[[], Any]] = []
    filters, strides = int(rng.integers(1, 21)), int(rng.integers(1, 3))
    activation = "identity" if bare else spatial_activation(rng)
    settings = {"use_bias": bool(rng.random() < 0.8), "trainable": bool(rng.random() < 0.85)}
    specs.append(
        lambda: convolve(filters, sizes, strides, padding, activation=activation, **settings)
    )
    if bare:
        norm = drawn_norm(rng)
        following = spatial_activation(rng)
        specs += [norm, lambda: Activation(following)]
    if rng.random() < 0.3:
        specs.append(lambda: Dropout(0.2))
    if rng.random() < 0.6:
        pool = layers.MaxPool if rng.random() < 0.5 else layers.AvgPool
        size, stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        specs.append(lambda: pool(size, stride, "same"))
    if rng.random() < 0.2:
        specs.append(drawn_norm(rng))
    return specs


def spatial_activation(rng):
    return str(rng.choice(["relu", "tanh", "sigmoid", "silu", "gelu", "leaky_relu", "identity"]))


def drawn_norm(rng):
    scale, center = bool(rng.random() < 0.8), bool(rng.random() < 0.8)
    trainable = bool(rng.random() < 0.8)
    if rng.random() < 0.7:
        return lambda: layers.BatchNorm(0.8, 1e-2, center, scale, trainable=trainable)
    return lambda: layers.LayerNorm(1e-2, center=center, scale=scale, trainable=trainable)


@cache
def drawn_spatial_case(seed):
    """Return a random network with convolutions, pools, norms or lookups."""
    rng = np.random.default_rng(seed)
    specs: list[Callable[[], Any]] = []
    vocabulary = 0
    if seed % 4 == 0:
        vocabulary, length, width = int(rng.integers(2, 30)), int(rng.integers(3, 20)), 5
        shape: tuple[int, ...] = (length, width)
        given: tuple[int, ...] = (length,)
        specs.append(lambda: layers.Embedding(vocabulary, width))
    elif seed % 4 == 1:
        given = (int(rng.integers(1, 40)),)
        specs += [drawn_norm(rng), lambda: Dense(9), drawn_norm(rng), lambda: Activation("tanh")]
        shape = ()
    else:
        given = shape = (*(int(n) for n in rng.integers(5, 13, 2)), int(rng.choice([1, 2, 3, 7])))
    for _ in range(int(rng.integers(1, 3)) if shape else 0):
        specs += drawn_stage(rng, shape)
        # Later windows must fit what earlier ones leave.
        shape = (1,) * len(shape)
    if shape:
        end = layers.GlobalAvgPool if rng.random() < 0.3 else layers.Flatten
        specs.append(lambda: end())
    if rng.random() < 0.5:
        specs += [lambda: Dense(12), drawn_norm(rng), lambda: Activation("relu")]
    specs.append(lambda: Dense(3))
    samples = int(rng.integers(2, 60))
    source = "uint8" if vocabulary or rng.random() < 0.5 else "float32"
    momentum = float(rng.choice([0.0, 0.9]))
    return Case(
        lambda: [spec() for spec in specs],
        # A norm takes away what the shift before it adds, whose gradient is then rounding, and
        # optimizers that divide by its size would make steps of it.
        SGD(5e-4, momentum, weight_decay=0.01, decay_bias=bool(rng.random() < 0.5)),
        features=int(np.prod(given)),
        samples=samples,
        batch_size=int(rng.choice([1, 2, 7, 16, 33, samples, samples + 9])),
        source=source,
        scale=1 / 255 if source == "uint8" and not vocabulary else 1.0,
        seed=seed,
        factors=[1.0, 0.7, 0.4],
        shape=given,
        vocabulary=vocabulary,
    )


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(40))
def test_random_spatial_networks(seed, backend, dtype):
    mlcore.set_num_threads(1 + seed % 4)
    assert_agreement(drawn_spatial_case(seed), backend, dtype)
