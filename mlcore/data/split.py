"""Dividing one set into train, validation and test parts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore.data.dataset import Dataset, Splits
from mlcore.kernels.errors import InputError


def split(
    dataset: Dataset,
    *,
    validation: float = 0.0,
    test: float = 0.0,
    stratify: bool = False,
    shuffle: bool = False,
    seed: int = 0,
) -> Splits:
    """Divide a set into parts that share no sample.

    Parameters
    ----------
    dataset
        What to divide.
    validation, test
        Size of these parts: a fraction from 0 up to but not including 1, or a whole number of
        samples (an int). A fraction leaves ``floor(n * (1 - fraction))`` samples, as Keras'
        ``validation_split`` does. A part of size 0 is None.
    stratify
        Give every part each class in the set's proportion, rounded by largest remainder.
    shuffle
        Draw the samples by `seed`. Otherwise their order is kept, the test part is the end of the
        set, and the validation part is the end of what is left.
    seed
        A whole number from 0; the same seed gives the same split.

    Returns
    -------
    Splits
        Copies of the samples.

    Raises
    ------
    InputError
        A size is no fraction and no number of samples, nothing is left to train on, the targets
        are not labels, or a class has too few samples to stand in every part.

    Examples
    --------
    >>> dataset = Dataset(np.arange(10.0), np.arange(10) % 2)
    >>> parts = split(dataset, validation=0.2)
    >>> len(parts.train), parts.validation.inputs.ravel()
    (8, array([8., 9.]))
    """
    count = len(dataset)
    held = {
        "validation": _size(validation, count, "validation"),
        "test": _size(test, count, "test"),
    }
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed is {seed!r}: give a whole number from 0")
    if sum(held.values()) >= count:
        raise InputError(
            f"{dataset.name} has {count:,} samples: {held['validation']:,} for validation and "
            f"{held['test']:,} for test leave none to train on"
        )
    # PCG64 by name, because default_rng may come to mean another generator.
    generator = np.random.Generator(np.random.PCG64(seed))
    order = generator.permutation(count) if shuffle else np.arange(count)
    groups = _by_class(dataset, order) if stratify else {None: np.arange(count)}
    parts = _divide(groups, held, count, dataset.name)
    named = {
        part: Dataset(
            dataset.inputs[order[positions]],
            dataset.targets[order[positions]],
            scale=dataset.scale,
            name=f"{dataset.name} {part}",
            class_names=dataset.class_names,
            image_shape=dataset.image_shape,
        )
        for part, positions in parts.items()
        if len(positions)
    }
    return Splits(**named, name=dataset.name, source=f"divided from {dataset.name}")


def _size(asked: float, count: int, part: str) -> int:
    """Return the samples that a fraction or a number asks for."""
    if isinstance(asked, bool) or not isinstance(asked, int | float | np.integer | np.floating):
        raise InputError(f"{part} is {asked!r}: give a fraction below 1 or a whole number")
    if isinstance(asked, int | np.integer):
        if asked < 0:
            raise InputError(f"{part} is {asked}: a number of samples is not negative")
        return int(asked)
    if not 0 <= asked < 1:
        raise InputError(
            f"{part} is {asked}: a fraction is from 0 up to but not including 1 "
            "(for a number of samples give an int)"
        )
    # The nudge keeps n * (1 - f) from falling below a whole number by rounding alone.
    return count - math.floor(count * (1 - float(asked)) + 1e-9 * count)


def _by_class(dataset: Dataset, order: NDArray[np.intp]) -> dict[Any, NDArray[np.intp]]:
    """Return the positions in `order` of each class."""
    if not dataset.labelled:
        raise InputError(
            f"{dataset.name}: stratify needs class labels, the targets are {dataset.targets.dtype}"
        )
    labels = dataset.targets[order]
    return {int(each): np.flatnonzero(labels == each) for each in np.unique(labels)}


def _divide(
    groups: dict[Any, NDArray[np.intp]], held: dict[str, int], count: int, name: str
) -> dict[str, NDArray[np.intp]]:
    """Take the end of each group for test, what is before it for validation, the rest to train."""
    sizes = np.array([len(group) for group in groups.values()], dtype=np.int64)
    shares = {part: _largest_remainder(sizes, total, count) for part, total in held.items()}
    left = sizes - shares["validation"] - shares["test"]
    needed = [left, *(shares[part] for part, total in held.items() if total)]
    for label, size, smallest in zip(groups, sizes, np.min(needed, axis=0), strict=True):
        if smallest < 1:
            raise InputError(
                f"{name}: class {label} has {size} samples, too few to stand in every part; "
                "ask for larger parts or leave out stratify"
            )
    taken: dict[str, list[NDArray[np.intp]]] = {"train": [], "validation": [], "test": []}
    for group, rest, validation in zip(groups.values(), left, shares["validation"], strict=True):
        train, middle, end = np.split(group, [rest, rest + validation])
        taken["train"].append(train)
        taken["validation"].append(middle)
        taken["test"].append(end)
    return {part: np.sort(np.concatenate(positions)) for part, positions in taken.items()}


def _largest_remainder(sizes: NDArray[np.int64], total: int, count: int) -> NDArray[np.int64]:
    """Share `total` out in proportion to `sizes`, whole numbers that add up to it."""
    shares: NDArray[np.int64] = sizes * total // count
    short = total - int(shares.sum())
    largest = np.argsort(-(sizes * total % count), kind="stable")[:short]
    shares[largest] += 1
    return shares
