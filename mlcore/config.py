"""The configuration of a training run: its defaults, its checks, and its TOML file."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mlcore import initializers, losses, optimizers, regularizers, schedules
from mlcore.data.catalog import CATALOG
from mlcore.data.files import require_file
from mlcore.kernels import ACTIVATIONS
from mlcore.kernels.errors import InputError, unknown
from mlcore.layers import Dense, Dropout, GaussianNoise, Layer
from mlcore.layers import activation as activations
from mlcore.model import DTYPES, Sequential, check_seed
from mlcore.optimizers import Optimizer
from mlcore.regularizers import L2, Regularizer

# The rate of the notebook that the defaults repeat; other optimizers bring their own.
SGD_LEARNING_RATE = 0.1
OPTIMIZER_SETTINGS = ("learning_rate", "momentum", "weight_decay", "global_clipnorm")


@dataclass(frozen=True)
class RunConfig:
    """What `mlcore train` does.

    The defaults are those of the notebook on MNIST that mlcore grew out of: a perceptron with
    three hidden layers and noise, trained by plain gradient descent.

    Attributes
    ----------
    data : str
        A set's name, or the path of a file or folder.
    layers : tuple of int
        Units of the hidden layers.
    activation, initializer : str
        Of the hidden layers; the initializer is that of all weights.
    dropout : float
        Rate behind every hidden layer.
    noise : float
        Standard deviation of the Gaussian noise on the input and on every hidden layer but the
        last.
    loss : str or None
        As `mlcore.losses.get` reads it, such as ``huber:2``. None takes softmax_cross_entropy
        for labels and for rows that sum to one, and mse otherwise.
    optimizer : str
    learning_rate : float or None
        None takes 0.1 for sgd, and the optimizer's default otherwise.
    momentum, weight_decay, global_clipnorm : float or None
        None takes the optimizer's default.
    l2 : float
        Strength of the L2 penalty on all weights, which is part of every loss.
    schedule : str
        As `mlcore.schedules.get` reads it.
    batch_size, epochs : int
    validation_split : float
        The last part of the training data, where the data has no validation part of its own.
    seed : int
    dtype : str
    backend : str or None
        None takes ``MLCORE_BACKEND``, else the first one that is there.
    threads : int or None
        Threads of the native engine, or with the numpy backend of its BLAS; None leaves them as
        they are.
    """

    data: str = "mnist-sample"
    layers: tuple[int, ...] = (512, 64, 32)
    activation: str = "relu"
    initializer: str = "he_normal"
    dropout: float = 0.0
    noise: float = 0.05
    loss: str | None = None
    optimizer: str = "sgd"
    learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    global_clipnorm: float | None = None
    l2: float = 0.0
    schedule: str = "step:0.5,0.78"
    batch_size: int = 50
    epochs: int = 50
    validation_split: float = 1 / 6
    seed: int = 0
    dtype: str = "float32"
    backend: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        activations.get(self.activation)
        initializers.get(self.initializer)
        if self.loss is not None:
            losses.get(self.loss)
        schedules.get(self.schedule)
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)
        for name in ("batch_size", "epochs", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be 1 or more, not {value}")
        if not 0 <= self.validation_split < 1:
            raise InputError(
                f"validation_split must be at least 0 and below 1, not {self.validation_split}"
            )
        check_seed(self.seed)
        self.make_layers(1)
        self.make_optimizer()
        self.make_regularizer()
        schedules.get(self.schedule).factor(0, self.epochs)

    def make_optimizer(self) -> Optimizer:
        """Return the optimizer that the settings describe."""
        rate = self.learning_rate
        if rate is None and self.optimizer == "sgd":
            rate = SGD_LEARNING_RATE
        given = {name: getattr(self, name) for name in OPTIMIZER_SETTINGS} | {"learning_rate": rate}
        settings = {name: value for name, value in given.items() if value is not None}
        taken = optimizers.get(self.optimizer).config()
        for name in settings:
            if name not in taken:
                raise InputError(f"{name} is no setting of the optimizer {self.optimizer}")
        return optimizers.get({"name": self.optimizer, **settings})

    def make_regularizer(self) -> Regularizer | None:
        """Return the penalty on the network, or None."""
        return regularizers.get(L2(self.l2))

    def make_layers(self, outputs: int) -> list[Layer]:
        """Return the layers of the network: noise, dense and dropout layers in turn."""
        layers: list[Layer] = []
        if self.noise and not self.layers:
            layers.append(GaussianNoise(self.noise))
        for units in self.layers:
            if self.noise:
                layers.append(GaussianNoise(self.noise))
            layers.append(Dense(units, self.activation, kernel_initializer=self.initializer))
            if self.dropout:
                layers.append(Dropout(self.dropout))
        layers.append(Dense(outputs, kernel_initializer=self.initializer))
        return layers

    def make_model(self, outputs: int) -> Sequential:
        """Return the network, not built yet."""
        return Sequential(
            self.make_layers(outputs), seed=self.seed, dtype=self.dtype, backend=self.backend
        )

    def completed(self, backend: str, loss: str) -> RunConfig:
        """Return a copy that repeats the run from any folder, whatever the defaults are then.

        `backend` and `loss` are those that were taken. The path of the data is absolute, and
        nothing is left to a default but `threads`.
        """
        used = self.make_optimizer().config()
        settled: dict[str, Any] = {name: used.get(name) for name in OPTIMIZER_SETTINGS}
        named = self.data in CATALOG
        return replace(
            self,
            data=self.data if named else str(Path(self.data).expanduser().resolve()),
            backend=backend,
            loss=self.loss or loss,
            **settled,
        )

    def changed(self, **settings: Any) -> RunConfig:
        """Return a copy with other settings, each checked and converted to its type.

        Another optimizer brings its own learning rate and what else belongs to it.

        Raises
        ------
        InputError
            For an unknown name, with the nearest one, or a value of the wrong type.
        """
        names = [field.name for field in fields(self)]
        converted: dict[str, Any] = {}
        for key, value in settings.items():
            name = key.replace("-", "_")
            if name not in names:
                raise unknown("setting", key, names)
            converted[name] = CONVERTERS[name](name, value)
        if converted.get("optimizer", self.optimizer) != self.optimizer:
            converted = {**dict.fromkeys(OPTIMIZER_SETTINGS), **converted}
        return replace(self, **converted)

    def to_toml(self) -> str:
        """Return the settings as TOML; those that are None are left out."""
        lines = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, tuple):
                text = f"[{', '.join(str(entry) for entry in value)}]"
            else:
                text = (
                    json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
                )
            lines.append(f"{field.name} = {text}")
        return "\n".join(lines) + "\n"


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise InputError(f"{name} must be a printable text, not {value!r}")
    return value


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} must be a whole number, not {value!r}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{name} must be a number, not {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"{name} must be a number that float64 can hold") from None


def _widths(name: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if parts == ["none"]:
            return ()
        try:
            value = [int(part) for part in parts or [""]]
        except ValueError:
            raise InputError(
                f"{name} must be whole numbers with commas between them, such as 512,64,32, or "
                f"none, not {value!r}"
            ) from None
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{name} must be a list of whole numbers, not {value!r}")
    widths = tuple(_whole(name, entry) for entry in value)
    if any(width < 1 for width in widths):
        raise InputError(f"{name} must be 1 or more each, not {', '.join(map(str, widths))}")
    return widths


def _activation(name: str, value: Any) -> str:
    text = _text(name, value)
    if text not in ACTIVATIONS:
        raise unknown("activation", text, ACTIVATIONS)
    return text


CONVERTERS: Mapping[str, Callable[[str, Any], Any]] = {
    "data": _text,
    "layers": _widths,
    "activation": _activation,
    "initializer": _text,
    "dropout": _number,
    "noise": _number,
    "loss": _text,
    "optimizer": _text,
    "learning_rate": _number,
    "momentum": _number,
    "weight_decay": _number,
    "global_clipnorm": _number,
    "l2": _number,
    "schedule": _text,
    "batch_size": _whole,
    "epochs": _whole,
    "validation_split": _number,
    "seed": _whole,
    "dtype": _text,
    "backend": _text,
    "threads": _whole,
}


def from_toml(path: str | os.PathLike[str]) -> RunConfig:
    """Read a configuration; what it does not set has its default.

    Raises
    ------
    MissingFileError
        If there is no such file.
    InputError
        For what is not TOML, an unknown setting (with the nearest), or a value of the wrong
        type, naming the file.
    """
    settings = read_toml(path)
    try:
        return RunConfig().changed(**settings)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what stands in a TOML file.

    Raises
    ------
    MissingFileError
        If there is no such file.
    InputError
        For what is not TOML.
    """
    file = require_file(Path(path))
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from error
