"""What the forward pass has stored, or was handed, is overwritten in place."""

import numpy as np

FAULT = "stale_cache"


def case_relu_overwrites_its_input(rng):
    def forward(x):
        return np.maximum(x, 0)

    def backward(grad, x):
        x[x <= 0] = 0
        x[x > 0] = 1
        return grad * x

    return forward, backward, {"x": rng.normal(size=(5, 4))}


def case_cache_scaled_in_place(rng):
    def forward(x):
        y = np.tanh(x)
        return y, {"y": y.copy()}

    def backward(grad, cache):
        cache["y"] **= 2
        return grad * (1 - cache["y"])

    return forward, backward, {"x": rng.normal(size=(5, 4))}


def case_forward_works_on_its_input(rng):
    def forward(x, w):
        x -= x.mean(axis=0)
        return x @ w

    def backward(grad, x, w):
        dx = grad @ w.T
        return dx - dx.mean(axis=0), (x - x.mean(axis=0)).T @ grad

    return forward, backward, {"x": rng.normal(size=(5, 4))}, {"w": rng.normal(size=(4, 2))}


def case_cache_of_the_first_batch(rng):
    class Dense:
        x = None

        def __init__(self):
            self.w = rng.normal(size=(4, 3))

        def forward(self, x):
            if self.x is None:
                self.x = x.copy()
            return x @ self.w

        def backward(self, grad):
            self.dw = self.x.T @ grad
            return grad @ self.w.T

    return Dense(), None, {"x": rng.normal(size=(5, 4))}


def case_dropout_mask_applied_to_the_cache(rng):
    class Layer:
        def forward(self, x):
            self.z = x.copy()
            return np.where(x > 0, x, 0.1 * x)

        def backward(self, grad):
            self.z[self.z > 0] = 1
            self.z[self.z < 0] = 0.1
            return grad * self.z

    return Layer(), None, {"x": rng.normal(size=(5, 4))}
