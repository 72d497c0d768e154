"""Batch normalization."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from mlcore.initializers import Constant, Zeros
from mlcore.kernels.errors import InputError, is_number
from mlcore.layers.base import (
    Backward,
    Layer,
    ParameterSpec,
    ParameterView,
    Shape,
    check_fraction,
)

if TYPE_CHECKING:
    from mlcore.plan import Buffer, Lowering


def check_epsilon(value: Any, owner: str) -> float:
    """Return `value` as a positive float, or say what is wrong with it."""
    if not (is_number(value) and value > 0):
        raise InputError(f"epsilon of {owner} must be above 0, not {value!r}")
    return float(value)


def affine_specs(features: int, *, scale: bool, center: bool) -> list[ParameterSpec]:
    """Return the scale and shift of features, neither of which decays."""
    specs = []
    if scale:
        specs.append(
            ParameterSpec("gamma", (features,), Constant(1.0), features, features, decays=False)
        )
    if center:
        specs.append(ParameterSpec("beta", (features,), Zeros(), features, features, decays=False))
    return specs


class BatchNorm(Layer):
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, feature by feature.

    Ioffe and Szegedy 2015, as Keras's BatchNormalization. Features are the last axis: of rows each
    column, of images each channel. While training, mean and variance (divided by the count) are
    those of the batch, over all other axes, and the running ones become
    ``momentum * running + (1 - momentum) * batch``. Outside training, and where `trainable` is
    false, the running ones are used as they are. PyTorch's ``momentum`` is one minus ours, and its
    running variance is divided by the count minus one.

    Parameters
    ----------
    momentum : float
        How much of the running statistics a step keeps, in [0, 1).
    epsilon : float
        Added to the variance, above 0.
    center, scale : bool
        Whether there are beta and gamma.
    trainable : bool
        False freezes gamma and beta, and the running statistics too.

    Attributes
    ----------
    gamma, beta : ndarray (features,)
        Views into the model's parameters; ones and zeros at first. Weight decay that leaves biases
        out leaves them out.
    moving_mean, moving_variance : ndarray (features,)
        Likewise; zeros and ones at first. No optimizer touches them.
    """

    kind: ClassVar[str] = "batch_norm"
    keeps_shape: ClassVar[bool] = True
    gamma = ParameterView()
    beta = ParameterView()
    moving_mean = ParameterView()
    moving_variance = ParameterView()

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        trainable: bool = True,
    ) -> None:
        super().__init__(trainable=trainable)
        self.momentum = check_fraction(momentum, "momentum of BatchNorm")
        self.epsilon = check_epsilon(epsilon, "BatchNorm")
        self.center = bool(center)
        self.scale = bool(scale)

    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Ask for gamma, beta and the running statistics, (features,) each."""
        self.input_shape = self.output_shape = input_shape
        features = input_shape[-1]
        fixed: dict[str, Any] = {"decays": False, "trainable": False}
        fans = features, features
        return [
            *affine_specs(features, scale=self.scale, center=self.center),
            ParameterSpec("moving_mean", (features,), Zeros(), *fans, **fixed),
            ParameterSpec("moving_variance", (features,), Constant(1.0), *fans, **fixed),
        ]

    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Add ``batch_norm`` while training, else ``normalize``, and behind it its backward."""
        features = x.shape[-1]
        places = plan.reshaped(x, math.prod(x.sample[:-1]), features)
        gamma = plan.parameter(self, "gamma") if self.scale else None
        beta = plan.parameter(self, "beta") if self.center else None
        running_mean = plan.parameter(self, "moving_mean")
        running_variance = plan.parameter(self, "moving_variance")
        out = plan.batch_buffer(f"{self.name}.out", *places.sample)
        kernel, kept = "normalize", {"mean": running_mean, "variance": running_variance}
        settings: dict[str, Any] = {"epsilon": self.epsilon}
        if plan.noise and self.trainable:
            kernel = "batch_norm"
            kept = {
                name: plan.scratch(f"{self.name}.{name}", features) for name in ("mean", "inverse")
            }
            plan.add(
                kernel, self.name, "forward", x=places, gamma=gamma, beta=beta,
                running_mean=running_mean, running_variance=running_variance,
                momentum=self.momentum, **settings, **kept, out=out,
            )  # fmt: skip
            settings = {}
        else:
            plan.add(
                kernel, self.name, "forward",
                x=places, **kept, gamma=gamma, beta=beta, **settings, out=out,
            )  # fmt: skip

        def backward(grad: Buffer, wanted: bool) -> Buffer | None:
            learns = self.trainable
            if not ((learns and (self.scale or self.center)) or wanted):
                return None
            dx = plan.batch_buffer(f"{self.name}.dx", *places.sample) if wanted else None
            plan.add(
                f"{kernel}_backward", self.name, "backward",
                grad=plan.reshaped(grad, *places.sample), x=places, gamma=gamma, **kept, **settings,
                dgamma=plan.gradient(self, "gamma") if learns and self.scale else None,
                dbeta=plan.gradient(self, "beta") if learns and self.center else None,
                dx=dx,
            )  # fmt: skip
            return None if dx is None else plan.reshaped(dx, *x.sample)

        return plan.reshaped(out, *x.sample), backward

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "trainable": self.trainable,
        }
