"""Indices off by one."""

import numpy as np

FAULT = "off_by_one"


def case_label_plus_one(rng):
    def forward(z, labels):
        z = z - z.max(axis=1, keepdims=True)
        return (np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]).mean()

    def backward(z, labels):
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(len(z)), labels - 1] -= 1
        return p / len(z)

    return forward, backward, {"z": rng.normal(size=(6, 4)), "labels": rng.integers(0, 4, 6)}


def case_embedding_rows(rng):
    def forward(table, index):
        return table[index]

    def backward(grad, table, index):
        found = np.zeros_like(table)
        np.add.at(found, index + 1, grad)
        return {"table": found}

    return forward, backward, {"index": rng.integers(0, 6, 9)}, {"table": rng.normal(size=(7, 3))}


def case_difference_of_neighbours(rng):
    def forward(x):
        return x[:, :-1] * 2.0

    def backward(grad, x):
        found = np.zeros_like(x)
        found[:, 1:] = grad * 2.0
        return found

    return forward, backward, {"x": rng.normal(size=(4, 6))}


def case_loop_ends_early(rng):
    def forward(x, w):
        return x @ w

    def backward(grad, x, w):
        dw = np.zeros_like(w)
        for i in range(len(w) - 1):
            dw[i] = x[:, i] @ grad
        return grad @ w.T, dw

    return forward, backward, {"x": rng.normal(size=(6, 5))}, {"w": rng.normal(size=(5, 3))}
