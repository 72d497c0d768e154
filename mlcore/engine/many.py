"""Many networks of one shape: one program for each thread, and no Python while they train."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlcore.door import Inputs, Targets
from mlcore.engine.executor import NativeExecutor
from mlcore.kernels import native
from mlcore.plan import Plan, aligned_zeros

if TYPE_CHECKING:
    from mlcore.trainer import Interrupts


@dataclass(frozen=True)
class Trainee:
    """A network that is to be trained.

    Attributes
    ----------
    vectors : dict of str to ndarray
        Its parameters, and the state of its optimizer.
    inputs, targets : Inputs, Targets
    seed : int
        Of shuffling and noise.
    counts : tuple of int
        The epochs, steps and updates that it has made before.
    """

    vectors: dict[str, NDArray[Any]]
    inputs: Inputs
    targets: Targets
    seed: int
    counts: tuple[int, int, int]


@dataclass(frozen=True)
class Outcome:
    """How far a network was trained.

    Attributes
    ----------
    epochs, steps : int
        Whole epochs, and the steps after them.
    ending : str
        "whole", "halted" by Ctrl-C, "waiting" if it had not begun, or "not finite".
    totals : list of list of float
        Of each epoch that was begun the sums of losses, right answers and weights, and seconds.
    """

    epochs: int
    steps: int
    ending: str
    totals: list[list[float]]


def train_many(
    plan: Plan,
    trainees: list[Trainee],
    rates: list[float],
    *,
    shuffle: bool,
    workers: int,
    interrupts: Interrupts,
    look_every: float,
) -> list[Outcome]:
    """Train networks by the same native plan, `rates` being the learning rate of each epoch.

    Ctrl-C is looked for every so many seconds; every thread then ends after a whole step.
    """
    first = trainees[0]
    many, endings = native.many(
        np.array([_addresses(trainee.vectors.values()) for trainee in trainees], np.uintp),
        np.array([_addresses(_sources(trainee)) for trainee in trainees], np.uintp),
        np.array([trainee.seed for trainee in trainees], np.uint64),
        np.array([trainee.counts for trainee in trainees], np.int64),
        np.array(rates), samples=len(first.inputs), batch=plan.batch_size,
        group=plan.accumulation, shuffle=shuffle,
    )  # fmt: skip
    berths = [_berth(plan, first) for _ in range(min(workers, len(trainees)))]
    with ThreadPoolExecutor(len(berths)) as pool:
        try:
            running = [pool.submit(many.train, berth) for berth in berths]
            while wait(running, timeout=look_every).not_done:
                if interrupts.seen:
                    many.stop()
        finally:
            many.stop()
    for thread in running:
        thread.result()
    names = {code: name for name, code in endings.items()}
    return [
        Outcome(epochs, steps, names[ending], totals)
        for (epochs, steps, ending), totals in zip(
            many.reached.tolist(), many.totals.tolist(), strict=True
        )
    ]


def _berth(plan: Plan, trainee: Trainee) -> Any:
    """Return the program of one thread, with vectors of its own."""
    vectors = {
        name: aligned_zeros(vector.size, vector.dtype) for name, vector in trainee.vectors.items()
    }
    inputs = trainee.inputs
    executor = NativeExecutor(plan, vectors, inputs.array, trainee.targets, scale=inputs.scale)
    return native.berth(
        executor.program, list(vectors.values()), executor.memory, _addresses(_sources(trainee))
    )


def _sources(trainee: Trainee) -> list[NDArray[Any]]:
    targets = trainee.targets
    arrays = [trainee.inputs.array, targets.array, targets.classes, targets.weights]
    return [array for array in arrays if array is not None]


def _addresses(arrays: Any) -> list[int]:
    return [array.ctypes.data for array in arrays]
