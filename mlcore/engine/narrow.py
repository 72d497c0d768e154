"""Networks of a few units: batches lie the other way round, and one thread does everything.

Rows of two or three numbers would leave most of a vector empty, so samples go along the vectors.
Weights stay where they are, and the plan's own updates run over the flat vectors.
"""

from __future__ import annotations

from typing import Any

from mlcore.engine.compiler import (
    FLAT,
    UPDATE_STATE,
    Compiler,
    Rows,
    bias_follows_weight,
    elements,
)
from mlcore.kernels import ACTIVATIONS, TABLE
from mlcore.plan import Buffer, Operation, Plan

# Measured: above these, panels are faster.
WIDEST = 8
LARGEST_BATCH = 1024


class NarrowCompiler(Compiler):
    """Translates a plan for which `suits` is true."""

    @staticmethod
    def suits(plan: Plan) -> bool:
        """Tell whether every layer is narrow, and of the kinds that are here."""
        for op in plan.operations:
            activation = op.arguments.get("activation", "identity")
            if TABLE[op.kernel].group in ("spatial", "norm", "lookup"):
                return False
            if op.kernel in ("gaussian_noise", "dropout") or ACTIVATIONS[activation].rowwise:
                return False
            if any(len(b.shape) == 2 and b.columns > WIDEST for b in op.buffers.values()):
                return False
            if op.kernel == "linear" and not bias_follows_weight(
                op.arguments["w"], op.arguments["b"]
            ):
                return False
        return plan.losses is not None and plan.batch_size <= LARGEST_BATCH

    def place_buffers(self) -> None:
        """Place every buffer as [units][samples], with a row of ones where a bias wants it."""
        operations = self.plan.operations
        self.stride = -(-self.plan.batch_size // self.lanes) * self.lanes
        self.ones = {
            op.arguments["x"].memory: op.arguments["x"] for op in operations if "w" in op.arguments
        }
        for op in operations:
            for buffer in op.buffers.values():
                if buffer.place != "arena" or buffer.memory in self.places:
                    continue
                if len(buffer.shape) == 2 and buffer.memory != "batch.y":
                    rows = buffer.columns + 1
                    self.place(buffer.memory, rows * self.stride, self.stride, self.size, False)
                else:
                    columns = buffer.columns if len(buffer.shape) == 2 else 0
                    kind = buffer.dtype.itemsize
                    self.place(buffer.memory, elements(buffer), columns, kind, False)
        outputs = self._outputs()
        if not self._alone:
            for name in ("loss.x", "loss.slope"):
                self.place(name, elements(outputs), outputs.columns, self.size, False)
        self.place_answers(twice=False)

    @property
    def _alone(self) -> bool:
        """Whether there is one output: then rows of outputs and a unit's samples are the same."""
        return self._outputs().columns == 1

    def _outputs(self) -> Buffer:
        outputs = self.plan.outputs
        assert outputs is not None
        return outputs

    def write(self) -> None:
        """Add the plan's operations, in the plan's order, with the sums before the updates."""
        for buffer in self.ones.values():
            self.program.fill_ones(*self.batch_rows(buffer)[:2], buffer.columns)
        self.gather_classes()
        totalled = False
        for op in self.plan.operations:
            if op.phase in ("backward", "update") and not totalled:
                self.add_total()
                totalled = True
            if op.kernel in FLAT or op.kernel in UPDATE_STATE:
                self.add_flat(op)
            elif op.phase == "loss":
                self._add_loss(op)
            elif op.kernel == "linear":
                self._add_forward(op)
            elif op.kernel == "linear_backward":
                self._add_backward(op)
            else:
                self._add_simple(op)
        if not totalled:
            self.add_total()

    def _add_simple(self, op: Operation) -> None:
        given = op.arguments
        out: Buffer = given["out"]
        if op.kernel.startswith("gather"):
            turned = out.memory == "batch.x" or (out.memory == "batch.y" and self._alone)
            kernel = "narrow_gather" if turned and op.kernel == "gather" else op.kernel
            self.program.add(kernel, "rows", **{"out": self.rows(out), **self.source_of(op)})
            return
        read = {name: self.rows(given[name]) for name in ("x", "grad", "stored") & given.keys()}
        self.program.add(
            f"narrow_{op.kernel}", "rows", out=self.rows(out), columns=out.columns, **read,
            **self.activation_fields(given),
        )  # fmt: skip

    def _add_loss(self, op: Operation) -> None:
        """Add the loss, which takes rows of outputs, between two turnings round."""
        given = op.arguments
        outputs, grad = self._outputs(), given["grad"]
        if self._alone:
            slope = None if grad is None else self._as_rows(grad)
            self.add_loss(op, self._as_rows(outputs), slope)
            return
        self.program.add(
            "narrow_to_rows", "rows", x=self.rows(outputs), out=self.rows("loss.x"),
            columns=outputs.columns,
        )  # fmt: skip
        slope = None if grad is None else self.rows("loss.slope")
        self.add_loss(op, self.batch_rows("loss.x"), slope)
        if grad is not None:
            self.program.add(
                "narrow_from_rows", "rows", x=slope, out=self.rows(grad), columns=grad.columns
            )

    def _as_rows(self, buffer: Buffer) -> Rows:
        """Return where rows of one number lie, which are the samples of one unit."""
        at, _, flip = self.batch_rows(buffer)
        return at, 1, flip

    def _add_forward(self, op: Operation) -> None:
        given = op.arguments
        weight: Buffer = given["w"]
        self.program.add(
            "narrow_forward", "rows", x=self.rows(given["x"]), out=self.rows(given["out"]),
            pre=self.rows(given["pre"]), biased=given["b"] is not None,
            weights=self.address("parameters", weight.offset), depth=weight.shape[0],
            columns=weight.shape[1], **self.activation_fields(given),
        )  # fmt: skip

    def _add_backward(self, op: Operation) -> None:
        given = op.arguments
        weight: Buffer = given["w"]
        fields: dict[str, Any] = self.activation_fields(given)
        if given["activation"] != "identity":
            fields["stored"] = self.rows(given["stored"])
        if given["dw"] is not None:
            fields["gradient"] = self.address("gradients", given["dw"].offset)
        self.program.add(
            "narrow_backward", "rows", x=self.rows(given["x"]), grad=self.rows(given["grad"]),
            out=self.rows(given["dx"]), biased=given["db"] is not None,
            weights=self.address("parameters", weight.offset), depth=weight.shape[0],
            columns=weight.shape[1], **fields,
        )  # fmt: skip
