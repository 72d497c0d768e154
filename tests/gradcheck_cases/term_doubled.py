"""A term of a sum is there twice."""

import numpy as np

FAULT = "doubled_term"


def case_first_sample_twice(rng):
    def forward(x, w):
        return x @ w

    def backward(grad, x, w):
        dw = np.outer(x[0], grad[0])
        for sample, g in zip(x, grad, strict=True):
            dw += np.outer(sample, g)
        return grad @ w.T, dw

    return forward, backward, {"x": rng.normal(size=(6, 4))}, {"w": rng.normal(size=(4, 3))}


def case_skip_twice(rng):
    def forward(x):
        return x + np.sin(x)

    def backward(grad, x):
        return grad * (1 + np.cos(x)) + grad

    return forward, backward, {"x": rng.normal(size=(6, 4))}


def case_unit_twice(rng):
    def forward(x, w):
        return x @ w

    def backward(grad, x, w):
        dx = grad @ w.T
        dx += np.outer(grad[:, -1], w[:, -1])
        return dx, x.T @ grad

    return forward, backward, {"x": rng.normal(size=(6, 4))}, {"w": rng.normal(size=(4, 3))}


def case_last_batch_of_a_loss_twice(rng):
    def loss(params, x, y):
        error = x @ params["w"] - y
        rows = [*range(len(x)), len(x) - 1]
        return (error**2).sum(), {"w": 2 * x[rows].T @ error[rows]}

    return loss, None, {"x": rng.normal(size=(6, 3)), "y": rng.normal(size=(6, 2))}, {
        "w": rng.normal(size=(3, 2))}  # fmt: skip
