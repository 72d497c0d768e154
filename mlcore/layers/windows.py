"""Where windows lie over images: what convolutions and pooling have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlcore.kernels.errors import InputError, unknown
from mlcore.layers.base import Shape

PADDINGS = ("valid", "same")


@dataclass(frozen=True)
class Windows:
    """Windows over images, each axis first height, then width.

    Attributes
    ----------
    image : tuple of int
        Height, width and channels of what they lie over.
    counts : tuple of int
        How many there are.
    strides : tuple of int
        From one to the next.
    pads : tuple of int
        How far the first reaches over the upper and the left edge.
    """

    image: Shape
    counts: Shape
    strides: Shape
    pads: Shape

    def settings(self) -> dict[str, int]:
        """Return the strides and pads as the kernels call them."""
        return {
            "stride_h": self.strides[0],
            "stride_w": self.strides[1],
            "pad_top": self.pads[0],
            "pad_left": self.pads[1],
        }


def check_padding(padding: Any, what: str) -> str:
    """Return "valid" or "same", or say that there are no others."""
    if padding not in PADDINGS:
        raise unknown(what, padding, PADDINGS)
    return str(padding)


def as_image(sample: Shape) -> Shape:
    """Return (length, channels) as an image of height one; (height, width, channels) as it is."""
    return (1, *sample) if len(sample) == 2 else sample


def two(lengths: Shape) -> Shape:
    """Return the lengths for height and width, where height is one if there is only one."""
    return (1,) * (2 - len(lengths)) + lengths


def over(sample: Shape, sizes: Shape, strides: Shape, padding: str, owner: str) -> Windows:
    """Return how windows lie over samples of (length, channels) or (height, width, channels).

    "valid" keeps them inside. "same" puts one at every `stride`-th place and pads the image with
    what is missing, half of it on either side and the odd one below and to the right, as
    TensorFlow does.

    Raises
    ------
    InputError
        Where not one window fits inside.
    """
    image, sizes, strides = as_image(sample), two(sizes), two(strides)
    if padding == "same":
        counts = tuple(-(-length // stride) for length, stride in zip(image, strides, strict=False))
        missing = (
            max(0, (count - 1) * stride + size - length)
            for count, stride, size, length in zip(counts, strides, sizes, image, strict=False)
        )
        return Windows(image, counts, strides, tuple(total // 2 for total in missing))
    if any(size > length for size, length in zip(sizes, image, strict=False)):
        raise InputError(
            f"{owner}: a window of {sizes[0]}x{sizes[1]} does not fit into samples of shape "
            f'{sample}: make it smaller, or use padding="same"'
        )
    counts = tuple(
        (length - size) // stride + 1
        for length, size, stride in zip(image, sizes, strides, strict=False)
    )
    return Windows(image, counts, strides, (0, 0))
