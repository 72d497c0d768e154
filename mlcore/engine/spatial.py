"""Images, and normalized features: samples across the lanes, as lanes.h describes.

Convolution, pooling and normalization work in that layout, and activations between them; dense
layers, noise and losses in rows. A buffer that is wanted in the layout that it was not made in is
turned round once, into a twin.
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

TURNED = {True: "in lanes", False: "in rows"}
WINDOW = ("stride_h", "stride_w", "pad_top", "pad_left")


def is_spatial(op: Operation) -> bool:
    """Tell whether an operation works on samples across the lanes."""
    return TABLE[op.kernel].group in ("spatial", "norm")


class Spatial:
    """Writes the operations of a `WideCompiler` whose samples stand across the lanes."""

    def __init__(self, compiler: WideCompiler) -> None:
        self.compiler = compiler
        self.lanes = compiler.lanes
        self.groups = -(-compiler.plan.batch_size // self.lanes)
        # The buffers that are made in the lanes, by the name of their memory.
        self.homes: set[str] = set()
        self.turned: set[str] = set()
        self.fused: dict[str, Operation] = {}
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
        return bool(self.homes)

    def place(self) -> None:
        """Place what is made in the lanes, and the twins of what is wanted the other way."""
        operations = self.compiler.rest
        for op in operations:
            if is_spatial(op) or self._goes_on(op):
                self.homes |= {
                    buffer.memory
                    for name, buffer in op.buffers.items()
                    if buffer.place == "arena" and TABLE[op.kernel].arrays[name].role == "out"
                }
        for op in operations:
            wanted = is_spatial(op) or self._goes_on(op)
            for buffer in op.buffers.values():
                if buffer.place != "arena" or self._is_features(op, buffer):
                    continue
                name = self._name(buffer, wanted)
                if name not in self.compiler.places:
                    self._place(name, buffer, wanted)
            if op.kernel == "conv2d":
                geometry = _geometry(op)
                if _leaves(geometry):
                    size = math.prod(_surrounded(geometry)) * geometry["channels"]
                    self._place_lanes(_field(op), size)

    def rows(self, buffer: Buffer | None) -> Rows | None:
        """Return where a buffer lies in rows, after turning it round if need be."""
        return self._turn(buffer, wanted=False)

    def write(self, op: Operation) -> bool:
        """Add an operation, if it is one of those in the lanes."""
        if not is_spatial(op) and not self._goes_on(op):
            return False
        self.writers[op.kernel](op)
        return True

    def _goes_on(self, op: Operation) -> bool:
        """Tell whether an activation follows what is in the lanes."""
        if op.kernel not in ("activation", "activation_backward"):
            return False
        given: Buffer = op.arguments.get("x") or op.arguments["stored"]
        rowwise = ACTIVATIONS[op.arguments["activation"]].rowwise
        return given.memory in self.homes and not rowwise

    def _is_features(self, op: Operation, buffer: Buffer) -> bool:
        """Tell whether a buffer has one number a feature, and no samples."""
        spec = next(TABLE[op.kernel].arrays[n] for n, b in op.buffers.items() if b is buffer)
        return spec.dims[0] != "B"

    def _name(self, buffer: Buffer, wanted: bool) -> str:
        at_home = (buffer.memory in self.homes) == wanted
        return buffer.memory if at_home else f"{buffer.memory} {TURNED[wanted]}"

    def _place(self, name: str, buffer: Buffer, wanted: bool) -> None:
        if wanted:
            self._place_lanes(name, elements(buffer) // buffer.shape[0])
        elif len(buffer.shape) > 1:
            self.compiler.place_rows(name, buffer.shape[0], math.prod(buffer.sample))

    def _place_lanes(self, name: str, size: int) -> None:
        stride = size * self.lanes
        self.compiler.place(name, self.groups * stride, stride, self.compiler.size, False)

    def _in_lanes(self, buffer: Buffer | None) -> Rows | None:
        return self._turn(buffer, wanted=True)

    def _turn(self, buffer: Buffer | None, *, wanted: bool) -> Rows | None:
        if buffer is None:
            return None
        name = self._name(buffer, wanted)
        place = self.compiler.rows(name)
        if name != buffer.memory and name not in self.turned:
            self.turned.add(name)
            self.compiler.program.add(
                "to_lanes" if wanted else "from_lanes", "rows",
                x=self.compiler.rows(buffer.memory), out=place,
                columns=math.prod(buffer.sample), ones=name in self.ones,
            )  # fmt: skip
        return place

    @property
    def ones(self) -> set[str]:
        """The twins in rows that need a column of ones behind them."""
        return {f"{memory} {TURNED[False]}" for memory in self.compiler.ones & self.homes}

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
        if buffer.memory not in self.compiler.features:
            self.compiler.features[buffer.memory] = self._array(elements(buffer))
        return self.compiler.features[buffer.memory]

    def _activation(self, op: Operation) -> None:
        if op.arguments["out"].memory in self.fused:
            return
        given = op.arguments
        read = {
            name: self._in_lanes(given[name]) for name in ("x", "grad", "stored") & given.keys()
        }
        self.compiler.program.add(
            f"lane_{op.kernel}", "rows", out=self._in_lanes(given["out"]),
            columns=math.prod(given["out"].sample), **read,
            **self.compiler.activation_fields(given),
        )  # fmt: skip

    def _convolution(self, op: Operation) -> None:
        """Add a convolution, with the activation behind it if there is one."""
        given, geometry = op.arguments, _geometry(op)
        x = self._in_lanes(given["x"])
        if _leaves(geometry):
            field = self.compiler.rows(_field(op))
            self.compiler.program.add("surround", "rows", x=x, out=field, geometry=geometry)
            x, geometry = field, _inside(geometry)
        fields: dict[str, Any] = {"out": self._in_lanes(given["out"])}
        following = self._activation_behind(op)
        if following is not None:
            self.fused[following.arguments["out"].memory] = following
            kept = self._is_read(given["out"], following)
            fields = {
                "out": self._in_lanes(following.arguments["out"]),
                "pre": fields["out"] if kept else None,
                **self.compiler.activation_fields(following.arguments),
            }
        self.compiler.program.add(
            "convolution", "rows", x=x, weights=self._parameter(given["w"]),
            beta=self._parameter(given["b"]), geometry=geometry, **fields,
        )  # fmt: skip

    def _activation_behind(self, op: Operation) -> Operation | None:
        operations = self.compiler.rest
        at = operations.index(op) + 1
        if at == len(operations) or operations[at].kernel != "activation":
            return None
        following = operations[at]
        same = following.arguments["x"].memory == op.arguments["out"].memory
        return following if same and self._goes_on(following) else None

    def _is_read(self, buffer: Buffer, but_by: Operation) -> bool:
        outputs = self.compiler.plan.outputs
        read = {
            read.memory
            for op in self.compiler.rest
            if op is not but_by
            for name, read in op.buffers.items()
            if TABLE[op.kernel].arrays[name].role == "in"
        }
        return buffer.memory in read or (outputs is not None and outputs.memory == buffer.memory)

    def _convolution_backward(self, op: Operation) -> None:
        given, geometry = op.arguments, _geometry(op)
        grad = self._in_lanes(given["grad"])
        if given["dx"] is not None:
            self.compiler.program.add(
                "convolution_input_gradient", "rows", grad=grad, out=self._in_lanes(given["dx"]),
                weights=self._parameter(given["w"]), geometry=geometry,
            )  # fmt: skip
        if given["dw"] is None:
            return
        x = self._in_lanes(given["x"])
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
        self.compiler.updates_behind.append((
            "add_partials",
            {
                "partial": partial, "partial_row": row, "columns": elements(gradient),
                **self.compiler.flat_update_of(gradient),
            },
        ))  # fmt: skip

    def _pool(self, op: Operation) -> None:
        given = op.arguments
        self.compiler.program.add(
            op.kernel, "rows", x=self._in_lanes(given["x"]), out=self._in_lanes(given["out"]),
            geometry=_geometry(op),
        )  # fmt: skip

    def _pool_backward(self, op: Operation) -> None:
        given = op.arguments
        read: dict[str, Any] = {}
        if op.kernel == "max_pool_backward":
            forward = next(
                earlier
                for earlier in self.compiler.rest
                if earlier.kernel == "max_pool" and earlier.owner == op.owner
            )
            read = {
                "x": self._in_lanes(given["x"]),
                "stored": self._in_lanes(forward.arguments["out"]),
            }
        self.compiler.program.add(
            op.kernel, "rows", grad=self._in_lanes(given["grad"]), out=self._in_lanes(given["dx"]),
            geometry=_geometry(op), **read,
        )  # fmt: skip

    def _batch_norm(self, op: Operation) -> None:
        given = op.arguments
        _, positions, channels = given["x"].shape
        x = self._in_lanes(given["x"])
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
            "normalize", "rows", x=x, out=self._in_lanes(given["out"]), positions=positions,
            columns=channels, gamma=self._parameter(given["gamma"]),
            beta=self._parameter(given["beta"]), **kept,
        )  # fmt: skip
        # The running averages wait until it is known that the loss is a number.
        running = {
            "running_mean": self._parameter(given["running_mean"]),
            "running_variance": self._parameter(given["running_variance"]),
            "settings": [given["momentum"]],
        }
        self.compiler.updates_behind.append(("join_moments", {**joined, **running}))

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
            "normalize", "rows", x=self._in_lanes(given["x"]), out=self._in_lanes(given["out"]),
            positions=positions, columns=channels, gamma=self._parameter(given["gamma"]),
            beta=self._parameter(given["beta"]), **kept,
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
        x, grad = self._in_lanes(given["x"]), self._in_lanes(given["grad"])
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
                    self.compiler.updates_behind.append(("update", {"columns": channels, **update}))
        if given["dx"] is not None:
            self.compiler.program.add(
                "normalize_backward", "rows", grad=grad, x=x, out=self._in_lanes(given["dx"]),
                gamma=self._parameter(given["gamma"]), means=means if moves else 0, **common,
            )  # fmt: skip

    def _layer_norm(self, op: Operation) -> None:
        given = op.arguments
        _, positions, channels = given["x"].shape
        self.compiler.program.add(
            "layer_norm", "rows", x=self._in_lanes(given["x"]), out=self._in_lanes(given["out"]),
            stored=self._in_lanes(given["mean"]), pre=self._in_lanes(given["inverse"]),
            positions=positions, columns=channels, gamma=self._parameter(given["gamma"]),
            beta=self._parameter(given["beta"]), parameter=given["epsilon"],
        )  # fmt: skip

    def _layer_norm_backward(self, op: Operation) -> None:
        given = op.arguments
        _, positions, channels = given["x"].shape
        partial = self._array(self.groups, 2 * channels)
        self.compiler.program.add(
            "layer_norm_backward", "rows", grad=self._in_lanes(given["grad"]),
            x=self._in_lanes(given["x"]), stored=self._in_lanes(given["mean"]),
            pre=self._in_lanes(given["inverse"]), out=self._in_lanes(given["dx"]),
            positions=positions, columns=channels, gamma=self._parameter(given["gamma"]),
            partial=partial, partial_row=2 * channels,
        )  # fmt: skip
        if given["dgamma"] is not None:
            self._learn(given["dgamma"], partial, 2 * channels)
        if given["dbeta"] is not None:
            self._learn(given["dbeta"], partial + channels * self.compiler.size, 2 * channels)


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
