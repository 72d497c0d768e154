"""What a network takes for what, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlcore.kernels.errors import InputError
from mlcore.metrics import ClassificationReport, Labels
from mlcore.plots._figure import BLUE, VERMILION, axes_of, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def confusion_stem(
    matrix: Labels, class_names: Sequence[str] | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw for each class a stem as high as the share of its samples that were taken for another.

    Above each stem stands the class it was taken for most often, and how often.

    Parameters
    ----------
    matrix : array_like, (k, k), whole numbers
        As `mlcore.metrics.confusion_matrix` returns: rows true, columns predicted.
    class_names : sequence of str, optional
        One for each class; without it the class numbers.
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
    percents = 100 * report.rates
    np.fill_diagonal(percents, 0)
    heights, classes = percents.sum(axis=1), len(percents)
    axes = axes_of(ax, max(4.0, 0.85 * classes + 1.2), 4.2)
    stems = axes.stem(np.arange(classes), heights, linefmt=BLUE, markerfmt="o", basefmt=" ")
    stems.markerline.set_color(BLUE)
    for at, (height, row) in enumerate(zip(heights, percents, strict=True)):
        if height:
            worst = int(row.argmax())
            axes.annotate(
                f"{report.names[worst]}\n{row[worst]:.1f} %", (at, height), (0, 7),
                textcoords="offset points", ha="center", fontsize=8, color="#333333",
            )  # fmt: skip
    style(axes, "Confusion of each class", "true class", "taken for another class [%]")
    axes.grid(visible=False, axis="x")
    slanted = max(map(len, report.names)) > 8
    axes.set_xticks(
        np.arange(classes), report.names, rotation=30 if slanted else 0,
        ha="right" if slanted else "center",
    )  # fmt: skip
    axes.set_xlim(-0.6, classes - 0.4)
    axes.set_ylim(0, 1.22 * float(heights.max()) or 1)
    return axes


def most_confused(
    matrix: Labels,
    class_names: Sequence[str] | None = None,
    *,
    pairs: int = 10,
    ax: Axes | None = None,
) -> Axes:
    """Draw the most frequent mistakes as bars, most frequent first.

    Parameters
    ----------
    matrix, class_names, ax
        As for `confusion_stem`.
    pairs : int
        The most to show.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If `matrix` is not a confusion matrix, the names do not fit it, or there is no mistake.
    """
    report = ClassificationReport(matrix, class_names)
    found = report.most_confused(pairs)
    if not found:
        raise InputError("there is no mistake in this confusion matrix, so there are no pairs")
    axes = axes_of(ax, 6.0, 0.34 * len(found) + 1.1)
    names = [f"{report.names[one.true]} taken for {report.names[one.predicted]}" for one in found]
    bars = axes.barh(range(len(found)), [100 * one.rate for one in found], color=VERMILION)
    axes.bar_label(bars, [f"{one.samples:,}" for one in found], padding=3, fontsize=8)
    axes.set_yticks(range(len(found)), names)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    style(axes, "Most confused pairs, with counts", "share of the true class [%]", "")
    axes.grid(visible=False, axis="y")
    return axes
