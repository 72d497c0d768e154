"""The mean of each window."""

from __future__ import annotations

from typing import ClassVar

from mlcore.layers.pooling import Pooling


class AvgPool(Pooling):
    """The mean of each window, channel by channel.

    As Keras's AveragePooling2D, and ``torch.nn.AvgPool2d(count_include_pad=False)``; over
    (length, channels) as AveragePooling1D.

    Parameters
    ----------
    pool_size : int or (int, int)
        Height and width of the windows.
    strides : int or (int, int), optional
        Steps from one to the next; `pool_size` by default.
    padding : {"valid", "same"}
        As for `Conv2D`; what lies outside does not count in the mean.
    """

    kind: ClassVar[str] = "avg_pool"
    kernel: ClassVar[str] = "avg_pool"
    needs_input: ClassVar[bool] = False
