"""The largest of each window."""

from __future__ import annotations

from typing import ClassVar

from mlcore.layers.pooling import Pooling


class MaxPool(Pooling):
    """The largest number of each window, channel by channel.

    As Keras's MaxPooling2D and ``torch.nn.MaxPool2d``; over (length, channels) as MaxPooling1D.
    The gradient goes to the first largest. NaN counts as largest.

    Parameters
    ----------
    pool_size : int or (int, int)
        Height and width of the windows.
    strides : int or (int, int), optional
        Steps from one to the next; `pool_size` by default.
    padding : {"valid", "same"}
        As for `Conv2D`; what lies outside is never the largest.
    """

    kind: ClassVar[str] = "max_pool"
    kernel: ClassVar[str] = "max_pool"
    needs_input: ClassVar[bool] = True
