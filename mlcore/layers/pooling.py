"""What the pooling layers have in common; a row of places is an image of height one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mlcore.kernels.errors import InputError
from mlcore.layers import windows
from mlcore.layers.base import Backward, Layer, ParameterSpec, Shape, check_lengths

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering


def require_places(sample: Shape, owner: str) -> None:
    """Refuse samples that are neither sequences nor images.

    Raises
    ------
    InputError
        With the shape, and what is taken.
    """
    if len(sample) not in (2, 3):
        raise InputError(
            f"{owner} takes samples of (length, channels) or (height, width, channels), not of "
            f"shape {sample}: give x that shape, or put Reshape before it"
        )


class Pooling(Layer):
    """The base of the layers that make one number of each window, channel by channel."""

    kernel: ClassVar[str]
    # Whether the backward kernel takes the input again.
    needs_input: ClassVar[bool]

    def __init__(
        self,
        pool_size: int | tuple[int, ...] = 2,
        strides: int | tuple[int, ...] | None = None,
        padding: str = "valid",
    ) -> None:
        super().__init__()
        called = type(self).__name__
        self.pool_size = _checked(pool_size, f"pool_size of {called}")
        self.strides = None if strides is None else _checked(strides, f"strides of {called}")
        self.padding = windows.check_padding(padding, f"padding of {called}")

    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Find how many windows there are; no parameters."""
        require_places(input_shape, self.name)
        axes = len(input_shape) - 1
        self._sizes = check_lengths(self.pool_size, axes, f"pool_size of {self.name}")
        strides = self.pool_size if self.strides is None else self.strides
        steps = check_lengths(strides, axes, f"strides of {self.name}")
        self._windows = windows.over(input_shape, self._sizes, steps, self.padding, self.name)
        self.input_shape = input_shape
        self.output_shape = (*self._windows.counts[-axes:], input_shape[-1])
        return []

    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Add the kernel and, behind it, its backward."""
        height, width = windows.two(self._sizes)
        placed = {"size_h": height, "size_w": width, **self._windows.settings()}
        image = plan.reshaped(x, *self._windows.image)
        out = plan.batch_buffer(f"{self.name}.out", *self._windows.counts, x.shape[-1])
        remembered = {"x": image} if self.needs_input else {}
        plan.add(self.kernel, self.name, "forward", x=image, **placed, out=out)

        def backward(grad: Buffer, wanted: bool) -> Buffer | None:
            if not wanted:
                return None
            dx = plan.batch_buffer(f"{self.name}.dx", *image.sample)
            plan.add(
                f"{self.kernel}_backward", self.name, "backward",
                grad=plan.reshaped(grad, *out.sample), **remembered, **placed, dx=dx,
            )  # fmt: skip
            return plan.reshaped(dx, *x.sample)

        return plan.reshaped(out, *(self.output_shape or ())), backward

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"pool_size": self.pool_size, "strides": self.strides, "padding": self.padding}


def _checked(value: Any, what: str) -> int | list[int]:
    """Return a length, or a list of two; how many are needed the input says."""
    if isinstance(value, (list, tuple)):
        return list(check_lengths(value, 2, what))
    return check_lengths(value, 1, what)[0]
