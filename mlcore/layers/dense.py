"""The fully connected layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from mlcore import constraints, initializers, regularizers
from mlcore.constraints import MaxNorm
from mlcore.initializers import Initializer
from mlcore.kernels.errors import InputError
from mlcore.layers import activation as activations
from mlcore.layers.base import Backward, Layer, ParameterSpec, Shape, check_size, config_of
from mlcore.regularizers import Regularizer

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering


class Dense(Layer):
    """activation(x @ weight + bias).

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str or dict, optional
        A name of `mlcore.kernels.ACTIVATIONS`, or ``{"name": "leaky_relu", "alpha": 0.3}``;
        none by default.
    kernel_initializer, bias_initializer : str or Initializer
        As in Keras, Glorot uniform and zeros by default.
    kernel_regularizer, bias_regularizer : str, dict or Regularizer, optional
        A penalty on the weight and on the bias: a name of `mlcore.regularizers.REGULARIZERS`,
        ``{"name": "l2", "l2": 1e-4}`` or ``L2(1e-4)``.
    kernel_constraint : str, dict or MaxNorm, optional
        "max_norm" or ``MaxNorm(3)``: a limit to the norm of each unit's weights.
    use_bias : bool
        Whether there is a bias.
    trainable : bool
        False freezes weight and bias.

    Attributes
    ----------
    weight : ndarray (fan_in, fan_out)
        A view into the model's parameters; writing to it changes the model.
    bias : ndarray (fan_out,)
        Likewise.
    """

    kind: ClassVar[str] = "dense"
    activation: activations.ActivationFunction

    def __init__(
        self,
        units: int,
        activation: str | dict[str, Any] | None = None,
        *,
        kernel_initializer: str | Initializer | dict[str, Any] = "glorot_uniform",
        bias_initializer: str | Initializer | dict[str, Any] = "zeros",
        kernel_regularizer: str | Regularizer | dict[str, Any] | None = None,
        bias_regularizer: str | Regularizer | dict[str, Any] | None = None,
        kernel_constraint: str | MaxNorm | dict[str, Any] | None = None,
        use_bias: bool = True,
        trainable: bool = True,
    ) -> None:
        super().__init__(trainable=trainable)
        self.units = check_size(units, "units of Dense")
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.use_bias = bool(use_bias)

    @property
    def weight(self) -> NDArray[Any]:
        """The weights, a view of shape (fan_in, fan_out)."""
        return self._view("weight")

    @weight.setter
    def weight(self, value: Any) -> None:
        self._assign("weight", value)

    @property
    def bias(self) -> NDArray[Any]:
        """The biases, a view of shape (fan_out,)."""
        return self._view("bias")

    @bias.setter
    def bias(self, value: Any) -> None:
        self._assign("bias", value)

    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Ask for a weight (features, units) and a bias (units,)."""
        if len(input_shape) != 1:
            raise InputError(
                f"{self.name or 'Dense'} takes rows of features, not samples of shape "
                f"{input_shape}: put Flatten() before it"
            )
        fan_in = input_shape[0]
        self.input_shape, self.output_shape = input_shape, (self.units,)
        shape = (fan_in, self.units)
        if self.kernel_constraint is not None:
            self.kernel_constraint.check(shape, f"the weight of {self.name}")
        specs = [
            ParameterSpec(
                "weight", shape, self.kernel_initializer, fan_in, self.units,
                regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
            )
        ]  # fmt: skip
        if self.use_bias:
            specs.append(
                ParameterSpec(
                    "bias", (self.units,), self.bias_initializer, fan_in, self.units,
                    decays=False, regularizer=self.bias_regularizer,
                )
            )  # fmt: skip
        return specs

    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Add ``linear`` and, behind it, ``linear_backward``."""
        function = plan.activation_of(self)
        weight = plan.parameter(self, "weight")
        bias = plan.parameter(self, "bias") if self.use_bias else None
        out = plan.batch_buffer(f"{self.name}.out", self.units)
        kept = plan.gradients and function.keeps_input
        pre = plan.batch_buffer(f"{self.name}.pre", self.units) if kept else None
        plan.add(
            "linear", self.name, "forward",
            x=x, w=weight, b=bias, activation=function.name, parameter=function.parameter,
            pre=pre, out=out,
        )  # fmt: skip

        def backward(grad: Buffer, wanted: bool) -> Buffer | None:
            learns = self.trainable
            if not (learns or wanted):
                return None
            dx = plan.batch_buffer(f"{self.name}.dx", x.columns) if wanted else None
            plan.add(
                "linear_backward", self.name, "backward",
                grad=grad, x=x, w=weight, stored=out if pre is None else pre,
                activation=function.name, parameter=function.parameter,
                dz=plan.batch_buffer(f"{self.name}.dz", self.units),
                dw=plan.gradient(self, "weight") if learns else None,
                db=plan.gradient(self, "bias") if learns and self.use_bias else None,
                dx=dx,
            )  # fmt: skip
            return dx

        return out, backward

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "units": self.units,
            "activation": self.activation.config(),
            "kernel_initializer": self.kernel_initializer.config(),
            "bias_initializer": self.bias_initializer.config(),
            "kernel_regularizer": config_of(self.kernel_regularizer),
            "bias_regularizer": config_of(self.bias_regularizer),
            "kernel_constraint": config_of(self.kernel_constraint),
            "use_bias": self.use_bias,
            "trainable": self.trainable,
        }
