"""Weight decay counted twice."""

import numpy as np

FAULT = "doubled_decay"
WORDS = ["lambda = 0.02"]


def case_two_lambda(rng):
    def loss(params, x, y):
        z = x @ params["w"]
        p = 1 / (1 + np.exp(-z))
        cost = np.mean(np.logaddexp(0, z) - y * z) + 0.02 / 2 * np.sum(params["w"] ** 2)
        return cost, {"w": x.T @ (p - y) / len(x) + 2 * 0.02 * params["w"]}

    return loss, None, {"x": rng.normal(size=(12, 4)), "y": rng.integers(0, 2, 12)}, {
        "w": rng.normal(size=4)}  # fmt: skip


def case_added_in_two_places(rng):
    x, y = rng.normal(size=(8, 3)), rng.integers(0, 3, 8)
    lam = 0.02

    def loss(w):
        z = x @ w - (x @ w).max(axis=1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        cost = -np.log(p[np.arange(8), y]).mean() + lam / 2 * (w**2).sum()
        p[np.arange(8), y] -= 1
        dw = x.T @ p / 8 + lam * w
        dw += lam * w
        return cost, dw

    return loss, None, None, {"w": rng.normal(size=(3, 3))}


def case_two_layers(rng):
    x, y = rng.normal(size=(8, 3)), rng.integers(0, 2, 8)

    def loss(w1, w2, decay=0.02):
        h = np.tanh(x @ w1)
        z = h @ w2
        p = 1 / (1 + np.exp(-z))
        cost = np.mean(np.logaddexp(0, z) - y * z) + decay / 2 * ((w1**2).sum() + (w2**2).sum())
        delta = (p - y) / 8
        dh = np.outer(delta, w2) * (1 - h**2)
        return cost, (x.T @ dh + decay * w1, h.T @ delta + 2 * decay * w2)

    return loss, None, None, {"w1": rng.normal(size=(3, 5)), "w2": rng.normal(size=5)}
