"""What is going to run: a model, a loss and an optimizer lowered to a flat list of kernel calls.

A `Plan` names, in order, every kernel of a step with its buffers. `Lowering` is how layers,
losses and optimizers write one. Scratch memory is one arena whose size is known before the
first step; parameters, gradients and optimizer state are flat vectors that the plan cuts views
from. Executors (`mlcore.executor`) run plans; `print(plan)` shows one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlcore.kernels import TABLE, Backend
from mlcore.kernels.errors import InputError
from mlcore.kernels.table import KINDS, Dims, blocks_of, match
from mlcore.layers.activation import ActivationFunction
from mlcore.layers.base import Backward, Layer

if TYPE_CHECKING:
    from mlcore.losses import Loss
    from mlcore.model import Sequential
    from mlcore.optimizers import Optimizer
    from mlcore.regularizers import Regularizer

ALIGNMENT = 64
Phase = Literal["data", "forward", "loss", "backward", "update"]


def aligned_zeros(size: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return a vector of zeros that begins on a cache line (64 bytes)."""
    kind = np.dtype(dtype)
    raw = np.zeros(size * kind.itemsize + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size * kind.itemsize].view(kind)


@dataclass(frozen=True)
class Buffer:
    """An array of a plan: where it lies and what shape it has.

    `place` is "arena" (then the first axis is the batch), "scratch" (in the arena too, of one shape
    however long a batch is), "data" (given with the data set), or the name of a flat vector:
    "parameters", "gradients", or an optimizer's state. `offset` counts bytes in the arena and
    elements in a vector. `memory` is the name of the buffer whose memory this is, under another
    shape; its own by default.
    """

    name: str
    place: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int = 0
    memory: str = ""

    def __post_init__(self) -> None:
        # A frozen dataclass can be filled in only from here, and from below its own __setattr__.
        object.__setattr__(self, "memory", self.memory or self.name)

    @property
    def columns(self) -> int:
        """The length of the second axis of a batch buffer."""
        return self.shape[1]

    @property
    def sample(self) -> tuple[int, ...]:
        """The shape of one sample of a batch buffer."""
        return self.shape[1:]


@dataclass(frozen=True)
class Setting:
    """A number that the executor fills in at each step, such as the learning rate."""

    name: str


@dataclass(frozen=True)
class Operation:
    """One kernel call: its arguments in the order of its row in the kernel table."""

    kernel: str
    owner: str
    phase: Phase
    arguments: Mapping[str, Any]

    def dims(self) -> Dims:
        """Return the sizes behind the letters of the kernel's row.

        Raises
        ------
        InputError
            Where the buffers do not fit each other: kernels do not look, and would write past
            their ends.
        """
        return self._dims

    @cached_property
    def _dims(self) -> Dims:
        row = TABLE[self.kernel]
        found: Dims = {}
        for name, spec in row.arrays.items():
            buffer = self.arguments[name]
            if buffer is None and not spec.optional:
                raise InputError(f"{self.kernel} of {self.owner} lacks its {name}")
            misfit = buffer and match(found, spec, buffer.shape)
            if misfit:
                raise InputError(f"{self.kernel} of {self.owner}: {name} {misfit}")
        if row.one_of and sum(self.arguments[name] is not None for name in row.one_of) != 1:
            raise InputError(f"{self.kernel} of {self.owner} needs one of {row.one_of}")
        return found

    @property
    def flops(self) -> float:
        """Floating-point operations of a full batch."""
        return TABLE[self.kernel].flops(self.dims(), self.buffers.keys())

    @cached_property
    def buffers(self) -> dict[str, Buffer]:
        """The arrays by argument name."""
        return {name: value for name, value in self.arguments.items() if isinstance(value, Buffer)}

    @property
    def bytes(self) -> int:
        """Bytes read and written by a full batch; of the data set, only the rows gathered."""
        total = 0
        for name, buffer in self.buffers.items():
            shape = buffer.shape
            if buffer.place == "data" and "rows" in self.arguments and name != "rows":
                shape = (self.arguments["rows"].shape[0], *shape[1:])
            total += math.prod(shape) * buffer.dtype.itemsize
        return total


@dataclass(frozen=True)
class Segment:
    """A run of the flat parameter vector that one update call covers."""

    start: int
    stop: int
    decays: bool


def part_of(buffer: Buffer, first: int, last: int) -> Buffer:
    """Return rows `first` to `last` - 1 of a scratch buffer."""
    if (first, last) == (0, buffer.shape[0]):
        return buffer
    row = math.prod(buffer.shape[1:]) * buffer.dtype.itemsize
    return replace(
        buffer,
        name=f"{buffer.name}[{first}:{last}]",
        shape=(last - first, *buffer.shape[1:]),
        offset=buffer.offset + first * row,
        memory="",
    )


def view_of(
    buffer: Buffer, vectors: Mapping[str, NDArray[Any]], arena: NDArray[Any], batch: int
) -> NDArray[Any]:
    """Return the memory of a buffer that is not data; one that lies in batches has `batch` rows."""
    if buffer.place in ("arena", "scratch"):
        shape = buffer.shape if buffer.place == "scratch" else (batch, *buffer.shape[1:])
        size = math.prod(shape) * buffer.dtype.itemsize
        part = arena[buffer.offset : buffer.offset + size]
        return part.view(buffer.dtype).reshape(shape)
    part = vectors[buffer.place][buffer.offset : buffer.offset + math.prod(buffer.shape)]
    return part.reshape(buffer.shape)


@dataclass(repr=False)
class Plan:
    """A flat list of kernel calls and the memory they need.

    Attributes
    ----------
    operations : list of Operation
        In the order they run: data, forward, loss, backward, update.
    batch_size : int
        The most samples of a step; a shorter batch uses the first rows of each buffer.
    arena_bytes : int
        Scratch memory, allocated once.
    outputs : Buffer or None
        The model's output, or the logits where the loss has taken over the last activation;
        None until the plan is lowered.
    losses : Buffer or None
        One loss a sample.
    weights : Buffer or None
        The weight of each sample, where they have any.
    penalties : Buffer or None
        One number for each penalty on the parameters; all of them belong to the mean loss.
    accumulation : int
        The steps whose gradients make one update.
    layers : dict of str to Buffer
        What every layer gives on, by its name; what does nothing gives on what it was given.
    unfused : list of str
        Why gradients are written and updates follow them, where the native engine would else
        take each update while its gradient is still in the cache.
    """

    batch_size: int
    dtype: np.dtype[Any]
    backend: Backend
    operations: list[Operation] = field(default_factory=list)
    arena_bytes: int = 0
    outputs: Buffer | None = None
    losses: Buffer | None = None
    weights: Buffer | None = None
    penalties: Buffer | None = None
    accumulation: int = 1
    layers: dict[str, Buffer] = field(default_factory=dict)
    unfused: list[str] = field(default_factory=list)

    @property
    def fused(self) -> bool:
        """Whether there are updates that may be taken as soon as their gradient is there."""
        return not self.unfused and any(op.phase == "update" for op in self.operations)

    @property
    def flops(self) -> float:
        """Floating-point operations of a step with a full batch."""
        return sum(operation.flops for operation in self.operations)

    def bind(self, vectors: Mapping[str, NDArray[Any]], arena: NDArray[Any], batch: int) -> Views:
        """Return the views of all buffers by name, with `batch` rows in those of the arena."""
        views: Views = {}
        # No kernel need know the outputs in the shape of rows.
        for buffer in [*self.buffers(), *([] if self.outputs is None else [self.outputs])]:
            if buffer.place != "data":
                views[buffer.name] = view_of(buffer, vectors, arena, batch)
        return views

    def buffers(self) -> Iterator[Buffer]:
        """Yield every array of every operation, some of them many times."""
        for operation in self.operations:
            yield from operation.buffers.values()
        if self.penalties is not None:
            yield self.penalties

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        lines: list[tuple[str, ...]] = [
            (
                str(number),
                operation.phase,
                operation.kernel,
                operation.owner,
                _shapes(operation),
                f"{operation.flops / 1e6:.3f}",
                f"{operation.bytes / 1024:.1f}",
                self.backend.name,
            )
            for number, operation in enumerate(self.operations, start=1)
        ]
        kilobytes = sum(operation.bytes for operation in self.operations) / 1024
        lines.append(
            ("", "", "", "a whole step", "", f"{self.flops / 1e6:.3f}", f"{kilobytes:.1f}", "")
        )
        head = ("#", "phase", "kernel", "of", "arrays", "MFLOP", "KiB", "runs on")
        title = (
            f"batch {self.batch_size}, {self.dtype.name}, backend {self.backend.name}, "
            f"arena {self.arena_bytes / 1024:.1f} KiB"
        )
        if self.unfused:
            title += f"\ngradients are written before updates: {', '.join(self.unfused)}"
        return f"{title}\n{table(head, lines, right=(0, 5, 6))}"


Views = dict[str, NDArray[Any]]

WINDOW_SETTINGS = (
    ("window", "size_h", "size_w"), ("strides", "stride_h", "stride_w"),
    ("pads", "pad_top", "pad_left"),
)  # fmt: skip


def _shapes(operation: Operation) -> str:
    row = TABLE[operation.kernel]
    sides: dict[bool, list[str]] = {True: [], False: []}
    for name, buffer in operation.buffers.items():
        size = "x".join(str(length) for length in buffer.shape)
        if buffer.place == "data" and buffer.shape[0] == 0:
            size = "x".join(["n", *(str(length) for length in buffer.shape[1:])])
        sides[row.arrays[name].role == "in"].append(f"{name} {size}")
    given = operation.arguments
    settings = [
        str(given[name])
        for name in ("activation", "rate", "stddev")
        if given.get(name) not in (None, "identity")
    ]
    settings += [
        f"{called} {given[down]}x{given[across]}"
        for called, down, across in WINDOW_SETTINGS
        if down in given
    ]
    settings += [
        f"{name} {operation.arguments[name]:g}"
        for name in ("l1", "l2", "norm", "limit", "steps")
        if operation.arguments.get(name)
    ]
    text = f"{', '.join(sides[True])} -> {', '.join(sides[False])}".lstrip()
    return f"{text} ({', '.join(settings)})" if settings else text


def table(head: tuple[str, ...], lines: Sequence[tuple[str, ...]], right: tuple[int, ...]) -> str:
    """Return aligned columns under a ruled head; the columns in `right` are right-aligned."""
    widths = [max(len(line[at]) for line in [head, *lines]) for at in range(len(head))]

    def row(line: tuple[str, ...]) -> str:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([row(head), "  ".join("-" * width for width in widths), *map(row, lines)])


class Lowering:
    """Writes a plan: what layers, losses and optimizers are handed.

    Parameters
    ----------
    model : Sequential
        Built, so that every parameter has its place.
    plan : Plan
        Empty; it is filled.
    gradients, noise : bool
        Whether backward follows, and whether layers behave as in training: noise layers act, and
        batch norm takes the moments of the batch.
    absorbed : Layer or None
        The layer whose activation the loss computes.
    """

    def __init__(
        self, model: Sequential, plan: Plan, *, gradients: bool, noise: bool, absorbed: Layer | None
    ) -> None:
        self.model = model
        self.plan = plan
        self.gradients = gradients
        self.noise = noise
        self.absorbed = absorbed

    def add(self, kernel: str, owner: str, phase: Phase, **arguments: Any) -> None:
        """Append a kernel call; the arguments are those of the kernel's row, all of them."""
        ordered = {name: arguments.pop(name) for name in TABLE[kernel].arguments}
        if arguments:
            raise TypeError(f"{kernel} does not take {sorted(arguments)}")
        operation = Operation(kernel, owner, phase, ordered)
        operation.dims()
        self.plan.operations.append(operation)

    def batch_buffer(self, name: str, *columns: int, kind: str = "real") -> Buffer:
        """Return a scratch buffer with the batch as its first axis."""
        dtype = np.dtype(KINDS[kind] or self.plan.dtype)
        return self._reserve(name, "arena", (self.plan.batch_size, *columns), dtype)

    def scratch(self, name: str, *shape: int, kind: str = "real") -> Buffer:
        """Return a scratch buffer of a shape that has nothing to do with the batch."""
        return self._reserve(name, "scratch", shape, np.dtype(KINDS[kind] or self.plan.dtype))

    def _reserve(
        self, name: str, place: str, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> Buffer:
        buffer = Buffer(name, place, shape, dtype, self.plan.arena_bytes)
        size = math.prod(shape) * dtype.itemsize
        self.plan.arena_bytes += -(-size // ALIGNMENT) * ALIGNMENT
        return buffer

    def reshaped(self, buffer: Buffer, *shape: int) -> Buffer:
        """Return a batch buffer's memory as samples of another shape, ``-1`` for all in a row."""
        if shape == (-1,):
            shape = (math.prod(buffer.sample),)
        if shape == buffer.sample:
            return buffer
        if math.prod(shape) != math.prod(buffer.sample):
            raise InputError(f"{buffer.name} has samples of {buffer.sample}, which are no {shape}")
        name = f"{buffer.memory} as {'x'.join(map(str, shape))}"
        return replace(buffer, name=name, shape=(buffer.shape[0], *shape))

    def data(self, name: str, *columns: int, dtype: DTypeLike) -> Buffer:
        """Return the place of an array that the caller brings with the data."""
        return Buffer(name, "data", (0, *columns), np.dtype(dtype))

    def rows(self) -> Buffer:
        """Return the place of the row numbers of the batch."""
        return Buffer("rows", "data", (self.plan.batch_size,), np.dtype(np.int64))

    def parameter(self, layer: Layer, name: str, shape: tuple[int, ...] | None = None) -> Buffer:
        """Return a parameter of `layer`, in its own shape or in the one that a kernel needs."""
        place = self.model.places[layer.name, name]
        return Buffer(
            f"{layer.name}.{name}", "parameters", shape or place.shape, self.plan.dtype, place.start
        )

    def gradient(self, layer: Layer, name: str, shape: tuple[int, ...] | None = None) -> Buffer:
        """Return the gradient of a parameter of `layer`, shaped like the parameter."""
        parameter = self.parameter(layer, name, shape)
        return replace(parameter, name=f"{parameter.name}.grad", memory="", place="gradients")

    def unfuse(self, reason: str) -> None:
        """Have every gradient written before the updates follow; the plan says why."""
        self.plan.unfused.append(reason)

    def block_sums(
        self, name: str, owner: str, phase: Phase, place: str, segments: Sequence[Segment]
    ) -> Buffer:
        """Add the sums over runs of a flat vector, and return them all, one row a block."""
        counts = [blocks_of(segment.stop - segment.start) for segment in segments]
        sums = self.scratch(name, sum(counts), 2, kind="sums")
        first = 0
        for segment, count in zip(segments, counts, strict=True):
            part = part_of(sums, first, first + count)
            self.add("block_sums", owner, phase, x=self.vector(place, segment), sums=part)
            first += count
        return sums

    def vector(self, place: str, segment: Segment) -> Buffer:
        """Return a run of a flat vector: parameters, gradients or optimizer state."""
        shape = (segment.stop - segment.start,)
        name = f"{place}[{segment.start}:{segment.stop}]"
        return Buffer(name, place, shape, self.plan.dtype, segment.start)

    def segments(self, *, split_by_decay: bool) -> Iterator[Segment]:
        """Yield the longest runs of trainable parameters, cut where decay begins or ends."""
        run: Segment | None = None
        for place in self.model.places.values():
            decays = place.decays or not split_by_decay
            if run and place.trainable and run.stop == place.start and run.decays == decays:
                run = Segment(run.start, place.stop, decays)
                continue
            if run:
                yield run
            run = Segment(place.start, place.stop, decays) if place.trainable else None
        if run:
            yield run

    def draw(self, layer: Layer) -> dict[str, Any]:
        """Return what makes the random numbers of `layer` its own."""
        stream = self.model.layers.index(layer)
        return {"seed": Setting("seed"), "stream": stream, "step": Setting("step")}

    def activation_of(self, layer: Layer) -> ActivationFunction:
        """Return the activation that `layer` is to apply: none if the loss computes it."""
        if layer is self.absorbed or layer.activation is None:
            return ActivationFunction()
        return layer.activation


def lower(
    model: Sequential,
    *,
    batch_size: int,
    loss: Loss | None = None,
    optimizer: Optimizer | None = None,
    regularizer: Regularizer | None = None,
    gradients: bool = False,
    fused: bool = True,
    noise: bool = False,
    source_dtype: DTypeLike = np.float32,
    labelled: bool = False,
    weighted: bool = False,
) -> Plan:
    """Lower a built model to the kernel calls of one step.

    Parameters
    ----------
    model : Sequential
    batch_size : int
    loss : Loss, optional
        Without one the plan ends with the model's output.
    optimizer : Optimizer, optional
        With one the plan updates the parameters.
    regularizer : Regularizer, optional
        The penalty on the whole model, beside those of its layers.
    gradients : bool
        Whether to write the gradients of the parameters; an optimizer implies it.
    fused : bool
        Whether the native engine may take an update while its gradient is still in the cache,
        and never write one. False has gradients and optimizer state stand in their flat vectors
        after every step. Where something needs whole gradients, the plan is unfused anyway, and
        says so.
    noise : bool
        Whether layers behave as in training: noise layers act, and batch norm takes the moments of
        the batch.
    source_dtype : dtype
        That of the data the batches are gathered from.
    labelled : bool
        Whether the targets are class labels rather than rows of numbers.
    weighted : bool
        Whether the samples have weights.
    """
    backward_wanted = gradients or optimizer is not None
    plan = Plan(batch_size, model.dtype, model.backend)
    absorbed = loss.absorbs(model.layers) if loss else None
    lowering = Lowering(model, plan, gradients=backward_wanted, noise=noise, absorbed=absorbed)

    row = lowering.batch_buffer("batch.x", model.features)
    lowering.add(
        "gather", "batch", "data",
        source=lowering.data("inputs", model.features, dtype=source_dtype),
        rows=lowering.rows(), scale=Setting("scale"), out=row,
    )  # fmt: skip
    x = lowering.reshaped(row, *model.input_shape)
    backwards: list[tuple[Layer, Backward | None]] = []
    for layer in model.layers:
        x, backward = layer.lower(lowering, x)
        backwards.append((layer, backward))
        plan.layers[layer.name] = x
    plan.outputs = lowering.reshaped(x, -1)
    if loss is not None:
        grad = loss.lower(lowering, plan.outputs, labelled, weighted)
        penalties = _lower_penalties(lowering, regularizer)
        if backward_wanted and grad is not None:
            learning = {place.layer for place in model.places.values() if place.trainable}
            _lower_backward(backwards, lowering.reshaped(grad, *x.sample), learning)
            for penalty in penalties:
                penalty.lower_gradient(lowering)
    if optimizer is not None:
        if not fused:
            lowering.unfuse("asked for")
        for penalty in penalties:
            lowering.unfuse(penalty.name)
        optimizer.lower(lowering)
        _lower_constraints(lowering)
    return plan


@dataclass
class Penalty:
    """A regularizer on runs of the parameters."""

    owner: str
    name: str
    regularizer: Regularizer
    segments: list[Segment]
    sums: Buffer | None = None

    def lower(self, plan: Lowering, value: Buffer) -> None:
        """Add its value."""
        self.sums = plan.block_sums(
            f"sums of {self.name}", self.owner, "loss", "parameters", self.segments
        )
        plan.add(
            "penalty", self.owner, "loss",
            sums=self.sums, **self.regularizer.strengths, value=value,
        )  # fmt: skip

    def lower_gradient(self, plan: Lowering) -> None:
        """Add its gradient to that of the loss."""
        for segment in self.segments:
            plan.add(
                "penalty_gradient", self.owner, "backward",
                parameters=plan.vector("parameters", segment), sums=self.sums,
                **self.regularizer.strengths, gradients=plan.vector("gradients", segment),
            )  # fmt: skip


def _lower_penalties(lowering: Lowering, regularizer: Regularizer | None) -> list[Penalty]:
    """Add the values of all penalties to the loss, and return them."""
    penalties = [
        Penalty(
            layer,
            f"{place.spec.regularizer.name} of {layer}.{name}",
            place.spec.regularizer,
            [Segment(place.start, place.stop, place.decays)],
        )
        for (layer, name), place in lowering.model.places.items()
        if place.trainable and place.spec.regularizer is not None
    ]
    if regularizer is not None:
        runs = lowering.segments(split_by_decay=not regularizer.of_biases)
        meant = [run for run in runs if run.decays or regularizer.of_biases]
        name = f"{regularizer.name} of the model"
        penalties.append(Penalty("model", name, regularizer, meant))
    penalties = [penalty for penalty in penalties if penalty.segments]
    if penalties:
        values = lowering.scratch("penalties", len(penalties), kind="sums")
        lowering.plan.penalties = values
        for number, penalty in enumerate(penalties):
            penalty.lower(lowering, part_of(values, number, number + 1))
    return penalties


def _lower_constraints(lowering: Lowering) -> None:
    """Add what brings parameters back to their limits after the update."""
    for (layer, name), place in lowering.model.places.items():
        limit = place.spec.constraint
        if limit is not None and place.trainable:
            columns = place.shape[-1]
            weights = Buffer(
                f"{layer}.{name} by columns", "parameters",
                (place.spec.size // columns, columns), lowering.plan.dtype, place.start,
            )  # fmt: skip
            lowering.unfuse(f"max_norm of {layer}.{name}")
            lowering.add("max_norm", layer, "update", weights=weights, limit=limit.max_value)


def _lower_backward(
    backwards: list[tuple[Layer, Backward | None]], grad: Buffer, learning: set[Layer]
) -> None:
    first = next(
        (at for at, (layer, _) in enumerate(backwards) if layer in learning), len(backwards)
    )
    flowing: Buffer | None = grad
    for at in range(len(backwards) - 1, first - 1, -1):
        backward = backwards[at][1]
        if backward is not None and flowing is not None:
            flowing = backward(flowing, at > first)
