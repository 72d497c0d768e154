"""What `train.py` trains: the networks, their data, and the weights they start from."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]
Data = tuple[Real, NDArray[Any]]
Draw = Callable[[np.random.Generator, int], Data]

SEED = 11
EVALUATED = 2_000
FILTER = 5
# Keras' default.
NORM_EPSILON = 1e-3


class Stage(NamedTuple):
    """A part of the forward pass.

    Attributes
    ----------
    kind : str
        "noise", "convolution", "normalize", "activate", "pool", "flatten" or "dense".
    shape : tuple of int
        Of the weight: (size, size, channels, filters) or (fan_in, fan_out), and (features,) of the
        factors of "normalize". The bias, or shift, has the last one. Empty without parameters; what
        a sample was, (height, width, channels), for "flatten".
    positions : int
        Where a convolution puts its filters.
    stddev : float
        Of the noise.
    padding : {"valid", "same"}
        Of a convolution.
    """

    kind: str
    shape: tuple[int, ...] = ()
    positions: int = 1
    stddev: float = 0.0
    padding: str = "valid"


@dataclass(frozen=True)
class Workload:
    """A network, how it is trained, and on what.

    Attributes
    ----------
    name : str
    widths : tuple of int
        Of the dense layers, from the input's to the output's.
    activation : str
        Of the hidden layers; the last one gives logits, or values.
    loss : str
        As mlcore names it. softmax_cross_entropy has labels (n,), others targets (n, outputs).
    batch_size : int
    optimizer : {"sgd", "adam"}
    learning_rate, momentum : float
    draw : callable
        Returns inputs and targets, given a generator and how many.
    samples : int
        In an epoch, by default; cut to whole batches, since a compiled loop has one shape.
    shuffle : bool
        Whether each epoch goes through the samples in an order of its own.
    noise : tuple of float
        Standard deviations of the Gaussian noise on the input, on the first hidden activations,
        and so on.
    positive : bool
        Whether the initial weights are made positive, so that a deep narrow relu network is not
        dead from the start; dead units would make equal work look equal whatever the sides do.
    image : tuple of int
        Height, width and channels of a sample, if convolutions come first.
    convolutions : tuple of (int, str)
        How many 5x5 filters, and "valid" or "same"; 2x2 pooling behind each.
    pooling : {"max", "average"}
    normalized : bool
        Whether batch normalization stands before each activation.
    """

    name: str
    widths: tuple[int, ...]
    activation: str
    loss: str
    batch_size: int
    optimizer: str
    learning_rate: float
    draw: Draw
    momentum: float = 0.0
    samples: int = 20_000
    shuffle: bool = True
    noise: tuple[float, ...] = ()
    positive: bool = False
    image: tuple[int, int, int] = (0, 0, 0)
    convolutions: tuple[tuple[int, str], ...] = ()
    pooling: str = "max"
    normalized: bool = False

    @property
    def stages(self) -> list[Stage]:
        """The forward pass."""
        found: list[Stage] = []
        height, width, channels = self.image
        for filters, padding in self.convolutions:
            if padding == "valid":
                height, width = height - FILTER + 1, width - FILTER + 1
            shape = (FILTER, FILTER, channels, filters)
            found.append(Stage("convolution", shape, height * width, padding=padding))
            found += self._activated(filters)
            found.append(Stage("pool"))
            height, width, channels = height // 2, width // 2, filters
        if self.convolutions:
            found.append(Stage("flatten", (height, width, channels)))
        for at, (fan_in, fan_out) in enumerate(pairwise(self.widths)):
            if at < len(self.noise):
                found.append(Stage("noise", stddev=self.noise[at]))
            found.append(Stage("dense", (fan_in, fan_out)))
            if at < len(self.widths) - 2:
                found += self._activated(fan_out)
        return found

    def _activated(self, features: int) -> list[Stage]:
        norm = [Stage("normalize", (features,))] if self.normalized else []
        return [*norm, Stage("activate")]

    @property
    def flops(self) -> int:
        """Floating-point operations of a step's matrix products, and of convolutions as such.

        Forward, weight gradient and input gradient take 2*B*K*N each; nobody needs the gradient
        of the data, so the first layer has no third one.
        """
        products = [
            stage.positions * math.prod(stage.shape)
            for stage in self.stages
            if stage.kind in ("convolution", "dense")
        ]
        return 2 * self.batch_size * (3 * sum(products) - products[0])

    @property
    def learnt(self) -> list[Stage]:
        """The stages that have parameters."""
        return [s for s in self.stages if s.kind in ("convolution", "normalize", "dense")]

    @property
    def weights(self) -> int:
        """The number of parameters."""
        return sum(math.prod(stage.shape) + stage.shape[-1] for stage in self.learnt)

    def data(self, samples: int | None = None) -> Data:
        """Return inputs and targets of whole batches, always the same ones."""
        wanted = samples or self.samples
        x, y = self.draw(np.random.default_rng(SEED), wanted)
        whole = len(x) // self.batch_size * self.batch_size
        if not whole:
            raise SystemExit(f"{self.name} needs at least {self.batch_size} samples")
        return np.ascontiguousarray(x[:whole], np.float32), y[:whole]

    def initial(self) -> Real:
        """Return initial parameters, flat, the weight of each stage before its bias.

        Normal with variance 2 / fan_in for relu, else 2 / (fan_in + fan_out); biases are zero, and
        factors of normalization one.
        Positive weights sum to one for every unit, so that depth changes no scale; biases are 0.1
        there, and every other unit of the first layer has its sign turned: else half of the samples
        would give the same activations, and jump over a kink together.
        """
        rng = np.random.default_rng(SEED)
        flat = np.zeros(self.weights, np.float32)
        for number, (weight, bias) in enumerate(self.split(flat)):
            if weight.ndim == 1:
                weight[...] = 1
                continue
            *around, channels, fan_out = weight.shape
            size = math.prod(around)
            variance = 2 / (size * channels + (0 if self.activation == "relu" else size * fan_out))
            weight[...] = rng.standard_normal(weight.shape) * np.sqrt(variance)
            if self.positive:
                weight[...] = np.abs(weight) / np.abs(weight).sum(axis=0)
                bias[...] = 0.1
                if not number:
                    weight[:, 1::2] *= -1
        return flat

    def split(self, flat: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """Return weight and bias of each stage that has them, as views."""
        views, start = [], 0
        for stage in self.learnt:
            middle = start + math.prod(stage.shape)
            stop = middle + stage.shape[-1]
            views.append((flat[start:middle].reshape(stage.shape), flat[middle:stop]))
            start = stop
        return views

    @property
    def felt(self) -> NDArray[np.bool_]:
        """Which parameters the loss depends on.

        Normalization takes away a bias in front of it, and rounding is all that moves it then.
        """
        found = np.ones(self.weights, bool)
        for stage, (_, bias) in zip(self.learnt, self.split(found), strict=True):
            bias[...] = not (self.normalized and stage.kind != "normalize")
        # Behind the last layer there is no normalization.
        found[-self.widths[-1] :] = True
        return found

    def evaluate(self, parameters: NDArray[Any], x: Real, y: NDArray[Any]) -> float:
        """Return the loss on the first samples without noise, in float64.

        Normalization goes by their own mean and variance, as it does in training.
        """
        values, targets = x[:EVALUATED].astype(np.float64), y[:EVALUATED]
        if self.convolutions:
            values = values.reshape(-1, *self.image)
        pairs = iter(self.split(parameters.astype(np.float64)))
        for stage in self.stages:
            if stage.kind == "convolution":
                values = convolved(values, *next(pairs), padding=stage.padding)
            elif stage.kind == "dense":
                weight, bias = next(pairs)
                values = values @ weight + bias
            elif stage.kind == "normalize":
                factor, shift = next(pairs)
                axes = tuple(range(values.ndim - 1))
                spread = np.sqrt(values.var(axis=axes) + NORM_EPSILON)
                values = (values - values.mean(axis=axes)) / spread * factor + shift
            elif stage.kind == "activate":
                values = ACTIVATIONS[self.activation](values)
            elif stage.kind == "pool":
                values = pooled(values, self.pooling)
            elif stage.kind == "flatten":
                values = values.reshape(len(values), -1)
        if self.loss == "mse":
            return float(np.mean((values - targets) ** 2))
        if self.loss == "sigmoid_cross_entropy":
            return float(np.mean(np.logaddexp(0, values) - values * targets))
        picked = values[np.arange(len(targets)), targets]
        return float(np.mean(np.logaddexp.reduce(values, axis=1) - picked))


ACTIVATIONS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 0.5 + 0.5 * np.tanh(0.5 * z),
}


def convolved(
    x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any], *, padding: str
) -> NDArray[Any]:
    """Return x (n, height, width, channels) convolved with (size, size, channels, filters)."""
    if padding == "same":
        edge = (len(weight) // 2, len(weight) // 2)
        x = np.pad(x, ((0, 0), edge, edge, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[:2], axis=(1, 2))
    return np.tensordot(windows, weight.transpose(2, 0, 1, 3), axes=3) + bias


def pooled(x: NDArray[Any], pooling: str) -> NDArray[Any]:
    """Return the largest or the mean of each 2x2 square of (n, height, width, channels)."""
    n, height, width, channels = x.shape
    squares = x.reshape(n, height // 2, 2, width // 2, 2, channels)
    return squares.max(axis=(2, 4)) if pooling == "max" else squares.mean(axis=(2, 4))


def mnist(rng: np.random.Generator, samples: int) -> Data:
    """Return MNIST where the environment variable MLCORE_DATA has it, else data of its shape."""
    if os.environ.get("MLCORE_DATA"):
        from mlcore.data import load

        train = load("mnist").train
        x = train.inputs[:samples].astype(np.float32) * np.float32(train.scale)
        return x, np.asarray(train.targets[:samples], np.int64)
    return classes(rng, samples, features=784, outputs=10)


def classes(rng: np.random.Generator, samples: int, *, features: int, outputs: int) -> Data:
    """Return features that are mostly zero, as ink is, and the largest of some sums of them."""
    ink = rng.random((samples, features), dtype=np.float32)
    x = np.where(ink > 0.8, 5 * ink - 4, np.float32(0))
    return x, (x @ rng.standard_normal((features, outputs), dtype=np.float32)).argmax(axis=1)


def collisions(rng: np.random.Generator, samples: int) -> Data:
    """Return 28 features, and whether a smooth function of them is positive."""
    x = rng.standard_normal((samples, 28), dtype=np.float32)
    score = np.sin(2 * x[:, :14]).sum(axis=1) + (x[:, 14:21] * x[:, 21:]).sum(axis=1)
    return x, (score > 0).astype(np.float32)[:, None]


def eggholder(rng: np.random.Generator, samples: int) -> Data:
    """Return points of the Eggholder function on [-512, 512]**2, both scaled to about one."""
    a, b = points = rng.uniform(-512, 512, (2, samples))
    height = -(b + 47) * np.sin(np.sqrt(np.abs(b + a / 2 + 47))) - a * np.sin(
        np.sqrt(np.abs(a - b - 47))
    )
    return (points.T / 512).astype(np.float32), (height / 512).astype(np.float32)[:, None]


def waves(rng: np.random.Generator, samples: int) -> Data:
    """Return four numbers, and a smooth function of them."""
    x = rng.uniform(-1, 1, (samples, 4)).astype(np.float32)
    return x, np.sin(3 * x).mean(axis=1, keepdims=True)


def coin_flips(rng: np.random.Generator, samples: int) -> Data:
    """Return sequences of 20 flips, and whether they alternate too often."""
    made_up = rng.random((samples, 1)) < 0.5
    switches = rng.random((samples, 20)) < np.where(made_up, 0.6, 0.5)
    return (switches.cumsum(axis=1) % 2).astype(np.float32), made_up.astype(np.float32)


def absolute(rng: np.random.Generator, samples: int) -> Data:
    """Return x from [-sqrt 7, sqrt 7], and \\|x\\|."""
    x = rng.uniform(-(7**0.5), 7**0.5, (samples, 1)).astype(np.float32)
    return x, np.abs(x)


def matrix_exponential(rng: np.random.Generator, samples: int) -> Data:
    """Return 2x2 matrices with normal elements, and their exponentials.

    With s half the trace and q**2 = s**2 - det, exp(A) = exp(s) (cosh(q) I + sinh(q)/q (A - s I)).
    """
    a = rng.standard_normal((samples, 2, 2))
    s = np.trace(a, axis1=1, axis2=2)[:, None, None] / 2
    rest = a - s * np.eye(2)
    q = np.sqrt(-np.linalg.det(rest).astype(complex))[:, None, None]
    exponential = (np.exp(s) * (np.cosh(q) * np.eye(2) + np.sinh(q) / q * rest)).real
    return a.reshape(-1, 4).astype(np.float32), exponential.reshape(-1, 4).astype(np.float32)


_SOFTMAX, _SIGMOID = "softmax_cross_entropy", "sigmoid_cross_entropy"
_MNIST_MLP = (784, 512, 64, 32, 10)

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("mnist-mlp", _MNIST_MLP, "relu", _SOFTMAX, 50, "sgd", 0.1, mnist),
        Workload(
            "mnist-mlp-noise", _MNIST_MLP, "relu", _SOFTMAX, 50, "sgd", 0.1, mnist,
            noise=(0.05, 0.05, 0.05),
        ),
        Workload("sigmoid", (784, 500, 250, 100, 10), "sigmoid", _SOFTMAX, 64, "sgd", 0.3, mnist),
        Workload("small-mlp", (784, 128, 10), "relu", _SOFTMAX, 100, "sgd", 0.1, mnist),
        Workload(
            "higgs", (28, *[300] * 5, 1), "tanh", _SIGMOID, 100, "adam", 3e-4, collisions,
        ),
        Workload(
            "eggholder", (2, 64, 64, 1), "relu", "mse", 1_000, "sgd", 0.005, eggholder,
            momentum=0.9, samples=80_000,
        ),
        Workload("tiny", (4, 16, 16, 1), "tanh", "mse", 32, "adam", 0.001, waves, samples=6_400),
        Workload(
            "binary", (20, 20, 1), "relu", _SIGMOID, 16, "adam", 0.001, coin_flips, samples=7_648,
        ),
        Workload(
            "dying", (1, *[2] * 11, 1), "relu", "mse", 64, "adam", 0.001, absolute,
            samples=12_800, positive=True,
        ),
        Workload(
            "matrix-exponential", (4, 32, 16, 4), "tanh", "mse", 10_000, "adam", 3e-4,
            matrix_exponential, samples=10_000, shuffle=False,
        ),
        Workload(
            "dll", (784, 500, 250, 10), "sigmoid", _SOFTMAX, 100, "sgd", 0.05, mnist, momentum=0.9,
        ),
        Workload(
            "lenet", (256, 120, 84, 10), "relu", _SOFTMAX, 128, "adam", 0.001, mnist,
            image=(28, 28, 1), convolutions=((6, "valid"), (16, "valid")), samples=12_800,
        ),
        Workload(
            "lenet-norm", (400, 120, 84, 10), "sigmoid", _SOFTMAX, 128, "adam", 0.001, mnist,
            image=(28, 28, 1), convolutions=((6, "same"), (16, "valid")), samples=12_800,
            pooling="average", normalized=True,
        ),
    )
}  # fmt: skip


def find(name: str) -> Workload | None:
    """Return a workload by its name, or make the one that widths and a batch size describe.

    ``64-256-10@8`` is a relu network of those widths with softmax cross-entropy and SGD, at batch
    size 8, with 200 steps an epoch.
    """
    described = re.fullmatch(r"(\d+(?:-\d+)+)@(\d+)", name)
    if not described:
        return WORKLOADS.get(name)
    widths = tuple(map(int, described[1].split("-")))
    batch = int(described[2])
    draw = partial(classes, features=widths[0], outputs=widths[-1])
    return Workload(name, widths, "relu", _SOFTMAX, batch, "sgd", 0.05, draw, samples=200 * batch)
