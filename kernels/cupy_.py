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
from mlcore.kernels.table import ACTIVATIONS, TABLE

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


@_row
def softmax_cross_entropy(
    logits: Device,
    labels: Device | None,
    targets: Device | None,
    losses: Device,
    grad: Device | None,
) -> None:
    launch.each(
        "softmax_cross_entropy", logits.dtype, logits.shape[0],
        logits, labels, targets, losses, grad, *logits.shape,
    )  # fmt: skip


@_row
def sigmoid_cross_entropy(
    logits: Device, targets: Device, losses: Device, grad: Device | None
) -> None:
    launch.each(
        "sigmoid_cross_entropy", logits.dtype, logits.shape[0],
        logits, targets, losses, grad, *logits.shape,
    )  # fmt: skip


@_row
def mse(outputs: Device, targets: Device, losses: Device, grad: Device | None) -> None:
    launch.each(
        "mse", outputs.dtype, outputs.shape[0], outputs, targets, losses, grad, *outputs.shape
    )


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
