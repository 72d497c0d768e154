"""Data in units of its own spread."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlcore import door
from mlcore.data.dataset import Dataset
from mlcore.initializers import Initializer, Known, Zeros
from mlcore.kernels.errors import InputError
from mlcore.layers.base import Backward, Layer, ParameterSpec, ParameterView, Shape

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering

ROWS_AT_A_TIME = 65_536


class Standardize(Layer):
    """(x - mean) / sqrt(variance), with the mean and variance of the training data.

    As Keras's Normalization and scikit-learn's StandardScaler. Features are the last axis: of rows
    each column, of images each channel. Mean and variance (divided by the count) are computed in
    float64 by `adapt`, and never change while training. A feature that has the same value in every
    sample becomes zero: its variance is taken for one.

    `Sequential.fit` calls `adapt` with what it trains on, where this is the first layer (but for
    Flatten and Reshape) and has not been adapted yet; a layer that has seen no data is refused.

    Attributes
    ----------
    mean, variance : ndarray (features,)
        Views into the model's parameters, saved with them. A variance of zero stands for a layer
        that has seen no data.
    """

    kind: ClassVar[str] = "standardize"
    keeps_shape: ClassVar[bool] = True
    mean = ParameterView()
    variance = ParameterView()

    def __init__(self) -> None:
        super().__init__()
        self._found: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    @property
    def fitted(self) -> bool:
        """Whether mean and variance are those of some data."""
        if "variance" in self._views:
            return bool((self._views["variance"] != 0).any())
        return self._found is not None

    def adapt(self, x: ArrayLike | Dataset) -> Standardize:
        """Take mean and variance from data.

        Parameters
        ----------
        x : array_like (n, ..., features) or Dataset
            What goes into this layer.

        Returns
        -------
        Standardize
            The layer itself.

        Raises
        ------
        InputError
            For data that a model could not take either, or of another shape than the model's.
        """
        shape = self.input_shape if self._views else None
        self.adapt_rows(door.as_inputs(x, shape=shape, dtype=np.dtype(np.float64)))
        return self

    def adapt_rows(self, inputs: door.Inputs) -> None:
        """Take mean and variance from data that has been checked."""
        sample = self.input_shape if self._views and self.input_shape else inputs.sample
        rows = inputs.array.reshape(-1, sample[-1])

        def parts() -> Iterator[NDArray[np.float64]]:
            for start in range(0, len(rows), ROWS_AT_A_TIME):
                part = rows[start : start + ROWS_AT_A_TIME].astype(np.float64)
                yield part * inputs.scale

        mean = sum(part.sum(axis=0) for part in parts()) / len(rows)
        variance = sum(np.square(part - mean).sum(axis=0) for part in parts()) / len(rows)
        # Rounding leaves a little of the variance of what does not vary.
        same = (rows[:1] == rows.min(axis=0)) & (rows[:1] == rows.max(axis=0))
        variance = np.where(same[0], 1.0, variance)
        if self._views:
            self.mean, self.variance = mean, variance
        else:
            self._found = np.asarray(mean), variance

    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Ask for mean and variance, (features,) each."""
        features = input_shape[-1]
        if self._found is not None and len(self._found[0]) != features:
            raise InputError(
                f"{self.name} was adapted to {len(self._found[0])} features, and samples of shape "
                f"{input_shape} have {features}: call adapt with such data"
            )
        self.input_shape = self.output_shape = input_shape
        starts: list[Initializer] = [Zeros(), Zeros()]
        if self._found is not None:
            starts = [Known(values) for values in self._found]
        return [
            ParameterSpec(
                name, (features,), start, features, features, decays=False, trainable=False
            )
            for name, start in zip(("mean", "variance"), starts, strict=True)
        ]

    def require_fitted(self) -> None:
        """Refuse a layer that has seen no data.

        Raises
        ------
        InputError
            With what to do.
        """
        if not self.fitted:
            raise InputError(
                f"{self.name} has seen no data yet: call adapt(x) on it, or fit a model whose "
                "first layer it is"
            )

    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Add ``normalize`` and, behind it, ``normalize_backward``."""
        self.require_fitted()
        places = plan.reshaped(x, math.prod(x.sample[:-1]), x.shape[-1])
        found = {name: plan.parameter(self, name) for name in ("mean", "variance")}
        out = plan.batch_buffer(f"{self.name}.out", *places.sample)
        plan.add(
            "normalize", self.name, "forward",
            x=places, **found, gamma=None, beta=None, epsilon=0.0, out=out,
        )  # fmt: skip

        def backward(grad: Buffer, wanted: bool) -> Buffer | None:
            if not wanted:
                return None
            dx = plan.batch_buffer(f"{self.name}.dx", *places.sample)
            plan.add(
                "normalize_backward", self.name, "backward",
                grad=plan.reshaped(grad, *places.sample), x=places, **found, gamma=None,
                epsilon=0.0, dgamma=None, dbeta=None, dx=dx,
            )  # fmt: skip
            return plan.reshaped(dx, *x.sample)

        return plan.reshaped(out, *x.sample), backward

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments; what was found in the data is a parameter."""
        return {}
