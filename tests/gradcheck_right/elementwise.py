"""Functions of one number, alone, behind a dense layer, and inside a network with a loss."""

import math

import numpy as np
from draws import numbers, positive

erf = np.vectorize(math.erf, otypes=[float])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def inside(rng, shape):
    return rng.uniform(-0.99, 0.99, shape)


def away(rng, shape):
    return rng.choice([-1, 1], shape) * rng.uniform(0.2, 3, shape)


# Name: the function, its derivative, and what it is drawn from.
FUNCTIONS = {
    "identity": (lambda x: 1.0 * x, lambda x: np.ones_like(x), numbers),
    "relu": (lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0), numbers),
    "relu_one_at_zero": (lambda x: np.maximum(x, 0), lambda x: 1.0 * (x >= 0), numbers),
    "relu6": (lambda x: np.clip(x, 0, 6), lambda x: 1.0 * ((x > 0) & (x < 6)), numbers),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1, 0.01),
                   numbers),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
            lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))), numbers),
    "selu": (lambda x: 1.0507 * np.where(x > 0, x, 1.67326 * np.expm1(np.minimum(x, 0))),
             lambda x: 1.0507 * np.where(x > 0, 1, 1.67326 * np.exp(np.minimum(x, 0))), numbers),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x)), numbers),
    "steep_sigmoid": (lambda x: sigmoid(4 * x), lambda x: 4 * sigmoid(4 * x) * sigmoid(-4 * x),
                      numbers),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2, numbers),
    "softplus": (softplus, sigmoid, numbers),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2, numbers),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x)), numbers),
    "gelu": (lambda x: x * 0.5 * (1 + erf(x / 2**0.5)),
             lambda x: 0.5 * (1 + erf(x / 2**0.5)) + x * np.exp(-x * x / 2) / (2 * np.pi) ** 0.5,
             numbers),
    "mish": (lambda x: x * np.tanh(softplus(x)),
             lambda x: np.tanh(softplus(x)) + x * sigmoid(x) / np.cosh(softplus(x)) ** 2, numbers),
    "hard_tanh": (lambda x: np.clip(x, -1, 1), lambda x: 1.0 * (abs(x) < 1), numbers),
    "hard_sigmoid": (lambda x: np.clip(x / 6 + 0.5, 0, 1), lambda x: (abs(x) < 3) / 6, numbers),
    "abs": (abs, np.sign, numbers),
    "square": (lambda x: x**2, lambda x: 2 * x, numbers),
    "cube": (lambda x: x**3, lambda x: 3 * x**2, numbers),
    "sin": (np.sin, np.cos, numbers),
    "cos": (np.cos, lambda x: -np.sin(x), numbers),
    "exp": (np.exp, np.exp, numbers),
    "exp_of_minus_square": (lambda x: np.exp(-(x**2)), lambda x: -2 * x * np.exp(-(x**2)), numbers),
    "sinh": (np.sinh, np.cosh, numbers),
    "arctan": (np.arctan, lambda x: 1 / (1 + x**2), numbers),
    "arcsinh": (np.arcsinh, lambda x: 1 / np.sqrt(1 + x**2), numbers),
    "log": (np.log, lambda x: 1 / x, positive),
    "log1p": (np.log1p, lambda x: 1 / (1 + x), positive),
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x), positive),
    "root_of_a_third": (np.cbrt, lambda x: 1 / (3 * np.cbrt(x) ** 2), positive),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / x**2, away),
    "power": (lambda x: x**1.7, lambda x: 1.7 * x**0.7, positive),
    "arcsin": (np.arcsin, lambda x: 1 / np.sqrt(1 - x**2), inside),
    "arctanh": (np.arctanh, lambda x: 1 / (1 - x**2), inside),
    "tan": (np.tan, lambda x: 1 + np.tan(x) ** 2, inside),
    "clipped": (lambda x: np.clip(x, -0.5, 2), lambda x: 1.0 * ((x > -0.5) & (x < 2)), numbers),
    "shrink": (lambda x: np.sign(x) * np.maximum(abs(x) - 0.5, 0), lambda x: 1.0 * (abs(x) > 0.5),
               numbers),
    "huber": (lambda x: np.where(abs(x) < 1, x**2 / 2, abs(x) - 0.5), lambda x: np.clip(x, -1, 1),
              numbers),
    "xlogx": (lambda x: x * np.log(x), lambda x: np.log(x) + 1, positive),
    "squareplus": (lambda x: (x + np.sqrt(x**2 + 4)) / 2, lambda x: (1 + x / np.sqrt(x**2 + 4)) / 2,
                   numbers),
    "log_cosh": (lambda x: np.logaddexp(x, -x) - np.log(2), np.tanh, numbers),
}  # fmt: skip


def alone(f, df, draw):
    def right(rng):
        def forward(x):
            return f(x)

        def backward(grad, x):
            return grad * df(x)

        shape = tuple(rng.integers(1, 6, rng.integers(1, 4)))
        return forward, backward, {"x": draw(rng, shape)}

    return right


def dense(f, df, _):
    def right(rng):
        def forward(x, w, b):
            z = x @ w + b
            return f(z), (x, w, z)

        def backward(grad, cache):
            x, w, z = cache
            dz = grad * df(z)
            return dz @ w.T, x.T @ dz, dz.sum(axis=0)

        batch, features, units = rng.integers(1, 7, 3)
        return forward, backward, {"x": numbers(rng, (batch, features), 2)}, {
            "w": rng.normal(size=(features, units)), "b": rng.normal(size=units)}  # fmt: skip

    return right


def network(f, df, _):
    def right(rng):
        batch, features, units, classes = rng.integers(2, 6, 4)
        x, y = rng.normal(size=(batch, features)), rng.integers(0, classes, batch)
        rows = np.arange(batch)

        def loss(params):
            z = x @ params["w1"] + params["b1"]
            h = f(z)
            out = h @ params["w2"]
            p = np.exp(out - out.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            value = -np.log(p[rows, y]).mean() + 0.05 * (params["w2"] ** 2).sum()
            p[rows, y] -= 1
            delta = p / batch
            dz = (delta @ params["w2"].T) * df(z)
            return value, {
                "w1": x.T @ dz, "b1": dz.sum(axis=0), "w2": h.T @ delta + 0.1 * params["w2"],
            }  # fmt: skip

        scale = 0.5
        return loss, None, None, {
            "w1": scale * rng.normal(size=(features, units)), "b1": rng.normal(size=units),
            "w2": scale * rng.normal(size=(units, classes))}  # fmt: skip

    return right


def layer(f, df, _):
    def right(rng):
        class Layer:
            def __init__(self):
                self.weight = rng.normal(size=(features, units))
                self.weight_grad = np.zeros_like(self.weight)

            def forward(self, x):
                self.x, self.z = x, x @ self.weight
                return f(self.z)

            def backward(self, grad):
                dz = grad * df(self.z)
                self.weight_grad = self.x.T @ dz
                return dz @ self.weight.T

        batch, features, units = rng.integers(1, 6, 3)
        return Layer(), None, {"x": numbers(rng, (batch, features), 2)}

    return right


ANYWHERE = [name for name, (_, _, draw) in FUNCTIONS.items() if draw is numbers]
RIGHT = {name: alone(*each) for name, each in FUNCTIONS.items()}
for style in (dense, network, layer):
    RIGHT |= {f"{style.__name__}_{name}": style(*FUNCTIONS[name]) for name in ANYWHERE}
