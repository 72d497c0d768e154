"""The derivative of the activation: forgotten, of another function, or taken at the wrong place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlcore.gradcheck.compare import Comparison
from mlcore.gradcheck.context import Context
from mlcore.gradcheck.hypotheses.base import Prediction, hypothesis
from mlcore.gradcheck.subject import Array
from mlcore.kernels.reference import FORMULAS, SLOPES
from mlcore.kernels.table import ACTIVATIONS

# The functions with the parameters that people give them.
VARIANTS: list[tuple[str, float]] = [
    (name, parameter)
    for name, spec in ACTIVATIONS.items()
    if not spec.rowwise and name in FORMULAS and name in SLOPES
    for parameter in {
        "leaky_relu": (0.01, 0.1, 0.2, 0.3),
        "elu": (1.0,),
    }.get(name, (spec.default,))
]  # fmt: skip
FORGOTTEN = "missing_activation_derivative"
WRONG = "wrong_activation_derivative"


def value(name: str, parameter: float, z: Array) -> Array:
    """Return the activation of z."""
    with np.errstate(all="ignore"):
        return FORMULAS[name](z, parameter)


def slope(name: str, parameter: float, z: Array) -> Array:
    """Return the derivative of the activation at z."""
    with np.errstate(all="ignore"):
        stored = z if ACTIVATIONS[name].stored == "input" else FORMULAS[name](z, parameter)
        return SLOPES[name](stored, parameter)


def mistaken_slopes(name: str, parameter: float, z: Array) -> Iterator[tuple[str, str, Array]]:
    """Yield what may stand in place of an activation's derivative: fault, words, numbers."""
    right = slope(name, parameter, z)
    y = value(name, parameter, z)
    yield FORGOTTEN, "", np.ones_like(z)
    for other, setting in VARIANTS:
        if (other, setting) != (name, parameter) and other != "identity":
            yield WRONG, f"the derivative of {other}", slope(other, setting, z)
            if ACTIVATIONS[other].stored == "output" and other in ("sigmoid", "tanh"):
                formula = {"sigmoid": "y*(1-y)", "tanh": "1-y**2"}[other]
                yield WRONG, f"{other}'s {formula} of the output", SLOPES[other](y, setting)
    if ACTIVATIONS[name].stored == "output":
        words = f"{name}'s formula of the output, applied to its input,"
        yield WRONG, words, SLOPES[name](z, parameter)
    yield (
        WRONG,
        f"the derivative of {name} at the output, not at the input,",
        (slope(name, parameter, y)),
    )
    yield WRONG, f"the derivative of {name} twice", right * right
    yield WRONG, f"{name} itself, not its derivative,", y


@dataclass(frozen=True)
class _Layer:
    """An element-wise function, or one behind x @ w + b."""

    x: str
    w: str
    b: str
    z: Array


def _layers(context: Context) -> Iterator[_Layer]:
    """Yield the ways in which the output may be a function of the arrays."""
    arrays = dict(context.arrays())
    shape = context.upstream.shape
    for name, array in arrays.items():
        if array.shape == shape:
            yield _Layer(name, "", "", array)
    for x_name, x in arrays.items():
        for w_name, w in arrays.items():
            if x_name == w_name or x.ndim != 2 or w.ndim != 2:
                continue
            turned = {"": w} if x.shape[1] == w.shape[0] else {}
            for matrix in turned.values():
                z = x @ matrix
                if z.shape != shape:
                    continue
                for b_name, b in arrays.items():
                    if b.size == shape[1] and b.shape in ((shape[1],), (1, shape[1])):
                        yield _Layer(x_name, w_name, b_name, z + b)
                yield _Layer(x_name, w_name, "", z)


def _gradient(layer: _Layer, context: Context, name: str, dz: Array) -> Array | None:
    """Return the gradient of an array, given that of the pre-activation."""
    arrays = dict(context.arrays())
    if not layer.w:
        return dz if name == layer.x else None
    if name == layer.w:
        return np.asarray(arrays[layer.x].T @ dz)
    if name == layer.x:
        return np.asarray(dz @ arrays[layer.w].T)
    if name == layer.b:
        return np.asarray(dz.sum(axis=0).reshape(arrays[name].shape))
    return None


def _prediction(fault: str, name: str, words: str, gradient: Array) -> Prediction:
    if fault == FORGOTTEN:
        return Prediction(
            fault, gradient,
            f"lacks the derivative of the activation, {name}",
            f"Multiply the upstream gradient by the derivative of {name}, element by element.",
            cost=2, details={"activation": name},
        )  # fmt: skip
    return Prediction(
        fault, gradient,
        f"has {words} where the derivative of {name} belongs",
        f"Use the derivative of the function of the forward pass: {name}.",
        cost=3, details={"activation": name, "used": words},
    )  # fmt: skip


@hypothesis
def of_the_output(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """The layer ends in an activation whose derivative is wrong."""
    if tensor.analytic.shape != tensor.shape or context.upstream.ndim == 0:
        return
    for layer in _layers(context):
        for name, parameter in VARIANTS:
            right = value(name, parameter, layer.z)
            if name == "identity" or not np.allclose(right, context.output, rtol=1e-6, atol=1e-9):
                continue
            for fault, words, wrong in mistaken_slopes(name, parameter, layer.z):
                gradient = _gradient(layer, context, tensor.name, context.upstream * wrong)
                if gradient is not None:
                    yield _prediction(fault, name, words, gradient)
            return


@hypothesis
def seen_through_the_output(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """The same for any layer whose activation can be undone from its output."""
    if (
        tensor.changes is None
        or context.upstream.ndim == 0
        or tensor.analytic.shape != tensor.shape
    ):
        return
    y = context.output
    undone = {
        "sigmoid": (y > 0) & (y < 1),
        "tanh": np.abs(y) < 1,
        "softplus": y > 0,
        "relu": y >= 0,
    }
    for name, inside in undone.items():
        if not inside.all():
            continue
        with np.errstate(all="ignore"):
            z = {
                "sigmoid": np.log(y) - np.log1p(-y),
                "tanh": np.arctanh(y),
                "softplus": np.log(np.expm1(y)),
                "relu": y,
            }[name]
        parameter = ACTIVATIONS[name].default
        right = slope(name, parameter, z)
        for fault, words, wrong in mistaken_slopes(name, parameter, z):
            with np.errstate(all="ignore"):
                ratio = np.where(right == 0, np.nan, wrong / right)
            # Where relu is 0 the derivative says nothing of what stands in its place.
            if not np.isfinite(ratio).all():
                continue
            gradient = tensor.changes @ (context.upstream * ratio).reshape(-1)
            yield _prediction(fault, name, words, gradient.reshape(tensor.shape))


@hypothesis
def of_a_hidden_layer(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """In a whole network: the derivative between the first layer and the next is wrong.

    With at least as many features as samples, x.T @ dz determines dz, the gradient of the
    pre-activation; the ratio of the two dz is then that of the derivatives.
    """
    if context.upstream.ndim or tensor.analytic.shape != tensor.shape:
        return
    for name, other in context.comparisons.items():
        if other.passed or other.analytic.shape != other.shape or len(other.shape) != 2:
            continue
        if name == tensor.name:
            partner = bool(np.isfinite(other.numeric).all())
        else:
            partner = _belongs(context, tensor, other)
        for found in _hidden(context, other) if partner else ():
            yield dataclasses.replace(found, gradient=tensor.analytic)


def _belongs(context: Context, tensor: Comparison, weight: Comparison) -> bool:
    """Tell whether an array is the bias or the input beside a weight."""
    subject = context.subject
    if subject.layer_of(tensor.name) != subject.layer_of(weight.name):
        return False
    if tensor.shape[-1:] == weight.shape[1:] and tensor.numeric.size == weight.shape[1]:
        return True
    if tensor.shape[1:] != weight.shape[:1]:
        return False
    x, w = subject.values[tensor.name], subject.values[weight.name]
    if np.linalg.matrix_rank(x) < len(x):
        return False
    dz = np.linalg.pinv(x.T) @ weight.analytic
    return bool(np.allclose(dz @ w.T, tensor.analytic, rtol=1e-4, atol=1e-9))


def _inputs(context: Context, columns: int) -> Iterator[Array]:
    inputs = [value for name, value in context.arrays() if name in context.subject.batched]
    for x in [*inputs, *context.subject.arrays_in_reach]:
        if x.ndim == 2 and x.shape[1] == columns and x.dtype.kind == "f":
            yield x


def _biases(context: Context, units: int) -> Iterator[Array]:
    for _, b in context.arrays():
        if b.size == units and b.ndim in (1, 2):
            yield b.reshape(1, units)
    yield np.zeros((1, units))


def _hidden(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    w = context.subject.values[tensor.name]
    for x in _inputs(context, len(w)):
        numeric, analytic = tensor.numeric, tensor.analytic
        if len(x) > x.shape[1]:
            rows = np.arange(x.shape[1])
            fewer = context.numeric_of_rows(tensor.name, rows)
            found = context.analytic_of_rows(rows)
            if fewer is None or found is None or found[tensor.name].shape != fewer.shape:
                continue
            numeric, analytic, x = fewer, found[tensor.name], x[rows]
        if np.linalg.matrix_rank(x) < len(x):
            continue
        undo = np.linalg.pinv(x.T)
        dz, wrong_dz = undo @ numeric, undo @ analytic
        for b in _biases(context, w.shape[1]):
            z = x @ w + b
            for name, parameter in VARIANTS:
                right = slope(name, parameter, z)
                if name == "identity":
                    continue
                for fault, words, wrong in mistaken_slopes(name, parameter, z):
                    # dz / right is what came from above, where right is not 0.
                    known = np.abs(right) > 1e-9
                    with np.errstate(all="ignore"):
                        expected = np.where(known, dz / right * wrong, wrong_dz)
                    scale = np.abs(wrong_dz).max()
                    dead = np.abs(dz[~known]).max(initial=0.0) > 1e-6 * scale
                    if dead or known.mean() < 0.3:
                        continue
                    if np.allclose(expected, wrong_dz, rtol=1e-4, atol=1e-6 * scale):
                        yield _prediction(fault, name, words, tensor.analytic)
