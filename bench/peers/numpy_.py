"""Plain NumPy: float32, a whole batch at a time, as one writes it by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from workloads import ACTIVATIONS, Real

from peers.side import CannotError, Side, Work

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Numpy(Side):
    """Trains views of one flat vector, which the optimizer updates as a whole."""

    def __init__(self, work: Work, threads: int) -> None:  # noqa: ARG002
        if work.workload.convolutions:
            raise CannotError("nobody writes convolutions in plain NumPy for their speed")
        self.work = work
        self.gradient = np.empty_like(work.initial)
        self.reset()

    def reset(self) -> None:
        """Copy the initial parameters, and clear the optimizer's state."""
        split = self.work.workload.split
        self.flat = self.work.initial.copy()
        self.layers = list(zip(split(self.flat), split(self.gradient), strict=True))
        self.first, self.second = np.zeros_like(self.flat), np.zeros_like(self.flat)
        self.count = 0
        self.rng = np.random.default_rng(0)

    def train(self, epochs: int) -> None:
        """Gather, forward, backward and update, a batch at a time."""
        for epoch in range(epochs):
            if self.work.whole:
                self._step(self.work.x, self.work.y)
                continue
            for rows in self.work.batches[epoch % len(self.work.orders)]:
                self._step(self.work.x[rows], self.work.y[rows])

    def _step(self, x: Real, y: NDArray[Any]) -> None:
        workload = self.work.workload
        active: list[Real] = []
        inputs: list[Real] = []
        for at, ((weight, bias), _) in enumerate(self.layers):
            active.append(x)
            if at < len(workload.noise):
                draws = self.rng.standard_normal(x.shape, dtype=np.float32)
                x = x + np.float32(workload.noise[at]) * draws
            inputs.append(x)
            x = x @ weight + bias
            if at < len(self.layers) - 1:
                x = ACTIVATIONS[workload.activation](x)
        delta = self._loss_gradient(x, y)
        for at in range(len(self.layers) - 1, -1, -1):
            (weight, _), (weight_gradient, bias_gradient) = self.layers[at]
            np.matmul(inputs[at].T, delta, out=weight_gradient)
            delta.sum(axis=0, out=bias_gradient)
            if at:
                delta = delta @ weight.T
                delta *= self._derivative(active[at])
        self._update()

    def _loss_gradient(self, outputs: Real, y: NDArray[Any]) -> Any:
        loss = self.work.workload.loss
        if loss == "mse":
            return (outputs - y) * np.float32(2 / outputs.size)
        if loss == "sigmoid_cross_entropy":
            return (ACTIVATIONS["sigmoid"](outputs) - y) / np.float32(outputs.size)
        delta = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        delta /= delta.sum(axis=1, keepdims=True)
        delta[np.arange(len(y)), y] -= 1
        return delta / np.float32(len(y))

    def _derivative(self, active: Real) -> Any:
        """Return the derivative of the activation that gave `active`."""
        activation = self.work.workload.activation
        if activation == "relu":
            return active > 0
        return 1 - active * active if activation == "tanh" else active * (1 - active)

    def _update(self) -> None:
        workload, gradient = self.work.workload, self.gradient
        self.count += 1
        if workload.optimizer == "adam":
            self.first += (1 - BETA_1) * (gradient - self.first)
            self.second += (1 - BETA_2) * (gradient * gradient - self.second)
            root = np.sqrt(self.second / (1 - BETA_2**self.count)) + EPSILON
            step = workload.learning_rate / (1 - BETA_1**self.count)
            self.flat -= step * self.first / root
        elif workload.momentum:
            self.first *= workload.momentum
            self.first += gradient
            self.flat -= workload.learning_rate * self.first
        else:
            self.flat -= workload.learning_rate * gradient

    def parameters(self) -> Real:
        """Return the flat vector."""
        return self.flat.copy()

    @staticmethod
    def version() -> str:
        """Return NumPy's version."""
        return np.__version__


SIDE = Numpy
