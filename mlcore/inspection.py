"""What happens inside a network: activations, gradients, updates, and units that stopped learning.

Everything here is computed when it is asked for, by the kernels of the model's own backend, on a
copy where something would change: training neither knows of it nor waits for it. Arrays come by
name, those of layers as "dense_1", those of parameters as "dense_1.weight".
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlcore import optimizers
from mlcore.callbacks import Callback, Logs, NaNGuard
from mlcore.data.dataset import Dataset
from mlcore.executor import PythonExecutor
from mlcore.kernels.errors import InputError, is_number, unknown
from mlcore.layers import ActivationFunction
from mlcore.layers.base import check_size
from mlcore.plan import lower, view_of

if TYPE_CHECKING:
    from mlcore.losses import Loss
    from mlcore.model import Sequential
    from mlcore.optimizers import Optimizer
    from mlcore.regularizers import Regularizer

Arrays = dict[str, NDArray[Any]]

BATCH = 256
# More than any batch has.
WHOLE = 2**31
# The values that bound an activation, None where there is no bound. Those with an alpha are below.
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "relu": (0.0, None),
    "relu6": (0.0, 6.0),
    "tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "softplus": (0.0, None),
}


def activations(
    model: Sequential,
    x: ArrayLike | Dataset,
    layers: str | Iterable[str] | None = None,
    *,
    training: bool = False,
    batch_size: int = BATCH,
) -> Arrays:
    """Return what layers give on for each sample, after their activation function.

    Parameters
    ----------
    model : Sequential
        Built.
    x : array_like (n, ...) or Dataset
        As for `Sequential.predict`.
    layers : str or iterable of str, optional
        Names such as "dense_1"; by default all layers. The last layer's values are what `predict`
        returns.
    training : bool
        Whether layers behave as in training: noise layers act, with the draws of the model's next
        steps, and batch norm takes the moments of each batch. The model is not changed.
    batch_size : int
        Samples computed at once.

    Returns
    -------
    dict of str to ndarray (n, ...)
        In the order of the layers, of the model's dtype, each in its layer's `output_shape`.

    Raises
    ------
    InputError
        For a layer that the model does not have, a model that is not built, and bad data.

    Examples
    --------
    >>> import mlcore
    >>> model = mlcore.Sequential([mlcore.Dense(3, "relu"), mlcore.Dense(2)], seed=1).build(4)
    >>> {name: a.shape for name, a in activations(model, [[0, 1, 2, 3]]).items()}
    {'dense_1': (1, 3), 'dense_2': (1, 2)}
    """
    names = _names(model, layers)
    found: Arrays = {}
    for start, count, total, batch in _batches(model, x, names, training, batch_size):
        for name, values in batch.items():
            if name not in found:
                found[name] = np.empty((total, *values.shape[1:]), values.dtype)
            found[name][start : start + count] = values
    return found


def weights(model: Sequential) -> Arrays:
    """Return a copy of every parameter by name, "dense_1.weight" and so on.

    Running statistics of batch norm are among them. Taken before and after training, two of these
    are what `mlcore.plots.weight_histograms` compares.

    Raises
    ------
    InputError
        If the model is not built.
    """
    return {name: part.copy() for name, part in _by_name(model, model.parameters).items()}


def gradients(
    model: Sequential,
    x: ArrayLike | Dataset,
    y: ArrayLike | None = None,
    *,
    loss: str | Loss | dict[str, Any] | None = None,
    sample_weight: ArrayLike | None = None,
    regularizer: str | Regularizer | dict[str, Any] | None = None,
    training: bool = False,
) -> Arrays:
    """Return the gradient of the mean loss by every parameter that learns.

    Parameters
    ----------
    model : Sequential
    x, y, loss, sample_weight, regularizer, training
        As for `Sequential.loss_and_gradients`: all samples are one batch.

    Returns
    -------
    dict of str to ndarray
        By "dense_1.weight" and so on, shaped like the parameter.

    Raises
    ------
    InputError
        For bad data.
    """
    _, flat = model.loss_and_gradients(
        x, y, loss=loss, sample_weight=sample_weight, regularizer=regularizer, training=training
    )
    return _by_name(model, flat, learning=True)


def updates(
    model: Sequential,
    x: ArrayLike | Dataset,
    y: ArrayLike | None = None,
    *,
    loss: str | Loss | dict[str, Any] | None = None,
    optimizer: str | Optimizer | dict[str, Any] | None = None,
    learning_rate: float | None = None,
    sample_weight: ArrayLike | None = None,
    regularizer: str | Regularizer | dict[str, Any] | None = None,
) -> Arrays:
    """Return what a step of training with these samples as one batch would add to the parameters.

    The step is made by `Sequential.fit` with a copy of the model: noise draws and the optimizer's
    state are those of the model's next step, and the model is left as it is.

    Parameters
    ----------
    model : Sequential
        Built.
    x, y, sample_weight
        As for `Sequential.fit`.
    loss, optimizer, regularizer : optional
        By default those of the last fit.
    learning_rate : float, optional
        By default that of the last epoch, else the optimizer's.

    Returns
    -------
    dict of str to ndarray
        After minus before, by "dense_1.weight" and so on, shaped like the parameter; those of
        parameters that do not learn are left out.

    Raises
    ------
    InputError
        For bad data or settings, and for a model that is not built.
    """
    before = model.parameters.copy()
    twin = copy.deepcopy(model)
    if twin.optimizer is not None and (optimizer is None or optimizer is model.optimizer):
        chosen, rate = twin.optimizer, _last_rate(model)
    else:
        chosen = copy.deepcopy(optimizers.get(optimizer or "sgd"))
        rate = chosen.learning_rate
    if learning_rate is not None and not (is_number(learning_rate) and learning_rate >= 0):
        raise InputError(f"learning_rate must be 0 or more, not {learning_rate!r}")
    chosen.learning_rate = rate if learning_rate is None else float(learning_rate)
    twin.fit(
        x, y, loss=loss, optimizer=chosen, sample_weight=sample_weight,
        regularizer=regularizer or model.regularizer, batch_size=WHOLE, shuffle=False,
        seed=model.training.seed if model.training else None, evaluate_train=False, verbose=0,
        callbacks=NaNGuard("ignore"),
    )  # fmt: skip
    return _by_name(model, twin.parameters - before, learning=True)


def update_ratios(before: Sequential | Arrays, after: Sequential | Arrays) -> dict[str, float]:
    """Return how far each parameter moved, in parts of its own length: |after - before| / |before|.

    Lengths are Euclidean norms, computed in float64. About 1e-3 a step is usual for weights; far
    more is a learning rate that is too high, far less one that is too low (Karpathy, "A Recipe for
    Training Neural Networks" and CS231n). What stays zero has a ratio of 0, what leaves zero one
    of infinity.

    Parameters
    ----------
    before, after : Sequential, or what `weights` returned
        Of the same shapes. The ratios of parameters that one of them lacks are left out.

    Returns
    -------
    dict of str to float
        By "dense_1.weight" and so on; only of what learns, where one of them is a model.

    Raises
    ------
    InputError
        If they have no parameter in common, or one has two shapes.

    Examples
    --------
    >>> update_ratios({"w": np.array([3.0, 4.0])}, {"w": np.array([3.0, 4.5])})
    {'w': 0.1}
    """
    old, new = (
        side if isinstance(side, Mapping) else _by_name(side, side.parameters, learning=True)
        for side in (before, after)
    )
    names = [name for name in old if name in new]
    if not names:
        raise InputError(
            f"before has {', '.join(old) or 'nothing'} and after has {', '.join(new) or 'nothing'}:"
            " give the same network twice"
        )
    for name in names:
        if np.shape(old[name]) != np.shape(new[name]):
            raise InputError(
                f"{name} has shape {np.shape(old[name])} before and {np.shape(new[name])} after"
            )
    return {name: _ratio(old[name], new[name]) for name in names}


def dead_units(
    model: Sequential,
    x: ArrayLike | Dataset,
    layers: str | Iterable[str] | None = None,
    *,
    tolerance: float = 1e-6,
    batch_size: int = BATCH,
) -> dict[str, NDArray[np.bool_]]:
    """Return which units give the same for every sample, and so tell nothing of it.

    A unit of a dense layer is an output, of a convolution a channel, looked at over all samples
    and places. It is dead where its greatest value is above its least by no more than `tolerance`
    times its greatest magnitude: relu units that are always zero, saturated ones, and all that
    stand behind dead layers. A whole network is dead when its last layer is (Lu and others,
    arXiv:1903.06733).

    Parameters
    ----------
    model : Sequential
        Built.
    x : array_like (n, ...) or Dataset
        Two samples at least: a single one cannot show a difference.
    layers : str or iterable of str, optional
        By default all that take an activation function: Dense, Conv1D, Conv2D, Activation.
    tolerance : float
        Relative, 0 or more.
    batch_size : int

    Returns
    -------
    dict of str to ndarray of bool (units,)
        ``dead["dense_1"].mean()`` is the share that is dead.

    Raises
    ------
    InputError
        For a single sample, bad settings, and what `activations` refuses.
    """
    if not (is_number(tolerance) and tolerance >= 0):
        raise InputError(f"tolerance must be 0 or more, not {tolerance!r}")
    least: Arrays = {}
    greatest: Arrays = {}
    for _, _, total, batch in _batches(model, x, _active(model, layers), False, batch_size):
        if total < 2:
            raise InputError("dead units need two samples at least, which could differ")
        for name, values in batch.items():
            rows = values.reshape(-1, values.shape[-1])
            low, high = rows.min(axis=0), rows.max(axis=0)
            least[name] = np.minimum(least.get(name, low), low)
            greatest[name] = np.maximum(greatest.get(name, high), high)
    return {
        name: greatest[name] - low <= tolerance * np.maximum(np.abs(low), np.abs(greatest[name]))
        for name, low in least.items()
    }


def saturation(
    model: Sequential,
    x: ArrayLike | Dataset,
    layers: str | Iterable[str] | None = None,
    *,
    margin: float = 0.05,
    batch_size: int = BATCH,
) -> dict[str, NDArray[np.float64]]:
    """Return how often each unit stands at an end of its activation function, where it is flat.

    For a function with two bounds, an end is the part of its range within `margin` of either:
    beyond 0.9 in magnitude for tanh, below 0.05 and above 0.95 for sigmoid, as Glorot and Bengio
    (2010) look at them. relu is flat where it is exactly 0, elu and softplus within `margin` (of
    alpha, of 1) of their lower bound.

    Parameters
    ----------
    model : Sequential
        Built.
    x : array_like (n, ...) or Dataset
    layers : str or iterable of str, optional
        By default all whose activation has a bound.
    margin : float
        As a part of the range, from 0 up to and without 0.5.
    batch_size : int

    Returns
    -------
    dict of str to ndarray of float64 (units,)
        The share of samples and places, from 0 to 1; ``saturation(...)["dense_1"].mean()`` is that
        of the layer.

    Raises
    ------
    InputError
        For a layer whose activation has no bound, bad settings, and what `activations` refuses.
    """
    if not (is_number(margin) and 0 <= margin < 0.5):
        raise InputError(f"margin must be at least 0 and below 0.5, not {margin!r}")
    functions = {layer.name: layer.activation for layer in model.layers}
    bounded = {
        name: function for name, function in functions.items() if function and _ends(function)
    }
    names = list(bounded) if layers is None else _names(model, layers)
    for name in names:
        if name not in bounded:
            function = functions[name]
            what = f"{function.name} has no bound" if function else "it has no activation function"
            raise InputError(f"{name} cannot be saturated: {what}")
    counts: dict[str, Any] = dict.fromkeys(names, 0)
    places = dict.fromkeys(names, 0)
    for _, _, _, batch in _batches(model, x, names, False, batch_size):
        for name, values in batch.items():
            rows = values.reshape(-1, values.shape[-1])
            counts[name] = counts[name] + _flat(rows, bounded[name], margin).sum(axis=0)
            places[name] += len(rows)
    return {name: counts[name] / places[name] for name in names}


class LastUpdates(Callback):
    """Keep what the last update changed, and the size of every one before it.

    Parameters
    ----------
    per : {"epoch", "step"}
        Whether an update is what an epoch changed, which costs a copy of the parameters an epoch,
        or what a step changed. For that Python runs between all steps; the steps are the same to
        the bit.

    Attributes
    ----------
    updates : dict of str to ndarray
        The last one, after minus before, of every parameter that learns, by "dense_1.weight".
    epochs : list of float
        When each update was complete, in epochs from the beginning of training.
    magnitudes, ratios : dict of str to list of float
        Of each update, the root of its mean square, and its norm in parts of the parameter's
        (see `update_ratios`).

    Examples
    --------
    >>> import mlcore
    >>> model = mlcore.Sequential([mlcore.Dense(2)], seed=1)
    >>> last = LastUpdates()
    >>> _ = model.fit([[0.0], [1.0]], [0, 1], epochs=3, verbose=0, callbacks=last)
    >>> last.epochs, sorted(last.updates)
    ([1.0, 2.0, 3.0], ['dense_1.bias', 'dense_1.weight'])
    """

    def __init__(self, per: str = "epoch") -> None:
        if per not in ("epoch", "step"):
            raise unknown("per of LastUpdates", per, ("epoch", "step"))
        self.per = per
        # Else the engine would hand over its parameters several times an epoch for nothing.
        self.progress_needs_parameters = self.progress_every_step = per == "step"
        self.updates: Arrays = {}
        self.epochs: list[float] = []
        self.magnitudes: dict[str, list[float]] = {}
        self.ratios: dict[str, list[float]] = {}
        self._before: Arrays = {}
        self._epoch = 0

    def on_train_begin(self, model: Sequential) -> None:
        """Forget the run before."""
        self.updates, self.epochs, self.magnitudes, self.ratios = {}, [], {}, {}
        self._before = _by_name(model, model.parameters.copy(), learning=True)

    def on_epoch_begin(self, model: Sequential, epoch: int) -> None:
        """Count the epochs."""
        self._epoch = epoch

    def on_progress(self, model: Sequential, done: float, logs: Logs) -> None:
        """Take the update of a step."""
        if self.per == "step":
            self._take(model, self._epoch + done)

    def on_epoch_end(self, model: Sequential, epoch: int, logs: Logs) -> None:
        """Take the update of an epoch."""
        if self.per == "epoch":
            self._take(model, float(epoch + 1))

    def _take(self, model: Sequential, epochs: float) -> None:
        after = _by_name(model, model.parameters.copy(), learning=True)
        self.updates = {name: new - self._before[name] for name, new in after.items()}
        self.epochs.append(epochs)
        for name, ratio in update_ratios(self._before, after).items():
            size = float(np.sqrt(np.mean(np.square(self.updates[name], dtype=np.float64))))
            self.magnitudes.setdefault(name, []).append(size)
            self.ratios.setdefault(name, []).append(ratio)
        self._before = after


class Inspect(Callback):
    """Look at a network after every epoch, with the same samples each time.

    Parameters
    ----------
    x : array_like (n, ...) or Dataset
        Two samples at least; some hundred are enough.
    y : array_like, optional
        Their targets; without them, where `x` is no Dataset, there are no gradients.

    Attributes
    ----------
    rows : list of dict
        One for each epoch and layer that takes an activation function: "epoch" (from 1), "layer",
        "mean" and "std" of its activations, "dead" and "saturated" as shares from 0 to 1 (None
        where its function has no bound), and "gradient", the norm of the gradient of the layer's
        parameters (None where it has none that learn, or there are no targets).
    """

    def __init__(self, x: ArrayLike | Dataset, y: ArrayLike | None = None) -> None:
        self.x, self.y = x, y
        self.rows: list[dict[str, Any]] = []

    def on_train_begin(self, model: Sequential) -> None:
        """Forget the run before."""
        self.rows = []

    def on_epoch_end(self, model: Sequential, epoch: int, logs: Logs) -> None:
        """Add a row for each layer."""
        values = activations(model, self.x, _active(model, None))
        dead, saturated = dead_units(model, self.x), saturation(model, self.x)
        norms: dict[str, float] = {}
        if self.y is not None or isinstance(self.x, Dataset):
            for name, gradient in gradients(model, self.x, self.y).items():
                layer = name.partition(".")[0]
                norms[layer] = float(np.hypot(norms.get(layer, 0.0), np.linalg.norm(gradient)))
        for name, array in values.items():
            self.rows.append(
                {
                    "epoch": epoch + 1,
                    "layer": name,
                    "mean": float(array.mean(dtype=np.float64)),
                    "std": float(array.std(dtype=np.float64)),
                    "dead": float(dead[name].mean()),
                    "saturated": float(saturated[name].mean()) if name in saturated else None,
                    "gradient": norms.get(name),
                }
            )


def outputs_of_weights(model: Sequential) -> dict[str, str]:
    """Return for each layer with weights the layer that ends in its activation function.

    That may be an `Activation` that stands behind it, after batch norm for instance, before the
    next layer with weights; else it is the layer itself.

    Raises
    ------
    InputError
        If the model is not built.

    Examples
    --------
    >>> import mlcore
    >>> from mlcore.layers import Activation, BatchNorm, Dense
    >>> layers = [Dense(3), BatchNorm(), Activation("tanh"), Dense(2)]
    >>> outputs_of_weights(mlcore.Sequential(layers).build(4))
    {'dense_1': 'activation_1', 'dense_2': 'dense_2'}
    """
    model._require_built()
    found: dict[str, str] = {}
    for layer in model.layers:
        if "weight" in layer.parameters:
            found[layer.name] = layer.name
        elif layer.kind == "activation" and found:
            found[next(reversed(found))] = layer.name
    return found


def _batches(
    model: Sequential, x: ArrayLike | Dataset, names: list[str], training: bool, batch_size: int
) -> Iterator[tuple[int, int, int, Arrays]]:
    """Yield the first row, the rows and all rows of each batch, and views of layers' values."""
    size = check_size(batch_size, "batch_size")
    # It raises where the model is not built.
    parameters = model.parameters
    inputs = model._inputs(x)
    total = len(inputs)
    plan = lower(
        model, batch_size=min(size, total), noise=training, source_dtype=inputs.array.dtype
    )
    # Batch norm moves its running statistics while training.
    vectors = {"parameters": parameters.copy() if training else parameters}
    executor = PythonExecutor(
        plan, vectors, inputs.array, scale=inputs.scale,
        seed=model.training.seed if model.training else model.seed,
    )  # fmt: skip
    order = np.arange(total)
    shapes = {layer.name: layer.output_shape or () for layer in model.layers}
    for at in range(-(-total // plan.batch_size)):
        executor.run(order, at, at + 1, step=model.progress.steps + at)
        start = at * plan.batch_size
        count = min(plan.batch_size, total - start)
        yield (
            start, count, total,
            {
                name: view_of(plan.layers[name], vectors, executor.arena, count).reshape(
                    count, *shapes[name]
                )
                for name in names
            },
        )  # fmt: skip


def _names(model: Sequential, layers: str | Iterable[str] | None) -> list[str]:
    """Return the layers meant, in the order of the model."""
    known = [layer.name for layer in model.layers]
    wanted = known if layers is None else [layers] if isinstance(layers, str) else list(layers)
    for name in wanted:
        if name not in known:
            raise unknown("layer", name, known)
    return [name for name in known if name in wanted]


def _active(model: Sequential, layers: str | Iterable[str] | None) -> list[str]:
    if layers is not None:
        return _names(model, layers)
    return [layer.name for layer in model.layers if layer.activation is not None]


def _by_name(model: Sequential, flat: NDArray[Any], learning: bool = False) -> Arrays:
    """Return views of a vector like the parameters', by the parameters' names."""
    return {
        f"{layer}.{name}": flat[place.start : place.stop].reshape(place.shape)
        for (layer, name), place in model.places.items()
        if place.trainable or not learning
    }


def _ratio(old: ArrayLike, new: ArrayLike) -> float:
    before = np.asarray(old, np.float64)
    moved = float(np.linalg.norm(np.asarray(new, np.float64) - before))
    length = float(np.linalg.norm(before))
    return moved / length if length else float("inf") if moved else 0.0


def _last_rate(model: Sequential) -> float:
    """Return the learning rate of the last epoch, or that of the optimizer."""
    rates = [] if model.history is None else model.history["learning_rate"]
    if rates and np.isfinite(rates[-1]):
        return rates[-1]
    return model.optimizer.learning_rate if model.optimizer else 0.0


def _ends(function: ActivationFunction) -> tuple[float | None, float | None] | None:
    """Return the bounds of an activation function; None where there are none."""
    if function.name == "elu":
        return -function.parameter, None
    return BOUNDS.get(function.name)


def _flat(values: NDArray[Any], function: ActivationFunction, margin: float) -> NDArray[np.bool_]:
    """Return where values stand at an end of the range of their activation function."""
    low, high = _ends(function) or (None, None)
    found = np.zeros(values.shape, bool)
    width = 1.0
    if low is not None and high is not None:
        width = high - low
    elif function.name == "relu":
        width = 0.0
    elif function.name == "elu":
        width = function.parameter
    if low is not None:
        found |= values <= low + margin * width
    if high is not None:
        found |= values >= high - margin * width
    return found
