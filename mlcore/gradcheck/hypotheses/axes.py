"""The right numbers in the wrong places: transposed, reshaped, given to the wrong array."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from mlcore.gradcheck.compare import Comparison
from mlcore.gradcheck.context import Context
from mlcore.gradcheck.hypotheses.base import Prediction, hypothesis


@hypothesis
def transposed(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """The gradient has its axes in another order."""
    if not 2 <= len(tensor.shape) <= 4:
        return
    straight = tuple(range(len(tensor.shape)))
    for order in permutations(straight):
        turned = tensor.numeric.transpose(order)
        if order == straight or turned.shape != tensor.analytic.shape:
            continue
        how = "transposed" if len(order) == 2 else f"transposed to the axes {order}"
        yield Prediction(
            "transposed", turned, f"is the right one {how}",
            "Transpose it: for x @ w it is x.T @ grad, and for the input grad @ w.T.", cost=1,
            details={"axes": list(order)},
        )  # fmt: skip
        if turned.shape != tensor.shape or order == straight[::-1]:
            yield Prediction(
                "transposed", turned.reshape(tensor.analytic.shape),
                "holds the right numbers reshaped where it should be transposed",
                "reshape keeps the order of the numbers: use .T or transpose.", cost=2,
            )  # fmt: skip
    if tensor.numeric.size == tensor.analytic.size:
        turned = tensor.numeric.T
        yield Prediction(
            "transposed", turned.reshape(tensor.analytic.shape),
            "holds the numbers of the right one transposed, reshaped to this shape",
            "reshape does not undo a transposition: use .T or transpose.", cost=2,
        )  # fmt: skip


@hypothesis
def untransposed_factor(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """A product with a square matrix where its transpose was meant: grad @ w, x @ grad."""
    d = tensor.numeric
    if d.ndim != 2 or tensor.analytic.shape != d.shape or not np.isfinite(d).all():
        return
    for name, matrix in [*context.arrays(), ("grad", context.upstream)]:
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or name == tensor.name:
            continue
        if np.linalg.cond(matrix) > 1e6:
            continue
        if matrix.shape[0] == d.shape[1]:
            yield Prediction(
                "transposed", np.linalg.solve(matrix, d.T).T @ matrix,
                f"is multiplied by {name} where {name}.T belongs",
                f"Multiply by {name}.T: a missing transpose shows only in the numbers, as "
                f"{name} is square.", cost=2, details={"factor": name},
            )  # fmt: skip
        if matrix.shape[0] == d.shape[0]:
            yield Prediction(
                "transposed", matrix @ np.linalg.solve(matrix.T, d),
                f"has {name} as its left factor where {name}.T belongs",
                f"Use {name}.T @ grad: a missing transpose shows only in the numbers, as "
                f"{name} is square.", cost=2, details={"factor": name},
            )  # fmt: skip


@hypothesis
def of_another_array(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """The gradient belongs to another array: they come back in another order."""
    for name, other in context.comparisons.items():
        if name != tensor.name and other.numeric.size > 1:
            yield Prediction(
                "wrong_order", other.numeric, f"is that of {name}",
                "Return the gradients in the order of the arguments, or as a dict by name.",
                cost=2, details={"belongs_to": name},
            )  # fmt: skip
