"""scikit-learn: an epoch is one `partial_fit` of MLPClassifier or MLPRegressor."""

from __future__ import annotations

from typing import Any

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier, MLPRegressor
from workloads import Real

from peers.side import CannotError, Side, Work

ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic"}


class Sklearn(Side):
    """Trains on rows that were put in order beforehand, since its own shuffling is another.

    The gradient of its squared loss is outputs / 2 times that of the mean squared error; learning
    rate and Adam's epsilon make up for that. Its Adam adds epsilon before the bias correction.
    """

    def __init__(self, work: Work, threads: int) -> None:  # noqa: ARG002
        if work.workload.noise:
            raise CannotError("it has no noise layers")
        if work.workload.convolutions:
            raise CannotError("it has no convolutions")
        self.work = work
        self.classes = None if work.workload.loss == "mse" else np.unique(work.y)
        self.y = work.y if work.y.shape[1:] != (1,) else work.y[:, 0]
        self.model = self._model()
        # Makes the arrays that reset fills, and drops what this one batch has taught.
        batch = slice(0, work.workload.batch_size)
        self._fit(work.x[batch], self.y[batch])
        self.reset()

    def _model(self) -> Any:
        workload = self.work.workload
        kind = MLPRegressor if self.classes is None else MLPClassifier
        factor = workload.widths[-1] / 2 if self.classes is None else 1.0
        adam = workload.optimizer == "adam"
        return kind(
            hidden_layer_sizes=workload.widths[1:-1],
            activation=ACTIVATIONS[workload.activation],
            solver=workload.optimizer, alpha=0.0, batch_size=workload.batch_size,
            learning_rate_init=workload.learning_rate / (1.0 if adam else factor),
            momentum=workload.momentum, nesterovs_momentum=False, epsilon=1e-8 * factor,
            shuffle=False,
        )  # fmt: skip

    def _fit(self, x: Real, y: Any) -> None:
        if self.classes is None:
            self.model.partial_fit(x, y)
        else:
            self.model.partial_fit(x, y, classes=self.classes)

    def reset(self) -> None:
        """Overwrite the parameters, and let the next call make a new optimizer."""
        pairs = self.work.workload.split(self.work.initial)
        self.model.coefs_ = [weight.copy() for weight, _ in pairs]
        self.model.intercepts_ = [bias.copy() for _, bias in pairs]
        vars(self.model).pop("_optimizer", None)

    def train(self, epochs: int) -> None:
        """Put the rows in order and fit them, an epoch at a time."""
        for epoch in range(epochs):
            if not self.work.workload.shuffle:
                self._fit(self.work.x, self.y)
                continue
            order = self.work.orders[epoch % len(self.work.orders)]
            self._fit(self.work.x[order], self.y[order])

    def parameters(self) -> Real:
        """Return the coefficients with their intercepts."""
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return np.concatenate([part.ravel() for pair in pairs for part in pair])

    @staticmethod
    def version() -> str:
        """Return scikit-learn's version."""
        return str(sklearn.__version__)


SIDE = Sklearn
