"""Activation functions, as a layer and as Dense's argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlcore.kernels import ACTIVATIONS
from mlcore.kernels.errors import InputError, is_number, unknown
from mlcore.layers.base import Backward, Layer, ParameterSpec, Shape

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering


@dataclass(frozen=True)
class ActivationFunction:
    """An activation by name, with the value of its parameter (alpha or slope) if it has one."""

    name: str = "identity"
    parameter: float = 0.0

    @property
    def keeps_input(self) -> bool:
        """Whether the derivative needs the pre-activation."""
        return ACTIVATIONS[self.name].stored == "input"

    def config(self) -> str | dict[str, Any]:
        """Return what `get` takes, as JSON knows it."""
        spec = ACTIVATIONS[self.name]
        if spec.parameter is None or self.parameter == spec.default:
            return self.name
        return {"name": self.name, spec.parameter: self.parameter}


def get(activation: str | dict[str, Any] | ActivationFunction | None) -> ActivationFunction:
    """Return the activation function that a name, a dict or None (identity) stands for.

    ``"leaky_relu"``, ``{"name": "leaky_relu", "alpha": 0.3}``, and Keras's ``"linear"`` for
    identity.

    Raises
    ------
    InputError
        For an unknown name, a parameter it does not have, or a negative or non-finite one.
    """
    if isinstance(activation, ActivationFunction):
        return activation
    settings: dict[str, Any] = (
        dict(activation) if isinstance(activation, dict) else {"name": activation}
    )
    name = settings.pop("name", None)
    name = "identity" if name in (None, "linear") else name
    spec = ACTIVATIONS.get(name) if isinstance(name, str) else None
    if spec is None:
        raise unknown("activation", name, ACTIVATIONS)
    value = settings.pop(spec.parameter, spec.default) if spec.parameter else 0.0
    if settings:
        known = [spec.parameter] if spec.parameter else []
        raise unknown(f"parameter of activation {name}", next(iter(settings)), known)
    if not (is_number(value) and value >= 0):
        raise InputError(f"{spec.parameter} of {name} must be 0 or more, not {value!r}")
    return ActivationFunction(name, float(value))


def check_rows(function: ActivationFunction, shape: Shape, owner: str) -> None:
    """Refuse softmax and its like on samples that are not rows: which axis would it be?

    Raises
    ------
    InputError
        With the shape, and what to do.
    """
    if ACTIVATIONS[function.name].rowwise and len(shape) != 1:
        raise InputError(
            f"{owner}: {function.name} is computed over rows of outputs, not over samples of shape "
            f"{shape}: put Flatten() before it"
        )


class Activation(Layer):
    """An activation function as a layer of its own.

    Parameters
    ----------
    activation : str or dict
        A name of `mlcore.kernels.ACTIVATIONS`, which lists the formulas.
    **parameters : float
        ``alpha`` of leaky_relu and elu, ``slope`` of sigmoid.
    """

    kind: ClassVar[str] = "activation"
    keeps_shape: ClassVar[bool] = True
    activation: ActivationFunction

    def __init__(self, activation: str | dict[str, Any], **parameters: float) -> None:
        super().__init__()
        settings = activation if isinstance(activation, dict) else {"name": activation}
        self.activation = get({**settings, **parameters})

    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Keep the shape; no parameters."""
        check_rows(self.activation, input_shape, self.name)
        self.input_shape = self.output_shape = input_shape
        return []

    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Add ``activation`` and, behind it, ``activation_backward``."""
        function = plan.activation_of(self)
        if function.name == "identity":
            return x, None
        row = plan.reshaped(x, -1)
        out = plan.batch_buffer(f"{self.name}.out", row.columns)
        plan.add(
            "activation", self.name, "forward",
            x=row, activation=function.name, parameter=function.parameter, out=out,
        )  # fmt: skip

        def backward(grad: Buffer, wanted: bool) -> Buffer | None:
            if not wanted:
                return None
            dx = plan.batch_buffer(f"{self.name}.dx", row.columns)
            plan.add(
                "activation_backward", self.name, "backward",
                grad=plan.reshaped(grad, -1), stored=row if function.keeps_input else out,
                activation=function.name, parameter=function.parameter, out=dx,
            )  # fmt: skip
            return plan.reshaped(dx, *x.sample)

        return plan.reshaped(out, *x.sample), backward

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"activation": self.activation.config()}
