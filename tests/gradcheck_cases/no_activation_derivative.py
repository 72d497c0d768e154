"""The derivative of the activation forgotten."""

import numpy as np

FAULT = "missing_activation_derivative"


def _layer(rng):
    return {"x": rng.normal(size=(6, 4))}, {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}


def case_tanh_layer(rng):
    def forward(x, w, b):
        return np.tanh(x @ w + b)

    def backward(grad, x, w, b):
        return grad @ w.T, x.T @ grad, grad.sum(axis=0)

    return forward, backward, *_layer(rng)


def case_relu_layer(rng):
    def forward(x, w, b):
        return np.maximum(x @ w + b, 0)

    def backward(grad, x, w, b):
        return grad @ w.T, x.T @ grad, grad.sum(axis=0)

    return forward, backward, *_layer(rng)


def case_sigmoid_class(rng):
    class Sigmoid:
        def __init__(self):
            self.w, self.b = rng.normal(size=(4, 3)), rng.normal(size=3)

        def forward(self, x):
            self.x = x
            return 1 / (1 + np.exp(-(x @ self.w + self.b)))

        def backward(self, grad):
            self.dw = self.x.T @ grad
            self.db = grad.sum(axis=0)
            return grad @ self.w.T

    return Sigmoid(), None, {"x": rng.normal(size=(6, 4))}


def case_hidden_layer_of_a_network(rng):
    def loss(params, x, y):
        h = 1 / (1 + np.exp(-(x @ params["w1"] + params["b1"])))
        error = h @ params["w2"] - y
        delta = 2 * error / error.size
        dh = delta @ params["w2"].T
        return (error**2).mean(), {"w1": x.T @ dh, "b1": dh.sum(axis=0), "w2": h.T @ delta}

    return loss, None, {"x": rng.normal(size=(9, 4)), "y": rng.normal(size=(9, 2))}, {
        "w1": rng.normal(size=(4, 5)), "b1": rng.normal(size=5),
        "w2": rng.normal(size=(5, 2))}  # fmt: skip


WORDS_OF = {
    "case_tanh_layer": ["tanh"],
    "case_relu_layer": ["relu"],
    "case_sigmoid_class": ["sigmoid"],
    "case_hidden_layer_of_a_network": ["sigmoid", "layer 1"],
}
