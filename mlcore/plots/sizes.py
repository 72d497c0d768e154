"""What more parameters buy, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlcore.plots.sweep import sweep_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def against_parameters(
    rows: Iterable[Mapping[str, Any]],
    y: str = "rmse",
    *,
    x: str = "parameters",
    by: str | None = "hidden layers",
    log_y: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw an error or a time against the number of parameters, a line for each depth.

    Parameters
    ----------
    rows : iterable of dict
        A row a network; repeated ones are drawn as mean and range.
    y : str
        The column drawn, as "rmse" or "seconds".
    x : str
        The column of the sizes: parameters, or units; a logarithmic axis.
    by : str or None
        The column that tells the lines apart.
    log_y : bool
        Whether the other axis is logarithmic too.
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
    return sweep_lines(rows, x, y, by=by, log_x=True, log_y=log_y, ax=ax)
