"""Derivatives measured: central differences, their limit over many steps, and the complex step.

One pair of evaluations an element tells most right gradients from wrong ones. Where it leaves a
doubt, a ladder of steps from 0.1 to 1e-9 follows: Richardson's extrapolation between its rungs
(Richardson 1911) with an error estimate from neighbouring rungs, and the two one-sided slopes,
which at a kink do not meet however small the step.

Where a function takes complex numbers, Im f(x + ih) / h has no cancellation and is exact to
rounding (Squire and Trapp, Using Complex Variables to Estimate Derivatives of Real Functions,
SIAM Review 1998).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlcore.gradcheck.subject import Array, Arrays, Subject
from mlcore.kernels.errors import InputError

EPSILON = float(np.finfo(np.float64).eps)
STEP = 1e-5
COMPLEX_STEP = 1e-20
RATIO = 8.0
RUNGS = 9
FIRST_RUNG = 0.1
# One part in a billion: a function of float64 has at most 1e-12, one of float32 about 1e-7.
COARSE = 1e-9


@dataclass(frozen=True)
class Slope:
    """A derivative found on the ladder.

    `error` estimates how far off `value` may be; `left` and `right` are the one-sided slopes, and
    `kink` tells that they disagree.
    """

    value: float
    error: float
    left: float
    right: float
    kink: bool


class Projection:
    """The number that is differentiated: the sum of the output times the upstream gradient.

    Attributes
    ----------
    subject : Subject
    weights : ndarray
        The upstream gradient, of the output's shape; one for a loss.
    size : float
        The sum of the magnitudes of its terms, which rounding errors scale with.
    noise : float
        The relative rounding error of the function.
    evaluations : int
        How often the function was called.
    """

    def __init__(self, subject: Subject, weights: Array) -> None:
        self.subject = subject
        self.weights = weights
        self.evaluations = 0
        base = self.outputs(subject.values)
        if not np.isfinite(base).all():
            raise InputError(
                f"{subject.title}: the output has NaN or infinite elements at these inputs, so it "
                "has no derivative there"
            )
        self.size = float(np.abs(base * weights).sum()) + 1e-300
        self.noise = EPSILON * 4

    def outputs(self, values: Arrays) -> Array:
        """Return the output; of the same shape always."""
        self.evaluations += 1
        found = self.subject.forward(values)
        if found.shape != self.weights.shape:
            raise InputError(
                f"{self.subject.title}: the output has shape {found.shape} and had "
                f"{self.weights.shape} before, for inputs of the same shape"
            )
        return found

    def at(self, values: Arrays) -> float:
        """Return the number for other values."""
        found = self.outputs(values)
        return float((self.weights * found).sum(dtype=np.float64))

    def along(self, direction: Arrays) -> Callable[[float], float]:
        """Return the number as a function of the way gone in a direction."""
        values = self.subject.values

        def travelled(way: float) -> float:
            moved = {name: values[name] + way * change for name, change in direction.items()}
            return self.at({**values, **moved})

        return travelled


def ladder(function: Callable[[float], float], size: float, noise: float, scale: float) -> Slope:
    """Measure the slope of a function of one number at 0.

    Parameters
    ----------
    function : callable
    size, noise : float
        Magnitude of what is added up in it, and the relative error of that.
    scale : float
        What the steps are multiplied by: 1, or the magnitude of a large input.
    """
    here = function(0.0)
    steps = scale * FIRST_RUNG * RATIO ** -np.arange(RUNGS)
    above = np.array([function(step) for step in steps])
    below = np.array([function(-step) for step in steps])
    with np.errstate(all="ignore"):
        central = (above - below) / (2 * steps)
        better = central.copy()
        better[1:] += (central[1:] - central[:-1]) / (RATIO**2 - 1)
        rounding = noise * (size + abs(here)) / steps
        moved = np.abs(np.diff(better, prepend=np.nan))
        error = np.fmax(moved, np.append(moved[1:], 0.0)) + rounding
        right, left = (above - here) / steps, (here - below) / steps
    error[~np.isfinite(error)] = np.inf
    crossed = _last_kink(right - left, rounding)
    if crossed is not None and crossed > RUNGS - 4:
        at = crossed
        return Slope(float(central[at]), float(error[at]), float(left[at]), float(right[at]), True)
    if crossed is not None:
        # Steps that reach across the kink agree with each other, and with nothing else.
        error[: crossed + 2] = np.inf
    best = int(error.argmin())
    if not np.isfinite(error[best]):
        return Slope(float("nan"), float("inf"), float("nan"), float("nan"), False)
    return Slope(
        float(better[best]), float(error[best]), float(left[best]), float(right[best]), False
    )


def _last_kink(gap: Array, rounding: Array) -> int | None:
    """Return the last rung whose step reaches a kink, or None.

    `gap` is the difference of the one-sided slopes. On a smooth function it shrinks with the
    step, by the ratio of the rungs; across a kink it stays.
    """
    clear = np.isfinite(gap) & (np.abs(gap) > 50 * rounding)
    for last in range(RUNGS - 1, 1, -1):
        tail = gap[last - 2 : last + 1]
        if clear[last - 2 : last + 1].all() and np.ptp(tail) < 0.1 * np.abs(tail).min():
            # Rounding may hide the kink from smaller steps, which then say nothing against it.
            hidden = 100 * rounding[last + 1 :] > np.abs(tail).min()
            return RUNGS - 1 if hidden.any() else last
    return None


def takes_complex(projection: Projection, rng: np.random.Generator) -> bool:
    """Tell whether the complex step works: in a random direction of each array it must agree."""
    subject = projection.subject
    if not subject.functional or projection.noise > COARSE:
        return False
    for name, value in subject.values.items():
        direction = rng.standard_normal(value.shape)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = projection.outputs(
                    {**subject.values, name: value + 1j * COMPLEX_STEP * direction}
                )
        except (InputError, Warning):
            return False
        if found.dtype.kind != "c":
            return False
        slope = float((projection.weights * found.imag).sum() / COMPLEX_STEP)
        along = projection.along({name: direction})
        real = ladder(along, projection.size, projection.noise, 1.0)
        if not (np.isfinite(slope) and abs(slope - real.value) <= 1e-6 * abs(slope) + real.error):
            return False
    return True


def measured_noise(projection: Projection, rng: np.random.Generator) -> float:
    """Return the relative rounding error of the function, from differences of its values.

    Third differences of neighbouring values are rounding errors, as a smooth function has next
    to none (after Hamming; Moré and Wild, Estimating Computational Noise, 2011). All points lie
    on one side, so that a kink at the point itself does not disturb.
    """
    values = projection.subject.values
    direction = {
        name: rng.choice([-1.0, 1.0], v.shape) * np.maximum(np.abs(v), 0.1)
        for name, v in values.items()
    }
    function = projection.along(direction)
    numbers = np.array([function(way * 3e-8) for way in range(1, 10)])
    differences = np.diff(numbers, 3)
    # Third differences of independent errors have 20 times their variance.
    error = float(np.median(np.abs(differences))) / np.sqrt(20.0)
    return max(EPSILON * 4, error / projection.size) if np.isfinite(error) else EPSILON * 4


class Numeric:
    """The numeric derivatives of one array, element by element.

    Parameters
    ----------
    projection : Projection
    name : str
        Of the array.
    complex_step : bool
        Whether the function takes complex numbers.
    """

    def __init__(self, projection: Projection, name: str, complex_step: bool) -> None:
        self.projection = projection
        self.name = name
        self.complex_step = complex_step

    def quick(self, places: Array) -> tuple[Array, Array]:
        """Return the derivatives at flat places, and the change of every output with each.

        Shapes (places,) and (places, outputs).
        """
        projection = self.projection
        original = projection.subject.values[self.name]
        kind = np.complex128 if self.complex_step else np.float64
        moved = original.astype(kind)
        values = {**projection.subject.values, self.name: moved}
        flat = moved.reshape(-1)
        changes = np.empty((len(places), projection.weights.size))
        for at, place in enumerate(places):
            held = flat[place]
            if self.complex_step:
                flat[place] = held + 1j * COMPLEX_STEP
                change = projection.outputs(values).imag / COMPLEX_STEP
            else:
                step = STEP * max(1.0, abs(held))
                flat[place] = up = held + step
                above = projection.outputs(values)
                flat[place] = down = held - step
                below = projection.outputs(values)
                change = np.subtract(above, below, dtype=np.float64) / (up - down)
            flat[place] = held
            changes[at] = change.reshape(-1)
        with np.errstate(all="ignore"):
            return changes @ projection.weights.reshape(-1), changes

    def careful(self, place: int) -> Slope:
        """Return the derivative at a flat place from a ladder of steps."""
        projection = self.projection
        original = projection.subject.values[self.name]
        direction = np.zeros(original.size)
        direction[place] = 1.0
        return ladder(
            projection.along({self.name: direction.reshape(original.shape)}),
            projection.size,
            projection.noise,
            max(1.0, abs(float(original.reshape(-1)[place]))),
        )
