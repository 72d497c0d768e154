"""Weight decay with the wrong sign: the error is -2 * lambda * w."""

import numpy as np

FAULT = "wrong_decay_sign"
LAMBDA = 0.013


def case_logistic_regression(rng):
    x, y = rng.normal(size=(12, 4)), rng.integers(0, 2, 12)

    def loss(params):
        z = x @ params["w"] + params["b"]
        p = 1 / (1 + np.exp(-z))
        cost = np.mean(np.logaddexp(0, z) - y * z) + 0.5 * 0.05 * np.sum(params["w"] ** 2)
        delta = (p - y) / len(x)
        return cost, {"w": x.T @ delta - 0.05 * params["w"], "b": delta.sum()}

    return loss, None, None, {"w": rng.normal(size=4), "b": np.array(rng.normal())}


def case_as_a_setting(rng):
    def loss(params, x, y, weight_decay):
        error = x @ params["w"] - y
        cost = (error**2).mean() + weight_decay / 2 * (params["w"] ** 2).sum()
        return cost, {"w": 2 * x.T @ error / error.size - weight_decay * params["w"]}

    return loss, None, {
        "x": rng.normal(size=(7, 3)), "y": rng.normal(size=(7, 2)), "weight_decay": 0.3,
    }, {"w": rng.normal(size=(3, 2))}  # fmt: skip


def case_of_a_global(rng):
    x, y = rng.normal(size=(7, 3)), rng.integers(0, 4, 7)

    def loss(w, b):
        z = x @ w + b
        z = z - z.max(axis=1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        cost = -np.log(p[np.arange(7), y]).mean() + LAMBDA / 2 * (w**2).sum()
        p[np.arange(7), y] -= 1
        return cost, (x.T @ p / 7 - LAMBDA * w, p.mean(axis=0))

    return loss, None, None, {"w": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}


WORDS_OF = {
    "case_logistic_regression": ["lambda = 0.05"],
    "case_as_a_setting": ["lambda = 0.3"],
    "case_of_a_global": ["lambda = 0.013"],
}
