"""The whole gradient with the wrong sign."""

import numpy as np

FAULT = "constant_factor"
WORDS = ["wrong sign"]


def case_target_minus_output(rng):
    def forward(output, target):
        return np.mean((output - target) ** 2)

    def backward(output, target):
        return 2 * (target - output) / output.size

    return forward, backward, {"output": rng.normal(size=(5, 4)), "target": rng.normal(size=(5, 4))}


def case_cross_entropy(rng):
    def forward(p, y):
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    def backward(p, y):
        return (y / p - (1 - y) / (1 - p)) / p.size

    y = rng.integers(0, 2, (6, 1)).astype(float)
    return forward, backward, {"p": rng.uniform(0.1, 0.9, (6, 1)), "y": y}


def case_one_of_three(rng):
    def forward(x, w, b):
        return x @ w - b

    def backward(grad, x, w, b):
        return grad @ w.T, x.T @ grad, grad.sum(axis=0)

    return forward, backward, {"x": rng.normal(size=(6, 4))}, {
        "w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}  # fmt: skip
