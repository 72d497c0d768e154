"""A term of a sum is missing."""

import numpy as np

FAULT = "missing_term"


def case_sample_left_out(rng):
    def forward(x, w):
        return x @ w

    def backward(grad, x, w):
        dw = np.zeros_like(w)
        for i in range(1, len(x)):
            dw += np.outer(x[i], grad[i])
        return grad @ w.T, dw

    return forward, backward, {"x": rng.normal(size=(6, 4))}, {"w": rng.normal(size=(4, 3))}


def case_skip_connection(rng):
    def forward(x):
        return x + np.tanh(x)

    def backward(grad, x):
        return grad * (1 - np.tanh(x) ** 2)

    return forward, backward, {"x": rng.normal(size=(6, 4))}


def case_assigned_not_added(rng):
    def forward(x, w):
        return x @ w

    def backward(grad, x, w):
        for sample, g in zip(x, grad, strict=True):
            dw = np.outer(sample, g)
        return grad @ w.T, dw

    return forward, backward, {"x": rng.normal(size=(6, 4))}, {"w": rng.normal(size=(4, 3))}


def case_softmax_diagonal(rng):
    def forward(z):
        powers = np.exp(z - z.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def backward(grad, z, out):
        return grad * out * (1 - out)

    return forward, backward, {"z": rng.normal(size=(5, 4))}


def case_mean_of_a_batch_norm(rng):
    def forward(x):
        return x - x.mean(axis=0)

    def backward(grad, x):
        return grad

    return forward, backward, {"x": rng.normal(size=(6, 4))}


def case_last_sample_of_a_loss(rng):
    def loss(params, x, y):
        error = x @ params["w"] - y
        dw = np.zeros_like(params["w"])
        for i in range(len(x) - 1):
            dw += 2 * np.outer(x[i], error[i]) / error.size
        return (error**2).mean(), {"w": dw}

    return loss, None, {"x": rng.normal(size=(6, 3)), "y": rng.normal(size=(6, 2))}, {
        "w": rng.normal(size=(3, 2))}  # fmt: skip
