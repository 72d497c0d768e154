"""Which settings to try: every combination, or random draws."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mlcore.kernels.errors import InputError, is_number

Setting = dict[str, Any]


def grid(**values: Iterable[Any]) -> list[Setting]:
    """Return every combination of the values, the last name varying fastest.

    Parameters
    ----------
    **values : iterable
        The values of each setting. Arrays give Python numbers.

    Returns
    -------
    list of dict
        A dict for each combination; one empty dict where no setting is named.

    Raises
    ------
    InputError
        For what is not a list of values, or is empty.

    Examples
    --------
    >>> grid(width=[16, 32], activation=["relu"])
    [{'width': 16, 'activation': 'relu'}, {'width': 32, 'activation': 'relu'}]
    """
    lists = [_values(name, given) for name, given in values.items()]
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*lists)]


class Distribution(Protocol):
    """What `draws` draws a setting from."""

    def draw(self, generator: np.random.Generator, n: int) -> list[Any]:
        """Return `n` values; fewer from the same generator are the first of these."""


def draws(n: int, /, seed: int = 0, **distributions: Distribution | Iterable[Any]) -> list[Setting]:
    """Return settings drawn at random, each from its own distribution.

    Each name has a random stream of its own, so a larger `n` adds to the settings of a smaller
    one, and another name leaves the values of the others as they were. Such a search is seldom
    worse than a grid of as many points (Bergstra and Bengio, JMLR 13, 2012).

    Parameters
    ----------
    n : int
        How many settings.
    seed : int
        From 0; the same seed gives the same settings.
    **distributions : Distribution, or list of values to choose from with equal chances
        `uniform`, `log_uniform`, `whole`, or an object with their method ``draw``.

    Returns
    -------
    list of dict

    Raises
    ------
    InputError
        For numbers out of range, and what is neither a distribution nor a list.

    Examples
    --------
    >>> found = draws(2, seed=0, rate=log_uniform(1e-4, 1e-1), activation=["relu", "tanh"])
    >>> [sorted(setting) for setting in found]
    [['activation', 'rate'], ['activation', 'rate']]
    """
    count, first = _whole("n", n, 1), _whole("seed", seed, 0)
    columns = []
    for name, given in distributions.items():
        source = given if hasattr(given, "draw") else _Choice(_values(name, given))
        # PCG64 by name, because default_rng may come to mean another generator.
        entropy = np.random.SeedSequence([first, *name.encode()])
        columns.append(source.draw(np.random.Generator(np.random.PCG64(entropy)), count))
    return [{name: column[i] for name, column in zip(distributions, columns, strict=True)}
            for i in range(count)]  # fmt: skip


@dataclass(frozen=True)
class _Choice:
    values: list[Any]

    def draw(self, generator: np.random.Generator, n: int) -> list[Any]:
        return [self.values[int(u * len(self.values))] for u in generator.random(n)]


@dataclass(frozen=True)
class _Range:
    """Numbers between two bounds, evenly or so that every factor is as likely as any other."""

    low: float
    high: float
    log: bool

    def draw(self, generator: np.random.Generator, n: int) -> list[Any]:
        u = generator.random(n)
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            drawn = np.exp(low + u * (high - low))
        else:
            drawn = self.low + u * (self.high - self.low)
        # Rounding of the logarithms may leave the range by a last bit.
        values: list[Any] = np.clip(drawn, self.low, self.high).tolist()
        return values


@dataclass(frozen=True)
class _Whole:
    low: int
    high: int
    log: bool

    def draw(self, generator: np.random.Generator, n: int) -> list[Any]:
        drawn = _Range(self.low, self.high + 1, self.log).draw(generator, n)
        return [min(self.high, math.floor(value)) for value in drawn]


def uniform(low: float, high: float) -> Distribution:
    """Return the distribution of numbers between `low` and `high`, all equally likely."""
    return _Range(*_bounds(low, high, log=False), log=False)


def log_uniform(low: float, high: float) -> Distribution:
    """Return the distribution of numbers whose logarithm is uniform; for rates and strengths.

    Raises
    ------
    InputError
        Unless 0 < `low` <= `high`.
    """
    return _Range(*_bounds(low, high, log=True), log=True)


def whole(low: int, high: int, *, log: bool = False) -> Distribution:
    """Return the distribution of the whole numbers from `low` to `high`, both included.

    Parameters
    ----------
    low, high : int
    log : bool
        Whether small numbers are likelier, as in `log_uniform`; for widths and batch sizes.
    """
    _bounds(low, high, log=log)
    return _Whole(_whole("low", low), _whole("high", high), bool(log))


def _bounds(low: Any, high: Any, *, log: bool) -> tuple[float, float]:
    if not (is_number(low) and is_number(high) and low <= high and (low > 0 or not log)):
        least = "0 < low <= high" if log else "low <= high"
        raise InputError(f"a range from {low!r} to {high!r}: give numbers with {least}")
    return float(low), float(high)


def _values(name: str, given: Any) -> list[Any]:
    """Return the values of a setting as a list, those of an array as Python numbers."""
    if isinstance(given, str | bytes | Mapping | set | frozenset) or not isinstance(
        given, Iterable
    ):
        raise InputError(
            f"the setting {name!r} is {given!r}: give a list of values, as [{given!r}] for one"
        )
    values = [value.item() if isinstance(value, np.generic) else value for value in given]
    if not values:
        raise InputError(f"the setting {name!r} has no values: give one at least")
    return values


def _whole(name: str, value: Any, least: int | None = None) -> int:
    wrong = isinstance(value, bool) or not isinstance(value, int | np.integer)
    if wrong or (least is not None and value < least):
        bound = "" if least is None else f", {least} or more"
        raise InputError(f"{name} must be a whole number{bound}, not {value!r}")
    return int(value)
