"""How parameters start: every draw is a function of the model's seed and the parameter's place."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mlcore.kernels import native, reference
from mlcore.kernels.errors import InputError, is_number, unknown

Array = NDArray[np.float64]
Mode = Literal["fan_in", "fan_out", "average"]

# Noise layers take the streams below, by their place in the model; shuffling takes 65535.
FIRST_STREAM = 0x8000
FLOAT64 = np.dtype(np.float64)


@dataclass
class Draws:
    """Random numbers of one parameter, from Philox4x32-10; the same on every backend.

    Each call takes the next `step` of the parameter's stream.
    """

    seed: int
    stream: int
    step: int = 0

    def _bits(self, rows: int, columns: int) -> NDArray[np.uint32]:
        out = np.empty((rows, columns), np.uint32)
        _bits()(self.seed, self.stream, self.step, out)
        self.step += 1
        return out

    def uniform(self, shape: tuple[int, ...]) -> Array:
        """Return uniform numbers in [0, 1)."""
        drawn = self._bits(shape[0], math.prod(shape[1:]))
        return reference.uniform_of(drawn, FLOAT64).reshape(shape)

    def normal(self, shape: tuple[int, ...]) -> Array:
        """Return standard normal numbers."""
        columns = math.prod(shape[1:])
        drawn = self._bits(shape[0], reference.whole_blocks(columns))
        return reference.normal_of(drawn, FLOAT64)[:, :columns].reshape(shape)


@functools.cache
def _bits() -> Any:
    """Return the compiled generator, which is ten times as fast, or else that of the reference.

    Bits are the same on every backend, unlike logarithms and cosines.
    """
    try:
        return native.kernels().bits
    except (ImportError, InputError):
        return reference.bits


class Initializer(ABC):
    """Makes the first values of a parameter."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, draws: Draws) -> Array:
        """Return the values, float64 of `shape`."""

    def config(self) -> dict[str, Any]:
        """Return what `get` needs to make an equal initializer."""
        return {"name": self.name, **asdict(self)}  # type: ignore[call-overload]


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


def _check_numbers(initializer: Initializer, *names: str) -> None:
    for name in names:
        value = getattr(initializer, name)
        _check(is_number(value), f"{initializer.name}: {name} must be a number, not {value!r}")


@dataclass(frozen=True)
class Zeros(Initializer):
    """All zeros."""

    name: ClassVar[str] = "zeros"

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, draws: Draws) -> Array:
        """Return zeros of `shape`."""
        return np.zeros(shape)


@dataclass(frozen=True)
class Constant(Initializer):
    """Every element `value`."""

    value: float = 0.0
    name: ClassVar[str] = "constant"

    def __post_init__(self) -> None:
        _check_numbers(self, "value")

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, draws: Draws) -> Array:
        """Return an array full of `value`."""
        return np.full(shape, float(self.value))


@dataclass(frozen=True, eq=False)
class Known(Initializer):
    """Values that are there before the parameter is; for layers' own use."""

    values: Array
    name: ClassVar[str] = "known"

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, draws: Draws) -> Array:
        """Return the values."""
        return self.values


@dataclass(frozen=True)
class Uniform(Initializer):
    """Uniform in [low, high); the default is Keras's RandomUniform."""

    low: float = -0.05
    high: float = 0.05
    name: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        _check_numbers(self, "low", "high")
        _check(self.low <= self.high, f"uniform: low {self.low} is above high {self.high}")

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, draws: Draws) -> Array:
        """Return uniform draws of `shape`."""
        return self.low + (self.high - self.low) * draws.uniform(shape)


@dataclass(frozen=True)
class Normal(Initializer):
    """N(mean, stddev**2); the default is Keras's RandomNormal."""

    mean: float = 0.0
    stddev: float = 0.05
    name: ClassVar[str] = "normal"

    def __post_init__(self) -> None:
        _check_numbers(self, "mean")
        good = is_number(self.stddev) and self.stddev >= 0
        _check(good, f"{self.name}: stddev must be 0 or more, not {self.stddev}")

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, draws: Draws) -> Array:
        """Return normal draws of `shape`."""
        return self.mean + self.stddev * draws.normal(shape)


@dataclass(frozen=True)
class TruncatedNormal(Normal):
    """N(mean, stddev**2) drawn again where it falls beyond two standard deviations."""

    name: ClassVar[str] = "truncated_normal"

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, draws: Draws) -> Array:
        """Return truncated normal draws of `shape`."""
        drawn = draws.normal(shape)
        while (outside := np.abs(drawn) > 2).any():
            drawn[outside] = draws.normal(shape)[outside]
        return self.mean + self.stddev * drawn


@dataclass(frozen=True)
class Poisson(Initializer):
    """Poisson(rate) times `scale`, by inversion of the distribution function."""

    rate: float = 1.0
    scale: float = 1.0
    name: ClassVar[str] = "poisson"

    def __post_init__(self) -> None:
        _check_numbers(self, "rate", "scale")
        _check(0 < self.rate <= 500, f"poisson: rate must be above 0, at most 500: {self.rate}")

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, draws: Draws) -> Array:
        """Return scaled Poisson counts of `shape`."""
        counts = np.arange(int(self.rate + 20 * math.sqrt(self.rate) + 20))
        log_mass = counts * math.log(self.rate) - self.rate
        log_mass[1:] -= np.cumsum(np.log(counts[1:]))
        below = np.cumsum(np.exp(log_mass))
        return self.scale * np.searchsorted(below, draws.uniform(shape), side="right").astype(float)


@dataclass(frozen=True)
class _Scaled(Initializer):
    """Variance `gain` over the fan, drawn from a normal or a uniform distribution."""

    mode: Mode = "fan_in"
    gain: ClassVar[float]
    flat: ClassVar[bool]

    def __post_init__(self) -> None:
        if self.mode not in ("fan_in", "fan_out", "average"):
            raise unknown(f"mode of {self.name}", self.mode, ("fan_in", "fan_out", "average"))

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, draws: Draws) -> Array:
        """Return draws of `shape` with variance gain / fan."""
        fan = {"fan_in": fan_in, "fan_out": fan_out, "average": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.gain / max(1.0, fan))
        if self.flat:
            return stddev * math.sqrt(3) * (2 * draws.uniform(shape) - 1)
        return stddev * draws.normal(shape)


@dataclass(frozen=True)
class GlorotNormal(_Scaled):
    """N(0, 2 / (fan_in + fan_out)): Glorot and Bengio 2010. Not truncated, as in PyTorch."""

    mode: Mode = "average"
    name: ClassVar[str] = "glorot_normal"
    gain: ClassVar[float] = 1.0
    flat: ClassVar[bool] = False


@dataclass(frozen=True)
class GlorotUniform(_Scaled):
    """U(-a, a) with a = sqrt(6 / (fan_in + fan_out)): Glorot and Bengio 2010."""

    mode: Mode = "average"
    name: ClassVar[str] = "glorot_uniform"
    gain: ClassVar[float] = 1.0
    flat: ClassVar[bool] = True


@dataclass(frozen=True)
class HeNormal(_Scaled):
    """N(0, 2 / fan): He and others 2015. Not truncated, as in PyTorch."""

    name: ClassVar[str] = "he_normal"
    gain: ClassVar[float] = 2.0
    flat: ClassVar[bool] = False


@dataclass(frozen=True)
class HeUniform(_Scaled):
    """U(-a, a) with a = sqrt(6 / fan): He and others 2015."""

    name: ClassVar[str] = "he_uniform"
    gain: ClassVar[float] = 2.0
    flat: ClassVar[bool] = True


@dataclass(frozen=True)
class LecunNormal(_Scaled):
    """N(0, 1 / fan): LeCun and others 1998. Not truncated."""

    name: ClassVar[str] = "lecun_normal"
    gain: ClassVar[float] = 1.0
    flat: ClassVar[bool] = False


@dataclass(frozen=True)
class LecunUniform(_Scaled):
    """U(-a, a) with a = sqrt(3 / fan): LeCun and others 1998."""

    name: ClassVar[str] = "lecun_uniform"
    gain: ClassVar[float] = 1.0
    flat: ClassVar[bool] = True


INITIALIZERS: dict[str, type[Initializer]] = {
    kind.name: kind
    for kind in (
        Zeros, Constant, Uniform, Normal, TruncatedNormal, Poisson, GlorotUniform, GlorotNormal,
        HeUniform, HeNormal, LecunUniform, LecunNormal,
    )
}  # fmt: skip
INITIALIZERS["lecun"] = LecunNormal


def get(initializer: str | Initializer | dict[str, Any]) -> Initializer:
    """Return an initializer from its name, from itself, or from what `config` returned.

    Raises
    ------
    InputError
        For an unknown name or an unknown setting.
    """
    if isinstance(initializer, Initializer):
        return initializer
    settings = dict(initializer) if isinstance(initializer, dict) else {"name": initializer}
    name = settings.pop("name", None)
    kind = INITIALIZERS.get(str(name))
    if kind is None:
        raise unknown("initializer", name, INITIALIZERS)
    try:
        return kind(**settings)
    except TypeError as error:
        raise InputError(f"initializer {name}: {error}") from error
