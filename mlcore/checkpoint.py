"""Models in HDF5 files: mlcore's own format, and that of the notebooks it grew out of.

mlcore's format, version 1::

    /                        attributes: format, format_version, mlcore_version, and `model`,
                             JSON of layers, dtype, seed, features (a number, or the shape of a
                             sample), loss, optimizer, regularizer, training settings and progress
    /parameters/dense_1/weight, /parameters/dense_1/bias, ...
    /optimizer/velocity, ...  flat, in the order of `Sequential.parameters`
    /history/val_accuracy, ...  a number an epoch, NaN where not measured

The notebooks' format is ``linear_1.weight`` (fan_in, fan_out), ``linear_1.bias``, ... and
``activation``, the name of the hidden activation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mlcore
from mlcore import losses, optimizers, regularizers
from mlcore.data.files import atomic_hdf5, require_file
from mlcore.history import History
from mlcore.kernels.errors import InputError, unknown
from mlcore.layers import Dense, from_config
from mlcore.layers import activation as activations
from mlcore.layers.base import Layer, Shape
from mlcore.model import Sequential, samples
from mlcore.plan import aligned_zeros
from mlcore.trainer import Progress

FORMAT = "mlcore checkpoint"
FORMAT_VERSION = 1
FORMATS = ("mlcore", "notebook")


def save(model: Sequential, path: str | os.PathLike[str], *, format: str = "mlcore") -> None:
    """Write a built model; the file is whole or the old one stays.

    Parameters
    ----------
    model : Sequential
    path : str or path
        The folder must exist.
    format : {"mlcore", "notebook"}
        "notebook" keeps weights, biases and the hidden activation only; noise layers, which do
        nothing outside training, are left out, and so is a last softmax: `load` gives logits.

    Raises
    ------
    InputError
        For a model without parameters, an unknown format, a path that cannot be written, and a
        model that the notebook format cannot hold.
    """
    if format not in FORMATS:
        raise unknown("checkpoint format", format, FORMATS)
    if not model.built:
        raise InputError("there is nothing to save: the model is not built (fit or build it)")
    write: Callable[[Sequential, Any], None] = (
        _write_notebook if format == "notebook" else _write_checkpoint
    )
    if format == "notebook":
        _notebook_layers(model)
    with atomic_hdf5(path) as file:
        write(model, file)


def load(path: str | os.PathLike[str], *, backend: str | None = None) -> Sequential:
    """Read a model in either format.

    A checkpoint of mlcore brings everything that ``fit(..., resume=True)`` needs; a notebook's
    file brings the layers, whose output is taken for logits.

    Parameters
    ----------
    path : str or path
    backend : str, optional
        As for `Sequential`.

    Raises
    ------
    MissingFileError
        If there is no such file; the message has the nearest name.
    InputError
        For a file that is not HDF5, is truncated, or holds something else, with what was
        expected.
    """
    with _opened(path) as file:
        if file.attrs.get("format") == FORMAT:
            return _read_checkpoint(file, path, backend)
        if "linear_1.weight" in file:
            return _read_notebook(file, path, backend)
        raise InputError(
            f"{path} is HDF5 but no model: it has neither mlcore's format attribute nor "
            f"linear_1.weight; it holds {', '.join(list(file)[:5]) or 'nothing'}"
        )


def load_weights(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Copy the parameters of a saved model into `model`, which must have the same layers.

    Raises
    ------
    InputError
        For another architecture, naming the first difference; `model` is left as it was.
    """
    saved = load(path, backend="numpy")
    if model.built and model.input_shape != saved.input_shape:
        raise InputError(
            f"{path} is of another architecture: it takes {samples(saved.input_shape)}, the model "
            f"{samples(model.input_shape)}"
        )
    ours = model.shapes(saved.input_shape)
    theirs = saved.shapes(saved.input_shape)
    for place in [*ours, *theirs]:
        if ours.get(place) != theirs.get(place):
            raise InputError(
                f"{path} is of another architecture: its {'.'.join(place)} is "
                f"{theirs.get(place, 'missing')}, the model's is {ours.get(place, 'missing')}"
            )
    if not model.built:
        model.build(saved.input_shape)
    model.parameters = saved.parameters


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open an HDF5 file to read; whatever h5py says of a broken one becomes one clear error."""
    import h5py

    require_file(Path(path))
    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError as error:
        told = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise InputError(told) from error
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        detail = " ".join(str(error).split())
        raise InputError(
            f"{path} is not an HDF5 file, or is truncated or damaged ({detail}): use another copy"
        ) from error


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Name the part of the file that does not hold what it should."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{what} is damaged ({error!r}): use another copy") from error


def _write_checkpoint(model: Sequential, file: Any) -> None:
    optimizer = model.optimizer
    described = {
        "layers": [{"kind": layer.kind, **layer.config()} for layer in model.layers],
        "dtype": model.dtype.name,
        "seed": model.seed,
        # Rows have a number of features, as in files of before there were images.
        "features": model.features if len(model.input_shape) == 1 else model.input_shape,
        "loss": model.loss.config() if model.loss else None,
        "optimizer": {"name": optimizer.kind, **optimizer.config()} if optimizer else None,
        "regularizer": model.regularizer.config() if model.regularizer else None,
        "training": model.training.config() if model.training else None,
        "progress": model.progress.config(),
    }
    file.attrs["format"] = FORMAT
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["mlcore_version"] = mlcore.__version__
    file.attrs["model"] = json.dumps(described)
    for layer in model.layers:
        for name, value in layer.parameters.items():
            file[f"parameters/{layer.name}/{name}"] = value
    for name, state in model.optimizer_state.items():
        file[f"optimizer/{name}"] = state
    if model.history is not None:
        for name, column in model.history.history.items():
            file[f"history/{name}"] = np.array(column, np.float64)


def _read_checkpoint(file: Any, path: Any, backend: str | None) -> Sequential:
    with _reading("the attribute `format_version`"):
        written = int(file.attrs["format_version"])
    if not 1 <= written <= FORMAT_VERSION:
        raise InputError(
            f"{path} has checkpoint format version {written}; this mlcore reads up to "
            f"{FORMAT_VERSION}: install a newer one"
        )
    with _reading("the attribute `model`"):
        described = json.loads(file.attrs["model"])
        layers = [from_config(settings.pop("kind"), settings) for settings in described["layers"]]
        model = Sequential(
            layers, seed=described["seed"], dtype=described["dtype"], backend=backend
        )
        features = described["features"]
        shape = tuple(features) if isinstance(features, list) else (features,)
        progress = Progress.from_config(described["progress"])
        loss, optimizer = described["loss"], described["optimizer"]
        model.regularizer = regularizers.get(described.get("regularizer"))
    _check_shapes(file, path, model, shape)
    model.build(shape)
    for (layer, name), place in model.places.items():
        values = file[f"parameters/{layer}/{name}"][...]
        model.parameters[place.start : place.stop] = values.reshape(-1)
    model.loss = losses.get(loss) if loss else None
    if optimizer:
        model.optimizer = optimizers.get(optimizer)
        model.optimizer_state = {
            name: _state(file, path, name, model) for name in model.optimizer.state
        }
    model.progress = progress
    if "history" in file:
        with _reading("history"):
            columns = {name: values[...].tolist() for name, values in file["history"].items()}
            model.history = _history(columns, path)
    return model


def _check_shapes(file: Any, path: Any, model: Sequential, sample: Shape) -> None:
    """Compare every parameter with the architecture before anything of its size is allocated."""
    for (layer, parameter), shape in model.shapes(sample).items():
        name = f"parameters/{layer}/{parameter}"
        if name not in file:
            raise InputError(f"{path}: {name} is missing; expected shape {shape}")
        found = file[name]
        if found.shape != shape or found.dtype.kind != "f":
            raise InputError(
                f"{path}: {name} is {found.dtype} {found.shape}; its architecture expects "
                f"floating point {shape}"
            )


def _state(file: Any, path: Any, name: str, model: Sequential) -> NDArray[Any]:
    size = model.parameters.size
    found = file.get(f"optimizer/{name}")
    if found is None or found.shape != (size,):
        shape = "missing" if found is None else found.shape
        raise InputError(f"{path}: optimizer/{name} is {shape}; expected ({size},)")
    state = aligned_zeros(size, model.dtype)
    state[...] = found[...]
    return state


def _history(columns: dict[str, list[float]], path: Any) -> History:
    history = History()
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise InputError(f"{path}: the columns of history have different lengths")
    for row in zip(*columns.values(), strict=True):
        history.append(dict(zip(columns, row, strict=True)))
    return history


def _notebook_layers(model: Sequential) -> tuple[list[Dense], str]:
    """Return the dense layers and their hidden activation, or say why there is no such file."""
    dense: list[Dense] = []
    for layer in model.layers:
        if isinstance(layer, Dense):
            dense.append(layer)
        elif layer.kind not in ("gaussian_noise", "dropout"):
            raise InputError(
                f"the notebook format holds Dense layers only, not {layer.name}: use "
                'format="mlcore"'
            )
    hidden = {layer.activation for layer in dense[:-1]}
    plain = all(activations.get(function.name) == function for function in hidden)
    if len(hidden) > 1 or not plain or not all(layer.use_bias for layer in dense):
        raise InputError(
            "the notebook format holds Dense layers with biases and one hidden activation "
            'without parameters of its own: use format="mlcore"'
        )
    if not dense or dense[-1].activation.name not in ("identity", "softmax"):
        raise InputError(
            'the notebook format ends in a Dense layer of logits, or softmax: use format="mlcore"'
        )
    return dense, next((function.name for function in hidden), "relu")


def _write_notebook(model: Sequential, file: Any) -> None:
    dense, activation = _notebook_layers(model)
    for number, layer in enumerate(dense, start=1):
        file[f"linear_{number}.weight"] = layer.weight
        file[f"linear_{number}.bias"] = layer.bias
    file["activation"] = activation


def _read_notebook(file: Any, path: Any, backend: str | None) -> Sequential:
    weights: list[NDArray[Any]] = []
    biases: list[NDArray[Any]] = []
    while f"linear_{len(weights) + 1}.weight" in file:
        name = f"linear_{len(weights) + 1}"
        if f"{name}.bias" not in file:
            raise InputError(f"{path}: {name}.bias is missing beside {name}.weight")
        weights.append(_numbers(file, path, f"{name}.weight", 2))
        biases.append(_numbers(file, path, f"{name}.bias", 1))
    for name in file:
        if name.startswith("linear_") and not 1 <= _number_of(name) <= len(weights):
            raise InputError(f"{path}: {name} has no linear_{len(weights) + 1}.weight before it")
    weights = _oriented(weights, biases, path)
    activation = _text(file, path, "activation")
    layers: list[Layer] = [Dense(len(bias), activation) for bias in biases[:-1]]
    dtype = "float64" if any(weight.dtype == np.float64 for weight in weights) else "float32"
    model = Sequential([*layers, Dense(len(biases[-1]))], seed=0, dtype=dtype, backend=backend)
    model.build(weights[0].shape[0])
    model.loss = losses.SoftmaxCrossEntropy()
    for layer, weight, bias in zip(model.layers, weights, biases, strict=True):
        if isinstance(layer, Dense):
            layer.weight, layer.bias = weight, bias
    return model


def _number_of(name: str) -> int:
    digits = name.removeprefix("linear_").split(".")[0]
    return int(digits) if digits.isdecimal() else 0


def _numbers(file: Any, path: Any, name: str, axes: int) -> NDArray[Any]:
    found = file[name]
    shape = getattr(found, "shape", None)
    flat_bias = axes == 1 and shape is not None and len(shape) == 2 and 1 in shape
    if shape is None or found.dtype.kind != "f" or (len(shape) != axes and not flat_bias):
        raise InputError(f"{path}: {name} is {shape}; expected {axes} axes of floating point")
    values: NDArray[Any] = found[...]
    return values.reshape(-1) if axes == 1 else values


def _oriented(
    weights: list[NDArray[Any]], biases: list[NDArray[Any]], path: Any
) -> list[NDArray[Any]]:
    """Return the weights as (fan_in, fan_out); a file may hold them as (fan_out, fan_in)."""
    for turned in (weights, [weight.T for weight in weights]):
        widths = [weight.shape[1] for weight in turned]
        fits = widths == [len(bias) for bias in biases]
        if fits and [weight.shape[0] for weight in turned[1:]] == widths[:-1]:
            return turned
    shapes = ", ".join(f"{w.shape} and {b.shape}" for w, b in zip(weights, biases, strict=True))
    raise InputError(f"{path}: weights and biases do not fit each other: {shapes}")


def _text(file: Any, path: Any, name: str) -> str:
    """Return a string that stands as a dataset or an attribute, as text or as bytes."""
    if name in file:
        value = file[name][()]
    elif name in file.attrs:
        value = file.attrs[name]
    else:
        raise InputError(f"{path}: {name} is missing; it names the hidden activation")
    value = np.asarray(value).reshape(-1)
    if len(value) != 1 or not isinstance(value[0], (bytes, str)):
        raise InputError(f"{path}: {name} must be one string, not {value!r}")
    return value[0].decode() if isinstance(value[0], bytes) else str(value[0])
