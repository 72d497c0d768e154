"""JAX: a whole epoch is one jitted `lax.scan` over the batches.

One-hot targets, its default generator and no unrolling are what was fastest of what it offers.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from workloads import NORM_EPSILON, Real

from peers.side import Side, Work

Tree = Any

ACTIVATIONS: dict[str, Any] = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Jax(Side):
    """Trains plain arrays; the carry is donated, data and orders are on the device.

    Its threads are as many as the processors that the process is held to.
    """

    def __init__(self, work: Work, threads: int) -> None:  # noqa: ARG002
        self.work = work
        x = work.x.reshape(-1, *work.workload.image) if work.workload.convolutions else work.x
        self.x, self.y = jax.device_put(x), jax.device_put(work.y)
        self.orders = [jax.device_put(order.astype(np.int32)) for order in work.batches]
        self._epoch = jax.jit(self._scan, donate_argnums=0)
        self.reset()

    def reset(self) -> None:
        """Make the carry anew: parameters, optimizer state, step, key of the noise."""
        pairs = self.work.workload.split(self.work.initial)
        parameters = [(jnp.array(weight), jnp.array(bias)) for weight, bias in pairs]
        state = [jax.tree.map(jnp.zeros_like, parameters) for _ in range(2)]
        # A new buffer for every leaf, since all of them are donated.
        self.carry = (parameters, state, jnp.zeros((), jnp.int32), jax.random.key(0))

    def train(self, epochs: int) -> None:
        """Call the compiled epoch."""
        for epoch in range(epochs):
            order = self.orders[epoch % len(self.orders)]
            self.carry, _ = self._epoch(self.carry, self.x, self.y, order)
        jax.block_until_ready(self.carry)  # type: ignore[no-untyped-call]

    def _scan(self, carry: Tree, x: jax.Array, y: jax.Array, order: jax.Array) -> Any:
        if self.work.whole:
            return self._step(carry, (x, y))
        return lax.scan(lambda carry, rows: self._step(carry, (x[rows], y[rows])), carry, order)

    def _step(self, carry: Tree, batch: tuple[jax.Array, jax.Array]) -> Any:
        parameters, state, count, key = carry
        key, used = jax.random.split(key) if self.work.workload.noise else (key, key)
        loss, gradients = jax.value_and_grad(self._loss)(parameters, *batch, used)
        count = count + 1
        parameters, state = self._update(parameters, gradients, state, count)
        return (parameters, state, count, key), loss

    def _loss(self, parameters: Tree, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        workload = self.work.workload
        pairs = iter(parameters)
        for at, stage in enumerate(workload.stages):
            if stage.kind == "noise":
                draws = jax.random.normal(jax.random.fold_in(key, at), x.shape)
                x = x + stage.stddev * draws
            elif stage.kind == "dense":
                weight, bias = next(pairs)
                x = x @ weight + bias
            elif stage.kind == "convolution":
                weight, bias = next(pairs)
                layout = ("NHWC", "HWIO", "NHWC")
                x = bias + lax.conv_general_dilated(
                    x, weight, (1, 1), stage.padding.upper(), dimension_numbers=layout
                )
            elif stage.kind == "normalize":
                factor, shift = next(pairs)
                axes = tuple(range(x.ndim - 1))
                scale = lax.rsqrt(x.var(axis=axes) + NORM_EPSILON)
                x = (x - x.mean(axis=axes)) * scale * factor + shift
            elif stage.kind == "activate":
                x = ACTIVATIONS[workload.activation](x)
            elif stage.kind == "pool":
                x = _pooled(x, workload.pooling)
            elif stage.kind == "flatten":
                x = x.reshape(len(x), -1)
        if workload.loss == "mse":
            return jnp.mean((x - y) ** 2)
        if workload.loss == "sigmoid_cross_entropy":
            return jnp.mean(jnp.maximum(x, 0) - x * y + jnp.log1p(jnp.exp(-jnp.abs(x))))
        hot = jax.nn.one_hot(y, x.shape[1])
        return jnp.mean(jax.nn.logsumexp(x, axis=1) - jnp.sum(x * hot, axis=1))

    def _update(self, parameters: Tree, gradients: Tree, state: Tree, count: jax.Array) -> Any:
        workload, (first, second) = self.work.workload, state
        rate = workload.learning_rate
        if workload.optimizer == "adam":
            first = _lerp(first, gradients, BETA_1)
            second = _lerp(second, jax.tree.map(jnp.square, gradients), BETA_2)
            step = rate / (1 - BETA_1**count)
            correction = 1 - BETA_2**count
            change = jax.tree.map(
                lambda m, v: step * m / (jnp.sqrt(v / correction) + EPSILON), first, second
            )
        elif workload.momentum:
            first = jax.tree.map(lambda v, g: workload.momentum * v + g, first, gradients)
            change = jax.tree.map(lambda v: rate * v, first)
        else:
            change = jax.tree.map(lambda g: rate * g, gradients)
        return jax.tree.map(jnp.subtract, parameters, change), [first, second]

    def parameters(self) -> Real:
        """Return the parameters of the carry."""
        return np.concatenate([np.ravel(leaf) for pair in self.carry[0] for leaf in pair])

    @staticmethod
    def version() -> str:
        """Return JAX's version."""
        return str(jax.__version__)


def _pooled(x: jax.Array, pooling: str) -> jax.Array:
    square = (1, 2, 2, 1)
    if pooling == "max":
        return lax.reduce_window(x, -jnp.inf, lax.max, square, square, "VALID")
    return lax.reduce_window(x, 0.0, lax.add, square, square, "VALID") / 4


def _lerp(old: Tree, new: Tree, kept: float) -> Tree:
    return jax.tree.map(partial(_mix, kept), old, new)


def _mix(kept: float, old: jax.Array, new: jax.Array) -> jax.Array:
    return kept * old + (1 - kept) * new


SIDE = Jax
