"""Learning-rate schedules: one factor per epoch, times the optimizer's base learning rate."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

from mlcore.kernels.errors import InputError, unknown


class Schedule(ABC):
    """How the learning rate changes over a training run.

    The trainer asks once before every epoch and trains that epoch with
    ``base_rate * schedule.factor(epoch, epochs)``.
    """

    @abstractmethod
    def factor(self, epoch: int, epochs: int) -> float:
        """Return the factor on the base learning rate.

        Parameters
        ----------
        epoch : int
            Index of the epoch that is about to begin, zero-based: 0 .. epochs - 1.
        epochs : int
            How many epochs the whole run has.

        Returns
        -------
        float
            Finite and at least 0.

        Raises
        ------
        InputError
            If `epoch` is not one of the run's epochs, or the schedule does not fit `epochs`.
        """

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return name and arguments as JSON-able values, from which `get` makes the schedule."""

    @abstractmethod
    def __repr__(self) -> str: ...


class _Named(Schedule):
    """A schedule known by name, told apart from others by its arguments alone."""

    def __init__(self, **arguments: Any) -> None:
        self._arguments = arguments

    def config(self) -> dict[str, Any]:
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in self._arguments.items()}
        return {"name": type(self).__name__.lower(), **plain}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
        return f"{type(self).__name__}({arguments})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(repr(self))


class Constant(_Named):
    """The base learning rate throughout.

    >>> Constant().factor(49, 50)
    1.0
    """

    def __init__(self) -> None:
        super().__init__()

    def factor(self, epoch: int, epochs: int) -> float:
        _check_epoch(epoch, epochs)
        return 1.0


class Step(_Named):
    """The rate multiplied by a constant at given fractions of the run.

    From the first epoch (zero-based) with ``epoch >= fraction * epochs`` on, the rate is
    multiplied by `factor`, once for every fraction reached. With 50 epochs and the defaults,
    epochs 0 .. 24 run at the base rate, 25 .. 38 at a half and 39 .. 49 at a quarter of it.

    Parameters
    ----------
    fractions : float or iterable of float
        Fractions of the run, increasing, each above 0 and below 1.
    factor : float
        What every step multiplies the rate by; above 0.

    Raises
    ------
    InputError
        If an argument is out of range.

    Examples
    --------
    >>> schedule = Step()
    >>> [schedule.factor(epoch, 50) for epoch in (24, 25, 38, 39)]
    [1.0, 0.5, 0.5, 0.25]
    """

    def __init__(
        self, fractions: float | Iterable[float] = (0.5, 0.78), factor: float = 0.5
    ) -> None:
        if isinstance(fractions, str) or not isinstance(fractions, Iterable):
            fractions = [fractions]
        self._fractions = tuple(
            _number("step", "fractions", fraction, above=0, below=1) for fraction in fractions
        )
        if not self._fractions or any(
            later <= earlier
            for earlier, later in zip(self._fractions, self._fractions[1:], strict=False)
        ):
            raise InputError(
                f"step needs at least one fraction, and fractions that increase, not "
                f"{list(self._fractions)}; give them as in Step((0.5, 0.78))"
            )
        self._factor = _number("step", "factor", factor, above=0)
        super().__init__(fractions=self._fractions, factor=self._factor)

    def factor(self, epoch: int, epochs: int) -> float:
        _check_epoch(epoch, epochs)
        # A quotient of integers is rounded once, as the literal 0.56 is, so they compare as the
        # decimal numbers do; 0.56 * 100 is above 56 and would step an epoch late.
        steps = sum(epoch / epochs >= fraction for fraction in self._fractions)
        return float(self._factor**steps)


class Exponential(_Named):
    """The rate multiplied by a constant after every epoch: ``factor = decay ** epoch``.

    Parameters
    ----------
    decay : float
        Above 0 and at most 1.

    Raises
    ------
    InputError
        If `decay` is out of range.

    Examples
    --------
    >>> Exponential(0.5).factor(3, 50)
    0.125
    """

    def __init__(self, decay: float = 0.95) -> None:
        self._decay = _number("exponential", "decay", decay, above=0, most=1)
        super().__init__(decay=self._decay)

    def factor(self, epoch: int, epochs: int) -> float:
        _check_epoch(epoch, epochs)
        return self._decay**epoch


class Cosine(_Named):
    """A cosine from the base rate down to a minimum, with warm-up and warm restarts if wanted.

    Within a cycle of ``T`` epochs, ``t`` of them done,

        factor = minimum + (1 - minimum) * (1 + cos(pi * t / T)) / 2,

    equation 5 of Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
    ICLR 2017, evaluated once per epoch: every cycle begins at exactly 1, and its last epoch
    stands one step of ``t`` above the minimum.

    Parameters
    ----------
    warmup : float
        Fraction of the run, at least 0 and below 1, in which the factor rises linearly from
        `minimum`. It is rounded to ``W`` whole epochs and leaves at least one for the cosine;
        epoch ``e < W`` has ``minimum + (1 - minimum) * (e + 1) / (W + 1)``.
    cycles : int
        How many cosines share the epochs after the warm-up, at least 1. Where the epochs cannot
        be shared evenly, cycles differ in length by one epoch.
    minimum : float
        The lowest factor, at least 0 and below 1.

    Raises
    ------
    InputError
        If an argument is out of range; from `factor`, if there are fewer epochs than cycles.

    Examples
    --------
    >>> schedule = Cosine(cycles=2, minimum=0.5)
    >>> [round(schedule.factor(epoch, 8), 3) for epoch in range(8)]
    [1.0, 0.927, 0.75, 0.573, 1.0, 0.927, 0.75, 0.573]
    """

    def __init__(self, warmup: float = 0.0, cycles: int = 1, minimum: float = 0.0) -> None:
        self._warmup = _number("cosine", "warmup", warmup, least=0, below=1)
        self._cycles = int(_number("cosine", "cycles", cycles, least=1))
        if self._cycles != cycles:
            raise InputError(f"cosine's cycles has the value {cycles!r}; it must be whole")
        self._minimum = _number("cosine", "minimum", minimum, least=0, below=1)
        super().__init__(warmup=self._warmup, cycles=self._cycles, minimum=self._minimum)

    def factor(self, epoch: int, epochs: int) -> float:
        _check_epoch(epoch, epochs)
        rise = min(round(self._warmup * epochs), epochs - 1)
        if epochs - rise < self._cycles:
            raise InputError(
                f"cosine cannot share {epochs - rise} epochs among {self._cycles} cycles; train "
                f"for at least {rise + self._cycles} epochs or ask for fewer cycles"
            )
        if epoch < rise:
            height = (epoch + 1) / (rise + 1)
        else:
            done, total = epoch - rise, epochs - rise
            # Cycle i runs from epoch i * total // cycles; the last one begun is the current one.
            cycle = ((done + 1) * self._cycles - 1) // total
            begin, end = (i * total // self._cycles for i in (cycle, cycle + 1))
            height = (1 + math.cos(math.pi * (done - begin) / (end - begin))) / 2
        return self._minimum + (1 - self._minimum) * height


class Function(Schedule):
    """Any function ``f(epoch) -> factor`` of the zero-based epoch, as PyTorch's ``LambdaLR``.

    Parameters
    ----------
    function : callable
        Takes the epoch's index and returns a factor, finite and at least 0.

    Raises
    ------
    InputError
        From `factor`, naming the epoch, if the function returns anything else.

    Examples
    --------
    >>> Function(lambda epoch: 1 / (1 + epoch)).factor(4, 50)
    0.2
    """

    def __init__(self, function: Callable[[int], float]) -> None:
        self._function = function

    def factor(self, epoch: int, epochs: int) -> float:
        _check_epoch(epoch, epochs)
        factor: object = self._function(epoch)
        if not isinstance(factor, Real) or not math.isfinite(factor) or factor < 0:
            raise InputError(
                f"schedule {self!r} returned {factor!r} for epoch {epoch} (zero-based); it must "
                f"return a finite factor of at least 0"
            )
        return float(factor)

    def config(self) -> dict[str, Any]:
        """Return the function's name, for the record only: code is not saved."""
        return {"name": "function", "function": self._label()}

    def __repr__(self) -> str:
        return f"Function({self._label()})"

    def _label(self) -> str:
        return str(getattr(self._function, "__qualname__", type(self._function).__qualname__))


SCHEDULES: dict[str, type[_Named]] = {
    kind.__name__.lower(): kind for kind in (Constant, Step, Exponential, Cosine)
}


def get(schedule: Schedule | str | Callable[[int], float] | Mapping[str, Any] | None) -> Schedule:
    """Return the schedule that an argument, a command line or a checkpoint asks for.

    Parameters
    ----------
    schedule : Schedule, str, callable, dict or None
        None is `Constant()`; a callable ``f(epoch) -> factor`` becomes a `Function`; a dict is
        what `Schedule.config` returned. A string is ``name`` or ``name:item,item,...``. An item
        is ``key=value`` or a plain value; plain values come first and fill the arguments in
        their order, except that all plain values of ``step`` are fractions::

            step    step:0.5,0.78    step:0.3,0.6,0.9,factor=0.1    exponential:0.9
            cosine:0.1    cosine:warmup=0.1,cycles=2    constant

    Returns
    -------
    Schedule

    Raises
    ------
    InputError
        If a name, a key or a value is wrong, or a dict stands for a function.

    Examples
    --------
    >>> get("cosine:warmup=0.1,cycles=2")
    Cosine(warmup=0.1, cycles=2, minimum=0.0)
    """
    if schedule is None:
        return Constant()
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, str):
        return _from_spec(schedule)
    if isinstance(schedule, Mapping):
        return _from_config(schedule)
    if isinstance(schedule, type):
        raise InputError(
            f"the schedule is the class {schedule.__name__}; give an object: {schedule.__name__}()"
        )
    if callable(schedule):
        return Function(schedule)
    raise InputError(
        f"a schedule cannot be {schedule!r}; give a Schedule, a name such as 'step', a function "
        f"of the epoch, or None"
    )


def _from_spec(spec: str) -> Schedule:
    name, colon, rest = (part.strip() for part in spec.partition(":"))
    keys = _keys(name)
    items = [item.strip() for item in rest.split(",")] if colon else []
    arguments: dict[str, Any] = {}
    plain: list[float] = []
    for item in items:
        key, equals, text = (part.strip() for part in item.partition("="))
        if not equals:
            if arguments:
                raise InputError(
                    f"schedule {spec!r}: {item!r} comes after a key=value; put plain values first"
                )
            plain.append(_parse(item, spec))
        elif key in arguments:
            raise InputError(f"schedule {spec!r} gives {key} twice; give it once")
        else:
            arguments[key] = _parse(text, spec)
    if name == "step" and plain:
        positional: dict[str, Any] = {"fractions": plain}
    elif len(plain) > len(keys):
        raise InputError(
            f"schedule {spec!r} gives {len(plain)} values; {name} takes at most {len(keys)}"
        )
    else:
        positional = dict(zip(keys, plain, strict=False))
    for key in positional.keys() & arguments.keys():
        raise InputError(f"schedule {spec!r} gives {key} twice; give it once")
    return _make(name, positional | arguments)


def _from_config(config: Mapping[str, Any]) -> Schedule:
    arguments = dict(config)
    name = arguments.pop("name", None)
    if name == "function":
        raise InputError(
            f"the saved schedule was the function {arguments.get('function')!r}, and functions "
            f"are not saved; give the function again"
        )
    return _make(name, arguments)


def _make(name: object, arguments: dict[str, Any]) -> Schedule:
    keys = _keys(name)
    for key in arguments:
        if key not in keys:
            if not keys:
                raise InputError(f"schedule {name!r} takes no arguments; leave out {key!r}")
            raise unknown(f"argument of schedule {name!r}:", key, keys)
    return SCHEDULES[str(name)](**arguments)


def _keys(name: object) -> list[str]:
    """Return the argument names of the schedule called `name`, in order."""
    if not isinstance(name, str) or name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    return list(inspect.signature(SCHEDULES[name]).parameters)


def _parse(text: str, spec: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"schedule {spec!r}: {text!r} is not a number; write it as in "
            f"'step:0.5,0.78,factor=0.5' or 'cosine:warmup=0.1,cycles=2'"
        ) from None


def _number(
    schedule: str,
    name: str,
    value: object,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
) -> float:
    """Return `value` as a float, or raise with the range that it must lie in."""
    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and above < number < below and least <= number <= most:
            return number
    bounds = (("above", above), ("at least", least), ("below", below), ("at most", most))
    limits = " and ".join(f"{word} {bound:g}" for word, bound in bounds if math.isfinite(bound))
    raise InputError(f"{schedule}'s {name} has the value {value!r}; it must be a number {limits}")


def _check_epoch(epoch: int, epochs: int) -> None:
    if not 0 <= epoch < epochs:
        raise InputError(
            f"epoch {epoch} is not one of a run's {epochs} epochs, which are numbered from 0"
        )
