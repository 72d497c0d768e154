"""Layer normalization."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from mlcore.layers.base import Backward, Layer, ParameterSpec, ParameterView, Shape
from mlcore.layers.batch_norm import affine_specs, check_epsilon

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering


class LayerNorm(Layer):
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, each sample and place by itself.

    Ba, Kiros and Hinton 2016, as Keras's LayerNormalization and ``torch.nn.LayerNorm`` of the last
    axis (whose epsilon is 1e-5). Mean and variance, divided by the count, are over the last axis;
    nothing differs outside training.

    Parameters
    ----------
    epsilon : float
        Added to the variance, above 0.
    center, scale : bool
        Whether there are beta and gamma.
    trainable : bool
        False freezes gamma and beta.

    Attributes
    ----------
    gamma, beta : ndarray (features,)
        Views into the model's parameters; ones and zeros at first.
    """

    kind: ClassVar[str] = "layer_norm"
    keeps_shape: ClassVar[bool] = True
    gamma = ParameterView()
    beta = ParameterView()

    def __init__(
        self,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        trainable: bool = True,
    ) -> None:
        super().__init__(trainable=trainable)
        self.epsilon = check_epsilon(epsilon, "LayerNorm")
        self.center = bool(center)
        self.scale = bool(scale)

    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Ask for gamma and beta, (features,) each."""
        self.input_shape = self.output_shape = input_shape
        return affine_specs(input_shape[-1], scale=self.scale, center=self.center)

    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Add ``layer_norm`` and, behind it, ``layer_norm_backward``."""
        places = plan.reshaped(x, math.prod(x.sample[:-1]), x.shape[-1])
        gamma = plan.parameter(self, "gamma") if self.scale else None
        kept = {
            name: plan.batch_buffer(f"{self.name}.{name}", places.shape[1])
            for name in ("mean", "inverse")
        }
        out = plan.batch_buffer(f"{self.name}.out", *places.sample)
        plan.add(
            "layer_norm", self.name, "forward", x=places, gamma=gamma,
            beta=plan.parameter(self, "beta") if self.center else None,
            epsilon=self.epsilon, **kept, out=out,
        )  # fmt: skip

        def backward(grad: Buffer, wanted: bool) -> Buffer | None:
            learns = self.trainable
            if not ((learns and (self.scale or self.center)) or wanted):
                return None
            dx = plan.batch_buffer(f"{self.name}.dx", *places.sample) if wanted else None
            plan.add(
                "layer_norm_backward", self.name, "backward",
                grad=plan.reshaped(grad, *places.sample), x=places, gamma=gamma, **kept,
                dgamma=plan.gradient(self, "gamma") if learns and self.scale else None,
                dbeta=plan.gradient(self, "beta") if learns and self.center else None,
                dx=dx,
            )  # fmt: skip
            return None if dx is None else plan.reshaped(dx, *x.sample)

        return plan.reshaped(out, *x.sample), backward

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "trainable": self.trainable,
        }
