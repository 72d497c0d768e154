"""Penalties on the size of parameters, which are added to the loss."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from mlcore.kernels.errors import InputError, is_number, unknown


@dataclass(frozen=True)
class Regularizer:
    """The base of the penalties: l1 * sum(|w|) + l2 * sum(w**2) + norm * sqrt(sum(w**2)).

    A layer takes one for each of its parameters (``Dense(10, kernel_regularizer=L2(1e-4))``);
    ``fit(..., regularizer=L2(1e-4))`` takes one for the whole model. The penalty is added to
    every loss that is reported, and its gradient to that of the loss. Frozen parameters have
    none.

    Attributes
    ----------
    name : str
        As `get` takes it.
    of_biases : bool
        Whether the penalty of a whole model is that of its biases too.
    """

    name: ClassVar[str]
    of_biases: ClassVar[bool] = False

    @property
    def strengths(self) -> dict[str, float]:
        """The factors l1, l2 and norm of the three terms."""
        return {name: float(getattr(self, name, 0.0)) for name in ("l1", "l2", "norm")}

    def config(self) -> dict[str, Any]:
        """Return what `get` needs to make an equal regularizer."""
        return {"name": self.name, **asdict(self)}

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (is_number(value) and value >= 0):
                raise InputError(
                    f"{name} of {type(self).__name__} must be 0 or more, not {value!r}"
                )


@dataclass(frozen=True)
class L1(Regularizer):
    """l1 * sum(|w|), as ``keras.regularizers.L1``; its slope at zero is zero."""

    l1: float = 0.01
    name: ClassVar[str] = "l1"


@dataclass(frozen=True)
class L2(Regularizer):
    """l2 * sum(w**2), as ``keras.regularizers.L2``.

    With SGD that is a weight decay of 2 * l2, which is no part of the loss that is reported.
    """

    l2: float = 0.01
    name: ClassVar[str] = "l2"


@dataclass(frozen=True)
class L1L2(Regularizer):
    """l1 * sum(|w|) + l2 * sum(w**2), as ``keras.regularizers.L1L2``.

    The name "l1_l2" alone stands for 0.01 of each.
    """

    l1: float = 0.0
    l2: float = 0.0
    name: ClassVar[str] = "l1_l2"


@dataclass(frozen=True)
class Norm(Regularizer):
    """norm * sqrt(sum(w**2)), the plain norm; its gradient at zero is zero.

    For a whole model it is the norm of one vector of all parameters, biases too.
    """

    norm: float = 0.01
    name: ClassVar[str] = "norm"
    of_biases: ClassVar[bool] = True


REGULARIZERS: dict[str, type[Regularizer]] = {kind.name: kind for kind in (L1, L2, L1L2, Norm)}


def get(regularizer: str | Regularizer | dict[str, Any] | None) -> Regularizer | None:
    """Return a regularizer from its name, from itself, or from what `config` returned.

    None, and one whose strengths are all zero, is no regularizer: None.

    Raises
    ------
    InputError
        For an unknown name or an unknown setting.
    """
    if regularizer is None:
        return None
    if not isinstance(regularizer, Regularizer):
        regularizer = _made(regularizer)
    return regularizer if any(regularizer.strengths.values()) else None


def _made(described: str | dict[str, Any]) -> Regularizer:
    settings = dict(described) if isinstance(described, dict) else {"name": described}
    name = settings.pop("name", None)
    kind = REGULARIZERS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise unknown("regularizer", name, REGULARIZERS)
    if kind is L1L2 and not isinstance(described, dict):
        return L1L2(0.01, 0.01)
    try:
        return kind(**settings)
    except TypeError as error:
        raise InputError(f"regularizer {name}: {error}") from error
