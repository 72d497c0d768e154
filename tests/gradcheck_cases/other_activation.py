"""The derivative of another activation than that of the forward pass."""

import numpy as np

FAULT = "wrong_activation_derivative"


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def _layer(rng):
    return {"x": rng.normal(size=(6, 4))}, {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}


def case_sigmoid_hard_wired(rng):
    def forward(x, w, b):
        a = np.tanh(x @ w + b)
        return a, (x, w, a)

    def backward(grad, cache):
        x, w, a = cache
        dz = grad * a * (1 - a)
        return dz @ w.T, x.T @ dz, dz.sum(axis=0)

    return forward, backward, *_layer(rng)


def case_relu_for_leaky_relu(rng):
    def forward(x):
        return np.where(x > 0, x, 0.1 * x)

    def backward(grad, x):
        return grad * (x > 0)

    return forward, backward, {"x": rng.normal(size=(5, 4))}


def case_tanh_for_sigmoid(rng):
    def forward(x, w, b):
        return sigmoid(x @ w + b)

    def backward(grad, x, w, b, out):
        dz = grad * (1 - out**2)
        return dz @ w.T, x.T @ dz, dz.sum(axis=0)

    return forward, backward, *_layer(rng)


def case_formula_of_the_output_on_the_input(rng):
    def forward(z):
        return sigmoid(z)

    def backward(grad, z):
        return grad * z * (1 - z)

    return forward, backward, {"z": rng.normal(size=(5, 4))}


def case_sigmoid_of_a_sigmoid(rng):
    def forward(x, w):
        return sigmoid(x @ w)

    def backward(grad, x, w, out):
        dz = grad * sigmoid(out) * (1 - sigmoid(out))
        return dz @ w.T, x.T @ dz

    given, params = _layer(rng)
    return forward, backward, given, {"w": params["w"]}


def case_hidden_layer_of_a_network(rng):
    x, y = rng.normal(size=(4, 6)), rng.normal(size=(4, 2))

    def loss(params):
        h = np.tanh(x @ params["w1"] + params["b1"])
        error = h @ params["w2"] + params["b2"] - y
        delta = 2 * error / error.size
        dh = (delta @ params["w2"].T) * h * (1 - h)
        return (error**2).mean(), {
            "w1": x.T @ dh, "b1": dh.sum(axis=0), "w2": h.T @ delta, "b2": delta.sum(axis=0),
        }  # fmt: skip

    return loss, None, None, {
        "w1": rng.normal(size=(6, 5)), "b1": rng.normal(size=5),
        "w2": rng.normal(size=(5, 2)), "b2": rng.normal(size=2)}  # fmt: skip


WORDS_OF = {
    "case_sigmoid_hard_wired": ["sigmoid", "tanh"],
    "case_relu_for_leaky_relu": ["relu", "leaky_relu"],
    "case_tanh_for_sigmoid": ["tanh", "sigmoid"],
    "case_formula_of_the_output_on_the_input": ["formula", "input"],
    "case_sigmoid_of_a_sigmoid": ["at the output"],
    "case_hidden_layer_of_a_network": ["sigmoid", "tanh", "layer 1", "layer 2 is right"],
}
