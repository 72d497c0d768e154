"""t-SNE: which samples a layer holds for alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mlcore.data.dataset import Dataset
from mlcore.kernels.errors import InputError, MissingExtraError, is_number
from mlcore.layers.base import check_size
from mlcore.plots._figure import COLOURS, MARKERS, axes_of, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlcore.model import Sequential


def tsne(
    model: Sequential,
    x: ArrayLike | Dataset,
    y: ArrayLike | None = None,
    layer: str | None = None,
    *,
    samples: int = 500,
    perplexity: float = 30.0,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the activations of a layer in the plane, neighbours beside neighbours.

    t-SNE (van der Maaten and Hinton 2008, by scikit-learn's ``TSNE``). Distances between groups
    and the sizes of groups mean nothing. Each class has its colour and marker, and its name stands
    at its median.

    Parameters
    ----------
    model : Sequential
        Built.
    x : array_like (n, ...) or Dataset
    y : array_like (n,), optional
        The classes; a `Dataset` brings them.
    layer : str, optional
        By default the last but one that takes an activation function.
    samples : int
        The most to show, drawn at random.
    perplexity : float
        About how many neighbours count, below the number of samples.
    seed : int
        Of the draw and of t-SNE.
    class_names : sequence of str, optional
        By default those of the `Dataset`, else the numbers.
    ax : matplotlib.axes.Axes, optional
        To draw into; by default that of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingExtraError
        If matplotlib or scikit-learn is not installed.
    InputError
        If the classes are missing or do not fit, or there are too few samples.
    """
    try:
        from sklearn.manifold import TSNE
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            't-SNE needs scikit-learn: pip install "mlcore[sklearn]"'
        ) from error
    from mlcore import inspection

    data, labels, names = _classes(x, y, class_names)
    check_size(samples, "samples")
    if not (is_number(perplexity) and perplexity > 0):
        raise InputError(f"perplexity must be above 0, not {perplexity!r}")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(labels))[:samples])
    if len(chosen) <= perplexity:
        raise InputError(
            f"perplexity {perplexity:g} needs more than {perplexity:g} samples, not {len(chosen)}"
        )
    if layer is None:
        active = [one.name for one in model.layers if one.activation is not None]
        layer = active[-2:][0]
    part = data.subset(chosen) if isinstance(data, Dataset) else data[chosen]
    values = inspection.activations(model, part, layer)[layer].reshape(len(chosen), -1)
    places = TSNE(
        perplexity=perplexity, random_state=seed, init="pca", n_jobs=1
    ).fit_transform(np.asarray(values, np.float32))  # fmt: skip
    axes = axes_of(ax, 6.4, 5.6)
    for number in np.unique(labels):
        own = places[labels[chosen] == number]
        if not len(own):
            continue
        at = int(number)
        axes.plot(
            *own.T, MARKERS[at % len(MARKERS)], color=COLOURS[at % len(COLOURS)], markersize=4.5,
            alpha=0.75, markeredgewidth=0,
        )  # fmt: skip
        axes.text(
            *np.median(own, axis=0), names[at] if names else str(at), fontsize=11,
            fontweight="bold", ha="center", va="center",
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "alpha": 0.8, "linewidth": 0},
        )  # fmt: skip
    style(axes, f"t-SNE of {layer}", "first coordinate [no unit]", "second coordinate [no unit]")
    axes.set_title(f"{len(chosen):,} samples", loc="right", fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def _classes(
    x: ArrayLike | Dataset, y: ArrayLike | None, class_names: Sequence[str] | None
) -> tuple[Any, Any, Sequence[str] | None]:
    """Return the data, the classes, and their names."""
    if isinstance(x, Dataset):
        data: Any = x
        labels, names = x.targets if y is None else np.asarray(y), class_names or x.class_names
    elif y is None:
        raise InputError("y is missing: give the classes, or a Dataset that brings them")
    else:
        data, labels, names = np.asarray(x), np.asarray(y), class_names
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = labels.argmax(axis=1)
    labels = labels.ravel()
    if len(labels) != len(data):
        raise InputError(f"x has {len(data)} samples and y {len(labels)}; give one class a sample")
    if names is not None and len(labels) and len(names) <= labels.max():
        raise InputError(f"there are {len(names)} class names, and class {int(labels.max())}")
    return data, labels, names
