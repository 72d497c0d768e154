"""Normalizations of the Numba backend. Sums are in float64: a batch of images is long."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore.kernels.numba_compiled import compiled
from mlcore.kernels.reference import Real


@compiled
def _feature_moments(x: Real) -> Any:
    """Return each feature's mean and variance over a batch (B, M, C), in two passes."""
    batch, places, channels = x.shape
    count = max(1, batch * places)
    mean, variance = np.zeros(channels), np.zeros(channels)
    for b in range(batch):
        for m in range(places):
            for c in range(channels):
                mean[c] += x[b, m, c]
    mean /= count
    for b in range(batch):
        for m in range(places):
            for c in range(channels):
                variance[c] += (x[b, m, c] - mean[c]) ** 2
    return mean, variance / count


@compiled
def _scaled(z: Any, c: int, gamma: Real | None, beta: Real | None) -> Any:
    if gamma is not None:
        z = z * gamma[c]
    if beta is not None:
        z = z + beta[c]
    return z


@compiled
def batch_norm(
    x: Real,
    gamma: Real | None,
    beta: Real | None,
    running_mean: Real,
    running_variance: Real,
    momentum: float,
    epsilon: float,
    mean: Real,
    inverse: Real,
    out: Real,
) -> None:
    """Write x with each feature's mean and variance taken off, times gamma plus beta, to `out`."""
    batch_mean, variance = _feature_moments(x)
    for c in range(x.shape[2]):
        mean[c] = batch_mean[c]
        inverse[c] = 1 / math.sqrt(variance[c] + epsilon)
        running_mean[c] = momentum * running_mean[c] + (1 - momentum) * batch_mean[c]
        running_variance[c] = momentum * running_variance[c] + (1 - momentum) * variance[c]
    for b in range(x.shape[0]):
        for m in range(x.shape[1]):
            for c in range(x.shape[2]):
                out[b, m, c] = _scaled((x[b, m, c] - mean[c]) * inverse[c], c, gamma, beta)


@compiled
def _feature_sums(grad: Real, x: Real, mean: Real, inverse: Real) -> Any:
    """Return the sums over B and M of grad, and of grad times the normalized x, in float64."""
    total, along = np.zeros(x.shape[2]), np.zeros(x.shape[2])
    for b in range(x.shape[0]):
        for m in range(x.shape[1]):
            for c in range(x.shape[2]):
                total[c] += grad[b, m, c]
                along[c] += grad[b, m, c] * ((x[b, m, c] - mean[c]) * inverse[c])
    return total, along


@compiled
def _keep_sums(total: Any, along: Any, dgamma: Real | None, dbeta: Real | None) -> None:
    if dgamma is not None:
        for c in range(dgamma.size):
            dgamma[c] = along[c]
    if dbeta is not None:
        for c in range(dbeta.size):
            dbeta[c] = total[c]


@compiled
def batch_norm_backward(
    grad: Real,
    x: Real,
    gamma: Real | None,
    mean: Real,
    inverse: Real,
    dgamma: Real | None,
    dbeta: Real | None,
    dx: Real | None,
) -> None:
    """Write the gradients of `batch_norm` from `grad` (B, M, C), that of its output."""
    real = x.dtype.type
    total, along = _feature_sums(grad, x, mean, inverse)
    _keep_sums(total, along, dgamma, dbeta)
    if dx is not None:
        count = max(1, x.shape[0] * x.shape[1])
        for b in range(x.shape[0]):
            for m in range(x.shape[1]):
                for c in range(x.shape[2]):
                    z = (x[b, m, c] - mean[c]) * inverse[c]
                    left = grad[b, m, c] - real(total[c] / count) - z * real(along[c] / count)
                    dx[b, m, c] = _scaled(inverse[c], c, gamma, None) * left


@compiled
def normalize(
    x: Real,
    mean: Real,
    variance: Real,
    gamma: Real | None,
    beta: Real | None,
    epsilon: float,
    out: Real,
) -> None:
    """Write (x - mean) / sqrt(variance + epsilon) * gamma + beta into `out`."""
    root = np.sqrt(variance + x.dtype.type(epsilon))
    for b in range(x.shape[0]):
        for m in range(x.shape[1]):
            for c in range(x.shape[2]):
                out[b, m, c] = _scaled((x[b, m, c] - mean[c]) / root[c], c, gamma, beta)


@compiled
def normalize_backward(
    grad: Real,
    x: Real,
    mean: Real,
    variance: Real,
    gamma: Real | None,
    epsilon: float,
    dgamma: Real | None,
    dbeta: Real | None,
    dx: Real | None,
) -> None:
    """Write the gradients of `normalize` from `grad` (B, M, C), that of its output."""
    root = np.sqrt(variance + x.dtype.type(epsilon))
    total, along = _feature_sums(grad, x, mean, x.dtype.type(1) / root)
    _keep_sums(total, along, dgamma, dbeta)
    if dx is not None:
        for b in range(x.shape[0]):
            for m in range(x.shape[1]):
                for c in range(x.shape[2]):
                    dx[b, m, c] = _scaled(grad[b, m, c], c, gamma, None) / root[c]


@compiled
def layer_norm(
    x: Real,
    gamma: Real | None,
    beta: Real | None,
    epsilon: float,
    mean: Real,
    inverse: Real,
    out: Real,
) -> None:
    """Write x with each row's mean and variance taken off, times gamma plus beta, into `out`."""
    channels = x.shape[2]
    for b in range(x.shape[0]):
        for m in range(x.shape[1]):
            row_mean, variance = 0.0, 0.0
            for c in range(channels):
                row_mean += x[b, m, c]
            row_mean /= max(1, channels)
            for c in range(channels):
                variance += (x[b, m, c] - row_mean) ** 2
            variance /= max(1, channels)
            mean[b, m] = row_mean
            inverse[b, m] = 1 / math.sqrt(variance + epsilon)
            for c in range(channels):
                z = (x[b, m, c] - mean[b, m]) * inverse[b, m]
                out[b, m, c] = _scaled(z, c, gamma, beta)


@compiled
def layer_norm_backward(
    grad: Real,
    x: Real,
    gamma: Real | None,
    mean: Real,
    inverse: Real,
    dgamma: Real | None,
    dbeta: Real | None,
    dx: Real | None,
) -> None:
    """Write the gradients of `layer_norm` from `grad` (B, M, C), that of its output."""
    real = x.dtype.type
    channels = x.shape[2]
    total, along = np.zeros(channels), np.zeros(channels)
    for b in range(x.shape[0]):
        for m in range(x.shape[1]):
            row_total, row_along = 0.0, 0.0
            for c in range(channels):
                z = (x[b, m, c] - mean[b, m]) * inverse[b, m]
                slope = _scaled(grad[b, m, c], c, gamma, None)
                total[c] += grad[b, m, c]
                along[c] += grad[b, m, c] * z
                row_total += slope
                row_along += slope * z
            if dx is not None:
                level, tilt = real(row_total / channels), real(row_along / channels)
                for c in range(channels):
                    z = (x[b, m, c] - mean[b, m]) * inverse[b, m]
                    slope = _scaled(grad[b, m, c], c, gamma, None)
                    dx[b, m, c] = inverse[b, m] * (slope - level - z * tilt)
    _keep_sums(total, along, dgamma, dbeta)
