"""Plots of data, networks and training runs; matplotlib is imported when the first one is drawn.

A function draws into the axes that it is given as `ax`, or into those of a new figure, and returns
them; ``ax.figure`` is the figure, and `save` writes it. Those named `plot_...` compose a whole
figure, as a run's folder holds it, and return that. Figures belong to the caller alone: pyplot is
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
from mlcore.plots.boundary import decision_boundary
from mlcore.plots.class_errors import confusion_stem, most_confused
from mlcore.plots.confusion import confusion_matrix, plot_confusion
from mlcore.plots.filters import first_layer_weights
from mlcore.plots.history import plot_curves, plot_learning_rate
from mlcore.plots.neighbours import tsne
from mlcore.plots.ratios import update_ratios
from mlcore.plots.roofline import plot_roofline
from mlcore.plots.runs import curves, learning_rate
from mlcore.plots.sheet import Dashboard, dashboard
from mlcore.plots.sizes import against_parameters
from mlcore.plots.sweep import sweep_bars, sweep_heat_map, sweep_lines
from mlcore.plots.violins import activation_violins, batch_norm_violins
from mlcore.plots.weights import weight_histograms

__all__ = [
    "Dashboard",
    "activation_violins",
    "against_parameters",
    "batch_norm_violins",
    "confusion_matrix",
    "confusion_stem",
    "curves",
    "dashboard",
    "decision_boundary",
    "first_layer_weights",
    "learning_rate",
    "most_confused",
    "plot_confusion",
    "plot_curves",
    "plot_learning_rate",
    "plot_roofline",
    "save",
    "save_all",
    "sweep_bars",
    "sweep_heat_map",
    "sweep_lines",
    "tsne",
    "update_ratios",
    "weight_histograms",
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
