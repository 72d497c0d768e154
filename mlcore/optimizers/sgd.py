"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Unpack

from mlcore.kernels.errors import InputError
from mlcore.optimizers.base import Gathering, Optimizer
from mlcore.plan import Setting

if TYPE_CHECKING:
    from mlcore.plan import Lowering, Segment


class SGD(Optimizer):
    """Stochastic gradient descent, as ``torch.optim.SGD`` defines it.

    ``g += weight_decay * p``; with momentum, ``v = g`` at the first step and ``v = momentum * v
    + (1 - dampening) * g`` after it, and ``g = g + momentum * v`` (nesterov) or ``g = v``;
    ``p -= learning_rate * g``.

    Parameters
    ----------
    learning_rate : float
    momentum, dampening : float
        momentum at least 0 and below 1, dampening from 0 to 1.
    nesterov : bool
        Needs momentum and no dampening.
    weight_decay : float
        Added to the gradient (an L2 penalty of weight_decay / 2 times the squared norm).
    decay_bias : bool
        False leaves biases out of the decay.
    **gathering
        global_clipnorm, clipvalue and gradient_accumulation_steps, as for every `Optimizer`.
    """

    kind: ClassVar[str] = "sgd"

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        *,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_bias: bool = True,
        **gathering: Unpack[Gathering],
    ) -> None:
        super().__init__(learning_rate, weight_decay, decay_bias, **gathering)
        self.momentum = self._share("momentum", momentum)
        self.dampening = self._at_least_zero("dampening", dampening)
        if self.dampening > 1:
            raise self._wrong("dampening", dampening, "from 0 to 1")
        self.nesterov = bool(nesterov)
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise InputError("nesterov of SGD needs a momentum above 0 and a dampening of 0")

    @property
    def moments(self) -> tuple[str, ...]:
        """The velocity, where there is momentum."""
        return ("velocity",) if self.momentum else ()

    def add_update(self, plan: Lowering, segment: Segment, weight_decay: float) -> None:
        """Add ``sgd``."""
        plan.add(
            "sgd", "optimizer", "update",
            parameters=plan.vector("parameters", segment),
            gradients=plan.vector("gradients", segment),
            velocity=plan.vector("velocity", segment) if self.momentum else None,
            learning_rate=Setting("learning_rate"), momentum=self.momentum,
            dampening=self.dampening, nesterov=self.nesterov, weight_decay=weight_decay,
            step=Setting("update"),
        )  # fmt: skip
