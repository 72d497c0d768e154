"""What a backward pass must do besides being right once, each tried by a function of its own.

A probe that finds a fault which differences cannot see, or which makes them meaningless, returns
a `Finding`. To add one, write a function and put it into the list that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from mlcore.gradcheck.compare import ROUNDING
from mlcore.gradcheck.differences import COARSE, Projection, ladder
from mlcore.gradcheck.finding import Finding, listed
from mlcore.gradcheck.subject import Array, Arrays, Subject
from mlcore.kernels.errors import InputError


@dataclass
class Passes:
    """A subject and what its passes gave.

    Attributes
    ----------
    subject : Subject
    upstream : ndarray or None
        What backward was handed; None for a loss.
    first, second : dict of str to ndarray
        Gradients of two calls of backward after one forward pass; the second is None where it
        cannot be called twice.
    noise : float
        The relative rounding error of the function.
    """

    subject: Subject
    upstream: Array | None
    first: Arrays
    second: Arrays | None
    noise: float = 0.0

    def again(self, upstream: Array | None) -> Arrays:
        """Return the gradients for another upstream gradient."""
        return self.subject.backward(self.subject.values, upstream)[0]


Probe = Callable[[Passes, np.random.Generator], Iterator[Finding]]


def different(one: Arrays, other: Arrays, relative: float = 1e-9) -> list[str]:
    """Return the names whose gradients differ by more than rounding."""
    return [
        name
        for name in one
        if name in other
        and not (
            one[name].shape == other[name].shape
            and np.allclose(
                one[name],
                other[name],
                rtol=relative,
                atol=relative * (1e-30 + float(np.max(np.abs(one[name]), initial=0.0))),
                equal_nan=True,
            )
        )
    ]


def same_output_twice(subject: Subject) -> Iterator[Finding]:
    """Two forward passes with the same arrays and the same random state give the same output."""
    outputs = [subject.forward(subject.values) for _ in range(3)]
    off = max(float(np.max(np.abs(outputs[0] - each), initial=0.0)) for each in outputs[1:])
    if off > 0 and off > 1e-12 * float(np.max(np.abs(outputs[0]), initial=0.0)):
        yield Finding(
            "not_deterministic",
            f"Forward gives another output each time for the same input (they differ by {off:.2g})"
            ", so there is no derivative to compare with.",
            "Draw random numbers from a generator that is made once, "
            "rng = numpy.random.default_rng(0), or hand the mask in as an argument.",
        )


def backward_twice(passes: Passes, rng: np.random.Generator) -> Iterator[Finding]:
    """Backward gives the same when it is called again after the same forward pass."""
    subject, first, second = passes.subject, passes.first, passes.second
    repeated = passes.again(passes.upstream)
    other = different(first, repeated)
    changed = different(first, second) if second is not None else []
    draws = subject.backward_draws and subject.frozen.random
    if other and not changed:
        changed = other
    if not changed and not draws:
        return
    if draws or other:
        if not changed and not subject.backward_draws:
            return
        masked = subject.frozen.random or bool(other)
        if changed and masked:
            yield Finding(
                "mask_redrawn",
                f"Backward draws new random numbers: two calls after one forward pass give "
                f"different gradients of {listed(changed)}.",
                "Keep the mask that forward has drawn, in the cache, and multiply by it.",
                tuple(changed),
            )
            return
    doubled = [
        name for name in changed
        if second is not None and np.allclose(second[name], 2 * first[name], rtol=1e-9)
        and np.any(first[name])
    ]  # fmt: skip
    if changed and doubled == changed:
        yield Finding(
            "accumulates",
            f"A second call of backward adds to the gradients of {listed(changed)} of the first.",
            "Set them, or set them to zero before each backward pass.",
            tuple(changed),
            serious=False,
        )
    elif changed:
        changed_arrays = list(subject.overwritten)
        what = f" It overwrites {listed(changed_arrays)}." if changed_arrays else ""
        yield Finding(
            "stale_cache",
            f"A second call of backward gives other gradients of {listed(changed)} than the first: "
            f"something that forward has stored is overwritten.{what}",
            "Work on a copy: dz = grad * (z > 0) in place of z[z > 0] = 1.",
            tuple(changed),
            details={"overwritten": changed_arrays},
        )


def inputs_untouched(passes: Passes, rng: np.random.Generator) -> Iterator[Finding]:
    """No pass changes the arrays it was handed."""
    overwritten = dict(passes.subject.overwritten)
    upstream = overwritten.pop("the upstream gradient", None)
    if overwritten:
        passes_at_fault = sorted(set(overwritten.values()))
        yield Finding(
            "stale_cache",
            f"{listed(passes_at_fault).capitalize()} overwrites {listed(list(overwritten))} in "
            "place: what reads it later, a second backward pass or another layer, gets other "
            "numbers.",
            "Work on a copy: numpy.where(z > 0, grad, 0) in place of z[z < 0] = 0, and y = x * m "
            "in place of x *= m.",
            tuple(overwritten),
            details={"overwritten": list(overwritten)},
        )
    if upstream:
        yield Finding(
            "upstream_overwritten",
            "Backward overwrites the upstream gradient that it is handed: where another branch "
            "needs it too, that one goes wrong.",
            "Work on a copy: grad = grad * mask in place of grad *= mask.",
            serious=False,
        )


def nothing_from_nothing(passes: Passes, rng: np.random.Generator) -> Iterator[Finding]:
    """A zero upstream gradient gives zero gradients."""
    if passes.upstream is None:
        return
    found = passes.again(np.zeros_like(passes.upstream))
    wrong = [name for name, each in found.items() if np.any(each)]
    ignoring = [name for name in wrong if name not in different(passes.first, found)]
    if ignoring:
        yield Finding(
            "upstream_ignored",
            f"The gradient of {listed(ignoring)} does not depend on the upstream gradient.",
            "Multiply by the gradient of the output that backward is handed.",
            tuple(ignoring),
        )
    elif wrong:
        yield Finding(
            "not_linear",
            f"A zero upstream gradient gives a gradient of {listed(wrong)} that is not zero.",
            "Every term of backward has the upstream gradient as a factor; a penalty belongs to "
            "the loss.",
            tuple(wrong),
        )


def linear_in_upstream(passes: Passes, rng: np.random.Generator) -> Iterator[Finding]:
    """Backward of a sum of upstream gradients is the sum of its results."""
    if passes.upstream is None:
        return
    other = rng.standard_normal(passes.upstream.shape)
    found = passes.again(other)
    both = passes.again(2.5 * passes.upstream + other)
    wrong = []
    # Differences of products with the upstream gradient may cancel to next to nothing.
    size = np.abs(passes.upstream) + np.abs(other)
    rounding = 10 * ROUNDING * float(size.max(initial=0.0))
    for name, together in both.items():
        expected = 2.5 * passes.first[name] + found[name]
        terms = 2.5 * np.abs(passes.first[name]) + np.abs(found[name])
        coarse = together.dtype == np.float32 or np.finfo(np.float32).eps > _grain(together) > 1e-9
        allowed = (1e-3 if coarse else 1e-7) * float(terms.max(initial=0.0)) + rounding
        if together.shape != expected.shape or not np.all(np.abs(together - expected) <= allowed):
            wrong.append(name)
    if wrong:
        yield Finding(
            "not_linear",
            f"The gradient of {listed(wrong)} is not linear in the upstream gradient.",
            "Backward multiplies the upstream gradient by derivatives: it takes no power, sign, "
            "maximum or norm of it.",
            tuple(wrong),
        )


def _grain(array: Array) -> float:
    """Return 1e-8 where all numbers are float32 numbers, else 0."""
    flat = np.asarray(array, np.float64)
    return 1e-8 if flat.size and np.array_equal(flat.astype(np.float32), flat) else 0.0


def another_point(passes: Passes, rng: np.random.Generator) -> Iterator[Finding]:
    """After another forward pass backward belongs to that one."""
    subject = passes.subject
    moved = {
        name: value + 0.05 * rng.standard_normal(value.shape) * np.maximum(np.abs(value), 0.1)
        for name, value in subject.values.items()
    }
    try:
        subject.forward(subject.values)
        found = subject.backward(moved, passes.upstream)[0]
        fixed = subject.values
        subject.values = moved
        try:
            weights = np.ones(()) if passes.upstream is None else passes.upstream
            projection = Projection(subject, weights)
            projection.noise = max(projection.noise, passes.noise)
            stale = _stale(projection, found, rng)
        finally:
            subject.values = fixed
    except InputError:
        return
    old = [name for name in stale if name not in different(passes.first, found)]
    if old or (stale and not subject.functional):
        yield Finding(
            "stale_cache",
            f"The gradient of {listed(stale)} is right for the first input and wrong for the next: "
            "backward uses what forward stored the first time.",
            "Store what backward needs in every forward pass.",
            tuple(stale),
        )
    elif stale:
        yield Finding(
            "wrong_elsewhere",
            f"The gradient of {listed(stale)} is right for these numbers and wrong for others that "
            "differ by some percent.",
            "Check with such inputs as are common in use: one branch of backward is wrong.",
            tuple(stale),
        )


def _stale(projection: Projection, found: Arrays, rng: np.random.Generator) -> list[str]:
    wrong = []
    rounding = ROUNDING * float(np.abs(projection.weights).max(initial=0.0))
    for name, gradient in found.items():
        value = projection.subject.values[name]
        if gradient.shape != value.shape or not np.isfinite(gradient).all():
            continue
        direction = rng.standard_normal(value.shape)
        slope = ladder(projection.along({name: direction}), projection.size, projection.noise, 1.0)
        predicted = float((gradient * direction).sum())
        spread = float(np.linalg.norm(gradient)) + abs(slope.value)
        allowed = (1e-2 if projection.noise > COARSE else 1e-4) * spread + 20 * slope.error
        allowed += rounding * float(np.abs(direction).sum())
        if not slope.kink and abs(predicted - slope.value) > allowed:
            wrong.append(name)
    return wrong


# Of the state that passes leave behind: a fault here comes before what the numbers say.
OF_STATE: list[Probe] = [backward_twice, inputs_untouched]
# Of the algebra of backward, for what the numbers leave unexplained.
OF_ALGEBRA: list[Probe] = [nothing_from_nothing, linear_in_upstream]
# For gradients that are right where they were measured.
OF_THE_RIGHT: list[Probe] = [another_point]
