"""The heat map of an error: analytic, numeric, difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlcore.gradcheck.compare import Comparison
from mlcore.gradcheck.subject import Array
from mlcore.kernels.errors import InputError, unknown
from mlcore.plots._figure import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL, SMALLEST, LARGEST = 0.3, 2.0, 4.5


def difference(comparisons: dict[str, Comparison], ax: Axes, array: str | None) -> Axes:
    """Draw the difference into axes; see `Report.plot`."""
    chosen = _chosen(comparisons, array)
    if chosen.analytic.shape != chosen.shape:
        raise InputError(
            f"the gradient of {chosen.name} has the shape {chosen.analytic.shape} and the array "
            f"{chosen.shape}: there is no difference to draw; leave ax out"
        )
    _panel(ax, _plane(chosen.analytic - chosen.numeric), f"{chosen.name}: analytic - numeric")
    return ax


def side_by_side(comparisons: dict[str, Comparison], title: str, array: str | None) -> Figure:
    """Draw analytic, numeric and difference; see `Report.plot`."""
    chosen = _chosen(comparisons, array)
    analytic, numeric = _plane(chosen.analytic), _plane(chosen.numeric)
    panels = {"analytic": analytic, "numeric": numeric}
    if chosen.analytic.shape == chosen.shape:
        panels["difference"] = _plane(chosen.analytic - chosen.numeric)
    rows, columns = numeric.shape
    width = min(max(columns * CELL, SMALLEST), LARGEST)
    height = min(max(rows * CELL, SMALLEST), LARGEST)
    figure = new_figure(len(panels) * (width + 1), height + 1)
    limit = _limit(np.concatenate([analytic.reshape(-1), numeric.reshape(-1)]))
    for at, (name, values) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), at)
        _panel(axes, values, name, None if name == "difference" else limit)
    figure.suptitle(f"gradient of {chosen.name}, {title}", fontsize=10)
    return figure


def _chosen(comparisons: dict[str, Comparison], name: str | None) -> Comparison:
    if name is not None and name not in comparisons:
        raise unknown("array", name, comparisons)
    wrong = [each for each in comparisons.values() if not each.passed]
    found = comparisons[name] if name else next(iter([*wrong, *comparisons.values()]), None)
    if found is None or not found.measured.any():
        raise InputError("nothing was compared element by element, so there is nothing to draw")
    return found


def _plane(values: Array) -> Array:
    """Return any array as rows and columns: the last axis has the columns."""
    real = np.real(values).astype(np.float64)
    return real.reshape(-1, real.shape[-1]) if real.ndim > 1 else real.reshape(1, -1)


def _limit(values: Array) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0)) or 1.0


def _panel(axes: Axes, values: Array, title: str, limit: float | None = None) -> None:
    bound = limit or _limit(values)
    image = axes.imshow(values, cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto")
    # What was not measured is grey.
    axes.set_facecolor("#dddddd")
    axes.set_title(title, loc="left", fontsize=10)
    axes.figure.colorbar(image, ax=axes, shrink=0.8)
    for axis, length in ((axes.xaxis, values.shape[1]), (axes.yaxis, values.shape[0])):
        axis.set_ticks(range(length) if length <= 12 else [0, length - 1])
