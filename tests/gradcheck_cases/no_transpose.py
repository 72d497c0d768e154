"""A transpose is missing, and square arrays hide it."""

import numpy as np

FAULT = "transposed"


def case_input_of_a_square_layer(rng):
    def forward(x, w):
        return x @ w

    def backward(grad, x, w):
        return grad @ w, x.T @ grad

    return forward, backward, {"x": rng.normal(size=(5, 4))}, {"w": rng.normal(size=(4, 4))}


def case_weight_of_a_square_batch(rng):
    def forward(x, w):
        return x @ w

    def backward(grad, x, w):
        return grad @ w.T, x @ grad

    return forward, backward, {"x": rng.normal(size=(4, 4))}, {"w": rng.normal(size=(4, 3))}


def case_weight_transposed(rng):
    def forward(x, w):
        return x @ w.T

    def backward(grad, x, w):
        return grad @ w, x.T @ grad

    return forward, backward, {"x": rng.normal(size=(6, 3))}, {"w": rng.normal(size=(3, 3))}


def case_wrong_shape(rng):
    def forward(x, w):
        return x @ w

    def backward(grad, x, w):
        return grad @ w.T, grad.T @ x

    return forward, backward, {"x": rng.normal(size=(6, 3))}, {"w": rng.normal(size=(3, 2))}


def case_reshaped(rng):
    def forward(x, w):
        return x @ w

    def backward(grad, x, w):
        return grad @ w.T, (grad.T @ x).reshape(w.shape)

    return forward, backward, {"x": rng.normal(size=(6, 3))}, {"w": rng.normal(size=(3, 2))}


def case_attention_scores(rng):
    def forward(q, k):
        return q @ k.T / np.sqrt(4)

    def backward(grad, q, k):
        return grad @ k / np.sqrt(4), grad @ q / np.sqrt(4)

    return forward, backward, {"q": rng.normal(size=(5, 4)), "k": rng.normal(size=(5, 4))}
