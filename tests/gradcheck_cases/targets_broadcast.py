"""Predictions (B, 1) beside targets (B,): the loss is a mean over a (B, B) array."""

import numpy as np

FAULT = "broadcast_targets"


def case_mean_squared_error(rng):
    def forward(output, target):
        return np.mean((output - target) ** 2)

    def backward(output, target):
        error = output - target
        return 2 * error.sum(axis=1, keepdims=True) / error.size

    return forward, backward, {"output": rng.normal(size=(6, 1)), "target": rng.normal(size=6)}


def case_with_the_gradient_of_the_right_loss(rng):
    def forward(output, target):
        return np.mean((output - target) ** 2)

    def backward(output, target):
        return 2 * (output - target.reshape(-1, 1)) / len(output)

    return forward, backward, {"output": rng.normal(size=(6, 1)), "target": rng.normal(size=6)}


def case_binary_cross_entropy(rng):
    def loss(params, x, y):
        z = x @ params["w"]
        p = 1 / (1 + np.exp(-z))
        value = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
        delta = (p - y).mean(axis=1, keepdims=True) / len(x)
        return value, {"w": x.T @ delta}

    return loss, None, {"x": rng.normal(size=(16, 3)), "y": rng.integers(0, 2, 16)}, {
        "w": rng.normal(size=(3, 1))}  # fmt: skip


def case_not_yet_averaged(rng):
    def forward(output, target):
        return (output - target) ** 2

    def backward(grad, output, target):
        return (2 * grad * (output - target)).sum(axis=1, keepdims=True)

    return forward, backward, {"output": rng.normal(size=(6, 1)), "target": rng.normal(size=6)}
