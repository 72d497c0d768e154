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


def softmax_cross_entropy(
    logits: Real, labels: Labels | None, targets: Real | None, losses: Real, grad: Real | None
) -> None:
    """Write each sample's cross-entropy, and the gradient of their mean.

    `labels` (B,) holds class numbers; or `targets` (B, N) holds a distribution a row.
    log-sum-exp is per row, so a logit far below the maximum stays finite.
    """
    total = _log_sum_exp(logits)
    if labels is not None:
        every = np.arange(len(labels))
        losses[...] = total[:, 0] - logits[every, labels]
        if grad is not None:
            grad[...] = _softmax(logits) / len(logits)
            grad[every, labels] -= grad.dtype.type(1 / max(1, len(logits)))
    elif targets is not None:
        terms = np.where(targets == 0, 0, targets * (total - logits))
        losses[...] = terms.sum(axis=1)
        if grad is not None:
            mass = targets.sum(axis=1, keepdims=True)
            grad[...] = (_softmax(logits) * mass - targets) / len(logits)


def sigmoid_cross_entropy(logits: Real, targets: Real, losses: Real, grad: Real | None) -> None:
    """Write each sample's mean binary cross-entropy, and the gradient of their mean; (B, N)."""
    terms = np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))
    losses[...] = terms.mean(axis=1)
    if grad is not None:
        grad[...] = (_sigmoid(logits) - targets) / logits.size


def mse(outputs: Real, targets: Real, losses: Real, grad: Real | None) -> None:
    """Write each sample's mean squared error, and the gradient of their mean; (B, N)."""
    error = outputs - targets
    losses[...] = (error * error).mean(axis=1)
    if grad is not None:
        grad[...] = 2 * error / outputs.size


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
    c0, c1, c2, c3 = (counter[:, word].astype(np.uint64) for word in range(4))
    k0, k1 = (int(word) for word in key)
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    for _ in range(10):
        left = c0 * np.uint64(0xD2511F53)
        right = c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (right >> half) ^ c1 ^ np.uint64(k0), right & low
        c2, c3 = (left >> half) ^ c3 ^ np.uint64(k1), left & low
        k0 = (k0 + 0x9E3779B9) & 0xFFFFFFFF
        k1 = (k1 + 0xBB67AE85) & 0xFFFFFFFF
    for word, value in enumerate((c0, c1, c2, c3)):
        words[:, word] = value


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
    out[...] = (drawn >> np.uint32(8)).astype(out.dtype) * out.dtype.type(2.0**-24)


def normal(seed: int, stream: int, step: int, out: Real) -> None:
    """Write standard normal numbers into `out` (B, N): Box and Muller 1958.

    The pairs are the first and second, and the third and fourth words of a counter, so the
    cosine and the sine of a pair stand 16 columns apart. Both uniforms are exact in float32.
    """
    rows, columns = out.shape
    words = _word_blocks(seed, stream, step, rows, -(-columns // 64))
    kind = out.dtype.type
    radius_bits = (words[:, :, 0::2] >> np.uint32(9)).astype(out.dtype)
    angle_bits = (words[:, :, 1::2] >> np.uint32(8)).astype(out.dtype)
    radius = np.sqrt(-2 * np.log((radius_bits + kind(0.5)) * kind(2.0**-23)))
    angle = (2 * math.pi) * (angle_bits * kind(2.0**-24))
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=3)
    out[...] = pairs.reshape(rows, words.shape[1] * 64)[:, :columns]


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
