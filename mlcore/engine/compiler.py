"""What the two translations of a plan into a program of the compiled executor have in common."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore.door import Targets
from mlcore.kernels import native
from mlcore.plan import Buffer, Operation, Plan, aligned_zeros

# The address of a batch buffer, its stride in elements, and the bytes to its second copy.
Rows = tuple[int, int, int]
LINE = 64
# An extra thread must bring more than its barriers cost.
FLOPS_A_THREAD = 1e6
SOURCE_KINDS = {"uint8": 0, "float32": 1, "float64": 2}
# The number that a loss takes, by its kernel.
LOSS_SETTINGS = {
    "softmax_cross_entropy": "smoothing",
    "sigmoid_cross_entropy": "smoothing",
    "huber": "delta",
    "hinge": "margin",
}
# The order of an optimizer's numbers and vectors in its operation.
UPDATE_SETTINGS = {
    "sgd": ("momentum", "dampening", "nesterov"),
    "adam": ("beta_1", "beta_2", "epsilon"),
    "adamw": ("beta_1", "beta_2", "epsilon"),
    "rmsprop": ("rho", "epsilon", "momentum"),
    "adagrad": ("epsilon",),
}
UPDATE_STATE = {
    "sgd": ("velocity",),
    "adam": ("first_moment", "second_moment"),
    "adamw": ("first_moment", "second_moment"),
    "rmsprop": ("square_average", "gradient_average", "velocity"),
    "adagrad": ("square_sum",),
}
# Operations over runs of flat vectors, beside the updates themselves, and the fields of their
# vectors by the names of the arguments.
FLAT = ("block_sums", "penalty", "penalty_gradient", "accumulate", "clip", "max_norm")
FLAT_VECTORS = {
    "x": "source", "weights": "weights", "parameters": "weights", "gradients": "gradient",
}  # fmt: skip


class Compiler:
    """Translates a plan; gone once the program is made.

    Parameters
    ----------
    plan, vectors, inputs, targets, scale, seed : as `NativeExecutor` takes them
    """

    def __init__(
        self,
        plan: Plan,
        vectors: dict[str, NDArray[Any]],
        inputs: NDArray[Any],
        targets: Targets | None,
        *,
        scale: float,
        seed: int,
    ) -> None:
        self.plan, self.vectors, self.inputs, self.targets = plan, vectors, inputs, targets
        self.scale, self.seed = scale, seed
        self.module: Any = plan.backend.module
        self.size = plan.dtype.itemsize
        self.lanes: int = self.module.LANES[plan.dtype.name]
        self.places: dict[str, Rows] = {}
        self.used = 0
        self.program = native.program(
            self.module, single=plan.dtype == np.float32, scratch_bytes=self.scratch_bytes()
        )
        self.program.keep(inputs, targets, *vectors.values())
        self.memory = self.reserve()
        self.program.keep(self.memory)
        self.base: int = self.memory.ctypes.data
        self.write()
        self.program.finish(self.blocks(), self.grain())

    def scratch_bytes(self) -> int:
        """Return what each thread needs beside the buffers."""
        return 0

    def blocks(self) -> int:
        """Return in how many blocks of rows a batch is best taken, on one thread."""
        return 1

    def grain(self) -> int:
        """Return by how many rows threads share out a batch."""
        return 1

    def place_buffers(self) -> None:
        """Call `place` for every batch buffer."""
        raise NotImplementedError

    def write(self) -> None:
        """Add the operations to the program."""
        raise NotImplementedError

    def place(self, name: str, elements: int, stride: int, itemsize: int, twice: bool) -> None:
        """Give a buffer its place.

        Buffers stand a cache line apart, so that those whose size is a power of two do not
        begin at the same place of the cache.
        """
        size = -(-elements * itemsize // LINE) * LINE + LINE
        self.places[name] = (self.used, stride, size if twice else 0)
        self.used += 2 * size if twice else size

    def reserve(self) -> NDArray[Any]:
        """Return the memory of all buffers that are not flat vectors."""
        self.place_buffers()
        self._place_scratch()
        return aligned_zeros(self.used, np.uint8)

    def _place_scratch(self) -> None:
        """Place the buffers that no batch has to do with; some are parts of others."""
        scratch = {b.name: b for b in self.plan.buffers() if b.place == "scratch"}
        whole, end = 0, 0
        for buffer in sorted(scratch.values(), key=lambda b: (b.offset, -elements(b))):
            if buffer.offset >= end:
                whole, size = self.used - buffer.offset, elements(buffer)
                end = buffer.offset + size * buffer.dtype.itemsize
                self.place(buffer.name, size, 0, buffer.dtype.itemsize, False)
            self.places[buffer.name] = (whole + buffer.offset, 0, 0)

    def rows(self, buffer: Buffer | str | None) -> Rows | None:
        """Return where a batch buffer lies, as the program takes it."""
        if buffer is None:
            return None
        at, stride, flip = self.places[buffer if isinstance(buffer, str) else buffer.memory]
        return self.base + at, stride, flip

    def batch_rows(self, buffer: Buffer | str) -> Rows:
        """Return where a batch buffer lies that is there for sure."""
        rows = self.rows(buffer)
        assert rows is not None
        return rows

    def address(self, name: str, offset: int = 0) -> int:
        """Return the address of an element of a flat vector."""
        address: int = self.vectors[name].ctypes.data
        return address + offset * self.size

    def source_of(self, gather: Operation) -> dict[str, Any]:
        """Return the fields that say from what, and with which factor, a batch is gathered."""
        given = gather.arguments
        if gather.kernel == "gather_labels":
            return {"source": self.given_targets.array.ctypes.data}
        if gather.kernel == "gather_weights":
            weights = self.given_targets.weights
            assert weights is not None
            kind = SOURCE_KINDS[weights.dtype.name]
            at, _, flip = self.batch_rows(given["out"])
            return {
                "source": weights.ctypes.data, "source_kind": kind, "parameter": 1.0,
                "columns": 1, "out": (at, 1, flip),
            }  # fmt: skip
        is_input = given["source"].name == "inputs"
        array = self.inputs if is_input else self.given_targets.array
        return {
            "source": array.ctypes.data,
            "source_kind": SOURCE_KINDS[array.dtype.name],
            "parameter": self.scale if is_input else 1.0,
            "columns": given["out"].columns,
        }

    @property
    def given_targets(self) -> Targets:
        """The targets of a plan that has a loss."""
        if self.targets is None:
            raise TypeError("a plan with a loss needs targets")
        return self.targets

    @property
    def counts_classes(self) -> bool:
        """Whether right answers are counted by classes that the loss does not gather."""
        return (
            self.targets is not None
            and self.targets.classes is not None
            and not self.targets.labelled
        )

    def place_answers(self, twice: bool) -> None:
        """Place the count of right answers, and the classes that it needs."""
        batch = self.plan.batch_size
        self.place("right", batch, 0, 8, False)
        if self.counts_classes:
            self.place("classes", batch, 0, 4, twice)

    def gather_classes(self) -> None:
        """Add the gather of the classes by which right answers are counted."""
        if self.counts_classes:
            classes = self.given_targets.classes
            assert classes is not None
            self.program.add(
                "gather_labels", "rows", source=classes.ctypes.data, out=self.rows("classes")
            )

    def add_loss(self, op: Operation, outputs: Rows, grad: Rows | None) -> None:
        """Add the loss, and the count of right answers where there are any."""
        given = op.arguments
        answers = self.rows(given.get("labels") or given["targets"])
        columns = (given.get("logits") or given["outputs"]).columns
        common = {"x": outputs, "columns": columns}
        self.program.add(
            "loss", "rows", targets=answers, out=self.rows(given["losses"]), grad=grad,
            **common, **self.loss_fields(op),
        )  # fmt: skip
        targets = self.given_targets
        if targets.sides:
            self.program.add(
                "count_sides", "rows", targets=answers, out=self.rows("right"), **common
            )
        elif targets.classes is not None:
            judged = answers if targets.labelled else self.rows("classes")
            self.program.add(
                "count_classes", "rows", targets=judged, out=self.rows("right"), **common
            )

    def loss_fields(self, op: Operation) -> dict[str, Any]:
        """Return which loss an operation computes, its number, and the weights of samples."""
        given = op.arguments
        kind = "squared_hinge" if given.get("squared") else op.kernel
        setting = LOSS_SETTINGS.get(op.kernel)
        return {
            "loss": self.module.LOSS_CODES[kind],
            "parameter": given[setting] if setting else 0.0,
            "sample_weights": self.rows(given["weights"]),
        }

    def add_total(self) -> None:
        """Add the sums over a step, after which a loss that is not finite ends the run."""
        judged = self.given_targets.judge is not None
        penalties = self.plan.penalties
        self.program.add(
            "total", "rows", x=self.rows(self.plan.losses),
            sample_weights=self.rows(self.plan.weights),
            targets=self.rows("right") if judged else None,
            stored=self.rows(penalties),
            depth=0 if penalties is None else elements(penalties),
        )  # fmt: skip

    def activation_fields(self, given: Any) -> dict[str, Any]:
        """Return an operation's activation and its parameter."""
        return {
            "activation": self.module.ACTIVATION_CODES[given["activation"]],
            "parameter": given["parameter"],
        }

    def add_flat(self, op: Operation) -> None:
        """Add an operation over runs of flat vectors, whose blocks threads share."""
        given, kind = op.arguments, op.kernel
        fields: dict[str, Any] = {"updates": op.phase == "update"}
        for name in FLAT_VECTORS.keys() & given.keys():
            fields[FLAT_VECTORS[name]] = self.of_vector(given[name])
            fields["columns"] = elements(given[name])
        if given.get("sums") is not None:
            fields["out" if kind == "block_sums" else "x"] = self.rows(given["sums"])
            fields["depth"] = given["sums"].shape[0]
        if kind in UPDATE_STATE:
            names = UPDATE_STATE[kind]
            state = [self.of_vector(given[name]) if given[name] else 0 for name in names]
            fields |= self.rule_fields(op, state)
            kind = "update"
        elif kind in ("penalty", "penalty_gradient"):
            fields["settings"] = [given[name] for name in ("l1", "l2", "norm")]
            fields["out"] = self.rows(given.get("value"))
        elif kind == "accumulate":
            fields |= {"state": [self.of_vector(given["total"])], "settings": [given["steps"]]}
        elif kind == "clip":
            fields["parameter"] = given["limit"]
        elif kind == "max_norm":
            depth, columns = given["weights"].shape
            fields |= {"depth": depth, "columns": columns, "parameter": given["limit"]}
        self.program.add(kind, "blocks", **fields)

    def of_vector(self, buffer: Buffer) -> int:
        """Return the address of a run of a flat vector."""
        return self.address(buffer.place, buffer.offset)

    def rule_fields(self, rule: Operation, state: list[int]) -> dict[str, Any]:
        """Return the settings of an update; `state` holds the addresses of its vectors."""
        given = rule.arguments
        plain = rule.kernel == "sgd" and given["velocity"] is None
        return {
            "update": "plain_sgd" if plain else rule.kernel,
            "state": state,
            "settings": [float(given[name]) for name in UPDATE_SETTINGS[rule.kernel]],
            "weight_decay": given["weight_decay"],
        }


def elements(buffer: Buffer) -> int:
    """Return how many numbers a buffer holds, without padding."""
    return math.prod(buffer.shape)


def bias_follows_weight(weight: Buffer, bias: Buffer | None) -> bool:
    """Tell whether weight and bias of a dense layer are one run of the flat vectors."""
    return bias is None or bias.offset == weight.offset + elements(weight)
