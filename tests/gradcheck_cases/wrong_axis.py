"""Summed over the wrong axis."""

import numpy as np

FAULT = "sum_over_wrong_axis"


def case_bias_of_a_square_layer(rng):
    def forward(x, w, b):
        return x @ w + b

    def backward(grad, x, w, b):
        return grad @ w.T, x.T @ grad, grad.sum(axis=1)

    return forward, backward, {"x": rng.normal(size=(4, 3))}, {
        "w": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}  # fmt: skip


def case_bias_of_another_shape(rng):
    def forward(x, b):
        return x + b

    def backward(grad, x, b):
        return grad, grad.sum(axis=1)

    return forward, backward, {"x": rng.normal(size=(5, 3))}, {"b": rng.normal(size=3)}


def case_softmax_over_samples(rng):
    def forward(z):
        powers = np.exp(z - z.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def backward(grad, z, out):
        return out * (grad - (grad * out).sum(axis=0, keepdims=True))

    return forward, backward, {"z": rng.normal(size=(5, 4))}


def case_gain_of_a_norm(rng):
    def forward(x, gamma):
        z = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
        return z * gamma, z

    def backward(grad, cache, x, gamma):
        return {"gamma": (grad * cache).sum(axis=1)}

    return forward, backward, {"x": rng.normal(size=(4, 4))}, {"gamma": rng.normal(size=4)}
