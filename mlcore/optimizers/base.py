"""What an optimizer is: settings, the names of its state vectors, and the kernel it lowers to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from mlcore.kernels.errors import InputError, is_number

if TYPE_CHECKING:
    from mlcore.plan import Lowering, Segment


class Optimizer(ABC):
    """The base of the optimizers.

    Parameters
    ----------
    learning_rate : float
        The base rate; a schedule multiplies it by its factor. 0 or more.
    weight_decay : float
        0 or more.
    decay_bias : bool
        Whether biases are decayed too, as they are in PyTorch.
    """

    kind: ClassVar[str]

    def __init__(self, learning_rate: float, weight_decay: float, decay_bias: bool) -> None:
        self.learning_rate = self._at_least_zero("learning_rate", learning_rate)
        self.weight_decay = self._at_least_zero("weight_decay", weight_decay)
        self.decay_bias = bool(decay_bias)

    @property
    @abstractmethod
    def state(self) -> tuple[str, ...]:
        """The names of the vectors that it keeps beside the parameters; each starts at zero."""

    @abstractmethod
    def add_update(self, plan: Lowering, segment: Segment, weight_decay: float) -> None:
        """Add the kernel that updates one run of the parameters."""

    def lower(self, plan: Lowering) -> None:
        """Add the update of every trainable parameter to `plan`, in as few calls as can be."""
        spared = self.weight_decay > 0 and not self.decay_bias
        for segment in plan.segments(split_by_decay=spared):
            self.add_update(plan, segment, self.weight_decay if segment.decays else 0.0)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(vars(self))

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.config().items())
        return f"{type(self).__name__}({settings})"

    def _at_least_zero(self, name: str, value: Any) -> float:
        if not (is_number(value) and value >= 0):
            raise self._wrong(name, value, "0 or more")
        return float(value)

    def _share(self, name: str, value: Any) -> float:
        if not (is_number(value) and 0 <= value < 1):
            raise self._wrong(name, value, "at least 0 and below 1")
        return float(value)

    def _wrong(self, name: str, value: Any, range_: str) -> InputError:
        return InputError(f"{name} of {type(self).__name__} must be {range_}, not {value!r}")
