"""mlcore: `Sequential.fit`, shuffling included."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
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
        self.x = work.x.reshape(-1, *work.workload.image) if work.workload.convolutions else work.x
        self.stopwatch = Stopwatch()
        self.reset()

    def reset(self) -> None:
        """Make the model anew: shuffling and noise count from its first epoch."""
        workload = self.work.workload
        self.model = mlcore.Sequential(_layers(self.work), seed=SEED).build(self.x.shape[1:])
        pairs = workload.split(self.work.initial)
        for ours, given in zip(self._pairs(), pairs, strict=True):
            for target, values in zip(ours, given, strict=True):
                target[...] = values
        self.optimizer = _optimizer(self.work)

    def train(self, epochs: int) -> None:
        """Call `fit`."""
        workload = self.work.workload
        self.model.fit(
            self.x, self.work.y, loss=workload.loss, optimizer=self.optimizer,
            epochs=epochs, batch_size=workload.batch_size, shuffle=workload.shuffle, verbose=0,
            evaluate_train=False, callbacks=self.stopwatch,
        )  # fmt: skip

    def parameters(self) -> Real:
        """Return what is learnt; the model's flat vector has running statistics too."""
        return np.concatenate([part.ravel() for pair in self._pairs() for part in pair])

    def _pairs(self) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """Return weight and bias, or factor and shift, of each layer, as views."""
        layers: list[Any] = self.model.layers
        return [
            (layer.gamma, layer.beta)
            if isinstance(layer, mlcore.BatchNorm)
            else (layer.weight, layer.bias)
            for layer in layers
            if isinstance(layer, mlcore.BatchNorm | mlcore.Conv2D | mlcore.Dense)
        ]

    @property
    def seconds(self) -> float:
        """From the first epoch's beginning to the last one's end."""
        return self.stopwatch.seconds

    @staticmethod
    def version() -> str:
        """Return mlcore's version and the backend it chooses."""
        return f"{mlcore.__version__}, backend {mlcore.kernels.get().name}"


def _layers(work: Work) -> list[Layer]:
    workload, layers = work.workload, list[Layer]()
    stages = workload.stages
    for stage, behind in zip(stages, [*stages[1:], None], strict=True):
        activated = behind is not None and behind.kind == "activate"
        activation = workload.activation if activated else "identity"
        width = stage.shape[-1] if stage.shape else 0
        if stage.kind == "noise":
            layers.append(mlcore.GaussianNoise(stage.stddev))
        elif stage.kind == "convolution":
            layers.append(mlcore.Conv2D(
                width, stage.shape[0], padding=stage.padding, activation=activation
            ))  # fmt: skip
        elif stage.kind == "dense":
            layers.append(mlcore.Dense(width, activation))
        elif stage.kind == "normalize":
            layers += [mlcore.BatchNorm(), mlcore.Activation(workload.activation)]
        elif stage.kind == "pool":
            layers.append(mlcore.MaxPool(2) if workload.pooling == "max" else mlcore.AvgPool(2))
        elif stage.kind == "flatten":
            layers.append(mlcore.Flatten())
    return layers


def _optimizer(work: Work) -> Optimizer:
    workload = work.workload
    if workload.optimizer == "adam":
        return mlcore.Adam(workload.learning_rate)
    return mlcore.SGD(workload.learning_rate, workload.momentum)


SIDE = Mlcore
