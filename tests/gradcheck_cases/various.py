"""Further faults that have a name."""

import numpy as np


def case_zeros(rng):
    def forward(x, w):
        return x @ w

    def backward(grad, x, w):
        return grad @ w.T, np.zeros_like(w)

    return forward, backward, {"x": rng.normal(size=(6, 4))}, {"w": rng.normal(size=(4, 3))}


def case_other_order(rng):
    def forward(x, w):
        return x @ w

    def backward(grad, x, w):
        return x.T @ grad, grad @ w.T

    return forward, backward, {"x": rng.normal(size=(4, 4))}, {"w": rng.normal(size=(4, 4))}


def case_without_upstream(rng):
    def forward(x):
        return np.sin(x)

    def backward(grad, x):
        return np.cos(x)

    return forward, backward, {"x": rng.normal(size=(6, 4))}


def case_clipped(rng):
    def forward(x):
        return np.sin(x)

    def backward(grad, x):
        return np.clip(grad, -0.1, 0.1) * np.cos(x)

    return forward, backward, {"x": rng.normal(size=(6, 4))}


def case_no_maximum(rng):
    def forward(z):
        return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)

    def backward(grad, z, out):
        return out * (grad - (grad * out).sum(axis=1, keepdims=True))

    return forward, backward, {"z": rng.normal(size=(6, 4))}


def case_division_by_zero(rng):
    def forward(x):
        return np.sqrt(x**2 + 1)

    def backward(grad, x):
        return grad * x / np.sqrt(x**2 * 0)

    return forward, backward, {"x": rng.normal(size=(6, 4))}


FAULT_OF = {
    "case_zeros": "zero_gradient",
    "case_other_order": "wrong_order",
    "case_without_upstream": "upstream_ignored",
    "case_clipped": "not_linear",
    "case_no_maximum": "softmax_overflow",
    "case_division_by_zero": "not_finite",
}
