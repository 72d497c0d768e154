"""The Numba backend: the kernel table compiled at the first call, where no C compiler was at hand.

What each function computes is written in `mlcore.kernels.reference` under the same name. Numba
compiles one for each combination of dtypes and of arrays left out, and keeps the machine code on
disk for the next process: in ``__pycache__`` beside this file, in the user's cache folder where
that cannot be written, or in ``NUMBA_CACHE_DIR``; where no folder can be written it compiles
again. Small layers are plain loops in one call; large products go to NumPy's BLAS.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore.kernels.numba_compiled import compiled

# The rows of the other files.
from mlcore.kernels.numba_norm import batch_norm as batch_norm
from mlcore.kernels.numba_norm import batch_norm_backward as batch_norm_backward
from mlcore.kernels.numba_norm import layer_norm as layer_norm
from mlcore.kernels.numba_norm import layer_norm_backward as layer_norm_backward
from mlcore.kernels.numba_norm import normalize as normalize
from mlcore.kernels.numba_norm import normalize_backward as normalize_backward
from mlcore.kernels.numba_spatial import avg_pool as avg_pool
from mlcore.kernels.numba_spatial import avg_pool_backward as avg_pool_backward
from mlcore.kernels.numba_spatial import conv2d as conv2d
from mlcore.kernels.numba_spatial import conv2d_backward as conv2d_backward
from mlcore.kernels.numba_spatial import embedding as embedding
from mlcore.kernels.numba_spatial import embedding_backward as embedding_backward
from mlcore.kernels.numba_spatial import max_pool as max_pool
from mlcore.kernels.numba_spatial import max_pool_backward as max_pool_backward
from mlcore.kernels.reference import Bits, Index, Labels, Real, Sums, dropout_threshold

# These move whole blocks, are one product, or a few numbers: nothing is gained from compiling them.
from mlcore.kernels.reference import pack_panels as pack_panels
from mlcore.kernels.reference import penalty as penalty
from mlcore.kernels.reference import product as product
from mlcore.kernels.reference import unpack_panels as unpack_panels
from mlcore.kernels.table import BLOCK

# The codes are written out: a cached function keeps the number it was compiled with, and is
# compiled anew only when this file changes.
IDENTITY, RELU, RELU6, LEAKY_RELU, ELU, TANH = 0, 1, 2, 3, 4, 5
SIGMOID, SOFTPLUS, SILU, GELU, SOFTMAX, LOG_SOFTMAX = 6, 7, 8, 9, 10, 11
CODES = {
    "identity": IDENTITY, "relu": RELU, "relu6": RELU6, "leaky_relu": LEAKY_RELU, "elu": ELU,
    "tanh": TANH, "sigmoid": SIGMOID, "softplus": SOFTPLUS, "silu": SILU, "gelu": GELU,
    "softmax": SOFTMAX, "log_softmax": LOG_SOFTMAX,
}  # fmt: skip

# Products of more multiplications than this are faster in BLAS, its call and all.
SMALL_PRODUCT = 12_000
ROOT_HALF = math.sqrt(0.5)
ROOT_OF_TWO_PI = math.sqrt(2 * math.pi)

# Numba takes uint64 with a plain integer to float64, so these are unsigned too.
LOW_HALF = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
INCREMENTS = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
STREAM_SHIFT = np.uint64(16)


@compiled
def _logistic(x: Any) -> Any:
    one = type(x)(1)
    small = math.exp(-abs(x))
    return (one if x >= 0 else small) / (one + small)


@compiled
def _softplus(x: Any) -> Any:
    return (type(x)(0) if x < 0 else x) + math.log1p(math.exp(-abs(x)))


@compiled
def _normal_below(x: Any) -> Any:
    real = type(x)
    return real(0.5) * (real(1) + math.erf(x * real(ROOT_HALF)))


@compiled
def _row_maximum(x: Real, row: int) -> Any:
    top = x.dtype.type(-np.inf)
    for j in range(x.shape[1]):
        if not x[row, j] <= top:
            top = x[row, j]
    return top


@compiled
def _row_log_sum_exp(x: Real, row: int) -> Any:
    top = _row_maximum(x, row)
    total = x.dtype.type(0)
    for j in range(x.shape[1]):
        total += math.exp(x[row, j] - top)
    return top + math.log(total)


@compiled
def _row_softmax(x: Real, row: int, out: Real) -> None:
    top = _row_maximum(x, row)
    total = x.dtype.type(0)
    for j in range(x.shape[1]):
        out[row, j] = math.exp(x[row, j] - top)
        total += out[row, j]
    for j in range(x.shape[1]):
        out[row, j] /= total


@compiled
def _activate(code: int, parameter: float, x: Real, out: Real) -> None:
    """Write activation(x) into `out`, which may be `x`; tanh is not among them."""
    real = x.dtype.type
    a, zero, six = real(parameter), real(0), real(6)
    flat, y = x.reshape(-1), out.reshape(-1)
    if code == IDENTITY:
        for i in range(flat.size):
            y[i] = flat[i]
    elif code == RELU:
        for i in range(flat.size):
            y[i] = zero if flat[i] < 0 else flat[i]
    elif code == RELU6:
        for i in range(flat.size):
            value = zero if flat[i] < 0 else flat[i]
            y[i] = six if value > 6 else value
    elif code == LEAKY_RELU:
        for i in range(flat.size):
            y[i] = flat[i] if flat[i] > 0 else a * flat[i]
    elif code == ELU:
        for i in range(flat.size):
            y[i] = flat[i] if flat[i] > 0 else a * math.expm1(flat[i])
    elif code == SIGMOID:
        for i in range(flat.size):
            y[i] = _logistic(a * flat[i])
    elif code == SOFTPLUS:
        for i in range(flat.size):
            y[i] = _softplus(flat[i])
    elif code == SILU:
        for i in range(flat.size):
            y[i] = flat[i] * _logistic(flat[i])
    elif code == GELU:
        for i in range(flat.size):
            y[i] = flat[i] * _normal_below(flat[i])
    elif code == SOFTMAX:
        for row in range(x.shape[0]):
            _row_softmax(x, row, out)
    elif code == LOG_SOFTMAX:
        for row in range(x.shape[0]):
            total = _row_log_sum_exp(x, row)
            for j in range(x.shape[1]):
                out[row, j] = x[row, j] - total


@compiled
def _activate_backward(code: int, parameter: float, grad: Real, stored: Real, out: Real) -> None:
    """Write grad times the activation's derivative into `out`, which may be `grad`."""
    real = grad.dtype.type
    a, zero, one = real(parameter), real(0), real(1)
    g, y, dz = grad.reshape(-1), stored.reshape(-1), out.reshape(-1)
    if code == IDENTITY:
        for i in range(g.size):
            dz[i] = g[i]
    elif code == RELU:
        for i in range(g.size):
            dz[i] = g[i] * (zero if y[i] <= 0 else one)
    elif code == RELU6:
        for i in range(g.size):
            dz[i] = g[i] * (zero if y[i] <= 0 or y[i] >= 6 else one)
    elif code == LEAKY_RELU:
        for i in range(g.size):
            dz[i] = g[i] * (a if y[i] <= 0 else one)
    elif code == ELU:
        for i in range(g.size):
            dz[i] = g[i] * (y[i] + a if y[i] <= 0 else one)
    elif code == TANH:
        for i in range(g.size):
            dz[i] = g[i] * (one - y[i] * y[i])
    elif code == SIGMOID:
        for i in range(g.size):
            dz[i] = g[i] * (a * y[i] * (one - y[i]))
    elif code == SOFTPLUS:
        for i in range(g.size):
            dz[i] = g[i] * -math.expm1(-y[i])
    elif code == SILU:
        for i in range(g.size):
            share = _logistic(y[i])
            dz[i] = g[i] * (share * (one + y[i] * (one - share)))
    elif code == GELU:
        for i in range(g.size):
            density = math.exp(real(-0.5) * y[i] * y[i]) / real(ROOT_OF_TWO_PI)
            dz[i] = g[i] * (_normal_below(y[i]) + y[i] * density)
    elif code == SOFTMAX:
        for row in range(grad.shape[0]):
            total = zero
            for j in range(grad.shape[1]):
                total += grad[row, j] * stored[row, j]
            for j in range(grad.shape[1]):
                out[row, j] = stored[row, j] * (grad[row, j] - total)
    elif code == LOG_SOFTMAX:
        for row in range(grad.shape[0]):
            total = zero
            for j in range(grad.shape[1]):
                total += grad[row, j]
            for j in range(grad.shape[1]):
                out[row, j] = grad[row, j] - math.exp(stored[row, j]) * total


def activation(x: Real, activation: str, parameter: float, out: Real) -> None:
    """Write activation(x) into `out`, which may be `x` itself; shapes (B, N)."""
    if activation == "tanh":
        # NumPy's is vectorised; a compiled loop would call the C library for every element.
        np.tanh(x, out)
    else:
        _activate(CODES[activation], parameter, x, out)


def activation_backward(
    grad: Real, stored: Real, activation: str, parameter: float, out: Real
) -> None:
    """Write grad times the activation's derivative into `out`; shapes (B, N)."""
    _activate_backward(CODES[activation], parameter, grad, stored, out)


@compiled
def _product(a: Real, b: Real, out: Real) -> None:
    """Write a @ b into `out`.

    The depth is the outer loop: the sums of neighbouring rows then do not wait for each other.
    """
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            out[row, column] = 0
    for depth in range(b.shape[0]):
        for row in range(out.shape[0]):
            factor = a[row, depth]
            for column in range(out.shape[1]):
                out[row, column] += factor * b[depth, column]


@compiled
def _finish(b: Real | None, code: int, parameter: float, pre: Real | None, out: Real) -> None:
    """Turn the product in `out` into the output of the layer."""
    if b is not None:
        for row in range(out.shape[0]):
            for column in range(out.shape[1]):
                out[row, column] += b[column]
    if pre is not None:
        _activate(IDENTITY, parameter, out, pre)
    if code != IDENTITY:
        _activate(code, parameter, out, out)


@compiled
def _small_linear(
    x: Real, w: Real, b: Real | None, code: int, parameter: float, pre: Real | None, out: Real
) -> None:
    _product(x, w, out)
    _finish(b, code, parameter, pre, out)


def linear(
    x: Real,
    w: Real,
    b: Real | None,
    activation: str,
    parameter: float,
    pre: Real | None,
    out: Real,
) -> None:
    """Write activation(x @ w + b) into `out`, and x @ w + b into `pre` where it is wanted."""
    vectorised = activation == "tanh"
    code = IDENTITY if vectorised else CODES[activation]
    if x.shape[0] * w.size <= SMALL_PRODUCT:
        _small_linear(x, w, b, code, parameter, pre, out)
    else:
        np.matmul(x, w, out)
        _finish(b, code, parameter, pre, out)
    if vectorised:
        np.tanh(out, out)


@compiled
def _column_sums(x: Real, out: Real) -> None:
    # In float64: a batch may be long.
    totals = np.zeros(x.shape[1])
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            totals[column] += x[row, column]
    for column in range(x.shape[1]):
        out[column] = totals[column]


@compiled
def _small_linear_backward(
    grad: Real,
    x: Real,
    w: Real,
    stored: Real,
    code: int,
    parameter: float,
    dz: Real,
    dw: Real | None,
    db: Real | None,
    dx: Real | None,
) -> None:
    _activate_backward(code, parameter, grad, stored, dz)
    if dw is not None:
        _product(x.T, dz, dw)
    if db is not None:
        _column_sums(dz, db)
    if dx is not None:
        # The copy lets the inner loop run over neighbours.
        _product(dz, w.T.copy(), dx)


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
    """Write the gradients of `linear` from `grad`, that of its output."""
    code = CODES[activation]
    if x.shape[0] * w.size <= SMALL_PRODUCT:
        _small_linear_backward(grad, x, w, stored, code, parameter, dz, dw, db, dx)
        return
    _activate_backward(code, parameter, grad, stored, dz)
    if dw is not None:
        np.matmul(x.T, dz, dw)
    if db is not None:
        _column_sums(dz, db)
    if dx is not None:
        np.matmul(dz, w.T, dx)


@compiled
def _whole_of(weights: Real | None, rows: int) -> float:
    """Return what a weight is divided by: no sample counts where all weights are zero."""
    if weights is None:
        return float(rows)
    whole = 0.0
    for row in range(rows):
        whole += weights[row]
    return np.inf if whole == 0 else whole


@compiled
def softmax_cross_entropy(
    logits: Real,
    labels: Labels | None,
    targets: Real | None,
    weights: Real | None,
    smoothing: float,
    losses: Real,
    grad: Real | None,
) -> None:
    """Write each sample's weighted cross-entropy, and the gradient of their weighted mean."""
    real = logits.dtype.type
    rows, columns = logits.shape
    whole = _whole_of(weights, rows)
    kept, spread = real(1 - smoothing), real(smoothing / columns)
    for row in range(rows):
        weight = real(1) if weights is None else weights[row]
        share = real(weight / whole)
        total = _row_log_sum_exp(logits, row)
        if grad is not None:
            _row_softmax(logits, row, grad)
        loss, mass = real(0), real(1)
        label = -1
        if labels is not None:
            label = labels[row]
        if targets is not None:
            given = real(0)
            for j in range(columns):
                given += targets[row, j]
            mass = given * kept + real(smoothing)
        for j in range(columns):
            wanted = spread
            if targets is not None:
                wanted += kept * targets[row, j]
            elif j == label:
                wanted += kept
            if wanted != 0:
                loss += wanted * (total - logits[row, j])
            if grad is not None:
                grad[row, j] = share * (grad[row, j] * mass - wanted)
        losses[row] = weight * loss


SIGMOID_LOSS, SQUARED_LOSS, ABSOLUTE_LOSS, HUBER_LOSS = 0, 1, 2, 3
HINGE_LOSS, SQUARED_HINGE_LOSS = 4, 5


@compiled
def _hinged(loss: int, slack: Any) -> tuple[Any, Any]:
    """Return max(0, slack) or its square, and the derivative, one at the kink of the first."""
    real = type(slack)
    inside = real(0) if slack < 0 else slack
    if loss == SQUARED_HINGE_LOSS:
        return inside * inside, real(2) * inside
    return inside, real(1) if slack >= 0 else inside


@compiled
def _loss_term(loss: int, setting: float, output: Any, target: Any) -> tuple[Any, Any]:
    """Return the loss of one output, and its derivative."""
    real = type(output)
    number = real(setting)
    error = output - target
    if loss == SIGMOID_LOSS:
        wanted = target * (real(1) - number) + number / real(2)
        return _softplus(output) - output * wanted, _logistic(output) - wanted
    if loss == SQUARED_LOSS:
        return error * error, real(2) * error
    if loss == ABSOLUTE_LOSS:
        return abs(error), real(1) if error > 0 else real(-1) if error < 0 else error
    if loss == HUBER_LOSS:
        near = -number if error < -number else number if error > number else error
        return near * (error - near / real(2)), near
    term, steepness = _hinged(loss, number - target * output)
    return term, -target * steepness


@compiled
def _mean_losses(
    loss: int,
    setting: float,
    outputs: Real,
    targets: Real,
    weights: Real | None,
    losses: Real,
    grad: Real | None,
) -> None:
    real = outputs.dtype.type
    rows, columns = outputs.shape
    whole = _whole_of(weights, rows) * columns
    for row in range(rows):
        weight = real(1) if weights is None else weights[row]
        share = real(weight / whole)
        total = real(0)
        for j in range(columns):
            term, slope = _loss_term(loss, setting, outputs[row, j], targets[row, j])
            total += term
            if grad is not None:
                grad[row, j] = share * slope
        losses[row] = weight * (total / real(columns))


@compiled
def _class_hinge(
    loss: int,
    margin: float,
    outputs: Real,
    labels: Labels,
    weights: Real | None,
    losses: Real,
    grad: Real | None,
) -> None:
    real = outputs.dtype.type
    rows, columns = outputs.shape
    whole = _whole_of(weights, rows)
    for row in range(rows):
        weight = real(1) if weights is None else weights[row]
        share = real(weight / whole)
        label = labels[row]
        largest, rival = real(-np.inf), label
        for j in range(columns):
            if j != label and not outputs[row, j] <= largest:
                largest, rival = outputs[row, j], j
                if math.isnan(largest):
                    break
        term, steepness = _hinged(loss, real(margin) + (largest - outputs[row, label]))
        losses[row] = weight * term
        if grad is not None:
            for j in range(columns):
                grad[row, j] = share * real(0)
            grad[row, rival] += share * steepness
            grad[row, label] -= share * steepness


def sigmoid_cross_entropy(
    logits: Real,
    targets: Real,
    weights: Real | None,
    smoothing: float,
    losses: Real,
    grad: Real | None,
) -> None:
    """Write each sample's weighted mean binary cross-entropy, and the gradient; (B, N)."""
    _mean_losses(SIGMOID_LOSS, smoothing, logits, targets, weights, losses, grad)


def mse(
    outputs: Real, targets: Real, weights: Real | None, losses: Real, grad: Real | None
) -> None:
    """Write each sample's weighted mean squared error, and the gradient; (B, N)."""
    _mean_losses(SQUARED_LOSS, 0.0, outputs, targets, weights, losses, grad)


def mae(
    outputs: Real, targets: Real, weights: Real | None, losses: Real, grad: Real | None
) -> None:
    """Write each sample's weighted mean absolute error, and the gradient; (B, N)."""
    _mean_losses(ABSOLUTE_LOSS, 0.0, outputs, targets, weights, losses, grad)


def huber(
    outputs: Real,
    targets: Real,
    weights: Real | None,
    delta: float,
    losses: Real,
    grad: Real | None,
) -> None:
    """Write each sample's weighted mean of Huber's function, and the gradient; (B, N)."""
    _mean_losses(HUBER_LOSS, delta, outputs, targets, weights, losses, grad)


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
    """Write each sample's weighted hinge loss, or its square, and the gradient; (B, N)."""
    loss = SQUARED_HINGE_LOSS if squared else HINGE_LOSS
    if labels is not None:
        _class_hinge(loss, margin, outputs, labels, weights, losses, grad)
    else:
        assert targets is not None
        _mean_losses(loss, margin, outputs, targets, weights, losses, grad)


@compiled
def _decayed(gradient: Any, decay: Any, parameter: Any) -> Any:
    """Without decay an infinite parameter must not turn the gradient into NaN."""
    return gradient if decay == 0 else gradient + decay * parameter


@compiled
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
    """Update `parameters` (P,) in place; the definition of ``torch.optim.SGD``."""
    real = parameters.dtype.type
    rate, decay = real(learning_rate), real(weight_decay)
    keep, take = real(momentum), real(1 - dampening)
    for i in range(parameters.size):
        change = _decayed(gradients[i], decay, parameters[i])
        if velocity is not None:
            # The first step ignores what stands in the velocity, which may be anything.
            velocity[i] = change if step == 1 else keep * velocity[i] + take * change
            change = change + keep * velocity[i] if nesterov else velocity[i]
        parameters[i] -= rate * change


@compiled
def _adam_step(
    parameters: Real,
    gradients: Real,
    first_moment: Real,
    second_moment: Real,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    shrinkage: float,
    weight_decay: float,
    step: int,
) -> None:
    real = parameters.dtype.type
    shrink, decay, small = real(1 - shrinkage), real(weight_decay), real(epsilon)
    # In float32, 1 - 0.999 would be off by a hundred thousandth.
    keep_1, take_1 = real(beta_1), real(1 - beta_1)
    keep_2, take_2 = real(beta_2), real(1 - beta_2)
    scale = real(learning_rate / (1 - beta_1**step))
    root_scale = real(1 / math.sqrt(1 - beta_2**step))
    for i in range(parameters.size):
        parameter = parameters[i] * shrink
        change = _decayed(gradients[i], decay, parameter)
        first_moment[i] = keep_1 * first_moment[i] + take_1 * change
        second_moment[i] = keep_2 * second_moment[i] + take_2 * change * change
        root = math.sqrt(second_moment[i]) * root_scale
        parameters[i] = parameter - scale * first_moment[i] / (root + small)


@compiled
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
    """Update `parameters` (P,) in place; the definition of ``torch.optim.Adam``."""
    _adam_step(
        parameters, gradients, first_moment, second_moment,
        learning_rate, beta_1, beta_2, epsilon, 0.0, weight_decay, step,
    )  # fmt: skip


@compiled
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
    """Update `parameters` (P,) in place; the definition of ``torch.optim.AdamW``."""
    _adam_step(
        parameters, gradients, first_moment, second_moment,
        learning_rate, beta_1, beta_2, epsilon, learning_rate * weight_decay, 0.0, step,
    )  # fmt: skip


@compiled
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
    """Update `parameters` (P,) in place; the definition of ``torch.optim.RMSprop``."""
    real = parameters.dtype.type
    rate, decay, small = real(learning_rate), real(weight_decay), real(epsilon)
    keep, take = real(rho), real(1 - rho)
    for i in range(parameters.size):
        change = _decayed(gradients[i], decay, parameters[i])
        square_average[i] = keep * square_average[i] + take * change * change
        variance = square_average[i]
        if gradient_average is not None:
            gradient_average[i] = keep * gradient_average[i] + take * change
            variance -= gradient_average[i] * gradient_average[i]
            variance = real(0) if variance < 0 else variance
        change /= math.sqrt(variance) + small
        if velocity is not None:
            velocity[i] = real(momentum) * velocity[i] + change
            change = velocity[i]
        parameters[i] -= rate * change


@compiled
def adagrad(
    parameters: Real,
    gradients: Real,
    square_sum: Real,
    learning_rate: float,
    epsilon: float,
    weight_decay: float,
) -> None:
    """Update `parameters` (P,) in place; the definition of ``torch.optim.Adagrad``."""
    real = parameters.dtype.type
    rate, decay, small = real(learning_rate), real(weight_decay), real(epsilon)
    for i in range(parameters.size):
        change = _decayed(gradients[i], decay, parameters[i])
        square_sum[i] += change * change
        parameters[i] -= rate * change / (math.sqrt(square_sum[i]) + small)


@compiled
def block_sums(x: Real, sums: Sums) -> None:
    """Write sum(|x|) and sum(x*x) of each block of x (P,) to sums (Q, 2)."""
    for number in range(len(sums)):
        magnitudes, squares = 0.0, 0.0
        for i in range(number * BLOCK, min(x.size, (number + 1) * BLOCK)):
            value = np.float64(x[i])
            magnitudes += abs(value)
            squares += value * value
        sums[number, 0] = magnitudes
        sums[number, 1] = squares


@compiled
def _sum_of_squares(sums: Sums) -> float:
    total = 0.0
    for number in range(len(sums)):
        total += sums[number, 1]
    return total


@compiled
def penalty_gradient(
    parameters: Real, sums: Sums, l1: float, l2: float, norm: float, gradients: Real
) -> None:
    """Add the slope of `penalty` to gradients (P,)."""
    real = parameters.dtype.type
    squares = _sum_of_squares(sums)
    slope = 2.0 * l2
    if squares != 0:
        slope += norm / math.sqrt(squares)
    scale, step = real(slope), real(l1)
    for i in range(parameters.size):
        parameter = parameters[i]
        if step != 0:
            # Zero has no sign, and NaN stays NaN.
            sign = real(1) if parameter > 0 else real(-1) if parameter < 0 else parameter
            gradients[i] += step * sign
        if scale != 0:
            gradients[i] += scale * parameter


@compiled
def accumulate(gradients: Real, total: Real, number: int, steps: int) -> None:
    """Add gradients (P,) to `total`; at the last of `steps` make them the mean of all."""
    count = total.dtype.type(steps)
    for i in range(gradients.size):
        total[i] = gradients[i] if number == 0 else total[i] + gradients[i]
        if number == steps - 1:
            gradients[i] = total[i] / count


@compiled
def clip(gradients: Real, sums: Sums | None, limit: float) -> None:
    """Scale gradients (P,) down to a norm of `limit`, or cut each off at -limit and limit."""
    real = gradients.dtype.type
    if sums is None:
        most = real(limit)
        for i in range(gradients.size):
            if gradients[i] > most:
                gradients[i] = most
            elif gradients[i] < -most:
                gradients[i] = -most
    else:
        wanted = limit / (math.sqrt(_sum_of_squares(sums)) + 1e-6)
        # Written so that NaN stays NaN.
        scale = real(1.0 if wanted > 1 else wanted)
        for i in range(gradients.size):
            gradients[i] *= scale


@compiled
def max_norm(weights: Real, limit: float) -> None:
    """Scale each column of `weights` (K, N) whose norm is above `limit` down to it."""
    real = weights.dtype.type
    most = real(limit)
    scales = np.zeros(weights.shape[1], weights.dtype)
    for k in range(weights.shape[0]):
        for n in range(weights.shape[1]):
            scales[n] += weights[k, n] * weights[k, n]
    for n in range(weights.shape[1]):
        norm = math.sqrt(scales[n])
        scales[n] = most / norm if norm > most else real(1)
    for k in range(weights.shape[0]):
        for n in range(weights.shape[1]):
            weights[k, n] *= scales[n]


@compiled
def _philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Return ten rounds of Philox4x32; every number is 32 bits in a uint64."""
    for _ in range(10):
        left = c0 * MULTIPLIERS[0]
        right = c2 * MULTIPLIERS[1]
        c0, c1 = (right >> HALF) ^ c1 ^ k0, right & LOW_HALF
        c2, c3 = (left >> HALF) ^ c3 ^ k1, left & LOW_HALF
        k0 = (k0 + INCREMENTS[0]) & LOW_HALF
        k1 = (k1 + INCREMENTS[1]) & LOW_HALF
    return c0, c1, c2, c3


@compiled
def philox4x32(counter: Bits, key: Bits, words: Bits) -> None:
    """Write ten rounds of Philox4x32 of each counter into `words`; (C, 4) and (2,) uint32."""
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for i in range(counter.shape[0]):
        words[i, 0], words[i, 1], words[i, 2], words[i, 3] = _philox(
            np.uint64(counter[i, 0]), np.uint64(counter[i, 1]),
            np.uint64(counter[i, 2]), np.uint64(counter[i, 3]), k0, k1,
        )  # fmt: skip


@compiled
def _stream(seed: Any, stream: int, step: int) -> Any:
    """Return what all counters of a call share: two words of counter, then the key."""
    tag = (np.uint64(stream) << STREAM_SHIFT) | (np.uint64(step) >> HALF)
    return np.uint64(step) & LOW_HALF, tag, seed & LOW_HALF, seed >> HALF


@compiled
def _draw(drawn: Any, row: int, block: int, words: Bits) -> None:
    """Write the 64 words of a block of sixteen counters, in the order of their columns."""
    step, tag, low, high = drawn
    for lane in range(16):
        words[lane], words[16 + lane], words[32 + lane], words[48 + lane] = _philox(
            np.uint64(16 * block + lane), np.uint64(row), step, tag, low, high
        )


# Numba takes a Python integer as a signed one, so the functions below hand the seed on as uint64.


@compiled
def _bits(seed: Any, stream: int, step: int, out: Bits) -> None:
    drawn, words = _stream(seed, stream, step), np.empty(64, np.uint32)
    rows, columns = out.shape
    for row in range(rows):
        for start in range(0, columns, 64):
            _draw(drawn, row, start // 64, words)
            for at in range(min(64, columns - start)):
                out[row, start + at] = words[at]


def bits(seed: int, stream: int, step: int, out: Bits) -> None:
    """Write the 32 random bits of every (row, column) into `out` (B, N)."""
    _bits(np.uint64(seed), stream, step, out)


@compiled
def _uniform(seed: Any, stream: int, step: int, out: Real) -> None:
    drawn, words = _stream(seed, stream, step), np.empty(64, np.uint32)
    real = out.dtype.type
    rows, columns = out.shape
    for row in range(rows):
        for start in range(0, columns, 64):
            _draw(drawn, row, start // 64, words)
            for at in range(min(64, columns - start)):
                out[row, start + at] = real(words[at] >> 8) * real(2.0**-24)


def uniform(seed: int, stream: int, step: int, out: Real) -> None:
    """Write uniform numbers in [0, 1) with 24 bits, the same in every dtype, into `out` (B, N)."""
    _uniform(np.uint64(seed), stream, step, out)


@compiled
def _normals(words: Bits, out: Real) -> None:
    """Write the 64 normal numbers of a block: Box and Muller of words 16 places apart."""
    real = out.dtype.type
    for pair in range(0, 64, 32):
        for at in range(pair, pair + 16):
            share = (real(words[at] >> 9) + real(0.5)) * real(2.0**-23)
            radius = math.sqrt(real(-2) * math.log(share))
            angle = real(2 * math.pi) * (real(words[at + 16] >> 8) * real(2.0**-24))
            out[at] = radius * math.cos(angle)
            out[at + 16] = radius * math.sin(angle)


@compiled
def _noise(x: Real | None, stddev: float, seed: Any, stream: int, step: int, out: Real) -> None:
    drawn, words = _stream(seed, stream, step), np.empty(64, np.uint32)
    numbers, scale = np.empty(64, out.dtype), out.dtype.type(stddev)
    rows, columns = out.shape
    for row in range(rows):
        for start in range(0, columns, 64):
            _draw(drawn, row, start // 64, words)
            _normals(words, numbers)
            for at in range(min(64, columns - start)):
                value = scale * numbers[at]
                if x is not None:
                    value += x[row, start + at]
                out[row, start + at] = value


def normal(seed: int, stream: int, step: int, out: Real) -> None:
    """Write standard normal numbers into `out` (B, N)."""
    _noise(None, 1.0, np.uint64(seed), stream, step, out)


def gaussian_noise(x: Real, stddev: float, seed: int, stream: int, step: int, out: Real) -> None:
    """Write x plus stddev times `normal` into `out`, which may be `x`; (B, N)."""
    _noise(x, stddev, np.uint64(seed), stream, step, out)


@compiled
def _dropout(x: Real, threshold: int, seed: Any, stream: int, step: int, out: Real) -> None:
    drawn, words = _stream(seed, stream, step), np.empty(64, np.uint32)
    zero, scale = out.dtype.type(0), out.dtype.type(65536 / (65536 - threshold))
    rows, columns = out.shape
    for row in range(rows):
        for start in range(0, columns, 128):
            _draw(drawn, row, start // 128, words)
            for at in range(min(128, columns - start)):
                word = words[16 * (at // 32) + at % 16]
                number = word & 0xFFFF if at % 32 < 16 else word >> 16
                out[row, start + at] = x[row, start + at] * (scale if number >= threshold else zero)


def dropout(x: Real, rate: float, seed: int, stream: int, step: int, out: Real) -> None:
    """Write x / (1 - q) where a unit is kept and zero where it is dropped; (B, N)."""
    _dropout(x, dropout_threshold(rate), np.uint64(seed), stream, step, out)


@compiled
def _permutation(seed: Any, epoch: int, out: Index) -> None:
    drawn, words = _stream(seed, 65_535, epoch), np.empty(64, np.uint32)
    for place in range(out.size):
        out[place] = place
    for last in range(out.size - 1, 0, -1):
        if last == out.size - 1 or last % 64 == 63:
            _draw(drawn, 0, last // 64, words)
        other = (np.uint64(words[last % 64]) * np.uint64(last + 1)) >> HALF
        out[last], out[other] = out[other], out[last]


def permutation(seed: int, epoch: int, out: Index) -> None:
    """Write a shuffle of 0..S-1 into `out` (S,): Fisher and Yates, one 32-bit word a swap."""
    _permutation(np.uint64(seed), epoch, out)


@compiled
def gather(source: Any, rows: Index, scale: float, out: Real) -> None:
    """Write source[rows] * scale in the dtype of `out`; source (S, N), rows (B,), out (B, N)."""
    real = out.dtype.type
    factor = real(scale)
    for i in range(rows.size):
        row = rows[i]
        for j in range(out.shape[1]):
            out[i, j] = real(source[row, j]) * factor


@compiled
def gather_labels(labels: Labels, rows: Index, out: Labels) -> None:
    """Write labels[rows] into `out`; labels (S,), rows and out (B,)."""
    for i in range(rows.size):
        out[i] = labels[rows[i]]


@compiled
def gather_weights(weights: Real, rows: Index, out: Real) -> None:
    """Write weights[rows] into `out`; weights (S,), rows and out (B,)."""
    for i in range(rows.size):
        out[i] = weights[rows[i]]
