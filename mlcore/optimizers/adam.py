"""Adam, and AdamW: the same moments, another decay."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Unpack

from mlcore.optimizers.base import Gathering, Optimizer
from mlcore.plan import Setting

if TYPE_CHECKING:
    from mlcore.plan import Lowering, Segment


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), as ``torch.optim.Adam`` defines it.

    ``m = beta_1 * m + (1 - beta_1) * g``, ``v = beta_2 * v + (1 - beta_2) * g * g``,
    ``p -= learning_rate * m / (1 - beta_1**t) / (sqrt(v / (1 - beta_2**t)) + epsilon)``: the
    epsilon stands outside the root and after the bias correction.

    Parameters
    ----------
    learning_rate : float
    beta_1, beta_2 : float
        At least 0 and below 1.
    epsilon : float
        0 or more.
    weight_decay : float
        Added to the gradient, as weight_decay * p.
    decay_bias : bool
        False leaves biases out of the decay.
    **gathering
        global_clipnorm, clipvalue and gradient_accumulation_steps, as for every `Optimizer`.
    """

    kind: ClassVar[str] = "adam"
    default_decay: ClassVar[float] = 0.0

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        weight_decay: float | None = None,
        decay_bias: bool = True,
        **gathering: Unpack[Gathering],
    ) -> None:
        decay = self.default_decay if weight_decay is None else weight_decay
        super().__init__(learning_rate, decay, decay_bias, **gathering)
        self.beta_1 = self._share("beta_1", beta_1)
        self.beta_2 = self._share("beta_2", beta_2)
        self.epsilon = self._at_least_zero("epsilon", epsilon)

    @property
    def moments(self) -> tuple[str, ...]:
        """The running means of the gradient and of its square."""
        return ("first_moment", "second_moment")

    def add_update(self, plan: Lowering, segment: Segment, weight_decay: float) -> None:
        """Add ``adam`` or ``adamw``."""
        plan.add(
            self.kind, "optimizer", "update",
            parameters=plan.vector("parameters", segment),
            gradients=plan.vector("gradients", segment),
            first_moment=plan.vector("first_moment", segment),
            second_moment=plan.vector("second_moment", segment),
            learning_rate=Setting("learning_rate"), beta_1=self.beta_1, beta_2=self.beta_2,
            epsilon=self.epsilon, weight_decay=weight_decay, step=Setting("update"),
        )  # fmt: skip


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as ``torch.optim.AdamW``.

    ``p *= 1 - learning_rate * weight_decay`` before Adam's step; the decay stays out of the
    moments. `weight_decay` is 0.01 by default, the other parameters are Adam's.
    """

    kind: ClassVar[str] = "adamw"
    default_decay: ClassVar[float] = 0.01
