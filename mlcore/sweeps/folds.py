"""The parts of a cross-validation: every sample is held out once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlcore.data.targets import one_hot_rows
from mlcore.kernels.errors import InputError


class Fold(NamedTuple):
    """The samples of one fold, by their row numbers in rising order.

    Attributes
    ----------
    train : ndarray of int64
        What the network learns from.
    validation : ndarray of int64
        What is held out.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def stratified_folds(y: ArrayLike, folds: int = 4, seed: int = 0) -> list[Fold]:
    """Divide samples into folds that have every class in nearly the same proportion.

    The samples of each class are shuffled and dealt to the folds in turn, one class after the
    other: of each class, and in all, folds differ by one sample at most.

    Parameters
    ----------
    y : array_like (n,) or (n, classes)
        Labels of any kind, or one-hot rows.
    folds : int
        2 or more.
    seed : int
        From 0; the same seed gives the same folds.

    Returns
    -------
    list of Fold
        ``for train, validation in stratified_folds(y)``; the validation parts share no sample,
        and together they are all samples.

    Raises
    ------
    InputError
        For targets that are no classes, and for a class with fewer samples than there are folds.

    Notes
    -----
    As scikit-learn's ``StratifiedKFold(shuffle=True)``, with other draws.
    """
    labels = _classes(np.asarray(y))
    generator = _generator(len(labels), folds, seed)
    classes, counts = np.unique(labels, return_counts=True)
    few = int(counts.argmin())
    if counts[few] < folds:
        raise InputError(
            f"class {classes[few]} has {counts[few]} samples, fewer than {folds} folds: ask for "
            "fewer folds, leave the class out, or use plain_folds"
        )
    order = np.concatenate([generator.permutation(np.flatnonzero(labels == c)) for c in classes])
    return _dealt(order, folds)


def plain_folds(y: ArrayLike, folds: int = 4, seed: int = 0) -> list[Fold]:
    """Divide samples into folds at random, whatever their targets; for regressions.

    Parameters
    ----------
    y : array_like (n, ...)
        Only its length counts.
    folds, seed : as for `stratified_folds`

    Returns
    -------
    list of Fold
        Their sizes differ by one sample at most.

    Raises
    ------
    InputError
        For fewer samples than folds.

    Notes
    -----
    As scikit-learn's ``KFold(shuffle=True)``, with other draws.
    """
    samples = len(np.asarray(y))
    return _dealt(_generator(samples, folds, seed).permutation(samples), folds)


def _dealt(order: NDArray[np.int64], folds: int) -> list[Fold]:
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order)) % folds
    return [Fold(np.flatnonzero(number != k), np.flatnonzero(number == k)) for k in range(folds)]


def _classes(y: NDArray[Any]) -> NDArray[Any]:
    """Return one label a sample."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.dtype.kind in "buif" and one_hot_rows(y).all():
        return np.asarray(y.argmax(axis=1))
    whole = y.dtype.kind in "buiUSO" or (y.dtype.kind == "f" and bool((y == np.floor(y)).all()))
    if y.ndim != 1 or not whole:
        raise InputError(
            f"the targets, {y.dtype} of shape {y.shape}, are no classes: give labels (n,) or "
            "one-hot rows, or use plain_folds"
        )
    return y


def _generator(samples: int, folds: int, seed: int) -> np.random.Generator:
    """Return the random numbers of the folds, once the numbers are known to be right."""
    if isinstance(folds, bool) or not isinstance(folds, int | np.integer) or folds < 2:
        raise InputError(f"folds must be a whole number, 2 or more, not {folds!r}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed must be a whole number, 0 or more, not {seed!r}")
    if samples < folds:
        raise InputError(f"{samples} samples cannot make {folds} folds: ask for fewer")
    # PCG64 by name, because default_rng may come to mean another generator.
    return np.random.Generator(np.random.PCG64(int(seed)))
