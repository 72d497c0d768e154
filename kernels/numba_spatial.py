"""Convolutions, pooling and look-ups of the Numba backend.

A convolution copies what lies under its windows side by side, and is one product of NumPy's BLAS
from there on.
"""

from __future__ import annotations

import math

import numpy as np

from mlcore.kernels.numba_compiled import compiled
from mlcore.kernels.reference import Real


@compiled
def _take_windows(
    x: Real, stride_h: int, stride_w: int, pad_top: int, pad_left: int, under: Real
) -> None:
    """Write what lies under each window into `under` (B, P, Q, R, S, C), zero where outside."""
    batch, rows, columns, height, width, channels = under.shape
    for b in range(batch):
        for p in range(rows):
            for q in range(columns):
                for r in range(height):
                    h = p * stride_h - pad_top + r
                    for s in range(width):
                        v = q * stride_w - pad_left + s
                        if 0 <= h < x.shape[1] and 0 <= v < x.shape[2]:
                            for c in range(channels):
                                under[b, p, q, r, s, c] = x[b, h, v, c]
                        else:
                            for c in range(channels):
                                under[b, p, q, r, s, c] = 0


@compiled
def _add_windows(
    parts: Real, stride_h: int, stride_w: int, pad_top: int, pad_left: int, out: Real
) -> None:
    """Write the sum over all windows of what each brings, (B, P, Q, R, S, C)."""
    out[:] = 0
    batch, rows, columns, height, width, channels = parts.shape
    for b in range(batch):
        for p in range(rows):
            for q in range(columns):
                for r in range(height):
                    h = p * stride_h - pad_top + r
                    for s in range(width):
                        v = q * stride_w - pad_left + s
                        if 0 <= h < out.shape[1] and 0 <= v < out.shape[2]:
                            for c in range(channels):
                                out[b, h, v, c] += parts[b, p, q, r, s, c]


def conv2d(
    x: Real,
    w: Real,
    b: Real | None,
    stride_h: int,
    stride_w: int,
    pad_top: int,
    pad_left: int,
    out: Real,
) -> None:
    """Write the cross-correlation of x (B, H, W, C) with w (R, S, C, N), plus b, into `out`."""
    under = np.empty((*out.shape[:3], *w.shape[:3]), x.dtype)
    _take_windows(x, stride_h, stride_w, pad_top, pad_left, under)
    outputs = w.shape[3]
    depth = w.size // outputs
    np.matmul(under.reshape(-1, depth), w.reshape(depth, outputs), out.reshape(-1, outputs))
    if b is not None:
        out += b


@compiled
def _channel_sums(x: Real, out: Real) -> None:
    # In float64: images are many places.
    totals = np.zeros(x.shape[1])
    for place in range(x.shape[0]):
        for channel in range(x.shape[1]):
            totals[channel] += x[place, channel]
    for channel in range(x.shape[1]):
        out[channel] = totals[channel]


def conv2d_backward(
    grad: Real,
    x: Real,
    w: Real,
    stride_h: int,
    stride_w: int,
    pad_top: int,
    pad_left: int,
    dw: Real | None,
    db: Real | None,
    dx: Real | None,
) -> None:
    """Write the gradients of `conv2d` from `grad` (B, P, Q, N), that of its output."""
    outputs = w.shape[3]
    depth = w.size // outputs
    flat = grad.reshape(-1, outputs)
    around = np.empty((*grad.shape[:3], *w.shape[:3]), x.dtype)
    if dw is not None:
        _take_windows(x, stride_h, stride_w, pad_top, pad_left, around)
        np.matmul(around.reshape(-1, depth).T, flat, dw.reshape(depth, outputs))
    if db is not None:
        _channel_sums(flat, db)
    if dx is not None:
        np.matmul(flat, w.reshape(depth, outputs).T, around.reshape(-1, depth))
        _add_windows(around, stride_h, stride_w, pad_top, pad_left, dx)


@compiled
def _larger(value: float, best: float) -> bool:
    """Tell whether `value` takes the place of `best`: the first NaN stays."""
    return best == best and not value <= best


@compiled
def max_pool(
    x: Real,
    size_h: int,
    size_w: int,
    stride_h: int,
    stride_w: int,
    pad_top: int,
    pad_left: int,
    out: Real,
) -> None:
    """Write the largest number of each window into `out`; x (B, H, W, C), out (B, P, Q, C)."""
    batch, rows, columns, channels = out.shape
    for b in range(batch):
        for p in range(rows):
            top = p * stride_h - pad_top
            for q in range(columns):
                left = q * stride_w - pad_left
                for c in range(channels):
                    out[b, p, q, c] = -math.inf
                for h in range(max(top, 0), min(top + size_h, x.shape[1])):
                    for v in range(max(left, 0), min(left + size_w, x.shape[2])):
                        for c in range(channels):
                            if _larger(x[b, h, v, c], out[b, p, q, c]):
                                out[b, p, q, c] = x[b, h, v, c]


@compiled
def max_pool_backward(
    grad: Real,
    x: Real,
    size_h: int,
    size_w: int,
    stride_h: int,
    stride_w: int,
    pad_top: int,
    pad_left: int,
    dx: Real,
) -> None:
    """Write the gradient of the input of `max_pool` into `dx` (B, H, W, C)."""
    dx[:] = 0
    batch, rows, columns, channels = grad.shape
    for b in range(batch):
        for p in range(rows):
            top = p * stride_h - pad_top
            for q in range(columns):
                left = q * stride_w - pad_left
                for c in range(channels):
                    first_h, first_v = max(top, 0), max(left, 0)
                    for h in range(max(top, 0), min(top + size_h, x.shape[1])):
                        for v in range(max(left, 0), min(left + size_w, x.shape[2])):
                            if _larger(x[b, h, v, c], x[b, first_h, first_v, c]):
                                first_h, first_v = h, v
                    dx[b, first_h, first_v, c] += grad[b, p, q, c]


@compiled
def avg_pool(
    x: Real,
    size_h: int,
    size_w: int,
    stride_h: int,
    stride_w: int,
    pad_top: int,
    pad_left: int,
    out: Real,
) -> None:
    """Write the mean of each window into `out`; x (B, H, W, C), out (B, P, Q, C)."""
    real = out.dtype.type
    batch, rows, columns, channels = out.shape
    for b in range(batch):
        for p in range(rows):
            top = max(p * stride_h - pad_top, 0)
            below = min(p * stride_h - pad_top + size_h, x.shape[1])
            for q in range(columns):
                left = max(q * stride_w - pad_left, 0)
                right = min(q * stride_w - pad_left + size_w, x.shape[2])
                count = real((below - top) * (right - left))
                for c in range(channels):
                    out[b, p, q, c] = 0
                for h in range(top, below):
                    for v in range(left, right):
                        for c in range(channels):
                            out[b, p, q, c] += x[b, h, v, c]
                for c in range(channels):
                    out[b, p, q, c] /= count


@compiled
def avg_pool_backward(
    grad: Real,
    size_h: int,
    size_w: int,
    stride_h: int,
    stride_w: int,
    pad_top: int,
    pad_left: int,
    dx: Real,
) -> None:
    """Write the gradient of the input of `avg_pool` into `dx` (B, H, W, C)."""
    dx[:] = 0
    real = dx.dtype.type
    batch, rows, columns, channels = grad.shape
    for b in range(batch):
        for p in range(rows):
            top = max(p * stride_h - pad_top, 0)
            below = min(p * stride_h - pad_top + size_h, dx.shape[1])
            for q in range(columns):
                left = max(q * stride_w - pad_left, 0)
                right = min(q * stride_w - pad_left + size_w, dx.shape[2])
                count = real((below - top) * (right - left))
                for h in range(top, below):
                    for v in range(left, right):
                        for c in range(channels):
                            dx[b, h, v, c] += grad[b, p, q, c] / count


@compiled
def embedding(x: Real, w: Real, out: Real) -> None:
    """Write row x of w into `out`; x (B, L) whole numbers below V, w (V, D), out (B, L, D)."""
    for b in range(x.shape[0]):
        for place in range(x.shape[1]):
            row = int(x[b, place])
            for column in range(w.shape[1]):
                out[b, place, column] = w[row, column]


@compiled
def embedding_backward(grad: Real, x: Real, dw: Real) -> None:
    """Write into each row of dw (V, D) the sum of the gradients (B, L, D) of where it was used."""
    dw[:] = 0
    for b in range(x.shape[0]):
        for place in range(x.shape[1]):
            row = int(x[b, place])
            for column in range(dw.shape[1]):
                dw[row, column] += grad[b, place, column]
