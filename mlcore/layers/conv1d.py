"""The convolution of sequences."""

from __future__ import annotations

from typing import ClassVar

from mlcore.layers.convolution import Convolution


class Conv1D(Convolution):
    """activation(x * weight + bias), where * slides the filters along a sequence.

    `Conv2D` over images of height one. Samples are (length, channels), the channels last; as
    Keras's Conv1D, and ``torch.nn.Conv1d`` of (channels, length).

    Parameters
    ----------
    filters : int
        Number of channels of the output.
    kernel_size, strides : int
        Length of the filters, and steps from one place to the next.
    padding, activation, use_bias, kernel_initializer, bias_initializer, trainable
        As for `Conv2D`.
    kernel_regularizer, bias_regularizer, kernel_constraint
        Likewise; the axes of a limit are (0, 1).

    Attributes
    ----------
    weight : ndarray (kernel_size, channels, filters)
        A view into the model's parameters. PyTorch's weight is ``weight.transpose(2, 1, 0)``.
    bias : ndarray (filters,)
        Likewise.
    """

    kind: ClassVar[str] = "conv1d"
    axes: ClassVar[int] = 1
    input_axes: ClassVar[int | None] = 2
