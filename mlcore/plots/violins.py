"""Violins: how the numbers of each layer are spread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlcore.data.dataset import Dataset
from mlcore.kernels.errors import InputError
from mlcore.plots._figure import BLUE, VERMILION, axes_of, split, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlcore.model import Sequential

PARAMETERS = {
    "gamma": "scale gamma",
    "beta": "shift beta",
    "moving_mean": "running mean",
    "moving_variance": "running variance",
}
# Beyond so many values a violin costs time and no longer changes.
VALUES = 20_000


def activation_violins(
    model: Sequential | Mapping[str, ArrayLike],
    x: ArrayLike | Dataset | None = None,
    layers: str | Iterable[str] | None = None,
    *,
    title: str = "Activations",
    ax: Axes | None = None,
) -> Axes:
    """Draw the spread of the activations of each layer over data, layer beside layer.

    The dot is the median, the bar holds the middle half.

    Parameters
    ----------
    model : Sequential, or mapping of str to array_like
        A built model, or activations by layer as `mlcore.inspection.activations` returns them.
    x : array_like (n, ...) or Dataset, optional
        The data, where `model` is a model.
    layers : str or iterable of str, optional
        Names of the layers of a model; by default the hidden ones, each with the activation
        function that follows it, see `mlcore.inspection.outputs_of_weights`.
    title : str
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
        If there is nothing finite to draw, no data, or a layer that the model does not have.
    """
    if isinstance(model, Mapping):
        arrays = {name: np.asarray(values) for name, values in model.items()}
    else:
        from mlcore import inspection

        if x is None:
            raise InputError("x is missing: give the data whose activations are to be drawn")
        hidden = list(inspection.outputs_of_weights(model).values())[:-1]
        arrays = inspection.activations(model, x, hidden if layers is None else layers)
    if not arrays:
        raise InputError("there is no layer whose activations could be drawn")
    axes = axes_of(ax, 1.6 + 0.9 * len(arrays), 3.8)
    _violins(axes, arrays)
    style(axes, title, "layer", "activation")
    axes.grid(visible=False, axis="x")
    return axes


def batch_norm_violins(model: Sequential, *, ax: Axes | None = None) -> Axes:
    """Draw the spread of gamma, beta, running mean and variance of every batch norm layer.

    Parameters
    ----------
    model : Sequential
        Built, with at least one `BatchNorm`.
    ax : matplotlib.axes.Axes, optional
        Whose place the four panels take; by default that of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The panels are among ``ax.figure.axes``.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If the model has no batch norm, or is not built.
    """
    found = [layer for layer in model.layers if "moving_mean" in layer.parameters]
    if not found:
        raise InputError("this model has no batch norm layer, or is not built yet")
    axes = axes_of(ax, max(7.0, 2.6 + 1.5 * len(found)), 5.6)
    for panel, (name, words) in zip(split(axes, 2, 2), PARAMETERS.items(), strict=True):
        arrays = {
            layer.name.removeprefix("batch_norm_"): layer.parameters[name]
            for layer in found
            if name in layer.parameters
        }
        if arrays:
            _violins(panel, arrays)
        style(panel, "", "batch norm layer", words)
        panel.grid(visible=False, axis="x")
    return axes


def _violins(axes: Axes, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Draw a violin with median and middle half for each array."""
    samples = {name: _sample(values) for name, values in arrays.items()}
    for name, values in samples.items():
        if not values.size:
            raise InputError(f"{name} has no finite number to draw")
    for at, values in enumerate(samples.values()):
        low, middle, high = np.percentile(values, (25, 50, 75))
        # A violin needs a spread; without one there is a dash where all values are.
        if np.ptp(values) > 1e-12 * max(1.0, float(np.abs(values).max())):
            parts = axes.violinplot([values], [at], widths=0.85, showextrema=False)
            for body in parts["bodies"]:
                body.set(facecolor=BLUE, edgecolor=BLUE, alpha=0.35)
        else:
            axes.plot([at - 0.35, at + 0.35], [middle, middle], color=BLUE, linewidth=2)
        axes.vlines(at, low, high, color="black", linewidth=3)
        axes.plot(at, middle, "o", color="white", markeredgecolor=VERMILION, markersize=5)
    slanted = max(map(len, samples)) > 8
    axes.set_xticks(
        range(len(samples)), list(samples), rotation=30 if slanted else 0,
        ha="right" if slanted else "center",
    )  # fmt: skip


def _sample(values: ArrayLike) -> NDArray[np.float64]:
    """Return the finite values, or some of them, always the same, where they are many."""
    flat = np.asarray(values, np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    if flat.size <= VALUES:
        return flat
    # Every so-and-so-many-th would be values of the same few units.
    return flat[np.random.default_rng(0).integers(flat.size, size=VALUES)]
