"""Several runs on one chart: loss, accuracy or learning rate over the epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlcore.history import COLUMNS, History
from mlcore.kernels.errors import InputError, unknown
from mlcore.plots._figure import (
    COLOURS,
    DASHES,
    axes_of,
    legend_beside,
    logarithmic,
    look,
    style,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Runs = History | Iterable[History] | Mapping[str, History | Iterable[History]]
BANDS = ("std", "range", None)
EPOCHS_WITH_MARKERS = 15
# With more curves, a legend would cover some of them.
ENTRIES_INSIDE = 4
WORDS = {"running": "running mean", "val": "validation"}


def curves(
    histories: Runs,
    quantity: str | Iterable[str] = "loss",
    *,
    log: bool = False,
    band: str | None = "std",
    ax: Axes | None = None,
) -> Axes:
    """Draw a column of many runs over the epochs; of repeated runs their mean, and a band.

    Parameters
    ----------
    histories : History, or mapping of str to History
        A run, or runs by the names of the legend. Where there are several histories instead of
        one, they are repetitions (other seeds): the line is their mean at each epoch, over those
        that measured it.
    quantity : str or iterable of str
        Columns of `History`: "loss", "val_loss", "accuracy", "val_accuracy" and so on, all losses
        or all accuracies. Accuracies are drawn in percent.
    log : bool
        Whether the axis of the values is logarithmic.
    band : {"std", "range", None}
        One standard deviation to either side of the mean (divided by the count minus one), or
        from the least to the greatest; or no band.
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
        If a name is not a column or band, the columns have several units, or nothing was measured.
    """
    names = [quantity] if isinstance(quantity, str) else list(quantity)
    for name in names:
        if name not in COLUMNS[1:]:
            raise unknown("history column", name, COLUMNS[1:])
    if band not in BANDS:
        raise unknown("band", band, [str(one) for one in BANDS])
    bases = {name.rpartition("_")[2] if name != "learning_rate" else name for name in names}
    if len(bases) != 1:
        raise InputError(f"{', '.join(names)} have several units: draw them one by one")
    base = bases.pop()
    percent = base == "accuracy"
    runs = _named(histories)
    drawn = [
        (run, name, *_table(several, name, 100.0 if percent else 1.0))
        for run, several in runs.items()
        for name in names
    ]
    drawn = [curve for curve in drawn if curve[2].size]
    if not drawn:
        raise InputError(f"no history has a value of {' or '.join(names)} to draw")
    axes = axes_of(ax)
    several = len(names) > 1
    order = list(runs)
    for run, name, epochs, values in drawn:
        label = f"{run}, {_words(name)}".removeprefix(", ") if several or not run else run
        shown = look(order.index(run), marker=len(epochs) <= EPOCHS_WITH_MARKERS)
        if several:
            at = names.index(name)
            # Where there are several runs, the colour is the run's; the dashes are the quantity's.
            shown |= {"linestyle": DASHES[at], "markerfacecolor": "white" if at else None}
            if len(order) == 1:
                shown["color"] = COLOURS[at]
        mean = np.nanmean(values, axis=0)
        axes.plot(epochs, mean, label=label, linewidth=1.6, markersize=4, **shown)
        if len(values) > 1 and band is not None:
            low, high = _band(values, mean, band)
            axes.fill_between(epochs, low, high, color=shown["color"], alpha=0.2, linewidth=0)
    unit = {"accuracy": "accuracy [%]", "seconds": "time of an epoch [s]"}
    title = base.replace("_", " ") if several else _words(names[0], base)
    style(axes, title[0].upper() + title[1:], "epoch", unit.get(base, base.replace("_", " ")))
    if log:
        logarithmic(axes.yaxis)
    elif percent:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -1.0), min(high, 101.0))
    whole_numbers(axes.xaxis)
    if len(drawn) > ENTRIES_INSIDE:
        legend_beside(axes)
    elif len(drawn) > 1 or several:
        axes.legend(frameon=False, fontsize=9, handlelength=3)
    return axes


def learning_rate(histories: Runs, *, log: bool = False, ax: Axes | None = None) -> Axes:
    """Draw the learning rates of runs over the epochs, as steps: within an epoch it is constant.

    Parameters
    ----------
    histories : History, or mapping of str to History
        As for `curves`; of repeated runs the first counts.
    log : bool
        Whether the axis of the rates is logarithmic; else it begins at 0.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If no history has a learning rate.
    """
    found = {
        run: _table(several[:1], "learning_rate", 1.0) for run, several in _named(histories).items()
    }
    found = {run: points for run, points in found.items() if points[0].size}
    if not found:
        raise InputError("no history has a learning rate to draw; train an epoch first")
    axes = axes_of(ax, 6.0, 3.4)
    for number, (run, (epochs, rates)) in enumerate(found.items()):
        edges = [*(epochs - 0.5), epochs[-1] + 0.5]
        axes.stairs(
            rates[0], edges, baseline=None, label=run or None, linewidth=1.8, **look(number)
        )
    style(axes, "Learning rate", "epoch", "learning rate")
    if log:
        logarithmic(axes.yaxis)
    else:
        axes.set_ylim(0, 1.08 * max(float(rates.max()) for _, rates in found.values()) or 1)
    whole_numbers(axes.xaxis)
    if len(found) > ENTRIES_INSIDE:
        legend_beside(axes)
    elif len(found) > 1:
        axes.legend(frameon=False, fontsize=9, handlelength=3)
    return axes


def _named(histories: Runs) -> dict[str, list[History]]:
    given: Any = histories if isinstance(histories, Mapping) else {"": histories}
    named = {
        str(name): [runs] if isinstance(runs, History) else list(runs)
        for name, runs in given.items()
    }
    for name, runs in named.items():
        for run in runs:
            if not isinstance(run, History):
                raise InputError(
                    f"{name or 'histories'} holds a {type(run).__name__}: give what fit returns"
                )
    return named


def _table(
    runs: list[History], column: str, unit: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the epochs at which a column was measured, and a row of values for each run."""
    measured = [
        {
            epoch: unit * value
            for epoch, value in zip(run["epoch"], run[column], strict=True)
            if np.isfinite(value)
        }
        for run in runs
    ]
    epochs = sorted({epoch for run in measured for epoch in run})
    values = [[run.get(epoch, np.nan) for epoch in epochs] for run in measured if run]
    return np.array(epochs, float), np.array(values, float).reshape(-1, len(epochs))


def _band(
    values: NDArray[np.float64], mean: NDArray[np.float64], band: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if band == "range":
        return np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    count = np.isfinite(values).sum(axis=0)
    squares = np.nansum(np.square(values - mean), axis=0)
    spread = np.sqrt(squares / np.maximum(count - 1, 1))
    return mean - spread, mean + spread


def _words(column: str, base: str | None = None) -> str:
    """Return what a legend calls a column: "validation", or "validation loss" with a base."""
    prefix = column.rpartition("_")[0] if column != "learning_rate" else ""
    if base is not None:
        return f"{WORDS.get(prefix, '')} {base}".replace("_", " ").strip()
    return WORDS.get(prefix, "training")
