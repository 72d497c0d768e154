"""What a sweep over settings found: lines, bars, and a heat map of a grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.kernels.errors import InputError, unknown
from mlcore.plots._figure import (
    COLOURS,
    HATCHES,
    axes_of,
    figure_of,
    legend_beside,
    logarithmic,
    look,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What an axis calls a column whose name is short for something.
WORDS = {"lr": "learning rate", "rmse": "RMSE", "seconds": "time [s]"}
Rows = Iterable[Mapping[str, Any]]
# The measured values of each setting on the x axis, by the series it belongs to.
Series = dict[Any, dict[Any, list[float]]]


def sweep_lines(
    rows: Rows,
    x: str,
    y: str,
    *,
    by: str | None = None,
    log_x: bool = False,
    log_y: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw a measured column over a setting that is a number, with a line for each `by`.

    Rows of equal `x` and `by`, as of several seeds, are drawn as their mean, with a band from the
    least to the greatest.

    Parameters
    ----------
    rows : iterable of dict
        A row a run, as `mlcore.sweeps.sweep` and the tables of studies have them.
    x, y : str
        Columns. Rows that lack one of them, or failed, are left out.
    by : str, optional
        The column that tells the lines apart.
    log_x, log_y : bool
        Whether the axis is logarithmic.
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
        If no row has such a column, or `x` is no number.
    """
    series = collect(rows, x, y, by)
    axes = axes_of(ax)
    for number, (name, found) in enumerate(series.items()):
        for at in found:
            if not _is_number(at):
                raise InputError(f"{x} is {at!r}, which is no number: draw it with sweep_bars")
        places = sorted(found)
        values = [found[at] for at in places]
        shown = look(number, marker=True)
        axes.plot(
            places, [np.mean(v) for v in values], label=f"{by} {name}" if by else None,
            linewidth=1.6, markersize=5, **shown,
        )  # fmt: skip
        if any(len(v) > 1 for v in values):
            axes.fill_between(
                places, [min(v) for v in values], [max(v) for v in values],
                color=shown["color"], alpha=0.18, linewidth=0,
            )  # fmt: skip
    style(axes, "", words(x), words(y))
    if log_x:
        logarithmic(axes.xaxis)
    if log_y:
        logarithmic(axes.yaxis)
    if by:
        legend_beside(axes)
    return axes


def sweep_bars(
    rows: Rows,
    x: str,
    y: str,
    *,
    by: str | None = None,
    number: str = "{:.3g}",
    ax: Axes | None = None,
) -> Axes:
    """Draw a measured column as a bar for each setting, in groups where there is `by`.

    Rows of equal `x` and `by` are drawn as their mean, with a line from the least to the greatest.

    Parameters
    ----------
    rows, x, y, by, ax
        As for `sweep_lines`, but `x` need not be a number; settings stand in their first order.
    number : str
        How the value is written above its bar; an empty string leaves it out.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If no row has such a column.
    """
    series = collect(rows, x, y, by)
    settings = list(dict.fromkeys(at for found in series.values() for at in found))
    longest = max(len(str(at)) for at in settings)
    axes = axes_of(ax, max(4.6, 1.2 + len(settings) * max(0.6, 0.42 * len(series))), 4.0)
    width = 0.8 / len(series)
    for place, (name, found) in enumerate(series.items()):
        at = [
            n + (place - (len(series) - 1) / 2) * width
            for n, s in enumerate(settings)
            if s in found
        ]
        values = [found[setting] for setting in settings if setting in found]
        means = np.array([np.mean(v) for v in values])
        spread = np.array([[m - min(v), max(v) - m] for m, v in zip(means, values, strict=True)]).T
        bars = axes.bar(
            at, means, width * 0.92, yerr=spread if spread.any() else None, capsize=3,
            color=COLOURS[place % len(COLOURS)], hatch=HATCHES[place % len(HATCHES)],
            edgecolor="white", label=f"{by} {name}" if by else None,
        )  # fmt: skip
        if number:
            upright = 90 if len(series) > 2 else 0
            axes.bar_label(
                bars, [number.format(m) for m in means], padding=3, fontsize=8, rotation=upright
            )
    slanted = longest > 8
    axes.set_xticks(
        range(len(settings)), [str(s) for s in settings], rotation=30 if slanted else 0,
        ha="right" if slanted else "center",
    )  # fmt: skip
    style(axes, "", words(x), words(y))
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.14)
    if by:
        legend_beside(axes)
    return axes


def sweep_heat_map(
    rows: Rows,
    x: str,
    y: str,
    value: str,
    *,
    number: str = "{:.3g}",
    ax: Axes | None = None,
) -> Axes:
    """Draw a measured column over two settings as a heat map, with the mean in each cell.

    Parameters
    ----------
    rows : iterable of dict
    x, y : str
        The columns of the settings; numbers are sorted, other settings stand in their first order.
    value : str
        The measured column. Cells without a run are white.
    number : str
        How the value is written into its cell; an empty string leaves it out.
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
        If no row has such columns.
    """
    series = collect(rows, x, value, y)
    across = _ordered(at for found in series.values() for at in found)
    down = _ordered(series)
    means = np.array(
        [
            [np.mean(series[row][at]) if at in series[row] else np.nan for at in across]
            for row in down
        ]
    )
    axes = axes_of(ax, 2.2 + 0.8 * len(across), 1.4 + 0.55 * len(down))
    image = axes.imshow(means, cmap="cividis", aspect="auto", origin="lower")
    figure_of(axes).colorbar(image, ax=axes, label=words(value), pad=0.02)
    middle = (np.nanmin(means) + np.nanmax(means)) / 2
    if number:
        for (row, at), mean in np.ndenumerate(means):
            if np.isfinite(mean):
                axes.text(
                    at, row, number.format(mean), ha="center", va="center", fontsize=8,
                    color="white" if mean < middle else "black",
                )  # fmt: skip
    style(axes, "", words(x), words(y))
    axes.grid(visible=False)
    axes.set_xticks(range(len(across)), [str(at) for at in across])
    axes.set_yticks(range(len(down)), [str(at) for at in down])
    return axes


def collect(rows: Rows, x: str, y: str, by: str | None) -> Series:
    """Return what was measured, by `by` and `x`, without rows that lack a column or failed."""
    table = list(rows)
    known = list(dict.fromkeys(name for row in table for name in row))
    for name in (x, y, by):
        if name is not None and name not in known:
            raise unknown("column", name, known)
    series: Series = {}
    for row in table:
        at, value, name = row.get(x), row.get(y), row.get(by) if by else None
        if at is None or not _is_number(value) or (by and name is None):
            continue
        series.setdefault(name, {}).setdefault(at, []).append(float(value))
    if not series:
        raise InputError(f"no row has {x} and a finite {y}: there is nothing to draw")
    return series


def words(column: str) -> str:
    """Return what an axis calls a column: "validation accuracy" for "val_accuracy"."""
    if column.startswith("val_"):
        return f"validation {words(column[4:])}"
    return WORDS.get(column, column.replace("_", " "))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and bool(np.isfinite(value))


def _ordered(settings: Iterable[Any]) -> list[Any]:
    found = list(dict.fromkeys(settings))
    return sorted(found) if all(_is_number(setting) for setting in found) else found
