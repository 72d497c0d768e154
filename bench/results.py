"""What was measured of a workload: timed slices, losses, and the figures made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from workloads import Workload

# A slice counts when the FMA peak around it was at least this share of the best one seen, and its
# threads stood waiting for a processor for no more than this share of their time. More is allowed
# to a side whose every slice waits a little: its own threads take turns on the processors.
CLEAN, WAITED, TURNS = 0.93, 0.02, 0.1

# How far a side may be from mlcore after the verified epochs (the loss) and after their first
# steps (the parameters), as shares of how far mlcore came from the start: rounding, which
# training amplifies, stays far below; a wrong rate, order, loss scale or activation does not.
# Noise is drawn anew by every side, so only the loss says something.
LOSS_TOLERANCE, PARAMETER_TOLERANCE, NOISE_TOLERANCE = 0.001, 0.01, 0.02


@dataclass(frozen=True)
class Slice:
    """Some timed epochs.

    Attributes
    ----------
    seconds : float
    steps : int
    peak : float
        The lower one of the FMA peaks of a core before and after it, GFLOP/s.
    waited : float
        The share of their time that its threads waited for a processor.
    """

    seconds: float
    steps: int
    peak: float
    waited: float


@dataclass(frozen=True)
class Ending:
    """Where a side stood after the verified epochs.

    Attributes
    ----------
    loss : float
        On a fixed part of the data, without noise, computed in float64 by one function for all.
    apart : float
        The distance of its parameters from mlcore's after the first steps, divided by mlcore's way
        from the start.
    """

    loss: float
    apart: float


@dataclass
class Result:
    """A workload on so many threads.

    Attributes
    ----------
    workload : Workload
    threads, samples, steps : int
        The steps are those of the verified epochs.
    start : float
        The loss before them.
    endings : dict of str to Ending
    slices : dict of str to list of Slice
    times : dict of str to list of float
        Seconds a step of the slices that count, once `settle` was called.
    dropped : dict of str to int
        How many slices do not count.
    none_clean : list of str
        The sides that had no clean slice, so that the cleaner half of them counts.
    peak : float
        GFLOP/s of one core, the best seen.
    """

    workload: Workload
    threads: int
    samples: int
    steps: int
    start: float
    endings: dict[str, Ending] = field(default_factory=dict)
    slices: dict[str, list[Slice]] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    none_clean: list[str] = field(default_factory=list)
    peak: float = math.nan

    def settle(self, best: float) -> None:
        """Choose the slices that count, given the best FMA peak of the sitting."""
        self.peak = best
        for side, slices in self.slices.items():
            limit = WAITED + min(TURNS, *(each.waited for each in slices))
            kept = [each for each in slices if each.peak >= CLEAN * best and each.waited <= limit]
            if not kept:
                self.none_clean.append(side)
                cleanest = sorted(slices, key=lambda each: each.waited - each.peak / best)
                kept = cleanest[: -(-len(slices) // 2)]
            self.times[side] = [each.seconds / each.steps for each in kept]
            self.dropped[side] = len(slices) - len(kept)

    def minimum(self, side: str) -> float:
        """Return the least seconds a step."""
        return min(self.times[side])

    def median(self, side: str) -> float:
        """Return the median seconds a step."""
        return median(self.times[side])

    @property
    def share(self) -> float:
        """mlcore's share of the FMA peak of all its threads, in its fastest slice."""
        rate = self.workload.flops / self.minimum("mlcore") / 1e9
        return rate / (self.peak * self.threads)

    def unequal(self) -> list[str]:
        """Return the sides that did not train what mlcore trained."""
        ours = self.endings["mlcore"].loss
        way = abs(self.start - ours)
        found = []
        for side, ending in self.endings.items():
            off = abs(ending.loss - ours) / way if way else math.inf
            if self.workload.noise:
                equal = off <= NOISE_TOLERANCE
            else:
                equal = off <= LOSS_TOLERANCE and ending.apart <= PARAMETER_TOLERANCE
            if not equal:
                found.append(side)
        return found

    def as_json(self) -> dict[str, Any]:
        """Return everything, as JSON knows it."""
        return {
            "workload": self.workload.name,
            "threads": self.threads,
            "samples": self.samples,
            "batch_size": self.workload.batch_size,
            "flops": self.workload.flops,
            "fma_peak_gflops": self.peak,
            "share": self.share,
            "verified": {
                "steps": self.steps,
                "start": self.start,
                "unequal": self.unequal(),
                "sides": {side: vars(ending) for side, ending in self.endings.items()},
            },
            "sides": {
                side: {
                    "minimum": self.minimum(side),
                    "median": self.median(side),
                    "dropped": self.dropped[side],
                    "none_clean": side in self.none_clean,
                    "slices": [vars(each) for each in slices],
                }
                for side, slices in self.slices.items()
            },
        }
