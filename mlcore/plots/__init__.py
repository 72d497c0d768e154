"""Plots of a training run; matplotlib is imported when the first one is drawn.

Every function returns a `matplotlib.figure.Figure` that belongs to the caller alone: pyplot is
not used, so no display is needed, nothing global changes, and threads may draw at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mlcore.history import History
from mlcore.kernels.errors import InputError
from mlcore.metrics import Labels
from mlcore.plots._figure import save
from mlcore.plots.confusion import plot_confusion
from mlcore.plots.history import plot_curves, plot_learning_rate
from mlcore.plots.roofline import plot_roofline

__all__ = [
    "plot_confusion",
    "plot_curves",
    "plot_learning_rate",
    "plot_roofline",
    "save",
    "save_all",
]


def save_all(
    history: History,
    matrix: Labels | None,
    folder: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
) -> list[Path]:
    """Write the plots of a run: ``curves.png``, ``learning_rate.png`` and ``confusion.png``.

    Parameters
    ----------
    history : History
        At least one epoch.
    matrix : ndarray, (k, k), or None
        Confusion matrix, rows true; None, as for a regression, leaves its plot out.
    folder : path
        Made if it does not exist; files of these names are replaced.
    class_names : sequence of str, optional
        One for each class.

    Returns
    -------
    list of pathlib.Path
        The files written, in the order above.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If there is nothing to draw, or `folder` cannot be written. All is drawn before the first
        file is written.
    """
    figures = {"curves": plot_curves(history), "learning_rate": plot_learning_rate(history)}
    if matrix is not None:
        figures["confusion"] = plot_confusion(matrix, class_names)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder} for plots: {error.strerror}") from error
    paths = [folder / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        save(figure, path)
    return paths
