"""The roofline plot: what kernels reach, under what one core can do at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mlcore.kernels.errors import InputError
from mlcore.plots._figure import BLUE, GREY, ORANGE, VERMILION, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mlcore.bench.report import Measurement, Result

# Shape and filling tell the backends apart in print without colours.
MARKS: tuple[dict[str, Any], ...] = (
    {"marker": "o", "color": BLUE},
    {"marker": "s", "color": GREY, "markerfacecolor": "none"},
    {"marker": "^", "color": ORANGE},
    {"marker": "D", "color": VERMILION, "markerfacecolor": "none"},
    {"marker": "v", "color": "#009E73"},
    {"marker": "P", "color": "#CC79A7"},
    {"marker": "X", "color": "#56B4E9"},
)
DASHES = ("-", "--", "-.", ":")


def plot_roofline(result: Result, ax: Axes | None = None) -> Figure:
    """Draw GFLOP/s over floating-point operations a byte, both logarithmic.

    The level line is the peak of one core, the slopes are what it reads from each cache and from
    memory: no kernel is to be above them. A kernel far below a roof has room. There is a panel
    for each dtype, a mark for each backend, and a dot for each kernel and shape; kernels that
    compute nothing, as shuffling, are left out, and so are those that were not timed.

    Parameters
    ----------
    result : mlcore.bench.Result
        With at least one kernel that computes.
    ax : matplotlib.axes.Axes, optional
        To draw into, if the result has a single dtype; by default a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If there is nothing to draw, or more than one dtype for `ax`.
    """
    panels: dict[str, list[Measurement]] = {}
    for row in result.rows:
        if row.flops and row.seconds is not None:
            panels.setdefault(row.dtype, []).append(row)
    if not panels:
        raise InputError("no kernel that computes was timed: there is no roofline to draw")
    if ax is not None and len(panels) > 1:
        raise InputError(f"ax takes one dtype; this result has {', '.join(panels)}")
    figure: Any = new_figure(6.4 * len(panels), 5.2) if ax is None else ax.get_figure(root=True)
    backends = list(dict.fromkeys(row.backend for rows in panels.values() for row in rows))
    marks = dict(zip(backends, MARKS * len(backends), strict=False))
    for index, (dtype, rows) in enumerate(panels.items(), start=1):
        axes = ax or figure.add_subplot(1, len(panels), index)
        style(axes, f"{dtype}, one core", "operations a byte", "GFLOP/s")
        axes.set_xscale("log")
        axes.set_yscale("log")
        for backend in reversed(backends):
            own = [row for row in rows if row.backend == backend]
            axes.plot(
                *_points(own), linestyle="none", markersize=6, alpha=0.85, label=backend,
                **marks[backend],
            )  # fmt: skip
        _draw_roofs(axes, result.peaks[dtype], result.reads)
    lines = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if ax is None:
        figure.suptitle(result.machine["processor"], fontsize=9, color=GREY)
    roofs = [name for name in lines if name not in backends]
    # Below the panels the legend covers nothing.
    figure.legend(
        [lines[name] for name in (*backends, *roofs)], [*backends, *roofs],
        loc="outside lower center", ncols=max(len(backends), len(roofs)), frameon=False,
        fontsize=8,
    )  # fmt: skip
    # Only now are the dots where they stay, and the names' sizes beside them known.
    figure.draw_without_rendering()
    for axes, rows in zip(figure.axes if ax is None else [ax], panels.values(), strict=True):
        _name_kernels(axes, rows)
    return cast("Figure", figure)


def _points(rows: list[Measurement]) -> tuple[list[float], list[float]]:
    return [row.flops / row.bytes for row in rows], [row.gflops or 0.0 for row in rows]


def _draw_roofs(axes: Axes, peak: float, reads: Mapping[str, float]) -> None:
    """Draw the slopes up to the peak, and the peak from the first of them on."""
    low, high = axes.get_xlim()
    corner = peak / max(reads.values())
    high = max(high, 2 * peak / min(reads.values()))
    axes.set_xlim(low, high)
    axes.plot([corner, high], [peak, peak], color="black", linewidth=1.4, label="_")
    axes.annotate(
        f"peak {peak:.0f} GFLOP/s", ((corner * high) ** 0.5, peak), (0, 4),
        textcoords="offset points", ha="center", fontsize=8,
    )  # fmt: skip
    for dashes, (size, rate) in zip(DASHES, reads.items(), strict=False):
        x = np.array([low, peak / rate])
        name = f"reads {size} at {rate:.0f} GB/s"
        axes.plot(x, rate * x, color="black", linewidth=1, linestyle=dashes, label=name)


def _name_kernels(axes: Axes, rows: list[Measurement]) -> None:
    """Write each kernel's name at its highest dot, and leave out what another name covers."""
    from matplotlib.patheffects import withStroke

    best: dict[str, Measurement] = {}
    for row in sorted(rows, key=lambda row: row.gflops or 0.0):
        best[row.kernel] = row
    low, high = axes.get_xlim()
    taken: list[Any] = []
    for name, row in reversed(best.items()):
        x = row.flops / row.bytes
        # Towards the middle there is room.
        offset, side = ((-5, 4), "right") if x * x > low * high else ((5, 4), "left")
        text = axes.annotate(
            name, (x, row.gflops or 0.0), offset, textcoords="offset points", ha=side,
            fontsize=7, color="#333333", path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip
        box = text.get_window_extent()
        if any(box.overlaps(other) for other in taken):
            text.remove()
        else:
            taken.append(box)
