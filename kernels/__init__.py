"""The kernels, imported as ``mlcore.kernels``: which backends there are, and the door to them.

A backend is a module with one function a row of `mlcore.kernels.table`. `get` chooses one,
`status` says which are there and why the others are not, `Backend.call` checks arguments and
calls a kernel. This package never imports the rest of mlcore.
"""

from __future__ import annotations

if __name__ != "mlcore.kernels":
    raise ImportError(
        "import this package as mlcore.kernels: a second copy under another name would have "
        "its own state"
    )

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from mlcore.kernels import native, threads
from mlcore.kernels.errors import InputError, unknown
from mlcore.kernels.table import ACTIVATIONS, KINDS, TABLE, Activation, Array, Dims, Row, match

__all__ = [
    "ACTIVATIONS",
    "TABLE",
    "Activation",
    "Backend",
    "Row",
    "Status",
    "get",
    "is_native",
    "status",
    "threads",
]

Kernel = Callable[..., None]

# In order of preference; each module is imported when it is first asked for. "native" is the best
# instruction set that this processor has; each of them is also there under its own name.
BACKENDS: dict[str, Callable[[], ModuleType]] = {
    "native": native.kernels,
    "numba": partial(importlib.import_module, "mlcore.kernels.numba_"),
    "numpy": partial(importlib.import_module, "mlcore.kernels.reference"),
    # Behind numpy, which is always there: only by name.
    "cupy": partial(importlib.import_module, "mlcore.kernels.cupy_"),
    **{f"native-{name}": partial(native.load, name) for name in native.INSTRUCTION_SETS},
}

# The values that an index may take are bounded by a dimension of the same call.
BOUNDS = {"labels": "N", "rows": "S"}
# What the counter of the random numbers has room for.
SETTING_BOUNDS = {"seed": 2**64, "stream": 2**16, "step": 2**48, "epoch": 2**48}


@dataclass(frozen=True)
class Backend:
    """A set of kernels.

    Attributes
    ----------
    name : str
        "native", "numba", "numpy", "cupy", or an instruction set such as "native-avx2".
    kernels : dict of str to callable
        One function for every row of the table, with the row's signature. They check nothing.
    module : module
        Where they are.
    """

    name: str
    kernels: dict[str, Kernel]
    module: ModuleType

    def call(self, operation: str, **arguments: Any) -> None:
        """Check the arguments against the operation's row, convert them, and run the kernel.

        Parameters
        ----------
        operation : str
            A name of `TABLE`.
        **arguments
            As the row lists them. Inputs of any layout and byte order are copied where the
            kernel needs them contiguous; outputs are written in place and must be C-contiguous,
            writable and of the right dtype.

        Raises
        ------
        InputError
            For an unknown operation or argument, and for a shape, dtype, layout or index that
            does not fit, before anything is written.
        """
        row = TABLE.get(operation)
        if row is None:
            raise unknown("operation", operation, TABLE)
        for name in arguments:
            if name not in row.arguments:
                raise unknown(f"argument of {operation}", name, row.arguments)
        given: dict[str, Any] = {}
        dims: Dims = {}
        dtype: np.dtype[Any] | None = None
        for name, spec in row.arguments.items():
            if name not in arguments and not (spec is not None and spec.optional):
                raise InputError(f"{operation} needs the argument {name!r}")
            value = arguments.get(name)
            if spec is None:
                given[name] = value
            elif value is None:
                if not spec.optional:
                    raise InputError(f"{operation}: {name} must be an array, not None")
                given[name] = None
            else:
                given[name] = _checked(operation, name, value, spec, dims)
                if spec.kind in ("real", "whole"):
                    dtype = dtype or given[name].dtype
                    if given[name].dtype != dtype:
                        raise InputError(
                            f"{operation}: {name} is {given[name].dtype}, the arrays before it "
                            f"are {dtype}; use one dtype for all"
                        )
        if row.one_of and sum(given[name] is not None for name in row.one_of) != 1:
            raise InputError(f"{operation} needs one of {' and '.join(row.one_of)}, and not both")
        for name, limit in SETTING_BOUNDS.items():
            if name in row.arguments and not 0 <= given[name] < limit:
                raise InputError(f"{operation}: {name} must be in 0..{limit - 1}: {given[name]}")
        if "activation" in row.arguments and given["activation"] not in ACTIVATIONS:
            raise unknown("activation", given["activation"], ACTIVATIONS)
        for name, spec in row.arrays.items():
            letter = "V" if spec.kind == "whole" else BOUNDS.get(name)
            if given[name] is not None and letter in dims:
                _check_range(operation, name, given[name], dims[letter])
        with np.errstate(all="ignore"):
            self.kernels[operation](*given.values())


def _checked(operation: str, name: str, value: Any, spec: Array, dims: Dims) -> Any:
    where = f"{operation}: {name}"
    array = value if spec.role != "in" else np.asarray(value)
    if not isinstance(array, np.ndarray):
        raise InputError(f"{where} is written to and must be a NumPy array, not {type(value)}")
    misfit = match(dims, spec, array.shape)
    if misfit:
        raise InputError(f"{where} {misfit}")
    kind = KINDS[spec.kind]
    allowed = {"real": "fd", "whole": "fd", "data": "Bfd"}.get(spec.kind) or np.dtype(kind).char
    if spec.kind == "labels" or spec.kind == "index":
        fits = array.dtype.kind in "iu" and (spec.role == "in" or array.dtype == kind)
    else:
        fits = array.dtype.char in allowed or array.dtype == kind
    if not fits:
        reals = "float32 or float64"
        wanted = {"real": reals, "whole": reals, "data": "uint8, float32 or float64"}
        raise InputError(
            f"{where} is {array.dtype}; it must be {wanted.get(spec.kind, np.dtype(kind).name)}"
        )
    if spec.role == "in":
        target = np.dtype(kind) if kind is not None else array.dtype.newbyteorder("=")
        return np.ascontiguousarray(array, dtype=target)
    if not (array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative):
        raise InputError(f"{where} is written to: it must be C-contiguous, writable, native-endian")
    return array


def _check_range(operation: str, name: str, values: Any, below: int) -> None:
    good = (values >= 0) & (values < below)
    if values.dtype.kind == "f":
        good &= values == np.floor(values)
    if not good.all():
        place = tuple(int(index) for index in np.argwhere(~good)[0])
        where = ", ".join(map(str, place))
        whole = " and whole" if values.dtype.kind == "f" else ""
        raise InputError(
            f"{operation}: {name}[{where}] is {values[place]}; it must be in 0..{below - 1}{whole}"
        )


@dataclass(frozen=True)
class Status:
    """Whether a backend can be used, and if not, why."""

    name: str
    available: bool
    reason: str


def is_native(name: str | None) -> bool:
    """Tell whether a backend's name stands for compiled kernels."""
    return name is not None and (name == "native" or name.startswith("native-"))


_loaded: dict[str, Backend] = {}


def _load(name: str) -> Backend:
    if name not in _loaded:
        module = BACKENDS[name]()
        missing = next((row for row in TABLE if not hasattr(module, row)), None)
        if missing:
            raise ImportError(
                f"it was built from older sources and has no {missing}: run `pip install -e .`"
            )
        _loaded[name] = Backend(name, {row: getattr(module, row) for row in TABLE}, module)
    return _loaded[name]


def _why_missing(name: str) -> str | None:
    """Load a backend; return None, or where it cannot be loaded the reason."""
    try:
        _load(name)
    except ImportError as error:
        return str(error)
    return None


def status() -> list[Status]:
    """Return what there is of every backend, in order of preference. It imports them all."""
    found = []
    for name in BACKENDS:
        try:
            reason = _why_missing(name)
        except InputError as error:
            # MLCORE_ISA is wrong: an error for those who want to compute, here the answer.
            reason = str(error)
        found.append(Status(name, reason is None, reason or ""))
    return found


def get(name: str | None = None) -> Backend:
    """Return a backend.

    Parameters
    ----------
    name : str, optional
        "native", "numba", "numpy" or "cupy". By default the environment variable
        ``MLCORE_BACKEND``, else the first one that is there, which "cupy" never is; those after
        it are not imported.

    Raises
    ------
    InputError
        For an unknown name, and for a backend that is asked for by name and cannot be used.
    """
    chosen = name or os.environ.get("MLCORE_BACKEND")
    if not chosen:
        chosen = next(name for name in BACKENDS if _why_missing(name) is None)
    if chosen not in BACKENDS:
        raise unknown("backend", chosen, BACKENDS)
    try:
        return _load(chosen)
    except ImportError as error:
        raise InputError(f"the {chosen} backend cannot be used: {error}") from error
