"""What the target column of a file means: class labels, one-hot rows, or numbers to fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore.kernels.errors import InputError

_INT32 = np.iinfo(np.int32)


def as_labels(values: NDArray[Any], *, where: str) -> NDArray[np.int32]:
    """Return integers as int32 class labels, refusing what does not fit.

    Parameters
    ----------
    values
        Integers or booleans of any shape.
    where
        What the error names: the file and dataset the values came from.

    Returns
    -------
    ndarray of int32
        The same shape, C-contiguous.

    Raises
    ------
    InputError
        A label does not fit into int32.
    """
    if values.size and not (_INT32.min <= int(values.min()) and int(values.max()) <= _INT32.max):
        outside = int(values.min()) if int(values.min()) < _INT32.min else int(values.max())
        raise InputError(f"{where}: the label {outside} does not fit into int32")
    return np.ascontiguousarray(values, dtype=np.int32)


def as_targets(values: NDArray[Any], *, where: str) -> NDArray[Any]:
    """Return the targets a file holds as labels or as numbers.

    Parameters
    ----------
    values
        Integers or booleans of shape (n,) or (n, 1): labels. (n, k): one-hot rows. Floating (n,) or
        (n, 1): regression. Floating (n, k): one-hot rows where every row is, else soft targets or
        regression, which are kept as they are.
    where
        What an error names: the file and dataset the values came from.

    Returns
    -------
    ndarray
        int32 labels (n,), or floating (n,) or (n, k).

    Raises
    ------
    InputError
        Integer rows are not one-hot, there are more than two dimensions, or the dtype is not
        numeric.

    Examples
    --------
    >>> as_targets(np.array([[0, 1, 0], [1, 0, 0]], dtype=np.uint8), where="ydata")
    array([1, 0], dtype=int32)
    """
    if values.dtype.kind not in "buif":
        raise InputError(f"{where} has dtype {values.dtype}: targets are integers or floats")
    if values.ndim not in (1, 2):
        raise InputError(
            f"{where} has shape {values.shape}: expected (n,) labels or (n, k) one-hot rows"
        )
    floating = values.dtype.kind == "f"
    if values.ndim == 1 or values.shape[1] == 1:
        if floating:
            return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
        return as_labels(values.reshape(len(values)), where=where)
    if is_one_hot(values):
        labels: NDArray[np.int32] = np.argmax(values, axis=1).astype(np.int32)
        return labels
    if floating:
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    raise InputError(
        f"{where}: {_first_fault(values)}; expected one-hot rows, one label a sample, or floats"
    )


def is_one_hot(values: NDArray[Any]) -> bool:
    """Tell whether every row of `values` (n, k) is zero but for exactly one 1."""
    return bool(one_hot_rows(values).all())


def one_hot_rows(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell of each row of `values` (n, k) whether it is zero but for exactly one 1."""
    ones = values == 1
    good: NDArray[np.bool_] = (ones | (values == 0)).all(axis=1) & (ones.sum(axis=1) == 1)
    return good


def one_hot(labels: NDArray[np.int32], classes: int, *, where: str) -> NDArray[np.uint8]:
    """Return int32 labels (n,) as uint8 one-hot rows (n, classes).

    Raises
    ------
    InputError
        A label is negative, or not below `classes`.
    """
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        bad = int(np.flatnonzero((labels < 0) | (labels >= classes))[0])
        raise InputError(
            f"{where}: sample {bad} has label {labels[bad]}: "
            f"one-hot rows of {classes} classes hold 0 to {classes - 1}"
        )
    rows = np.zeros((len(labels), classes), dtype=np.uint8)
    rows[np.arange(len(labels)), labels] = 1
    return rows


def _first_fault(values: NDArray[Any]) -> str:
    rows = values.astype(np.int64)
    outside = ((rows != 0) & (rows != 1)).any(axis=1)
    row = int(np.flatnonzero(outside | (rows.sum(axis=1) != 1))[0])
    if outside[row]:
        value = next(value for value in values[row].tolist() if value not in (0, 1))
        return f"one-hot row {row} holds {value}"
    return f"one-hot row {row} sums to {int(rows[row].sum())}"
