"""Summed over too much, over the wrong axis, or not at all; and shapes that only broadcast."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from mlcore.gradcheck.compare import Comparison
from mlcore.gradcheck.context import Context
from mlcore.gradcheck.hypotheses.base import Prediction, hypothesis


def _fits(small: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return an array broadcast to a shape, or None where it does not go."""
    try:
        return np.broadcast_to(small, shape)
    except ValueError:
        return None


@hypothesis
def only_the_shape(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """The numbers are right, in a shape that broadcasts when it is used."""
    shape = tensor.analytic.shape
    if shape != tensor.shape and tensor.numeric.size == tensor.analytic.size:
        yield Prediction(
            "wrong_broadcast", tensor.numeric.reshape(shape),
            f"has the right numbers in the shape {shape}, and the array has {tensor.shape}",
            "Give it the array's own shape: an update with this one broadcasts, or fails.",
            cost=0, details={"shape": list(shape)},
        )  # fmt: skip


@hypothesis
def summed_too_far(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """Summed over axes of the array itself: one number where there should be several."""
    d = tensor.numeric
    if not np.isfinite(d).all():
        return
    for count in range(1, d.ndim + 1):
        for axes in combinations(range(d.ndim), count):
            if all(d.shape[axis] == 1 for axis in axes):
                continue
            what = "all its axes" if count == d.ndim else f"axis {axes[0]}"
            if d.ndim == 1:
                what = "the units as well as the samples"
            for verb, total in (("summed", d.sum), ("averaged", d.mean)):
                for keep in (True, False):
                    small = total(axis=axes, keepdims=keep)
                    full = _fits(small, tensor.analytic.shape)
                    if full is not None:
                        yield Prediction(
                            "sum_over_wrong_axis", full,
                            f"is {verb} over {what}, so that it is the same across them",
                            "Sum over the samples only: grad.sum(axis=0).", cost=2,
                            details={"axes": list(axes)},
                        )  # fmt: skip


@hypothesis
def other_axis(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """The terms are summed over another axis than the one they belong to."""
    for kind, terms in context.contributions(tensor):
        for axis in range(1, terms.ndim):
            small = terms.sum(axis=axis)
            for shape in {tensor.analytic.shape, small.shape}:
                if small.size == tensor.analytic.size:
                    yield Prediction(
                        "sum_over_wrong_axis",
                        small.reshape(tensor.analytic.shape),
                        f"is summed over its own axis {axis - 1} and not over the {kind}s",
                        f"Sum over the {kind}s: axis 0 of what is added up." if kind == "sample"
                        else f"Sum over the {kind}, and keep the other one.", cost=3,
                        details={"axis": axis - 1, "shape": list(shape)},
                    )  # fmt: skip
                    break


@hypothesis
def not_summed(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """An axis that was broadcast in the forward pass was not summed in the backward pass."""
    a = tensor.analytic
    if a.shape == tensor.shape or a.ndim < len(tensor.shape):
        return
    for kind, terms in context.contributions(tensor):
        if terms.size == a.size:
            yield Prediction(
                "wrong_broadcast", terms.reshape(a.shape),
                f"has the shape {a.shape}, one part for each {kind}; the array has {tensor.shape}",
                "What broadcasts in the forward pass is summed in the backward pass: "
                "grad.sum(axis=0).", cost=1, details={"shape": list(a.shape)},
            )  # fmt: skip
    lead = a.ndim - len(tensor.shape)
    axes = tuple(
        axis
        for axis in range(a.ndim)
        if axis < lead or (tensor.shape[axis - lead] == 1 and a.shape[axis] != 1)
    )
    total = a.sum(axis=axes).reshape(-1)
    if total.size == tensor.numeric.size and np.allclose(
        total, tensor.numeric.reshape(-1), rtol=1e-4, atol=1e-8
    ):
        yield Prediction(
            "wrong_broadcast", a,
            f"has the shape {a.shape} and the array has {tensor.shape}: its sum over "
            f"{'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))} is right",
            "What broadcasts in the forward pass is summed in the backward pass.", cost=1,
            details={"shape": list(a.shape)},
        )  # fmt: skip


@hypothesis
def spread_along_the_wrong_axis(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """A factor of one number a row was multiplied on a number a column, or the other way."""
    d, g = tensor.numeric, context.upstream
    if (
        d.ndim != 2
        or d.shape != g.shape
        or d.shape[0] != d.shape[1]
        or tensor.analytic.shape != d.shape
    ):
        return
    with np.errstate(all="ignore"):
        factor = d / g
    for axis, belongs in ((0, "column"), (1, "row")):
        if np.isfinite(factor).all() and np.allclose(factor, factor.mean(axis=axis, keepdims=True)):
            other = "row" if belongs == "column" else "column"
            yield Prediction(
                "wrong_broadcast", g * factor.T,
                f"has the factor of each {belongs} multiplied on the {other}s",
                "Keep the axis that was reduced, x.sum(axis=1, keepdims=True): (B,) broadcasts "
                "along the columns, (B, 1) along the rows.", cost=2,
            )  # fmt: skip
