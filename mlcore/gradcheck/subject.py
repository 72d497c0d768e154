"""What a gradient check looks at: something that goes forward, and backward.

Every kind of code that can be checked is a `Subject`: arrays by name, an output, and gradients by
the same names. What follows (differences, probes, diagnosis) knows nothing else.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore.gradcheck.randomness import Frozen
from mlcore.kernels.errors import InputError

Array = NDArray[Any]
Arrays = dict[str, Array]


class Subject(ABC):
    """Something with a forward and a backward pass.

    Attributes
    ----------
    title : str
        What it is called in reports.
    values : dict of str to ndarray
        What gradients are taken with respect to, float64, in forward order.
    constants : dict
        What else goes in: labels, targets, settings.
    batched : list of str
        Names in `values` and `constants` that came as inputs: those of one length along the first
        axis hold one sample a row.
    groups : dict of str to list of str
        The names of `values` by layer, in forward order.
    takes_upstream : bool
        Whether backward is handed the gradient of the output; a loss is not.
    functional : bool
        Whether arrays are handed over as arguments, so that any dtype can be.
    overwritten : dict of str to str
        The arrays that the passes changed, and the pass that did it.
    backward_draws : bool
        Whether a backward pass was seen to draw random numbers.
    constants_in_reach : frozenset of float
        Numbers that its code mentions, such as the factor of a weight decay.
    arrays_in_reach : list of ndarray
        Arrays that its code refers to, such as the data in a notebook.
    notes : list of str
        What a reader of the report should know of how the check was made.
    """

    takes_upstream = True
    functional = False

    def __init__(
        self, title: str, values: Arrays, constants: Mapping[str, Any], batched: Iterable[str]
    ) -> None:
        if not values:
            raise InputError(
                f"{title}: nothing to differentiate. Give arrays of floating-point numbers: whole "
                "numbers are taken for labels"
            )
        self.title = title
        self.values = values
        self.constants = dict(constants)
        self.batched = list(batched)
        self.groups = by_layer(values)
        self.overwritten: dict[str, str] = {}
        self.backward_draws = False
        self.frozen = Frozen(())
        self.constants_in_reach: frozenset[float] = frozenset()
        self.arrays_in_reach: list[Array] = []
        self.notes: list[str] = []

    @abstractmethod
    def forward(self, values: Arrays) -> Array:
        """Return the output for `values`, which are not changed."""

    @abstractmethod
    def backward(self, values: Arrays, upstream: Array | None, times: int = 1) -> list[Arrays]:
        """Go forward once and backward `times`, and return the gradients of each time."""

    def layer_of(self, name: str) -> str:
        """Return the group that a name belongs to."""
        return next(group for group, names in self.groups.items() if name in names)

    @property
    def batch(self) -> int | None:
        """The number of samples, where inputs have a first axis."""
        for name in self.batched:
            found = self.values.get(name, self.constants.get(name))
            if isinstance(found, np.ndarray) and found.ndim:
                return len(found)
        lengths = Counter(len(array) for array in self.arrays_in_reach if array.ndim)
        common = lengths.most_common(1)
        return common[0][0] if common and common[0][1] > 1 else None

    def with_rows(self, rows: Array) -> Subject | None:
        """Return the same for some of the samples, or None where it cannot be cut."""
        return None

    def with_constants(self, changed: Mapping[str, Any]) -> Subject | None:
        """Return the same with other constants, or None where they cannot be changed."""
        return None

    def parts(self) -> dict[str, Callable[[], Subject]]:
        """Return what makes a subject of each layer alone, by group."""
        return {}

    def watch(self, given: Arrays, kept: Arrays, during: str) -> None:
        """Note which of the arrays handed out differ from the copies kept."""
        for name, array in given.items():
            if not np.array_equal(array, kept[name], equal_nan=array.dtype.kind in "fc"):
                self.overwritten.setdefault(name, during)


def by_layer(names: Iterable[str]) -> dict[str, list[str]]:
    """Group names of parameters by the number in them: w1 and b1, w2 and b2."""
    groups: dict[str, list[str]] = {}
    for name in names:
        found = re.search(r"\d+", name)
        groups.setdefault(f"layer {found[0]}" if found else "", []).append(name)
    if len(groups) == 2 and "" in groups:
        return {"": [name for group in groups.values() for name in group]}
    return groups


def as_float64(value: Any, name: str) -> Array:
    """Return a float64 copy; finite, or an error that names the array."""
    array = np.array(value, dtype=np.float64)
    if not np.isfinite(array).all():
        raise InputError(
            f"{name} has NaN or infinite elements: no derivative can be measured there"
        )
    return array


def output_array(value: Any, title: str) -> Array:
    """Return an output as an array of real or complex numbers."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{title}: the output is no array: {error}") from error
    if array.dtype.kind not in "fciub":
        raise InputError(
            f"{title}: the output is {type(value).__name__}, not an array of numbers; return the "
            "output, or (output, cache)"
        )
    return array if array.dtype.kind in "fc" else array.astype(np.float64)
