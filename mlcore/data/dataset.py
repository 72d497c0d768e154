"""Inputs and targets side by side, and the three parts a set is split into."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlcore.data.targets import as_labels, one_hot
from mlcore.kernels.errors import InputError


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Dataset:
    """Samples and what is to be learned from them.

    Images stay uint8, an eighth of float64 and a quarter of float32, until a batch is gathered;
    `scale` says what turns them into network input.

    Parameters
    ----------
    inputs
        (n, features), or (n, ...) which is flattened with the rest kept as `image_shape`, or (n,)
        for one feature. Any integer or floating dtype, kept but for byte order; booleans become
        uint8. Copied only where it is not C-contiguous and native already.
    targets
        Integers (n,) or (n, 1): class labels, kept as int32. Floating (n,) or (n, k): regression
        or soft targets.
    scale
        Factor from `inputs` to network input. Default: 1/255 for uint8, else 1.
    name
        What messages call the set.
    class_names
        One for each label.
    image_shape
        What one row of `inputs` is, for instance ``(28, 28)``.

    Raises
    ------
    InputError
        A dtype that is not numeric, lengths that differ, or an `image_shape` or `scale` that
        cannot be.

    Examples
    --------
    >>> images = np.zeros((3, 28, 28), dtype=np.uint8)
    >>> dataset = Dataset(images, [7, 2, 1], name="digits")
    >>> dataset
    Dataset('digits': 3 samples of 28x28 uint8 times 1/255, labels 1 to 7)
    >>> x, y = dataset
    >>> x.shape, x.dtype, y.dtype
    ((3, 784), dtype('float32'), dtype('int32'))
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    scale: float
    name: str
    class_names: tuple[str, ...] | None
    image_shape: tuple[int, ...] | None

    def __init__(
        self,
        inputs: ArrayLike,
        targets: ArrayLike,
        scale: float | None = None,
        name: str = "data",
        class_names: Sequence[str] | None = None,
        image_shape: Sequence[int] | None = None,
    ) -> None:
        if np.ma.is_masked(inputs) or np.ma.is_masked(targets):
            raise InputError(f"{name}: masked values: fill them, or leave those samples out")
        rows, shape = _rows(np.asarray(inputs), name)
        columns = _columns(np.asarray(targets), name)
        if len(rows) != len(columns):
            raise InputError(
                f"{name}: {len(rows):,} inputs but {len(columns):,} targets; "
                "give one target for each input"
            )
        shape = tuple(int(side) for side in image_shape) if image_shape is not None else shape
        if shape is not None and math.prod(shape) != rows.shape[1]:
            raise InputError(
                f"{name}: image_shape {shape} holds {math.prod(shape)} values, "
                f"a row of inputs {rows.shape[1]}"
            )
        # bool became uint8 above, and a mask's 1 means 1.
        was_uint8 = np.asarray(inputs).dtype == np.uint8
        factor = float(scale) if scale is not None else 1 / 255 if was_uint8 else 1.0
        if not math.isfinite(factor) or factor == 0.0:
            raise InputError(f"{name}: scale is {factor}; give a finite number other than 0")
        # A frozen dataclass can be filled in only from here, and from below its own __setattr__.
        fill = object.__setattr__
        fill(self, "inputs", rows)
        fill(self, "targets", columns)
        fill(self, "scale", factor)
        fill(self, "name", name)
        fill(self, "class_names", None if class_names is None else tuple(class_names))
        fill(self, "image_shape", shape)

    @property
    def x(self) -> NDArray[np.float32]:
        """Network input, a new float32 array (n, features): ``inputs`` times ``scale``."""
        scaled = self.inputs.astype(np.float32)
        scaled *= np.float32(self.scale)
        return scaled

    @property
    def y(self) -> NDArray[Any]:
        """The targets: int32 labels (n,), or floating (n,) or (n, k)."""
        return self.targets

    @property
    def labelled(self) -> bool:
        """Whether the targets are class labels."""
        return self.targets.dtype.kind == "i"

    def one_hot(self) -> NDArray[np.uint8]:
        """Return the labels as uint8 one-hot rows (n, classes).

        There are as many classes as class names, else one more than the largest label.

        Raises
        ------
        InputError
            The targets are not labels, or one is negative or beyond the class names.
        """
        if not self.labelled:
            raise InputError(
                f"{self.name}: targets of {self.targets.dtype} are not labels, so they have no "
                "one-hot rows"
            )
        names = self.class_names
        classes = int(self.targets.max(initial=0)) + 1 if names is None else len(names)
        return one_hot(self.targets, classes, where=self.name)

    def subset(self, rows: slice | ArrayLike) -> Dataset:
        """Return the samples that `rows` picks, in its order.

        Parameters
        ----------
        rows
            A slice, integers (negative ones count from the end), or a boolean mask (n,).

        Raises
        ------
        InputError
            An index is out of range, or a mask has another length.
        """
        if not isinstance(rows, slice):
            rows = self._checked(np.asarray(rows))
        return replace(self, inputs=self.inputs[rows], targets=self.targets[rows])

    def _checked(self, rows: NDArray[Any]) -> NDArray[Any]:
        count = len(self)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "bui"):
            raise InputError(
                f"{self.name}: rows are a slice, a list of integers or a boolean mask, "
                f"not {rows.dtype} of shape {rows.shape}"
            )
        if rows.dtype.kind == "b":
            if len(rows) != count:
                raise InputError(f"{self.name}: a mask of {len(rows):,} for {count:,} samples")
            return rows
        outside = np.flatnonzero((rows < -count) | (rows >= count))
        if len(outside):
            raise InputError(
                f"{self.name}: row {rows[outside[0]]} is out of range for {count:,} samples"
            )
        return rows.astype(np.intp)

    def __len__(self) -> int:
        return len(self.inputs)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield `x`, then `y`, so that ``x, y = dataset`` works."""
        yield self.x
        yield self.y

    def __repr__(self) -> str:
        each = self.image_shape if self.image_shape is not None else self.inputs.shape[1:]
        size = "x".join(map(str, each)) if len(each) > 1 else f"{math.prod(each)} features"
        times = "" if self.scale == 1.0 else f" times {_factor(self.scale)}"
        return (
            f"Dataset({self.name!r}: {len(self):,} samples of {size} {self.inputs.dtype}{times}, "
            f"{self._describe_targets()})"
        )

    def _describe_targets(self) -> str:
        if not self.labelled:
            return f"targets {self.targets.dtype} of shape {self.targets.shape}"
        if self.class_names is not None:
            return f"{len(self.class_names)} classes"
        return f"labels {self.targets.min()} to {self.targets.max()}" if len(self) else "no labels"


@dataclass(frozen=True)
class Splits:
    """The parts of a set, and where it was found.

    ``train, test = splits`` unpacks the two parts that most programs need.

    Attributes
    ----------
    train
        What the network learns from.
    validation
        What settings are chosen on, or None.
    test
        What the result is measured on once, or None.
    name
        The set's name.
    source
        Where it was found, for people to read.
    """

    train: Dataset
    validation: Dataset | None = None
    test: Dataset | None = None
    name: str = "data"
    source: str = "memory"

    def __iter__(self) -> Iterator[Dataset]:
        """Yield `train`, then `test`.

        Raises
        ------
        InputError
            There is no test part to unpack.
        """
        if self.test is None:
            raise InputError(
                f"{self.name} has no test part to unpack: use its .train, or divide it with "
                "mlcore.data.split"
            )
        yield self.train
        yield self.test

    def parts(self) -> dict[str, Dataset]:
        """Return the parts that are there, by name: train, validation, test."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}


def _rows(values: NDArray[Any], name: str) -> tuple[NDArray[Any], tuple[int, ...] | None]:
    """Return `values` as C-contiguous (n, features), and the shape that was flattened."""
    if values.dtype.kind not in "buif":
        raise InputError(f"{name}: inputs have dtype {values.dtype}, expected integers or floats")
    if values.ndim == 0:
        raise InputError(f"{name}: inputs are one number, expected an array (n, features)")
    shape = values.shape[1:] if values.ndim > 2 else None
    dtype = np.dtype(np.uint8) if values.dtype.kind == "b" else values.dtype.newbyteorder("=")
    # reshape(n, -1) cannot infer a size when n is 0.
    flat = values.reshape(len(values), math.prod(values.shape[1:]))
    return np.ascontiguousarray(flat, dtype=dtype), shape


def _columns(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Return `values` as int32 labels (n,), or floating (n,) or (n, k)."""
    if values.dtype.kind not in "buif":
        raise InputError(f"{name}: targets have dtype {values.dtype}, expected integers or floats")
    if values.ndim not in (1, 2):
        raise InputError(f"{name}: targets have shape {values.shape}, expected (n,) or (n, k)")
    if values.dtype.kind == "f":
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    if values.ndim == 2 and values.shape[1] != 1:
        raise InputError(
            f"{name}: integer targets have shape {values.shape}; give labels (n,), or floats for "
            "soft targets"
        )
    return as_labels(values.reshape(len(values)), where=f"{name}, targets")


def _factor(scale: float) -> str:
    inverse = 1 / scale
    return f"1/{round(inverse)}" if abs(inverse) > 1 and inverse == round(inverse) else f"{scale:g}"
