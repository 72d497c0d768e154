"""What a side is: the same work, trained by somebody's library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from workloads import Real, Workload


class CannotError(Exception):
    """A side cannot do this work; the message says why."""


@dataclass(frozen=True)
class Work:
    """What every side is handed.

    Attributes
    ----------
    workload : Workload
    x, y : ndarray
        Inputs (n, features), and labels (n,) or targets (n, outputs).
    initial : ndarray
        The parameters to start from, as `Workload.split` divides them.
    orders : ndarray (epochs, n)
        The order of the samples in each epoch; later epochs go through these again.
    """

    workload: Workload
    x: Real
    y: NDArray[Any]
    initial: Real
    orders: NDArray[np.int64]

    @property
    def steps(self) -> int:
        """The steps of an epoch."""
        return len(self.x) // self.workload.batch_size

    @property
    def batches(self) -> NDArray[np.int64]:
        """The orders as (epochs, steps, batch)."""
        return self.orders.reshape(len(self.orders), self.steps, -1)

    @property
    def whole(self) -> bool:
        """Whether a step takes all samples as they lie, so that nothing need be gathered."""
        return self.steps == 1 and not self.workload.shuffle


class Side(ABC):
    """A library set up for some work: data converted, functions compiled.

    Parameters
    ----------
    work : Work
    threads : int

    Raises
    ------
    CannotError
        Where the library has no such layer or loss.
    """

    @abstractmethod
    def __init__(self, work: Work, threads: int) -> None: ...

    @abstractmethod
    def reset(self) -> None:
        """Go back to the initial parameters, with a new optimizer."""

    @abstractmethod
    def train(self, epochs: int) -> None:
        """Train for so many epochs, and wait for the end of it."""

    @abstractmethod
    def parameters(self) -> Real:
        """Return the parameters as `Workload.split` divides them."""

    @property
    def seconds(self) -> float | None:
        """What the last `train` took by the side's own clock, where it has one."""
        return None

    @staticmethod
    @abstractmethod
    def version() -> str:
        """Return the library's version."""
