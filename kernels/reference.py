"""Every operation of the kernel table in plain NumPy: the definition of right.

It is also the `numpy` backend, which trains where nothing was compiled. Each function has the
signature of its row in `table.py`, takes float32 or float64, and writes into the arrays it is
given. NaN goes through every operation as NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore.kernels.table import BLOCK

Real = NDArray[Any]
Labels = NDArray[np.int32]
Index = NDArray[np.int64]
Bits = NDArray[np.uint32]
Sums = NDArray[np.float64]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: Real) -> Real:
    """Return 1 / (1 + exp(-x)) without overflow on either side."""
    small = np.exp(-np.abs(x))
    value: Real = np.where(x >= 0, 1, small) / (1 + small)
    return value


def _softmax(x: Real) -> Real:
    """Return exp(x) / sum(exp(x)) of each row, shifted by the row's own maximum."""
    powers = np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf))
    shares: Real = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _log_sum_exp(x: Real) -> Real:
    """Return log(sum(exp(x))) of each row, shape (rows, 1)."""
    top = x.max(axis=1, keepdims=True, initial=-np.inf)
    total: Real = top + np.log(np.exp(x - top).sum(axis=1, keepdims=True))
    return total


def _normal_below(x: Real) -> Real:
    """Return the standard normal distribution function, (1 + erf(x / sqrt(2))) / 2."""
    share: Real = 0.5 * (1 + _erf(x / math.sqrt(2)).astype(x.dtype))
    return share


def _gelu_slope(x: Real) -> Real:
    slope: Real = _normal_below(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return slope


def _silu_slope(x: Real) -> Real:
    s = _sigmoid(x)
    slope: Real = s * (1 + x * (1 - s))
    return slope


FORMULAS: dict[str, Callable[[Real, float], Real]] = {
    "identity": lambda x, a: x,
    "relu": lambda x, a: np.maximum(x, 0),
    "relu6": lambda x, a: np.minimum(np.maximum(x, 0), 6),
    "leaky_relu": lambda x, a: np.where(x > 0, x, a * x),
    "elu": lambda x, a: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0))),
    "tanh": lambda x, a: np.tanh(x),
    "sigmoid": lambda x, a: _sigmoid(a * x),
    "softplus": lambda x, a: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "silu": lambda x, a: x * _sigmoid(x),
    "gelu": lambda x, a: x * _normal_below(x),
    "softmax": lambda x, a: _softmax(x),
    "log_softmax": lambda x, a: x - _log_sum_exp(x),
}

# The derivative, from the stored output `y`, or for silu and gelu from the stored input.
SLOPES: dict[str, Callable[[Real, float], Real]] = {
    "identity": lambda y, a: np.ones_like(y),
    "relu": lambda y, a: np.where(y <= 0, 0, 1).astype(y.dtype),
    "relu6": lambda y, a: np.where((y <= 0) | (y >= 6), 0, 1).astype(y.dtype),
    "leaky_relu": lambda y, a: np.where(y <= 0, a, 1).astype(y.dtype),
    "elu": lambda y, a: np.where(y <= 0, y + a, 1),
    "tanh": lambda y, a: 1 - y * y,
    "sigmoid": lambda y, a: a * y * (1 - y),
    "softplus": lambda y, a: -np.expm1(-y),
    "silu": lambda x, a: _silu_slope(x),
    "gelu": lambda x, a: _gelu_slope(x),
}


def activation(x: Real, activation: str, parameter: float, out: Real) -> None:
    """Write activation(x) into `out`, which may be `x` itself; shapes (B, N)."""
    out[...] = FORMULAS[activation](x, parameter)


def activation_backward(
    grad: Real, stored: Real, activation: str, parameter: float, out: Real
) -> None:
    """Write grad times the activation's derivative into `out`; shapes (B, N).

    `stored` is the activation's output, or its input for silu and gelu. `out` may be `grad`.
    """
    if activation == "softmax":
        out[...] = stored * (grad - (grad * stored).sum(axis=1, keepdims=True))
    elif activation == "log_softmax":
        out[...] = grad - np.exp(stored) * grad.sum(axis=1, keepdims=True)
    else:
        out[...] = grad * SLOPES[activation](stored, parameter)


def linear(
    x: Real,
    w: Real,
    b: Real | None,
    activation: str,
    parameter: float,
    pre: Real | None,
    out: Real,
) -> None:
    """Write activation(x @ w + b) into `out`, and x @ w + b into `pre` where it is wanted.

    Shapes: x (B, K), w (K, N), b (N,), pre and out (B, N).
    """
    np.matmul(x, w, out=out)
    if b is not None:
        out += b
    if pre is not None:
        pre[...] = out
    if activation != "identity":
        out[...] = FORMULAS[activation](out, parameter)


def linear_backward(
    grad: Real,
    x: Real,
    w: Real,
    stored: Real,
    activation: str,
    parameter: float,
    dz: Real,
    dw: Real | None,
    db: Real | None,
    dx: Real | None,
) -> None:
    """Write the gradients of `linear` from `grad`, that of its output.

    dz (B, N) is the gradient of the pre-activation; dw (K, N), db (N,) and dx (B, K) are
    written where they are wanted.
    """
    activation_backward(grad, stored, activation, parameter, dz)
    if dw is not None:
        np.matmul(x.T, dz, out=dw)
    if db is not None:
        dz.sum(axis=0, out=db)
    if dx is not None:
        np.matmul(dz, w.T, out=dx)


def product(
    a: Real, b: Real, start: Real | None, blend: bool, keep: float, scale: float, c: Real
) -> None:
    """Write start + a @ b into `c`, or keep * c + scale * (a @ b) where `blend` is true.

    Shapes: a (B, K), b (K, N), start (N,), c (B, N). It is what a register tile computes.
    """
    found = a @ b
    if blend:
        c *= keep
        c += scale * found
    else:
        c[...] = found if start is None else start + found


def _panels(panels: Real, shape: tuple[int, ...], lanes: int) -> Iterator[tuple[slice, Real]]:
    """Yield the columns that each panel holds, and the panel, (depth + 1, its width)."""
    depth, columns = shape
    offset = 0
    for first in range(0, columns, 2 * lanes):
        held = slice(first, min(columns, first + 2 * lanes))
        width = lanes if held.stop - first <= lanes else 2 * lanes
        size = (depth + 1) * width
        yield held, panels[offset : offset + size].reshape(depth + 1, width)
        offset += size


def pack_panels(w: Real, b: Real | None, lanes: int, panels: Real) -> None:
    """Lay out w (K, N) and b (N,) in panels of two vectors of `lanes` columns.

    A panel is [K + 1][width]: its columns of w, and of b as the last row. The last panel is one
    vector wide where that is enough. Padding, and what is left of `panels` (M,), is zero.
    """
    panels[...] = 0
    for held, panel in _panels(panels, w.shape, lanes):
        panel[:-1, : held.stop - held.start] = w[:, held]
        if b is not None:
            panel[-1, : held.stop - held.start] = b[held]


def unpack_panels(panels: Real, lanes: int, w: Real, b: Real | None) -> None:
    """Write what `pack_panels` laid out back to w (K, N) and, where it is wanted, b (N,)."""
    for held, panel in _panels(panels, w.shape, lanes):
        w[:, held] = panel[:-1, : held.stop - held.start]
        if b is not None:
            b[held] = panel[-1, : held.stop - held.start]


def _write_losses(
    each: Real, slopes: Real, weights: Real | None, losses: Real, grad: Real | None
) -> None:
    """Write what a loss gives from the samples' losses (B,) and their derivatives (B, N).

    `losses` becomes w * each and `grad` the derivative of sum(w * each) / sum(w): where all
    weights (B,) are zero, zero. Without weights every w is one.
    """
    if weights is None:
        losses[...] = each
        share = np.full_like(losses, 1 / max(1, len(losses)))
    else:
        losses[...] = weights * each
        total = weights.sum(dtype=np.float64)
        share = np.zeros_like(losses) if total == 0 else (weights / total).astype(losses.dtype)
    if grad is not None:
        grad[...] = share[:, None] * slopes


def softmax_cross_entropy(
    logits: Real,
    labels: Labels | None,
    targets: Real | None,
    weights: Real | None,
    smoothing: float,
    losses: Real,
    grad: Real | None,
) -> None:
    """Write each sample's weighted cross-entropy, and the gradient of their weighted mean.

    `labels` (B,) holds class numbers; or `targets` (B, N) holds a distribution a row. A share
    `smoothing` of it is spread evenly over the classes: Szegedy et al. 2016. log-sum-exp is per
    row, so a logit far below the maximum stays finite.
    """
    if labels is not None:
        targets = np.zeros_like(logits)
        targets[np.arange(len(labels)), labels] = 1
    assert targets is not None
    wanted = (1 - smoothing) * targets + smoothing / logits.shape[1]
    terms = np.where(wanted == 0, 0, wanted * (_log_sum_exp(logits) - logits))
    mass = wanted.sum(axis=1, keepdims=True)
    _write_losses(terms.sum(axis=1), _softmax(logits) * mass - wanted, weights, losses, grad)


def sigmoid_cross_entropy(
    logits: Real,
    targets: Real,
    weights: Real | None,
    smoothing: float,
    losses: Real,
    grad: Real | None,
) -> None:
    """Write each sample's weighted mean of its outputs' binary cross-entropies, and the gradient.

    Shapes (B, N); a share `smoothing` of every target (B, N) is taken from one half.
    """
    wanted = (1 - smoothing) * targets + smoothing / 2
    terms = np.maximum(logits, 0) - logits * wanted + np.log1p(np.exp(-np.abs(logits)))
    slopes = (_sigmoid(logits) - wanted) / logits.shape[1]
    _write_losses(terms.mean(axis=1), slopes, weights, losses, grad)


def mse(
    outputs: Real, targets: Real, weights: Real | None, losses: Real, grad: Real | None
) -> None:
    """Write each sample's weighted mean squared error, and the gradient; (B, N)."""
    error = outputs - targets
    slopes = 2 * error / outputs.shape[1]
    _write_losses((error * error).mean(axis=1), slopes, weights, losses, grad)


def mae(
    outputs: Real, targets: Real, weights: Real | None, losses: Real, grad: Real | None
) -> None:
    """Write each sample's weighted mean absolute error, and the gradient; (B, N).

    The slope is zero where an output is its target.
    """
    error = outputs - targets
    slopes = np.sign(error) / outputs.shape[1]
    _write_losses(np.abs(error).mean(axis=1), slopes, weights, losses, grad)


def huber(
    outputs: Real,
    targets: Real,
    weights: Real | None,
    delta: float,
    losses: Real,
    grad: Real | None,
) -> None:
    """Write each sample's weighted mean of Huber's function of its errors, and the gradient.

    Huber 1964: e*e/2 for errors up to `delta`, and the tangent beyond it; (B, N).
    """
    error = outputs - targets
    near = np.clip(error, -delta, delta)
    terms = near * (error - near / 2)
    _write_losses(terms.mean(axis=1), near / outputs.shape[1], weights, losses, grad)


def hinge(
    outputs: Real,
    labels: Labels | None,
    targets: Real | None,
    weights: Real | None,
    margin: float,
    squared: bool,
    losses: Real,
    grad: Real | None,
) -> None:
    """Write each sample's weighted hinge loss, or its square, and the gradient; (B, N).

    With `targets` (B, N) of -1 and 1, the mean over the outputs of max(0, margin - t*x). With
    `labels` (B,), max(0, margin + x_r - x_y) of the label's output and its first largest rival:
    Crammer and Singer 2001. Where the kink is met the sample still counts as inside the margin,
    so that a margin of zero is the perceptron's rule (Rosenblatt 1958), which must leave zero.
    """
    if labels is not None:
        every = np.arange(len(labels))
        others = outputs.copy()
        others[every, labels] = -np.inf
        rivals = others.argmax(axis=1)
        slack = margin + (others[every, rivals] - outputs[every, labels])
        each, steepness = _hinged(slack, squared)
        slopes = np.zeros_like(outputs)
        slopes[every, rivals] += steepness
        slopes[every, labels] -= steepness
    else:
        assert targets is not None
        terms, steepness = _hinged(margin - targets * outputs, squared)
        each, slopes = terms.mean(axis=1), -targets * steepness / outputs.shape[1]
    _write_losses(each, slopes, weights, losses, grad)


def _hinged(slack: Real, squared: bool) -> tuple[Real, Real]:
    """Return max(0, slack) or its square, and the derivative, one at the kink of the first."""
    inside = np.where(slack < 0, 0, slack)
    if squared:
        return inside * inside, 2 * inside
    return inside, np.where(slack >= 0, 1, inside)


def sgd(
    parameters: Real,
    gradients: Real,
    velocity: Real | None,
    learning_rate: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
    step: int,
) -> None:
    """Update `parameters` (P,) in place; the definition of ``torch.optim.SGD``.

    `velocity` is needed where momentum is not zero; at step 1 it becomes the gradient.
    """
    change = gradients + weight_decay * parameters if weight_decay else gradients
    if velocity is not None:
        if step == 1:
            velocity[...] = change
        else:
            velocity *= momentum
            velocity += (1 - dampening) * change
        change = change + momentum * velocity if nesterov else velocity
    parameters -= learning_rate * change


def _adam_step(
    parameters: Real,
    gradients: Real,
    first_moment: Real,
    second_moment: Real,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    step: int,
) -> None:
    first_moment *= beta_1
    first_moment += (1 - beta_1) * gradients
    second_moment *= beta_2
    second_moment += (1 - beta_2) * gradients * gradients
    scale = learning_rate / (1 - beta_1**step)
    root = np.sqrt(second_moment) / math.sqrt(1 - beta_2**step)
    parameters -= scale * first_moment / (root + epsilon)


def adam(
    parameters: Real,
    gradients: Real,
    first_moment: Real,
    second_moment: Real,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    weight_decay: float,
    step: int,
) -> None:
    """Update `parameters` (P,) in place; the definition of ``torch.optim.Adam``.

    Kingma and Ba 2015, epsilon outside the square root and after the bias correction; the
    decay is added to the gradient.
    """
    change = gradients + weight_decay * parameters if weight_decay else gradients
    _adam_step(
        parameters, change, first_moment, second_moment,
        learning_rate, beta_1, beta_2, epsilon, step,
    )  # fmt: skip


def adamw(
    parameters: Real,
    gradients: Real,
    first_moment: Real,
    second_moment: Real,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    weight_decay: float,
    step: int,
) -> None:
    """Update `parameters` (P,) in place; the definition of ``torch.optim.AdamW``.

    Loshchilov and Hutter 2019: the decay shrinks the parameters by learning_rate *
    weight_decay and stays out of the moments.
    """
    parameters *= 1 - learning_rate * weight_decay
    _adam_step(
        parameters, gradients, first_moment, second_moment,
        learning_rate, beta_1, beta_2, epsilon, step,
    )  # fmt: skip


def rmsprop(
    parameters: Real,
    gradients: Real,
    square_average: Real,
    gradient_average: Real | None,
    velocity: Real | None,
    learning_rate: float,
    rho: float,
    epsilon: float,
    momentum: float,
    weight_decay: float,
) -> None:
    """Update `parameters` (P,) in place; the definition of ``torch.optim.RMSprop``.

    `gradient_average` makes it centered, `velocity` gives it momentum. The centered variance
    is kept from falling below zero by rounding.
    """
    change = gradients + weight_decay * parameters if weight_decay else gradients
    square_average *= rho
    square_average += (1 - rho) * change * change
    variance = square_average
    if gradient_average is not None:
        gradient_average *= rho
        gradient_average += (1 - rho) * change
        variance = np.maximum(square_average - gradient_average * gradient_average, 0)
    change = change / (np.sqrt(variance) + epsilon)
    if velocity is not None:
        velocity *= momentum
        velocity += change
        change = velocity
    parameters -= learning_rate * change


def _windows(
    x: Real, counts: tuple[int, ...], sizes: tuple[int, ...], strides: tuple[int, ...],
    pads: tuple[int, ...], outside: float,
) -> Real:  # fmt: skip
    """Return what lies under each window, a view (B, P, Q, size_h, size_w, C)."""
    ends = [
        max(0, (count - 1) * stride + size - pad - length)
        for count, stride, size, pad, length in zip(
            counts, strides, sizes, pads, x.shape[1:3], strict=True
        )
    ]
    around = ((0, 0), (pads[0], ends[0]), (pads[1], ends[1]), (0, 0))
    wide = np.pad(x, around, constant_values=outside)
    every = np.lib.stride_tricks.sliding_window_view(wide, sizes, axis=(1, 2))
    placed = every[:, :: strides[0], :: strides[1]][:, : counts[0], : counts[1]]
    return placed.transpose(0, 1, 2, 4, 5, 3)


def _inside(
    image: Real,
    counts: tuple[int, ...],
    sizes: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
) -> Real:
    """Return one where a place of a window lies inside, else zero: (1, P, Q, size_h, size_w, 1)."""
    return _windows(
        np.ones((1, *image.shape[1:3], 1), image.dtype), counts, sizes, strides, pads, 0
    )


def _add_windows(parts: Real, strides: tuple[int, ...], pads: tuple[int, ...], out: Real) -> None:
    """Write the sum over all windows of what each brings, (B, P, Q, size_h, size_w, C)."""
    _, rows, columns, height, width, _ = parts.shape
    below = max(out.shape[1] + pads[0], (rows - 1) * strides[0] + height)
    right = max(out.shape[2] + pads[1], (columns - 1) * strides[1] + width)
    wide = np.zeros((out.shape[0], below, right, out.shape[3]), out.dtype)
    for r in range(height):
        for s in range(width):
            reached = wide[:, r :: strides[0], s :: strides[1]][:, :rows, :columns]
            reached += parts[:, :, :, r, s]
    out[...] = wide[:, pads[0] :, pads[1] :][:, : out.shape[1], : out.shape[2]]


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
    """Write the cross-correlation of x with w, plus b, into `out`.

    ``out[b,p,q,n] = b[n] + sum x[b, p*stride_h-pad_top+r, q*stride_w-pad_left+s, c] * w[r,s,c,n]``
    over r, s and c, where x is zero outside. Shapes: x (B, H, W, C), w (R, S, C, N), b (N,),
    out (B, P, Q, N), whose P and Q say how much padding there is below and to the right.
    """
    filters = w.reshape(-1, w.shape[3])
    under = _windows(x, out.shape[1:3], w.shape[:2], (stride_h, stride_w), (pad_top, pad_left), 0)
    out[...] = (under.reshape(-1, len(filters)) @ filters).reshape(out.shape)
    if b is not None:
        out += b


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
    """Write the gradients of `conv2d` from `grad` (B, P, Q, N), that of its output.

    dw (R, S, C, N), db (N,) and dx (B, H, W, C) are written where they are wanted.
    """
    strides, pads = (stride_h, stride_w), (pad_top, pad_left)
    filters = w.reshape(-1, w.shape[3])
    flat = grad.reshape(-1, grad.shape[3])
    if dw is not None:
        under = _windows(x, grad.shape[1:3], w.shape[:2], strides, pads, 0)
        dw[...] = (under.reshape(-1, len(filters)).T @ flat).reshape(w.shape)
    if db is not None:
        flat.sum(axis=0, out=db)
    if dx is not None:
        parts = (flat @ filters.T).reshape(*grad.shape[:3], *w.shape[:3])
        _add_windows(parts, strides, pads, dx)


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
    """Write the largest number of each window into `out`; x (B, H, W, C), out (B, P, Q, C).

    Window (p, q) begins at row p * stride_h - pad_top and column q * stride_w - pad_left; what
    lies outside of x is not looked at, and each window holds some of x.
    """
    under = _windows(
        x, out.shape[1:3], (size_h, size_w), (stride_h, stride_w), (pad_top, pad_left), -np.inf
    )
    out[...] = under.max(axis=(3, 4))


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
    """Write the gradient of the input of `max_pool` into `dx` (B, H, W, C).

    A window's gradient goes to its first largest number, row by row, or to its first NaN.
    """
    sizes, strides, pads = (size_h, size_w), (stride_h, stride_w), (pad_top, pad_left)
    batch, *counts, channels = grad.shape
    shape = (batch, *counts, size_h * size_w, channels)
    under = _windows(x, (*counts,), sizes, strides, pads, -np.inf).reshape(shape)
    inside = np.broadcast_to(
        _inside(x, (*counts,), sizes, strides, pads).reshape(-1, *shape[1:4], 1), shape
    )
    first = under.argmax(axis=3, keepdims=True)
    # In a window of nothing but -inf, what is outside is no candidate.
    outside = np.take_along_axis(inside, first, axis=3) == 0
    first = np.where(outside, inside.argmax(axis=3, keepdims=True), first)
    parts = np.zeros_like(under)
    np.put_along_axis(parts, first, grad[:, :, :, None], axis=3)
    _add_windows(parts.reshape(batch, *counts, *sizes, channels), strides, pads, dx)


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
    """Write the mean of each window into `out`; x (B, H, W, C), out (B, P, Q, C).

    Windows as in `max_pool`; what lies outside of x does not count.
    """
    sizes, strides, pads = (size_h, size_w), (stride_h, stride_w), (pad_top, pad_left)
    under = _windows(x, out.shape[1:3], sizes, strides, pads, 0)
    inside = _inside(x, out.shape[1:3], sizes, strides, pads)
    out[...] = under.sum(axis=(3, 4)) / inside.sum(axis=(3, 4))


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
    sizes, strides, pads = (size_h, size_w), (stride_h, stride_w), (pad_top, pad_left)
    inside = _inside(dx, grad.shape[1:3], sizes, strides, pads)
    shares = grad / inside.sum(axis=(3, 4))
    shape = (*grad.shape[:3], *sizes, grad.shape[3])
    _add_windows(np.broadcast_to(shares[:, :, :, None, None], shape), strides, pads, dx)


def moments(x: Real, axes: tuple[int, ...]) -> tuple[Real, Real]:
    """Return mean and variance over `axes` in float64, both zero of nothing.

    The variance is divided by the count. It is the mean square of what is left when the mean has
    been taken off: the difference of two large sums would lose it.
    """
    wide = x.astype(np.float64)
    count = max(1, math.prod(x.shape[axis] for axis in axes))
    mean: Real = wide.sum(axis=axes, keepdims=True) / count
    variance: Real = np.square(wide - mean).sum(axis=axes) / count
    return mean.reshape(variance.shape), variance


def _affine(z: Real, gamma: Real | None, beta: Real | None, out: Real) -> None:
    if gamma is not None:
        z = z * gamma
    out[...] = z if beta is None else z + beta


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
    """Write x with each feature's mean and variance taken off, times gamma plus beta, to `out`.

    Ioffe and Szegedy 2015. Shapes: x and out (B, M, C), all others (C,). Mean and variance are
    those of the batch over B and M, the variance divided by the count; `mean` and `inverse`,
    1 / sqrt(variance + epsilon), are kept for backward. The running ones become
    momentum * running + (1 - momentum) * batch, as in Keras 3.
    """
    batch_mean, variance = moments(x, (0, 1))
    mean[...] = batch_mean
    inverse[...] = 1 / np.sqrt(variance + epsilon)
    running_mean[...] = momentum * running_mean + (1 - momentum) * batch_mean
    running_variance[...] = momentum * running_variance + (1 - momentum) * variance
    _affine((x - mean) * inverse, gamma, beta, out)


def _affine_backward(grad: Real, z: Real, dgamma: Real | None, dbeta: Real | None) -> None:
    """Write the gradients of scale and shift of features from the normalized `z` (B, M, C)."""
    if dgamma is not None:
        dgamma[...] = (grad * z).sum(axis=(0, 1), dtype=np.float64)
    if dbeta is not None:
        dbeta[...] = grad.sum(axis=(0, 1), dtype=np.float64)


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
    """Write the gradients of `batch_norm` from `grad` (B, M, C), that of its output.

    `mean` and `inverse` (C,) are what it kept; they depend on x, and dx knows that.
    """
    z = (x - mean) * inverse
    _affine_backward(grad, z, dgamma, dbeta)
    if dx is not None:
        count = max(1, x.shape[0] * x.shape[1])
        total = grad.sum(axis=(0, 1), dtype=np.float64) / count
        along = (grad * z).sum(axis=(0, 1), dtype=np.float64) / count
        slope = inverse if gamma is None else gamma * inverse
        dx[...] = slope * (grad - total.astype(x.dtype) - z * along.astype(x.dtype))


def normalize(
    x: Real,
    mean: Real,
    variance: Real,
    gamma: Real | None,
    beta: Real | None,
    epsilon: float,
    out: Real,
) -> None:
    """Write (x - mean) / sqrt(variance + epsilon) * gamma + beta into `out`.

    Batch norm outside training. Shapes: x and out (B, M, C), the others (C,).
    """
    _affine((x - mean) / np.sqrt(variance + x.dtype.type(epsilon)), gamma, beta, out)


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
    _affine_backward(grad, (x - mean) / root, dgamma, dbeta)
    if dx is not None:
        dx[...] = (grad if gamma is None else grad * gamma) / root


def layer_norm(
    x: Real,
    gamma: Real | None,
    beta: Real | None,
    epsilon: float,
    mean: Real,
    inverse: Real,
    out: Real,
) -> None:
    """Write x with each row's mean and variance taken off, times gamma plus beta, into `out`.

    Ba, Kiros and Hinton 2016. Shapes: x and out (B, M, C), gamma and beta (C,); `mean` and
    `inverse` (B, M), of each row over C, are kept for backward.
    """
    row_mean, variance = moments(x, (2,))
    mean[...] = row_mean
    inverse[...] = 1 / np.sqrt(variance + epsilon)
    _affine((x - mean[:, :, None]) * inverse[:, :, None], gamma, beta, out)


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
    z = (x - mean[:, :, None]) * inverse[:, :, None]
    _affine_backward(grad, z, dgamma, dbeta)
    if dx is not None:
        slope = grad if gamma is None else grad * gamma
        columns = max(1, x.shape[2])
        total = slope.sum(axis=2, keepdims=True) / columns
        along = (slope * z).sum(axis=2, keepdims=True) / columns
        dx[...] = inverse[:, :, None] * (slope - total - z * along)


def embedding(x: Real, w: Real, out: Real) -> None:
    """Write row x of w into `out`; x (B, L) whole numbers below V, w (V, D), out (B, L, D)."""
    out[...] = w[x.astype(np.int64)]


def embedding_backward(grad: Real, x: Real, dw: Real) -> None:
    """Write into each row of dw (V, D) the sum of the gradients (B, L, D) of where it was used."""
    dw[...] = 0
    np.add.at(dw, x.astype(np.int64), grad)


def adagrad(
    parameters: Real,
    gradients: Real,
    square_sum: Real,
    learning_rate: float,
    epsilon: float,
    weight_decay: float,
) -> None:
    """Update `parameters` (P,) in place; the definition of ``torch.optim.Adagrad``.

    Duchi, Hazan and Singer 2011; without PyTorch's decay of the rate.
    """
    change = gradients + weight_decay * parameters if weight_decay else gradients
    square_sum += change * change
    parameters -= learning_rate * change / (np.sqrt(square_sum) + epsilon)


def block_sums(x: Real, sums: Sums) -> None:
    """Write the sums of the magnitudes and of the squares of each block of x (P,) to sums (Q, 2).

    A block is `table.BLOCK` elements, the last one what is left; sums are in float64, so that a
    norm is as good as its numbers, and does not depend on which thread took which block.
    """
    for number in range(len(sums)):
        block = x[number * BLOCK : (number + 1) * BLOCK].astype(np.float64)
        sums[number] = np.abs(block).sum(), (block * block).sum()


def penalty(sums: Sums, l1: float, l2: float, norm: float, value: Sums) -> None:
    """Write l1*sum(|p|) + l2*sum(p*p) + norm*sqrt(sum(p*p)) to `value` (1,), from sums (Q, 2)."""
    magnitudes, squares = sums.sum(axis=0)
    value[0] = l1 * magnitudes + l2 * squares + norm * math.sqrt(squares)


def penalty_gradient(
    parameters: Real, sums: Sums, l1: float, l2: float, norm: float, gradients: Real
) -> None:
    """Add the slope of `penalty` to gradients (P,), for parameters (P,) that `sums` are of too.

    The slope of the magnitude and that of the norm are zero at zero.
    """
    squares = float(sums[:, 1].sum())
    scale = 2 * l2 + (norm / math.sqrt(squares) if squares != 0 else 0.0)
    if l1:
        gradients += l1 * np.sign(parameters)
    if scale:
        gradients += scale * parameters


def accumulate(gradients: Real, total: Real, number: int, steps: int) -> None:
    """Add gradients (P,) to `total`; at the last of `steps` make them the mean of all.

    `number` counts from 0, where what stands in `total` is forgotten.
    """
    if number == 0:
        total[...] = gradients
    else:
        total += gradients
    if number == steps - 1:
        gradients[...] = total / steps


def clip(gradients: Real, sums: Sums | None, limit: float) -> None:
    """Scale gradients (P,) down to a norm of `limit`, or cut each off at -limit and limit.

    The norm is that of the vector whose `block_sums` are `sums`; the definition of
    ``torch.nn.utils.clip_grad_norm_``. Without them it is ``clip_grad_value_``.
    """
    if sums is None:
        np.clip(gradients, -limit, limit, out=gradients)
    else:
        gradients *= np.minimum(1, limit / (np.sqrt(sums[:, 1].sum()) + 1e-6))


def max_norm(weights: Real, limit: float) -> None:
    """Scale each column of `weights` (K, N) whose norm is above `limit` down to it.

    Srebro and Shraibman 2005; as ``keras.constraints.MaxNorm``, but columns below the limit keep
    their bits.
    """
    norms = np.sqrt((weights * weights).sum(axis=0))
    weights *= np.where(norms > limit, limit / norms, 1).astype(weights.dtype)


def philox4x32(counter: Bits, key: Bits, words: Bits) -> None:
    """Write ten rounds of Philox4x32 of each counter into `words`; (C, 4) and (2,) uint32.

    Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011).
    """
    even, odd = (counter.T[first::2].astype(np.uint64) for first in range(2))
    factors = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
    steps = np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64)
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    keys = key.astype(np.uint64)[:, None]
    for _ in range(10):
        products = (even * factors)[::-1]
        even, odd = (products >> half) ^ odd ^ keys, products & low
        keys = (keys + steps) & low
    words[:, 0::2], words[:, 1::2] = even.T, odd.T


def _word_blocks(seed: int, stream: int, step: int, rows: int, blocks: int) -> Bits:
    """Return the random words of `rows` rows, shape (rows, blocks, 4, 16).

    A block is sixteen counters. Their first words come first, then their second words, and so
    on: a vector of counters then yields runs of neighbouring columns, whatever its width.
    Counter words: column block and lane, row, low half of the step, and the stream with the
    high part of the step. The key is the seed.
    """
    counter = np.empty((rows, blocks * 16, 4), np.uint32)
    counter[:, :, 0] = np.arange(blocks * 16, dtype=np.uint32)
    counter[:, :, 1] = np.arange(rows, dtype=np.uint32)[:, None]
    counter[:, :, 2] = step & 0xFFFFFFFF
    counter[:, :, 3] = (stream << 16) | (step >> 32)
    words = np.empty((rows * blocks * 16, 4), np.uint32)
    key = np.array([seed & 0xFFFFFFFF, seed >> 32], np.uint32)
    philox4x32(counter.reshape(-1, 4), key, words)
    return words.reshape(rows, blocks, 16, 4).transpose(0, 1, 3, 2)


def bits(seed: int, stream: int, step: int, out: Bits) -> None:
    """Write the 32 random bits of every (row, column) into `out` (B, N).

    Column c is word (c % 64) // 16 of counter 16 * (c // 64) + c % 16 of its row.
    """
    rows, columns = out.shape
    words = _word_blocks(seed, stream, step, rows, -(-columns // 64))
    out[...] = words.reshape(rows, words.shape[1] * 64)[:, :columns]


def uniform(seed: int, stream: int, step: int, out: Real) -> None:
    """Write uniform numbers in [0, 1) with 24 bits, the same in every dtype, into `out` (B, N)."""
    drawn = np.empty(out.shape, np.uint32)
    bits(seed, stream, step, drawn)
    out[...] = uniform_of(drawn, out.dtype)


def uniform_of(drawn: Bits, dtype: np.dtype[Any]) -> Real:
    """Return the uniform numbers that `bits` stand for."""
    found: Real = (drawn >> np.uint32(8)).astype(dtype) * dtype.type(2.0**-24)
    return found


def normal(seed: int, stream: int, step: int, out: Real) -> None:
    """Write standard normal numbers into `out` (B, N): Box and Muller 1958.

    The pairs are the first and second, and the third and fourth words of a counter, so the
    cosine and the sine of a pair stand 16 columns apart. Both uniforms are exact in float32.
    """
    rows, columns = out.shape
    drawn = np.empty((rows, whole_blocks(columns)), np.uint32)
    bits(seed, stream, step, drawn)
    out[...] = normal_of(drawn, out.dtype)[:, :columns]


def whole_blocks(columns: int) -> int:
    """Return how many columns of `bits` so many columns of `normal` are made of."""
    return 64 * -(-columns // 64)


def normal_of(drawn: Bits, dtype: np.dtype[Any]) -> Real:
    """Return the standard normal numbers that whole blocks of `bits` stand for."""
    words = drawn.reshape(len(drawn), drawn.shape[1] // 64, 4, 16)
    kind = dtype.type
    radius_bits = (words[:, :, 0::2] >> np.uint32(9)).astype(dtype)
    angle_bits = (words[:, :, 1::2] >> np.uint32(8)).astype(dtype)
    radius = np.sqrt(-2 * np.log((radius_bits + kind(0.5)) * kind(2.0**-23)))
    angle = (2 * math.pi) * (angle_bits * kind(2.0**-24))
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=3)
    return pairs.reshape(drawn.shape)


def gaussian_noise(x: Real, stddev: float, seed: int, stream: int, step: int, out: Real) -> None:
    """Write x plus stddev times `normal` into `out`, which may be `x`; (B, N)."""
    drawn = np.empty_like(out)
    normal(seed, stream, step, drawn)
    out[...] = x + stddev * drawn


def dropout(x: Real, rate: float, seed: int, stream: int, step: int, out: Real) -> None:
    """Write x / (1 - q) where a unit is kept and zero where it is dropped; (B, N).

    q is `rate` rounded to 1/65536, so the mean is kept exactly. Each word gives two 16-bit
    numbers: column c is word (c % 128) // 32 of counter 16 * (c // 128) + c % 16, low half
    where (c % 32) < 16. The same call on the gradient is the backward pass: the mask is a
    function of its arguments and is drawn again.
    """
    rows, columns = out.shape
    words = _word_blocks(seed, stream, step, rows, -(-columns // 128))
    halves = np.stack([words & np.uint32(0xFFFF), words >> np.uint32(16)], axis=3)
    threshold = dropout_threshold(rate)
    kept = halves.reshape(rows, words.shape[1] * 128)[:, :columns] >= threshold
    out[...] = np.where(kept, x * out.dtype.type(65536 / (65536 - threshold)), x * 0)


def dropout_threshold(rate: float) -> int:
    """Return the 16-bit number below which a unit is dropped; never all of them."""
    return min(round(rate * 65536), 65535)


def permutation(seed: int, epoch: int, out: Index) -> None:
    """Write a shuffle of 0..S-1 into `out` (S,): Fisher and Yates, one 32-bit word a swap.

    The words are those of `bits` for stream 65535, step `epoch`, one row of S columns; the
    place to swap with is (word * places) >> 32, whose bias is below S / 2**32.
    """
    drawn = np.empty((1, len(out)), np.uint32)
    bits(seed, 65_535, epoch, drawn)
    order = list(range(len(out)))
    words = drawn[0].tolist()
    for last in range(len(order) - 1, 0, -1):
        other = (words[last] * (last + 1)) >> 32
        order[last], order[other] = order[other], order[last]
    out[...] = order


def gather(source: NDArray[Any], rows: Index, scale: float, out: Real) -> None:
    """Write source[rows] * scale in the dtype of `out`; source (S, N), rows (B,), out (B, N)."""
    out[...] = source[rows]
    if scale != 1:
        out *= out.dtype.type(scale)


def gather_labels(labels: Labels, rows: Index, out: Labels) -> None:
    """Write labels[rows] into `out`; labels (S,), rows and out (B,)."""
    out[...] = labels[rows]


def gather_weights(weights: Real, rows: Index, out: Real) -> None:
    """Write weights[rows] into `out`; weights (S,), rows and out (B,)."""
    out[...] = weights[rows]
