"""Finds out what made a loss non-finite, for the executors that only notice that it is."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from mlcore.door import Targets
from mlcore.executor import Index, NonFiniteLossError, PythonExecutor
from mlcore.plan import Plan


def diagnose(
    plan: Plan,
    vectors: dict[str, NDArray[Any]],
    inputs: NDArray[Any],
    targets: Targets | None,
    order: Index,
    at: int,
    *,
    scale: float,
    seed: int,
    step: int,
    update: int,
) -> NonFiniteLossError:
    """Repeat a step one kernel at a time, on copies of `vectors`, and return what it finds.

    Parameters
    ----------
    plan, vectors, inputs, targets, scale, seed : as the executors take them
    order, at : the row numbers of the pass, and the number of the step in it
    step, update : as `PythonExecutor.run` takes them
    """
    copies = {name: vector.copy() for name, vector in vectors.items()}
    executor = PythonExecutor(plan, copies, inputs, targets, scale=scale, seed=seed)
    try:
        executor.run(order, at, at + 1, step=step, update=update)
    except NonFiniteLossError as error:
        return error
    # Another order of the additions than the first time.
    return NonFiniteLossError(at, "", "losses", f"the sum of losses overflowed at step {at + 1}")
