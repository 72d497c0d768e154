"""Dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mlcore.layers.base import Backward, Layer, ParameterSpec, Shape, check_fraction

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering


class Dropout(Layer):
    """Set a share of the units to zero while training, and scale the others up.

    Inverted dropout (Srivastava and others 2014, as in Keras and PyTorch): the mean is kept,
    and nothing happens outside training. The mask is a function of the seed, the layer, the
    step and the place, so backward draws it again instead of storing it.

    Parameters
    ----------
    rate : float
        The share dropped, in [0, 1); rounded to 1/65536.
    """

    kind: ClassVar[str] = "dropout"
    keeps_shape: ClassVar[bool] = True

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = check_fraction(rate, "rate of Dropout")

    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Keep the shape; no parameters."""
        self.input_shape = self.output_shape = input_shape
        return []

    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Add ``dropout`` while training; the same call on the gradient is its backward."""
        if not plan.noise or self.rate == 0:
            return x, None
        row = plan.reshaped(x, -1)
        out = plan.batch_buffer(f"{self.name}.out", row.columns)
        plan.add("dropout", self.name, "forward", x=row, rate=self.rate, **plan.draw(self), out=out)

        def backward(grad: Buffer, wanted: bool) -> Buffer | None:
            if not wanted:
                return None
            dx = plan.batch_buffer(f"{self.name}.dx", row.columns)
            plan.add(
                "dropout", self.name, "backward",
                x=plan.reshaped(grad, -1), rate=self.rate, **plan.draw(self), out=dx,
            )  # fmt: skip
            return plan.reshaped(dx, *x.sample)

        return plan.reshaped(out, *x.sample), backward

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"rate": self.rate}
