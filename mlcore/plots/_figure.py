"""What all plots share: the lazy import of matplotlib, colours, axes, and saving."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from mlcore.data.files import atomic_write
from mlcore.kernels.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito, "Color Universal Design" (2008): told apart with every kind of colour vision.
BLUE = "#0072B2"
ORANGE = "#E69F00"
VERMILION = "#D55E00"
GREY = "#777777"
GREEN = "#009E73"
PURPLE = "#CC79A7"
SKY = "#56B4E9"

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, "black")
# Cycles of other lengths than the colours', so that no two of many curves look alike.
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 3)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo")

DPI = 150
POINTS_WITH_MARKERS = 15
# The most points of a curve before it is drawn as means and a band.
GROUPS = 60


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of `width` by `height` inches that keeps its labels inside.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError('plots need matplotlib: pip install "mlcore[plots]"') from error
    return Figure(figsize=(width, height), layout="compressed", facecolor="white")


def axes_of(ax: Axes | None, width: float = 6.0, height: float = 4.0) -> Axes:
    """Return `ax`, or the axes of a new figure of `width` by `height` inches.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        For something that is not an Axes.
    """
    if ax is None:
        figure = new_figure(width, height)
        made: Axes = figure.add_subplot()
        return made
    if not hasattr(ax, "get_subplotspec"):
        raise InputError(f"ax must be one matplotlib Axes, not {type(ax).__name__}")
    return ax


def figure_of(ax: Axes) -> Figure:
    """Return the figure that axes stand in."""
    figure: Any = ax.get_figure()
    return cast("Figure", figure)


def split(ax: Axes, rows: int, columns: int) -> list[Axes]:
    """Put a grid of panels into the place of `ax`, which shows only its title from then on.

    Returns
    -------
    list of Axes
        Row by row. They belong to the figure: ``ax.figure.axes`` has them too.
    """
    from matplotlib.gridspec import GridSpec

    ax.set_axis_off()
    figure, spec = figure_of(ax), ax.get_subplotspec()
    if figure.axes == [ax]:
        # "compressed" would move panels of images into each other.
        figure.set_layout_engine("constrained")
    if spec is not None:
        grid: Any = spec.subgridspec(rows, columns)
    else:
        box = ax.get_position()
        grid = GridSpec(
            rows, columns, figure, left=box.x0, right=box.x1, bottom=box.y0, top=box.y1,
            wspace=0.35, hspace=0.5,
        )  # fmt: skip
    return [figure.add_subplot(grid[at // columns, at % columns]) for at in range(rows * columns)]


def look(number: int, *, marker: bool = False) -> dict[str, Any]:
    """Return colour, dashes and marker of the `number`-th curve, from 0."""
    found: dict[str, Any] = {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
    }
    return found | ({"marker": MARKERS[number % len(MARKERS)]} if marker else {})


def logarithmic(axis: Any) -> None:
    """Make an axis logarithmic, with ticks that can be read where it spans few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = sorted(axis.get_view_interval())
    if high < 1000 * low:
        ticks = (1,) if high > 100 * low else (1, 2, 5) if high > 5 * low else range(1, 10)
        axis.set_major_locator(LogLocator(subs=ticks))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def whole_numbers(axis: Any) -> None:
    """Have ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def legend_beside(axes: Axes, entries: Mapping[str, Any] | None = None) -> None:
    """Name the curves, or others, at the right of the axes, where the legend covers none."""
    given = [] if entries is None else [list(entries.values()), list(entries)]
    axes.legend(
        *given,
        loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9, handlelength=3,
    )  # fmt: skip


def trace(axes: Axes, x: ArrayLike, y: ArrayLike, label: str, number: int) -> None:
    """Draw positive numbers over training; of very many, geometric means and a band of the range.

    Numbers that are not above zero are left out.
    """
    places, values = np.asarray(x, float), np.asarray(y, float)
    fit = np.isfinite(values) & (values > 0)
    places, values = places[fit], values[fit]
    shown = look(number, marker=len(values) <= POINTS_WITH_MARKERS)
    if len(values) > 2 * GROUPS:
        groups = np.array_split(np.log(values), GROUPS)
        places = np.array([part.mean() for part in np.array_split(places, GROUPS)])
        low, high = (np.exp([edge(part) for part in groups]) for edge in (np.min, np.max))
        axes.fill_between(places, low, high, color=shown["color"], alpha=0.15, linewidth=0)
        values = np.exp([part.mean() for part in groups])
    axes.plot(places, values, label=label, linewidth=1.5, markersize=4, **shown)


def style(axes: Axes, title: str, x: str, y: str) -> None:
    """Label the axes, and draw a grid behind the data and no box around it."""
    if title:
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def suffix_of(figure: Figure, path: str | os.PathLike[str]) -> str:
    """Return the format that the suffix of a path stands for.

    Raises
    ------
    InputError
        If matplotlib does not know it.
    """
    suffix = Path(path).suffix.lower().removeprefix(".")
    known = figure.canvas.get_supported_filetypes()
    if suffix not in known:
        raise InputError(
            f"cannot draw {path}: the name must end in one of .{', .'.join(sorted(known))}"
        )
    return suffix


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: float = DPI) -> None:
    """Write a figure in the format of the suffix: png, pdf, svg and others of matplotlib's.

    The file appears whole or not at all.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        ``ax.figure`` of what a plot returned.
    path : str or path
    dpi : float
        Pixels an inch, where the format has pixels.

    Raises
    ------
    InputError
        If matplotlib does not know the suffix, or nothing can be written at `path`.
    """
    suffix = suffix_of(figure, path)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=suffix, dpi=dpi, bbox_inches="tight")
