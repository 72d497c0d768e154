"""Right before fast: a kernel's results beside the reference's, on inputs drawn for this run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore import kernels
from mlcore.bench.subjects import Subject
from mlcore.kernels.table import Arguments

# Runs a kernel once; returns its outputs by name where it does not write into the arguments.
Call = Callable[[], Mapping[str, Any] | None]
Prepare = Callable[[Arguments], Call]


def fault(subject: Subject, prepare: Prepare, rng: np.random.Generator) -> str:
    """Run a kernel on fresh inputs and poisoned outputs, and judge it by the float64 reference.

    Parameters
    ----------
    subject : Subject
        What to run, with the tolerance of its row.
    prepare : callable
        Makes the call that is to be timed from its arguments.
    rng : numpy.random.Generator
        Draws the inputs.

    Returns
    -------
    str
        What is wrong, with the worst place; empty where nothing is.
    """
    row = subject.row
    arguments = subject.arguments(rng)
    wanted = {name: _doubled(value) for name, value in arguments.items()}
    before = {
        name: arguments[name].copy()
        for name, spec in row.arrays.items()
        if spec.role == "in" and arguments[name] is not None
    }
    with np.errstate(all="ignore"):
        kernels.get("numpy").kernels[row.name](*wanted.values())
        try:
            written = prepare(arguments)()
        except Exception as error:
            return f"raised {type(error).__name__}: {error}"
    found = {**arguments, **(written or {})}
    for name in row.outputs():
        if wanted[name] is not None:
            wrong = _difference(name, np.asarray(found[name]), wanted[name], _bound(subject))
            if wrong:
                return wrong
    for name, value in before.items():
        if not np.array_equal(arguments[name], value):
            return f"{name} is an input, and was changed"
    return ""


def _doubled(value: Any) -> Any:
    """Return a copy, in float64 where it holds real numbers."""
    if not isinstance(value, np.ndarray):
        return value
    return value.astype(np.float64 if value.dtype.kind == "f" else value.dtype)


def _bound(subject: Subject) -> float:
    if not subject.dtype.startswith("float"):
        return 0.0
    return subject.row.eps(subject.dims) * float(np.finfo(subject.dtype).eps)


def _difference(name: str, found: NDArray[Any], wanted: NDArray[Any], bound: float) -> str:
    if found.shape != wanted.shape:
        return f"{name} has shape {found.shape}, the reference's has {wanted.shape}"
    if wanted.dtype.kind != "f":
        outside = found != wanted
        excess = outside.astype(float)
    else:
        with np.errstate(all="ignore"):
            excess = np.abs(found.astype(np.float64) - wanted) / (1 + np.abs(wanted))
        # A NaN is no number to compare: it is as far off as can be, whoever has it.
        excess[np.isnan(excess)] = np.inf
        outside = excess > bound
    count = int(np.count_nonzero(outside))
    if not count:
        return ""
    at = np.unravel_index(int(excess.argmax()), excess.shape)
    place = ", ".join(str(int(index)) for index in at)
    return (
        f"{name}[{place}] is {found[at]:.7g}, the reference gives {wanted[at]:.7g} "
        f"(tolerance {bound:.1g}); {count:,} of {found.size:,} elements differ"
    )
