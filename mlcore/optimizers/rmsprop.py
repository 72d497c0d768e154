"""RMSprop."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Unpack

from mlcore.optimizers.base import Gathering, Optimizer
from mlcore.plan import Setting

if TYPE_CHECKING:
    from mlcore.plan import Lowering, Segment


class RMSprop(Optimizer):
    """RMSprop (Hinton's lecture 6e), as ``torch.optim.RMSprop`` defines it.

    ``s = rho * s + (1 - rho) * g * g``, ``p -= learning_rate * g / (sqrt(s) + epsilon)``;
    centered takes ``s - mean(g)**2`` in place of s; with momentum, ``v = momentum * v + g /
    (sqrt(s) + epsilon)`` and ``p -= learning_rate * v``.

    Parameters
    ----------
    learning_rate : float
    rho : float
        PyTorch's alpha, at least 0 and below 1.
    momentum : float
        At least 0 and below 1.
    epsilon : float
        0 or more.
    centered : bool
    weight_decay : float
        Added to the gradient.
    decay_bias : bool
        False leaves biases out of the decay.
    **gathering
        global_clipnorm, clipvalue and gradient_accumulation_steps, as for every `Optimizer`.
    """

    kind: ClassVar[str] = "rmsprop"

    def __init__(
        self,
        learning_rate: float = 0.01,
        rho: float = 0.99,
        momentum: float = 0.0,
        epsilon: float = 1e-8,
        *,
        centered: bool = False,
        weight_decay: float = 0.0,
        decay_bias: bool = True,
        **gathering: Unpack[Gathering],
    ) -> None:
        super().__init__(learning_rate, weight_decay, decay_bias, **gathering)
        self.rho = self._share("rho", rho)
        self.momentum = self._share("momentum", momentum)
        self.epsilon = self._at_least_zero("epsilon", epsilon)
        self.centered = bool(centered)

    @property
    def moments(self) -> tuple[str, ...]:
        """The running mean of squares, and those that centering and momentum need."""
        centered = ("gradient_average",) if self.centered else ()
        return ("square_average", *centered, *(("velocity",) if self.momentum else ()))

    def add_update(self, plan: Lowering, segment: Segment, weight_decay: float) -> None:
        """Add ``rmsprop``."""
        plan.add(
            "rmsprop", "optimizer", "update",
            parameters=plan.vector("parameters", segment),
            gradients=plan.vector("gradients", segment),
            square_average=plan.vector("square_average", segment),
            gradient_average=plan.vector("gradient_average", segment) if self.centered else None,
            velocity=plan.vector("velocity", segment) if self.momentum else None,
            learning_rate=Setting("learning_rate"), rho=self.rho, epsilon=self.epsilon,
            momentum=self.momentum, weight_decay=weight_decay,
        )  # fmt: skip
