"""Training steps of three small networks, the Numba backend beside the NumPy one.

``python bench/numba_small.py`` prints the median microseconds of a step of `model.fit` under both
backends, and the median of their ratios. The sides take turns, A B A B, after the first epoch
gave both the same loss. The last column is what the executor takes for itself: a step whose
kernels do nothing. It needs Numba.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

import numpy as np

from mlcore import Dense, Sequential, kernels
from mlcore.optimizers import Adam
from mlcore.plan import table

ROUNDS = 40
STEPS = 100
SIDES = ("numpy", "numba", "nothing")


@dataclass(frozen=True)
class Workload:
    """A network, its loss and its batch size; `widths` begins with the inputs."""

    name: str
    widths: tuple[int, ...]
    activation: str
    loss: str
    batch: int


WORKLOADS = (
    Workload("tiny", (4, 16, 16, 1), "tanh", "mse", 32),
    Workload("binary", (20, 20, 1), "relu", "sigmoid_cross_entropy", 16),
    Workload("dying", (1, *[2] * 11, 1), "relu", "mse", 64),
)


def network(workload: Workload, side: str) -> Sequential:
    """Return the network of a workload on one of the sides."""
    features, *hidden, outputs = workload.widths
    layers = [Dense(width, workload.activation) for width in hidden]
    backend = "numpy" if side == "nothing" else side
    model = Sequential([*layers, Dense(outputs)], seed=0, backend=backend)
    model.build(features)
    if side == "nothing":
        idle = dict.fromkeys(kernels.TABLE, lambda *_: None)
        model.backend = replace(model.backend, name=side, kernels=idle)
    return model


def measure(workload: Workload) -> tuple[str, ...]:
    """Return a line of the table."""
    shape = (STEPS * workload.batch, workload.widths[0])
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    y = (x.sum(axis=1, keepdims=True) > 0).astype(np.float32)
    models = {side: network(workload, side) for side in SIDES}
    optimizers = {side: Adam() for side in SIDES}

    def epoch(side: str) -> tuple[float, float]:
        """Train for an epoch; return its loss and the microseconds of a step."""
        history = models[side].fit(
            x, y, loss=workload.loss, optimizer=optimizers[side], batch_size=workload.batch,
            shuffle=False, evaluate_train=False, verbose=0,
        )  # fmt: skip
        return history["running_loss"][0], history["seconds"][0] / STEPS * 1e6

    np.testing.assert_allclose(epoch("numba")[0], epoch("numpy")[0], rtol=1e-4)
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(ROUNDS):
        for side in SIDES:
            times[side].append(epoch(side)[1])
    ratios = [a / b for a, b in zip(times["numpy"], times["numba"], strict=True)]
    medians = [statistics.median(times[side]) for side in SIDES]
    figures = [*medians[:2], statistics.median(ratios), medians[2]]
    return (workload.name, *(f"{figure:.2f}" for figure in figures))


def main() -> None:
    """Print the table."""
    head = ("workload", "numpy us", "numba us", "ratio", "executor us")
    print(table(head, [measure(workload) for workload in WORKLOADS], right=(1, 2, 3, 4)))


if __name__ == "__main__":
    main()
