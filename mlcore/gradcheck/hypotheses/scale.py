"""Right up to a factor, and none at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlcore.gradcheck.compare import Comparison
from mlcore.gradcheck.context import Context
from mlcore.gradcheck.hypotheses.base import Prediction, hypothesis

MEND = {
    "1/B": "Divide by the batch size once: the loss, being a mean, has done it already.",
    "B": "The loss is a mean over the batch: divide its gradient by the batch size, once.",
    "1/2": "The derivative of e**2 is 2*e: put the 2 back, or halve the loss.",
    "2": "Take one factor 2 out, or do not halve the loss.",
    "-1": "Turn the sign, often that of (output - target).",
}


def _names(context: Context, tensor: Comparison) -> dict[str, float]:
    """Return the factors that have a name, the likeliest first."""
    names: dict[str, float] = {"-1": -1.0}
    batch = context.batch
    if batch and batch > 1:
        names |= {"1/B": 1 / batch, "B": float(batch), "-1/B": -1.0 / batch, "-B": -1.0 * batch}
    names |= {"2": 2.0, "1/2": 0.5, "-2": -2.0, "-1/2": -0.5, "4": 4.0, "1/4": 0.25}
    if batch and batch > 2:
        names |= {"1/(2B)": 0.5 / batch, "2/B": 2 / batch, "B/2": batch / 2, "1/B**2": batch**-2.0}
    for axis, length in enumerate(context.upstream.shape[1:], start=1):
        if length > 1:
            what = f"{length}, the length of output axis {axis}"
            names |= {what: float(length), f"1/{what}": 1 / length}
    size = context.upstream.size
    if size > 1:
        names |= {f"{size}, the number of outputs": float(size), "1/(number of outputs)": 1 / size}
    for axis, length in enumerate(tensor.shape):
        if length > 1:
            what = f"{length}, the length of axis {axis} of {tensor.name}"
            names |= {what: float(length), f"1/{what}": 1 / length}
    return names


def fitted(analytic: np.ndarray, numeric: np.ndarray) -> float:
    """Return the factor that brings the numeric gradient closest to the analytic one."""
    known = np.isfinite(numeric)
    square = float((numeric[known] ** 2).sum())
    with np.errstate(all="ignore"):
        return float((analytic[known] * numeric[known]).sum() / square) if square else np.nan


@hypothesis
def no_gradient(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """The gradient is zero: it was never computed, or never returned."""
    yield Prediction(
        "zero_gradient",
        np.zeros_like(tensor.analytic),
        "is zero in every element, and the right one is not",
        "Compute it, and return it: an array of zeros was made and never written to.",
        cost=0,
    )


@hypothesis
def constant_factor(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """Every element is the same multiple of the right one."""
    if tensor.analytic.shape != tensor.shape:
        return
    factor = fitted(tensor.analytic, tensor.numeric)
    if not np.isfinite(factor) or factor == 0:
        return
    close = 1e-2 if context.coarse else 1e-4
    names = [
        name
        for name, value in _names(context, tensor).items()
        if abs(factor - value) <= close * abs(value)
    ]
    if {"1/B", "B"} & set(names) and len(names) > 1 and not _follows_batch(context, tensor, factor):
        names = [name for name in names if "B" not in name] or names
    name = names[0] if names else f"{factor:.6g}"
    shown = "" if name == f"{factor:.6g}" else f" ({factor:.4g})"
    batch = f", with B = {context.batch} samples" if name.endswith("B") else ""
    where = (
        "the right value with the wrong sign"
        if name == "-1"
        else (f"{name}{shown} times the right value")
    )
    yield Prediction(
        "constant_factor",
        factor * tensor.numeric,
        f"is {where}, in every element{batch}",
        MEND.get(name, "Look for a factor in the loss that backward has twice, or lacks."),
        cost=1 if names else 6,
        details={"factor": factor, "name": name},
    )


def _follows_batch(context: Context, tensor: Comparison, factor: float) -> bool:
    """Tell whether the factor changes with the number of samples; True where that is unknown."""
    batch = context.batch
    if batch is None or batch < 2:
        return False
    rows = np.arange(batch - 1)
    numeric = context.numeric_of_rows(tensor.name, rows)
    analytic = context.analytic_of_rows(rows)
    if context.upstream.ndim or numeric is None or analytic is None:
        return True
    if analytic[tensor.name].shape != numeric.shape:
        return True
    return abs(fitted(analytic[tensor.name], numeric) / factor - 1) > 1e-3
