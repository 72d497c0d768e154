"""Analytic gradients beside numeric ones: what agrees, what does not, what cannot be told."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlcore.gradcheck.differences import COARSE, Numeric, Projection, ladder
from mlcore.gradcheck.subject import Array, Arrays

RELATIVE = 1e-6
# Of the largest element of the array: what is this much smaller than it need not be as exact.
OF_LARGEST = 1e-8
# Of the upstream gradient: what cancels to less than this has no right digits.
ROUNDING = 1e-14
DIRECTIONS = 3
# Elements that disagree and are measured again with a ladder of steps.
MOST_REFINED = 400


@dataclass
class Comparison:
    """One array's gradients side by side.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Of the array, which the gradient must have.
    analytic : ndarray
        What backward returned, in whatever shape.
    numeric : ndarray
        Of the array's shape; NaN where it was not measured or left out.
    wrong : ndarray of bool
        The elements that disagree; all, where the analytic shape is another one.
    left_out : dict of int to str
        Flat places that cannot be judged, and why.
    checked : int
        Elements that were judged, or the array's size where directions were.
    worst : float
        The largest relative difference among those that agree.
    changes : ndarray (size, outputs) or None
        The derivative of every output, where every element was measured.
    by_direction : bool
        Whether random directions were compared instead of elements.
    """

    name: str
    shape: tuple[int, ...]
    analytic: Array
    numeric: Array
    wrong: NDArray[np.bool_]
    left_out: dict[int, str] = field(default_factory=dict)
    checked: int = 0
    worst: float = 0.0
    changes: Array | None = None
    by_direction: bool = False

    @property
    def passed(self) -> bool:
        """Whether nothing disagrees."""
        return not self.wrong.any() and self.analytic.shape == self.shape

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Where there is a numeric derivative."""
        return np.isfinite(self.numeric)


@dataclass(frozen=True)
class Limits:
    """How close is close enough, and how much is measured.

    Attributes
    ----------
    rtol, atol : float
        Relative difference allowed, and absolute difference allowed beside it.
    elements : int
        Arrays are compared element by element where they have no more elements in all; else
        along random directions first.
    """

    rtol: float = RELATIVE
    atol: float = 0.0
    elements: int = 2000


def compare(
    projection: Projection,
    analytic: Arrays,
    limits: Limits,
    complex_step: bool,
    rng: np.random.Generator,
) -> dict[str, Comparison]:
    """Compare every gradient that backward returned with differences."""
    values = projection.subject.values
    large = sum(values[name].size for name in analytic) > limits.elements
    found = {}
    for name, gradient in analytic.items():
        judge = _Judge(Numeric(projection, name, complex_step), gradient, limits)
        found[name] = judge.by_direction(rng) if large else judge.by_element()
    return found


class _Judge:
    def __init__(self, numeric: Numeric, analytic: Array, limits: Limits) -> None:
        self.numeric = numeric
        self.projection = numeric.projection
        self.original = self.projection.subject.values[numeric.name]
        self.analytic = analytic
        self.limits = limits
        self.rtol = limits.rtol
        # A difference such as p - 1 of a saturated softmax is rounding, and no derivative.
        self.atol = limits.atol + ROUNDING * float(
            np.abs(numeric.projection.weights).max(initial=0.0)
        )
        self.of_largest = OF_LARGEST
        if analytic.dtype == np.float32 or self.projection.noise > COARSE:
            self.rtol, self.of_largest = max(limits.rtol, 1e-3), 1e-4

    def _empty(self) -> Comparison:
        shape = self.original.shape
        return Comparison(
            self.numeric.name, shape, self.analytic, np.full(shape, np.nan),
            np.zeros(shape, bool),
        )  # fmt: skip

    def by_element(self, places: Array | None = None) -> Comparison:
        """Compare elements at flat places, all by default."""
        result = self._empty()
        chosen = np.arange(self.original.size) if places is None else places
        flat = result.numeric.reshape(-1)
        coarse = self.projection.noise > COARSE
        if not coarse:
            flat[chosen], changes = self.numeric.quick(chosen)
            if places is None:
                result.changes = changes
        if self.analytic.shape != self.original.shape:
            if coarse:
                for place in chosen:
                    flat[place] = self.numeric.careful(int(place)).value
            result.wrong[...] = True
            result.checked = len(chosen)
            return result
        given = self.analytic.reshape(-1)
        doubtful = chosen
        if not coarse:
            near = self._near(given[chosen], flat[chosen])
            doubtful = chosen[~near]
            result.worst = _relative(given[chosen][near], flat[chosen][near], flat)
        wrong = result.wrong.reshape(-1)
        # The largest differences first: the rest is taken for what it seems if these are faults.
        off = np.abs(given[doubtful] - flat[doubtful])
        order = doubtful[np.argsort(np.where(np.isfinite(off), -off, -np.inf))]
        for number, place in enumerate(order):
            if number >= MOST_REFINED and wrong.any():
                wrong[order[number:]] = True
                break
            self._refine(int(place), result)
        result.checked = len(chosen) - len(result.left_out)
        return result

    def _near(self, given: Array, numeric: Array) -> NDArray[np.bool_]:
        with np.errstate(all="ignore"):
            sizes = np.maximum(np.abs(given), np.abs(numeric))
            largest = np.max(np.abs(numeric), initial=0.0, where=np.isfinite(numeric))
            allowed = self.rtol * sizes + self.of_largest * largest + self.atol
            near: NDArray[np.bool_] = np.abs(given - numeric) <= allowed
        return near & np.isfinite(given)

    def _refine(self, place: int, result: Comparison) -> None:
        slope = self.numeric.careful(place)
        flat, given = result.numeric.reshape(-1), self.analytic.reshape(-1)[place]
        if slope.kink:
            flat[place] = np.nan
            result.left_out[place] = "kink"
            return
        if not np.isfinite(slope.value):
            flat[place] = np.nan
            result.left_out[place] = "no finite derivative"
            return
        flat[place] = slope.value
        others = np.abs(flat[np.isfinite(flat)])
        allowed = (
            self.rtol * max(abs(given), abs(slope.value))
            + self.of_largest * 1e-2 * float(others.max(initial=0.0))
            + self.atol
        )
        off = abs(given - slope.value)
        if np.isfinite(given) and off <= allowed + 20 * slope.error:
            if slope.error > 1e-2 * max(abs(slope.value), abs(given), 1e-8 * self.projection.size):
                result.left_out[place] = "too noisy"
            else:
                result.worst = max(result.worst, _relative(given, slope.value, flat))
            return
        # NaN, infinity, or a difference that no error of the measurement explains.
        result.wrong.reshape(-1)[place] = True

    def by_direction(self, rng: np.random.Generator) -> Comparison:
        """Compare along random directions; where one disagrees, the elements of a block."""
        size = self.original.size
        if self.analytic.shape != self.original.shape or size <= 50:
            return self.by_element(None if size <= self.limits.elements else self._first())
        if self._agrees(slice(0, size), rng):
            result = self._empty()
            result.by_direction = True
            result.checked = size
            return result
        if size <= self.limits.elements:
            return self.by_element()
        return self.by_element(self._offending(rng))

    def _first(self) -> Array:
        return np.arange(min(self.original.size, self.limits.elements))

    def _agrees(self, part: slice, rng: np.random.Generator) -> bool:
        """Tell whether the slope along random signs of a part of the elements agrees."""
        given = self.analytic.reshape(-1)
        if not np.isfinite(given[part]).all():
            return False
        for _ in range(DIRECTIONS):
            direction = np.zeros(self.original.size)
            direction[part] = rng.choice([-1.0, 1.0], len(given[part]))
            shaped = {self.numeric.name: direction.reshape(self.original.shape)}
            function = self.projection.along(shaped)
            slope = ladder(function, self.projection.size, self.projection.noise, 1.0)
            predicted = float(given @ direction)
            spread = float(np.linalg.norm(given[part]))
            allowed = self.rtol * max(abs(predicted), abs(slope.value), spread) + self.atol
            # At a kink anything between the slopes of the two sides is right.
            low, high = slope.value, slope.value
            if slope.kink:
                low, high = sorted((slope.left, slope.right))
            allowed += 20 * slope.error
            if not low - allowed <= predicted <= high + allowed:
                return False
        return True

    def _offending(self, rng: np.random.Generator) -> Array:
        """Return a block of elements that disagrees, found by halving."""
        start, stop = 0, self.original.size
        while stop - start > self.limits.elements:
            middle = (start + stop) // 2
            if self._agrees(slice(start, middle), rng):
                start = middle
            else:
                stop = middle
        return np.arange(start, stop)


def _relative(given: Array | float, numeric: Array | float, all_numeric: Array) -> float:
    """Return the largest difference, relative to the largest element of the array."""
    largest = float(np.max(np.abs(all_numeric), initial=0.0, where=np.isfinite(all_numeric)))
    off = float(np.max(np.abs(np.subtract(given, numeric)), initial=0.0))
    return off / largest if largest > 0 else off
