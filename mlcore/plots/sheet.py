"""The dashboard: twelve panels that show a network from within."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlcore import inspection
from mlcore.callbacks import Callback, Logs
from mlcore.data.dataset import Dataset
from mlcore.data.files import require_place
from mlcore.inspection import LastUpdates
from mlcore.kernels.errors import InputError
from mlcore.layers import Layer
from mlcore.layers.base import check_size
from mlcore.plots._figure import (
    BLUE,
    GREY,
    VERMILION,
    axes_of,
    figure_of,
    logarithmic,
    look,
    new_figure,
    save,
    split,
    style,
    suffix_of,
    trace,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlcore.history import History
    from mlcore.model import Sequential

SHOWN = 3
BINS = 50


def dashboard(
    model: Sequential,
    x: ArrayLike | Dataset,
    y: ArrayLike | None = None,
    *,
    updates: LastUpdates | None = None,
    history: History | None = None,
    target: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw twelve panels of a network: activations, weights and updates of up to three layers.

    Above, the mean activation of each unit as an image, and the histogram of all activations; in
    the middle, the mean weight of each input as an image, and the accuracy over the epochs; below,
    the size (root of the mean square) of the last update of the same weights, and that of all
    updates over training. Of more than three layers with weights, the first, the middle and the
    last are shown.

    Parameters
    ----------
    model : Sequential
        Built.
    x : array_like (n, ...) or Dataset
        The samples whose activations are shown; some hundred are enough.
    y : array_like, optional
        Their targets, where `updates` is not given and `x` is no Dataset.
    updates : LastUpdates, optional
        The callback that watched the fit; without it, the updates shown are what a step with `x`
        and `y` would change now.
    history : History, optional
        By default that of the last fit.
    target : float, optional
        An accuracy, from 0 to 1, to draw a line at.
    ax : matplotlib.axes.Axes, optional
        Whose place the panels take; by default that of a new figure, 14 by 9 inches.

    Returns
    -------
    matplotlib.axes.Axes
        The panels are among ``ax.figure.axes``.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    InputError
        If no layer has weights, the data do not fit, or there are no updates and no targets.
    """
    layers = [layer for layer in model.layers if "weight" in layer.parameters]
    if not layers:
        raise InputError("no layer of this model has weights; build it, or fit it, first")
    if len(layers) > SHOWN:
        layers = [layers[round(at)] for at in np.linspace(0, len(layers) - 1, SHOWN)]
    outputs = inspection.outputs_of_weights(model)
    values = inspection.activations(model, x, [outputs[layer.name] for layer in layers])
    activations = {layer.name: values[outputs[layer.name]] for layer in layers}
    if updates is not None and updates.updates:
        last = updates.updates
    else:
        last = inspection.updates(model, x, y)
    axes = axes_of(ax, 14, 9)
    panels = split(axes, 3, SHOWN + 1)
    for at in range(SHOWN):
        column = panels[at :: SHOWN + 1]
        if at >= len(layers):
            for panel in column:
                panel.set_axis_off()
            continue
        _draw_layer(column, layers[at], activations[layers[at].name], last, model)
    _draw_histogram(panels[SHOWN], activations)
    _draw_accuracy(panels[2 * SHOWN + 1], model.history if history is None else history, target)
    _draw_magnitudes(panels[3 * SHOWN + 2], layers, updates, last)
    return axes


class Dashboard(Callback):
    """Redraw the dashboard into a file while a network trains.

    Parameters
    ----------
    path : str or path
        A picture, such as "dashboard.png", replaced as a whole each time.
    x, y, target
        As for `dashboard`; the same samples each time.
    every : int
        Redraw after so many epochs, and after the last one. Drawing takes about two seconds.
    per : {"epoch", "step"}
        What an update is, see `mlcore.inspection.LastUpdates`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        x: ArrayLike | Dataset,
        y: ArrayLike | None = None,
        *,
        target: float | None = None,
        every: int = 1,
        per: str = "epoch",
    ) -> None:
        self.path = Path(path)
        self.x, self.y, self.target = x, y, target
        self.every = check_size(every, "every")
        self.updates = LastUpdates(per)
        self.progress_needs_parameters = self.updates.progress_needs_parameters
        self.progress_every_step = self.updates.progress_every_step
        self._epoch = self._drawn = 0

    def check(self, columns: set[str]) -> None:
        """Refuse a path that cannot be written, and a machine without matplotlib."""
        require_place(self.path)
        suffix_of(new_figure(1, 1), self.path)

    def on_train_begin(self, model: Sequential) -> None:
        """Begin to watch the updates."""
        self.updates.on_train_begin(model)

    def on_epoch_begin(self, model: Sequential, epoch: int) -> None:
        """Watch."""
        self.updates.on_epoch_begin(model, epoch)

    def on_progress(self, model: Sequential, done: float, logs: Logs) -> None:
        """Watch."""
        self.updates.on_progress(model, done, logs)

    def on_epoch_end(self, model: Sequential, epoch: int, logs: Logs) -> None:
        """Watch, and redraw where it is time."""
        self.updates.on_epoch_end(model, epoch, logs)
        self._epoch = epoch + 1
        if self._epoch % self.every == 0:
            self._draw(model)

    def on_train_end(self, model: Sequential) -> None:
        """Draw what the last epochs left."""
        if self.updates.epochs and self._drawn != self._epoch:
            self._draw(model)

    def _draw(self, model: Sequential) -> None:
        axes = dashboard(model, self.x, self.y, updates=self.updates, target=self.target)
        figure = figure_of(axes)
        figure.suptitle(f"after epoch {self._epoch}", fontsize=11, color=GREY)
        save(figure, self.path)
        self._drawn = self._epoch


def _draw_layer(
    column: list[Axes],
    layer: Layer,
    activations: NDArray[Any],
    updates: dict[str, NDArray[Any]],
    model: Sequential,
) -> None:
    weight = np.asarray(layer.parameters["weight"])
    update = updates.get(f"{layer.name}.weight", np.zeros_like(weight))
    first = next(one for one in model.layers if "weight" in one.parameters)
    shape = model.input_shape if layer is first else None
    size = float(np.sqrt(np.mean(np.square(update, dtype=np.float64))))
    # Means of updates say nothing of a softmax: those of its units always cancel.
    sizes = np.sqrt(np.square(update, dtype=np.float64).mean(axis=-1, keepdims=True))
    _image(column[0], _units(activations), f"{layer.name}: mean activation")
    _image(column[1], _inputs(weight, shape), f"{layer.name}: mean weight", symmetric=True)
    _image(column[2], _inputs(sizes, shape), f"{layer.name}: last update, rms {size:.1e}")


def _image(axes: Axes, picture: NDArray[Any], title: str, symmetric: bool = False) -> None:
    """Draw a picture with a scale below it; zero has the middle colour of a symmetric one."""
    limits: dict[str, float] = {}
    if symmetric:
        reach = float(np.nanmax(np.abs(picture))) or 1.0
        limits = {"vmin": -reach, "vmax": reach}
    from matplotlib.ticker import MaxNLocator

    image = axes.imshow(picture, cmap="cividis", interpolation="nearest", **limits)
    image.set_cmap(image.get_cmap().with_extremes(bad="white"))
    bar = figure_of(axes).colorbar(
        image, ax=axes, location="bottom", shrink=0.8, pad=0.03, aspect=25
    )
    bar.ax.tick_params(labelsize=7)
    bar.locator = MaxNLocator(5)
    bar.formatter.set_powerlimits((-2, 3))
    bar.ax.xaxis.get_offset_text().set_fontsize(7)
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_histogram(axes: Axes, activations: dict[str, NDArray[Any]]) -> None:
    finite = {name: a[np.isfinite(a)].astype(float) for name, a in activations.items()}
    for number, (name, values) in enumerate(finite.items()):
        if values.size:
            shares, edges = np.histogram(values, BINS)
            axes.stairs(
                100 * shares / values.size, edges, label=name, linewidth=1.3, **look(number)
            )
    style(axes, "", "activation", "share of values [%]")
    axes.set_title("Activations", loc="left", fontsize=9)
    axes.set_yscale("log")
    axes.legend(fontsize=7, framealpha=0.85, edgecolor="none", loc="upper right")


def _draw_accuracy(axes: Axes, history: History | None, target: float | None) -> None:
    columns = {"accuracy": ("training", BLUE, "--"), "val_accuracy": ("validation", VERMILION, "-")}
    quantity, unit = "accuracy [%]", 100.0
    if history is None or not any(np.isfinite(history[name]).any() for name in columns):
        columns = {name.replace("accuracy", "loss"): shown for name, shown in columns.items()}
        quantity, unit = "loss", 1.0
    style(axes, "", "epoch", quantity)
    axes.set_title(quantity.partition(" ")[0].capitalize(), loc="left", fontsize=9)
    for name, (label, colour, dashes) in columns.items():
        values = np.array([] if history is None else history[name], float)
        if history is not None and np.isfinite(values).any():
            axes.plot(
                history["epoch"], unit * values, dashes, color=colour, label=label, linewidth=1.5,
                marker="." if len(values) < SHOWN * 10 else None,
            )  # fmt: skip
    whole_numbers(axes.xaxis)
    if target is not None and unit == 100.0:
        axes.axhline(100 * target, color=GREY, linewidth=1, linestyle=":", label="target")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=7)
    else:
        axes.text(0.5, 0.5, "not trained yet", transform=axes.transAxes, ha="center", color=GREY)


def _draw_magnitudes(
    axes: Axes,
    layers: list[Layer],
    updates: LastUpdates | None,
    last: dict[str, NDArray[Any]],
) -> None:
    names = [f"{layer.name}.weight" for layer in layers if f"{layer.name}.weight" in last]
    for number, name in enumerate(names):
        if updates is not None and updates.magnitudes:
            x, sizes = updates.epochs, updates.magnitudes[name]
        else:
            x, sizes = [0.0], [float(np.sqrt(np.mean(np.square(last[name], dtype=np.float64))))]
        trace(axes, x, sizes, name.removesuffix(".weight"), number)
    per = "step" if updates is None else updates.per
    style(axes, "", "epoch", f"rms change per {per}")
    axes.set_title("Size of the updates", loc="left", fontsize=9)
    logarithmic(axes.yaxis)
    axes.legend(frameon=False, fontsize=7)


def _units(activations: NDArray[Any]) -> NDArray[Any]:
    """Return the mean over samples as an image: the places of images, else the units."""
    mean = np.asarray(activations, float).mean(axis=0)
    if mean.ndim == 3:
        return np.asarray(mean.mean(axis=-1))
    return _square(mean.ravel())


def _inputs(weight: NDArray[Any], shape: tuple[int, ...] | None) -> NDArray[Any]:
    """Return the mean over units as an image: of a kernel its places, else the inputs."""
    mean = np.asarray(weight, float).mean(axis=-1)
    if mean.ndim == 3:
        return np.asarray(mean.mean(axis=-1))
    if shape is not None and len(shape) == 3 and math.prod(shape) == mean.size:
        return np.asarray(mean.reshape(shape).mean(axis=-1))
    return _square(mean.ravel())


def _square(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers in rows of an image as square as can be; what is left over is empty."""
    width = math.isqrt(values.size - 1) + 1
    if math.isqrt(values.size) ** 2 != values.size:
        width = next((w for w in range(width, 2 * width) if values.size % w == 0), width)
    height = -(-values.size // width)
    image = np.full(width * height, np.nan)
    image[: values.size] = values
    return image.reshape(height, width)
