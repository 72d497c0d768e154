"""mlcore: `Sequential.fit`, shuffling included."""

from __future__ import annotations

import time

from workloads import SEED, Real

import mlcore
from mlcore.callbacks import Callback
from mlcore.layers import Layer
from mlcore.optimizers import Optimizer
from peers.side import Side, Work


class Stopwatch(Callback):
    """Takes the time from the first epoch's beginning to the last one's end.

    What `fit` does before that, checking the data and lowering the plan, is done once; the other
    sides convert data and compile before their clock runs, too.
    """

    def __init__(self) -> None:
        self.began = self.seconds = 0.0

    def on_train_begin(self, model: mlcore.Sequential) -> None:  # noqa: ARG002
        """Start."""
        self.began = time.perf_counter()

    def on_train_end(self, model: mlcore.Sequential) -> None:  # noqa: ARG002
        """Stop."""
        self.seconds = time.perf_counter() - self.began


class Mlcore(Side):
    """Trains `mlcore.Sequential`; its threads come from MLCORE_NUM_THREADS."""

    def __init__(self, work: Work, threads: int) -> None:  # noqa: ARG002
        self.work = work
        self.stopwatch = Stopwatch()
        self.reset()

    def reset(self) -> None:
        """Make the model anew: shuffling and noise count from its first epoch."""
        workload = self.work.workload
        self.model = mlcore.Sequential(_layers(self.work), seed=SEED).build(workload.widths[0])
        self.model.parameters[...] = self.work.initial
        self.optimizer = _optimizer(self.work)

    def train(self, epochs: int) -> None:
        """Call `fit`."""
        workload = self.work.workload
        self.model.fit(
            self.work.x, self.work.y, loss=workload.loss, optimizer=self.optimizer,
            epochs=epochs, batch_size=workload.batch_size, shuffle=workload.shuffle, verbose=0,
            evaluate_train=False, callbacks=self.stopwatch,
        )  # fmt: skip

    def parameters(self) -> Real:
        """Return the model's own flat vector."""
        return self.model.parameters.copy()

    @property
    def seconds(self) -> float:
        """From the first epoch's beginning to the last one's end."""
        return self.stopwatch.seconds

    @staticmethod
    def version() -> str:
        """Return mlcore's version and the backend it chooses."""
        return f"{mlcore.__version__}, backend {mlcore.kernels.get().name}"


def _layers(work: Work) -> list[Layer]:
    workload = work.workload
    hidden = [mlcore.Dense(width, workload.activation) for width in workload.widths[1:-1]]
    layers: list[Layer] = []
    for at, dense in enumerate([*hidden, mlcore.Dense(workload.widths[-1])]):
        if at < len(workload.noise):
            layers.append(mlcore.GaussianNoise(workload.noise[at]))
        layers.append(dense)
    return layers


def _optimizer(work: Work) -> Optimizer:
    workload = work.workload
    if workload.optimizer == "adam":
        return mlcore.Adam(workload.learning_rate)
    return mlcore.SGD(workload.learning_rate, workload.momentum)


SIDE = Mlcore
