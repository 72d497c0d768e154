"""The common experiment: build a network from a setting, train it, measure it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.data.dataset import Dataset
from mlcore.kernels.errors import InputError, unknown
from mlcore.layers import Standardize
from mlcore.model import Sequential
from mlcore.sweeps.folds import Fold, labelled, plain_folds, stratified_folds
from mlcore.sweeps.results import SEED, Results
from mlcore.sweeps.running import sweep
from mlcore.sweeps.settings import Setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

Built = Sequential | tuple[Sequential, Mapping[str, Any]]
Data = Dataset | tuple[Any, Any]
FOLD = "fold"
# What a setting may say of `Sequential.fit`; the rest is the data, and what a run measures.
FIT_SETTINGS = (
    "loss",
    "optimizer",
    "epochs",
    "batch_size",
    "class_weight",
    "schedule",
    "regularizer",
    "callbacks",
    "shuffle",
)
KEYWORDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def train_and_score(
    build: Callable[..., Built],
    train: Data,
    validation: Data | None = None,
    *,
    history: bool = False,
    **fit: Any,
) -> Callable[..., dict[str, Any]]:
    """Return a function for `sweep` that builds, trains and measures a network.

    Parameters
    ----------
    build : callable
        ``build(seed=..., **setting)`` returns a new `Sequential`, or one and a dict of what
        `Sequential.fit` takes, such as ``{"optimizer": mlcore.SGD(learning_rate)}``. Settings
        that it does not name, but `fit` does, such as epochs or loss, go to `fit`.
    train, validation : Dataset, or (x, y)
        What it learns from, and what it is measured on besides.
    history : bool
        Whether to measure after every epoch, and to return that as the figure "history", a dict
        that `History.from_dict` reads.
    **fit
        What every run gives to `fit`. The setting goes before it, and what `build` returns
        before both.

    Returns
    -------
    callable
        ``function(seed=..., **setting)``, which returns "loss" and, for classes, "accuracy" on
        the training data, "val_loss" and "val_accuracy" on the validation data, all of the
        trained network and without noise, and "parameters", how many numbers were trained.

    Raises
    ------
    InputError
        For a name in `fit` that is no setting of `Sequential.fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcore import Dense, Sequential
    >>> x = np.linspace(-1, 1, 64).reshape(-1, 1)
    >>> def build(seed, width):
    ...     return Sequential([Dense(width, "tanh"), Dense(1)], seed=seed)
    >>> function = train_and_score(build, (x, x**2), loss="mse", optimizer="adam", epochs=2)
    >>> sorted(function(seed=0, width=8))
    ['loss', 'parameters']
    """
    for data in (train, *([] if validation is None else [validation])):
        _arguments(data)
    return _Experiment(_Score(_Recipe.of(build, fit), history), train, validation)


def cross_validate(
    build: Callable[..., Built],
    data: Data,
    settings: Iterable[Mapping[str, Any]] = ({},),
    *,
    folds: int = 4,
    seed: int = 0,
    stratified: bool | None = None,
    seeds: int | Iterable[int] = 1,
    workers: int | None = None,
    out: str | os.PathLike[str] | None = None,
    retry: bool = False,
    progress: bool = True,
    history: bool = False,
    **fit: Any,
) -> Results:
    """Train a network on all folds but one, and measure it on that one, for each setting.

    Each run builds its own network, so whatever is fitted to data, such as `Standardize`, sees
    the training part of its fold only.

    Parameters
    ----------
    build : callable
        As for `train_and_score`.
    data : Dataset, or (x, y)
    settings : iterable of dict
        As for `sweep`; none by default.
    folds : int
        2 or more.
    seed : int
        Of the folds, which are the same for every setting.
    stratified : bool, optional
        Whether each fold has the classes in the same proportion; by default wherever the targets
        are labels or one-hot rows.
    seeds : int or iterable of int
        Of the networks.
    workers, out, retry, progress : as for `sweep`
    history, **fit : as for `train_and_score`

    Returns
    -------
    Results
        A row for each setting, fold and seed, with the fold's number, from 0, as a setting.
        ``mean_over("fold")`` gives means and standard deviations, ``mean_over("fold", "seed")``
        over both.

    Raises
    ------
    InputError, MissingExtraError, WorkerError, OSError, KeyboardInterrupt
        As `sweep` and `stratified_folds` do.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcore import Dense, Sequential
    >>> x = np.random.default_rng(0).normal(size=(80, 2))
    >>> def build(seed):
    ...     return Sequential([Dense(8, "tanh"), Dense(2)], seed=seed)
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> found = cross_validate(build, (x, y), optimizer="adam", epochs=40, workers=1)
    >>> found["fold"], found.mean_over("fold", "seed")["runs"]
    ([0, 1, 2, 3], [4])
    """
    targets = data.targets if isinstance(data, Dataset) else np.asarray(_pair(data)[1])
    if stratified is None:
        stratified = labelled(targets)
    divided = stratified_folds if stratified else plain_folds
    parts = divided(targets, folds, seed)
    crossed: list[Setting] = []
    for setting in settings:
        if FOLD in setting:
            raise InputError(f"{FOLD!r} cannot be the name of a setting of a cross-validation")
        crossed += [{**setting, FOLD: number} for number in range(len(parts))]
    function = _CrossValidation(_Score(_Recipe.of(build, fit), history), data, parts)
    return sweep(
        function, crossed, seeds=seeds, workers=workers, out=out, retry=retry, progress=progress
    )


@dataclass(frozen=True)
class _Recipe:
    """How a setting becomes a network and the settings of its training."""

    build: Callable[..., Built]
    fit: Mapping[str, Any]
    named: tuple[str, ...]
    takes_all: bool

    @classmethod
    def of(cls, build: Callable[..., Built], fit: Mapping[str, Any]) -> _Recipe:
        for name in fit:
            if name not in FIT_SETTINGS:
                raise unknown("setting of fit", name, FIT_SETTINGS)
        if not callable(build):
            raise InputError(f"build is {build!r}: give a function that returns a new model")
        found = inspect.signature(build).parameters.values()
        takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in found)
        named = tuple(each.name for each in found if each.kind in KEYWORDS)
        if SEED not in named and not takes_all:
            raise InputError(
                "build must take the seed: build(seed, ...), for Sequential(seed=seed)"
            )
        return cls(build, fit, named, takes_all)

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """What may be a setting, for the check that `sweep` makes before it starts."""
        own = inspect.signature(self.build).parameters.values()
        names = {each.name for each in own}
        also = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
            for name in FIT_SETTINGS
            if name not in names
        ]
        keywords = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for each in own
            if each.kind in KEYWORDS
        ]
        rest = [each for each in own if each.kind is inspect.Parameter.VAR_KEYWORD]
        return [*keywords, *also, *rest]

    def made(self, seed: int, setting: Mapping[str, Any]) -> tuple[Sequential, dict[str, Any]]:
        """Return a new network, and what `fit` is to be called with."""
        to_fit = {
            name: value
            for name, value in setting.items()
            if name in FIT_SETTINGS and name not in self.named
        }
        to_build = {name: value for name, value in setting.items() if name not in to_fit}
        built = self.build(seed=seed, **to_build)
        model, extra = built if isinstance(built, tuple) and len(built) == 2 else (built, {})
        if not isinstance(model, Sequential) or not isinstance(extra, Mapping):
            raise InputError(
                f"build returned {built!r}: it must return a Sequential, or one and a dict of "
                "settings of fit"
            )
        if model.training is not None:
            raise InputError("build returned a model that was trained before: make a new one")
        if any(isinstance(layer, Standardize) and layer.fitted for layer in model.layers):
            raise InputError(
                "build returned a model whose Standardize has seen data: leave it to fit, which "
                "shows it the training part only"
            )
        return model, {**self.fit, **to_fit, **extra}


@dataclass(frozen=True)
class _Score:
    """Trains on one part and measures on both."""

    recipe: _Recipe
    history: bool

    def __call__(
        self, seed: int, setting: Mapping[str, Any], train: Data, validation: Data | None
    ) -> dict[str, Any]:
        model, fit = self.recipe.made(seed, setting)
        # Callbacks may look at what an epoch measured; else measuring once, at the end, is enough.
        measures = self.history or bool(fit.get("callbacks"))
        history = model.fit(
            *_arguments(train),
            verbose=0,
            evaluate_train=measures,
            validation_data=validation if measures else None,
            **fit,
        )
        figures: dict[str, Any] = model.evaluate(*_arguments(train))
        if validation is not None:
            measured = model.evaluate(*_arguments(validation))
            figures |= {f"val_{name}": value for name, value in measured.items()}
        trained = sum(place.spec.size for place in model.places.values() if place.trainable)
        figures["parameters"] = trained
        if self.history:
            figures["history"] = history.to_dict()
        return figures


class _Experiment:
    """What `train_and_score` returns: a class, because a worker must be able to unpickle it."""

    def __init__(self, score: _Score, train: Data, validation: Data | None) -> None:
        self.score, self.train, self.validation = score, train, validation

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.Signature(self.score.recipe.parameters)

    def __call__(self, seed: int, **setting: Any) -> dict[str, Any]:
        return self.score(seed, setting, self.train, self.validation)


class _CrossValidation:
    """The same with the parts of a fold."""

    def __init__(self, score: _Score, data: Data, parts: list[Fold]) -> None:
        self.score, self.data, self.parts = score, data, parts

    @property
    def __signature__(self) -> inspect.Signature:
        fold = inspect.Parameter(FOLD, inspect.Parameter.KEYWORD_ONLY)
        return inspect.Signature([fold, *self.score.recipe.parameters])

    def __call__(self, seed: int, fold: int, **setting: Any) -> dict[str, Any]:
        rows = self.parts[fold]
        train, validation = _rows(self.data, rows.train), _rows(self.data, rows.validation)
        return self.score(seed, setting, train, validation)


def _rows(data: Data, rows: NDArray[np.int64]) -> Data:
    if isinstance(data, Dataset):
        return data.subset(rows)
    x, y = _pair(data)
    return np.asarray(x)[rows], np.asarray(y)[rows]


def _arguments(data: Data) -> tuple[Any, ...]:
    return (data,) if isinstance(data, Dataset) else _pair(data)


def _pair(data: Any) -> tuple[Any, Any]:
    if isinstance(data, tuple | list) and len(data) == 2:
        return data[0], data[1]
    raise InputError(f"data must be a Dataset or (x, y), not a {type(data).__name__}")
