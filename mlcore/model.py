"""Sequential: an ordered list of layers over one flat parameter vector."""

from __future__ import annotations

import copy
import math
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlcore import door, kernels, losses, optimizers, regularizers, schedules
from mlcore.callbacks import collect
from mlcore.data.dataset import Dataset
from mlcore.door import Inputs, Targets, with_channel
from mlcore.engine import FEW, NativeExecutor, executor_for
from mlcore.executor import PythonExecutor
from mlcore.initializers import FIRST_STREAM, Draws
from mlcore.kernels.errors import InputError, is_number, unknown
from mlcore.layers import Layer, Standardize
from mlcore.layers.base import ParameterSpec, Shape, check_size
from mlcore.losses import Loss, last_active
from mlcore.optimizers import Optimizer
from mlcore.plan import Plan, aligned_zeros, lower, table
from mlcore.regularizers import Regularizer
from mlcore.trainer import (
    EVALUATION_BATCH,
    Evaluation,
    Progress,
    Trainer,
    Training,
    steps_between_looks,
)
from mlcore.weights import ClassWeight, as_weights, weighted

if TYPE_CHECKING:
    from mlcore.callbacks import AnyCallback
    from mlcore.history import History

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Place:
    """Where a parameter lies in the flat vector."""

    layer: Layer
    spec: ParameterSpec
    start: int

    @property
    def stop(self) -> int:
        """One past the last element."""
        return self.start + self.spec.size

    @property
    def shape(self) -> tuple[int, ...]:
        """The parameter's own shape."""
        return self.spec.shape

    @property
    def decays(self) -> bool:
        """Whether weight decay means this parameter even where biases are left out."""
        return self.spec.decays

    @property
    def trainable(self) -> bool:
        """Whether updates touch it."""
        return self.layer.trainable and self.spec.trainable


@dataclass(frozen=True)
class Samples:
    """What a caller gave: inputs, targets as they came, and weights if there are any."""

    inputs: Inputs
    raw: NDArray[Any]
    weights: NDArray[Any] | None

    def part(self, rows: slice) -> Samples:
        """Return some of the samples."""
        weights = None if self.weights is None else self.weights[rows]
        inputs = replace(self.inputs, array=self.inputs.array[rows])
        return Samples(inputs, self.raw[rows], weights)


class Sequential:
    """A stack of layers.

    Parameters
    ----------
    layers : iterable of Layer
        In order. Shapes are inferred from the data.
    seed : int, optional
        From 0 to 2**64 - 1. Initial weights, noise and shuffling are functions of it; drawn at
        random if not given.
    dtype : {"float32", "float64"}
    backend : str, optional
        "native", "numba", "numpy" or "cupy"; by default the environment variable
        ``MLCORE_BACKEND``, else the first one that is there.

    Attributes
    ----------
    layers : list of Layer
    input_shape : tuple of int
        The shape of a sample, such as (784,), or (28, 28, 1) for images: the channels stand last.
    parameters : ndarray
        All weights and biases, one flat contiguous vector.
    history : History or None
        Of the last `fit`.

    Examples
    --------
    >>> import mlcore
    >>> model = mlcore.Sequential([mlcore.Dense(8, "tanh"), mlcore.Dense(2)], seed=1)
    >>> x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> history = model.fit(x, y, optimizer=mlcore.Adam(0.05), epochs=200, verbose=0)
    >>> model.predict_classes(x).tolist()
    [0, 1, 1, 0]
    """

    def __init__(
        self,
        layers: Iterable[Layer] = (),
        *,
        seed: int | None = None,
        dtype: str | np.dtype[Any] | type = "float32",
        backend: str | None = None,
    ) -> None:
        self.dtype = check_dtype(dtype)
        self.seed = check_seed(secrets.randbits(32) if seed is None else seed)
        self.backend = kernels.get(backend)
        self.layers: list[Layer] = []
        self.input_shape: Shape = ()
        self.places: dict[tuple[str, str], Place] = {}
        self.loss: Loss | None = None
        self.optimizer: Optimizer | None = None
        self.regularizer: Regularizer | None = None
        self.optimizer_state: dict[str, NDArray[Any]] = {}
        self.progress = Progress()
        self.training: Training | None = None
        self.history: History | None = None
        self.stop_training = False
        self._parameters: NDArray[Any] | None = None
        self._predictors: dict[tuple[Any, ...], NativeExecutor] = {}
        if isinstance(layers, Layer):
            raise InputError(f"Sequential takes a list of layers: Sequential([{layers!r}])")
        given = list(layers)
        for at, layer in enumerate(given):
            self._check_layer(layer)
            if any(layer is other for other in given[:at]):
                raise InputError(f"{layer!r} stands in the list twice: make a new layer")
        for layer in given:
            self.add(layer)

    def add(self, layer: Layer) -> None:
        """Append a layer; the model must not be built yet.

        Raises
        ------
        InputError
            For what is not a layer, a layer of another model, and a model that is built.
        """
        self._check_layer(layer)
        if self.built:
            raise InputError("the model is built: add layers before fit, build or predict")
        same = sum(other.kind == layer.kind for other in self.layers)
        layer.name = f"{layer.kind}_{same + 1}"
        self.layers.append(layer)

    def _check_layer(self, layer: Any) -> None:
        if not isinstance(layer, Layer):
            raise InputError(
                f"a model is made of layers such as Dense(10), not {type(layer).__name__}"
            )
        if layer.name:
            raise InputError(f"{layer.name} already belongs to a model: make a new layer")

    @property
    def built(self) -> bool:
        """Whether the input shape is known and the parameters exist."""
        return self._parameters is not None

    @property
    def features(self) -> int:
        """The numbers that a sample has, whatever its shape; 0 before the model is built."""
        return math.prod(self.input_shape) if self.input_shape else 0

    @property
    def output_shape(self) -> Shape:
        """The shape of what a sample becomes; the model must be built."""
        shape = self.layers[-1].output_shape if self.built else None
        if shape is None:
            raise InputError("the model is not built: call fit, or build(features), first")
        return shape

    @property
    def outputs(self) -> int:
        """The number of outputs; the model must be built."""
        return math.prod(self.output_shape)

    @property
    def parameters(self) -> NDArray[Any]:
        """All weights and biases, one flat contiguous vector; every `layer.weight` is a view."""
        if self._parameters is None:
            raise InputError("the model has no parameters yet: call fit, or build(features), first")
        return self._parameters

    @parameters.setter
    def parameters(self, values: ArrayLike) -> None:
        array = np.asarray(values)
        if array.shape != self.parameters.shape:
            raise InputError(
                f"the model has {self.parameters.size} parameters, not {array.shape} of them"
            )
        self.parameters[...] = array

    def shapes(self, sample: Shape) -> dict[tuple[str, str], Shape]:
        """Return the shape of every parameter by layer and name, for samples of a shape."""
        return {
            (layer.name, spec.name): spec.shape
            for layer, specs in self._specs(sample)
            for spec in specs
        }

    def _specs(self, sample: Shape) -> Iterator[tuple[Layer, list[ParameterSpec]]]:
        shape, untouched = sample, True
        for layer in self.layers:
            if layer.input_limit is not None and not untouched:
                raise InputError(
                    f"{layer.name} looks up whole numbers, so it takes the data as they are: only "
                    "Flatten and Reshape may stand before it"
                )
            untouched = untouched and layer.reshapes
            yield layer, layer.build(shape)
            shape = layer.output_shape or shape

    @property
    def _axes(self) -> int | None:
        """The number of axes that the first layers need samples to have, None for any."""
        for layer in self.layers:
            if layer.input_axes is not None or not layer.keeps_shape:
                return layer.input_axes
        return None

    @property
    def _limit(self) -> int | None:
        """The number below which all inputs must be; None where nothing is looked up."""
        limits = (layer.input_limit for layer in self.layers)
        return next((limit for limit in limits if limit is not None), None)

    def build(self, features: int | tuple[int, ...]) -> Sequential:
        """Fix the shape of a sample, and make and draw the parameters.

        Parameters
        ----------
        features : int or tuple of int
            784 or (784,); (28, 28, 1), or (28, 28) for what takes images, height, width, channels.

        Returns
        -------
        Sequential
            The model itself.
        """
        if self.built:
            raise InputError(f"the model is already built for {samples(self.input_shape)}")
        if not self.layers:
            raise InputError("the model has no layers: give it some, such as Dense(10)")
        given = features if isinstance(features, (tuple, list)) else (features,)
        if not given:
            raise InputError("a sample has one axis at least: build(784), or build((28, 28, 1))")
        shape = with_channel(tuple(check_size(size, "features") for size in given), self._axes)
        try:
            self._make(shape)
        except InputError:
            self._unbuild()
            raise
        return self

    def _make(self, shape: Shape) -> None:
        self.input_shape = shape
        start = 0
        for layer, specs in self._specs(shape):
            for spec in specs:
                self.places[layer.name, spec.name] = Place(layer, spec, start)
                start += spec.size
        try:
            self._parameters = aligned_zeros(start, self.dtype)
        except (MemoryError, ValueError, OverflowError) as error:
            raise InputError(f"{start:,} parameters do not fit into memory") from error
        for number, place in enumerate(self.places.values()):
            spec = place.spec
            drawn = spec.initializer(
                spec.shape, spec.fan_in, spec.fan_out, Draws(self.seed, FIRST_STREAM + number)
            )
            self._parameters[place.start : place.stop] = drawn.reshape(-1)
        self._attach()

    @contextmanager
    def _built_for(self, inputs: Inputs) -> Iterator[None]:
        """Build the model for `inputs` if need be, and undo that where the body refuses them."""
        built_here = not self.built
        try:
            if built_here:
                self.build(inputs.sample)
            yield
        except InputError:
            if built_here:
                self._unbuild()
            raise

    def _unbuild(self) -> None:
        """Forget a shape that was taken from data which turned out to be wrong."""
        self.input_shape, self.places, self._parameters, self._predictors = (), {}, None, {}
        for layer in self.layers:
            layer.attach({})

    def _attach(self) -> None:
        views: dict[str, dict[str, NDArray[Any]]] = {layer.name: {} for layer in self.layers}
        for (layer, name), place in self.places.items():
            part = self.parameters[place.start : place.stop]
            views[layer][name] = part.reshape(place.shape)
        for owner in self.layers:
            owner.attach(views[owner.name])

    def __repr__(self) -> str:
        return str(self)

    def summary(self, features: int | Shape | None = None) -> None:
        """Print a table of the layers with output shapes and numbers of parameters.

        Parameters
        ----------
        features : int or tuple of int, optional
            Builds the model first.
        """
        if features is not None and not self.built:
            self.build(features)
        print(self)

    def __str__(self) -> str:
        if not self.built:
            return f"Sequential({self.layers!r})"
        lines = [("input", "", _with_batch(self.input_shape), "0")]
        for layer in self.layers:
            count = sum(view.size for view in layer.parameters.values())
            shape = _with_batch(layer.output_shape or ())
            frozen = "" if layer.trainable else ", frozen"
            lines.append((layer.name, f"{_described(layer)}{frozen}", shape, f"{count:,}"))
        count = self.parameters.size
        size = self.parameters.nbytes / 1024
        lines.append(("total", "", "", f"{count:,}"))
        body = table(("layer", "settings", "output", "parameters"), lines, right=(3,))
        still = sum(place.spec.size for place in self.places.values() if not place.trainable)
        kept = f", {still:,} parameters that no update touches" if still else ""
        return f"{body}\n{self.dtype.name}, {size:,.1f} KiB, seed {self.seed}{kept}"

    def fit(
        self,
        x: ArrayLike | Dataset,
        y: ArrayLike | None = None,
        *,
        loss: str | Loss | dict[str, Any] | None = None,
        optimizer: str | Optimizer | dict[str, Any] | None = None,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: Dataset | Sequence[Any] | None = None,
        validation_split: float = 0.0,
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
        schedule: Any = None,
        regularizer: str | Regularizer | dict[str, Any] | None = None,
        callbacks: AnyCallback | Iterable[AnyCallback] = (),
        shuffle: bool = True,
        seed: int | None = None,
        verbose: int = 1,
        evaluate_train: bool = True,
        resume: bool = False,
    ) -> History:
        """Train the model.

        Parameters
        ----------
        x : array_like (n, features) or (n, height, width, channels), or Dataset
            Any real dtype, layout and byte order, and any number of axes that the first layer
            takes; images of one channel may lack the last axis. A `Dataset` brings its targets
            and scale.
        y : array_like, optional
            Targets as the loss takes them.
        loss : str, Loss or dict
            A name of `mlcore.losses.LOSSES`, or ``{"name": "huber", "delta": 2.0}``; by default
            that of the last fit, else "softmax_cross_entropy".
        optimizer : str or Optimizer
            By default that of the last fit, whose state goes on; else SGD(). The state goes on
            with the same object too; a name or another object begins anew, but for `resume`.
        epochs : int
            Passes over the data.
        batch_size : int
            Samples a step; the last batch of an epoch may be shorter.
        validation_data : Dataset, (x, y) or (x, y, sample_weight), optional
            What is measured after every epoch.
        validation_split : float
            The last part of the data, as a fraction, kept for validation.
        sample_weight : array_like (n,), optional
            How much each sample counts, 0 or more: losses are ``sum(w * loss) / sum(w)``, over
            each batch and in the history. Accuracies do not know of weights.
        class_weight : dict of int to float, or "balanced", optional
            A factor of the sample weights by label, one for those not named; "balanced" makes
            the classes of the training data count alike, as in scikit-learn. It does not weigh
            the validation data.
        schedule : Schedule, str, dict or callable, optional
            Learning rate over the epochs, see `mlcore.schedules`.
        regularizer : Regularizer, str or dict, optional
            A penalty on the whole model, beside those of its layers: L1 and L2 of all trainable
            weights, `Norm` of all trainable parameters as one vector, see `mlcore.regularizers`.
            Every loss that is reported, now and by `evaluate` later, contains the penalties.
        callbacks : callable, Callback, or an iterable of them
            A plain function is called after each epoch as ``f(epoch, logs)``.
        shuffle : bool
            Whether each epoch takes the samples in an order of its own.
        seed : int, optional
            Of shuffling and noise; the model's own by default.
        verbose : {0, 1, 2}
            Silent, a progress bar, or a line an epoch.
        evaluate_train : bool
            Whether each epoch ends with a pass that measures loss and accuracy on the training
            data without noise; otherwise those columns are NaN.
        resume : bool
            Go on where the last fit, or the loaded checkpoint, stopped: schedule, optimizer and
            history continue up to `epochs` in all, to the same bits as a run that was never
            stopped, where the data, weights and `epochs` are the same (a schedule that counts in
            fractions of `epochs` stretches with them). Give the other settings again; loss,
            optimizer, schedule, regularizer, batch size, seed, shuffling, frozen layers and the
            number of samples are compared, and what differs is refused.

        Returns
        -------
        History
            One row an epoch; also kept as ``model.history``.

        Raises
        ------
        InputError
            For bad data or settings, before training starts.
        NonFiniteLossError
            When a loss becomes NaN or infinite; the parameters are those of the last whole step
            before it.
        KeyboardInterrupt
            On Ctrl-C, after the step in progress; the parameters are those after it.
        """
        settings = Training(
            epochs=check_size(epochs, "epochs"),
            batch_size=check_size(batch_size, "batch_size"),
            schedule=schedules.get(schedule),
            shuffle=bool(shuffle),
            seed=check_seed(self.seed if seed is None else seed),
            evaluate_train=bool(evaluate_train),
            regularizer=regularizers.get(regularizer),
        )
        chosen_loss = losses.get(loss or self.loss or "softmax_cross_entropy")
        chosen_optimizer = self._optimizer_for(optimizer, resume)
        told = collect(callbacks, verbose)
        given = self._samples(x, y, sample_weight)
        given, held = self._hold_out(given, validation_data, validation_split)
        inputs = given.inputs
        with self._built_for(inputs):
            scaler = self._scaler()
            chosen_loss.absorbs(self.layers)
            targets = self._targets(chosen_loss, given, class_weight)
            validation = None
            if held is not None:
                validation = held.inputs, self._targets(chosen_loss, held)
            trainer = Trainer(
                self, chosen_loss, chosen_optimizer, settings, inputs, targets, validation, told,
                resume,
            )  # fmt: skip
        if scaler is not None:
            scaler.adapt_rows(inputs)
        return trainer.run()

    def _scaler(self) -> Standardize | None:
        """Return the leading layer that is yet to be fitted to the data; others must be already."""
        first = next((layer for layer in self.layers if not layer.reshapes), None)
        for layer in self.layers:
            if isinstance(layer, Standardize) and layer is not first:
                layer.require_fitted()
        return first if isinstance(first, Standardize) and not first.fitted else None

    def evaluate(
        self,
        x: ArrayLike | Dataset,
        y: ArrayLike | None = None,
        *,
        loss: str | Loss | dict[str, Any] | None = None,
        sample_weight: ArrayLike | None = None,
        batch_size: int = EVALUATION_BATCH,
    ) -> dict[str, float]:
        """Return the loss, penalties included, and, where the targets are classes, the accuracy.

        Parameters
        ----------
        x, y, sample_weight : as for `fit`
        loss : str, Loss or dict, optional
            By default that of the last fit.
        batch_size : int
            Samples at a time; the result does not depend on it beyond rounding.

        Returns
        -------
        dict
            "loss" and, for classes, "accuracy".
        """
        given = self._samples(x, y, sample_weight)
        chosen = losses.get(loss or self.loss or "softmax_cross_entropy")
        targets = self._targets(chosen, given)
        size = check_size(batch_size, "batch_size")
        totals = Evaluation(self, chosen, given.inputs, targets, size).run()
        measured = {"loss": totals.mean_loss}
        if targets.judge is not None:
            measured["accuracy"] = totals.correct / totals.samples
        return measured

    def predict(
        self, x: ArrayLike | Dataset, *, batch_size: int = EVALUATION_BATCH
    ) -> NDArray[Any]:
        """Return the model's outputs, (n, *output_shape) in its dtype; noise layers do nothing.

        These are what the last layer gives: logits unless it has an activation. See
        `predict_proba` and `predict_classes`.
        """
        self._require_built()
        size = check_size(batch_size, "batch_size")
        if type(x) is np.ndarray and x.ndim >= 2 and len(x) <= FEW:
            quick = self._predict_few(x)
            if quick is not None:
                return quick
        inputs = self._inputs(x)
        size = min(size, len(inputs))
        plan = lower(self, batch_size=size, source_dtype=inputs.array.dtype)
        executor = executor_for(
            plan, {"parameters": self.parameters}, inputs.array, scale=inputs.scale
        )
        outputs = np.empty((len(inputs), self.outputs), self.dtype)
        order = np.arange(len(inputs))
        steps, chunk = -(-len(inputs) // size), steps_between_looks(plan)
        for step in range(0, steps, chunk):
            executor.run(order, step, min(step + chunk, steps), outputs=outputs)
        return outputs.reshape(len(inputs), *self.output_shape)

    def _predict_few(self, x: NDArray[Any]) -> NDArray[Any] | None:
        """Predict a few samples as fast as can be; None where they need another look first."""
        if x.dtype != self.dtype or x.shape[1:] != self.input_shape or not x.flags.c_contiguous:
            return None
        if self._limit is not None:
            return None
        x = x.reshape(len(x), self.features)
        functions = [layer.activation for layer in self.layers]
        key = (len(x), self.backend.name, *functions)
        executor = self._predictors.get(key)
        if executor is None:
            if not kernels.is_native(self.backend.name) or len(x) == 0:
                return None
            plan = lower(self, batch_size=len(x), source_dtype=self.dtype)
            # Not x itself, which would live as long as the model.
            like = np.empty_like(x)
            executor = NativeExecutor(plan, {"parameters": self.parameters}, like)
            self._predictors = {key: executor}
        outputs = np.empty((len(x), self.outputs), self.dtype)
        right = executor.predict(x, outputs)
        return outputs.reshape(len(x), *self.output_shape) if right else None

    def predict_proba(
        self, x: ArrayLike | Dataset, *, batch_size: int = EVALUATION_BATCH
    ) -> NDArray[Any]:
        """Return class probabilities, (n, outputs).

        The softmax or sigmoid that belongs to the loss is applied where the last layer does not
        apply it itself.

        Raises
        ------
        InputError
            Where the model's loss knows no probabilities (regressions and hinges).
        """
        outputs = self.predict(x, batch_size=batch_size)
        link = self._link()
        given = (link,) if self.loss and link else ("softmax", "sigmoid")
        last = last_active(self.layers)
        if last is not None and last.activation is not None and last.activation.name in given:
            return outputs
        if link is None:
            raise InputError(
                f"{self.loss.kind if self.loss else 'the loss'} says nothing of probabilities: "
                "use predict, or train with softmax_cross_entropy"
            )
        rows = outputs.reshape(len(outputs), -1)
        probabilities = np.empty_like(rows)
        self.backend.call("activation", x=rows, activation=link, parameter=1.0, out=probabilities)
        return probabilities.reshape(outputs.shape)

    def predict_classes(
        self, x: ArrayLike | Dataset, *, batch_size: int = EVALUATION_BATCH
    ) -> NDArray[np.int64]:
        """Return the class of each sample, (n,): the largest output, or 1 where a single
        probability is above one half, or, with a hinge or perceptron loss, a single output above
        zero.

        Raises
        ------
        InputError
            Where a sample does not become a row of outputs.
        """
        self._require_built()
        if len(self.output_shape) != 1:
            raise InputError(
                "classes are told by rows of outputs, and the model gives "
                f"{samples(self.output_shape)}"
            )
        if self.outputs == 1 and self.loss is not None and self.loss.by_sign:
            return (self.predict(x, batch_size=batch_size)[:, 0] > 0).astype(np.int64)
        if self.outputs > 1 or self._link() == "softmax":
            classes: NDArray[np.int64] = self.predict(x, batch_size=batch_size).argmax(axis=1)
            return classes
        return (self.predict_proba(x, batch_size=batch_size)[:, 0] > 0.5).astype(np.int64)

    def _link(self) -> str | None:
        """Return the activation that makes probabilities of logits, None where there is none."""
        if self.loss is not None:
            return self.loss.link
        return "sigmoid" if self.outputs == 1 else "softmax"

    def loss_and_gradients(
        self,
        x: ArrayLike | Dataset,
        y: ArrayLike | None = None,
        *,
        loss: str | Loss | dict[str, Any] | None = None,
        sample_weight: ArrayLike | None = None,
        regularizer: str | Regularizer | dict[str, Any] | None = None,
        training: bool = False,
    ) -> tuple[float, NDArray[Any]]:
        """Return the mean loss over all samples as one batch, and its gradient.

        Both contain the penalties on the parameters.

        Parameters
        ----------
        x, y, loss, sample_weight : as for `fit`
        regularizer : optional
            By default that of the last fit.
        training : bool
            Whether layers behave as in training: noise layers act, with the draws of the model's
            next step, and batch norm takes the moments of the batch. By default it takes its
            running ones.

        Returns
        -------
        loss : float
        gradients : ndarray
            Flat, as `parameters`; zero for what is frozen, and for running statistics. Nothing is
            updated.
        """
        given = self._samples(x, y, sample_weight)
        inputs = given.inputs
        chosen = losses.get(loss or self.loss or "softmax_cross_entropy")
        with self._built_for(inputs):
            chosen.absorbs(self.layers)
            targets = self._targets(chosen, given)
        plan = lower(
            self, batch_size=len(inputs), loss=chosen, gradients=True, noise=training,
            regularizer=regularizers.get(regularizer) or self.regularizer,
            source_dtype=inputs.array.dtype, labelled=targets.labelled,
            weighted=targets.weights is not None,
        )  # fmt: skip
        gradients = aligned_zeros(self.parameters.size, self.dtype)
        # A copy, since batch norm moves its running statistics while training.
        executor = PythonExecutor(
            plan, {"parameters": self.parameters.copy(), "gradients": gradients},
            inputs.array, targets, scale=inputs.scale, guard=False,
            seed=self.training.seed if self.training else self.seed,
        )  # fmt: skip
        totals = executor.run(np.arange(len(inputs)), 0, 1, step=self.progress.steps)
        return totals.mean_loss, gradients

    def plan(
        self,
        batch_size: int = 32,
        *,
        loss: str | Loss | dict[str, Any] | None = None,
        optimizer: str | Optimizer | dict[str, Any] | None = None,
        regularizer: str | Regularizer | dict[str, Any] | None = None,
        training: bool = True,
    ) -> Plan:
        """Return what a step runs, kernel by kernel; print it to see a table.

        Float32 data are assumed, and labels where the loss takes them: `fit` lowers the same
        plan for uint8 data (another gather), for rows of targets, or with weights.

        Parameters
        ----------
        batch_size : int
        loss, optimizer, regularizer : optional
            By default those of the last fit, else softmax_cross_entropy, SGD() and none.
        training : bool
            A training step, or a prediction.
        """
        self._require_built()
        size = check_size(batch_size, "batch_size")
        if not training:
            return lower(self, batch_size=size)
        chosen = losses.get(loss or self.loss or "softmax_cross_entropy")
        return lower(
            self,
            batch_size=size,
            loss=chosen,
            optimizer=optimizers.get(optimizer or self.optimizer or "sgd"),
            regularizer=regularizers.get(regularizer) or self.regularizer,
            noise=True,
            labelled=chosen.takes_labels(self.outputs),
        )

    def save(self, path: str | os.PathLike[str], *, format: str = "mlcore") -> None:
        """Write the model to an HDF5 file; see `mlcore.checkpoint.save`."""
        from mlcore import checkpoint

        checkpoint.save(self, path, format=format)

    def _require_built(self) -> None:
        if not self.built:
            raise InputError("the model is not built: call fit, or build(features), first")

    def _inputs(self, x: ArrayLike | Dataset, shape: Shape | None = None) -> Inputs:
        """Return `x` checked; samples must be of the given shape, or of that of a built model."""
        return door.as_inputs(
            x, shape=self.input_shape or shape, dtype=self.dtype, axes=self._axes, limit=self._limit
        )

    def _samples(
        self,
        x: ArrayLike | Dataset,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None = None,
        shape: Shape | None = None,
    ) -> Samples:
        if isinstance(x, Dataset):
            if y is not None:
                raise InputError("a Dataset brings its own targets: leave y out")
            raw = x.targets
        elif y is None:
            raise InputError("y is missing: give the targets, or a Dataset that brings them")
        else:
            raw = door.as_array(y, "y")
        inputs = self._inputs(x, shape)
        if raw.ndim == 0 or len(inputs) != len(raw):
            count = "is one number" if raw.ndim == 0 else f"has {len(raw)}"
            raise InputError(f"x has {len(inputs)} samples and y {count}; give one target a sample")
        return Samples(inputs, raw, as_weights(sample_weight, len(inputs), self.dtype))

    def _targets(
        self, loss: Loss, given: Samples, class_weight: ClassWeight | None = None
    ) -> Targets:
        """Return targets as the loss takes them; those of images lie in rows, as outputs do."""
        raw = given.raw
        rows = len(self.output_shape) > 1 and raw.shape[1:] == self.output_shape
        taken = raw.reshape(len(raw), -1) if rows else raw
        targets = loss.targets(taken, self.outputs, self.dtype)
        return weighted(targets, given.weights, class_weight, self.outputs, self.dtype)

    def _hold_out(
        self, given: Samples, data: Dataset | Sequence[Any] | None, split: float
    ) -> tuple[Samples, Samples | None]:
        """Return what to train on, and what to validate on."""
        if not (is_number(split) and 0 <= split < 1):
            raise InputError(f"validation_split must be at least 0 and below 1, not {split!r}")
        if data is not None:
            if split:
                raise InputError("give validation_data or validation_split, not both")
            shape = given.inputs.sample
            if isinstance(data, Dataset):
                return given, self._samples(data, None, None, shape)
            if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
                raise InputError(
                    "validation_data must be a Dataset, (x, y) or (x, y, sample_weight)"
                )
            weights = data[2] if len(data) == 3 else None
            return given, self._samples(data[0], data[1], weights, shape)
        if not split:
            return given, None
        samples = len(given.inputs)
        kept = samples - round(samples * split)
        if kept in (0, samples):
            what = "train on" if kept == 0 else "validate on"
            raise InputError(
                f"validation_split {split} of {samples} samples leaves nothing to {what}"
            )
        return given.part(slice(kept)), given.part(slice(kept, None))

    def _optimizer_for(
        self, asked: str | Optimizer | dict[str, Any] | None, resume: bool
    ) -> Optimizer:
        """Return the optimizer of the next fit; the model's own one brings its state."""
        if asked is None:
            return self.optimizer or optimizers.get("sgd")
        chosen = optimizers.get(asked)
        if not resume or self.optimizer is None:
            return chosen
        if repr(chosen) != repr(self.optimizer):
            raise InputError(
                f"cannot resume with {chosen!r}: the run was made with {self.optimizer!r}"
            )
        return self.optimizer

    def __copy__(self) -> Sequential:
        # A shallow copy would share its layers, whose views can belong to one model only.
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        # Views do not survive pickling as views, so they are cut again on the other side. The
        # settings of the last fit may hold a function, and the next fit brings its own.
        return {**vars(self), "backend": self.backend.name, "training": None, "_predictors": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.backend = kernels.get(state["backend"])
        if self._parameters is not None:
            values = self._parameters
            self._parameters = aligned_zeros(values.size, self.dtype)
            self._parameters[...] = values
            self._attach()


def check_dtype(dtype: str | np.dtype[Any] | type) -> np.dtype[Any]:
    """Return float32 or float64 as a NumPy dtype, or say which there are."""
    try:
        # np.dtype(None) would be float64.
        kind = np.dtype(dtype if dtype is not None else "no dtype")
    except (TypeError, SyntaxError):
        raise unknown("dtype", dtype, DTYPES) from None
    if kind.name not in DTYPES:
        raise unknown("dtype", kind.name, DTYPES)
    return kind.newbyteorder("=")


def check_seed(seed: Any) -> int:
    """Return `seed` as an int of 64 bits, or say what is wrong with it."""
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not (whole and 0 <= seed < 2**64):
        raise InputError(f"seed must be a whole number from 0 to 2**64 - 1, not {seed!r}")
    return int(seed)


def samples(shape: Shape) -> str:
    """Return what samples of a shape are called: "784 features", or "samples of 28x28x1"."""
    return f"{shape[0]} features" if len(shape) == 1 else f"samples of {_sides(shape)}"


def _sides(lengths: Sequence[int]) -> str:
    return "x".join(map(str, lengths))


def _with_batch(shape: Shape) -> str:
    return f"(batch, {', '.join(map(str, shape))})"


SHOWN = ("kernel_size", "pool_size", "padding", "activation", "rate", "stddev")


def _described(layer: Layer) -> str:
    settings = layer.config()
    shown = [settings[name] for name in SHOWN if name in settings]
    return ", ".join(_sides(value) if isinstance(value, list) else str(value) for value in shown)
