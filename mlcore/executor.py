"""Runs a plan one kernel at a time: the readable definition of what training does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore.door import Targets
from mlcore.kernels import TABLE
from mlcore.plan import Buffer, Operation, Plan, Setting, Views, aligned_zeros

Index = NDArray[np.int64]


@dataclass
class Totals:
    """Sums over the samples of the steps that ran.

    Attributes
    ----------
    loss : float
        Of the losses, each times its sample's weight.
    correct : float
        Of the right answers, each of them one whatever its weight.
    samples : int
    weight : float
        Of the weights, which are one where none were given.
    """

    loss: float = 0.0
    correct: float = 0.0
    samples: int = 0
    weight: float = 0.0

    @property
    def mean_loss(self) -> float:
        """The weighted mean of the losses; zero where no sample has counted yet."""
        return self.loss / self.weight if self.weight else 0.0


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite; the message names where it came from.

    The parameters are those of the last whole step before it: finite, unless it was that step's
    update which broke them.

    Attributes
    ----------
    step : int
        The step of the epoch, from 0, whose batch gave the loss.
    layer, tensor : str
        Where the first non-finite number stands, in the order of the computation.
    """

    def __init__(self, step: int, layer: str, tensor: str, detail: str) -> None:
        super().__init__(detail)
        self.step, self.layer, self.tensor = step, layer, tensor


def with_gradients(plan: Plan, vectors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return `vectors` with a vector for the gradients, where the plan writes them."""
    written = any(b.place == "gradients" for op in plan.operations for b in op.buffers.values())
    if not written or "gradients" in vectors:
        return vectors
    parameters = vectors["parameters"]
    return {**vectors, "gradients": aligned_zeros(parameters.size, parameters.dtype)}


class PythonExecutor:
    """Walks the operations of a plan and calls the backend's kernel for each.

    Parameters
    ----------
    plan : Plan
    vectors : dict of str to ndarray
        The flat vectors that the plan cuts views from: parameters, optimizer state, and
        gradients where they are wanted.
    inputs : ndarray (n, features)
        uint8, float32 or float64, C-contiguous.
    targets : Targets or None
        The targets of the same samples; None for a plan without a loss.
    scale : float
        What the inputs are multiplied by.
    seed : int
        The seed of the noise layers.
    guard : bool
        Whether training stops at a loss that is not finite.
    """

    def __init__(
        self,
        plan: Plan,
        vectors: dict[str, NDArray[Any]],
        inputs: NDArray[Any],
        targets: Targets | None = None,
        *,
        scale: float = 1.0,
        seed: int = 0,
        guard: bool = True,
    ) -> None:
        self.plan = plan
        self.guard = guard
        self.vectors = with_gradients(plan, vectors)
        self.targets = targets
        self.arena = aligned_zeros(plan.arena_bytes, np.uint8)
        self.settings: dict[str, Any] = {"scale": scale, "seed": seed}
        self.data: Views = {"inputs": inputs}
        if targets is not None:
            self.data["targets"] = targets.array
            if targets.weights is not None:
                self.data["weights"] = targets.weights
        self._views: dict[int, Views] = {}
        updates = [op for op in plan.operations if op.phase in ("backward", "update")]
        # What forward moves: the running statistics of batch norm.
        self._running = [
            op.buffers[name].name
            for op in plan.operations
            for name, spec in TABLE[op.kernel].arrays.items()
            if op.phase == "forward" and spec.role == "inout" and self.guard
        ]
        self._before = plan.operations[: len(plan.operations) - len(updates)]
        self._after = updates

    def run(
        self,
        order: Index,
        first: int,
        last: int,
        *,
        step: int = 0,
        update: int = 0,
        learning_rate: float = 0.0,
        outputs: NDArray[Any] | None = None,
        totals: Totals | None = None,
    ) -> Totals:
        """Run steps `first` to `last` - 1 of a pass over `order`.

        Parameters
        ----------
        order : ndarray of int64
            The row numbers of the whole pass; step k takes the k-th batch of them.
        step, update : int
            How many steps the model has made before `first`, which noise counts on from, and
            how many its optimizer has made, which Adam counts on from.
        learning_rate : float
        outputs : ndarray, optional
            Where the model's outputs go, row k being that of ``order[k]``.
        totals : Totals, optional
            Sums over the steps before, which are added to; new ones by default.

        Steps whose gradients are added up make one update together: then the optimizer's own
        count is that of the groups, and the plan's updates follow the last step of each.

        Returns
        -------
        Totals

        Raises
        ------
        NonFiniteLossError
            As soon as the loss of a step that learns is not finite, before anything is updated
            from it; where `guard` is set.
        """
        totals = Totals() if totals is None else totals
        self.settings["learning_rate"] = learning_rate
        group = self.plan.accumulation
        with np.errstate(all="ignore"):
            for at in range(first, last):
                start = at * self.plan.batch_size
                rows = order[start : start + self.plan.batch_size]
                self.settings["step"] = step + at - first
                number = (update + at - first) % group
                self.settings["number"] = number
                self.settings["update"] = (update + at - first) // group + 1
                views = self._bind(rows)
                kept = {name: views[name].copy() for name in self._running}
                for operation in self._before:
                    self._call(operation, views)
                if outputs is not None:
                    outputs[start : start + len(rows)] = views[self._name(self.plan.outputs)]
                if self.plan.losses is not None:
                    loss = float(views[self.plan.losses.name].sum(dtype=np.float64))
                    weight = self._weight(views)
                    if self.plan.penalties is not None:
                        loss += weight * float(views[self.plan.penalties.name].sum())
                    if self._after and self.guard and not math.isfinite(loss):
                        error = self._diagnose(at, loss, views)
                        for name, values in kept.items():
                            views[name][...] = values
                        raise error
                    totals.loss += loss
                    totals.correct += self._correct(views)
                    totals.weight += weight
                totals.samples += len(rows)
                for operation in self._after:
                    if operation.phase == "update" and number + 1 < group:
                        break
                    self._call(operation, views)
        return totals

    def sync(self) -> None:
        """Bring the flat vectors up to date; here they always are."""

    def _bind(self, rows: Index) -> Views:
        if len(rows) not in self._views:
            views = self.plan.bind(self.vectors, self.arena, len(rows))
            self._views[len(rows)] = {**views, **self.data}
        views = self._views[len(rows)]
        views["rows"] = rows
        return views

    def _call(self, operation: Operation, views: Views) -> None:
        kernel = self.plan.backend.kernels[operation.kernel]
        kernel(*[self._value(value, views) for value in operation.arguments.values()])

    def _value(self, value: Any, views: Views) -> Any:
        if isinstance(value, Buffer):
            return views[value.name]
        return self.settings[value.name] if isinstance(value, Setting) else value

    def _name(self, buffer: Buffer | None) -> str:
        if buffer is None:
            raise ValueError("this plan has no such buffer")
        return buffer.name

    def _correct(self, views: Views) -> float:
        if self.targets is None or self.targets.judge is None:
            return 0.0
        return self.targets.judge(views[self._name(self.plan.outputs)], views["rows"])

    def _weight(self, views: Views) -> float:
        if self.plan.weights is None:
            return float(len(views["rows"]))
        return float(views[self.plan.weights.name].sum(dtype=np.float64))

    def _diagnose(self, at: int, loss: float, views: Views) -> NonFiniteLossError:
        """Name the first tensor, in the order of the computation, that is not finite."""
        for operation in self._before:
            arrays = TABLE[operation.kernel].arrays
            ordered = sorted(operation.buffers.items(), key=lambda item: arrays[item[0]].role)
            for _, buffer in ordered:
                array = views[buffer.name]
                if buffer.name == "inputs":
                    array = array[views["rows"]]
                if array.dtype.kind != "f" or np.isfinite(array).all():
                    continue
                place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
                detail = (
                    f"the loss became {loss} at step {at + 1}: the first non-finite tensor is "
                    f"{buffer.memory}, {array[place]} at {list(place)}, in {operation.kernel} of "
                    f"{operation.owner}"
                )
                return NonFiniteLossError(at, operation.owner, buffer.memory, detail)
        return NonFiniteLossError(
            at, "", "losses", f"the sum of losses overflowed at step {at + 1}"
        )
