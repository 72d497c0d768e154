"""The gradient of the bias summed over the units as well as the samples."""

import numpy as np

FAULT = "sum_over_wrong_axis"
WORDS = ["units"]


def case_a_number(rng):
    def forward(x, w, b):
        return x @ w + b

    def backward(grad, x, w, b):
        return grad @ w.T, x.T @ grad, grad.sum()

    return forward, backward, {"x": rng.normal(size=(6, 4))}, {
        "w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}  # fmt: skip


def case_the_same_for_all(rng):
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 4))

    def loss(params):
        error = x @ params["w"] + params["b"] - y
        delta = 2 * error / error.size
        return (error**2).mean(), {"w": x.T @ delta, "b": np.full(4, np.sum(delta))}

    return loss, None, None, {"w": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}


def case_mean_over_everything(rng):
    def forward(z, b):
        return np.tanh(z + b)

    def backward(grad, z, b, out):
        dz = grad * (1 - out**2)
        return {"z": dz, "b": np.zeros_like(b) + dz.sum()}

    return forward, backward, {"z": rng.normal(size=(5, 6))}, {"b": rng.normal(size=6)}
