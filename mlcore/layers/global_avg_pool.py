"""The mean of each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mlcore.layers import windows
from mlcore.layers.base import Backward, Layer, ParameterSpec, Shape
from mlcore.layers.pooling import require_places

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering


class GlobalAvgPool(Layer):
    """The mean of each channel over all places: (..., channels) becomes (channels,).

    As Keras's GlobalAveragePooling2D and ``torch.nn.AdaptiveAvgPool2d(1)``; over (length,
    channels) as GlobalAveragePooling1D.
    """

    kind: ClassVar[str] = "global_avg_pool"

    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Keep the channels; no parameters."""
        require_places(input_shape, self.name)
        self.input_shape, self.output_shape = input_shape, input_shape[-1:]
        return []

    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Add ``avg_pool`` with one window over everything, and its backward."""
        height, width, channels = windows.as_image(x.sample)
        placed = {
            "size_h": height, "size_w": width, "stride_h": 1, "stride_w": 1, "pad_top": 0,
            "pad_left": 0,
        }  # fmt: skip
        image = plan.reshaped(x, height, width, channels)
        out = plan.batch_buffer(f"{self.name}.out", 1, 1, channels)
        plan.add("avg_pool", self.name, "forward", x=image, **placed, out=out)

        def backward(grad: Buffer, wanted: bool) -> Buffer | None:
            if not wanted:
                return None
            dx = plan.batch_buffer(f"{self.name}.dx", *image.sample)
            plan.add(
                "avg_pool_backward", self.name, "backward",
                grad=plan.reshaped(grad, *out.sample), **placed, dx=dx,
            )  # fmt: skip
            return plan.reshaped(dx, *x.sample)

        return plan.reshaped(out, channels), backward

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {}
