"""What was measured: the rows, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcore.data.files import atomic_write, require_place
from mlcore.kernels.errors import InputError
from mlcore.kernels.table import Dims
from mlcore.plan import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAD = ("kernel", "shape", "backend", "µs", "median", "rate", "peak", "x NumPy")
RIGHT = (3, 4, 5, 6, 7)
# A core that reaches less beside a row than this part of its best was not ours alone.
CLEAN = 0.9
DERIVED = ("gflops", "gbytes", "bound", "share", "clean")
DIRTY, WRONG = "~", "wrong"


@dataclass(frozen=True)
class Measurement:
    """One kernel of one backend, in one shape and dtype.

    Attributes
    ----------
    kernel, shape, dtype, backend : str
        What was measured; `kernel` includes the activation.
    operation : str
        The row of the kernel table.
    settings : dict
        The arguments that are no arrays.
    dims : dict of str to int
        The shape by letter.
    fault : str
        What verification found; such a kernel was not timed, and has no figure below.
    seconds, median : float or None
        The least and the median time of a call, the call from Python included.
    samples : int
        How many times were taken.
    flops, bytes : float
        Of a call: operations as the kernel table counts them, and one pass over every array.
    peak, bandwidth : float
        What one core reaches at most: GFLOP/s in this dtype, GB/s over as much memory.
    ratio : float or None
        How many times longer the NumPy reference took (least over least).
    peak_around : float
        The GFLOP/s that the core reached right before or after, whichever was less.
    """

    kernel: str
    operation: str
    settings: Mapping[str, Any]
    dims: Dims
    shape: str
    dtype: str
    backend: str
    fault: str
    seconds: float | None
    median: float | None
    samples: int
    flops: float
    bytes: int
    peak: float
    bandwidth: float
    ratio: float | None
    peak_around: float

    @property
    def clean(self) -> bool:
        """Whether the core was ours: it was near its peak right before and after."""
        return self.peak_around >= CLEAN * self.peak

    @property
    def limit(self) -> float:
        """The seconds below which no call can be, by the peak and the bandwidth: the roofline."""
        return 1e-9 * max(self.flops / self.peak, self.bytes / self.bandwidth)

    @property
    def bound(self) -> str:
        """Which of the two limits is the higher one: "compute" or "memory"."""
        compute = self.flops / self.peak > self.bytes / self.bandwidth
        return "compute" if compute else "memory"

    @property
    def share(self) -> float | None:
        """The part of the roofline that was reached."""
        return None if self.seconds is None else self.limit / self.seconds

    @property
    def gflops(self) -> float | None:
        """10^9 floating-point operations a second."""
        return None if self.seconds is None else 1e-9 * self.flops / self.seconds

    @property
    def gbytes(self) -> float | None:
        """10^9 bytes a second."""
        return None if self.seconds is None else 1e-9 * self.bytes / self.seconds

    @property
    def rate(self) -> str:
        """GFLOP/s where computing is the limit, GB/s where memory is."""
        compute = self.bound == "compute"
        value = self.gflops if compute else self.gbytes
        return "" if value is None else f"{_digits(value)} {'GFLOP/s' if compute else 'GB/s'}"

    def to_dict(self) -> dict[str, Any]:
        """Return all figures by name, of types that JSON knows."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        derived = {name: getattr(self, name) for name in DERIVED}
        return {**fields, "settings": dict(self.settings), **derived}


@dataclass(frozen=True)
class Result:
    """A benchmark: `print` it for the table.

    Attributes
    ----------
    rows : tuple of Measurement
        In the order of the kernel table.
    machine : dict of str to str
        What it ran on.
    peaks : dict of str to float
        GFLOP/s of one core by dtype.
    bandwidths : dict of int to float
        GB/s of one core by the bytes read, one size for each cache and one for memory.
    settings : dict
        What `run` was called with, and the seed of the inputs.
    """

    rows: tuple[Measurement, ...]
    machine: Mapping[str, str]
    peaks: Mapping[str, float]
    bandwidths: Mapping[int, float]
    settings: Mapping[str, Any]

    @property
    def failures(self) -> tuple[Measurement, ...]:
        """The rows whose kernels gave wrong results."""
        return tuple(row for row in self.rows if row.fault)

    @property
    def reads(self) -> dict[str, float]:
        """The bandwidths with their sizes in words, from the smallest on."""
        return {
            f"{size // 2**20} MB" if size >= 2**20 else f"{size // 2**10} kB": rate
            for size, rate in sorted(self.bandwidths.items())
        }

    def __str__(self) -> str:
        return "\n\n".join(filter(None, (*self._sections(), self._notes(), self._faults())))

    def to_dict(self) -> dict[str, Any]:
        """Return everything, of types that JSON knows."""
        return {
            "machine": dict(self.machine),
            "settings": dict(self.settings),
            "peak_gflops": dict(self.peaks),
            "read_gbytes_per_second": {str(size): rate for size, rate in self.bandwidths.items()},
            "rows": [row.to_dict() for row in self.rows],
        }

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` to a file, whole or not at all."""
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    def plot(self, path: str | os.PathLike[str] | None = None, ax: Axes | None = None) -> Figure:
        """Draw the roofline plot, and save it where a path is given."""
        from mlcore.plots import plot_roofline, save

        figure = plot_roofline(self, ax=ax)
        if path is not None:
            save(figure, path)
        return figure

    def _sections(self) -> list[str]:
        sections = []
        for dtype in dict.fromkeys(row.dtype for row in self.rows):
            peak = f", peak {self.peaks[dtype]:.1f} GFLOP/s" if dtype in self.peaks else ""
            lines = [_line(row) for row in self.rows if row.dtype == dtype]
            sections.append(f"{dtype}{peak}\n\n{table(HEAD, lines, right=RIGHT)}")
        return sections

    def _notes(self) -> str:
        reads = ", ".join(f"{size} {rate:.0f}" for size, rate in self.reads.items())
        notes = [
            f"One core; its peaks from {self.machine['peaks from']}.",
            f"It reads, in GB/s: {reads}.",
            "µs: the least of a call from Python with its data warm; median: the usual one.",
            "peak: the part of it that computing at the peak, or reading each array once, takes.",
            "x NumPy: how many times faster than the reference.",
        ]
        dirty = sum(not row.clean for row in self.rows)
        if dirty:
            notes.append(
                f"{DIRTY} {dirty} of {len(self.rows)} rows are in doubt: the core was below "
                f"{CLEAN:.0%} of its peak right before or after."
            )
        return "\n".join(notes)

    def _faults(self) -> str:
        return "\n".join(
            f"{WRONG}: {row.kernel} {row.shape} {row.dtype} {row.backend}: {row.fault}"
            for row in self.failures
        )


def check_targets(plot: str | None, json: str | None) -> None:
    """Say before a run what would keep its files from being written after it.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed and there is to be a plot.
    InputError
        For a file that cannot be written, and a plot in no format that matplotlib knows.
    """
    for path in filter(None, (plot, json)):
        require_place(path)
    if plot is not None:
        from mlcore.plots._figure import new_figure

        known = new_figure(1, 1).canvas.get_supported_filetypes()
        if Path(plot).suffix.lower().removeprefix(".") not in known:
            raise InputError(f"cannot draw {plot}: name it FILE.png, or .{', .'.join(known)}")


def _line(row: Measurement) -> tuple[str, ...]:
    if row.seconds is None or row.median is None or row.share is None:
        return (row.kernel, row.shape, row.backend, WRONG, "", "", "", "")
    return (
        row.kernel,
        row.shape,
        row.backend,
        ("" if row.clean else DIRTY) + _digits(1e6 * row.seconds),
        _digits(1e6 * row.median),
        row.rate,
        f"{row.share:.1%}",
        "" if row.ratio is None else _digits(row.ratio),
    )


def _digits(value: float) -> str:
    """Return three digits of what is below a thousand, and the whole number above."""
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}"
