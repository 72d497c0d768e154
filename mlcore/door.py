"""The door for arrays: what a caller hands in is checked here, once, never per step.

Inputs that already fit are taken as they are. Labels are always copied: kernels index by them, so
nobody may change them afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlcore.data.dataset import Dataset
from mlcore.data.targets import one_hot_rows
from mlcore.kernels.errors import InputError

Shape = tuple[int, ...]
Judge = Callable[[NDArray[Any], NDArray[np.int64]], float]
ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Inputs:
    """Inputs as the kernels take them.

    Attributes
    ----------
    array : ndarray (n, features)
        C-contiguous uint8, float32 or float64; whatever shape a sample has, it lies in a row.
    scale : float
        What they are multiplied by.
    sample : tuple of int
        The shape of a sample.
    """

    array: NDArray[Any]
    scale: float
    sample: Shape

    def __len__(self) -> int:
        return len(self.array)


@dataclass(frozen=True)
class Targets:
    """Targets as the kernels take them.

    Attributes
    ----------
    array : ndarray
        int32 labels (n,), or numbers (n, outputs) of the model's dtype.
    classes : ndarray or None
        The int32 labels (n,) that a row's largest output must stand at to be right.
    sides : bool
        Whether an output is right that is above zero where its target is above one half.
    weights : ndarray or None
        How much each sample counts, (n,) of the model's dtype; see `mlcore.weights`.
    """

    array: NDArray[Any]
    classes: NDArray[np.int32] | None = None
    sides: bool = False
    weights: NDArray[Any] | None = None

    @property
    def labelled(self) -> bool:
        """Whether these are class labels."""
        return self.array.ndim == 1

    @property
    def judge(self) -> Judge | None:
        """``judge(outputs, rows)``, which counts the right answers of a batch.

        None where there is no right or wrong, as in regression.
        """
        if self.classes is not None:
            classes = self.classes
            return lambda z, rows: count_classes(z, classes[rows])
        if self.sides:
            return lambda z, rows: float(((z > 0) == (self.array[rows] > 0.5)).mean(axis=1).sum())
        return None

    def __len__(self) -> int:
        return len(self.array)


def as_inputs(
    x: ArrayLike | Dataset,
    *,
    shape: Shape | None,
    dtype: np.dtype[Any],
    axes: int | None = None,
    limit: int | None = None,
) -> Inputs:
    """Return `x` ready for the kernels.

    Parameters
    ----------
    x : array_like (n, ...) or Dataset
        Any real dtype, layout and byte order. uint8 stays uint8 and is converted batch by batch.
        Copied only where it is not C-contiguous or of another dtype.
    shape : tuple of int or None
        The samples that the model takes; None before it is built. Samples without the last axis,
        where that is 1, are taken too, and rows of as many numbers.
    dtype : numpy.dtype
        The model's.
    axes : int, optional
        How many axes the samples of a model that is not built yet must have.
    limit : int, optional
        What is looked up has whole numbers below this one.

    Raises
    ------
    InputError
        For no samples, samples of another shape, values that are not real numbers, NaN or
        infinity, and what cannot be looked up, with the first place.
    """
    if isinstance(x, Dataset):
        scale, values, where, image = x.scale, x.inputs, x.name, x.image_shape
    else:
        scale, values, where, image = 1.0, as_array(x, "x"), "x", None
    if values.ndim < 2:
        raise InputError(
            f"{where} has shape {values.shape}; it must be (samples, features): try "
            "x.reshape(-1, 1)"
        )
    if len(values) == 0:
        raise InputError(f"{where} is empty: there are no samples")
    sample = _sample_shape(values.shape[1:], image, shape, axes, where)
    if values.size == 0:
        raise InputError(f"{where} has no features: its shape is {values.shape}")
    taken = values.dtype in (np.uint8, np.float32, np.float64)
    _check_finite(values, where, dtype)
    if limit is not None:
        _check_whole(values, scale, limit, where)
    array = np.ascontiguousarray(values, dtype=values.dtype if taken else dtype)
    return Inputs(array.reshape(len(array), -1), scale, sample)


def with_channel(sample: Shape, axes: int | None) -> Shape:
    """Return a sample's shape with a last axis of 1 where it lacks that one of its axes."""
    return (*sample, 1) if axes == len(sample) + 1 else sample


def _sample_shape(
    own: Shape, image: Shape | None, wanted: Shape | None, axes: int | None, where: str
) -> Shape:
    """Return the shape that samples are taken in, or say that they are of another one."""
    if wanted is None:
        full = with_channel(own if image is None else image, axes)
        return full if len(full) == axes else with_channel(own, axes)
    if own in (wanted, (math.prod(wanted),)) or (*own, 1) == wanted:
        return wanted
    if len(own) == len(wanted) == 1:
        raise InputError(f"{where} has {own[0]} features; the model was built for {wanted[0]}")
    turned = len(own) == 3 and (*own[1:], own[0]) == wanted
    hint = ""
    if turned:
        hint = ": channels stand last, x.transpose(0, 2, 3, 1)"
    elif (math.prod(own),) == wanted:
        hint = ": x.reshape(len(x), -1)"
    raise InputError(f"{where} has samples of shape {own}; the model was built for {wanted}{hint}")


def _check_whole(values: NDArray[Any], scale: float, limit: int, where: str) -> None:
    """Refuse what is no whole number from 0 to limit - 1, once multiplied by `scale`."""
    for start in range(0, len(values), ROWS_AT_A_TIME):
        part = values[start : start + ROWS_AT_A_TIME] * scale
        good = (part >= 0) & (part < limit) & (part == np.floor(part))
        if not good.all():
            place = [int(i) for i in np.argwhere(~good)[0]]
            value = part[tuple(place)]
            place[0] += start
            raise InputError(
                f"{where} has {value:g} at {place}; Embedding takes whole numbers from 0 to "
                f"{limit - 1}"
            )


def as_array(values: ArrayLike, where: str) -> NDArray[Any]:
    """Return real numbers as an array of their own dtype.

    Raises
    ------
    InputError
        For rows of different lengths, and for text, complex numbers and objects.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise InputError(f"{where} has masked values: fill them, or leave those samples out")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where} cannot be made an array (rows of different lengths?): {error}"
        ) from error
    if array.dtype.kind not in "buif":
        raise InputError(f"{where} has dtype {array.dtype}; it must hold real numbers")
    return array


def _check_finite(values: NDArray[Any], where: str, dtype: np.dtype[Any]) -> None:
    """Refuse NaN, infinity, and what overflows in the model's dtype."""
    if values.dtype.kind != "f":
        return
    largest = np.finfo(dtype).max
    for start in range(0, len(values), ROWS_AT_A_TIME):
        part = values[start : start + ROWS_AT_A_TIME]
        good = np.abs(part) <= largest
        if not good.all():
            place = [int(i) for i in np.argwhere(~good)[0]]
            value = part[tuple(place)]
            place[0] += start
            raise InputError(
                f"{where} has {value} at {place}; every value must be finite in {dtype.name}"
            )


def count_classes(outputs: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return how many rows have their largest output at the label."""
    best = outputs.argmax(axis=1)
    # argmax returns a row's first NaN if it has one; such a row is wrong.
    valid = ~np.isnan(outputs[np.arange(len(best)), best])
    return float(np.count_nonzero((best == labels) & valid))


def class_labels(y: ArrayLike, classes: int, where: str = "y") -> NDArray[np.int32] | None:
    """Return `y` as labels (n,) if that is what it holds, else None.

    Labels are whole numbers (n,) or (n, 1), of any dtype, or one-hot rows (n, classes).

    Raises
    ------
    InputError
        For a label outside 0..classes-1, with its place, and for rows of integers that are not
        one-hot.
    """
    values = as_array(y, where)
    _check_finite(values, where, np.dtype(np.float64))
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2 and values.shape[1] == classes:
        hot = one_hot_rows(values)
        if hot.all():
            labels: NDArray[np.int32] = values.argmax(axis=1).astype(np.int32)
            return labels
        if values.dtype.kind in "bui":
            row = int(np.flatnonzero(~hot)[0])
            raise InputError(
                f"{where}[{row}] is {values[row].tolist()}, not one-hot: a row must hold a "
                "single 1 and sum to one"
            )
    if values.ndim != 1:
        return None
    if values.dtype.kind == "f" and not (values == np.floor(values)).all():
        return None
    outside = (values < 0) | (values >= classes)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        hint = ", or use sigmoid_cross_entropy for two classes" if classes == 1 else ""
        raise InputError(
            f"{where}[{first}] is {values[first]:g}: labels must be in 0..{classes - 1}, one for "
            f"each of the model's {classes} outputs{hint}"
        )
    return np.array(values, dtype=np.int32)


def as_rows(y: ArrayLike, outputs: int, dtype: np.dtype[Any], where: str = "y") -> NDArray[Any]:
    """Return `y` as finite numbers (n, outputs) of `dtype`.

    Raises
    ------
    InputError
        For another shape, values that are not real numbers, NaN or infinity.
    """
    values = as_array(y, where)
    if values.ndim == 1 and outputs == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != outputs:
        raise InputError(
            f"{where} has shape {np.shape(y)}; the model gives (samples, {outputs}) outputs"
        )
    _check_finite(values, where, dtype)
    return np.ascontiguousarray(values, dtype=dtype)
