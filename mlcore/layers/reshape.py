"""Samples in another shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlcore.kernels.errors import InputError
from mlcore.layers.base import Backward, Layer, ParameterSpec, Shape

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering


class Reshape(Layer):
    """The same numbers in another shape; nothing is copied.

    As Keras's Reshape and ``torch.nn.Unflatten``: ``Reshape((28, 28, 1))`` makes images of rows.

    Parameters
    ----------
    target_shape : int or tuple of int
        The shape of a sample, without the batch. One length may be -1: what is left.
    """

    kind: ClassVar[str] = "reshape"
    reshapes: ClassVar[bool] = True

    def __init__(self, target_shape: int | tuple[int, ...]) -> None:
        super().__init__()
        given = target_shape if isinstance(target_shape, (list, tuple)) else (target_shape,)
        whole = all(
            isinstance(length, (int, np.integer)) and not isinstance(length, bool)
            for length in given
        )
        if not (given and whole and all(n == -1 or n >= 1 for n in given)) or given.count(-1) > 1:
            raise InputError(
                "target_shape of Reshape must be whole numbers, 1 or more, and -1 for one of them "
                f"at most, not {target_shape!r}"
            )
        self.target_shape: Shape = tuple(int(length) for length in given)

    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Fill in what is left; no parameters."""
        size = math.prod(input_shape)
        known = math.prod(length for length in self.target_shape if length != -1)
        shape = tuple(size // known if length == -1 else length for length in self.target_shape)
        if math.prod(shape) != size:
            raise InputError(
                f"{self.name} cannot make {self.target_shape} of samples of shape {input_shape}, "
                f"which have {size} numbers"
            )
        self.input_shape, self.output_shape = input_shape, shape
        return []

    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Add nothing: the buffer is seen under another shape."""

        def backward(grad: Buffer, wanted: bool) -> Buffer | None:
            return plan.reshaped(grad, *x.sample) if wanted else None

        return plan.reshaped(x, *(self.output_shape or ())), backward

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"target_shape": list(self.target_shape)}
