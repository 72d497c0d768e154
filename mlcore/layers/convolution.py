"""What Conv1D and Conv2D have in common; a row of places is an image of height one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from mlcore import constraints, initializers, regularizers
from mlcore.constraints import MaxNorm
from mlcore.initializers import Initializer
from mlcore.kernels import ACTIVATIONS
from mlcore.kernels.errors import InputError
from mlcore.layers import activation as activations
from mlcore.layers import windows
from mlcore.layers.base import (
    Backward,
    Layer,
    ParameterSpec,
    ParameterView,
    Shape,
    check_lengths,
    check_size,
    config_of,
)
from mlcore.regularizers import Regularizer

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering


class Convolution(Layer):
    """The base of the convolutions, whose samples have `axes` axes and then channels."""

    axes: ClassVar[int]
    activation: activations.ActivationFunction
    weight = ParameterView()
    bias = ParameterView()

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        activation: str | dict[str, Any] | None = None,
        *,
        use_bias: bool = True,
        kernel_initializer: str | Initializer | dict[str, Any] = "glorot_uniform",
        bias_initializer: str | Initializer | dict[str, Any] = "zeros",
        kernel_regularizer: str | Regularizer | dict[str, Any] | None = None,
        bias_regularizer: str | Regularizer | dict[str, Any] | None = None,
        kernel_constraint: str | MaxNorm | dict[str, Any] | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(trainable=trainable)
        called = type(self).__name__
        self.filters = check_size(filters, f"filters of {called}")
        self.kernel_size = check_lengths(kernel_size, self.axes, f"kernel_size of {called}")
        self.strides = check_lengths(strides, self.axes, f"strides of {called}")
        self.padding = windows.check_padding(padding, f"padding of {called}")
        self.activation = activations.get(activation)
        if ACTIVATIONS[self.activation.name].rowwise:
            raise InputError(
                f"{called} cannot end in {self.activation.name}, which is computed over rows of "
                "outputs: put it behind Flatten() and Dense"
            )
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)

    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Ask for a weight (*kernel_size, channels, filters) and a bias (filters,)."""
        if len(input_shape) != self.axes + 1:
            wanted = ("length", "channels") if self.axes == 1 else ("height", "width", "channels")
            raise InputError(
                f"{self.name} takes samples of ({', '.join(wanted)}), not of shape {input_shape}: "
                "give x that shape, or put Reshape before it"
            )
        self._windows = windows.over(
            input_shape, self.kernel_size, self.strides, self.padding, self.name
        )
        counts, channels = self._windows.counts[-self.axes :], input_shape[-1]
        self.input_shape, self.output_shape = input_shape, (*counts, self.filters)
        places = math.prod(self.kernel_size)
        fans = places * channels, places * self.filters
        shape = (*self.kernel_size, channels, self.filters)
        if self.kernel_constraint is not None:
            self.kernel_constraint.check(shape, f"the weight of {self.name}")
        specs = [
            ParameterSpec(
                "weight", shape, self.kernel_initializer, *fans,
                regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
            )
        ]  # fmt: skip
        if self.use_bias:
            specs.append(
                ParameterSpec(
                    "bias", (self.filters,), self.bias_initializer, *fans, decays=False,
                    regularizer=self.bias_regularizer,
                )
            )  # fmt: skip
        return specs

    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Add ``conv2d``, an ``activation`` of its output, and behind them their backward."""
        placed = self._windows.settings()
        filters = (*windows.two(self.kernel_size), x.shape[-1], self.filters)
        image = plan.reshaped(x, *self._windows.image)
        weight = plan.parameter(self, "weight", filters)
        out = plan.batch_buffer(f"{self.name}.out", *self._windows.counts, self.filters)
        plan.add(
            "conv2d", self.name, "forward",
            x=image, w=weight, b=plan.parameter(self, "bias") if self.use_bias else None,
            **placed, out=out,
        )  # fmt: skip
        function = plan.activation_of(self)
        before, after = self._activated(plan, plan.reshaped(out, -1), function)

        def backward(grad: Buffer, wanted: bool) -> Buffer | None:
            learns = self.trainable
            if not (learns or wanted):
                return None
            row = plan.reshaped(grad, -1)
            if function.name != "identity":
                plan.add(
                    "activation_backward", self.name, "backward",
                    grad=row, stored=before if function.keeps_input else after,
                    activation=function.name, parameter=function.parameter, out=row,
                )  # fmt: skip
            dx = plan.batch_buffer(f"{self.name}.dx", *image.sample) if wanted else None
            plan.add(
                "conv2d_backward", self.name, "backward",
                grad=plan.reshaped(row, *out.sample), x=image, w=weight, **placed,
                dw=plan.gradient(self, "weight", filters) if learns else None,
                db=plan.gradient(self, "bias") if learns and self.use_bias else None,
                dx=dx,
            )  # fmt: skip
            return None if dx is None else plan.reshaped(dx, *x.sample)

        return plan.reshaped(after, *self._output_shape()), backward

    def _output_shape(self) -> Shape:
        assert self.output_shape is not None
        return self.output_shape

    def _activated(
        self, plan: Lowering, row: Buffer, function: activations.ActivationFunction
    ) -> tuple[Buffer, Buffer]:
        """Add the activation; return its input and output, which may be one buffer.

        The pre-activation is kept only where the derivative needs it.
        """
        if function.name == "identity":
            return row, row
        kept = plan.gradients and function.keeps_input
        after = plan.batch_buffer(f"{self.name}.active", row.columns) if kept else row
        plan.add(
            "activation", self.name, "forward",
            x=row, activation=function.name, parameter=function.parameter, out=after,
        )  # fmt: skip
        return row, after

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "filters": self.filters,
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "activation": self.activation.config(),
            "use_bias": self.use_bias,
            "kernel_initializer": self.kernel_initializer.config(),
            "bias_initializer": self.bias_initializer.config(),
            "kernel_regularizer": config_of(self.kernel_regularizer),
            "bias_regularizer": config_of(self.bias_regularizer),
            "kernel_constraint": config_of(self.kernel_constraint),
            "trainable": self.trainable,
        }
