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
    running_loss, running_accuracy, seconds, samples_per_second : list of float
        Of each epoch; those after the whole ones mean nothing.
    broken : list of float
        The sums of losses, right answers and weights over the steps after the whole epochs.
    """

    epochs: int
    steps: int
    ending: str
    running_loss: list[float]
    running_accuracy: list[float]
    seconds: list[float]
    samples_per_second: list[float]
    broken: list[float]


class Trainings:
    """The trainings of many networks by the same native plan.

    Parameters
    ----------
    plan : Plan
    trainees : list of Trainee
    rates : list of float
        The learning rate of each epoch.
    shuffle : bool
    """

    def __init__(
        self, plan: Plan, trainees: list[Trainee], rates: list[float], *, shuffle: bool
    ) -> None:
        self.plan, self.trainees = plan, trainees
        self.samples = len(trainees[0].inputs)
        self._many, self._endings = native.many(
            np.array([_addresses(trainee.vectors.values()) for trainee in trainees], np.uintp),
            np.array([_addresses(_sources(trainee)) for trainee in trainees], np.uintp),
            np.array([trainee.seed for trainee in trainees], np.uint64),
            np.array([trainee.counts for trainee in trainees], np.int64),
            np.array(rates), samples=self.samples, batch=plan.batch_size,
            group=plan.accumulation, shuffle=shuffle,
        )  # fmt: skip

    def run(self, workers: int, interrupts: Interrupts, look_every: float) -> None:
        """Train on so many threads; Ctrl-C, looked for every so many seconds, ends whole steps."""
        trainees = self.trainees
        berths = [_berth(self.plan, trainees[0]) for _ in range(min(workers, len(trainees)))]
        with ThreadPoolExecutor(len(berths)) as pool:
            try:
                running = [pool.submit(self._many.train, berth) for berth in berths]
                while wait(running, timeout=look_every).not_done:
                    if interrupts.seen:
                        self._many.stop()
            finally:
                self._many.stop()
        for thread in running:
            thread.result()

    def outcomes(self) -> list[Outcome]:
        """Return how far each network came, however `run` ended."""
        names = {code: name for name, code in self._endings.items()}
        losses, right, weights, seconds = self._many.totals.transpose(2, 0, 1)
        reached = self._many.reached
        with np.errstate(divide="ignore", invalid="ignore"):
            means = np.where(weights, losses / weights, 0)
            speeds = self.samples / seconds
        columns = [array.tolist() for array in (means, right / self.samples, seconds, speeds)]
        last = np.minimum(reached[:, 0], losses.shape[1] - 1)
        broken = self._many.totals[np.arange(len(reached)), last, :3].tolist()
        return [
            Outcome(epochs, steps, names[ending], *numbers)
            for (epochs, steps, ending), *numbers in zip(
                reached.tolist(), *columns, broken, strict=True
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
    # Quicker than `ctypes.data`, and there are thousands.
    return [array.__array_interface__["data"][0] for array in arrays]
