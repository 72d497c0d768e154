"""The clock: contenders take turns, so that a slow second of the machine strikes all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import repeat

# Each contender's turns, and the least time between two looks at the clock.
TURNS = 5
LEAST_SAMPLE = 5e-5


def interleaved(functions: Sequence[Callable[[], object]], seconds: float) -> list[list[float]]:
    """Time functions in turns: A B A B ...

    Parameters
    ----------
    functions : sequence of callable
        Each runs once before every turn, uncounted, so that its data is warm.
    seconds : float
        For each function, over all of its turns; a function that takes longer has one sample a
        turn.

    Returns
    -------
    list of list of float
        The samples of each function, in seconds a call.
    """
    calls = [_calls_a_sample(function) for function in functions]
    samples: list[list[float]] = [[] for _ in functions]
    for _ in range(TURNS):
        for function, count, taken in zip(functions, calls, samples, strict=True):
            function()
            ends = time.perf_counter() + seconds / TURNS
            now = 0.0
            while now < ends:
                began = time.perf_counter()
                for _ in repeat(None, count):
                    function()
                now = time.perf_counter()
                taken.append((now - began) / count)
    return samples


def _calls_a_sample(function: Callable[[], object]) -> int:
    """Return after how many calls to look at the clock, which itself takes time."""
    function()
    began = time.perf_counter()
    function()
    return 1 + int(LEAST_SAMPLE / max(time.perf_counter() - began, 1e-7))
