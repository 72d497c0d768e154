"""The losses: which targets they take, which activation they absorb, which kernel they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlcore import door
from mlcore.data.targets import one_hot
from mlcore.door import Targets
from mlcore.kernels.errors import InputError, unknown
from mlcore.layers import Layer

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering


def last_active(layers: Sequence[Layer]) -> Layer | None:
    """Return the last layer that has an activation, be it identity."""
    return next((layer for layer in reversed(layers) if layer.activation is not None), None)


class Loss(ABC):
    """The base of the losses, each of them a mean over the batch.

    Attributes
    ----------
    kind : str
        The name, which is also the kernel's.
    link : str or None
        The activation that turns the model's output into probabilities. Such a loss takes
        logits; where the last layer applies that activation itself, the loss absorbs it.
    """

    kind: ClassVar[str]
    link: ClassVar[str | None] = None

    @abstractmethod
    def targets(self, y: ArrayLike, outputs: int, dtype: np.dtype[Any]) -> Targets:
        """Check `y` and return it as the kernel takes it."""

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

    def lower(self, plan: Lowering, outputs: Buffer, labelled: bool) -> Buffer | None:
        """Add the gather of the targets and the loss's kernel; return the gradient's buffer."""
        width = outputs.columns
        plan.plan.losses = losses = plan.batch_buffer("losses")
        grad = plan.batch_buffer("loss.grad", width) if plan.gradients else None
        plan.add(self.kind, "loss", "loss", **self.arguments(plan, outputs, labelled),
                 losses=losses, grad=grad)  # fmt: skip
        return grad

    def arguments(self, plan: Lowering, outputs: Buffer, labelled: bool) -> dict[str, Any]:
        """Return the kernel's inputs, after adding the gather of the targets."""
        return {"logits": outputs, "targets": self._gathered(plan, outputs)}

    def _gathered(self, plan: Lowering, outputs: Buffer) -> Buffer:
        width, dtype = outputs.columns, plan.plan.dtype
        rows = plan.batch_buffer("batch.y", width)
        plan.add(
            "gather", "batch", "data",
            source=plan.data("targets", width, dtype=dtype), rows=plan.rows(), scale=1.0, out=rows,
        )  # fmt: skip
        return rows

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of a softmax over the outputs, mean over the samples.

    ``logsumexp(z) - z[label]``, or ``sum(t * (logsumexp(z) - z))`` for a row of targets t; as
    ``torch.nn.functional.cross_entropy``. Takes labels (n,), one-hot rows or soft targets whose
    rows sum to one, (n, classes).
    """

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
        if not labelled:
            return {
                "logits": outputs,
                "labels": None,
                "targets": self._gathered(plan, outputs),
            }
        labels = plan.batch_buffer("batch.y", kind="labels")
        plan.add(
            "gather_labels", "batch", "data",
            labels=plan.data("targets", dtype=np.int32), rows=plan.rows(), out=labels,
        )  # fmt: skip
        return {"logits": outputs, "labels": labels, "targets": None}


class SigmoidCrossEntropy(Loss):
    """Binary cross-entropy of each output, mean over samples and outputs.

    ``max(z, 0) - z*t + log(1 + exp(-|z|))``; as
    ``torch.nn.functional.binary_cross_entropy_with_logits``. Takes 0/1 or probabilities (n,) for
    one output, (n, outputs), or class labels (n,), which become one-hot.
    """

    kind: ClassVar[str] = "sigmoid_cross_entropy"
    link: ClassVar[str | None] = "sigmoid"

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


class MeanSquaredError(Loss):
    """Mean over samples and outputs of (output - target)**2; as ``torch.nn.functional.mse_loss``.

    Takes numbers (n,) for one output or (n, outputs); class labels (n,) become one-hot.
    """

    kind: ClassVar[str] = "mse"

    def targets(self, y: ArrayLike, outputs: int, dtype: np.dtype[Any]) -> Targets:
        """Return rows of finite numbers."""
        if outputs > 1 and (labels := _labels_or_none(y, outputs)) is not None:
            return _rows_of(labels, outputs, dtype)
        return Targets(door.as_rows(y, outputs, dtype))

    def arguments(self, plan: Lowering, outputs: Buffer, labelled: bool) -> dict[str, Any]:
        """Return the outputs and the targets."""
        return {"outputs": outputs, "targets": self._gathered(plan, outputs)}


def _labels_or_none(y: ArrayLike, outputs: int) -> NDArray[np.int32] | None:
    """Return labels where y is (n,) or (n, 1); rows are numbers, whatever they hold."""
    values = door.as_array(y, "y")
    if values.ndim == 2 and values.shape[1] == outputs:
        return None
    return door.class_labels(values, outputs)


def _rows_of(labels: NDArray[np.int32], outputs: int, dtype: np.dtype[Any]) -> Targets:
    """Return labels as one-hot rows, which are judged as the labels they were."""
    return Targets(one_hot(labels, outputs, where="y").astype(dtype), labels)


LOSSES: dict[str, type[Loss]] = {
    loss.kind: loss for loss in (SoftmaxCrossEntropy, SigmoidCrossEntropy, MeanSquaredError)
}


def get(loss: str | Loss) -> Loss:
    """Return a loss from its name, or itself.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if isinstance(loss, Loss):
        return loss
    kind = LOSSES.get(loss) if isinstance(loss, str) else None
    if kind is None:
        raise unknown("loss", loss, LOSSES)
    return kind()
