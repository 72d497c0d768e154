"""Random generators held still, so that a function with random numbers is one function.

Dropout draws a mask in every forward pass. Its derivative exists for one mask: before each pass
the generators that the code can reach are set back to where they were.
"""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

State = Any
MOST_THINGS = 2000
Knob = tuple[Callable[[], State], Callable[[State], None]]


def _global_knobs() -> Iterator[Knob]:
    yield (
        lambda: np.random.get_state(legacy=False),  # noqa: NPY002
        np.random.set_state,
    )
    yield random.getstate, random.setstate
    torch = sys.modules.get("torch")
    if torch is not None:
        yield torch.get_rng_state, torch.set_rng_state


def _knob(generator: Any) -> Knob | None:
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        return lambda: bits.state, lambda state: setattr(bits, "state", state)
    if isinstance(generator, np.random.RandomState):
        return lambda: generator.get_state(legacy=False), generator.set_state
    if isinstance(generator, random.Random):
        return generator.getstate, generator.setstate
    return None


def reachable(thing: Any, depth: int = 3) -> Iterator[Any]:
    """Yield what a function or an object can reach: globals it names, closure, attributes."""
    seen: set[int] = set()
    todo: list[tuple[Any, int]] = [(thing, depth)]
    while todo and len(seen) < MOST_THINGS:
        current, left = todo.pop()
        if id(current) in seen or isinstance(current, type(sys)):
            continue
        seen.add(id(current))
        yield current
        if left == 0:
            continue
        function = getattr(current, "__func__", current)
        code = getattr(function, "__code__", None)
        found: list[Any] = []
        if code is not None:
            scope = function.__globals__
            found += [scope[name] for name in code.co_names if name in scope]
            found += [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
            found += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        owner = getattr(current, "__self__", None)
        if owner is not None and not isinstance(owner, type(sys)):
            found.append(owner)
        if isinstance(current, (list, tuple)):
            found += current[:100]
        elif isinstance(current, dict):
            found += list(current.values())[:100]
        elif code is None and hasattr(current, "__dict__") and not isinstance(current, type):
            found += vars(current).values()
        todo += [(item, left - 1) for item in found]


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


class Frozen:
    """The random state that some code can reach, as it was when this was made.

    Parameters
    ----------
    things : iterable
        Functions and objects, whose generators are looked for.
    """

    def __init__(self, things: Iterable[Any]) -> None:
        self._knobs = list(_global_knobs())
        for thing in things:
            for found in reachable(thing):
                knob = _knob(found)
                if knob is not None:
                    self._knobs.append(knob)
        self._states = self.look()
        self._used: list[int] | None = None

    def learn(self) -> None:
        """Remember which generators a pass has moved: only these are set back from now on."""
        moved = [at for at, state in enumerate(self.look()) if not _same(state, self._states[at])]
        self._used = sorted({*(self._used or ()), *moved})

    def look(self) -> list[State]:
        """Return the states as they are now."""
        return [copy.deepcopy(read()) for read, _ in self._knobs]

    def moved_since(self, states: list[State]) -> bool:
        """Tell whether a random number was drawn since `states` were looked up."""
        now = self.look()
        return not all(_same(one, other) for one, other in zip(now, states, strict=True))

    def restore_all(self) -> None:
        """Set every generator back, moved or not."""
        self.put_back(self._states)

    def put_back(self, states: list[State]) -> None:
        """Set every generator to what `look` returned."""
        for (_, write), state in zip(self._knobs, states, strict=True):
            write(state)

    @property
    def random(self) -> bool:
        """Whether a pass was seen to draw random numbers."""
        return bool(self._used)

    def restore(self) -> None:
        """Set the generators back."""
        for at in range(len(self._knobs)) if self._used is None else self._used:
            self._knobs[at][1](self._states[at])


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if hasattr(one, "numpy"):
        return bool((one == other).all())
    return bool(one == other)


def numbers_in_reach(things: Iterable[Any]) -> frozenset[float]:
    """Return the numbers that code mentions: literals, defaults, globals, attributes."""
    found: set[float] = set()
    for thing in things:
        for item in reachable(thing):
            code = getattr(getattr(item, "__func__", item), "__code__", None)
            for value in (item, *(code.co_consts if code is not None else ())):
                if isinstance(value, (int, float)) and not isinstance(value, bool) and value:
                    found.add(abs(float(value)))
    return frozenset(found)


def arrays_in_reach(things: Iterable[Any]) -> list[np.ndarray[Any, Any]]:
    """Return the arrays that code refers to."""
    found = [item for thing in things for item in reachable(thing)]
    return [item for item in found if isinstance(item, np.ndarray)]
