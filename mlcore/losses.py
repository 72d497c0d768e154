"""The losses: which targets they take, which activation they absorb, which kernel they are.

``docs/losses.md`` has the formulas side by side, with what other libraries call them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlcore import door
from mlcore.data.targets import one_hot
from mlcore.door import Targets
from mlcore.kernels.errors import InputError, is_number, unknown
from mlcore.layers import Layer

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering


def last_active(layers: Sequence[Layer]) -> Layer | None:
    """Return the last layer that has an activation, be it identity."""
    return next((layer for layer in reversed(layers) if layer.activation is not None), None)


@dataclass(frozen=True)
class Loss(ABC):
    """The base of the losses, each of them a weighted mean over the batch.

    With sample weights w the loss of a batch is ``sum(w * losses) / sum(w)``, and zero where all
    of its weights are zero.

    Attributes
    ----------
    kind : str
        The name.
    link : str or None
        The activation that turns the model's output into probabilities. Such a loss takes
        logits; where the last layer applies that activation itself, the loss absorbs it.
    by_sign : bool
        Whether a single output, as it is, decides between two classes by its sign.
    """

    kind: ClassVar[str]
    link: ClassVar[str | None] = None
    by_sign: ClassVar[bool] = False

    @property
    def kernel(self) -> str:
        """The operation of `mlcore.kernels.TABLE` that computes it; usually of the same name."""
        return self.kind

    @abstractmethod
    def targets(self, y: ArrayLike, outputs: int, dtype: np.dtype[Any]) -> Targets:
        """Check `y` and return it as the kernel takes it."""

    def takes_labels(self, outputs: int) -> bool:
        """Return whether class labels stay labels with so many outputs."""
        return False

    def absorbs(self, layers: Sequence[Layer]) -> Layer | None:
        """Return the last of `layers` if this loss computes its activation, else None.

        Raises
        ------
        InputError
            For an activation that yields probabilities this loss would take for logits.
        """
        last = last_active(layers)
        if self.link is None or last is None or last.activation is None:
            return None
        name, slope = last.activation.name, last.activation.parameter
        if name == self.link and (name != "sigmoid" or slope == 1):
            behind = [layer for layer in layers[layers.index(last) + 1 :] if not layer.reshapes]
            if behind:
                raise InputError(
                    f"{self.kind} computes the {name} of {last.name}, so nothing can stand behind "
                    f"it: leave {behind[-1].name} out"
                )
            return last
        if name == "softmax" or (name == "sigmoid" and self.link == "sigmoid"):
            raise InputError(
                f"{self.kind} takes logits or its own {self.link}; the last layer ends in {name}"
                f"{f' with slope {slope:g}' if name == 'sigmoid' else ''}: leave that out"
            )
        return None

    def lower(
        self, plan: Lowering, outputs: Buffer, labelled: bool, weighted: bool = False
    ) -> Buffer | None:
        """Add the gathers of targets and weights and the kernel; return the gradient's buffer."""
        width = outputs.columns
        inputs = self.arguments(plan, outputs, labelled)
        if weighted:
            plan.plan.weights = self._gathered_weights(plan)
        plan.plan.losses = losses = plan.batch_buffer("losses")
        grad = plan.batch_buffer("loss.grad", width) if plan.gradients else None
        plan.add(self.kernel, "loss", "loss", **inputs, weights=plan.plan.weights,
                 losses=losses, grad=grad)  # fmt: skip
        return grad

    @abstractmethod
    def arguments(self, plan: Lowering, outputs: Buffer, labelled: bool) -> dict[str, Any]:
        """Return the kernel's inputs and settings, after adding the gather of the targets."""

    def _gathered(self, plan: Lowering, outputs: Buffer) -> Buffer:
        width, dtype = outputs.columns, plan.plan.dtype
        rows = plan.batch_buffer("batch.y", width)
        plan.add(
            "gather", "batch", "data",
            source=plan.data("targets", width, dtype=dtype), rows=plan.rows(), scale=1.0, out=rows,
        )  # fmt: skip
        return rows

    def _gathered_labels(self, plan: Lowering) -> Buffer:
        labels = plan.batch_buffer("batch.y", kind="labels")
        plan.add(
            "gather_labels", "batch", "data",
            labels=plan.data("targets", dtype=np.int32), rows=plan.rows(), out=labels,
        )  # fmt: skip
        return labels

    def _gathered_weights(self, plan: Lowering) -> Buffer:
        weights = plan.batch_buffer("batch.weights")
        plan.add(
            "gather_weights", "batch", "data",
            weights=plan.data("weights", dtype=plan.plan.dtype), rows=plan.rows(), out=weights,
        )  # fmt: skip
        return weights

    def _answers(self, plan: Lowering, outputs: Buffer, labelled: bool) -> dict[str, Any]:
        """Return labels or rows of targets, for a kernel that takes either."""
        if labelled:
            return {"labels": self._gathered_labels(plan), "targets": None}
        return {"labels": None, "targets": self._gathered(plan, outputs)}

    def config(self) -> str | dict[str, Any]:
        """Return what `get` takes, as JSON knows it."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        usual = {field.name: field.default for field in fields(self)}
        return self.kind if settings == usual else {"name": self.kind, **settings}


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of a softmax over the outputs, mean over the samples.

    ``sum(t * (logsumexp(z) - z))`` for a row of targets t, which for a label is
    ``logsumexp(z) - z[label]``; as ``torch.nn.functional.cross_entropy``. Takes labels (n,),
    one-hot rows or soft targets whose rows sum to one, (n, classes).

    Parameters
    ----------
    label_smoothing : float
        At least 0 and below 1: that share e of the targets is spread evenly over the K classes,
        ``t * (1 - e) + e / K`` (Szegedy et al. 2016, as in Keras and PyTorch).

    Raises
    ------
    InputError
        For a smoothing out of range.
    """

    label_smoothing: float = 0.0

    kind: ClassVar[str] = "softmax_cross_entropy"
    link: ClassVar[str | None] = "softmax"

    def absorbs(self, layers: Sequence[Layer]) -> Layer | None:
        """Return the last of `layers` if it ends in softmax; refuse outputs that are no rows."""
        shape = layers[-1].output_shape if layers else None
        if shape is not None and len(shape) != 1:
            raise InputError(
                f"softmax_cross_entropy takes rows of logits; {layers[-1].name} gives samples of "
                f"shape {shape}: put Flatten() or GlobalAvgPool(), and Dense, behind it"
            )
        return super().absorbs(layers)

    def __post_init__(self) -> None:
        _keep_share(self, "label_smoothing")

    def takes_labels(self, outputs: int) -> bool:
        """Return True."""
        return True

    def targets(self, y: ArrayLike, outputs: int, dtype: np.dtype[Any]) -> Targets:
        """Return labels, or soft targets; refuse rows that are not a distribution."""
        labels = door.class_labels(y, outputs)
        if labels is not None:
            return Targets(labels, labels)
        if np.ndim(y) != 2:
            raise InputError(
                f"y has shape {np.shape(y)}: softmax_cross_entropy takes whole-numbered labels "
                f"(n,), or rows of {outputs} probabilities"
            )
        soft = door.as_rows(y, outputs, dtype)
        sums = soft.sum(axis=1)
        bad = np.flatnonzero((np.abs(sums - 1) > 1e-4) | (soft < 0).any(axis=1))
        if len(bad):
            raise InputError(
                f"y[{bad[0]}] sums to {sums[bad[0]]:g}: rows of probabilities (one-hot or soft "
                "targets) must be 0 or more and sum to one"
            )
        return Targets(soft, soft.argmax(axis=1).astype(np.int32))

    def arguments(self, plan: Lowering, outputs: Buffer, labelled: bool) -> dict[str, Any]:
        """Return the logits with labels or with targets."""
        answers = self._answers(plan, outputs, labelled)
        return {"logits": outputs, **answers, "smoothing": self.label_smoothing}


@dataclass(frozen=True)
class SigmoidCrossEntropy(Loss):
    """Binary cross-entropy of each output, mean over samples and outputs.

    ``max(z, 0) - z*t + log(1 + exp(-|z|))``; as
    ``torch.nn.functional.binary_cross_entropy_with_logits``. Takes 0/1 or probabilities (n,) for
    one output, (n, outputs), or class labels (n,), which become one-hot.

    Parameters
    ----------
    label_smoothing : float
        At least 0 and below 1: the targets become ``t * (1 - e) + e / 2``, as in Keras.

    Raises
    ------
    InputError
        For a smoothing out of range.
    """

    label_smoothing: float = 0.0

    kind: ClassVar[str] = "sigmoid_cross_entropy"
    link: ClassVar[str | None] = "sigmoid"

    def __post_init__(self) -> None:
        _keep_share(self, "label_smoothing")

    def targets(self, y: ArrayLike, outputs: int, dtype: np.dtype[Any]) -> Targets:
        """Return rows of numbers from 0 to 1."""
        if outputs > 1 and (labels := _labels_or_none(y, outputs)) is not None:
            return _rows_of(labels, outputs, dtype)
        rows = door.as_rows(y, outputs, dtype)
        bad = np.argwhere((rows < 0) | (rows > 1))
        if len(bad):
            place = [int(i) for i in bad[0]]
            raise InputError(
                f"y has {rows[tuple(place)]:g} at {place}: sigmoid_cross_entropy takes targets "
                "from 0 to 1"
            )
        return Targets(rows, sides=True)

    def arguments(self, plan: Lowering, outputs: Buffer, labelled: bool) -> dict[str, Any]:
        """Return the logits and the targets."""
        targets = self._gathered(plan, outputs)
        return {"logits": outputs, "targets": targets, "smoothing": self.label_smoothing}


@dataclass(frozen=True)
class Regression(Loss):
    """The base of the losses of the error of each output, means over samples and outputs.

    They take numbers (n,) for one output or (n, outputs); class labels (n,) become one-hot.
    """

    def targets(self, y: ArrayLike, outputs: int, dtype: np.dtype[Any]) -> Targets:
        """Return rows of finite numbers."""
        if outputs > 1 and (labels := _labels_or_none(y, outputs)) is not None:
            return _rows_of(labels, outputs, dtype)
        return Targets(door.as_rows(y, outputs, dtype))

    def arguments(self, plan: Lowering, outputs: Buffer, labelled: bool) -> dict[str, Any]:
        """Return the outputs, the targets, and the settings by their own names."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"outputs": outputs, "targets": self._gathered(plan, outputs), **settings}


@dataclass(frozen=True)
class MeanSquaredError(Regression):
    """Mean over samples and outputs of (output - target)**2; as ``torch.nn.functional.mse_loss``.

    Takes numbers (n,) for one output or (n, outputs); class labels (n,) become one-hot.
    """

    kind: ClassVar[str] = "mse"


@dataclass(frozen=True)
class MeanAbsoluteError(Regression):
    """Mean over samples and outputs of ``|output - target|``; as ``torch.nn.functional.l1_loss``.

    Where an output is its target the slope is zero. Takes numbers (n,) for one output or
    (n, outputs); class labels (n,) become one-hot.
    """

    kind: ClassVar[str] = "mae"


@dataclass(frozen=True)
class Huber(Regression):
    """Huber's function of the errors, mean over samples and outputs.

    ``e**2 / 2`` for errors e up to delta, ``delta * (|e| - delta / 2)`` beyond (Huber 1964); as
    ``torch.nn.functional.huber_loss`` and ``keras.losses.Huber``. Takes numbers (n,) for one
    output or (n, outputs); class labels (n,) become one-hot.

    Parameters
    ----------
    delta : float
        Above 0.

    Raises
    ------
    InputError
        For a delta out of range.
    """

    delta: float = 1.0

    kind: ClassVar[str] = "huber"

    def __post_init__(self) -> None:
        if not (is_number(self.delta) and self.delta > 0):
            raise _wrong(self, "delta", "above 0")
        object.__setattr__(self, "delta", float(self.delta))


@dataclass(frozen=True)
class Margin(Loss):
    """The base of the losses that ask the right output to be ahead by a margin.

    For one output, and for rows of -1 and 1, the mean over the outputs of
    ``max(0, margin - y * x)``; for labels among several outputs, ``max(0, margin + x_r - x_y)``
    with the largest output r that is not the label's, the first of equals (Crammer and Singer
    2001). Where the kink is met exactly the slope is that inside the margin, as in scikit-learn.

    They take -1 and 1 (or 0 and 1) for one output; labels (n,), one-hot rows, or rows of -1 and 1
    for several. An output's sign decides, zero being the lower side.
    """

    by_sign: ClassVar[bool] = True
    squared: ClassVar[bool] = False

    @property
    def kernel(self) -> str:
        """One for all of them."""
        return "hinge"

    @property
    @abstractmethod
    def distance(self) -> float:
        """How far ahead the right output must be."""

    def takes_labels(self, outputs: int) -> bool:
        """Return whether there are several outputs, one for each class."""
        return outputs > 1

    def absorbs(self, layers: Sequence[Layer]) -> Layer | None:
        """Return None, for there is nothing to absorb.

        Raises
        ------
        InputError
            For one output behind a sigmoid, which has no lower side.
        """
        last = last_active(layers)
        if (
            last is not None
            and last.activation is not None
            and last.activation.name == "sigmoid"
            and last.output_shape == (1,)
        ):
            raise InputError(
                f"{self.kind} asks for outputs on both sides of zero; {last.name} ends in "
                "sigmoid, which gives none below: leave that out, or use tanh"
            )
        return None

    def targets(self, y: ArrayLike, outputs: int, dtype: np.dtype[Any]) -> Targets:
        """Return labels, or rows of -1 and 1."""
        values = door.as_array(y, "y")
        rows = values.ndim == 2 and values.shape[1] == outputs
        if outputs > 1 and not (rows and (values == -1).any()):
            labels = door.class_labels(values, outputs)
            if labels is None:
                raise InputError(
                    f"y has shape {values.shape}: {self.kind} takes whole-numbered labels (n,), "
                    f"or rows of {outputs} that are one-hot or hold -1 and 1"
                )
            return Targets(labels, labels)
        signs = door.as_rows(values, outputs, dtype)
        lower = signs == (-1 if (signs < 0).any() else 0)
        bad = np.argwhere(~lower & (signs != 1))
        if len(bad):
            place = [int(i) for i in bad[0]]
            raise InputError(
                f"y has {signs[tuple(place)]:g} at {place}: {self.kind} takes -1 and 1, or 0 and 1"
            )
        return Targets(np.where(lower, -1, 1).astype(dtype), sides=True)

    def arguments(self, plan: Lowering, outputs: Buffer, labelled: bool) -> dict[str, Any]:
        """Return the outputs with labels or with targets."""
        answers = self._answers(plan, outputs, labelled)
        settings = {"margin": self.distance, "squared": self.squared}
        return {"outputs": outputs, **answers, **settings}


@dataclass(frozen=True)
class Hinge(Margin):
    """Hinge loss, mean over the samples; as ``keras.losses.Hinge`` and ``CategoricalHinge``.

    ``max(0, margin - y * x)`` for one output, ``max(0, margin + x_r - x_y)`` with the largest
    rival r of the label's output for several (Crammer and Singer 2001). Takes -1 and 1 (or 0 and
    1) for one output; labels (n,), one-hot rows, or rows of -1 and 1 for several, of which each
    output then has a hinge of its own, and the mean is taken.

    Parameters
    ----------
    margin : float
        Above 0.

    Raises
    ------
    InputError
        For a margin out of range.
    """

    margin: float = 1.0

    kind: ClassVar[str] = "hinge"

    def __post_init__(self) -> None:
        if not (is_number(self.margin) and self.margin > 0):
            raise _wrong(self, "margin", "above 0")
        object.__setattr__(self, "margin", float(self.margin))

    @property
    def distance(self) -> float:
        """The margin."""
        return self.margin


@dataclass(frozen=True)
class SquaredHinge(Hinge):
    """The square of each hinge of `Hinge`; as ``keras.losses.SquaredHinge``.

    Parameters
    ----------
    margin : float
        Above 0.
    """

    kind: ClassVar[str] = "squared_hinge"
    squared: ClassVar[bool] = True


@dataclass(frozen=True)
class Perceptron(Margin):
    """The perceptron criterion, ``max(0, -y * x)`` (Rosenblatt 1958): a hinge without a margin.

    It learns from every sample with y * x <= 0, zero included, as scikit-learn's `Perceptron`.
    Takes the targets of `Hinge`.
    """

    kind: ClassVar[str] = "perceptron"

    @property
    def distance(self) -> float:
        """None at all."""
        return 0.0


def _labels_or_none(y: ArrayLike, outputs: int) -> NDArray[np.int32] | None:
    """Return labels where y is (n,) or (n, 1); rows are numbers, whatever they hold."""
    values = door.as_array(y, "y")
    if values.ndim == 2 and values.shape[1] == outputs:
        return None
    return door.class_labels(values, outputs)


def _rows_of(labels: NDArray[np.int32], outputs: int, dtype: np.dtype[Any]) -> Targets:
    """Return labels as one-hot rows, which are judged as the labels they were."""
    return Targets(one_hot(labels, outputs, where="y").astype(dtype), labels)


def _keep_share(loss: Loss, name: str) -> None:
    """Make a setting a float, at least 0 and below 1."""
    value = getattr(loss, name)
    if not (is_number(value) and 0 <= value < 1):
        raise _wrong(loss, name, "at least 0 and below 1")
    object.__setattr__(loss, name, float(value))


def _wrong(loss: Loss, name: str, range_: str) -> InputError:
    value = getattr(loss, name)
    return InputError(f"{name} of {type(loss).__name__} must be {range_}, not {value!r}")


LOSSES: dict[str, type[Loss]] = {
    loss.kind: loss
    for loss in (
        SoftmaxCrossEntropy,
        SigmoidCrossEntropy,
        MeanSquaredError,
        MeanAbsoluteError,
        Huber,
        Hinge,
        SquaredHinge,
        Perceptron,
    )
}

# What users of Keras call them.
ALIASES = {
    "categorical_crossentropy": "softmax_cross_entropy",
    "sparse_categorical_crossentropy": "softmax_cross_entropy",
    "binary_crossentropy": "sigmoid_cross_entropy",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
    "categorical_hinge": "hinge",
}


def get(loss: str | Loss | dict[str, Any]) -> Loss:
    """Return a loss from its name, from ``{"name": ..., **settings}``, or itself.

    ``"huber"``, ``"huber:2"`` with its one setting, as on the command line, ``{"name": "huber",
    "delta": 2.0}``, and the names of `ALIASES`.

    Raises
    ------
    InputError
        For an unknown name, a setting it does not have, or one out of range.
    """
    if isinstance(loss, Loss):
        return loss
    settings: dict[str, Any] = dict(loss) if isinstance(loss, dict) else {"name": loss}
    name = settings.pop("name", None)
    text, colon, value = name.partition(":") if isinstance(name, str) else ("", "", "")
    kind = LOSSES.get(ALIASES.get(text, text))
    if kind is None:
        raise unknown("loss", name, LOSSES)
    known = [field.name for field in fields(kind)]
    if colon and len(known) == 1:
        try:
            settings = {known[0]: float(value), **settings}
        except ValueError:
            raise InputError(f"loss {name!r}: {known[0]} must be a number") from None
    elif colon:
        raise InputError(f"loss {name!r}: {text} has no setting, leave {colon + value!r} out")
    for setting in settings:
        if setting not in known:
            raise unknown(f"setting of loss {text}", setting, known)
    return kind(**settings)
