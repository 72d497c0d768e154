"""Networks of few units: batches lie the other way round, with samples along the vectors.

Rows of a few numbers would leave much of a vector empty. Weights stay where they are, and the
plan's own updates run over the flat vectors. A large batch goes in groups of samples, each from the
first layer to the last and back, in buffers of the thread that takes it.
"""

from __future__ import annotations

from typing import Any

from mlcore.door import Targets
from mlcore.engine.compiler import (
    FLAT,
    FLOPS_A_THREAD,
    LINE,
    UPDATE_STATE,
    Compiler,
    Rows,
    bias_follows_weight,
    elements,
)
from mlcore.kernels import ACTIVATIONS, TABLE
from mlcore.plan import Buffer, Operation, Plan

# Measured: where panels are faster, networks are not narrow. Up to the second width half of a
# vector of samples is enough, beyond it a whole one; and work for two threads takes several.
WIDEST, WIDEST_OF_HALF = 64, 8
VECTORS_FOR_THREADS = 4
# What is only there for rows, as are labels.
BY_ROWS = ("gaussian_noise", "dropout", "softmax_cross_entropy")
# A larger batch goes in groups of so many samples.
GROUP = 128


class NarrowCompiler(Compiler):
    """Translates a plan for which `suits` is true."""

    @staticmethod
    def suits(plan: Plan, targets: Targets | None) -> bool:
        """Tell whether every layer is narrow, and everything of the kinds that are here."""
        if plan.losses is None or plan.outputs is None or targets is None or targets.labelled:
            return False
        for op in plan.operations:
            activation = op.arguments.get("activation", "identity")
            if TABLE[op.kernel].group in ("spatial", "norm", "lookup") or op.kernel in BY_ROWS:
                return False
            if ACTIVATIONS[activation].rowwise:
                return False
            if op.kernel == "linear" and not bias_follows_weight(
                op.arguments["w"], op.arguments["b"]
            ):
                return False
        lanes = plan.backend.module.LANES[plan.dtype.name]
        buffers = [b for op in plan.operations for b in op.buffers.values() if len(b.shape) == 2]
        widest = max(buffer.columns for buffer in buffers)
        least = lanes // 2 if widest <= WIDEST_OF_HALF else lanes
        if plan.flops >= 2 * FLOPS_A_THREAD:
            least = VECTORS_FOR_THREADS * lanes
        return widest <= WIDEST and plan.batch_size >= least and plan.outputs.columns <= lanes // 2

    def scratch_bytes(self) -> int:
        """Return what a thread needs to turn round what it has, and for the buffers of a group."""
        batch = self.plan.batch_size
        if self.plan.flops >= 2 * FLOPS_A_THREAD:
            batch = -(-batch // 2)
        self.group = min(-(-batch // self.lanes) * self.lanes, GROUP)
        self.grouped = self.plan.batch_size > self.group
        self.stride = self.group
        buffers = [b for op in self.plan.operations for b in op.buffers.values()]
        self.turned = {b.memory: b for b in buffers if b.place == "arena" and len(b.shape) == 2}
        widest = max(b.columns for b in self.turned.values())
        used: int = (self.group + self.lanes + widest + 1) * 2 * self.lanes * self.size
        if self.grouped:
            # Rows that begin on the same place of a page would compete in the cache.
            self.stride += self.lanes
            for memory, buffer in self.turned.items():
                self.places[memory] = (used, self.stride, 0)
                used += (buffer.columns + 1) * self.stride * self.size
        return used

    def blocks(self) -> int:
        """Return the number of groups."""
        return -(-self.plan.batch_size // self.group)

    def grain(self) -> int:
        """Return the samples of a group."""
        return self.group

    def rows(self, buffer: Buffer | str | None) -> Rows | None:
        """Return where a batch buffer lies: that of a group, by its place in the scratch."""
        memory = buffer.memory if isinstance(buffer, Buffer) else buffer
        if self.grouped and memory in self.turned:
            return self.places[memory]
        return super().rows(buffer)

    def place_buffers(self) -> None:
        """Place every buffer as [units][samples], with a row of ones where a bias wants it."""
        operations = self.plan.operations
        self.ones = {
            op.arguments["x"].memory: op.arguments["x"] for op in operations if "w" in op.arguments
        }
        for op in operations:
            for buffer in op.buffers.values():
                if buffer.place != "arena" or buffer.memory in self.places:
                    continue
                if buffer.memory in self.turned:
                    rows = buffer.columns + 1
                    self.place(buffer.memory, rows * self.stride, self.stride, self.size, False)
                else:
                    size = buffer.dtype.itemsize
                    self.place(buffer.memory, elements(buffer), 0, size, False)
        self.place_answers(twice=False)
        if self.grouped and "gradients" in self.vectors:
            # Two threads never write to one line of the cache.
            self.partial_row = len(self.vectors["gradients"]) // LINE * LINE + 2 * LINE
            size = self.blocks() * self.partial_row
            self.place("partial", size, 0, self.size, False)

    def write(self) -> None:
        """Add the weights of samples, what goes over samples, the sums, and what remains."""
        if not self.grouped:
            for buffer in self.ones.values():
                self.program.fill_ones(*self.batch_rows(buffer)[:2], buffer.columns)
        flat = [op for op in self.plan.operations if op.kernel in (*FLAT, *UPDATE_STATE)]
        over_samples = [op for op in self.plan.operations if op not in flat]
        over_samples.sort(key=lambda op: op.kernel != "gather_weights")
        # Penalties look at parameters only, and would part the way there from the way back.
        for op in flat:
            if op.phase == "loss":
                self.add_flat(op)
        self.gather_classes()
        for op in over_samples:
            if op.phase == "loss":
                self._add_loss(op)
            elif op.kernel == "linear":
                self._add_forward(op)
            elif op.kernel == "linear_backward":
                self._add_backward(op)
            else:
                self._add_simple(op)
        self.add_total()
        if self.grouped and any(op.phase == "backward" for op in over_samples):
            self.program.add(
                "add_partials", "panels", partial=self.batch_rows("partial")[0],
                partial_row=self.partial_row, columns=len(self.vectors["gradients"]),
                gradient=self.address("gradients"),
            )  # fmt: skip
        for op in flat:
            if op.phase != "loss":
                self.add_flat(op)

    def _add_turned(self, kind: str, out: Buffer | None, **fields: Any) -> None:
        """Add an operation over turned buffers, of which `out` may want a row of ones."""
        wants_ones = out is not None and out.memory in self.ones
        self.program.add(
            kind, "rows", out=self.rows(out), local=self.grouped,
            ones=self.grouped and wants_ones, **fields,
        )  # fmt: skip

    def _add_simple(self, op: Operation) -> None:
        given = op.arguments
        out: Buffer = given["out"]
        if op.kernel == "gather":
            self._add_turned("narrow_gather", out, **self.source_of(op))
        elif op.kernel == "gather_weights":
            # The first group needs those of all samples: there is a barrier behind "panels".
            self.program.add(op.kernel, "panels", **{"out": self.rows(out), **self.source_of(op)})
        else:
            read = {name: self.rows(given[name]) for name in ("x", "grad", "stored") & given.keys()}
            self._add_turned(
                f"narrow_{op.kernel}", out, columns=out.columns, **read,
                **self.activation_fields(given),
            )  # fmt: skip

    def _add_loss(self, op: Operation) -> None:
        """Add the loss, and the count of right answers where there are any."""
        given, targets = op.arguments, self.given_targets
        outputs: Buffer = given.get("logits") or given["outputs"]
        common = {"x": self.rows(outputs), "columns": outputs.columns, "local": self.grouped}
        answers = self.rows(given["targets"])
        self.program.add(
            "narrow_loss", "rows", targets=answers, out=self.rows(given["losses"]),
            grad=self.rows(given["grad"]), **common, **self.loss_fields(op),
        )  # fmt: skip
        if targets.sides:
            self.program.add(
                "narrow_count_sides", "rows", targets=answers, out=self.rows("right"), **common
            )
        elif targets.classes is not None:
            self.program.add(
                "narrow_count_classes", "rows", source=self.batch_rows("classes")[0],
                out=self.rows("right"), **common,
            )  # fmt: skip

    def _add_forward(self, op: Operation) -> None:
        given = op.arguments
        weight: Buffer = given["w"]
        self._add_turned(
            "narrow_forward", given["out"], x=self.rows(given["x"]),
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
            offset = given["dw"].offset
            fields["gradient"] = self.address("gradients", offset)
            if self.grouped:
                partial = self.batch_rows("partial")[0]
                fields["partial"] = partial + offset * self.size
                fields["partial_row"] = self.partial_row
        self._add_turned(
            "narrow_backward", given["dx"], x=self.rows(given["x"]), grad=self.rows(given["grad"]),
            biased=given["db"] is not None,
            weights=self.address("parameters", weight.offset), depth=weight.shape[0],
            columns=weight.shape[1], **fields,
        )  # fmt: skip
