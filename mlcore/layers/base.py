"""What a layer is: a declaration of shapes and parameters, and of the kernels it lowers to."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mlcore.constraints import MaxNorm
from mlcore.initializers import Initializer
from mlcore.kernels.errors import InputError, is_number
from mlcore.regularizers import Regularizer

if TYPE_CHECKING:
    from mlcore.layers.activation import ActivationFunction
    from mlcore.plan import Buffer, Lowering

Shape = tuple[int, ...]
Backward = Callable[["Buffer", bool], "Buffer | None"]


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter that a layer asks the model for.

    `decays` says whether it is a weight in the sense of weight decay; biases are not. What is not
    `trainable`, such as running statistics, no update touches; its gradient is zero.
    `regularizer` is its penalty, `constraint` what it is brought back to after every update.
    """

    name: str
    shape: Shape
    initializer: Initializer
    fan_in: int
    fan_out: int
    decays: bool = True
    trainable: bool = True
    regularizer: Regularizer | None = None
    constraint: MaxNorm | None = None

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


class ParameterView:
    """A parameter as an attribute of its layer.

    Reading gives a view into the model's parameters, so that writing to it changes the model;
    assigning copies numbers into it.
    """

    def __set_name__(self, owner: type[Layer], name: str) -> None:
        self.name = name

    def __get__(self, layer: Layer | None, owner: type[Layer]) -> Any:
        return self if layer is None else layer._view(self.name)

    def __set__(self, layer: Layer, value: Any) -> None:
        layer._assign(self.name, value)


class Layer(ABC):
    """A layer of a `Sequential` model.

    Attributes
    ----------
    name : str
        "dense_1" and so on, given by the model.
    input_shape, output_shape : tuple of int
        Without the batch axis; known once the model is built.
    trainable : bool
        False freezes the parameters: no update touches them.
    activation : ActivationFunction or None
        What it ends in, which a loss may compute in its place.
    input_axes : int or None
        The number of axes of the samples that it takes, where that is fixed: data without the
        last of them, which are images of one channel, get it.
    input_limit : int or None
        Its inputs must be whole numbers from 0 up to, and without, this one.
    keeps_shape, reshapes : bool
        Whether the output has the shape of the input, and whether it is the input in another one.
    """

    kind: ClassVar[str]
    input_axes: ClassVar[int | None] = None
    keeps_shape: ClassVar[bool] = False
    reshapes: ClassVar[bool] = False
    activation: ActivationFunction | None = None
    input_limit: int | None = None

    def __init__(self, *, trainable: bool = True) -> None:
        self.name = ""
        self.trainable = bool(trainable)
        self.input_shape: Shape | None = None
        self.output_shape: Shape | None = None
        self._views: dict[str, NDArray[Any]] = {}

    @abstractmethod
    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Fix the shapes and return the parameters wanted."""

    @abstractmethod
    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Add the forward kernels to `plan`.

        Returns
        -------
        output : Buffer
        backward : callable or None
            ``backward(grad, wanted)`` adds the backward kernels for the gradient of the output
            and returns the gradient of the input, or None where it is not `wanted`. None stands
            for a layer whose gradient is that of its output.
        """

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as JSON knows them."""

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.config().items())
        return f"{type(self).__name__}({settings})"

    @property
    def parameters(self) -> dict[str, NDArray[Any]]:
        """The layer's parameters by name, as views into the model's flat vector."""
        return dict(self._views)

    def attach(self, views: dict[str, NDArray[Any]]) -> None:
        """Take the views that the model made; for the model's use."""
        self._views = views

    def _view(self, name: str) -> NDArray[Any]:
        if name not in self._views:
            raise InputError(
                f"{type(self).__name__} has no {name} yet: it is made when the model knows its "
                "input shape (fit, or model.build(features))"
            )
        return self._views[name]

    def _assign(self, name: str, value: Any) -> None:
        view = self._view(name)
        array = np.asarray(value)
        if array.shape != view.shape:
            raise InputError(f"{self.name}.{name} has shape {view.shape}, not {array.shape}")
        view[...] = array


def check_size(value: Any, what: str) -> int:
    """Return `value` as a positive int, or say what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InputError(f"{what} must be a whole number, 1 or more, not {value!r}")
    return int(value)


def config_of(part: Regularizer | MaxNorm | None) -> dict[str, Any] | None:
    """Return the configuration of what a layer may have or not."""
    return None if part is None else part.config()


def check_lengths(value: Any, axes: int, what: str) -> tuple[int, ...]:
    """Return a length for each of `axes`, given as one for all of them or as one each."""
    if not isinstance(value, (list, tuple)):
        return (check_size(value, what),) * axes
    if len(value) != axes:
        wanted = "one number" if axes == 1 else "one number, or two for height and width"
        raise InputError(f"{what} must be {wanted}, not {value!r}")
    return tuple(check_size(length, what) for length in value)


def check_fraction(value: Any, what: str) -> float:
    """Return `value` as a float in [0, 1), or say what is wrong with it."""
    if not (is_number(value) and 0 <= value < 1):
        raise InputError(f"{what} must be at least 0 and below 1, not {value!r}")
    return float(value)
