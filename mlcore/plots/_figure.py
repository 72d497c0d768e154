"""What all plots share: the lazy import of matplotlib, colours, axes, and saving."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

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

DPI = 150


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


def style(axes: Axes, title: str, x: str, y: str) -> None:
    """Label the axes, and draw a grid behind the data and no box around it."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure in the format of the suffix: png, pdf, svg and others of matplotlib's.

    The file appears whole or not at all.

    Raises
    ------
    InputError
        If matplotlib does not know the suffix, or nothing can be written at `path`.
    """
    suffix = Path(path).suffix.lower().removeprefix(".")
    known = figure.canvas.get_supported_filetypes()
    if suffix not in known:
        raise InputError(
            f"cannot draw {path}: the name must end in one of .{', .'.join(sorted(known))}"
        )
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=suffix, dpi=DPI, bbox_inches="tight")
