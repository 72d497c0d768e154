"""The factor 2 of the squared error left out, or there once too often."""

import numpy as np

FAULT = "constant_factor"


def case_mean_squared_error(rng):
    def forward(output, target):
        return np.mean((output - target) ** 2)

    def backward(output, target):
        return (output - target) / output.size

    return forward, backward, {"output": rng.normal(size=(5, 4)), "target": rng.normal(size=(5, 4))}


def case_linear_regression(rng):
    x, y = rng.normal(size=(9, 3)), rng.normal(size=9)

    def loss(w):
        error = x @ w - y
        return np.mean(error**2), x.T @ error / len(x)

    return loss, None, None, {"w": rng.normal(size=3)}


def case_network_from_the_loss_on(rng):
    def loss(params, x, y):
        h = np.tanh(x @ params["w1"])
        error = h @ params["w2"] - y
        delta = error / error.size
        dh = (delta @ params["w2"].T) * (1 - h**2)
        return (error**2).mean(), {"w1": x.T @ dh, "w2": h.T @ delta}

    return loss, None, {"x": rng.normal(size=(7, 3)), "y": rng.normal(size=(7, 2))}, {
        "w1": rng.normal(size=(3, 5)), "w2": rng.normal(size=(5, 2))}  # fmt: skip


def case_doubled(rng):
    def forward(x):
        return 0.5 * (x**2).sum()

    def backward(x):
        return 2 * x

    return forward, backward, {"x": rng.normal(size=(4, 3))}


WORDS_OF = {
    "case_mean_squared_error": ["1/2"],
    "case_linear_regression": ["1/2"],
    "case_network_from_the_loss_on": ["1/2"],
    "case_doubled": ["2 times"],
}
