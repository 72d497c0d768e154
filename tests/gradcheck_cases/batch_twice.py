"""Divided by the batch size twice, or not at all: off by 1/B or B, in every element."""

import numpy as np

FAULT = "constant_factor"
WORDS = ["1/B"]


def case_dense_divides_again(rng):
    def forward(x, w, b):
        return x @ w + b

    def backward(grad, x, w, b):
        batch = len(x)
        return grad @ w.T, x.T @ grad / batch, grad.sum(axis=0) / batch

    return forward, backward, {"x": rng.normal(size=(7, 4))}, {
        "w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}  # fmt: skip


def case_loss_of_a_network(rng):
    x, y = rng.normal(size=(6, 4)), rng.integers(0, 3, 6)

    def loss_and_gradients(params):
        h = np.maximum(x @ params["w1"] + params["b1"], 0)
        z = h @ params["w2"] + params["b2"]
        z = z - z.max(axis=1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        loss = -np.log(p[np.arange(6), y]).mean()
        dz = p.copy()
        dz[np.arange(6), y] -= 1
        dz /= 6
        dh = (dz @ params["w2"].T) * (h > 0)
        return loss, {
            "w1": x.T @ dh / 6, "b1": dh.sum(axis=0) / 6,
            "w2": h.T @ dz / 6, "b2": dz.sum(axis=0) / 6,
        }  # fmt: skip

    return loss_and_gradients, None, None, {
        "w1": rng.normal(size=(4, 5)), "b1": rng.normal(size=5),
        "w2": rng.normal(size=(5, 3)), "b2": rng.normal(size=3)}  # fmt: skip


def case_mean_squared_error(rng):
    def forward(output, target):
        return ((output - target) ** 2).mean()

    def backward(output, target):
        return 2 * (output - target) / output.size / len(output)

    return forward, backward, {"output": rng.normal(size=(5, 2)), "target": rng.normal(size=(5, 2))}


def case_a_layer_of_two(rng):
    """Two samples: 1/B is also 1/2."""

    def loss(params, x, y):
        error = x @ params["w"] - y
        return (error**2).mean(), {"w": 2 * x.T @ error / error.size / len(x)}

    return loss, None, {"x": rng.normal(size=(2, 3)), "y": rng.normal(size=(2, 3))}, {
        "w": rng.normal(size=(3, 3))}  # fmt: skip
