"""Weight decay that the loss has and the gradient has not."""

import numpy as np

FAULT = "missing_decay"
WORDS = ["lambda = 0.02"]


def softmax_regression(params, x, y, penalty, slope):
    z = x @ params["w"] + params["b"]
    z = z - z.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    cost = -np.log(p[rows, y]).mean() + penalty(params["w"])
    p[rows, y] -= 1
    return cost, {"w": x.T @ p / len(x) + slope(params["w"]), "b": p.mean(axis=0)}


def _given(rng):
    return {"x": rng.normal(size=(7, 3)), "y": rng.integers(0, 4, 7)}, {
        "w": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}  # fmt: skip


def case_in_the_loss_only(rng):
    def loss(params, x, y):
        return softmax_regression(params, x, y, lambda w: 0.01 * np.sum(w**2), lambda w: 0 * w)

    return loss, None, *_given(rng)


def case_with_a_half(rng):
    def loss(params, x, y):
        return softmax_regression(params, x, y, lambda w: 0.02 / 2 * np.sum(w**2), lambda w: 0)

    return loss, None, *_given(rng)


def case_of_a_regression(rng):
    def loss(w, x, y, weight_decay=0.02):
        error = x @ w - y
        cost = (error**2).mean() + weight_decay / 2 * (w**2).sum()
        return cost, {"w": 2 * x.T @ error / error.size}

    return loss, None, {"x": rng.normal(size=(7, 3)), "y": rng.normal(size=7)}, {
        "w": rng.normal(size=3)}  # fmt: skip
