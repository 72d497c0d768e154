"""The mask of dropout is drawn again in the backward pass."""

import numpy as np

FAULT = "mask_redrawn"
RNG = np.random.default_rng(5)


def case_global_random_numbers(rng):
    def forward(x):
        mask = np.random.rand(*x.shape) > 0.4  # noqa: NPY002
        return x * mask / 0.6

    def backward(grad, x):
        mask = np.random.rand(*x.shape) > 0.4  # noqa: NPY002
        return grad * mask / 0.6

    return forward, backward, {"x": rng.normal(size=(6, 5))}


def case_generator_of_the_module(rng):
    def forward(x, w):
        h = x @ w
        return h * (RNG.random(h.shape) > 0.5) * 2

    def backward(grad, x, w):
        dh = grad * (RNG.random(grad.shape) > 0.5) * 2
        return dh @ w.T, x.T @ dh

    return forward, backward, {"x": rng.normal(size=(6, 5))}, {"w": rng.normal(size=(5, 4))}


def case_class(rng):
    class Dropout:
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def mask(self, shape):
            return (self.rng.random(shape) >= 0.3) / 0.7

        def forward(self, x):
            return x * self.mask(x.shape)

        def backward(self, grad):
            return grad * self.mask(grad.shape)

    return Dropout(), None, {"x": rng.normal(size=(6, 5))}
