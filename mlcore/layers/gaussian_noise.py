"""Gaussian noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mlcore.kernels.errors import InputError, is_number
from mlcore.layers.base import Backward, Layer, ParameterSpec, Shape

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering


class GaussianNoise(Layer):
    """Add N(0, stddev**2) to every unit while training; nothing happens outside training.

    As in Keras; the adversarial noise layer of arXiv:1805.08000. The noise is a function of
    the seed, the layer, the step and the place.

    Parameters
    ----------
    stddev : float
        The standard deviation, 0 or more.
    """

    kind: ClassVar[str] = "gaussian_noise"
    keeps_shape: ClassVar[bool] = True

    def __init__(self, stddev: float) -> None:
        super().__init__()
        if not (is_number(stddev) and stddev >= 0):
            raise InputError(f"stddev of GaussianNoise must be 0 or more, not {stddev!r}")
        self.stddev = float(stddev)

    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Keep the shape; no parameters."""
        self.input_shape = self.output_shape = input_shape
        return []

    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Add ``gaussian_noise`` while training; its derivative is one."""
        if not plan.noise or self.stddev == 0:
            return x, None
        row = plan.reshaped(x, -1)
        out = plan.batch_buffer(f"{self.name}.out", row.columns)
        plan.add(
            "gaussian_noise", self.name, "forward",
            x=row, stddev=self.stddev, **plan.draw(self), out=out,
        )  # fmt: skip
        return plan.reshaped(out, *x.sample), None

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"stddev": self.stddev}
