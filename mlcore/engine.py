"""Runs a plan natively: whole stretches of an epoch in one call, without the GIL.

A `NativeExecutor` does what `PythonExecutor` does, step by step and to rounding. It translates
the plan's kernel calls into operations of the compiled executor, with three differences: weights
and optimizer state lie in panels for as long as nobody looks at them, updates are taken while a
weight gradient is still in the cache, and an activation's derivative is applied where the input
gradient that it multiplies has just been computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore.door import Targets
from mlcore.executor import Index, NonFiniteLossError, PythonExecutor, Totals
from mlcore.kernels import ACTIVATIONS, native, threads
from mlcore.plan import Buffer, Operation, Plan, aligned_zeros

Rows = tuple[int, int, int]
SOURCE_KINDS = {"uint8": 0, "float32": 1, "float64": 2}
BY_ROWS = ("gaussian_noise", "dropout", "activation")
# Layers whose weights have no more bytes than this are computed row by row: every thread reads
# them all, and no thread waits for another.
SHARED_BYTES = 64 * 1024
# An extra thread must bring more than its barriers cost.
FLOPS_A_THREAD = 1e6
# The order of an optimizer's numbers and vectors in its operation.
UPDATE_SETTINGS = {
    "sgd": ("momentum", "dampening", "nesterov"),
    "adam": ("beta_1", "beta_2", "epsilon"),
    "adamw": ("beta_1", "beta_2", "epsilon"),
    "rmsprop": ("rho", "epsilon", "momentum"),
}
UPDATE_STATE = {
    "sgd": ("velocity",),
    "adam": ("first_moment", "second_moment"),
    "adamw": ("first_moment", "second_moment"),
    "rmsprop": ("square_average", "gradient_average", "velocity"),
}


@dataclass
class Packed:
    """The weights of a dense layer in panels, and the vectors laid out like them."""

    weight: Buffer
    bias: Buffer | None
    panels: dict[str, NDArray[Any]]
    learns: bool = False


class NativeExecutor:
    """Runs a plan with the compiled executor of the plan's backend.

    Takes what `PythonExecutor` takes, and gives the same results to rounding. `vectors` are
    brought up to date by `sync`, after which they may be changed.
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
        self.plan, self.vectors, self.inputs, self.targets = plan, vectors, inputs, targets
        self.scale, self.seed, self.guard = scale, seed, guard
        self.packed: dict[str, Packed] = {}
        self.ahead = self.fresh = False
        self.program = _Compiler(self).program
        self.learns = any(packed.learns for packed in self.packed.values())
        self.useful_threads = max(1, int(plan.flops / FLOPS_A_THREAD))

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
        if outputs is not None:
            self.program.point_output(outputs.ctypes.data)
        self._pack()
        batch = self.plan.batch_size
        loss, correct, stopped = self.program.run(
            order, batch, first, last, step=step, update=update, learning_rate=learning_rate,
            guard=self.guard and self.learns,
            threads=min(threads.get_num_threads(), self.useful_threads),
        )  # fmt: skip
        self.ahead = self.learns
        totals.loss += loss
        totals.correct += correct
        totals.samples += max(0, min(stopped * batch, len(order)) - first * batch)
        if stopped < last:
            self._diagnose(order, stopped, step + stopped - first, update + stopped - first)
        return totals

    def sync(self) -> None:
        """Write the weights and the optimizer's state back to the flat vectors."""
        if self.ahead:
            for packed in self.packed.values():
                if packed.learns:
                    for name, panels in packed.panels.items():
                        self._lay_out("unpack", packed, name, panels)
        self.ahead = self.fresh = False

    def _pack(self) -> None:
        if self.fresh:
            return
        for packed in self.packed.values():
            for name, panels in packed.panels.items():
                self._lay_out("pack", packed, name, panels)
        self.fresh = True

    def _lay_out(self, way: str, packed: Packed, name: str, panels: NDArray[Any]) -> None:
        weight, bias = packed.weight, packed.bias
        vector = self.vectors[name]
        matrix = vector[weight.offset : weight.offset + math.prod(weight.shape)]
        row = None if bias is None else vector[bias.offset : bias.offset + bias.shape[0]]
        module: Any = self.plan.backend.module
        lanes = module.LANES[self.plan.dtype.name]
        if way == "pack":
            module.pack_panels(matrix.reshape(weight.shape), row, lanes, panels)
        else:
            module.unpack_panels(panels, lanes, matrix.reshape(weight.shape), row)

    def _diagnose(self, order: Index, at: int, step: int, update: int) -> None:
        """Repeat the step in Python, on copies, to name the first tensor that is not finite."""
        self.sync()
        vectors = {name: vector.copy() for name, vector in self.vectors.items()}
        executor = PythonExecutor(
            self.plan, vectors, self.inputs, self.targets, scale=self.scale, seed=self.seed
        )
        executor.run(order, at, at + 1, step=step, update=update)
        raise NonFiniteLossError(at, "", "losses", f"the sum of losses overflowed at step {at + 1}")


Executor = PythonExecutor | NativeExecutor


def executor_for(
    plan: Plan,
    vectors: dict[str, NDArray[Any]],
    inputs: NDArray[Any],
    targets: Targets | None = None,
    *,
    scale: float = 1.0,
    seed: int = 0,
    guard: bool = True,
) -> Executor:
    """Return the executor of the plan's backend: the native one where there is one."""
    native_backend = hasattr(plan.backend.module, "ENGINE")
    kind = NativeExecutor if native_backend else PythonExecutor
    return kind(plan, vectors, inputs, targets, scale=scale, seed=seed, guard=guard)


class _Compiler:
    """Translates a plan; gone once the program is made."""

    def __init__(self, executor: NativeExecutor) -> None:
        self.executor, self.plan = executor, executor.plan
        self.module: Any = self.plan.backend.module
        self.size = self.plan.dtype.itemsize
        self.lanes: int = self.module.LANES[self.plan.dtype.name]
        operations = self.plan.operations
        self.updates = [op for op in operations if op.phase == "update"]
        first = [op for op in operations if op.phase == "data"]
        rest = [op for op in operations if op.phase not in ("data", "update")]
        while rest and rest[0].kernel in BY_ROWS:
            first.append(rest.pop(0))
        self.early = {op.arguments["out"].name for op in first}
        self.ones = {op.arguments["x"].name for op in rest if "w" in op.arguments}
        self.inputs = {op.arguments["x"].name for op in rest if "x" in op.arguments}
        self.memory = self._reserve([*first, *rest])
        self.program = native.program(
            self.module, single=self.plan.dtype == np.float32,
            scratch_bytes=self._scratch_bytes(rest),
        )  # fmt: skip
        self.program.keep(self.memory, executor.inputs, executor.targets)
        for op in first:
            self._add_simple(op)
        if self._counts_classes():
            self._gather_classes()
        self._add_rest(rest)
        self.program.finish()

    def _reserve(self, operations: list[Operation]) -> NDArray[Any]:
        """Give every batch buffer its place; those of the next batch exist twice."""
        self.places: dict[str, tuple[int, int, int]] = {}
        size = 0
        for op in operations:
            for buffer in op.buffers.values():
                if buffer.place == "arena" and buffer.name not in self.places:
                    size = self._reserve_one(buffer, size)
        if self._counts_classes():
            labels = Buffer("classes", "arena", (self.plan.batch_size,), np.dtype(np.int32))
            self.early.add(labels.name)
            size = self._reserve_one(labels, size)
        right = Buffer("right", "arena", (self.plan.batch_size,), np.dtype(np.float64))
        size = self._reserve_one(right, size)
        memory = aligned_zeros(size, np.uint8)
        self.base = memory.ctypes.data
        return memory

    def _reserve_one(self, buffer: Buffer, size: int) -> int:
        stride = 0
        bytes_needed = math.prod(buffer.shape) * buffer.dtype.itemsize
        if len(buffer.shape) == 2:
            stride = self.module.stride(buffer.columns, self.plan.dtype.name)
            bytes_needed = buffer.shape[0] * stride * buffer.dtype.itemsize
        # A line apart, so that buffers of a power of two do not start at one place of the cache.
        bytes_needed = -(-bytes_needed // 64) * 64 + 64
        flip = bytes_needed if buffer.name in self.early else 0
        self.places[buffer.name] = (size, stride, flip)
        return size + bytes_needed + flip

    def _scratch_bytes(self, operations: list[Operation]) -> int:
        """Return what a thread needs: a transposed panel, or the gradient of a tile."""
        widest = max((op.dims()["N"] for op in operations if "w" in op.arguments), default=0)
        return max(widest + self.lanes, 64) * 2 * self.lanes * self.size

    def _rows(self, buffer: Buffer | None) -> Rows | None:
        if buffer is None:
            return None
        at, stride, flip = self.places[buffer.name]
        return self.base + at, stride, flip

    def _counts_classes(self) -> bool:
        targets = self.executor.targets
        return targets is not None and targets.classes is not None and not targets.labelled

    def _gather_classes(self) -> None:
        targets = self.executor.targets
        assert targets is not None
        assert targets.classes is not None
        self.program.keep(targets.classes)
        self.program.add(
            "gather_labels", "rows", source=targets.classes.ctypes.data,
            out=self._named("classes"),
        )  # fmt: skip

    def _named(self, name: str) -> Rows:
        at, stride, flip = self.places[name]
        return self.base + at, stride, flip

    def _add_simple(self, op: Operation, **replaced: Any) -> None:
        """Add an operation that a thread does for rows of its own."""
        given = {**op.arguments, **replaced}
        out: Buffer = given["out"]
        fields: dict[str, Any] = {"out": self._rows(out), "ones": out.name in self.ones}
        if op.kernel in ("gather", "gather_labels"):
            is_input = given.get("source") is not None and given["source"].name == "inputs"
            array = self.executor.inputs
            if not is_input:
                assert self.executor.targets is not None
                array = self.executor.targets.array
            fields["source"] = array.ctypes.data
            if op.kernel == "gather":
                fields["source_kind"] = SOURCE_KINDS[array.dtype.name]
                fields["parameter"] = self.executor.scale if is_input else 1.0
        elif op.kernel in ("gaussian_noise", "dropout"):
            strength = given["stddev" if op.kernel == "gaussian_noise" else "rate"]
            fields |= {
                "x": self._rows(given["x"]), "parameter": strength,
                "seed": self.executor.seed, "stream": given["stream"],
            }  # fmt: skip
        else:
            fields |= {
                name: self._rows(given[name]) for name in ("x", "grad", "stored") if name in given
            }
            fields["activation"] = self.module.ACTIVATION_CODES[given["activation"]]
            fields["parameter"] = given["parameter"]
        if len(out.shape) == 2:
            fields["columns"] = out.columns
        self.program.add(op.kernel, "rows", **fields)

    def _add_rest(self, operations: list[Operation]) -> None:
        delayed: list[dict[str, Any]] = []
        totalled = False
        for at, op in enumerate(operations):
            if op.kernel == "linear":
                self._add_forward(op)
            elif op.phase == "loss":
                self._add_loss(op)
                totalled = True
            elif op.kernel == "linear_backward":
                following = operations[at + 1] if at + 1 < len(operations) else None
                previous = operations[at - 1]
                self._add_backward(op, previous, following, delayed)
            else:
                self._add_simple(op)
        if totalled:
            losses = self._rows(self.plan.losses)
            right = self._named("right") if self._judged() else None
            self.program.add("total", "rows", x=losses, targets=right)
        elif self.plan.outputs is not None:
            self.program.add(
                "copy_out", "rows", x=self._rows(self.plan.outputs),
                columns=self.plan.outputs.columns,
            )  # fmt: skip
        for fields in delayed:
            self.program.add("weight_gradient", "cells", **fields)

    def _judged(self) -> bool:
        targets = self.executor.targets
        return targets is not None and targets.judge is not None

    def _add_loss(self, op: Operation) -> None:
        given = op.arguments
        outputs: Buffer = given.get("logits") or given["outputs"]
        answers = given.get("labels") or given["targets"]
        self.program.add(
            op.kernel, "rows", x=self._rows(outputs), targets=self._rows(answers),
            out=self._rows(given["losses"]), grad=self._rows(given["grad"]),
            columns=outputs.columns,
        )  # fmt: skip
        targets = self.executor.targets
        if targets is None or targets.judge is None:
            return
        if targets.sides:
            kind, judged = "count_sides", self._rows(answers)
        else:
            kind = "count_classes"
            judged = self._rows(answers) if targets.labelled else self._named("classes")
        self.program.add(
            kind, "rows", x=self._rows(outputs), targets=judged, out=self._named("right"),
            columns=outputs.columns,
        )  # fmt: skip

    def _weights(self, weight: Buffer, bias: Buffer | None) -> Packed:
        known = self.executor.packed
        if weight.name not in known:
            known[weight.name] = Packed(weight, bias, {})
            self._panels(known[weight.name], "parameters")
        return known[weight.name]

    def _panels(self, packed: Packed, name: str) -> int:
        if name not in packed.panels:
            depth, columns = packed.weight.shape
            size = self.module.packed_elements(depth, columns, self.plan.dtype.name)
            packed.panels[name] = aligned_zeros(size, self.plan.dtype)
            self.program.keep(packed.panels[name])
        address: int = packed.panels[name].ctypes.data
        return address

    def _sharing(self, packed: Packed) -> str:
        depth, columns = packed.weight.shape
        return "rows" if depth * columns * self.size <= SHARED_BYTES else "panels"

    def _add_forward(self, op: Operation) -> None:
        given = op.arguments
        packed = self._weights(given["w"], given["b"])
        depth, columns = packed.weight.shape
        rowwise = ACTIVATIONS[given["activation"]].rowwise
        self.program.add(
            "forward", "rows" if rowwise else self._sharing(packed),
            x=self._rows(given["x"]), out=self._rows(given["out"]), pre=self._rows(given["pre"]),
            weights=self._panels(packed, "parameters"), biased=given["b"] is not None,
            depth=depth, columns=columns, parameter=given["parameter"],
            activation=self.module.ACTIVATION_CODES[given["activation"]],
            ones=given["out"].name in self.ones,
        )  # fmt: skip

    def _add_backward(
        self, op: Operation, previous: Operation, following: Operation | None,
        delayed: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        given = op.arguments
        grad: Buffer = given["grad"]
        fused = previous.kernel == "linear_backward" and previous.arguments["dx"] is grad
        if given["activation"] != "identity" and not (fused and self._is_elementwise(op)):
            self.program.add(
                "activation_backward", "rows", grad=self._rows(grad), out=self._rows(grad),
                stored=self._rows(given["stored"]), columns=grad.columns,
                activation=self.module.ACTIVATION_CODES[given["activation"]],
                parameter=given["parameter"],
            )  # fmt: skip
        packed = self.executor.packed[given["w"].name]
        depth, columns = packed.weight.shape
        product = {
            "grad": self._rows(grad), "depth": depth, "columns": columns,
            "weights": self._panels(packed, "parameters"),
        }  # fmt: skip
        if given["dw"] is not None:
            delayed.append({
                **product, "x": self._rows(given["x"]), "biased": given["db"] is not None,
                **self._update_of(packed, given),
            })  # fmt: skip
            packed.learns = True
        if given["dx"] is None:
            return
        epilogue: dict[str, Any] = {}
        if following is not None and following.kernel == "linear_backward":
            earlier = following.arguments
            if earlier["grad"] is given["dx"] and self._is_elementwise(following):
                epilogue = {
                    "stored": self._rows(earlier["stored"]), "parameter": earlier["parameter"],
                    "activation": self.module.ACTIVATION_CODES[earlier["activation"]],
                }  # fmt: skip
        self.program.add(
            "input_gradient", self._sharing(packed), out=self._rows(given["dx"]), **product,
            **epilogue,
        )  # fmt: skip

    def _is_elementwise(self, op: Operation) -> bool:
        return not ACTIVATIONS[op.arguments["activation"]].rowwise

    def _update_of(self, packed: Packed, given: Any) -> dict[str, Any]:
        """Return a layer's update, or without one where its gradient is to be kept."""
        rule = self._covering(given["dw"])
        if rule is None:
            return {"gradient": self._panels(packed, "gradients")}
        settings = rule.arguments
        state = [
            self._panels(packed, name) if settings[name] is not None else 0
            for name in UPDATE_STATE[rule.kernel]
        ]
        decay = settings["weight_decay"]
        bias_decay = decay
        if given["db"] is not None:
            bias_rule = self._covering(given["db"]) or rule
            bias_decay = bias_rule.arguments["weight_decay"]
        plain = rule.kernel == "sgd" and settings["velocity"] is None
        fields = {
            "update": "plain_sgd" if plain else rule.kernel,
            "state": state,
            "settings": [float(settings[name]) for name in UPDATE_SETTINGS[rule.kernel]],
            "weight_decay": decay,
            "bias_decay": bias_decay,
            "bias_apart": bias_decay != decay,
        }
        if self.plan.batch_size > self.module.SUMMED_IN_REGISTERS:
            depth, columns = packed.weight.shape
            size = self.module.packed_elements(depth, columns, self.plan.dtype.name)
            gradient = aligned_zeros(size, self.plan.dtype)
            self.program.keep(gradient)
            fields["gradient"] = gradient.ctypes.data
        return fields

    def _covering(self, gradient: Buffer) -> Operation | None:
        def covers(op: Operation) -> bool:
            vector: Buffer = op.arguments["gradients"]
            return vector.offset <= gradient.offset < vector.offset + vector.shape[0]

        return next((op for op in self.updates if covers(op)), None)
