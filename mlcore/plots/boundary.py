"""What a network says about every point of the plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mlcore import door
from mlcore.kernels.errors import InputError
from mlcore.layers.base import check_size
from mlcore.plots._figure import COLOURS, HATCHES, MARKERS, axes_of, legend_beside, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlcore.model import Sequential


def decision_boundary(
    model: Sequential,
    x: ArrayLike,
    y: ArrayLike,
    *,
    points: int = 200,
    ax: Axes | None = None,
) -> Axes:
    """Draw points of two features, and the regions in which the model gives each class.

    Points have the marker of their true class; one whose marker stands in a region of another
    colour is taken for another class.

    Parameters
    ----------
    model : Sequential
        Built, with two inputs; `Sequential.predict_classes` says what a point is.
    x : array_like (n, 2)
    y : array_like (n,) or (n, 1)
        The classes, as whole numbers from 0, or -1 and 1 for the two of a hinge loss.
    points : int
        Points of the grid along each side.
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
        If the data do not have two features and a class each, or the model takes others.
    """
    check_size(points, "points")
    features, labels = door.as_array(x, "x"), door.as_array(y, "y").ravel()
    if features.ndim != 2 or features.shape[1] != 2 or len(features) != len(labels):
        raise InputError(
            f"a decision boundary needs x of shape (n, 2) and y of shape (n,), not "
            f"{features.shape} and {np.shape(y)}"
        )
    if not len(features):
        raise InputError("x has no points to draw")
    low, high = features.min(axis=0), features.max(axis=0)
    room = 0.06 * np.where(high > low, high - low, 1.0)
    across, down = (np.linspace(low[at] - room[at], high[at] + room[at], points) for at in range(2))
    grid = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
    regions = model.predict_classes(grid.astype(model.dtype)).reshape(points, points)
    # The two classes of a hinge loss are -1 and 1 to its user, 0 and 1 to the model.
    classes = np.unique(labels)
    numbers = np.where(labels < 0, 0, labels).astype(int)
    count = max(int(numbers.max()), int(regions.max())) + 1
    axes = axes_of(ax, 5.8, 4.4)
    colours = [COLOURS[at % len(COLOURS)] for at in range(count)]
    axes.contourf(
        across, down, regions, levels=np.arange(count + 1) - 0.5, colors=colours, alpha=0.22,
        hatches=[HATCHES[at % len(HATCHES)] for at in range(count)],
    )  # fmt: skip
    axes.contour(
        across, down, regions, levels=np.arange(1, count) - 0.5, colors="black", linewidths=1.2
    )
    for name in classes:
        own = labels == name
        at = max(int(name), 0)
        axes.plot(
            *features[own].T, MARKERS[at % len(MARKERS)], color=colours[at], markersize=4.5,
            markeredgecolor="white", markeredgewidth=0.5, label=f"class {name:g}",
        )  # fmt: skip
    right = (model.predict_classes(features.astype(model.dtype)) == numbers).mean()
    style(axes, "Decision boundary", "first feature", "second feature")
    axes.set_title(f"{100 * right:.1f} % right", loc="right", fontsize=10)
    axes.grid(visible=False)
    legend_beside(axes)
    return axes
