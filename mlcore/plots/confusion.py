"""The confusion matrix as a heat map in which the mistakes, not the hits, have the colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.metrics import ClassificationReport, Labels
from mlcore.plots._figure import axes_of, figure_of, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Shades = np.ma.MaskedArray[Any, Any]

HIT = "#dce6ea"
LETTER = 0.09  # about the width of a letter of the tick labels, in inches
CELLS_WITH_PERCENT = 12
CELLS_WITH_TEXT = 26


def plot_confusion(
    matrix: Labels, class_names: Sequence[str] | None = None, normalize: bool = True
) -> Figure:
    """Draw a confusion matrix as a figure, with accuracy and most confused pairs above it.

    Parameters
    ----------
    matrix, class_names, normalize
        As for `confusion_matrix`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If `matrix` is not a confusion matrix or the names do not fit it.
    """
    report = ClassificationReport(matrix, class_names)
    side, margin, _ = _sizes(report)
    figure = new_figure(side + margin + 1.6, side + 0.7 * margin + 1.7)
    _draw(figure.add_subplot(), report, normalize)
    figure.suptitle(_title(report), fontsize=10)
    return figure


def confusion_matrix(
    matrix: Labels,
    class_names: Sequence[str] | None = None,
    *,
    normalize: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw a confusion matrix, rows true and columns predicted classes.

    The diagonal is plain grey, so the colour scale belongs to the mistakes alone: it ends at the
    greatest of them. Cells hold the count and the percentage of the true class up to 12 classes,
    the count alone up to 26, nothing beyond; a mistake that never happened is blank. The title has
    the accuracy and the three most confused pairs.

    Parameters
    ----------
    matrix : array_like, (k, k), whole numbers
        As `mlcore.metrics.confusion_matrix` returns.
    class_names : sequence of str, optional
        One for each class; without it the class numbers.
    normalize : bool
        Colour by percent of the true class; else by count, and leave the percentages out.
    ax : matplotlib.axes.Axes, optional
        To draw into; by default that of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If `matrix` is not a confusion matrix or the names do not fit it.
    """
    report = ClassificationReport(matrix, class_names)
    if ax is None:
        side, margin, _ = _sizes(report)
        ax = axes_of(None, side + margin + 1.6, side + 0.7 * margin + 1.7)
    axes = axes_of(ax)
    _draw(axes, report, normalize)
    axes.set_title(_title(report), fontsize=10)
    return axes


def _sizes(report: ClassificationReport) -> tuple[float, float, float]:
    """Return the side of the matrix, the room for the names, and the side of a cell, in inches."""
    classes, longest = len(report.names), max(map(len, report.names))
    cell = min(max(3.6 / classes, 0.74), 11 / classes)
    return cell * classes, LETTER * longest, cell


def _draw(axes: Axes, report: ClassificationReport, normalize: bool) -> None:
    classes, longest = len(report.names), max(map(len, report.names))
    _, _, cell = _sizes(report)
    values = 100 * report.rates if normalize else report.matrix
    shades: Shades = np.ma.masked_array(values, mask=np.eye(classes, dtype=bool))
    greatest = float(shades.filled(0).max())
    image = axes.imshow(shades, cmap="OrRd", vmin=0, vmax=greatest or 1)
    image.set_cmap(image.get_cmap().with_extremes(bad=HIT))
    if greatest:
        unit = "% of the true class" if normalize else "samples"
        figure_of(axes).colorbar(image, ax=axes, label=f"mistakes [{unit}]", shrink=0.8, pad=0.02)
    if classes <= CELLS_WITH_TEXT:
        _write_cells(axes, report, normalize and classes <= CELLS_WITH_PERCENT, cell, shades)
    _name_classes(axes, report.names, upright=LETTER * (longest + 1) < cell)


def _write_cells(
    axes: Axes, report: ClassificationReport, percent: bool, cell: float, shades: Shades
) -> None:
    """Write into cells of `cell` inches; `shades` tells where black would not be legible."""
    # In parts of the cell's width: "12.3 %" has six characters, a count at most four as a rule.
    size = min(9.0, 72 * cell / (5.2 if percent else 3.6))
    percents = 100 * report.rates
    for (true, predicted), count in np.ndenumerate(report.matrix):
        if not count:
            continue
        hit = true == predicted
        axes.text(
            predicted,
            true,
            f"{count:,}\n{percents[true, predicted]:.1f} %" if percent else f"{count:,}",
            ha="center",
            va="center",
            fontsize=size,
            fontweight="bold" if hit else "normal",
            color="white" if not hit and shades[true, predicted] > 0.6 * shades.max() else "black",
        )


def _name_classes(axes: Axes, names: Sequence[str], upright: bool) -> None:
    ticks = range(len(names))
    if upright:
        axes.set_xticks(ticks, names)
    else:
        axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names)
    edges = np.arange(len(names) + 1) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class (columns)", fontweight="bold")
    axes.set_ylabel("true class (rows)", fontweight="bold")


def _title(report: ClassificationReport) -> str:
    lines = [f"accuracy {100 * report.accuracy:.2f} % of {report.samples:,} samples"]
    lines += [
        f"{report.names[mistake.true]} taken for {report.names[mistake.predicted]}, "
        f"{mistake.samples:,} ({100 * mistake.rate:.1f} %)"
        for mistake in report.most_confused(3)
    ]
    if len(lines) > 1:
        lines[1] = f"most confused: {lines[1]}"
    return "\n".join(lines)
