"""Limits that parameters are brought back to after every update."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from mlcore.kernels.errors import InputError, is_number, unknown


@dataclass(frozen=True)
class MaxNorm:
    """Scale the weights of every unit down to a norm of `max_value` where theirs is larger.

    ``w *= max_value / norm`` where ``norm = sqrt(sum(w**2, axis)) > max_value``: Srebro and
    Shraibman 2005, as ``keras.constraints.MaxNorm`` but for its small epsilon, so that weights
    within the limit keep their bits.

    Parameters
    ----------
    max_value : float
        Above 0.
    axis : int or tuple of int
        The axes that the norm is taken over: all but the last, which is that of the units. That
        is 0 for `Dense`, whose weights are (fan_in, units), and (0, 1, 2) for filters.
    """

    max_value: float = 2.0
    axis: int | tuple[int, ...] = 0
    name: ClassVar[str] = "max_norm"

    def __post_init__(self) -> None:
        if not (is_number(self.max_value) and self.max_value > 0):
            raise InputError(f"max_value of MaxNorm must be above 0, not {self.max_value!r}")
        axes = self.axis if isinstance(self.axis, (tuple, list)) else (self.axis,)
        if any(isinstance(axis, bool) or not isinstance(axis, int) for axis in axes):
            raise InputError(f"axis of MaxNorm must be whole numbers, not {self.axis!r}")
        if isinstance(self.axis, list):
            object.__setattr__(self, "axis", tuple(self.axis))

    def check(self, shape: tuple[int, ...], where: str) -> None:
        """Raise InputError where `axis` is not all axes but the last of `shape`."""
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        wanted = tuple(range(len(shape) - 1))
        if tuple(sorted(axis + len(shape) if axis < 0 else axis for axis in axes)) != wanted:
            meant = wanted[0] if len(wanted) == 1 else wanted
            raise InputError(
                f"MaxNorm limits the weights of a unit: axis for {where}, which is {shape}, must "
                f"be {meant}, not {self.axis}"
            )

    def config(self) -> dict[str, Any]:
        """Return what `get` needs to make an equal constraint."""
        return {"name": self.name, **asdict(self)}


def get(constraint: str | MaxNorm | dict[str, Any] | None) -> MaxNorm | None:
    """Return a constraint from its name, "max_norm", from itself, or from what `config` returned.

    Raises
    ------
    InputError
        For an unknown name or an unknown setting.
    """
    if constraint is None or isinstance(constraint, MaxNorm):
        return constraint
    settings = dict(constraint) if isinstance(constraint, dict) else {"name": constraint}
    name = settings.pop("name", None)
    if name != MaxNorm.name:
        raise unknown("constraint", name, [MaxNorm.name])
    try:
        return MaxNorm(**settings)
    except TypeError as error:
        raise InputError(f"constraint {name}: {error}") from error
