"""How large updates are beside the weights that they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlcore.inspection import LastUpdates
from mlcore.kernels.errors import InputError
from mlcore.plots._figure import GREY, axes_of, logarithmic, style, trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def update_ratios(
    updates: LastUpdates | Mapping[str, float | Sequence[float]],
    *,
    guide: float | None = 1e-3,
    ax: Axes | None = None,
) -> Axes:
    """Draw |update| / |weight| of each weight over training, on a logarithmic axis.

    Parameters
    ----------
    updates : mlcore.inspection.LastUpdates, or mapping of str to float or sequence of float
        The callback that watched a fit; or ratios by parameter, as
        `mlcore.inspection.update_ratios` returns them for a single update. Ratios of 0 and
        infinity, which biases that begin with zero have, cannot be shown and are left out.
    guide : float or None
        Where a line is drawn to compare with: 1e-3 is a usual ratio of a step.
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
        If there is no ratio above 0.
    """
    recorded = updates.ratios if isinstance(updates, LastUpdates) else updates
    ratios = {name: np.atleast_1d(np.asarray(r, float)) for name, r in recorded.items()}
    weights = {name: r for name, r in ratios.items() if not name.endswith(".bias")}
    shown = {
        name: np.where(np.isfinite(r) & (r > 0), r, np.nan)
        for name, r in (weights or ratios).items()
    }
    if not any(np.isfinite(r).any() for r in shown.values()):
        raise InputError("no update was measured: give LastUpdates() to fit, train, and draw it")
    axes = axes_of(ax)
    if guide is not None:
        axes.axhline(guide, color=GREY, linewidth=0.8, zorder=1, label="_")
    for number, (name, values) in enumerate(shown.items()):
        x = updates.epochs if isinstance(updates, LastUpdates) else np.arange(1, len(values) + 1)
        trace(axes, x, values, name.removesuffix(".weight"), number)
    per = updates.per if isinstance(updates, LastUpdates) else "update"
    style(
        axes, f"Change of each {per} beside the weights",
        "epoch" if isinstance(updates, LastUpdates) else "update", "|change| / |weights|",
    )  # fmt: skip
    logarithmic(axes.yaxis)
    axes.legend(frameon=False, fontsize=9, handlelength=3)
    return axes
