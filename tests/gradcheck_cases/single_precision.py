"""No fault but float32: right gradients, which differences with small steps would call wrong."""

import numpy as np

FAULT = None
NOTE = "float32"
WORDS = ["float64"]


def case_layer_in_float32(rng):
    def forward(x, w, b):
        x, w, b = x.astype(np.float32), w.astype(np.float32), b.astype(np.float32)
        return np.tanh(x @ w + b)

    def backward(grad, x, w, b, out):
        dz = (grad * (1 - out**2)).astype(np.float32)
        return dz @ w.T.astype(np.float32), x.T.astype(np.float32) @ dz, dz.sum(axis=0)

    return forward, backward, {"x": rng.normal(size=(6, 4))}, {
        "w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}  # fmt: skip


def case_hidden_in_float32(rng):
    def loss(params, x, y):
        h = np.tanh((x @ params["w1"]).astype(np.float32)).astype(np.float64)
        error = h @ params["w2"] - y
        delta = 2 * error / error.size
        dh = (delta @ params["w2"].T) * (1 - h**2)
        return (error**2).mean(), {"w1": x.T @ dh, "w2": h.T @ delta}

    return loss, None, {"x": rng.normal(size=(7, 3)), "y": rng.normal(size=(7, 2))}, {
        "w1": rng.normal(size=(3, 5)), "w2": rng.normal(size=(5, 2))}  # fmt: skip


def case_gradient_in_float32(rng):
    def forward(x, w):
        return np.exp(0.3 * (x @ w))

    def backward(grad, x, w, out):
        dz = 0.3 * grad * out
        return (dz @ w.T).astype(np.float32), (x.T @ dz).astype(np.float32)

    return forward, backward, {"x": rng.normal(size=(6, 4))}, {"w": rng.normal(size=(4, 3))}


def case_loss_in_float32(rng):
    def forward(output, target):
        error = (output - target).astype(np.float32)
        return np.float32((error**2).mean())

    def backward(output, target):
        return 2 * (output - target) / output.size

    return forward, backward, {"output": rng.normal(size=(5, 4)), "target": rng.normal(size=(5, 4))}
