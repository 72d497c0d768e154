"""Shapes that broadcast where they should not."""

import numpy as np

FAULT = "wrong_broadcast"


def case_bias_not_summed(rng):
    def forward(x, w, b):
        return x @ w + b

    def backward(grad, x, w, b):
        return grad @ w.T, x.T @ grad, grad

    return forward, backward, {"x": rng.normal(size=(6, 4))}, {
        "w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}  # fmt: skip


def case_column_for_a_row(rng):
    def forward(x, w):
        return x @ w

    def backward(grad, x, w):
        return np.outer(grad, w), (x.T @ grad).reshape(-1, 1)

    return forward, backward, {"x": rng.normal(size=(6, 4))}, {"w": rng.normal(size=4)}


def case_norm_without_keepdims(rng):
    def forward(x, s):
        return x * s[:, None]

    def backward(grad, x, s):
        return grad * s, (grad * x).sum(axis=1)

    return forward, backward, {"x": rng.normal(size=(4, 4))}, {"s": rng.normal(size=4)}


def case_scale_not_summed(rng):
    def forward(x, scale):
        return x * scale

    def backward(grad, x, scale):
        return grad * scale, grad * x

    return forward, backward, {"x": rng.normal(size=(6, 4))}, {"scale": rng.normal(size=(1, 4))}
