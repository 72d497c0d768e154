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


def _which(context: Context, tensor: Comparison, factor: float, term: Array) -> tuple[str, float]:
    """Tell the kinds apart, which differ by how much decay the gradient itself has.

    `factor` is what the gradient has too much. A forgotten decay leaves it with none, one of the
    wrong sign with half of the error.
    """
    own = _own_decay(context, tensor, term)
    if factor > 0:
        doubled = own is not None and abs(own / (2 * factor) - 1) < 1e-2
        return ("doubled_decay" if doubled else "extra_decay"), _tidy(factor, context)
    half, whole = -factor / 2, -factor
    if own is not None and abs(own) < 1e-2 * whole:
        return "missing_decay", _tidy(whole, context)
    if own is not None and abs(own / -half - 1) < 1e-2:
        return "wrong_decay_sign", _tidy(half, context)
    if _exact(whole, context) is not None and _exact(half, context) is None:
        return "missing_decay", _tidy(whole, context)
    return "wrong_decay_sign", _tidy(half, context)


def _tidy(rate: float, context: Context) -> float:
    """Return a fitted rate as the code has it, or without the digits that are rounding."""
    return _exact(rate, context) or float(f"{rate:.6g}")


def _own_decay(context: Context, tensor: Comparison, term: Array) -> float | None:
    """Return the decay in the gradient that backward returns, or None where it cannot be told.

    Where all inputs are zero nothing else is left in the gradient of a first layer; where the
    weights are huge, nothing else grows in the gradient of a loss that is no square.
    """
    subject = context.subject
    upstream = context.upstream if subject.takes_upstream else None
    square = float((term**2).sum())
    try:
        data = {n for n in subject.batched if n in dict(context.arrays())}
        at_zero = subject.with_constants({n: 0 * subject.constants[n] for n in data
                                          if n in subject.constants}) or subject  # fmt: skip
        values = {n: 0 * v if n in data else v for n, v in at_zero.values.items()}
        found = at_zero.backward(values, upstream)[0][tensor.name]
        own = float((found * term).sum() / square)
        if data and np.allclose(found, own * term, rtol=1e-6, atol=1e-12):
            return own
        slopes = []
        value = subject.values[tensor.name]
        for scale in (1e5, 1e6):
            far = {**subject.values, tensor.name: value * scale}
            found = subject.backward(far, upstream)[0][tensor.name]
            slopes.append(float((found * value).sum() / (scale * (value**2).sum())))
    except (InputError, KeyError, ValueError):
        return None
    small = max(abs(each) for each in slopes)
    steady = bool(np.isfinite(slopes).all()) and abs(slopes[0] - slopes[1]) < 1e-2 * small
    fading = abs(slopes[1]) < 0.2 * abs(slopes[0])
    return slopes[1] if steady else (0.0 if fading else None)
