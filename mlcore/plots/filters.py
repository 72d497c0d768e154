"""What the first layer looks for, as pictures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlcore.kernels.errors import InputError
from mlcore.layers.base import check_size
from mlcore.plots._figure import axes_of, figure_of, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlcore.model import Sequential


def first_layer_weights(
    model: Sequential,
    *,
    units: int = 64,
    image_shape: tuple[int, int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the weights of the first layer that has some; zero has the middle colour.

    A unit that looks at images, a dense one or a filter of a convolution, is a picture of its own,
    and all of them stand side by side; a filter of a few channels has a picture for each. Units
    that look at what is no image are the rows of one picture.

    Parameters
    ----------
    model : Sequential
        Built.
    units : int
        The most to show, the first ones.
    image_shape : (int, int), optional
        Height and width of the images that a dense layer takes. By default those of the model's
        input, or a square where the number of features is that of one of 8 by 8 or larger.
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
        If no layer has weights, or `image_shape` does not fit them.
    """
    check_size(units, "units")
    layer = next((one for one in model.layers if "weight" in one.parameters), None)
    if layer is None:
        raise InputError("no layer of this model has weights; build it, or fit it, first")
    weight = np.asarray(layer.parameters["weight"], float)
    tiles = _tiles(weight, model.input_shape, image_shape, layer.name)
    whole = 1.0 if tiles is None else 0.0
    picture = weight.reshape(-1, weight.shape[-1]).T[:units] if tiles is None else _sheet(
        tiles[:units]
    )  # fmt: skip
    axes = axes_of(ax, 5.6, 5.0 if tiles is not None else 4.2)
    limit = float(np.nanmax(np.abs(picture))) or 1.0
    image = axes.imshow(
        picture, cmap="cividis", vmin=-limit, vmax=limit, interpolation="nearest",
        aspect="auto" if whole else "equal",
    )  # fmt: skip
    image.set_cmap(image.get_cmap().with_extremes(bad="white"))
    figure_of(axes).colorbar(image, ax=axes, label="weight", shrink=0.8, pad=0.02)
    if tiles is None:
        style(axes, f"Weights of {layer.name}", "input", "unit")
    else:
        shown, height, width = min(units, len(tiles)), *tiles.shape[1:]
        style(
            axes, f"Weights of {layer.name}",
            f"{shown} of {len(tiles)} units, {height} by {width} pixels each", "",
        )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    return axes


def _tiles(
    weight: NDArray[Any],
    input_shape: tuple[int, ...],
    image_shape: tuple[int, int] | None,
    name: str,
) -> NDArray[Any] | None:
    """Return a picture for each unit, (pictures, height, width); None where they are no images."""
    if weight.ndim == 4:
        height, width, channels, filters = weight.shape
        return weight.transpose(3, 2, 0, 1).reshape(filters * channels, height, width)
    if weight.ndim != 2:
        return None
    features = weight.shape[0]
    if image_shape is not None:
        if math.prod(image_shape) != features:
            raise InputError(
                f"image_shape {image_shape} holds {math.prod(image_shape)} numbers, and a unit of "
                f"{name} has {features}"
            )
        shape = image_shape
    elif len(input_shape) == 3 and input_shape[2] == 1 and math.prod(input_shape) == features:
        shape = (input_shape[0], input_shape[1])
    else:
        side = math.isqrt(features)
        if side < 8 or side * side != features:
            return None
        shape = (side, side)
    return weight.T.reshape(-1, *shape)


def _sheet(tiles: NDArray[Any]) -> NDArray[Any]:
    """Put pictures side by side, one empty pixel apart."""
    count, height, width = tiles.shape
    columns = math.ceil(math.sqrt(count * height / width))
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for at, tile in enumerate(tiles):
        top, left = at // columns * (height + 1), at % columns * (width + 1)
        sheet[top : top + height, left : left + width] = tile
    return sheet
