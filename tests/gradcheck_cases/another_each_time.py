"""Forward passes that give something else each time."""

import time

import numpy as np

FAULT = "not_deterministic"


def case_new_generator_each_time(rng):
    def forward(x):
        return x * (np.random.default_rng().random(x.shape) > 0.5)

    def backward(grad, x):
        return grad

    return forward, backward, {"x": rng.normal(size=(6, 4))}


def case_counts_its_calls(rng):
    class Annealed:
        def __init__(self):
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x / self.calls

        def backward(self, grad):
            return grad / self.calls

    return Annealed(), None, {"x": rng.normal(size=(6, 4))}


def case_looks_at_the_clock(rng):
    def loss(w):
        scale = 1 + time.perf_counter()
        return scale * (w**2).sum(), 2 * scale * w

    return loss, None, None, {"w": rng.normal(size=(3, 2))}
