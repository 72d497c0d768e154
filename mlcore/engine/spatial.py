"""Images, and normalized features: samples across the lanes, as lanes.h describes.

Convolution, pooling and normalization work in that layout, and activations between them; dense
layers, noise and losses in rows. A buffer that is wanted in a layout that it was not written in is
turned round first, once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.engine.compiler import Rows, elements
from mlcore.kernels import ACTIVATIONS, TABLE
from mlcore.plan import Buffer, Operation, aligned_zeros

if TYPE_CHECKING:
    from mlcore.engine.wide import WideCompiler

# What reads an element of the gradient only to write the result's.
ELEMENTWISE_BACKWARD = ("activation_backward", "batch_norm_backward", "normalize_backward")
WINDOW = ("stride_h", "stride_w", "pad_top", "pad_left")


class Spatial:
    """Writes the operations of a `WideCompiler` whose samples stand across the lanes."""

    def __init__(self, compiler: WideCompiler) -> None:
        self.compiler = compiler
        self.lanes = compiler.lanes
        self.groups = -(-compiler.plan.batch_size // self.lanes)
        self.operations = _in_lanes(compiler.rest)
        # In which layouts what was last written to a memory stands; in rows if it is not here.
        self.layouts: dict[str, set[bool]] = {}
        self.fused: list[Operation] = []
        self.writers: dict[str, Callable[[Operation], None]] = {
            "conv2d": self._convolution,
            "conv2d_backward": self._convolution_backward,
            "max_pool": self._pool,
            "avg_pool": self._pool,
            "max_pool_backward": self._pool_backward,
            "avg_pool_backward": self._pool_backward,
            "batch_norm": self._batch_norm,
            "batch_norm_backward": self._batch_norm_backward,
            "normalize": self._normalize,
            "normalize_backward": self._normalize_backward,
            "layer_norm": self._layer_norm,
            "layer_norm_backward": self._layer_norm_backward,
            "activation": self._activation,
            "activation_backward": self._activation,
        }

    @property
    def used(self) -> bool:
        """Whether anything stands across the lanes."""
        return bool(self.operations)

    def runs(self, op: Operation) -> bool:
        """Tell whether an operation works across the lanes."""
        return any(op is other for other in self.operations)

    def place(self) -> None:
        """Place what stands across the lanes."""
        for op in self.operations:
            for buffer in op.buffers.values():
                if buffer.place == "arena" and _name(buffer) not in self.compiler.places:
                    over = self._written_over(op, buffer)
                    if over is not None:
                        self.compiler.places[_name(buffer)] = self.compiler.places[_name(over)]
                    else:
                        self._place(_name(buffer), math.prod(buffer.sample))
            if op.kernel == "conv2d":
                geometry = _geometry(op)
                if _leaves(geometry):
                    self._place(_field(op), math.prod(_surrounded(geometry)) * geometry["channels"])

    def _written_over(self, op: Operation, result: Buffer) -> Buffer | None:
        """Return the gradient in whose place a result may come, as nothing else reads it.

        The fewer buffers, the more of them stay in the caches.
        """
        if op.kernel not in ELEMENTWISE_BACKWARD or result is op.arguments["grad"]:
            return None
        grad: Buffer = op.arguments["grad"]
        is_result = result in (op.arguments.get("out"), op.arguments.get("dx"))
        return grad if is_result and self._read_by(grad) == [op] else None

    def _read_by(self, buffer: Buffer) -> list[Operation]:
        """Return the operations that read the memory of a buffer."""
        return [
            op
            for op in self.compiler.rest
            for name, other in op.buffers.items()
            if other.memory == buffer.memory and TABLE[op.kernel].arrays[name].role != "out"
        ]

    def _place(self, name: str, size: int) -> None:
        stride = size * self.lanes
        self.compiler.place(name, self.groups * stride, stride, self.compiler.size, False)

    def bring(self, op: Operation) -> None:
        """Turn round what an operation reads, and note what it writes."""
        wanted = self.runs(op)
        specs = TABLE[op.kernel].arrays
        for name, buffer in op.buffers.items():
            if buffer.place == "arena" and specs[name].role == "in":
                self.turn(buffer, wanted=wanted)
        for name, buffer in op.buffers.items():
            if buffer.place == "arena" and specs[name].role != "in":
                self.layouts[buffer.memory] = {wanted}

    def turn(self, buffer: Buffer, *, wanted: bool) -> None:
        """Bring a buffer across the lanes, or into rows, if it does not stand there."""
        layouts = self.layouts.setdefault(buffer.memory, {False})
        if wanted in layouts:
            return
        layouts.add(wanted)
        rows, lanes = self.compiler.rows(buffer), self._at(buffer)
        self.compiler.program.add(
            "to_lanes" if wanted else "from_lanes", "rows", x=rows if wanted else lanes,
            out=lanes if wanted else rows, columns=math.prod(buffer.sample),
            ones=not wanted and buffer.memory in self.compiler.ones,
        )  # fmt: skip

    def write(self, op: Operation) -> None:
        """Add an operation across the lanes."""
        if not any(op is other for other in self.fused):
            self.writers[op.kernel](op)

    def _at(self, buffer: Buffer | None) -> Rows | None:
        return None if buffer is None else self.compiler.rows(_name(buffer))

    def _array(self, *shape: int, dtype: Any = None) -> int:
        """Return the address of memory that lives as long as the program."""
        array = aligned_zeros(math.prod(shape), dtype or self.compiler.plan.dtype)
        self.compiler.program.keep(array)
        address: int = array.ctypes.data
        return address

    def _parameter(self, buffer: Buffer | None) -> int:
        if buffer is None:
            return 0
        return self.compiler.address(buffer.place, buffer.offset)

    def _features(self, buffer: Buffer) -> int:
        """Return the address of numbers by feature that one operation leaves to another."""
        rows = self.compiler.rows(buffer)
        assert rows is not None
        return rows[0]

    def _activation(self, op: Operation) -> None:
        given = op.arguments
        read = {name: self._at(given[name]) for name in ("x", "grad", "stored") & given.keys()}
        self.compiler.program.add(
            f"lane_{op.kernel}", "rows", out=self._at(given["out"]),
            columns=math.prod(given["out"].sample), **read,
            **self.compiler.activation_fields(given),
        )  # fmt: skip

    def _convolution(self, op: Operation) -> None:
        """Add a convolution, with the activation behind it if there is one."""
        given, geometry = op.arguments, _geometry(op)
        x = self._at(given["x"])
        if _leaves(geometry):
            field = self.compiler.rows(_field(op))
            self.compiler.program.add("surround", "rows", x=x, out=field, geometry=geometry)
            x, geometry = field, _inside(geometry)
        self.compiler.program.add(
            "convolution", "rows", x=x, weights=self._parameter(given["w"]),
            beta=self._parameter(given["b"]), geometry=geometry, **self._activated(op),
        )  # fmt: skip

    def _activated(self, op: Operation) -> dict[str, Any]:
        """Return the fields for what an operation makes, and for the activation behind it."""
        out = op.arguments["out"]
        following = self._activation_behind(op)
        if following is None:
            return {"out": self._at(out)}
        self.fused.append(following)
        result = following.arguments["out"]
        kept = result.memory != out.memory and self._read_by(out) != [following]
        return {
            "out": self._at(result),
            "pre": self._at(out) if kept else None,
            **self.compiler.activation_fields(following.arguments),
        }

    def _activation_behind(self, op: Operation) -> Operation | None:
        operations = self.compiler.rest
        at = operations.index(op) + 1
        if at == len(operations) or operations[at].kernel != "activation":
            return None
        following = operations[at]
        same = following.arguments["x"].memory == op.arguments["out"].memory
        return following if same and self.runs(following) else None

    def _convolution_backward(self, op: Operation) -> None:
        given, geometry = op.arguments, _geometry(op)
        grad = self._at(given["grad"])
        if given["dx"] is not None:
            self.compiler.program.add(
                "convolution_input_gradient", "rows", grad=grad, out=self._at(given["dx"]),
                weights=self._parameter(given["w"]), geometry=geometry,
            )  # fmt: skip
        if given["dw"] is None:
            return
        x = self._at(given["x"])
        if _leaves(geometry):
            x, geometry = self.compiler.rows(_field(op)), _inside(geometry)
        weights, filters = elements(given["w"]), given["w"].shape[3]
        row = weights + filters
        partial = self._array(self.groups, row)
        self.compiler.program.add(
            "convolution_weight_gradient", "rows", x=x, grad=grad, geometry=geometry,
            partial=partial, partial_row=row, biased=given["db"] is not None,
        )  # fmt: skip
        self._learn(given["dw"], partial, row)
        if given["db"] is not None:
            self._learn(given["db"], partial + weights * self.compiler.size, row)

    def _learn(self, gradient: Buffer, partial: int, row: int) -> None:
        """Leave for the end of the step: the sum over the groups, and the update from it."""
        self.compiler.learning_flat.append((
            "add_partials",
            {
                "partial": partial, "partial_row": row, "columns": elements(gradient),
                **self.compiler.flat_update_of(gradient),
            },
        ))  # fmt: skip

    def _pool(self, op: Operation) -> None:
        given = op.arguments
        self.compiler.program.add(
            op.kernel, "rows", x=self._at(given["x"]), out=self._at(given["out"]),
            geometry=_geometry(op),
        )  # fmt: skip

    def _pool_backward(self, op: Operation) -> None:
        given = op.arguments
        self.compiler.program.add(
            op.kernel, "rows", x=self._at(given.get("x")), grad=self._at(given["grad"]),
            out=self._at(given["dx"]), geometry=_geometry(op),
        )  # fmt: skip

    def _batch_norm(self, op: Operation) -> None:
        given = op.arguments
        _, positions, channels = given["x"].shape
        x = self._at(given["x"])
        moments = {
            "partial": self._array(self.groups, 2 * channels, dtype=np.float64),
            "partial_row": 2 * channels, "positions": positions, "columns": channels,
        }  # fmt: skip
        kept = {
            "mean": self._features(given["mean"]), "inverse": self._features(given["inverse"])
        }  # fmt: skip
        joined = {**moments, **kept, "parameter": given["epsilon"]}
        self.compiler.program.add("moments", "rows", x=x, **moments)
        self.compiler.program.add("join_moments", "cells", **joined)
        self.compiler.program.add(
            "normalize", "rows", x=x, positions=positions, columns=channels,
            gamma=self._parameter(given["gamma"]), beta=self._parameter(given["beta"]), **kept,
            **self._activated(op),
        )  # fmt: skip
        # The running averages wait until it is known that the loss is a number.
        running = {
            "running_mean": self._parameter(given["running_mean"]),
            "running_variance": self._parameter(given["running_variance"]),
            "settings": [given["momentum"]],
        }
        self.compiler.learning_flat.append(("join_moments", {**joined, **running}))

    def _batch_norm_backward(self, op: Operation) -> None:
        given = op.arguments
        kept = {
            "mean": self._features(given["mean"]), "inverse": self._features(given["inverse"])
        }  # fmt: skip
        self._normalization_backward(op, kept, moves=True)

    def _normalize(self, op: Operation) -> None:
        given = op.arguments
        _, positions, channels = given["x"].shape
        kept = self._given_moments(op)
        self.compiler.program.add(
            "normalize", "rows", x=self._at(given["x"]), positions=positions, columns=channels,
            gamma=self._parameter(given["gamma"]), beta=self._parameter(given["beta"]), **kept,
            **self._activated(op),
        )  # fmt: skip

    def _given_moments(self, op: Operation) -> dict[str, int]:
        given = op.arguments
        channels = given["x"].shape[2]
        inverse = self._array(channels)
        self.compiler.program.add(
            "invert_roots", "cells", columns=channels, inverse=inverse,
            running_variance=self._parameter(given["variance"]), parameter=given["epsilon"],
        )  # fmt: skip
        return {"mean": self._parameter(given["mean"]), "inverse": inverse}

    def _normalize_backward(self, op: Operation) -> None:
        self._normalization_backward(op, self._given_moments(op), moves=False)

    def _normalization_backward(self, op: Operation, kept: dict[str, int], *, moves: bool) -> None:
        given = op.arguments
        _, positions, channels = given["x"].shape
        x, grad = self._at(given["x"]), self._at(given["grad"])
        learned = {name: given[name] for name in ("dgamma", "dbeta") if given[name] is not None}
        common = {"positions": positions, "columns": channels, **kept}
        means = self._array(2, channels)
        if learned or moves:
            partial = self._array(self.groups, 2 * channels, dtype=np.float64)
            sums = {"partial": partial, "partial_row": 2 * channels}
            updates = {
                name: self.compiler.flat_update_of(gradient) for name, gradient in learned.items()
            }
            self.compiler.program.add("normalize_sums", "rows", grad=grad, x=x, **common, **sums)
            self.compiler.program.add(
                "join_sums", "cells", positions=positions, columns=channels, means=means, **sums,
                **{name[1:]: update["gradient"] for name, update in updates.items()},
            )  # fmt: skip
            for update in updates.values():
                if "update" in update:
                    self.compiler.learning_flat.append(("update", {"columns": channels, **update}))
        if given["dx"] is not None:
            self.compiler.program.add(
                "normalize_backward", "rows", grad=grad, x=x, out=self._at(given["dx"]),
                gamma=self._parameter(given["gamma"]), means=means if moves else 0, **common,
            )  # fmt: skip

    def _layer_norm(self, op: Operation) -> None:
        given = op.arguments
        _, positions, channels = given["x"].shape
        self.compiler.program.add(
            "layer_norm", "rows", x=self._at(given["x"]), out=self._at(given["out"]),
            stored=self._at(given["mean"]), pre=self._at(given["inverse"]),
            positions=positions, columns=channels, gamma=self._parameter(given["gamma"]),
            beta=self._parameter(given["beta"]), parameter=given["epsilon"],
        )  # fmt: skip

    def _layer_norm_backward(self, op: Operation) -> None:
        given = op.arguments
        _, positions, channels = given["x"].shape
        partial = self._array(self.groups, 2 * channels)
        self.compiler.program.add(
            "layer_norm_backward", "rows", grad=self._at(given["grad"]),
            x=self._at(given["x"]), stored=self._at(given["mean"]),
            pre=self._at(given["inverse"]), out=self._at(given["dx"]),
            positions=positions, columns=channels, gamma=self._parameter(given["gamma"]),
            partial=partial, partial_row=2 * channels,
        )  # fmt: skip
        if given["dgamma"] is not None:
            self._learn(given["dgamma"], partial, 2 * channels)
        if given["dbeta"] is not None:
            self._learn(given["dbeta"], partial + channels * self.compiler.size, 2 * channels)


def _in_lanes(operations: list[Operation]) -> list[Operation]:
    """Return the operations that work across the lanes: activations do where their input is."""
    found: list[Operation] = []
    written: set[str] = set()
    for op in operations:
        given = op.arguments
        wanted = TABLE[op.kernel].group in ("spatial", "norm")
        if op.kernel in ("activation", "activation_backward"):
            source: Buffer = given.get("x") or given["stored"]
            wanted = source.memory in written and not ACTIVATIONS[given["activation"]].rowwise
        made = {
            buffer.memory
            for name, buffer in op.buffers.items()
            if TABLE[op.kernel].arrays[name].role != "in"
        }
        written = written | made if wanted else written - made
        if wanted:
            found.append(op)
    return found


def _name(buffer: Buffer) -> str:
    """Return what the memory of a buffer is called across the lanes."""
    return f"{buffer.memory} in lanes"


def _field(op: Operation) -> str:
    """Return the name of a convolution's input with zeros around it."""
    return f"{op.arguments['x'].memory} around {op.owner}"


def _geometry(op: Operation) -> dict[str, int]:
    """Return the fields of Geometry in engine.h."""
    given = op.arguments
    image: Buffer = given.get("x") or given["dx"]
    result: Buffer = given.get("out") or given["grad"]
    window = given["w"].shape[:2] if "w" in given else (given["size_h"], given["size_w"])
    _, height, width, channels = image.shape
    _, out_height, out_width, out_channels = result.shape
    stride_height, stride_width, pad_top, pad_left = (given[name] for name in WINDOW)
    return {
        "height": height, "width": width, "channels": channels, "out_height": out_height,
        "out_width": out_width, "out_channels": out_channels, "window_height": window[0],
        "window_width": window[1], "stride_height": stride_height, "stride_width": stride_width,
        "pad_top": pad_top, "pad_left": pad_left,
    }  # fmt: skip


def _surrounded(geometry: dict[str, int]) -> tuple[int, int]:
    """Return the height and width that the windows reach over."""
    height, width = (
        (geometry[f"out_{side}"] - 1) * geometry[f"stride_{side}"] + geometry[f"window_{side}"]
        for side in ("height", "width")
    )
    return height, width


def _leaves(geometry: dict[str, int]) -> bool:
    """Tell whether a window reaches over an edge of the image."""
    height, width = _surrounded(geometry)
    beyond = height > geometry["height"] or width > geometry["width"]
    return beyond or geometry["pad_top"] > 0 or geometry["pad_left"] > 0


def _inside(geometry: dict[str, int]) -> dict[str, int]:
    """Return the geometry of the image with its zeros around it."""
    height, width = _surrounded(geometry)
    return {**geometry, "height": height, "width": width, "pad_top": 0, "pad_left": 0}
