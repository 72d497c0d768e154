"""Runs a plan on a CUDA device: data, parameters and state stay there while it trains.

A step reads all that changes from step to step (which rows, which step, which learning rate) from
numbers on the device, and counts on by itself. So a step that was recorded once as a CUDA graph
does for all of them; a graph of several steps costs the host no more than a graph of one.

A loss that is not finite sets a flag on the device. From then on every kernel of the steps that
stand in the queue does nothing, and parameters and counters stay as the last whole step left them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore.door import Targets
from mlcore.engine.diagnosis import diagnose
from mlcore.executor import Index, Totals
from mlcore.kernels import TABLE
from mlcore.plan import Buffer, Operation, Plan, Setting

# An array on the device.
Device = Any

STEPS_A_GRAPH = 16


class DeviceExecutor:
    """Runs a plan of the CuPy backend, and gives what `PythonExecutor` gives, to rounding.

    Takes what `PythonExecutor` takes. `vectors` are brought up to date by `sync`, after which
    they may be changed.

    Parameters
    ----------
    lender : DeviceExecutor, optional
        An executor that trains the same model, whose parameters, and data where they are the
        same, are used where they are.
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
        lender: DeviceExecutor | None = None,
    ) -> None:
        self.plan, self.vectors, self.inputs, self.targets = plan, vectors, inputs, targets
        self.scale, self.seed = scale, seed
        places = {b.place for op in plan.operations for b in op.buffers.values()}
        self._flat = places - {"arena", "scratch", "data"}
        lends = lender and all(vectors.get(name) is lender.vectors[name] for name in self._flat)
        self.lender = lender = lender if lends else None
        self.launch = plan.backend.module.launch
        updates = [op for op in plan.operations if op.phase in ("backward", "update")]
        self._before = plan.operations[: len(plan.operations) - len(updates)]
        self._after = updates
        self.guard = guard and bool(updates)
        self.ahead = self.fresh = False
        self.stream: Any = lender.stream if lender else self.launch.new_stream()
        # By the identity of what was copied: labels are targets and classes in one.
        self._copies: dict[int, tuple[NDArray[Any], Device]] = lender._copies if lender else {}
        with self.stream:
            self._place()
        self._views: dict[int, dict[str, Device]] = {}
        self._warm: set[tuple[int, bool]] = set()
        self._graphs: dict[tuple[int, bool, int], Any] = {}

    def _place(self) -> None:
        """Give everything its place on the device."""
        zeros = self.launch.zeros
        self.device: dict[str, Device] = {}
        for name in self._flat:
            # The gradients, which nobody may have asked to see.
            like = self.vectors.get(name, self.vectors["parameters"])
            self.device[name] = (
                self.lender.device[name] if self.lender else zeros(like.size, like.dtype)
            )
        self.arena = zeros(self.plan.arena_bytes, np.uint8)
        # What forward moves: the running statistics of batch norm.
        self._running = {
            op.buffers[name].name: zeros(op.buffers[name].shape, self.plan.dtype)
            for op in self.plan.operations
            for name, spec in TABLE[op.kernel].arrays.items()
            if op.phase == "forward" and spec.role == "inout" and self.guard
        }
        self.data = {"inputs": self._copy(self.inputs)}
        self.classes = self.sides = None
        if self.targets is not None:
            self.data["targets"] = self._copy(self.targets.array)
            if self.targets.weights is not None:
                self.data["weights"] = self._copy(self.targets.weights)
            if self.targets.classes is not None:
                self.classes = self._copy(self.targets.classes)
            elif self.targets.sides:
                self.sides = self.data["targets"]
        self.order = self.rows = self.kept = zeros(0, np.int64)
        self.counters, self.rate = zeros(5, np.int64), zeros(1, np.float64)
        self.totals, self.flags = zeros(3, np.float64), zeros(2, np.int32)
        self.settings: dict[str, Any] = {
            "scale": self.scale, "seed": self.seed, "step": self.counters[1:2],
            "update": self.counters[3:4], "number": self.counters[4:5],
            "learning_rate": self.rate,
        }  # fmt: skip

    def _copy(self, array: NDArray[Any]) -> Device:
        if id(array) not in self._copies:
            self._copies[id(array)] = array, self.launch.to_device(array)
        return self._copies[id(array)][1]

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
        """Run steps `first` to `last` - 1 of a pass over `order`; see `PythonExecutor.run`."""
        totals = Totals() if totals is None else totals
        batch = self.plan.batch_size
        start, stop = first * batch, min(last * batch, len(order))
        keep = outputs is not None
        with self.stream:
            self.bring()
            self._reserve(len(order), keep)
            self.order[start:stop].set(order[start:stop])
            self.counters.set(np.array([start, step - 1, update, 0, 0]))
            self.rate.set(np.array([learning_rate]))
            self.totals.set(np.array([totals.loss, totals.correct, totals.weight]))
            self.flags.set(np.zeros(2, np.int32))
            self._repeat(batch, (stop - start) // batch, keep)
            self._repeat((stop - start) % batch, 1, keep)
            found = self.launch.to_host(self.totals)
            begun = int(self.launch.to_host(self.counters)[1]) - (step - 1)
            stopped = bool(self.launch.to_host(self.flags)[0])
            if outputs is not None:
                outputs[start:stop] = self.launch.to_host(self.kept[start:stop])
        self.ahead = bool(self._after)
        totals.loss, totals.correct, totals.weight = map(float, found)
        whole = first + begun - stopped
        totals.samples += max(0, min(whole * batch, len(order)) - start)
        if stopped:
            self.sync()
            raise diagnose(
                self.plan, self.vectors, self.inputs, self.targets, order, whole,
                scale=self.scale, seed=self.seed,
                step=step + whole - first, update=update + whole - first,
            )  # fmt: skip
        return totals

    def bring(self) -> None:
        """Copy the flat vectors to the device, unless nobody can have changed them since."""
        if self.lender:
            self.lender.bring()
        elif not self.fresh:
            for name, vector in self.device.items():
                if name in self.vectors:
                    vector.set(self.vectors[name])
        self.fresh = True

    def sync(self) -> None:
        """Copy parameters and the optimizer's state back to the flat vectors."""
        if self.ahead:
            with self.stream:
                for name, vector in self.device.items():
                    if name in self.vectors:
                        self.vectors[name][...] = self.launch.to_host(vector)
        self.ahead = self.fresh = False

    def _reserve(self, samples: int, keep: bool) -> None:
        """Make room for a pass over so many samples, and for their outputs."""
        short = keep and len(self.kept) < samples
        if len(self.order) >= samples and not short:
            return
        self.order = self.launch.zeros(samples, np.int64)
        self.rows = self.launch.zeros(self.plan.batch_size, np.int64)
        if keep and self.plan.outputs is not None:
            self.kept = self.launch.zeros((samples, self.plan.outputs.columns), self.plan.dtype)
        self._views, self._graphs = {}, {}

    def _repeat(self, size: int, count: int, keep: bool) -> None:
        """Make `count` steps of `size` samples: the very first as it comes, others recorded."""
        if size and count and (size, keep) not in self._warm:
            self._step(size, keep)
            self._warm.add((size, keep))
            count -= 1
        while size and count:
            steps = STEPS_A_GRAPH if count >= STEPS_A_GRAPH else 1
            key = size, keep, steps
            if key not in self._graphs:
                self._graphs[key] = self.launch.record(self.stream, partial(self._steps, *key))
            self._graphs[key].launch(self.stream)
            count -= steps

    def _steps(self, size: int, keep: bool, count: int) -> None:
        for _ in range(count):
            self._step(size, keep)

    def _step(self, size: int, keep: bool) -> None:
        """Queue one step, every number that changes being read from the device."""
        views, real = self._bind(size), self.plan.dtype
        with self.launch.stoppable(self.flags[:1]):
            self.launch.teams(
                "begin_step", real, 1, self.order, self.counters, views["rows"], size,
                self.plan.accumulation, self.flags,
            )  # fmt: skip
            for name, kept in self._running.items():
                self.launch.each("keep", real, kept.size, views[name], kept, kept.size)
            for operation in self._before:
                self._call(operation, views)
            outputs = views[self.plan.outputs.name] if self.plan.outputs else None
            if keep and outputs is not None:
                columns = outputs.shape[1]
                self.launch.each(
                    "keep_outputs", real, size * columns, outputs, self.counters, self.kept, size,
                    columns,
                )  # fmt: skip
            if self.plan.losses is not None and outputs is not None:
                weights, penalties = self.plan.weights, self.plan.penalties
                self.launch.teams(
                    "add_totals", real, 1, views[self.plan.losses.name], outputs, self.classes,
                    self.sides, views[weights.name] if weights else None,
                    views[penalties.name] if penalties else None,
                    penalties.shape[0] if penalties else 0, views["rows"], size,
                    outputs.shape[1], self.guard, self.totals, self.flags,
                )  # fmt: skip
            for name, kept in self._running.items():
                self.launch.each("put_back", real, kept.size, kept, views[name], kept.size)
            for operation in self._after:
                if operation.phase == "backward":
                    self._call(operation, views)
        with self.launch.stoppable(self.flags[1:]):
            for operation in self._after:
                if operation.phase == "update":
                    self._call(operation, views)

    def _bind(self, size: int) -> dict[str, Device]:
        if size not in self._views:
            bound = self.plan.bind(self.device, self.arena, size)
            self._views[size] = {**bound, **self.data, "rows": self.rows[:size]}
        return self._views[size]

    def _call(self, operation: Operation, views: dict[str, Device]) -> None:
        kernel = self.plan.backend.kernels[operation.kernel]
        kernel(*[self._value(value, views) for value in operation.arguments.values()])

    def _value(self, value: Any, views: dict[str, Device]) -> Any:
        if isinstance(value, Buffer):
            return views[value.name]
        return self.settings[value.name] if isinstance(value, Setting) else value
