"""Accuracy, the confusion matrix and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlcore.kernels.errors import InputError

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def accuracy(outputs: npt.ArrayLike, targets: npt.ArrayLike, threshold: float = 0.5) -> float:
    """Return the fraction of samples whose predicted class is the true one.

    Parameters
    ----------
    outputs : array_like, (n, k), (n, 1) or (n,), any real dtype
        With k >= 2 columns the greatest is the predicted class, the first of equals; scores,
        logits, log-probabilities and probabilities give the same. A single column predicts class
        1 where it is above `threshold`, else class 0.
    targets : array_like, (n,) or (n, 1) or (n, k)
        Whole class numbers from 0 on, or a row for each sample, one-hot or soft, whose greatest
        entry is the class. Class numbers may have a floating dtype.
    threshold : float
        For a single column: 0.5 for probabilities, 0.0 for logits and margins.

    Returns
    -------
    float
        From 0.0 to 1.0. A sample with a NaN output counts as wrong.

    Raises
    ------
    InputError
        If there are no samples, the shapes do not fit, or a label is not one of the classes.

    Examples
    --------
    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    >>> accuracy([-1.5, 0.3], [0, 1], threshold=0.0)
    1.0
    """
    scores = _real(outputs, "outputs")
    if scores.ndim == 1:
        scores = scores[:, np.newaxis]
    if scores.ndim != 2 or scores.size == 0:
        raise InputError(
            f"accuracy needs outputs of shape (samples, classes), (samples, 1) or (samples,) with "
            f"at least one sample, not {np.shape(outputs)}"
        )
    samples, columns = scores.shape
    if columns == 1:
        predicted = (scores[:, 0] > threshold).astype(np.int64)
        valid = ~np.isnan(scores[:, 0])
    else:
        # argmax returns a row's first NaN if it has one, so looking there is enough.
        predicted = scores.argmax(axis=1)
        valid = ~np.isnan(scores[np.arange(samples), predicted])
    labels = _target_labels(targets, samples, max(columns, 2))
    return float(np.mean((predicted == labels) & valid))


def confusion_matrix(
    labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int | None = None
) -> Labels:
    """Count how often each class was taken for each other one.

    Parameters
    ----------
    labels, predicted : array_like, (n,)
        True and predicted class numbers, whole, from 0 on.
    classes : int, optional
        The number k of classes; without it, one more than the greatest number in either.

    Returns
    -------
    ndarray, (k, k), int64
        Entry [i, j] counts the samples of class i that were predicted as class j: rows are true,
        columns predicted classes, as in scikit-learn.

    Raises
    ------
    InputError
        If the lengths differ, a number is not a class, or nothing tells how many classes there
        are.

    Examples
    --------
    >>> confusion_matrix([0, 0, 1], [0, 1, 1])
    array([[1, 1],
           [0, 1]])
    """
    if classes is not None and classes < 1:
        raise InputError(f"a confusion matrix needs at least one class, not classes={classes}")
    true = _class_numbers(labels, "labels", classes)
    guess = _class_numbers(predicted, "predicted", classes)
    if true.size != guess.size:
        raise InputError(
            f"there are {true.size} labels and {guess.size} predictions; there must be one "
            f"prediction for each label"
        )
    if classes is None:
        if not true.size:
            raise InputError("there are no labels to count classes from; give classes=")
        classes = 1 + int(max(true.max(), guess.max()))
    counts = np.bincount(true * classes + guess, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


class Confusion(NamedTuple):
    """One kind of mistake: so many `samples` of class `true` were predicted as `predicted`.

    `rate` is their fraction of the samples of class `true`.
    """

    true: int
    predicted: int
    samples: int
    rate: float


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """What a confusion matrix says about every class; `str()` makes a table of it.

    A quotient with a zero denominator is 0.0, as is scikit-learn's default: the recall of a
    class without samples, the precision of a class never predicted, the F1 of a class that is
    neither.

    Parameters
    ----------
    matrix : array_like, (k, k), whole numbers
        Rows true, columns predicted classes, as `confusion_matrix` returns; kept as int64.
    class_names : sequence of str, optional
        One for each class; without it "0", "1", ...

    Raises
    ------
    InputError
        If the matrix is not square, has an entry that is not a count, or the names do not fit.

    Examples
    --------
    >>> report = ClassificationReport(confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1]), ("cat", "dog"))
    >>> report.accuracy
    0.75
    >>> report.most_confused(1)
    [Confusion(true=0, predicted=1, samples=1, rate=0.5)]
    """

    matrix: Labels
    class_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        matrix = _real(self.matrix, "a confusion matrix")
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
            raise InputError(
                f"a confusion matrix has one row and one column for each class; this one has the "
                f"shape {matrix.shape}"
            )
        counts = _whole(matrix.ravel(), "a confusion matrix").reshape(matrix.shape)
        if counts.min() < 0:
            raise InputError(f"a confusion matrix holds counts; this one holds {counts.min()}")
        object.__setattr__(self, "matrix", counts)
        if len(self.names) != len(counts):
            raise InputError(
                f"there are {len(self.names)} class names and {len(counts)} classes; give one "
                f"name for each class"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each class: those given, or the class numbers."""
        names = range(len(self.matrix)) if self.class_names is None else self.class_names
        return tuple(str(name) for name in names)

    @property
    def samples(self) -> int:
        """How many samples were counted."""
        return int(self.matrix.sum())

    @property
    def support(self) -> Labels:
        """Samples of each true class, (k,) int64."""
        support: Labels = self.matrix.sum(axis=1)
        return support

    @property
    def accuracy(self) -> float:
        """Fraction of the samples that lie on the diagonal; 0.0 without samples."""
        return float(_quotient(np.trace(self.matrix), self.matrix.sum()))

    @property
    def precision(self) -> Floats:
        """Of the samples predicted as each class, the fraction that are of it, (k,) float64."""
        return _quotient(np.diagonal(self.matrix), self.matrix.sum(axis=0))

    @property
    def recall(self) -> Floats:
        """Of the samples of each class, the fraction predicted as it, (k,) float64."""
        return _quotient(np.diagonal(self.matrix), self.support)

    @property
    def f1(self) -> Floats:
        """Harmonic mean of precision and recall of each class, (k,) float64.

        It is ``2 * right / (true + predicted)`` in counts, so it needs neither of the two.
        """
        return _quotient(2 * np.diagonal(self.matrix), self.support + self.matrix.sum(axis=0))

    @property
    def rates(self) -> Floats:
        """The matrix as fractions of each true class, (k, k) float64; rows sum to 1 or are 0."""
        return _quotient(self.matrix, self.support[:, np.newaxis])

    def most_confused(self, n: int = 5) -> list[Confusion]:
        """Return the `n` most frequent kinds of mistake, most frequent first.

        Kinds that did not occur are left out; of equal counts the lower true class comes first,
        then the lower predicted class.
        """
        errors = self.matrix - np.diag(np.diagonal(self.matrix))
        order = np.argsort(-errors, axis=None, kind="stable")[: max(n, 0)]
        rates = self.rates
        return [
            Confusion(int(i), int(j), int(errors[i, j]), float(rates[i, j]))
            for i, j in zip(*np.unravel_index(order, errors.shape), strict=True)
            if errors[i, j]
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values; `matrix` is a list of rows."""
        keys = ("class", "precision", "recall", "f1", "support")
        return {
            "accuracy": self.accuracy,
            "samples": self.samples,
            "classes": [dict(zip(keys, row, strict=True)) for row in self._rows()],
            "most_confused": [mistake._asdict() for mistake in self.most_confused()],
            "matrix": self.matrix.tolist(),
        }

    def __str__(self) -> str:
        precision, recall, f1 = (float(x.mean()) for x in (self.precision, self.recall, self.f1))
        rows = [*self._rows(), ("mean", precision, recall, f1, self.samples)]
        width = max(len("class"), *(len(row[0]) for row in rows))
        lines = [f"{'class':<{width}}  precision  recall      f1  support"]
        lines += [
            f"{name:<{width}}  {precision:9.4f}  {recall:6.4f}  {f1:6.4f}  {support:7,}"
            for name, precision, recall, f1, support in rows
        ]
        lines.insert(-1, "-" * len(lines[0]))
        right = int(np.trace(self.matrix))
        lines += ["", f"accuracy {self.accuracy:.4f} ({right:,} of {self.samples:,})"]
        mistakes = self.most_confused()
        if mistakes:
            lines.append("most confused:")
            pairs = [f"{self.names[m.true]} taken for {self.names[m.predicted]}" for m in mistakes]
            width = max(map(len, pairs))
            lines += [
                f"  {pair:<{width}}  {mistake.samples:7,}  {mistake.rate:6.2%} of its class"
                for pair, mistake in zip(pairs, mistakes, strict=True)
            ]
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, float, float, float, int]]:
        columns = (self.precision, self.recall, self.f1, self.support)
        return list(zip(self.names, *(column.tolist() for column in columns), strict=True))


def _quotient(counts: npt.ArrayLike, totals: npt.ArrayLike) -> Floats:
    """Divide, with 0.0 where the total is 0."""
    counts, totals = np.broadcast_arrays(counts, totals)
    quotient: Floats = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals != 0)
    return quotient


def _target_labels(targets: npt.ArrayLike, samples: int, classes: int) -> Labels:
    """Return `targets`, class numbers or rows of class weights, as class numbers."""
    array = _real(targets, "targets")
    if array.shape == (samples, 1):
        array = array[:, 0]
    if array.shape == (samples, classes):
        nan = np.isnan(array).any(axis=1)
        if nan.any():
            raise InputError(f"the target row {nan.argmax()} holds a NaN; repair or leave it out")
        classes_of_rows: Labels = array.argmax(axis=1)
        return classes_of_rows
    if array.shape != (samples,):
        raise InputError(
            f"targets have the shape {array.shape} and the outputs are of {samples} samples and "
            f"{classes} classes; targets must be ({samples},) or ({samples}, {classes})"
        )
    return _class_numbers(array, "targets", classes)


def _class_numbers(values: npt.ArrayLike, what: str, classes: int | None) -> Labels:
    """Return (n,) whole numbers as int64, each of them at least 0 and below `classes`."""
    array = _real(values, what)
    if array.ndim != 1:
        raise InputError(
            f"{what} must be class numbers of shape (samples,), not {array.shape}; rows of "
            f"scores become class numbers by argmax(axis=1)"
        )
    numbers = _whole(array, what)
    wrong = (numbers < 0) | (numbers >= (np.inf if classes is None else classes))
    if wrong.any():
        first = int(wrong.argmax())
        allowed = "must be at least 0" if classes is None else f"go from 0 to {classes - 1}"
        raise InputError(f"{what}[{first}] is {array[first]}, but class numbers {allowed}")
    return numbers


def _real(values: npt.ArrayLike, what: str) -> npt.NDArray[Any]:
    """Return an array of a boolean, integer or floating dtype."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what} must be numbers, not of dtype {array.dtype}")
    return array


def _whole(array: npt.NDArray[Any], what: str) -> Labels:
    """Return (n,) whole numbers of any real dtype as int64."""
    if array.dtype.kind == "f":
        # A NaN differs from itself, and the comparison with 2**63 stops infinities.
        wrong = (array != np.floor(array)) | (np.abs(array) >= 2.0**63)
        if wrong.any():
            first = int(wrong.argmax())
            raise InputError(f"{what} must hold whole numbers; entry {first} is {array[first]}")
    return array.astype(np.int64)
