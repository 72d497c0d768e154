"""The CuPy backend: the kernel table on a CUDA device.

What each function computes is written in `mlcore.kernels.reference` under the same name. Products
are cuBLAS's, all else is in the CUDA sources of `mlcore.kernels.cuda`. A function takes arrays of
the device, which stay there; what it is handed as NumPy arrays is copied there, and what it writes
is copied back, which is right and slow.

It is chosen by name only: where there is a CUDA device, and CuPy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from mlcore.kernels import native, reference
from mlcore.kernels.cuda import launch
from mlcore.kernels.cuda.launch import CODES, Device, to_device, to_host
from mlcore.kernels.reference import dropout_threshold
from mlcore.kernels.table import ACTIVATIONS, BLOCK, TABLE

Kernel = Callable[..., None]
DEVICE = launch.DEVICE
# Of kernels without a floating-point number.
SINGLE = np.dtype(np.float32)


def _row(function: Kernel) -> Kernel:
    """Let a kernel of the table take NumPy arrays too."""
    row = TABLE[function.__name__]
    written = [name in set(row.outputs()) for name in row.arguments]

    @wraps(function)
    def kernel(*arguments: Any) -> None:
        copied = [to_device(v) if isinstance(v, np.ndarray) else v for v in arguments]
        function(*copied)
        for host, device, changed in zip(arguments, copied, written, strict=True):
            if changed and isinstance(host, np.ndarray):
                host[...] = to_host(device)

    return kernel


@_row
def activation(x: Device, activation: str, parameter: float, out: Device) -> None:
    if ACTIVATIONS[activation].rowwise:
        launch.each(activation, x.dtype, x.shape[0], x, out, *x.shape)
    else:
        launch.each("activate", x.dtype, x.size, x, CODES[activation], parameter, out, x.size)


@_row
def activation_backward(
    grad: Device, stored: Device, activation: str, parameter: float, out: Device
) -> None:
    dtype, code = grad.dtype, CODES[activation]
    if ACTIVATIONS[activation].rowwise:
        launch.each(f"{activation}_backward", dtype, grad.shape[0], grad, stored, out, *grad.shape)
    else:
        launch.each(
            "activate_backward", dtype, grad.size, grad, stored, code, parameter, out, grad.size
        )


@_row
def linear(
    x: Device,
    w: Device,
    b: Device | None,
    activation: str,
    parameter: float,
    pre: Device | None,
    out: Device,
) -> None:
    rowwise = ACTIVATIONS[activation].rowwise
    code = CODES["identity" if rowwise else activation]
    launch.product(x, w, out)
    launch.each("finish_linear", out.dtype, out.size, out, b, code, parameter, pre, *out.shape)
    if rowwise:
        launch.each(activation, out.dtype, out.shape[0], out, out, *out.shape)


@_row
def linear_backward(
    grad: Device,
    x: Device,
    w: Device,
    stored: Device,
    activation: str,
    parameter: float,
    dz: Device,
    dw: Device | None,
    db: Device | None,
    dx: Device | None,
) -> None:
    code = CODES[activation]
    if db is None or ACTIVATIONS[activation].rowwise:
        activation_backward(grad, stored, activation, parameter, dz)
        grad, code = dz, CODES["identity"]
    if db is not None:
        launch.columns(
            "dz_and_db", dz.dtype, dz.shape[1], grad, stored, code, parameter, dz, db, *dz.shape
        )
    if dw is not None:
        launch.product(x, dz, dw, turn_a=True)
    if dx is not None:
        launch.product(dz, w, dx, turn_b=True)


@_row
def product(
    a: Device, b: Device, start: Device | None, blend: bool, keep: float, scale: float, c: Device
) -> None:
    if blend:
        launch.product(a, b, c, scale=scale, keep=keep)
        return
    launch.product(a, b, c)
    if start is not None:
        identity = CODES["identity"]
        launch.each("finish_linear", c.dtype, c.size, c, start, identity, 0.0, None, *c.shape)


@_row
def pack_panels(w: Device, b: Device | None, lanes: int, panels: Device) -> None:
    size = panels.size
    launch.each("pack_panels", w.dtype, size, w, b, lanes, panels, *w.shape, size)


@_row
def unpack_panels(panels: Device, lanes: int, w: Device, b: Device | None) -> None:
    depth, columns = w.shape
    launch.each(
        "unpack_panels", w.dtype, (depth + 1) * columns, panels, lanes, w, b, depth, columns
    )


def _loss(kernel: str, outputs: Device, *arguments: Any) -> None:
    """Start a kernel of one thread a sample."""
    launch.each(kernel, outputs.dtype, outputs.shape[0], outputs, *arguments, *outputs.shape)


@_row
def softmax_cross_entropy(
    logits: Device,
    labels: Device | None,
    targets: Device | None,
    weights: Device | None,
    smoothing: float,
    losses: Device,
    grad: Device | None,
) -> None:
    smoothed = (1 - smoothing, smoothing / logits.shape[1])
    _loss("softmax_cross_entropy", logits, labels, targets, weights, *smoothed, losses, grad)


@_row
def sigmoid_cross_entropy(
    logits: Device,
    targets: Device,
    weights: Device | None,
    smoothing: float,
    losses: Device,
    grad: Device | None,
) -> None:
    smoothed = (1 - smoothing, smoothing / 2)
    _loss("sigmoid_cross_entropy", logits, targets, weights, *smoothed, losses, grad)


@_row
def mse(
    outputs: Device, targets: Device, weights: Device | None, losses: Device, grad: Device | None
) -> None:
    _loss("mse", outputs, targets, weights, losses, grad)


@_row
def mae(
    outputs: Device, targets: Device, weights: Device | None, losses: Device, grad: Device | None
) -> None:
    _loss("mae", outputs, targets, weights, losses, grad)


@_row
def huber(
    outputs: Device,
    targets: Device,
    weights: Device | None,
    delta: float,
    losses: Device,
    grad: Device | None,
) -> None:
    _loss("huber", outputs, targets, weights, delta, losses, grad)


@_row
def hinge(
    outputs: Device,
    labels: Device | None,
    targets: Device | None,
    weights: Device | None,
    margin: float,
    squared: bool,
    losses: Device,
    grad: Device | None,
) -> None:
    _loss("hinge", outputs, labels, targets, weights, margin, squared, losses, grad)


@_row
def sgd(
    parameters: Device,
    gradients: Device,
    velocity: Device | None,
    learning_rate: float | Device,
    momentum: float,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
    step: int | Device,
) -> None:
    launch.each(
        "sgd", parameters.dtype, parameters.size,
        parameters, gradients, velocity, learning_rate, momentum,
        1 - dampening, nesterov, weight_decay, step, parameters.size,
    )  # fmt: skip


def _adam(
    parameters: Device,
    gradients: Device,
    first_moment: Device,
    second_moment: Device,
    learning_rate: float | Device,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    weight_decay: float,
    shrinking: float,
    step: int | Device,
) -> None:
    launch.each(
        "adam", parameters.dtype, parameters.size,
        parameters, gradients, first_moment, second_moment, learning_rate,
        beta_1, beta_2, 1 - beta_1, 1 - beta_2, epsilon, weight_decay,
        shrinking, step, parameters.size,
    )  # fmt: skip


@_row
def adam(
    parameters: Device,
    gradients: Device,
    first_moment: Device,
    second_moment: Device,
    learning_rate: float | Device,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    weight_decay: float,
    step: int | Device,
) -> None:
    _adam(
        parameters, gradients, first_moment, second_moment,
        learning_rate, beta_1, beta_2, epsilon, weight_decay, 0.0, step,
    )  # fmt: skip


@_row
def adamw(
    parameters: Device,
    gradients: Device,
    first_moment: Device,
    second_moment: Device,
    learning_rate: float | Device,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    weight_decay: float,
    step: int | Device,
) -> None:
    _adam(
        parameters, gradients, first_moment, second_moment,
        learning_rate, beta_1, beta_2, epsilon, 0.0, weight_decay, step,
    )  # fmt: skip


@_row
def rmsprop(
    parameters: Device,
    gradients: Device,
    square_average: Device,
    gradient_average: Device | None,
    velocity: Device | None,
    learning_rate: float | Device,
    rho: float,
    epsilon: float,
    momentum: float,
    weight_decay: float,
) -> None:
    launch.each(
        "rmsprop", parameters.dtype, parameters.size,
        parameters, gradients, square_average, gradient_average, velocity,
        learning_rate, rho, 1 - rho, epsilon, momentum, weight_decay,
        parameters.size,
    )  # fmt: skip


@_row
def adagrad(
    parameters: Device,
    gradients: Device,
    square_sum: Device,
    learning_rate: float | Device,
    epsilon: float,
    weight_decay: float,
) -> None:
    size = parameters.size
    launch.each(
        "adagrad", parameters.dtype, size, parameters, gradients, square_sum, learning_rate,
        epsilon, weight_decay, size,
    )  # fmt: skip


@_row
def block_sums(x: Device, sums: Device) -> None:
    launch.teams("block_sums", x.dtype, sums.shape[0], x, BLOCK, sums, x.size)


@_row
def penalty(sums: Device, l1: float, l2: float, norm: float, value: Device) -> None:
    launch.teams("penalty", SINGLE, 1, sums, l1, l2, norm, value, sums.shape[0])


@_row
def penalty_gradient(
    parameters: Device, sums: Device, l1: float, l2: float, norm: float, gradients: Device
) -> None:
    size = parameters.size
    launch.each(
        "penalty_gradient", parameters.dtype, size, parameters, sums, l1, l2, norm, gradients,
        size, sums.shape[0],
    )  # fmt: skip


@_row
def accumulate(gradients: Device, total: Device, number: int | Device, steps: int) -> None:
    size = gradients.size
    launch.each("accumulate", gradients.dtype, size, gradients, total, number, steps, size)


@_row
def clip(gradients: Device, sums: Device | None, limit: float) -> None:
    dtype, size = gradients.dtype, gradients.size
    if sums is None:
        launch.each("clip_value", dtype, size, gradients, limit, size)
    else:
        launch.each("clip_norm", dtype, size, gradients, sums, limit, size, sums.shape[0])


@_row
def max_norm(weights: Device, limit: float) -> None:
    launch.teams("max_norm", weights.dtype, weights.shape[1], weights, limit, *weights.shape)


@_row
def conv2d(
    x: Device,
    w: Device,
    b: Device | None,
    stride_h: int,
    stride_w: int,
    pad_top: int,
    pad_left: int,
    out: Device,
) -> None:
    _, rows, columns, filters = out.shape
    launch.each(
        "conv2d", x.dtype, out.size, x, w, b, stride_h, stride_w, pad_top, pad_left, out,
        *x.shape, rows, columns, *w.shape[:2], filters,
    )  # fmt: skip


@_row
def conv2d_backward(
    grad: Device,
    x: Device,
    w: Device,
    stride_h: int,
    stride_w: int,
    pad_top: int,
    pad_left: int,
    dw: Device | None,
    db: Device | None,
    dx: Device | None,
) -> None:
    dtype, places = x.dtype, (stride_h, stride_w, pad_top, pad_left)
    batch, rows, columns, filters = grad.shape
    size_h, size_w = w.shape[:2]
    if dw is not None:
        launch.teams(
            "conv2d_weights", dtype, dw.size, grad, x, *places, dw, *x.shape, rows, columns,
            size_w, filters,
        )  # fmt: skip
    if db is not None:
        launch.teams("column_sums", dtype, filters, grad, db, batch * rows * columns, filters)
    if dx is not None:
        launch.each(
            "conv2d_inputs", dtype, dx.size, grad, w, *places, dx, *dx.shape, rows, columns,
            size_h, size_w, filters,
        )  # fmt: skip


@_row
def max_pool(
    x: Device,
    size_h: int,
    size_w: int,
    stride_h: int,
    stride_w: int,
    pad_top: int,
    pad_left: int,
    out: Device,
) -> None:
    places = (size_h, size_w, stride_h, stride_w, pad_top, pad_left)
    launch.each("max_pool", x.dtype, out.size, x, *places, out, *x.shape, *out.shape[1:3])


@_row
def max_pool_backward(
    grad: Device,
    x: Device,
    size_h: int,
    size_w: int,
    stride_h: int,
    stride_w: int,
    pad_top: int,
    pad_left: int,
    dx: Device,
) -> None:
    places = (size_h, size_w, stride_h, stride_w, pad_top, pad_left)
    launch.each(
        "max_pool_backward", x.dtype, dx.size, grad, x, *places, dx, *x.shape, *grad.shape[1:3]
    )


@_row
def avg_pool(
    x: Device,
    size_h: int,
    size_w: int,
    stride_h: int,
    stride_w: int,
    pad_top: int,
    pad_left: int,
    out: Device,
) -> None:
    places = (size_h, size_w, stride_h, stride_w, pad_top, pad_left)
    launch.each("avg_pool", x.dtype, out.size, x, *places, out, *x.shape, *out.shape[1:3])


@_row
def avg_pool_backward(
    grad: Device,
    size_h: int,
    size_w: int,
    stride_h: int,
    stride_w: int,
    pad_top: int,
    pad_left: int,
    dx: Device,
) -> None:
    places = (size_h, size_w, stride_h, stride_w, pad_top, pad_left)
    launch.each(
        "avg_pool_backward", dx.dtype, dx.size, grad, *places, dx, *dx.shape, *grad.shape[1:3]
    )


def _plane(x: Device) -> tuple[int, int]:
    """Return how many rows of how many features x (B, M, C) has."""
    batch, places, features = x.shape
    return batch * places, features


@_row
def batch_norm(
    x: Device,
    gamma: Device | None,
    beta: Device | None,
    running_mean: Device,
    running_variance: Device,
    momentum: float,
    epsilon: float,
    mean: Device,
    inverse: Device,
    out: Device,
) -> None:
    launch.teams(
        "batch_norm", x.dtype, x.shape[2], x, gamma, beta, running_mean, running_variance,
        momentum, epsilon, mean, inverse, out, *_plane(x),
    )  # fmt: skip


@_row
def batch_norm_backward(
    grad: Device,
    x: Device,
    gamma: Device | None,
    mean: Device,
    inverse: Device,
    dgamma: Device | None,
    dbeta: Device | None,
    dx: Device | None,
) -> None:
    launch.teams(
        "batch_norm_backward", x.dtype, x.shape[2], grad, x, gamma, mean, inverse, dgamma, dbeta,
        dx, *_plane(x),
    )  # fmt: skip


@_row
def normalize(
    x: Device,
    mean: Device,
    variance: Device,
    gamma: Device | None,
    beta: Device | None,
    epsilon: float,
    out: Device,
) -> None:
    launch.each(
        "normalize", x.dtype, x.size, x, mean, variance, gamma, beta, epsilon, out, *_plane(x)
    )


@_row
def normalize_backward(
    grad: Device,
    x: Device,
    mean: Device,
    variance: Device,
    gamma: Device | None,
    epsilon: float,
    dgamma: Device | None,
    dbeta: Device | None,
    dx: Device | None,
) -> None:
    launch.teams(
        "normalize_backward", x.dtype, x.shape[2], grad, x, mean, variance, gamma, epsilon,
        dgamma, dbeta, dx, *_plane(x),
    )  # fmt: skip


@_row
def layer_norm(
    x: Device,
    gamma: Device | None,
    beta: Device | None,
    epsilon: float,
    mean: Device,
    inverse: Device,
    out: Device,
) -> None:
    rows, columns = _plane(x)
    launch.teams("layer_norm", x.dtype, rows, x, gamma, beta, epsilon, mean, inverse, out, columns)


@_row
def layer_norm_backward(
    grad: Device,
    x: Device,
    gamma: Device | None,
    mean: Device,
    inverse: Device,
    dgamma: Device | None,
    dbeta: Device | None,
    dx: Device | None,
) -> None:
    rows, columns = _plane(x)
    if dgamma is not None or dbeta is not None:
        launch.teams(
            "layer_norm_parameters", x.dtype, columns, grad, x, mean, inverse, dgamma, dbeta,
            rows, columns,
        )  # fmt: skip
    if dx is not None:
        launch.teams("layer_norm_inputs", x.dtype, rows, grad, x, gamma, mean, inverse, dx, columns)


@_row
def embedding(x: Device, w: Device, out: Device) -> None:
    launch.each("embedding", w.dtype, out.size, x, w, out, x.size, w.shape[1])


@_row
def embedding_backward(grad: Device, x: Device, dw: Device) -> None:
    launch.each("embedding_backward", dw.dtype, dw.size, grad, x, dw, x.size, *dw.shape)


@_row
def philox4x32(counter: Device, key: Device, words: Device) -> None:
    count = counter.shape[0]
    launch.each("philox4x32", SINGLE, count, counter, key, words, count)


def _counters(out: Device, width: int) -> int:
    """Return how many counters are drawn where 16 of them serve `width` columns."""
    rows: int = out.shape[0]
    columns: int = out.shape[1]
    return rows * (-(-columns // width) * 16)


@_row
def bits(seed: int, stream: int, step: int | Device, out: Device) -> None:
    launch.each("bits", SINGLE, _counters(out, 64), seed, stream, step, out, *out.shape)


@_row
def uniform(seed: int, stream: int, step: int | Device, out: Device) -> None:
    count = _counters(out, 64)
    launch.each("uniform", out.dtype, count, seed, stream, step, out, *out.shape)


@_row
def normal(seed: int, stream: int, step: int | Device, out: Device) -> None:
    launch.each(
        "gaussian_noise", out.dtype, _counters(out, 64),
        None, 1.0, seed, stream, step, out, *out.shape,
    )  # fmt: skip


@_row
def gaussian_noise(
    x: Device, stddev: float, seed: int, stream: int, step: int | Device, out: Device
) -> None:
    launch.each(
        "gaussian_noise", out.dtype, _counters(out, 64),
        x, stddev, seed, stream, step, out, *out.shape,
    )  # fmt: skip


@_row
def dropout(
    x: Device, rate: float, seed: int, stream: int, step: int | Device, out: Device
) -> None:
    threshold = dropout_threshold(rate)
    launch.each(
        "dropout", out.dtype, _counters(out, 128),
        x, threshold, 65536 / (65536 - threshold), seed, stream, step, out, *out.shape,
    )  # fmt: skip


def _shuffle() -> Kernel:
    """Return the fastest function here that shuffles: one swap waits for the one before it."""
    try:
        function: Kernel = native.kernels().permutation
    except ImportError:
        return reference.permutation
    return function


def permutation(seed: int, epoch: int, out: Device) -> None:
    """Shuffle in the processor, which is quicker at it, whatever memory `out` is in."""
    drawn = out if isinstance(out, np.ndarray) else np.empty(out.shape, np.int64)
    _shuffle()(seed, epoch, drawn)
    if drawn is not out:
        out.set(drawn)


@_row
def gather(source: Device, rows: Device, scale: float, out: Device) -> None:
    kernel = f"gather_{source.dtype.name}"
    batch, columns = out.shape
    launch.each(kernel, out.dtype, out.size, source, rows, scale, out, batch, columns)


@_row
def gather_labels(labels: Device, rows: Device, out: Device) -> None:
    launch.each("gather_labels", SINGLE, out.size, labels, rows, out, out.size)


@_row
def gather_weights(weights: Device, rows: Device, out: Device) -> None:
    launch.each("gather_weights", out.dtype, out.size, weights, rows, out, out.size)
