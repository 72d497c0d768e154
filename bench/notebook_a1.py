"""A training step of study A1: the notebook's arithmetic in NumPy, and mlcore.

``python bench/notebook_a1.py`` trains 784-512-64-32-10 with noise layers and batches of 50, once as
a student writes it (float64; softmax and tanh as lists, row by row; noise drawn by NumPy), once
with `model.fit`. Without noise both first have to come to the same weights. Then they take turns,
A B A B, and the table has the least step of each and their ratio; the study trains relu and tanh
equally often, so that the target, 15, is for both together. On one thread: MLCORE_NUM_THREADS=1
OPENBLAS_NUM_THREADS=1.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore import SGD, Dense, GaussianNoise, Sequential, system
from mlcore.plan import table

Array = NDArray[Any]

WIDTHS = (784, 512, 64, 32, 10)
BATCH, RATE, NOISE = 50, 0.1, 0.05
# Layers with noise before them are the first three; the last layer has softmax.
NOISY, LAST = 3, len(WIDTHS) - 2
STEPS, TIMES, ROUNDS, TARGET = 5, 200, 12, 15
# Long enough for the threads of NumPy's BLAS, which wait for more to do, to have gone to sleep.
PAUSE = 0.1
CHECKED_STEPS, TOLERANCE = 20, 1e-4


class Notebook:
    """The network as the notebook computes it, with the gradient divided by the batch size once.

    Parameters
    ----------
    weights, biases : list of ndarray
    activation : str
        "relu" or "tanh".
    noise : float
        Standard deviation of the noise on the input and on the first two hidden activations.
    """

    def __init__(
        self, weights: list[Array], biases: list[Array], activation: str, noise: float
    ) -> None:
        self.weights, self.biases = weights, biases
        self.activation, self.noise = activation, noise

    def activate(self, z: Array) -> Array:
        """Return the hidden activation of each row."""
        if self.activation == "relu":
            return np.maximum(z, 0)
        return np.array([[math.tanh(value) for value in row] for row in z])

    def slope(self, a: Array) -> Array:
        """Return the derivative of the activation, from what it gave."""
        if self.activation == "tanh":
            return np.array([[1 - value**2 for value in row] for row in a])
        slope = a.copy()
        slope[slope > 0] = 1
        slope[slope <= 0] = 0
        return slope

    def softmax(self, z: Array) -> Array:
        """Return the probabilities of each row."""
        powers = [[math.exp(value - max(row)) for value in row] for row in z]
        return np.array([[power / sum(row) for power in row] for row in powers])

    def step(self, x: Array, y: Array) -> float:
        """Learn from one batch, and return its loss."""
        inputs, outputs = [], [x]
        for at, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            given = outputs[-1]
            if at < NOISY and self.noise:
                given = given + np.random.normal(0, self.noise, given.shape)  # noqa: NPY002
            inputs.append(given)
            z = given @ weight + bias
            outputs.append(self.softmax(z) if at == LAST else self.activate(z))
        chances = outputs[-1]
        delta = (chances - np.eye(WIDTHS[-1])[y]) / len(x)
        for at in reversed(range(len(self.weights))):
            weight_gradient, bias_gradient = inputs[at].T @ delta, delta.sum(axis=0)
            if at:
                delta = delta @ self.weights[at].T * self.slope(outputs[at])
            self.weights[at] = self.weights[at] - RATE * weight_gradient
            self.biases[at] = self.biases[at] - RATE * bias_gradient
        return -float(np.mean([np.log(row[label]) for row, label in zip(chances, y, strict=True)]))


def network(activation: str, noise: float) -> Sequential:
    """Return mlcore's network."""
    layers: list[Any] = []
    for at, units in enumerate(WIDTHS[1:]):
        layers += [GaussianNoise(noise)] if at < NOISY and noise else []
        function = None if at == LAST else activation
        layers.append(Dense(units, function, kernel_initializer="he_normal"))
    return Sequential(layers, seed=0).build(WIDTHS[0])


def sides(activation: str, noise: float) -> tuple[Notebook, Sequential]:
    """Return both, at the same weights."""
    model = network(activation, noise)
    dense = [layer for layer in model.layers if isinstance(layer, Dense)]
    weights = [layer.weight.astype(float) for layer in dense]
    biases = [layer.bias.astype(float) for layer in dense]
    return Notebook(weights, biases, activation, noise), model


def train(side: Notebook | Sequential, x: Array, y: Array) -> None:
    """Go through the data once, in its order."""
    if isinstance(side, Sequential):
        side.fit(
            x, y, optimizer=SGD(RATE), batch_size=BATCH, shuffle=False, evaluate_train=False,
            verbose=0,
        )  # fmt: skip
    else:
        for start in range(0, len(x), BATCH):
            side.step(x[start : start + BATCH], y[start : start + BATCH])


def check(activation: str, x: Array, y: Array) -> None:
    """Raise AssertionError unless both sides come to the same weights without noise."""
    notebook, model = sides(activation, 0.0)
    count = CHECKED_STEPS * BATCH
    for side, values in ((notebook, x), (model, x.astype(np.float32))):
        train(side, values[:count], y[:count])
    dense = [layer.weight for layer in model.layers if isinstance(layer, Dense)]
    for own, theirs in zip(dense, notebook.weights, strict=True):
        apart = np.linalg.norm(own - theirs) / np.linalg.norm(theirs)
        assert apart < TOLERANCE, f"{activation}: the weights are {apart:.1e} apart"


def measure(activation: str, x: Array, y: Array) -> tuple[float, float]:
    """Return the least milliseconds of a step of both sides."""
    pair = sides(activation, NOISE)
    count = STEPS * BATCH
    given = (x[:count], x.astype(np.float32))
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(ROUNDS + 1):
        for side, values, times in zip(pair, given, taken, strict=True):
            time.sleep(PAUSE)
            begun = time.perf_counter()
            train(side, values, y[: len(values)])
            if turn:
                times.append((time.perf_counter() - begun) / (len(values) / BATCH))
    return 1e3 * min(taken[0]), 1e3 * min(taken[1])


def main() -> None:
    """Check, measure and print."""
    generator = np.random.default_rng(0)
    # So many more steps that they are an epoch of the study: what `fit` prepares counts in full.
    x = generator.random((TIMES * STEPS * BATCH, WIDTHS[0])) * (generator.random(WIDTHS[0]) < 0.5)
    y = generator.integers(0, WIDTHS[-1], len(x))
    measured = {}
    for activation in ("relu", "tanh"):
        check(activation, x, y)
        measured[activation] = measure(activation, x, y)
    measured["both"] = tuple(map(sum, zip(*measured.values(), strict=True)))
    lines = []
    for name, (slow, quick) in measured.items():
        reached = "reached" if slow / quick >= TARGET else f"missed: {TARGET} is wanted"
        lines.append(
            (name, f"{slow:.2f}", f"{quick:.3f}", f"{slow / quick:.1f}", reached * (name == "both"))
        )
    head = ("activation", "notebook [ms]", "mlcore [ms]", "ratio", "target")
    facts = system.report()
    print(f"{facts['processor']}, {facts['NumPy']}, threads: {facts['threads']}\n")
    print(table(head, lines, right=(1, 2, 3)))


if __name__ == "__main__":
    main()
