"""Adagrad."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Unpack

from mlcore.optimizers.base import Gathering, Optimizer
from mlcore.plan import Setting

if TYPE_CHECKING:
    from mlcore.plan import Lowering, Segment


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer 2011), as ``torch.optim.Adagrad`` defines it.

    ``s += g * g``, ``p -= learning_rate * g / (sqrt(s) + epsilon)``. PyTorch's decay of the rate
    is left to schedules.

    Parameters
    ----------
    learning_rate : float
    initial_accumulator_value : float
        What s begins with, 0 or more: 0 as in PyTorch; Keras begins with 0.1.
    epsilon : float
        0 or more.
    weight_decay : float
        Added to the gradient.
    decay_bias : bool
        False leaves biases out of the decay.
    **gathering
        global_clipnorm, clipvalue and gradient_accumulation_steps, as for every `Optimizer`.
    """

    kind: ClassVar[str] = "adagrad"

    def __init__(
        self,
        learning_rate: float = 0.01,
        initial_accumulator_value: float = 0.0,
        epsilon: float = 1e-10,
        *,
        weight_decay: float = 0.0,
        decay_bias: bool = True,
        **gathering: Unpack[Gathering],
    ) -> None:
        super().__init__(learning_rate, weight_decay, decay_bias, **gathering)
        self.initial_accumulator_value = self._at_least_zero(
            "initial_accumulator_value", initial_accumulator_value
        )
        self.epsilon = self._at_least_zero("epsilon", epsilon)

    @property
    def moments(self) -> tuple[str, ...]:
        """The sum of squares."""
        return ("square_sum",)

    @property
    def initial(self) -> dict[str, float]:
        """What the sum of squares begins with."""
        return {"square_sum": self.initial_accumulator_value}

    def add_update(self, plan: Lowering, segment: Segment, weight_decay: float) -> None:
        """Add ``adagrad``."""
        plan.add(
            "adagrad", "optimizer", "update",
            parameters=plan.vector("parameters", segment),
            gradients=plan.vector("gradients", segment),
            square_sum=plan.vector("square_sum", segment),
            learning_rate=Setting("learning_rate"), epsilon=self.epsilon,
            weight_decay=weight_decay,
        )  # fmt: skip
