"""Weight decay: the wrong sign, forgotten, counted twice, or there without being in the loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlcore.gradcheck.compare import Comparison
from mlcore.gradcheck.context import Context
from mlcore.gradcheck.hypotheses.base import Prediction, hypothesis
from mlcore.gradcheck.subject import Array
from mlcore.kernels.errors import InputError


@hypothesis
def decay(context: Context, tensor: Comparison) -> Iterator[Prediction]:
    """The error is a multiple of the array itself (L2) or of its signs (L1)."""
    a, d = tensor.analytic, tensor.numeric
    value = context.subject.values[tensor.name]
    if a.shape != d.shape or value.size < 2:
        return
    known = np.isfinite(d)
    for term, words, mending in (
        (value, tensor.name, f"lambda * {tensor.name}"),
        (np.sign(value), f"sign({tensor.name})", f"lambda * sign({tensor.name})"),
    ):
        square = float((term[known] ** 2).sum())
        if not square:
            continue
        factor = float(((a - d)[known] * term[known]).sum() / square)
        if not factor:
            continue
        fault, rate = _which(context, tensor, factor, term)
        says = {
            "wrong_decay_sign": f"is off by -2*lambda*{words}: the weight decay has the wrong "
            f"sign; lambda = {rate:.4g}",
            "missing_decay": f"lacks the weight decay lambda*{words}; lambda = {rate:.4g}",
            "doubled_decay": f"has lambda*{words} too much: the weight decay counts twice; "
            f"lambda = {rate:.4g}",
            "extra_decay": f"has lambda*{words} too much, which the loss does not have; "
            f"lambda = {rate:.4g}",
        }[fault]
        if fault == "wrong_decay_sign" and rate not in _rates(context):
            says += f" (or it is forgotten, and lambda is {-factor:.4g})"
        mend = {
            "wrong_decay_sign": f"Add {mending}: subtracted, it makes the weights grow.",
            "missing_decay": f"Add {mending}: the loss has the penalty.",
            "doubled_decay": f"Add {mending} once; the derivative of lambda/2 * w**2 is lambda*w.",
            "extra_decay": f"Add the penalty to the loss, or take {mending} out here.",
        }[fault]
        yield Prediction(
            fault, d + factor * term, says, mend, cost=2,
            details={"lambda": rate, "term": words, "sure": rate in _rates(context)},
        )  # fmt: skip


def _rates(context: Context) -> set[float]:
    """Return the numbers in the code, rounded to what a fit can tell apart."""
    found = set(context.subject.constants_in_reach)
    for value in context.subject.constants.values():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found.add(abs(float(value)))
    return found


def _exact(rate: float, context: Context) -> float | None:
    """Return the number in the code that a fitted rate stands for."""
    close = 1e-2 if context.coarse else 1e-4
    for known in _rates(context):
        if abs(known - rate) <= close * rate:
            return known
    return None


def _which(
    context: Context, tensor: Comparison, factor: float, term: Array
) -> tuple[str, float]:
    """Tell the kinds apart, which differ by how much decay the loss itself has."""
    penalty = _penalty(context, tensor, term)
    if factor > 0:
        rate = _exact(factor, context) or factor
        there = penalty is not None and penalty > 0.25 * factor
        return ("doubled_decay" if there else "extra_decay"), rate
    half, whole = -factor / 2, -factor
    if penalty is not None and abs(penalty / half - 1) < 0.02:
        return "wrong_decay_sign", _exact(half, context) or penalty_or(half)
    if penalty is not None and abs(penalty / whole - 1) < 0.02:
        return "missing_decay", _exact(whole, context) or penalty_or(whole)
    if _exact(whole, context) is not None and _exact(half, context) is None:
        return "missing_decay", _exact(whole, context) or whole
    return "wrong_decay_sign", _exact(half, context) or penalty_or(half)


def penalty_or(rate: float) -> float:
    """Return a fitted rate without the digits that are rounding."""
    return float(f"{rate:.6g}")


def _penalty(context: Context, tensor: Comparison, term: Array) -> float | None:
    """Return the decay that the loss has: its slope where the weights are huge, or None.

    There a cross-entropy grows in proportion to the weights, and the penalty with their square.
    """
    value = context.subject.values[tensor.name]
    if context.upstream.ndim or not np.array_equal(term, value):
        return None
    square = float((value**2).sum())
    slopes = []
    try:
        for scale in (1e5, 1e6):
            far = {**context.subject.values, tensor.name: value * scale}
            step = 1e-3 * scale
            above, below = (
                context.projection.at({**far, tensor.name: value * (scale + change)})
                for change in (step, -step)
            )
            slopes.append((above - below) / (2 * step * scale * square))
    except InputError:
        return None
    steady = np.isfinite(slopes).all() and abs(slopes[0] - slopes[1]) < 0.01 * abs(slopes[1])
    return float(slopes[1]) if steady else (0.0 if abs(slopes[1]) < 1e-12 else None)
