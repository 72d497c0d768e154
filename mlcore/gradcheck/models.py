"""Models and layers of mlcore, and lists of anybody's layers; where in them a fault lies."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mlcore.data.dataset import Dataset
from mlcore.gradcheck.checking import check_limits, check_subject
from mlcore.gradcheck.compare import Limits
from mlcore.gradcheck.finding import Finding, listed
from mlcore.gradcheck.objects import as_subject
from mlcore.gradcheck.report import Report
from mlcore.gradcheck.subject import Array, Arrays, Subject, as_float64
from mlcore.initializers import Initializer
from mlcore.kernels.errors import InputError
from mlcore.layers.base import Backward, Layer, ParameterSpec, Shape
from mlcore.model import Sequential

if TYPE_CHECKING:
    from mlcore.initializers import Draws
    from mlcore.losses import Loss
    from mlcore.plan import Buffer, Lowering

FLOAT64 = np.dtype(np.float64)


def is_mlcore_model(thing: Any) -> bool:
    """Tell whether something is a model of mlcore."""
    return isinstance(thing, Sequential)


def is_mlcore_layer(thing: Any) -> bool:
    """Tell whether something is a layer of mlcore."""
    return isinstance(thing, Layer)


def in_float64(model: Sequential) -> Sequential:
    """Return a copy of a model whose parameters are float64."""
    state = copy.deepcopy(model).__getstate__()
    state["dtype"] = FLOAT64
    twin = Sequential.__new__(type(model))
    twin.__setstate__(state)
    return twin


class SequentialSubject(Subject):
    """A model of mlcore: its loss as a function of its parameters.

    Parameters
    ----------
    model : Sequential
    x, y : array_like
        One batch.
    loss : str or Loss, optional
    training : bool
        Whether the layers behave as in training: noise, batch statistics.
    title : str
        Of a model that stands for a single layer; its arrays then go by their own names.
    """

    takes_upstream = False

    def __init__(
        self, model: Sequential, x: ArrayLike | Dataset, y: ArrayLike | None,
        loss: str | Loss | None, training: bool, title: str = "",
    ) -> None:  # fmt: skip
        twin = copy.deepcopy(model)
        # This builds what is not built, and refuses data that do not fit.
        twin.loss_and_gradients(x, y, loss=loss, training=training)
        self.model = in_float64(twin)
        self.data = x, y
        self.settings: dict[str, Any] = {"loss": loss, "training": training}
        self.places = {
            name if title else f"{layer}.{name}": place
            for (layer, name), place in self.model.places.items()
            if place.trainable
        }
        values = {
            name: as_float64(self.model.parameters[place.start : place.stop], name).reshape(
                place.shape
            )
            for name, place in self.places.items()
        }
        count = len(x) if isinstance(x, Dataset) else len(np.asarray(x))
        shown = title or f"Sequential, {len(model.layers)} layers, {count} samples"
        super().__init__(shown, values, {}, ["x"] if title else [])
        self.samples = count
        if title:
            self.groups = {"": list(values)}
            return
        self.groups = {}
        for layer in self.model.layers:
            names = [name for name in values if name.startswith(f"{layer.name}.")]
            if names:
                self.groups[layer.name] = names
        frozen = [layer.name for layer in model.layers if layer.parameters and not layer.trainable]
        if frozen:
            self.notes.append(f"{listed(frozen)} learns nothing (trainable=False): not checked.")
        if model.dtype != FLOAT64:
            self.notes.append(f"the model is {model.dtype.name}: a float64 copy was checked.")

    @property
    def batch(self) -> int | None:
        """The number of samples."""
        return self.samples

    def _write(self, values: Arrays) -> None:
        for name, place in self.places.items():
            self.model.parameters[place.start : place.stop] = values[name].reshape(-1)

    def _pass(self, values: Arrays) -> tuple[float, Array]:
        self._write(values)
        x, y = self.data
        return self.model.loss_and_gradients(x, y, **self.settings)

    def forward(self, values: Arrays) -> Array:
        """Return the loss."""
        return np.asarray(self._pass(values)[0], np.float64)

    def backward(self, values: Arrays, upstream: Array | None, times: int = 1) -> list[Arrays]:
        """Return the gradients of the parameters."""
        found = []
        for _ in range(times):
            gradients = self._pass(values)[1]
            found.append(
                {
                    name: gradients[place.start : place.stop].reshape(place.shape).copy()
                    for name, place in self.places.items()
                }
            )
        return found

    def parts(self) -> dict[str, Callable[[], Subject]]:
        """Return each layer alone, on random inputs of its shape."""

        def alone(layer: Layer) -> Callable[[], Subject]:
            x = np.random.default_rng(0).standard_normal((3, *(layer.input_shape or ())))
            return lambda: layer_subject(layer, x, self.settings["training"])

        # The last pass may have been one with other parameters.
        self._write(self.values)
        return {layer.name: alone(layer) for layer in self.model.layers}


class _Given(Initializer):
    """An initializer that gives an array."""

    def __init__(self, values: Array) -> None:
        self.values = values

    def __call__(self, shape: Shape, fan_in: int, fan_out: int, draws: Draws) -> Array:
        """Return the array."""
        return self.values.reshape(shape)

    def config(self) -> Any:
        """Return nothing: such a model is never saved."""
        return {}


class _InputLayer(Layer):
    """A layer whose output is its parameter, so that the gradient of an input is a parameter's."""

    kind: ClassVar[str] = "input"

    def __init__(self, x: Array) -> None:
        super().__init__()
        self.x = x

    def build(self, input_shape: Shape) -> list[ParameterSpec]:
        """Ask for a parameter of the batch's shape."""
        self.input_shape, self.output_shape = input_shape, self.x.shape[1:]
        return [ParameterSpec("x", self.x.shape, _Given(self.x), 1, 1)]

    def lower(self, plan: Lowering, x: Buffer) -> tuple[Buffer, Backward | None]:
        """Copy the parameter forward, and the gradient of the output backward."""
        out = plan.batch_buffer("input.out", *self.x.shape[1:])
        plan.add("activation", self.name, "forward", x=_rows(plan.parameter(self, "x")),
                 activation="identity", parameter=0.0, out=_rows(out))  # fmt: skip

        def backward(grad: Buffer, wanted: bool) -> Buffer | None:
            plan.add(
                "activation_backward", self.name, "backward", grad=_rows(grad), stored=_rows(out),
                activation="identity", parameter=0.0, out=_rows(plan.gradient(self, "x")),
            )  # fmt: skip
            return None

        return out, backward

    def config(self) -> dict[str, Any]:
        """Return nothing: such a model is never saved."""
        return {}


def _rows(buffer: Buffer) -> Buffer:
    """Return a buffer as rows, under a name of its own."""
    if len(buffer.shape) == 2:
        return buffer
    shape = (buffer.shape[0], math.prod(buffer.shape[1:]))
    return dataclasses.replace(buffer, name=f"{buffer.name}.rows", shape=shape)


def layer_subject(layer: Layer, x: Any, training: bool = True) -> Subject:
    """Return a layer of mlcore alone, with its input among what is differentiated.

    It stands in a model of its own under a mean squared error, whose random targets make a random
    upstream gradient.
    """
    from mlcore import layers

    given = as_float64(x, "x")
    if given.ndim < 2:
        raise InputError(f"x has shape {given.shape}: its first axis must be the batch")
    kept = {name: np.array(value, FLOAT64) for name, value in layer.parameters.items()}
    twin = copy.deepcopy(layer)
    twin.name, twin.trainable = "", True
    twin.attach({})
    shapes = [twin.build(given.shape[1:]), twin.output_shape][1] or given.shape[1:]
    stack: list[Layer] = [_InputLayer(given), twin]
    if len(shapes) > 1:
        stack.append(layers.LAYERS["flatten"]())
    model = Sequential(stack, seed=0, dtype=FLOAT64).build(1)
    for name, value in kept.items():
        twin.parameters[name][...] = value
    targets = np.random.default_rng(0).standard_normal((len(given), math.prod(shapes)))
    dummy = np.zeros((len(given), 1))
    return SequentialSubject(
        model, dummy, targets, "mse", training, f"{type(layer).__name__} layer"
    )


def check_layer(layer: Any, inputs: Any, **options: Any) -> Report:
    """Check a layer: one of mlcore's, or any object with ``forward(x)`` and ``backward(grad)``.

    Parameters
    ----------
    layer : object
        Its parameters are found with their gradients beside them: attributes ``W`` and ``dW``
        (``grad_W``, ``W_grad``), dictionaries ``params`` and ``grads``, objects with ``data`` and
        ``grad``. Backward returns the gradient of the input, or of the input and the parameters.
        The object itself is left as it is.
    inputs : array, tuple or dict of arrays
        What forward takes; the first axis is the batch.
    **options
        As for `mlcore.gradcheck.check`.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        For an object without the two methods, and as `mlcore.gradcheck.check`.
    """
    limits, seed, wrt = check_limits(options)
    subject = as_subject(layer, inputs, wrt)
    if subject is None:
        raise InputError(f"{type(layer).__name__} has no forward and backward to check")
    return check_subject(subject, limits, seed)


def check_model(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    loss: Any = None,
    training: bool = False,
    **options: Any,
) -> Report:
    """Check a whole model, and where it fails each layer alone, so that the fault has a place.

    Parameters
    ----------
    model : Sequential, or list of layers, or an object with `layers`
        Built or not; a copy in float64 is checked.
    x, y : array_like
        One batch; `y` for a model of mlcore.
    loss : str or Loss, optional
        Of a model of mlcore, as for `Sequential.fit`. Other models get a random upstream gradient.
    training : bool
        Whether the layers of mlcore behave as in training, with noise held still.
    **options
        As for `mlcore.gradcheck.check`.

    Returns
    -------
    Report
        Its findings name the layer.

    Raises
    ------
    InputError
        For what is no model, and as `mlcore.gradcheck.check`.
    """
    limits, seed, wrt = check_limits(options)
    if isinstance(model, Sequential):
        if y is None and not isinstance(x, Dataset):
            raise InputError("y is missing: give the targets of the batch")
        subject: Subject = SequentialSubject(model, x, y, loss, training)
    else:
        if y is not None or loss is not None:
            raise InputError(
                "y and loss belong to a model of mlcore: put the loss behind the last layer, as a "
                "layer of its own"
            )
        layers = list(model) if isinstance(model, (list, tuple)) else model
        found = as_subject(layers, x, wrt)
        if found is None:
            raise InputError(f"{type(model).__name__} is no model: give a list of layers")
        subject = found
    report = check_subject(subject, limits, seed)
    if not report:
        _locate(report, subject, limits, seed)
    return report


def _locate(report: Report, subject: Subject, limits: Limits, seed: int) -> None:
    """Check every layer alone; what fails there is the fault, and the rest its consequence."""
    failed: dict[str, Report] = {}
    healthy = []
    for name, part in subject.parts().items():
        try:
            alone = check_subject(part(), limits, seed)
        except InputError as error:
            report.notes.append(f"{name} could not be checked alone: {error}")
            continue
        if alone:
            healthy.append(name)
        else:
            failed[name] = alone
    if not failed:
        return
    report.tried.append("every layer alone")
    found = []
    for name, alone in failed.items():
        first = alone.faults[0]
        beside = f" Alone, {listed(healthy)} {'is' if len(healthy) == 1 else 'are'} right."
        says = f"The fault is in {name}. {first.says}{beside if healthy else ''}"
        found.append(
            Finding(first.fault, says, first.mend, first.arrays,
                    details={**first.details, "layer": name})
        )  # fmt: skip
    notes = [finding for finding in report.findings if not finding.serious]
    report.findings = [*found, *notes]
