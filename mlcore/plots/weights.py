"""How the weights of layers are spread, before and after, and network beside network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlcore.kernels.errors import InputError, unknown
from mlcore.layers.base import check_size
from mlcore.plots._figure import axes_of, legend_beside, look, split, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlcore.model import Sequential


def weight_histograms(
    networks: Sequential | Mapping[str, Any],
    layers: str | Iterable[str] | None = None,
    *,
    bins: int | None = None,
    log: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw a histogram of each layer's weights, with those of all networks on the same bins.

    Parameters
    ----------
    networks : Sequential, or mapping of str to Sequential or to what `inspection.weights` returns
        By the names of the legend, as ``{"before": weights, "after": model}``. Networks may have
        different shapes: counts are given as density, so that layers of different sizes compare.
    layers : str or iterable of str, optional
        Names of parameters, "dense_1.weight" or for short "dense_1"; by default every weight that
        one of the networks has.
    bins : int, optional
        By default twice the root of the number of weights, but 10 at least and 60 at most.
    log : bool
        Whether the axis of the density is logarithmic.
    ax : matplotlib.axes.Axes, optional
        To draw into; by default that of a new figure. Several layers share its place as panels.

    Returns
    -------
    matplotlib.axes.Axes
        Where there are panels, they are among ``ax.figure.axes``.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If there are no networks or weights, or a layer that none of them has.
    """
    found = {name: _weights(network) for name, network in _named(networks).items()}
    known = list(dict.fromkeys(name for arrays in found.values() for name in arrays))
    if not known:
        raise InputError("there are no weights to draw: the networks have none")
    if layers is None:
        wanted = known
    else:
        given = [layers] if isinstance(layers, str) else list(layers)
        wanted = [name if "." in name else f"{name}.weight" for name in given]
        for name in wanted:
            if name not in known:
                raise unknown("weight", name, known)
    if bins is not None:
        check_size(bins, "bins")
    columns = min(len(wanted), 4)
    rows = -(-len(wanted) // columns)
    axes = axes_of(ax, 1.2 + 3.6 * columns, 0.8 + 2.8 * rows)
    panels = [axes] if len(wanted) == 1 else split(axes, rows, columns)
    for spare in panels[len(wanted) :]:
        spare.set_axis_off()
    for at, (panel, name) in enumerate(zip(panels, wanted, strict=False)):
        _draw(panel, {run: arrays[name] for run, arrays in found.items() if name in arrays},
              list(found), bins)  # fmt: skip
        style(panel, name.removesuffix(".weight"), "weight", "density" if at % columns == 0 else "")
        if log:
            panel.set_yscale("log")
    if any(found) and list(found) != [""]:
        # A network that lacks a layer is not drawn in its panel.
        named = [one.get_legend_handles_labels() for one in panels[: len(wanted)]]
        entries = {label: handle for pair in named for handle, label in zip(*pair, strict=True)}
        legend_beside(
            panels[columns - 1], {name: entries[name] for name in found if name in entries}
        )
    return axes


def _draw(
    axes: Axes, arrays: Mapping[str, NDArray[Any]], names: list[str], bins: int | None
) -> None:
    values = {name: np.asarray(array, float).ravel() for name, array in arrays.items()}
    values = {name: array[np.isfinite(array)] for name, array in values.items()}
    values = {name: array for name, array in values.items() if array.size}
    if not values:
        raise InputError("a layer has no finite weight to draw")
    fewest = min(array.size for array in values.values())
    count = bins or min(max(round(2 * fewest**0.5), 10), 60)
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), count)
    for name, array in values.items():
        shown = look(names.index(name))
        density, _ = np.histogram(array, edges, density=True)
        axes.stairs(density, edges, label=name, linewidth=1.6, **shown)
        axes.stairs(density, edges, fill=True, color=shown["color"], alpha=0.15)


def _named(networks: Any) -> dict[str, Any]:
    if isinstance(networks, Mapping):
        # What `inspection.weights` returns is one network.
        alone = any(isinstance(value, np.ndarray) for value in networks.values())
        named = {"": networks} if alone else dict(networks)
    else:
        named = {"": networks}
    if not named:
        raise InputError("there are no networks to draw: give a model, or models by name")
    return named


def _weights(network: Any) -> dict[str, NDArray[Any]]:
    from mlcore import inspection

    arrays = network if isinstance(network, Mapping) else inspection.weights(network)
    return {name: array for name, array in arrays.items() if name.endswith(".weight")}
