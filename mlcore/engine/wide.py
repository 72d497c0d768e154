"""Networks of any width: batches lie in rows, weights in panels, threads share the work.

The program differs from the plan in three ways. Weights and optimizer state lie in panels for as
long as nobody looks at them; updates are taken while a weight gradient is still in the cache; and
an activation's derivative is applied where the input gradient that it multiplies has just been
computed.

A plan that is not fused has gradients written to their flat vector instead. What it does with
them, and its updates, go over flat vectors, and the weights are packed again after each update.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from mlcore.engine.compiler import FLAT, UPDATE_STATE, Compiler, bias_follows_weight, elements
from mlcore.engine.spatial import Spatial
from mlcore.kernels import ACTIVATIONS
from mlcore.plan import Buffer, Operation, aligned_zeros

# What each thread can do for rows of its own, before the first product.
EARLY = ("gaussian_noise", "dropout", "activation")
DENSE = ("linear", "linear_backward")
# Layers whose weights have no more bytes than this are computed row by row: every thread reads
# them all, and no thread waits for another.
SHARED_BYTES = 64 * 1024
# Where a layer's weights have more bytes than this, the optimizer's state stays in its flat
# vectors: a second copy would be much memory. In panels steps are some percent quicker.
FLAT_STATE_BYTES = 1024 * 1024
# Where the batch buffers have more bytes than this, rows go in blocks through what needs no other
# rows: half of a usual second-level cache.
BLOCK_BYTES = 512 * 1024
# Predictions of no more samples than this do without packing the weights.
FEW = 4


@dataclass
class Packed:
    """The weights of a dense layer in panels, and the vectors that are laid out like them."""

    weight: Buffer
    bias: Buffer | None
    changes: bool
    panels: dict[str, NDArray[Any]] = field(default_factory=dict)


# By the name of the weight.
Panels = dict[str, Packed]


class WideCompiler(Compiler):
    """Translates any plan; `panels` are those of another program, to be used as they are."""

    def __init__(self, *given: Any, panels: Panels | None, **settings: Any) -> None:
        self.borrowed = panels is not None
        self.packed: Panels = {} if panels is None else panels
        super().__init__(*given, **settings)

    def place_buffers(self) -> None:
        """Place every batch buffer of the plan; those of the next batch twice."""
        operations = self.plan.operations
        self.updates = [op for op in operations if op.phase == "update"]
        self.early = [op for op in operations if op.phase == "data"]
        self.rest = [op for op in operations if op.phase not in ("data", "update")]
        while self.rest and self.rest[0].kernel in EARLY:
            self.early.append(self.rest.pop(0))
        self.twice = {op.arguments["out"].memory for op in self.early}
        # The inputs of dense layers have a column of ones behind them, for the bias.
        self.ones = {op.arguments["x"].memory for op in self.rest if op.kernel in DENSE}
        self.spatial = Spatial(self)
        self.spatial.place()
        for op in (*self.early, *(op for op in self.rest if not self.spatial.runs(op))):
            for buffer in op.buffers.values():
                if buffer.place != "arena" or buffer.memory in self.places:
                    continue
                if len(buffer.shape) > 1:
                    self.place_rows(buffer.memory, buffer.shape[0], math.prod(buffer.sample))
                else:
                    twice = buffer.memory in self.twice
                    self.place(buffer.memory, elements(buffer), 0, buffer.dtype.itemsize, twice)
        outputs = self.plan.outputs
        if outputs is not None and outputs.memory not in self.places:
            self.place_rows(outputs.memory, outputs.shape[0], math.prod(outputs.sample))
        self.place_answers(twice=True)

    def place_rows(self, name: str, samples: int, columns: int) -> None:
        """Give a buffer of rows its place."""
        stride = self.module.stride(columns, self.plan.dtype.name)
        self.place(name, samples * stride, stride, self.size, name in self.twice)

    def scratch_bytes(self) -> int:
        """Return room for a transposed panel, the gradient of a tile, or two sums a feature."""
        kernels = {"linear": "N", "linear_backward": "N", "layer_norm_backward": "C"}
        widths = [
            op.dims()[kernels[op.kernel]] for op in self.plan.operations if op.kernel in kernels
        ]
        return max(max(widths, default=0) + self.lanes, 64) * 2 * self.lanes * self.size

    def blocks(self) -> int:
        """Return so many blocks that the buffers of one stay in the second-level cache."""
        blocks = max(1, self.used // BLOCK_BYTES)
        return min(blocks, self.spatial.groups) if self.spatial.used else blocks

    def grain(self) -> int:
        """Return the samples of a group where any stand across the lanes."""
        return self.lanes if self.spatial.used else 1

    def write(self) -> None:
        """Add what is done early, forward and backward, and then the updates."""
        for op in self.early:
            self._add_rows(op)
        self.gather_classes()
        learning: list[dict[str, Any]] = []
        # Those of parameters that stay in their flat vector.
        self.learning_flat: list[tuple[str, dict[str, Any]]] = []
        flat = [op for op in self.rest if op.kernel in FLAT and op.phase == "backward"]
        few = self.plan.losses is None and self.plan.batch_size <= FEW
        for at, op in enumerate(self.rest):
            self.spatial.bring(op)
            if self.spatial.runs(op):
                self.spatial.write(op)
            elif op.kernel in FLAT:
                if op.phase == "loss":
                    self.add_flat(op)
            elif op.kernel == "linear" and few:
                self._add_plain_forward(op)
            elif op.kernel == "linear":
                self._add_forward(op)
            elif op.phase == "loss":
                given = op.arguments
                judged: Buffer = given.get("logits") or given["outputs"]
                self.add_loss(op, self.batch_rows(judged), self.rows(given["grad"]))
            elif op.kernel == "linear_backward":
                following = self.rest[at + 1] if at + 1 < len(self.rest) else None
                self._add_backward(op, self.rest[at - 1], following, learning)
            elif op.kernel == "embedding":
                self._add_look_up(op)
            elif op.kernel == "embedding_backward":
                self._add_look_up_backward(op)
            else:
                self._add_rows(op)
        if self.plan.losses is not None:
            self.add_total()
        elif self.plan.outputs is not None:
            self.spatial.turn(self.plan.outputs, wanted=False)
            outputs = self.rows(self.plan.outputs)
            self.program.add("copy_out", "rows", x=outputs, columns=self.plan.outputs.columns)
        for fields in learning:
            self.program.add("weight_gradient", "cells", **fields)
        for kind, fields in self.learning_flat:
            self.program.add(kind, "cells", **fields)
        for op in flat if self.plan.fused else [*flat, *self.updates]:
            self.add_flat(op)
        if self.updates and not self.plan.fused:
            self._add_packing()

    def _add_rows(self, op: Operation) -> None:
        """Add an operation that a thread does for rows of its own."""
        given = op.arguments
        out: Buffer = given["out"]
        fields: dict[str, Any] = {"out": self.rows(out), "ones": out.memory in self.ones}
        if len(out.shape) > 1:
            fields["columns"] = math.prod(out.sample)
        if op.kernel.startswith("gather"):
            fields |= self.source_of(op)
        elif op.kernel in ("gaussian_noise", "dropout"):
            strength = given["stddev" if op.kernel == "gaussian_noise" else "rate"]
            fields |= {
                "x": self.rows(given["x"]), "parameter": strength, "seed": self.seed,
                "stream": given["stream"],
            }  # fmt: skip
        else:
            read = {name: self.rows(given[name]) for name in ("x", "grad", "stored") & given.keys()}
            fields |= {**read, **self.activation_fields(given)}
        self.program.add(op.kernel, "rows", **fields)

    def _panels(self, packed: Packed, name: str) -> int:
        """Return the address of a vector's panels, after making them."""
        weight, bias = packed.weight, packed.bias
        if name not in packed.panels:
            depth, columns = weight.shape
            size = self.module.packed_elements(depth, columns, self.plan.dtype.name)
            packed.panels[name] = aligned_zeros(size, self.plan.dtype)
            self.program.lay_out(
                self.address(name, weight.offset),
                0 if bias is None else self.address(name, bias.offset),
                depth, columns, packed.panels[name].ctypes.data, packed.changes,
            )  # fmt: skip
        self.program.keep(packed.panels[name])
        address: int = packed.panels[name].ctypes.data
        return address

    def _sharing(self, packed: Packed) -> str:
        return "rows" if elements(packed.weight) * self.size <= SHARED_BYTES else "panels"

    def _add_plain_forward(self, op: Operation) -> None:
        given = op.arguments
        weight: Buffer = given["w"]
        bias: Buffer | None = given["b"]
        self.program.add(
            "plain_forward", "rows", x=self.rows(given["x"]), out=self.rows(given["out"]),
            weights=self.address("parameters", weight.offset),
            state=[] if bias is None else [self.address("parameters", bias.offset)],
            depth=weight.shape[0], columns=weight.shape[1], **self.activation_fields(given),
        )  # fmt: skip

    def _add_forward(self, op: Operation) -> None:
        given = op.arguments
        weight: Buffer = given["w"]
        if not self.borrowed:
            changes = self.plan.fused and self._learns(weight)
            self.packed[weight.name] = Packed(weight, given["b"], changes)
        packed = self.packed[weight.name]
        depth, columns = weight.shape
        rowwise = ACTIVATIONS[given["activation"]].rowwise
        self.program.add(
            "forward", "rows" if rowwise else self._sharing(packed),
            x=self.rows(given["x"]), out=self.rows(given["out"]), pre=self.rows(given["pre"]),
            weights=self._panels(packed, "parameters"), biased=given["b"] is not None,
            depth=depth, columns=columns, ones=given["out"].memory in self.ones,
            **self.activation_fields(given),
        )  # fmt: skip

    def _learns(self, weight: Buffer) -> bool:
        return any(
            op.arguments["dw"] is not None and op.arguments["w"].name == weight.name
            for op in self.rest
            if op.kernel == "linear_backward"
        )

    def _add_packing(self) -> None:
        """Add what brings the panels of the weights up to date after an update."""
        for packed in self.packed.values():
            if self._learns(packed.weight):
                depth, columns = packed.weight.shape
                bias = packed.bias
                self.program.add(
                    "pack", "panels", x=(self.of_vector(packed.weight), 0, 0),
                    stored=None if bias is None else (self.of_vector(bias), 0, 0),
                    depth=depth, columns=columns, weights=self._panels(packed, "parameters"),
                    updates=True,
                )  # fmt: skip

    def _add_backward(
        self,
        op: Operation,
        previous: Operation,
        following: Operation | None,
        learning: list[dict[str, Any]],
    ) -> None:
        """Add the input gradient, and keep for later what the weights learn from.

        The gradient of the pre-activation takes the place of that of the output.
        """
        given = op.arguments
        grad: Buffer = given["grad"]
        if given["activation"] != "identity" and not _is_fused(previous, op):
            self.program.add(
                "activation_backward", "rows", grad=self.rows(grad), out=self.rows(grad),
                stored=self.rows(given["stored"]), columns=grad.columns,
                **self.activation_fields(given),
            )  # fmt: skip
        packed = self.packed[given["w"].name]
        depth, columns = packed.weight.shape
        product = {
            "grad": self.rows(grad), "depth": depth, "columns": columns,
            "weights": self._panels(packed, "parameters"),
        }  # fmt: skip
        if given["dw"] is not None:
            learning.append({
                **product, "x": self.rows(given["x"]), "biased": given["db"] is not None,
                **self._update_of(packed, given),
            })  # fmt: skip
        if given["dx"] is None:
            return
        slope: dict[str, Any] = {}
        if following is not None and _is_fused(op, following):
            earlier = following.arguments
            slope = {"stored": self.rows(earlier["stored"]), **self.activation_fields(earlier)}
        self.program.add(
            "input_gradient", self._sharing(packed), out=self.rows(given["dx"]), **product, **slope
        )

    def _update_of(self, packed: Packed, given: Any) -> dict[str, Any]:
        """Return a layer's update, or where to write its gradient."""
        rule = self._covering(given["dw"])
        if rule is None or not self.plan.fused:
            fields: dict[str, Any] = {
                "update": "write_gradient",
                "state": [self.of_vector(d) for d in (given["dw"], given["db"]) if d is not None],
            }
        else:
            large = elements(packed.weight) * self.size > FLAT_STATE_BYTES
            flat = large and bias_follows_weight(packed.weight, packed.bias)
            state = []
            for name in UPDATE_STATE[rule.kernel]:
                if rule.arguments[name] is None:
                    state.append(0)
                elif flat:
                    state.append(self.address(name, packed.weight.offset))
                else:
                    state.append(self._panels(packed, name))
            fields = self.rule_fields(rule, state)
            fields["flat_state"] = flat
            bias_rule = self._covering(given["db"]) if given["db"] is not None else rule
            assert bias_rule is not None
            fields["bias_decay"] = bias_rule.arguments["weight_decay"]
            fields["bias_apart"] = fields["bias_decay"] != fields["weight_decay"]
        if self.plan.batch_size > self.module.SUMMED_IN_REGISTERS:
            depth, columns = packed.weight.shape
            size = self.module.packed_elements(depth, columns, self.plan.dtype.name)
            gradient = aligned_zeros(size, self.plan.dtype)
            self.program.keep(gradient)
            fields["gradient"] = gradient.ctypes.data
        return fields

    def _add_look_up(self, op: Operation) -> None:
        given = op.arguments
        out: Buffer = given["out"]
        self.program.add(
            "embedding", "rows", x=self.rows(given["x"]), out=self.rows(out),
            weights=self.address("parameters", given["w"].offset), positions=out.shape[1],
            columns=math.prod(out.sample), ones=out.memory in self.ones,
        )  # fmt: skip

    def _add_look_up_backward(self, op: Operation) -> None:
        given = op.arguments
        grad: Buffer = given["grad"]
        fields = {
            "grad": self.rows(grad), "x": self.rows(given["x"]), "positions": grad.shape[1],
            "columns": math.prod(grad.sample), "depth": given["dw"].shape[0],
        }  # fmt: skip
        self.learning_flat.append(
            ("embedding_backward", {**fields, **self.flat_update_of(given["dw"])})
        )

    def flat_update_of(self, gradient: Buffer) -> dict[str, Any]:
        """Return where the gradient of a parameter in its flat vector goes, and its update."""
        rule = self._covering(gradient)
        if rule is None or not self.plan.fused:
            return {"gradient": self.of_vector(gradient)}
        memory = aligned_zeros(elements(gradient), self.plan.dtype)
        self.program.keep(memory)
        state = [
            self.address(name, gradient.offset) if rule.arguments[name] is not None else 0
            for name in UPDATE_STATE[rule.kernel]
        ]
        return {
            "gradient": memory.ctypes.data,
            "weights": self.address("parameters", gradient.offset),
            **self.rule_fields(rule, state),
        }

    def _covering(self, gradient: Buffer) -> Operation | None:
        """Return the update of the run of parameters that a gradient belongs to."""

        def covers(op: Operation) -> bool:
            vector: Buffer = op.arguments["gradients"]
            return vector.offset <= gradient.offset < vector.offset + vector.shape[0]

        rules = (op for op in self.updates if op.kernel in UPDATE_STATE)
        return next((op for op in rules if covers(op)), None)


def _is_fused(op: Operation, earlier: Operation) -> bool:
    """Tell whether the input gradient of `op` applies the activation of the layer before it."""
    return (
        op.kernel == earlier.kernel == "linear_backward"
        and op.arguments["dx"] is earlier.arguments["grad"]
        and not ACTIVATIONS[earlier.arguments["activation"]].rowwise
    )
