"""Many networks of one shape, trained side by side."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from numpy.typing import ArrayLike, NDArray

from mlcore import losses, optimizers, regularizers, schedules
from mlcore.callbacks import NaNGuard
from mlcore.data.dataset import Dataset
from mlcore.door import Inputs, Targets, as_array
from mlcore.engine.many import Outcome, Trainee, Trainings
from mlcore.executor import NonFiniteLossError, Totals
from mlcore.history import History
from mlcore.kernels import threads
from mlcore.kernels.errors import InputError
from mlcore.layers.base import Layer, check_size
from mlcore.losses import Loss
from mlcore.model import Samples, Sequential
from mlcore.optimizers import Optimizer
from mlcore.plan import lower
from mlcore.regularizers import Regularizer
from mlcore.trainer import (
    SECONDS_BETWEEN_LOOKS,
    Interrupts,
    Trainer,
    Training,
    begin,
    described,
)

Data = tuple[Inputs, Targets]

# What distinguishes layers, but not what is computed with them.
APART = {"kernel_initializer", "bias_initializer", "embeddings_initializer", "_views"}
# So many numbers of networks a warning names.
SHOWN = 10


def fit_many(
    models: Sequence[Sequential],
    x: ArrayLike | Dataset,
    y: ArrayLike | None = None,
    *,
    loss: str | Loss | dict[str, Any] | None = None,
    optimizer: str | Optimizer | dict[str, Any] | None = None,
    epochs: int = 1,
    batch_size: int = 32,
    schedule: Any = None,
    regularizer: str | Regularizer | dict[str, Any] | None = None,
    shuffle: bool = True,
    workers: int | None = None,
    **others: Any,
) -> list[History]:
    """Train many networks of one shape side by side.

    Each ends with the parameters, optimizer state and history that ``model.fit`` with the same
    settings and ``evaluate_train=False`` gives it alone, to the last bit: a network has its own
    seed, and neither the number of workers nor its neighbours matter to it. The native engine
    trains each network on one thread, with no Python in between; other backends train them one
    after another. So there are no validation data, no weights of samples or classes and no
    callbacks: where these are needed, each network needs a ``fit`` of its own.

    Parameters
    ----------
    models : sequence of Sequential
        The same layers with the same settings, dtype and backend, and any initializers and seeds.
    x : array_like or Dataset
        Samples (n, ...) that all networks share, or a set for each, (networks, n, ...).
    y : array_like, optional
        Targets as the loss takes them: (n, ...) or (networks, n, ...), as `x`.
    loss, optimizer, epochs, batch_size, schedule, regularizer, shuffle : as for `Sequential.fit`
        Where loss or optimizer are the models' own, they must be alike.
    workers : int, optional
        How many threads train; by default `get_num_threads`.
    **others
        What only `Sequential.fit` takes is refused with a message that says so.

    Returns
    -------
    list of History
        One for each network, also kept as its ``model.history``. Losses and accuracies are those
        of the batches while they are trained on. The history of a network whose loss or
        parameters stop being finite ends with the epoch before: it keeps the parameters that
        `Sequential.fit` would leave, the others go on, and a RuntimeWarning says which ones
        stopped.

    Raises
    ------
    InputError
        For models that differ, for bad data or settings, and for an argument that only
        `Sequential.fit` takes, before training starts.
    TypeError
        For an argument that neither takes.
    KeyboardInterrupt
        On Ctrl-C: the networks at work end after the step in progress, from which ``model.fit``
        can resume them; those still waiting keep their parameters and have an empty history.

    Examples
    --------
    >>> import mlcore
    >>> models = [mlcore.Sequential([mlcore.Dense(2, "tanh"), mlcore.Dense(1)], seed=seed)
    ...           for seed in range(100)]
    >>> x = [[-1.0], [-0.5], [0.0], [0.5], [1.0]]
    >>> histories = mlcore.fit_many(models, x, [1, 0.5, 0, 0.5, 1], loss="mse", epochs=10)
    >>> len(histories), len(histories[0])
    (100, 10)
    """
    _refuse(others)
    _check_models(models)
    settings = Training(
        epochs=check_size(epochs, "epochs"),
        batch_size=check_size(batch_size, "batch_size"),
        schedule=schedules.get(schedule),
        shuffle=bool(shuffle),
        seed=models[0].seed,
        evaluate_train=False,
        regularizer=regularizers.get(regularizer),
    )
    wanted = threads.get_num_threads() if workers is None else check_size(workers, "workers")
    chosen = losses.get(loss or models[0].loss or "softmax_cross_entropy")
    given = None if optimizer is None else optimizers.get(optimizer)
    rules = [given or model.optimizer or optimizers.get("sgd") for model in models]
    unbuilt = [model for model in models if not model.built]
    try:
        for number, model in enumerate(models):
            own = chosen if loss else model.loss or losses.get("softmax_cross_entropy")
            if own is not chosen:
                _check_same("loss", number, own.config(), chosen.config())
            if rules[number] is not rules[0]:
                _check_same("optimizer", number, repr(rules[number]), repr(rules[0]))
        data = _data(models, x, y, chosen)
        scalers = [model._scaler() for model in models]
    except InputError:
        for model in unbuilt:
            model._unbuild()
        raise
    for scaler, (inputs, _) in zip(scalers, data, strict=True):
        if scaler is not None:
            scaler.adapt_rows(inputs)
    if hasattr(models[0].backend.module, "ENGINE"):
        stopped = _side_by_side(models, chosen, rules, settings, data, wanted)
    else:
        stopped = _one_by_one(models, chosen, rules, settings, data)
    if stopped:
        numbers = ", ".join(map(str, stopped[:SHOWN])) + (" ..." if len(stopped) > SHOWN else "")
        warnings.warn(
            f"{len(stopped)} of {len(models)} networks stopped because their loss or parameters "
            f"were no longer finite: {numbers}",
            RuntimeWarning,
            stacklevel=2,
        )
    return [model.history or History() for model in models]


def _side_by_side(
    models: Sequence[Sequential],
    loss: Loss,
    rules: list[Optimizer],
    settings: Training,
    data: list[Data],
    workers: int,
) -> list[int]:
    """Train with the native engine; return the numbers of those that did not stay finite."""
    inputs, targets = data[0]
    batch = min(settings.batch_size, len(inputs))
    plan = lower(
        models[0], batch_size=batch, loss=loss, optimizer=rules[0],
        regularizer=settings.regularizer, noise=True, source_dtype=inputs.array.dtype,
        labelled=targets.labelled, weighted=False,
    )  # fmt: skip
    rates = [
        rules[0].learning_rate * settings.schedule.factor(epoch, settings.epochs)
        for epoch in range(settings.epochs)
    ]
    description = described(models[0], loss, settings, inputs, targets)
    trainees = []
    for model, rule, (own_inputs, own_targets) in zip(models, rules, data, strict=True):
        own = replace(settings, seed=model.seed)
        begin(model, loss, rule, own, {**description, "seed": model.seed})
        progress = model.progress
        trainees.append(
            Trainee(
                {"parameters": model.parameters, **model.optimizer_state},
                own_inputs, own_targets, model.seed,
                (progress.epochs, progress.steps, progress.updates),
            )
        )  # fmt: skip
    trainings = Trainings(plan, trainees, rates, shuffle=settings.shuffle)
    judged = targets.judge is not None
    with Interrupts() as interrupts:
        try:
            trainings.run(workers, interrupts, SECONDS_BETWEEN_LOOKS)
        finally:
            outcomes = trainings.outcomes()
            for model, outcome in zip(models, outcomes, strict=True):
                _record(model, outcome, rates, len(inputs), batch, judged)
    return [number for number, outcome in enumerate(outcomes) if outcome.ending == "not finite"]


def _record(
    model: Sequential,
    outcome: Outcome,
    rates: list[float],
    samples: int,
    batch: int,
    judged: bool,
) -> None:
    """Count what a network has been trained, and fill its history."""
    progress, steps = model.progress, -(-samples // batch)
    done = outcome.epochs * steps + outcome.steps
    progress.epoch, progress.step = outcome.epochs, outcome.steps
    progress.epochs += outcome.epochs
    progress.steps += done
    progress.updates += done
    whole = outcome.epochs
    if whole < len(rates):
        loss, right, weight = outcome.broken
        progress.totals = Totals(loss, right, min(outcome.steps * batch, samples), weight)
    columns = {
        "running_loss": outcome.running_loss[:whole],
        "learning_rate": rates[:whole],
        "seconds": outcome.seconds[:whole],
        "samples_per_second": outcome.samples_per_second[:whole],
    }
    if judged:
        columns["running_accuracy"] = outcome.running_accuracy[:whole]
    assert model.history is not None
    model.history.extend(columns)


def _one_by_one(
    models: Sequence[Sequential],
    loss: Loss,
    rules: list[Optimizer],
    settings: Training,
    data: list[Data],
) -> list[int]:
    """Train with any backend; return the numbers of those that did not stay finite."""
    stopped = []
    for number, (model, rule, given) in enumerate(zip(models, rules, data, strict=True)):
        own = replace(settings, seed=model.seed)
        trainer = Trainer(model, loss, rule, own, *given, None, [NaNGuard()], False)
        try:
            trainer.run()
        except NonFiniteLossError:
            stopped.append(number)
    return stopped


def _data(
    models: Sequence[Sequential], x: ArrayLike | Dataset, y: ArrayLike | None, loss: Loss
) -> list[Data]:
    """Build the models, and return what each of them trains on."""
    if isinstance(x, Dataset) or y is None:
        return _shared(models, x, y, loss)
    xs, ys = as_array(x, "x"), as_array(y, "y")
    apart = xs.ndim > 2 and xs.shape[:2] == ys.shape[:2]
    if not apart or len(xs) != len(models):
        try:
            return _shared(models, xs, ys, loss)
        except InputError as error:
            if not apart:
                raise
            raise InputError(
                f"{error}; or, if x and y are a set for each network: there are {len(xs)} sets "
                f"and {len(models)} networks"
            ) from None
    data: list[Data] = []
    inputs_of = _inputs_of_each(models[0], xs)
    if not models[0].built:
        models[0].build(inputs_of[0].sample)
    wanted = _Architecture(models[0])
    for number, (model, inputs) in enumerate(zip(models, inputs_of, strict=True)):
        try:
            if not model.built:
                model.build(inputs.sample)
            wanted.check(number, model)
            if number == 0:
                loss.absorbs(model.layers)
            data.append((inputs, model._targets(loss, Samples(inputs, ys[number], None))))
        except InputError as error:
            raise InputError(f"network {number}: {error}") from None
        labelled = [targets.labelled for _, targets in (data[0], data[number])]
        if labelled[0] != labelled[1]:
            kinds = ["labels" if label else "rows of numbers" for label in labelled]
            raise InputError(
                f"the targets of network {number} are {kinds[1]}, those of network 0 {kinds[0]}: "
                "give all of one kind"
            )
    return data


def _inputs_of_each(first: Sequential, xs: NDArray[Any]) -> list[Inputs]:
    """Check all sets in one pass, and return them."""
    try:
        whole = first._inputs(xs.reshape(-1, *xs.shape[2:]))
    except InputError:
        for number, x in enumerate(xs):
            try:
                first._inputs(x)
            except InputError as error:
                raise InputError(f"network {number}: {error}") from None
        raise
    sets = whole.array.reshape(len(xs), -1, whole.array.shape[1])
    return [Inputs(array, whole.scale, whole.sample) for array in sets]


def _shared(
    models: Sequence[Sequential], x: ArrayLike | Dataset, y: ArrayLike | None, loss: Loss
) -> list[Data]:
    """Build the models, and return the same samples for all of them."""
    first = models[0]
    samples = first._samples(x, y)
    if not first.built:
        first.build(samples.inputs.sample)
    wanted = _Architecture(first)
    for number, model in enumerate(models):
        if not model.built:
            model.build(samples.inputs.sample)
        wanted.check(number, model)
    loss.absorbs(first.layers)
    return [(samples.inputs, first._targets(loss, samples))] * len(models)


def _refuse(others: Iterable[str]) -> None:
    """Say of each argument beyond those of `fit_many` why it is none."""
    for name in others:
        if name in inspect.signature(Sequential.fit).parameters:
            raise InputError(
                f"fit_many takes no {name}, which only fit does: call model.fit for each network, "
                f"or leave {name} out"
            )
        raise TypeError(f"fit_many() got an unexpected keyword argument {name!r}")


def _check_models(models: Sequence[Sequential]) -> None:
    if isinstance(models, Sequential) or not isinstance(models, Sequence) or not models:
        raise InputError("fit_many takes a list of models, one at least")
    seen: dict[int, int] = {}
    for number, model in enumerate(models):
        if not isinstance(model, Sequential):
            raise InputError(f"models[{number}] is no Sequential but {type(model).__name__}")
        if seen.setdefault(id(model), number) != number:
            raise InputError(
                f"models[{number}] is models[{seen[id(model)]}] again: make a new model"
            )


def _check_same(what: str, number: int, own: Any, wanted: Any) -> None:
    if own != wanted:
        raise InputError(
            f"all networks must have the same {what}: network {number} has {own}, network 0 "
            f"{wanted}"
        )


class _Architecture:
    """What decides by which plan a built model is trained, whatever its weights."""

    def __init__(self, model: Sequential) -> None:
        self.model = model
        names = [tuple(_apart(vars(layer))) for layer in model.layers]
        self.attributes = [itemgetter(*of_layer) for of_layer in names]
        self.values = [
            values(vars(layer)) for values, layer in zip(self.attributes, model.layers, strict=True)
        ]

    def check(self, number: int, other: Sequential) -> None:
        """Refuse a built model of another architecture."""
        first = self.model
        for what in ("dtype", "input_shape"):
            _check_same(what, number, getattr(other, what), getattr(first, what))
        _check_same("backend", number, other.backend.name, first.backend.name)
        _check_same("number of layers", number, len(other.layers), len(first.layers))
        for at, (own, wanted) in enumerate(zip(other.layers, first.layers, strict=True)):
            if type(own) is not type(wanted) or not self._has_attributes(at, own):
                _check_same(wanted.name, number, _described(own), _described(wanted))

    def _has_attributes(self, at: int, layer: Layer) -> bool:
        """Tell quickly that a layer is like the first model's; if not, their settings decide."""
        try:
            return bool(self.attributes[at](vars(layer)) == self.values[at])
        except (KeyError, ValueError):
            return False


def _apart(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in APART}


def _described(layer: Layer) -> str:
    frozen = "" if layer.trainable else ", frozen"
    return f"{type(layer).__name__}({_apart(layer.config())}{frozen})"
