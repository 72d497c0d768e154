"""What an optimizer is: settings, the names of its state vectors, and the kernel it lowers to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from mlcore.kernels.errors import InputError, is_number
from mlcore.plan import Setting

if TYPE_CHECKING:
    from mlcore.plan import Lowering, Segment


class Gathering(TypedDict, total=False):
    """What every optimizer takes: how gradients are gathered before an update; see `Optimizer`."""

    global_clipnorm: float | None
    clipvalue: float | None
    gradient_accumulation_steps: int


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
    global_clipnorm : float, optional
        The largest norm of the gradient of all parameters as one vector: longer ones are
        multiplied by ``global_clipnorm / (norm + 1e-6)``. The name is that of Keras, the
        definition that of ``torch.nn.utils.clip_grad_norm_``. Above 0; not with `clipvalue`.
    clipvalue : float, optional
        The largest magnitude of each element of the gradient; as
        ``torch.nn.utils.clip_grad_value_``. Above 0.
    gradient_accumulation_steps : int
        So many steps make one update, by the mean of their gradients, as in Keras: limits,
        weight decay and the number that Adam counts with are those of updates. Steps that are
        left at the end of an epoch, or of a fit, belong to the next one's first update.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        learning_rate: float,
        weight_decay: float,
        decay_bias: bool,
        global_clipnorm: float | None = None,
        clipvalue: float | None = None,
        gradient_accumulation_steps: int = 1,
    ) -> None:
        self.learning_rate = self._at_least_zero("learning_rate", learning_rate)
        self.weight_decay = self._at_least_zero("weight_decay", weight_decay)
        self.decay_bias = bool(decay_bias)
        self.global_clipnorm = self._limit("global_clipnorm", global_clipnorm)
        self.clipvalue = self._limit("clipvalue", clipvalue)
        if self.global_clipnorm is not None and self.clipvalue is not None:
            raise InputError(f"{type(self).__name__} takes global_clipnorm or clipvalue, not both")
        steps = gradient_accumulation_steps
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise self._wrong("gradient_accumulation_steps", steps, "a whole number, 1 or more")
        self.gradient_accumulation_steps = steps

    @property
    @abstractmethod
    def moments(self) -> tuple[str, ...]:
        """The names of the vectors that the rule itself keeps beside the parameters."""

    @property
    def state(self) -> tuple[str, ...]:
        """The names of all vectors kept beside the parameters, the sum of gradients being last."""
        adds_up = self.gradient_accumulation_steps > 1
        return (*self.moments, *(("gradient_sum",) if adds_up else ()))

    @property
    def initial(self) -> dict[str, float]:
        """What the state vectors begin with that do not begin with zeros."""
        return {}

    @abstractmethod
    def add_update(self, plan: Lowering, segment: Segment, weight_decay: float) -> None:
        """Add the kernel that updates one run of the parameters."""

    def lower(self, plan: Lowering) -> None:
        """Add the update of every trainable parameter to `plan`, in as few calls as can be."""
        spared = self.weight_decay > 0 and not self.decay_bias
        segments = list(plan.segments(split_by_decay=spared))
        if segments:
            self._gather(plan)
        for segment in segments:
            self.add_update(plan, segment, self.weight_decay if segment.decays else 0.0)

    def _gather(self, plan: Lowering) -> None:
        """Add what happens to whole gradients before the update."""
        runs = list(plan.segments(split_by_decay=False))
        steps = self.gradient_accumulation_steps
        if steps > 1:
            plan.plan.accumulation = steps
            plan.unfuse("gradient_accumulation_steps")
            for run in runs:
                plan.add(
                    "accumulate", "optimizer", "backward",
                    gradients=plan.vector("gradients", run),
                    total=plan.vector("gradient_sum", run),
                    number=Setting("number"), steps=steps,
                )  # fmt: skip
        limit = self.global_clipnorm or self.clipvalue
        if limit is None:
            return
        sums = None
        if self.global_clipnorm is not None:
            sums = plan.block_sums("sums of gradients", "optimizer", "update", "gradients", runs)
        plan.unfuse("clipvalue" if sums is None else "global_clipnorm")
        for run in runs:
            plan.add(
                "clip", "optimizer", "update",
                gradients=plan.vector("gradients", run), sums=sums, limit=limit,
            )  # fmt: skip

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

    def _limit(self, name: str, value: Any) -> float | None:
        if value is None:
            return None
        if not (is_number(value) and value > 0):
            raise self._wrong(name, value, "above 0, or None")
        return float(value)

    def _share(self, name: str, value: Any) -> float:
        if not (is_number(value) and 0 <= value < 1):
            raise self._wrong(name, value, "at least 0 and below 1")
        return float(value)

    def _wrong(self, name: str, value: Any, range_: str) -> InputError:
        return InputError(f"{name} of {type(self).__name__} must be {range_}, not {value!r}")
