"""Which of the known mistakes explains a wrong gradient best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlcore.gradcheck.compare import Comparison
from mlcore.gradcheck.context import Context
from mlcore.gradcheck.finding import Finding, listed
from mlcore.gradcheck.hypotheses import HYPOTHESES, Prediction

# How much of the error a prediction may leave unexplained.
CLOSE, COARSELY_CLOSE = 1e-4, 3e-2
# Elements that a prediction must speak of, where the array has many.
ENOUGH = 50


@dataclass(frozen=True)
class _Explanation:
    prediction: Prediction
    left: float

    @property
    def rank(self) -> tuple[int, float]:
        return self.prediction.cost, self.left

    @property
    def key(self) -> str:
        """What makes two explanations one mistake: its name and its size."""
        name = self.prediction.details.get("name", "")
        return f"{self.prediction.fault} {name}"


def diagnose(context: Context) -> list[Finding]:
    """Explain every wrong gradient, the likeliest and farthest-reaching mistake first.

    A mistake in one layer makes what lies before it wrong too. So the last layer with a wrong
    gradient is explained; those before it are said to follow, unless the same mistake explains
    them as well.
    """
    wrong = {name: each for name, each in context.comparisons.items() if not each.passed}
    if not wrong:
        return []
    layers = [layer for layer, names in context.subject.groups.items() if set(names) & set(wrong)]
    focus = [name for name in context.subject.groups[layers[-1]] if name in wrong]
    explained = {name: _explanations(context, wrong[name]) for name in wrong}
    findings = []
    left = list(focus)
    while left:
        key = _best_key(left, explained)
        if key is None:
            findings.append(_unexplained(context, left, wrong))
            break
        covered = [name for name in wrong if key in explained[name]]
        best = min((explained[name][key] for name in covered), key=lambda each: each.rank)
        findings.append(_finding(context, best.prediction, covered, wrong, layers))
        left = [name for name in left if name not in covered]
    return findings


def _best_key(names: list[str], explained: dict[str, dict[str, _Explanation]]) -> str | None:
    """Return the mistake that explains most of the arrays; of two, the simpler one."""
    keys = {key for name in names for key in explained[name]}
    if not keys:
        return None

    def rank(key: str) -> tuple[int, tuple[int, float], str]:
        found = [explained[name][key] for name in names if key in explained[name]]
        # The worst fit among the arrays decides, as each must be explained.
        return -len(found), max(each.rank for each in found), key

    return min(keys, key=rank)


def _explanations(context: Context, tensor: Comparison) -> dict[str, _Explanation]:
    """Return the mistakes that lead to this gradient, each in its best variant."""
    close = COARSELY_CLOSE if context.coarse or tensor.analytic.dtype == np.float32 else CLOSE
    found: dict[str, _Explanation] = {}
    if not np.isfinite(tensor.analytic).all():
        return found
    for hypothesis in HYPOTHESES:
        with np.errstate(all="ignore"):
            for prediction in hypothesis(context, tensor):
                left = _unexplained_part(tensor, prediction)
                if left > close:
                    continue
                each = _Explanation(prediction, left)
                if each.key not in found or each.rank < found[each.key].rank:
                    found[each.key] = each
    return found


def _unexplained_part(tensor: Comparison, prediction: Prediction) -> float:
    """Return the distance of a prediction, in parts of what there is to explain."""
    a, p = tensor.analytic, prediction.gradient
    if a.shape != p.shape:
        return np.inf
    known = np.isfinite(p)
    if known.sum() < max(1, min(0.3 * p.size, ENOUGH)):
        return np.inf
    off = float(np.linalg.norm((a - p)[known]))
    if a.shape == tensor.shape:
        whole = float(np.linalg.norm((a - tensor.numeric)[known & tensor.measured]))
        # Numbers that are zero but for rounding explain nothing, and need no explanation.
        rounding = 1e-9 * float(np.linalg.norm(tensor.numeric[tensor.measured]))
    else:
        whole, rounding = float(np.linalg.norm(a[known])), 0.0
    if whole == 0:
        return 0.0 if off == 0 else np.inf
    return max(0.0, off - rounding) / whole


def _finding(
    context: Context, prediction: Prediction, covered: list[str], wrong: dict[str, Comparison],
    layers: list[str],
) -> Finding:  # fmt: skip
    verb = prediction.says
    says = f"The gradient of {listed(covered)} {verb}."
    if len(covered) > 1:
        first, rest = verb.split(" ", 1)
        plural = {"is": "are", "has": "have", "lacks": "lack", "holds": "hold", "takes": "take"}
        says = f"The gradients of {listed(covered)} {plural.get(first, first)} {rest}."
    rest_wrong = [name for name in wrong if name not in covered]
    says += _surroundings(context, rest_wrong, layers)
    return Finding(prediction.fault, says, prediction.mend, tuple(covered),
                   details=prediction.details)  # fmt: skip


def _surroundings(context: Context, rest: list[str], layers: list[str]) -> str:
    """Say what is right behind the fault, and what is wrong before it."""
    groups = context.subject.groups
    if len(groups) < 2:
        return ""
    order = list(groups)
    last = layers[-1]
    downstream = [name for name in order[order.index(last) + 1 :] if name]
    upstream = [name for name in layers[:-1] if set(groups[name]) & set(rest)]
    text = f" It begins in {last}."
    if downstream:
        text += f" Downstream of it {listed(downstream)} {_be(downstream)} right."
    if upstream:
        text += f" Upstream {listed(upstream)} {_be(upstream)} wrong too, as a consequence."
    right = [name for name in order[: order.index(last)] if name not in layers]
    if right and not upstream:
        text += f" Upstream {listed(right)} {_be(right)} right."
    return text


def _be(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _unexplained(context: Context, names: list[str], wrong: dict[str, Comparison]) -> Finding:
    """Describe what no known mistake explains."""
    tensor = wrong[names[0]]
    layers = [layer for layer, group in context.subject.groups.items() if set(group) & set(wrong)]
    others = [name for name in wrong if name not in names]
    around = _surroundings(context, others, layers)
    if not np.isfinite(tensor.analytic).all():
        return Finding(
            "not_finite",
            f"The gradient of {listed(names)} has NaN or infinite elements, and the measured one "
            f"is finite.{around}",
            "Look for a division by zero, log(0) or an overflowing exp in backward.",
            tuple(names),
        )
    if tensor.analytic.shape != tensor.shape:
        return Finding(
            "wrong_shape",
            f"The gradient of {listed(names)} has the shape {tensor.analytic.shape}; the array "
            f"has {tensor.shape}.{around}",
            "A gradient has the shape of what it belongs to.",
            tuple(names),
            details={"shape": list(tensor.analytic.shape)},
        )
    return Finding(
        "unknown",
        f"The gradient of {listed(names)} is wrong in a way that no known mistake explains: "
        f"{_pattern(tensor)}.{around}",
        "Check the derivative by hand, on one sample and as few units as show the fault.",
        tuple(names),
    )


def _pattern(tensor: Comparison) -> str:
    """Say where the wrong elements are."""
    wrong, measured = tensor.wrong, tensor.measured
    count, total = int(wrong.sum()), int(measured.sum())
    for axis in range(wrong.ndim):
        others = tuple(other for other in range(wrong.ndim) if other != axis)
        bad = np.flatnonzero(wrong.any(axis=others))
        if 0 < len(bad) < wrong.shape[axis] and wrong.ndim > 1 and len(bad) <= 3:
            places = listed([str(place) for place in bad])
            return f"{count} of {total} elements of {tensor.name}, all at {places} of axis {axis}"
    if count < total:
        return f"{count} of {total} elements of {tensor.name}"
    return f"all {total} elements of {tensor.name}"
