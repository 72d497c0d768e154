"""A term of a sum is missing, is there twice, or does not belong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlcore.gradcheck.compare import Comparison
from mlcore.gradcheck.context import Context
from mlcore.gradcheck.hypotheses.base import Prediction, hypothesis
from mlcore.gradcheck.subject import Array


@hypothesis
def one_of_the_terms(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """One sample, or one output, is left out of the sum, counted twice, or the only one."""
    a, d = tensor.analytic, tensor.numeric
    if a.shape != tensor.shape:
        return
    error = np.nan_to_num(d) - a
    for kind, terms in context.contributions(tensor):
        flat = terms.reshape(len(terms), -1)
        last = len(terms) - 1
        missing = int(np.abs(flat - error.reshape(-1)).sum(axis=1).argmin())
        doubled = int(np.abs(flat + error.reshape(-1)).sum(axis=1).argmin())
        only = int(np.abs(flat - a.reshape(-1)).sum(axis=1).argmin())
        loop = " A loop that ends early or begins late does this." if missing in (0, last) else ""
        yield Prediction(
            "missing_term", d - terms[missing],
            f"lacks a term of its sum: that of {kind} {missing} (of {len(terms)})",
            f"Add the term of {kind} {missing}.{loop}", cost=2,
            details={"kind": kind, "index": missing},
        )  # fmt: skip
        yield Prediction(
            "doubled_term", d + terms[doubled],
            f"has a term of its sum twice: that of {kind} {doubled} (of {len(terms)})",
            f"Count {kind} {doubled} once.", cost=2, details={"kind": kind, "index": doubled},
        )  # fmt: skip
        yield Prediction(
            "missing_term", terms[only],
            f"holds the term of {kind} {only} alone, not the sum over all {len(terms)}",
            "Add the terms up: += in the loop, not =.", cost=2,
            details={"kind": kind, "index": only, "alone": True},
        )  # fmt: skip


def _known_terms(context: Context, tensor: Comparison) -> Iterator[tuple[str, Array]]:
    """Yield what may stand in a derivative as a term: the upstream gradient, and times what."""
    g, shape = context.upstream, tensor.shape
    if g.shape != shape:
        return
    factors = [("", np.ones(shape))]
    factors += [(f" * {name}", value) for name, value in context.arrays()]
    factors.append((" * output", context.output))
    for words, factor in factors:
        if factor.shape == shape:
            yield f"grad{words}", g * factor


@hypothesis
def term_of_a_branch(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """A branch, such as a skip connection, is forgotten or counted twice."""
    if tensor.analytic.shape != tensor.shape:
        return
    for words, term in _known_terms(context, tensor):
        yield Prediction(
            "missing_term", tensor.numeric - term, f"lacks the term {words}",
            "Add it: what is used in several places gets the sum of their gradients.", cost=3,
            details={"term": words},
        )  # fmt: skip
        yield Prediction(
            "doubled_term", tensor.numeric + term, f"has the term {words} once too often",
            "Take it out: each use of an array gives one term.", cost=3, details={"term": words},
        )  # fmt: skip


@hypothesis
def off_the_diagonal(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """Only the effect of each element on its own output, in a function that mixes them."""
    if tensor.changes is None or context.upstream.shape != tensor.shape:
        return
    own = np.diagonal(tensor.changes).reshape(tensor.shape) * context.upstream
    yield Prediction(
        "missing_term", own,
        "holds each element's effect on its own output only, not on the others of its row",
        "Add the sum over the other outputs: the Jacobian is no diagonal matrix (for a softmax y "
        "it is y * (grad - sum(grad * y))).", cost=2,
    )  # fmt: skip
    y, g = context.output, context.upstream
    yield Prediction(
        "missing_term", y * g, "is output * grad: the sum of the other outputs is missing",
        "For a softmax y it is y * (grad - sum(grad * y)) over each row.", cost=2,
    )  # fmt: skip
    for axis in range(y.ndim):
        yield Prediction(
            "sum_over_wrong_axis", y * (g - (y * g).sum(axis=axis, keepdims=True)),
            f"is that of a softmax over axis {axis}",
            "Sum over the axis that the forward pass sums over, with keepdims=True.", cost=2,
            details={"axis": axis},
        )  # fmt: skip


@hypothesis
def constant_along_an_axis(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """What is missing is the same along an axis, as the derivative of a mean over it is."""
    d = tensor.numeric
    if tensor.analytic.shape != tensor.shape or d.ndim < 2 or not np.isfinite(d).all():
        return
    for axis, length in enumerate(d.shape):
        if length > 2:
            missing = (d - tensor.analytic).mean(axis=axis, keepdims=True)
            yield Prediction(
                "missing_term", d - missing,
                f"is off by the same number all along axis {axis}: the term that comes from the "
                f"mean (or sum) over that axis is missing",
                f"What is subtracted or divided by over axis {axis} depends on the input as well: "
                "differentiate it too.", cost=5, details={"axis": axis},
            )  # fmt: skip
