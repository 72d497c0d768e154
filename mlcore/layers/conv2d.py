"""The convolution of images."""

from __future__ import annotations

from typing import ClassVar

from mlcore.layers.convolution import Convolution


class Conv2D(Convolution):
    """activation(x * weight + bias), where * slides the filters over height and width.

    ``z[p, q, n] = bias[n] + sum x[p*sh - top + r, q*sw - left + s, c] * weight[r, s, c, n]`` over
    r, s and c: a cross-correlation, as in Keras's Conv2D and ``torch.nn.Conv2d``. Samples are
    (height, width, channels), the channels last.

    Parameters
    ----------
    filters : int
        Number of channels of the output.
    kernel_size : int or (int, int)
        Height and width of the filters.
    strides : int or (int, int)
        Steps from one place to the next, down and across.
    padding : {"valid", "same"}
        "valid" stays inside: ``(H - kernel) // stride + 1`` places. "same" gives
        ``ceil(H / stride)`` and takes what is outside for zero, the odd row or column of it below
        and to the right, as in TensorFlow.
    activation : str or dict, optional
        As for `Dense`, but for softmax and log_softmax.
    use_bias : bool
        Whether there is a bias.
    kernel_initializer, bias_initializer : str or Initializer
        As in Keras, Glorot uniform and zeros by default; fan_in counts the kernel's places times
        the channels, fan_out the places times the filters.
    kernel_regularizer, bias_regularizer : str, dict or Regularizer, optional
        As for `Dense`.
    kernel_constraint : dict or MaxNorm, optional
        ``MaxNorm(3, axis=(0, 1, 2))``: a limit to the norm of each filter.
    trainable : bool
        False freezes weight and bias.

    Attributes
    ----------
    weight : ndarray (height, width, channels, filters)
        A view into the model's parameters; writing to it changes the model. PyTorch's weight is
        ``weight.transpose(3, 2, 0, 1)``.
    bias : ndarray (filters,)
        Likewise.
    """

    kind: ClassVar[str] = "conv2d"
    axes: ClassVar[int] = 2
    input_axes: ClassVar[int | None] = 3
