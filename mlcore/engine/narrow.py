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
# A larger batch goes in groups of so many samples.
GROUP = 128


class NarrowCompiler(Compiler):
    """Translates a plan for which `suits` is true."""

    @staticmethod
    def suits(plan: Plan, targets: Targets | None) -> bool:
        """Tell whether every layer is narrow, and everything of the kinds that are here."""
        if plan.losses is None or plan.outputs is None or targets is None:
            return False
        for op in plan.operations:
            activation = op.arguments.get("activation", "identity")
            if TABLE[op.kernel].group in ("spatial", "norm", "lookup"):
                return False
            if op.kernel in ("gaussian_noise", "dropout") or ACTIVATIONS[activation].rowwise:
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
        return (
            widest <= WIDEST
            and plan.batch_size >= least
            and plan.outputs.columns <= (1 if _by_rows(targets) else lanes // 2)
        )

    def scratch_bytes(self) -> int:
        """Return what a thread needs to turn round what it has, and for the buffers of a group."""
        batch = self.plan.batch_size
        if self.plan.flops >= 2 * FLOPS_A_THREAD:
            batch = -(-batch // 2)
        self.group = min(-(-batch // self.lanes) * self.lanes, GROUP)
        self.grouped = self.plan.batch_size > self.group
        self.stride = self.group
        buffers = [b for op in self.plan.operations for b in op.buffers.values()]
        # One output is the same in rows and turned round, unless it comes in groups.
        self.alone = self._outputs().columns == 1 and not self.grouped
        self.turns = not self.alone and not _by_rows(self.given_targets)
        self.turned = {
            b.memory: b
            for b in buffers
            if b.place == "arena" and len(b.shape) == 2 and (self.turns or b.memory != "batch.y")
        }
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
                    columns = buffer.columns if len(buffer.shape) == 2 else 0
                    kind = buffer.dtype.itemsize
                    self.place(buffer.memory, elements(buffer), columns, kind, False)
        if not self.turns and not self.alone:
            for name in ("loss.x", "loss.slope"):
                self.place(name, self.plan.batch_size, 1, self.size, False)
        self.place_answers(twice=False)
        if self.grouped and "gradients" in self.vectors:
            # Two threads never write to one line of the cache.
            self.partial_row = len(self.vectors["gradients"]) // LINE * LINE + 2 * LINE
            size = self.blocks() * self.partial_row
            self.place("partial", size, 0, self.size, False)

    def _outputs(self) -> Buffer:
        outputs = self.plan.outputs
        assert outputs is not None
        return outputs

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
        if op.kernel == "gather" and (out.memory in self.turned or self.alone):
            self._add_turned("narrow_gather", out, **self.source_of(op))
        elif op.kernel.startswith("gather"):
            # The first group needs the weights of all samples: there is a barrier behind "panels".
            sharing = "panels" if op.kernel == "gather_weights" else "rows"
            self.program.add(op.kernel, sharing, **{"out": self.rows(out), **self.source_of(op)})
        else:
            read = {name: self.rows(given[name]) for name in ("x", "grad", "stored") & given.keys()}
            self._add_turned(
                f"narrow_{op.kernel}", out, columns=out.columns, **read,
                **self.activation_fields(given),
            )  # fmt: skip

    def _add_loss(self, op: Operation) -> None:
        given = op.arguments
        outputs, grad = self._outputs(), given["grad"]
        if self.alone:
            slope = None if grad is None else self._as_rows(grad)
            self.add_loss(op, self._as_rows(outputs), slope)
        elif self.turns:
            self.program.add(
                "narrow_loss", "rows", x=self.rows(outputs), targets=self.rows(given["targets"]),
                out=self.rows(given["losses"]), grad=self.rows(grad), columns=outputs.columns,
                local=self.grouped, **self.loss_fields(op),
            )  # fmt: skip
        else:
            self._add_loss_by_rows(op, outputs, grad)

    def _add_loss_by_rows(self, op: Operation, outputs: Buffer, grad: Buffer | None) -> None:
        """Add the loss of one output that comes in groups."""
        self.program.add(
            "narrow_to_row", "rows", x=self.rows(outputs), out=self.rows("loss.x"),
            columns=outputs.columns, local=self.grouped,
        )  # fmt: skip
        slope = None if grad is None else self.rows("loss.slope")
        self.add_loss(op, self.batch_rows("loss.x"), slope)
        if grad is not None:
            self._add_turned("narrow_from_row", grad, x=slope, columns=grad.columns)

    def _as_rows(self, buffer: Buffer) -> Rows:
        """Return where rows of one number lie, which are the samples of one unit."""
        at, _, flip = self.batch_rows(buffer)
        return at, 1, flip

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


def _by_rows(targets: Targets) -> bool:
    """Tell whether answers are counted, or classes told apart, which is done by rows."""
    return targets.judge is not None or targets.labelled
