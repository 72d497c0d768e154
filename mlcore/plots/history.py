"""The curves of a training run: loss, accuracy and learning rate over the epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlcore.kernels.errors import InputError
from mlcore.plots._figure import BLUE, GREY, ORANGE, VERMILION, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mlcore.history import History

Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

PANELS = {"loss": ("running_", "", "val_"), "accuracy": ("", "val_")}

# Dashes tell the curves apart in print without colours.
CURVES: dict[str, dict[str, Any]] = {
    "running_": {"label": "running mean", "color": ORANGE, "linestyle": ":"},
    "": {"label": "training data", "color": BLUE, "linestyle": "--"},
    "val_": {"label": "validation data", "color": VERMILION, "linestyle": "-"},
}
BEST = {"val_loss": "least validation loss", "val_accuracy": "best validation accuracy"}
EPOCHS_WITH_MARKERS = 15


def plot_curves(history: History) -> Figure:
    """Draw loss and accuracy over the epochs, with the best validation epoch marked.

    The left panel has the running loss and the losses over the training and the validation data,
    on a logarithmic axis where they span more than two decades; the right one the accuracies over
    the training and the validation data. The epoch marked in both is the one with the best
    validation accuracy or, without accuracies, the least validation loss. Values that were not
    measured, or are infinite, are left out, and so is a panel without a curve.

    Parameters
    ----------
    history : History
        At least one epoch.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If the history has neither a loss nor an accuracy.
    """
    panels: dict[str, dict[str, Points]] = {}
    for quantity, prefixes in PANELS.items():
        for prefix in prefixes:
            points = _points(history, prefix + quantity)
            if points[0].size:
                panels.setdefault(quantity, {})[prefix] = points
    if not panels:
        raise InputError("this history has no loss and no accuracy to draw; train an epoch first")
    monitor = next((f"val_{q}" for q in reversed(panels) if "val_" in panels[q]), None)
    best = None if monitor is None else (history.best(monitor)[0], BEST[monitor])

    figure = new_figure(5.2 * len(panels), 4.2)
    for index, (quantity, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), index)
        if quantity == "loss":
            style(axes, "Loss", "epoch", "loss")
            _draw(axes, curves, best, "{:.4g}")
            losses = np.concatenate([values for _, values in curves.values()])
            if 0 < 100 * losses.min() < losses.max():
                axes.set_yscale("log")
        else:
            style(axes, "Accuracy", "epoch", "accuracy [%]")
            percents = {prefix: (epochs, 100 * y) for prefix, (epochs, y) in curves.items()}
            _draw(axes, percents, best, "{:.2f} %")
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, -1.0), min(high, 101.0))
        _limit_epochs(axes, history["epoch"])

    lines = {
        label: line
        for axes in figure.axes
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    # Below the panels the legend covers no curve, whatever their shape.
    figure.legend(
        list(lines.values()),
        list(lines),
        loc="outside lower center",
        ncols=2 * len(panels),
        frameon=False,
    )
    return figure


def plot_learning_rate(history: History) -> Figure:
    """Draw the learning rate over the epochs, as steps, since it is constant within an epoch.

    The axis begins at 0, but is logarithmic where at least half of the epochs have less than a
    tenth of the greatest rate, as they do when it falls again and again by a factor.

    Parameters
    ----------
    history : History
        At least one epoch with a learning rate.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If the history has no learning rate.
    """
    epochs, rates = _points(history, "learning_rate")
    if not rates.size:
        raise InputError("this history has no learning rate to draw; train an epoch first")
    figure = new_figure(6.4, 3.6)
    axes = figure.add_subplot()
    style(axes, "Learning rate", "epoch", "learning rate")
    axes.stairs(rates, [*(epochs - 0.5), epochs[-1] + 0.5], baseline=None, color=BLUE, linewidth=2)
    if rates.min() > 0 and 10 * np.median(rates) < rates.max():
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.08 * rates.max() or 1)
    _limit_epochs(axes, history["epoch"])
    return figure


def _points(history: History, column: str) -> Points:
    """Return epochs and values where the value is finite."""
    epochs, values = np.array(history["epoch"], float), np.array(history[column], float)
    finite = np.isfinite(values)
    return epochs[finite], values[finite]


def _draw(axes: Axes, curves: dict[str, Points], best: tuple[int, str] | None, number: str) -> None:
    """Draw the curves; ring the `best` epoch on the validation curve, and write its value."""
    for prefix, (epochs, values) in curves.items():
        marker = "o" if len(epochs) <= EPOCHS_WITH_MARKERS else None
        axes.plot(epochs, values, marker=marker, markersize=4, linewidth=1.6, **CURVES[prefix])
    if best is None or "val_" not in curves:
        return
    epochs, values = curves["val_"]
    here = epochs == best[0]
    if here.any():
        axes.axvline(best[0], color=GREY, linewidth=0.8, zorder=1, label="_")
        ring = CURVES["val_"] | {"linestyle": "none", "label": f"epoch {best[0]}, {best[1]}"}
        axes.plot(epochs[here], values[here], "o", markersize=9, markerfacecolor="none", **ring)
        text = f"epoch {best[0]}: {number.format(values[here][0])}"
        axes.set_title(text, loc="right", fontsize=10, color=VERMILION)


def _limit_epochs(axes: Axes, epochs: list[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    # Half an epoch at the left keeps 0, which is no epoch, off the axis.
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + max(0.5, 0.02 * len(epochs)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
