"""How much each sample counts: sample weights and class weights, made one at the door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlcore import door
from mlcore.door import Targets
from mlcore.kernels.errors import InputError, is_number

ClassWeight = Mapping[int, float] | Literal["balanced"]


def as_weights(
    sample_weight: ArrayLike | None, samples: int, dtype: np.dtype[Any]
) -> NDArray[Any] | None:
    """Return one weight a sample, (n,), in the model's dtype; None where none were given.

    Parameters
    ----------
    sample_weight : array_like (n,) or (n, 1), optional
        Any real dtype.
    samples : int
        How many there must be.
    dtype : numpy.dtype

    Raises
    ------
    InputError
        For another shape, and for a weight that is negative or not finite, with its place.
    """
    if sample_weight is None:
        return None
    given = door.as_array(sample_weight, "sample_weight")
    if given.shape not in ((samples,), (samples, 1)):
        raise InputError(
            f"sample_weight has shape {given.shape}; give one weight for each of the {samples} "
            "samples"
        )
    given = given.reshape(-1)
    wrong = np.flatnonzero(~((given >= 0) & (given <= np.finfo(dtype).max)))
    if len(wrong):
        first = int(wrong[0])
        raise InputError(
            f"sample_weight[{first}] is {given[first]}: weights must be 0 or more, and finite in "
            f"{dtype.name}"
        )
    return np.ascontiguousarray(given, dtype=dtype)


def weighted(
    targets: Targets,
    sample_weight: NDArray[Any] | None,
    class_weight: ClassWeight | None,
    outputs: int,
    dtype: np.dtype[Any],
) -> Targets:
    """Return `targets` with the product of both kinds of weights.

    Parameters
    ----------
    targets : Targets
    sample_weight : ndarray (n,) or None
        As `as_weights` gives it.
    class_weight : dict of int to float, "balanced", or None
        By label, one where a label is not named; "balanced" is n / (classes * samples of the
        class) over the classes that occur, as ``sklearn.utils.class_weight.compute_class_weight``.
        Where one output takes a side, the labels are 0 and 1, or -1 and 1.
    outputs : int
        The model's.
    dtype : numpy.dtype
        The model's.

    Raises
    ------
    InputError
        For class weights where there are no classes, an unknown class, a weight that is negative
        or not finite, and where no sample has a weight above zero, or they sum to infinity.
    """
    if sample_weight is None and class_weight is None:
        return targets
    with np.errstate(over="ignore"):
        weights = np.ones(len(targets), dtype) if sample_weight is None else sample_weight
        if class_weight is not None:
            weights = weights * _by_class(targets, class_weight, outputs).astype(dtype)
        total = weights.sum(dtype=np.float64)
    if total == 0:
        raise InputError("the weights of all samples are zero: some sample must count")
    if not total <= np.finfo(dtype).max:
        raise InputError(f"the weights sum to more than {dtype.name} can hold: scale them down")
    return replace(targets, weights=np.ascontiguousarray(weights))


def _by_class(targets: Targets, class_weight: ClassWeight, outputs: int) -> NDArray[np.float64]:
    """Return each sample's class weight."""
    classes, names = _classes(targets, outputs)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise InputError(
                f'class_weight must be "balanced" or a dict of weights by label, not '
                f"{class_weight!r}"
            )
        counts = np.bincount(classes)
        balanced: NDArray[np.float64] = len(classes) / (
            np.count_nonzero(counts) * np.maximum(counts, 1)
        )
        return balanced[classes]
    if not isinstance(class_weight, Mapping):
        raise InputError(
            f'class_weight must be "balanced" or a dict of weights by label, not '
            f"{type(class_weight).__name__}"
        )
    factors = np.ones(max(names.values()) + 1)
    for label, weight in class_weight.items():
        if label not in names:
            known = ", ".join(map(str, sorted(names))) if len(names) < 10 else f"0..{max(names)}"
            raise InputError(f"class_weight names the class {label!r}; the labels are {known}")
        if not (is_number(weight) and weight >= 0):
            raise InputError(
                f"class_weight[{label!r}] is {weight!r}: weights must be finite and 0 or more"
            )
        factors[names[label]] = weight
    return factors[classes]


def _classes(targets: Targets, outputs: int) -> tuple[NDArray[np.int64], dict[int, int]]:
    """Return the class of each sample, and the class that each label stands for."""
    if targets.classes is not None:
        return targets.classes.astype(np.int64), {at: at for at in range(outputs)}
    if targets.sides and targets.array.shape[1] == 1:
        upper = targets.array[:, 0] > 0.5
        lower = -1 if (targets.array < 0).any() else 0
        return upper.astype(np.int64), {lower: 0, 0: 0, 1: 1}
    raise InputError(
        "class_weight needs targets of which each is one class; weigh regressions, and samples of "
        "several labels, by sample_weight"
    )
