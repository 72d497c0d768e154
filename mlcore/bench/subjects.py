"""What is measured: a kernel with its settings, at a shape, in a dtype."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from mlcore.kernels import ACTIVATIONS, TABLE, Row
from mlcore.kernels.table import KINDS, Arguments, Case, Dims

# One of each kind: arithmetic alone, with an exponential, over a whole row.
USUAL_ACTIVATIONS = ("relu", "tanh", "softmax")


@dataclass(frozen=True)
class Subject:
    """One kernel call to measure.

    Attributes
    ----------
    row : Row
        The kernel.
    case : dict
        Its settings.
    dims : dict of str to int
        Its dimensions by letter.
    dtype : str
        Of the real arrays; for a kernel that has none, of the array that it writes.
    """

    row: Row
    case: Case
    dims: Dims
    dtype: str

    @property
    def label(self) -> str:
        """The kernel's name, and that of its activation."""
        return " ".join(filter(None, (self.row.name, self.case.get("activation"))))

    @property
    def shape(self) -> str:
        """The dimensions as ``50x784x512``, in the order of the table."""
        return "x".join(map(str, self.dims.values()))

    def arguments(self, rng: np.random.Generator) -> Arguments:
        """Return fresh random inputs, and outputs full of poison."""
        real = self.dtype if self.dtype.startswith("float") else "float32"
        return self.row.generate(rng, self.dims, real, self.case)

    def flops(self, arguments: Arguments) -> float:
        """Return the floating-point operations of a call, as the table counts them."""
        given = {name for name in self.row.arrays if arguments[name] is not None}
        return self.row.flops(self.row.complete(self.dims, self.case), given)

    def bytes_moved(self, arguments: Arguments) -> int:
        """Return the bytes of one pass over the arrays: what is updated counts twice.

        Of an array that is read by row numbers, only as many rows count as are asked for.
        """
        total = 0
        for name, spec in self.row.arrays.items():
            array = arguments[name]
            if array is None:
                continue
            picked = spec.dims[0] == "S" and "rows" in self.row.arrays
            part = array[: self.dims["B"]] if picked else array
            total += part.nbytes * (2 if spec.role == "inout" else 1)
        return total

    def working_set(self, arguments: Arguments) -> int:
        """Return the bytes of all arrays together, which decide what cache they fit."""
        given = (arguments[name] for name in self.row.arrays)
        return sum(array.nbytes for array in given if array is not None)


def subjects(names: Collection[str], dtypes: Collection[str]) -> Iterator[Subject]:
    """Yield what there is to measure, in the order of the kernel table.

    Parameters
    ----------
    names : collection of str
        Kernels, each with all its activations; none for every kernel with the usual settings.
    dtypes : collection of str
        Of the real arrays. A kernel that has none is measured once.
    """
    for row in TABLE.values():
        if names and row.name not in names:
            continue
        for dtype in dtypes if _has_reals(row) else (_written_dtype(row),):
            for case in _cases(row, every_activation=row.name in names):
                for dims in row.bench:
                    yield Subject(row, case, dims, dtype)


def _has_reals(row: Row) -> bool:
    return any(spec.kind == "real" for spec in row.arrays.values())


def _written_dtype(row: Row) -> str:
    return np.dtype(KINDS[row.arrays[next(row.outputs())].kind]).name


def _cases(row: Row, *, every_activation: bool) -> Iterator[Case]:
    """Yield the first of the settings that the tests use; with an activation, one for each.

    Dense layers are measured with relu alone, whose cost beside the product is the least.
    """
    if "activation" not in row.arguments:
        yield row.cases[0]
        return
    wanted = ACTIVATIONS if every_activation else USUAL_ACTIVATIONS
    for name in ("relu",) if row.group == "dense" else wanted:
        yield next(case for case in row.cases if case["activation"] == name)
