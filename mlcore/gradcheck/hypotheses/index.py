"""Indices that are off by one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlcore.gradcheck.compare import Comparison
from mlcore.gradcheck.context import Context
from mlcore.gradcheck.hypotheses.base import Prediction, hypothesis

MEND = "Compare the index with that of the forward pass: range(n), range(1, n) and x[i + 1]."


@hypothesis
def shifted(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """Every number stands one place too far along an axis."""
    d, a = tensor.numeric, tensor.analytic
    if a.shape != d.shape:
        return
    for axis, length in enumerate(d.shape):
        for by in (-1, 1):
            if length < 3:
                continue
            moved = np.roll(d, by, axis=axis)
            # What comes in at the edge may be anything: zero, the other edge, what stood there.
            edge = [slice(None)] * d.ndim
            edge[axis] = slice(0, 1) if by == 1 else slice(length - 1, length)
            moved[tuple(edge)] = a[tuple(edge)]
            yield Prediction(
                "off_by_one", moved,
                f"is the right one moved by {by:+d} along axis {axis}", MEND, cost=3,
                details={"axis": axis, "by": by},
            )  # fmt: skip


@hypothesis
def edge_left_out(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """The first or the last place along an axis was never written."""
    if tensor.analytic.shape != tensor.shape:
        return
    for axis, length in enumerate(tensor.shape):
        for place, word in ((0, "first"), (length - 1, "last")):
            if length < 2:
                continue
            cut = tensor.numeric.copy()
            edge = [slice(None)] * cut.ndim
            edge[axis] = slice(place, place + 1)
            cut[tuple(edge)] = 0.0
            yield Prediction(
                "off_by_one", cut,
                f"is zero at the {word} index of axis {axis} and right everywhere else",
                "The loop or the slice leaves it out. " + MEND, cost=2,
                details={"axis": axis, "index": place},
            )  # fmt: skip


@hypothesis
def label_of_the_neighbour(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """The 1 of the one-hot target is taken off in a neighbouring column."""
    d, a = tensor.numeric, tensor.analytic
    if a.shape != d.shape or d.ndim != 2 or not np.isfinite(d).all():
        return
    labels = [
        value.reshape(-1)
        for value in context.subject.constants.values()
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.size == len(d)
    ]
    rows = np.arange(len(d))
    columns = d.shape[1]
    for label in labels:
        if label.min(initial=0) < -1 or label.max(initial=0) > columns:
            continue
        # Labels may count from 0 or from 1; the error tells which column was meant.
        for start in (0, 1):
            for by in (-1, 1):
                change = np.zeros(d.shape)
                change[rows, (label - start) % columns] += 1
                change[rows, (label - start + by) % columns] -= 1
                size = float(((a - d) * change).sum() / (change**2).sum())
                yield Prediction(
                    "off_by_one", d + size * change,
                    f"takes the label for column label{by - start:+d}, not label{-start:+d}"
                    if start else f"takes the label for column label{by:+d}",
                    "Labels count from 0: grad[arange(B), labels] -= 1.", cost=2,
                    details={"by": by},
                )  # fmt: skip
