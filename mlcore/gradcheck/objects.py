"""Objects with forward and backward, in the shapes that people give them.

A layer keeps its parameters as attributes (``W`` with its gradient ``dW``), in dictionaries
(``params`` and ``grads``), or as objects with ``data`` and ``grad``; ``backward(grad)`` returns
the gradient of the input. Layers inside layers are found too. An estimator has ``loss(x, y)`` and
``gradients(x, y)``. Modules of PyTorch have a file of their own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcore.gradcheck.functions import (
    CACHE,
    Inputs,
    argument_names,
    call,
    gradients_by_name,
    is_real,
    named,
    signature,
)
from mlcore.gradcheck.randomness import Frozen, numbers_in_reach
from mlcore.gradcheck.subject import Array, Arrays, Subject, as_float64, output_array
from mlcore.kernels.errors import InputError

GRADIENTS = ("grads", "gradients", "grad", "gradient", "dparams", "_grads", "_gradients")
PARAMETERS = ("params", "parameters", "weights", "_params", "_parameters")


def as_subject(thing: Any, inputs: Any, wrt: Sequence[str] | None) -> Subject | None:
    """Return an object as something to check; None for a function."""
    from mlcore.gradcheck import models, torch_modules

    if isinstance(thing, type):
        try:
            thing = thing()
        except TypeError as error:
            raise InputError(
                f"{thing.__name__} cannot be made without arguments ({error}): make one and check "
                "that"
            ) from error
    if models.is_mlcore_layer(thing):
        return models.layer_subject(thing, inputs)
    if models.is_mlcore_model(thing):
        raise InputError("check a model with gradcheck.check_model(model, x, y)")
    if torch_modules.is_module(thing):
        return torch_modules.ModuleSubject(thing, inputs)
    if isinstance(thing, (list, tuple)) and thing and all(hasattr(x, "forward") for x in thing):
        return LayerSubject(Chain(list(thing)), inputs, wrt)
    if hasattr(thing, "forward") and hasattr(thing, "backward"):
        return LayerSubject(thing, inputs, wrt)
    if estimator_methods(thing) is not None:
        return EstimatorSubject(thing, inputs)
    return None


class Chain:
    """Layers one behind the other."""

    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers

    def forward(self, x: Any) -> Any:
        """Return the output of the last layer."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, grad: Any) -> Any:
        """Return the gradient of the input of the first layer."""
        for layer in reversed(self.layers):
            grad = _input_gradient(layer.backward(grad))
        return grad


def _input_gradient(result: Any) -> Any:
    return result[0] if isinstance(result, (tuple, list)) else result


@dataclass(frozen=True)
class Slot:
    """A parameter inside an object: how to read it, to set it, and to read its gradient."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Array], None]
    gradient: Callable[[], Any]


def _spelled(name: str) -> list[str]:
    """Return what people call the gradient of an attribute."""
    return [f"d{name}", f"d_{name}", f"grad_{name}", f"{name}_grad", f"{name}_gradient",
            f"g{name}", f"grad{name}", f"delta_{name}"]  # fmt: skip


def slots(thing: Any, prefix: str = "", seen: set[int] | None = None) -> Iterator[Slot]:
    """Yield the parameters of an object that have a gradient beside them."""
    seen = set() if seen is None else seen
    if id(thing) in seen or not hasattr(thing, "__dict__"):
        return
    seen.add(id(thing))
    attributes = vars(thing)
    for name, value in list(attributes.items()):
        beside = [other for other in _spelled(name) if other in attributes]
        if is_real(value) and beside:
            yield _attribute(thing, name, beside[0], prefix)
        elif _has_grad(value):
            yield _parameter_object(value, prefix + name)
        elif isinstance(value, Mapping) and name in PARAMETERS:
            for holder in GRADIENTS:
                if isinstance(attributes.get(holder), Mapping):
                    yield from _entries(thing, name, holder, prefix)
                    break
        elif isinstance(value, (list, tuple)):
            for at, item in enumerate(value):
                if _has_grad(item):
                    yield _parameter_object(item, f"{prefix}{name}.{at}")
                elif hasattr(item, "forward"):
                    yield from slots(item, f"{prefix}{name}.{at}.", seen)
        elif hasattr(value, "forward") and not isinstance(value, type):
            yield from slots(value, f"{prefix}{name}.", seen)


def _has_grad(value: Any) -> bool:
    return is_real(getattr(value, "data", None)) and not is_real(value) and hasattr(value, "grad")


def _attribute(thing: Any, name: str, gradient: str, prefix: str) -> Slot:
    return Slot(
        prefix + name,
        lambda: getattr(thing, name),
        lambda array: _put(getattr(thing, name), array, lambda: setattr(thing, name, array)),
        lambda: getattr(thing, gradient),
    )


def _parameter_object(value: Any, name: str) -> Slot:
    return Slot(
        name,
        lambda: value.data,
        lambda array: _put(value.data, array, lambda: setattr(value, "data", array)),
        lambda: value.grad,
    )


def _entries(thing: Any, name: str, holder: str, prefix: str) -> Iterator[Slot]:
    for key, array in getattr(thing, name).items():
        gradients = getattr(thing, holder)
        spelled = [other for other in (key, *_spelled(str(key))) if other in gradients]
        if is_real(array) and spelled:
            yield _entry(thing, name, holder, key, spelled[0], prefix)


def _entry(thing: Any, name: str, holder: str, key: Any, gradient: Any, prefix: str) -> Slot:
    place = getattr(thing, name)

    def write(array: Array) -> None:
        _put(place[key], array, lambda: place.__setitem__(key, array))

    return Slot(f"{prefix}{key}", lambda: place[key], write,
                lambda: getattr(thing, holder)[gradient])  # fmt: skip


def _put(old: Array, new: Array, replace: Callable[[], None]) -> None:
    """Write into the array itself where it is float64, so that other names of it follow."""
    if old.dtype == np.float64 and old.flags.writeable and old.shape == new.shape:
        old[...] = new
    else:
        replace()


def _all_arrays(thing: Any) -> Iterator[Slot]:
    """Yield the arrays of real numbers that an object has before it has run."""
    for name, value in list(vars(thing).items()):
        if is_real(value):
            yield _attribute(thing, name, name, "")


class LayerSubject(Subject):
    """An object with ``forward(x, ...)`` and ``backward(grad)``.

    Every backward pass runs on a copy of the object, so that the object itself is left alone.
    """

    def __init__(self, layer: Any, inputs: Any, wrt: Sequence[str] | None = None) -> None:
        title = type(layer).__name__
        if isinstance(layer, Chain):
            title = f"{len(layer.layers)} layers"
        names = argument_names(layer.forward)
        given = named(inputs, names, "input")
        if not given:
            raise InputError(f"{title}: give the inputs of forward, inputs={{'x': array}}")
        self.layer = layer
        self.arrays = Inputs(given, {}, None)
        working = _copied(layer)
        frozen = Frozen([working, working.forward, working.backward])
        parameters = self._discover(title, working)
        clash = set(parameters) & set(given)
        if clash:
            raise InputError(f"{', '.join(sorted(clash))} is an input and an attribute of {title}")
        values = {**self.arrays.values, **parameters}
        if wrt is not None:
            values = {name: value for name, value in values.items() if name in wrt}
        super().__init__(title, values, self.arrays.constants, list(given))
        self.frozen = frozen
        self.working = working
        self.slots = {slot.name: slot for slot in slots(working) if slot.name in values}
        self.fixed = {**self.arrays.values, **parameters}
        self.constants_in_reach = numbers_in_reach([layer.forward, layer.backward])
        if any(slot.read().dtype == np.float32 for slot in slots(layer)):
            self.notes.append("float32 parameters were checked as float64 copies.")
        self.takes_upstream = bool(signature(layer.backward))

    def _discover(self, title: str, working: Any) -> Arrays:
        """Return the parameters, which may have gradients only after a backward pass."""
        output, cache = self._run(working, self.arrays.values)
        _backward(working, title, np.ones(output.shape), cache)
        return {slot.name: as_float64(slot.read(), slot.name) for slot in slots(working)}

    def _run(self, layer: Any, inputs: Arrays) -> tuple[Array, Any]:
        title = type(layer).__name__
        self.handed = {
            name: np.array(item) if isinstance(item, np.ndarray) else item
            for name, item in {**self.arrays.constants, **inputs}.items()
        }
        result = call(
            layer.forward, f"{title}.forward",
            *self.arrays.arguments(layer.forward, f"{title}.forward", self.handed),
        )  # fmt: skip
        cache = None
        if isinstance(result, tuple) and len(result) > 1:
            result, cache = result[0], result[1] if len(result) == 2 else result[1:]
        return output_array(result, title), cache

    def _set(self, values: Arrays) -> Arrays:
        """Write the parameters into the working copy; return the inputs."""
        every = {**self.fixed, **values}
        for name, slot in self.slots.items():
            slot.write(np.array(every[name]))
        return {name: every[name] for name in self.arrays.values}

    def forward(self, values: Arrays) -> Array:
        """Return the output."""
        self.frozen.restore()
        return np.array(self._run(self.working, self._set(values))[0])

    def backward(self, values: Arrays, upstream: Array | None, times: int = 1) -> list[Arrays]:
        """Return the gradients of the input and of the parameters."""
        self.frozen.restore()
        inputs = self._set(values)
        _reset(self.working)
        _, cache = self._run(self.working, inputs)
        before = self.frozen.look() if times > 1 else None
        found = []
        for _ in range(times):
            handed = None if upstream is None else np.array(upstream)
            result = _backward(self.working, self.title, handed, cache)
            gradients: Arrays = {}
            if result is not None:
                gradients = gradients_by_name(result, self._known(), self.title)
            for name, slot in self.slots.items():
                if name not in gradients and slot.gradient() is not None:
                    gradients[name] = np.array(slot.gradient())
            found.append({n: each for n, each in gradients.items() if n in self.values})
            if values is self.values:
                self._watch(handed, upstream)
        if before is not None:
            self.backward_draws = self.frozen.moved_since(before)
        return found

    def _known(self) -> Inputs:
        """Return the names that backward may return gradients for, inputs first."""
        parameters = {name: self.fixed[name] for name in self.slots}
        inputs = {**self.arrays.values, **self.arrays.constants}
        return Inputs({name: inputs[name] for name in self.arrays.inputs}, parameters, None)

    def _watch(self, handed: Array | None, upstream: Array | None) -> None:
        given = {n: item for n, item in self.handed.items() if isinstance(item, np.ndarray)}
        every = {**self.constants, **self.fixed}
        kept = {n: every[n] for n in given}
        parameters = {name: slot.read() for name, slot in self.slots.items()}
        self.watch(given, kept, "a pass")
        self.watch(parameters, self.fixed, "a pass")
        if handed is not None and not np.array_equal(handed, np.asarray(upstream)):
            self.overwritten.setdefault("the upstream gradient", "backward")

    def with_rows(self, rows: Array) -> Subject | None:
        """Return the layer with some of the samples."""
        batch = self.batch
        every = {**self.constants, **self.fixed}
        cut = {
            name: every[name][rows] if np.shape(every[name])[:1] == (batch,) else every[name]
            for name in self.arrays.inputs
        }
        return LayerSubject(self.layer, cut)

    def with_constants(self, changed: Mapping[str, Any]) -> Subject | None:
        """Return the layer with other targets."""
        every = {**self.constants, **self.fixed, **changed}
        return LayerSubject(self.layer, {name: every[name] for name in self.arrays.inputs})

    def parts(self) -> dict[str, Callable[[], Subject]]:
        """Return each layer of a chain, or of an object with `layers`, with its own input."""
        layers = getattr(self.layer, "layers", None)
        if not isinstance(layers, (list, tuple)):
            return {}
        found: dict[str, Callable[[], Subject]] = {}
        x = next(iter(self.arrays.values.values()))
        for at, layer in enumerate(layers):
            if not (hasattr(layer, "forward") and hasattr(layer, "backward")):
                return {}
            given = np.array(x)
            found[f"layer {at + 1}, {type(layer).__name__}"] = _part(layer, given)
            x = _input_gradient(_copied(layer).forward(np.array(x)))
        return found


def _part(layer: Any, x: Array) -> Callable[[], Subject]:
    return lambda: LayerSubject(layer, x)


def _copied(layer: Any) -> Any:
    try:
        return copy.deepcopy(layer)
    except Exception:
        # What cannot be copied is used as it is; its parameters are written and written back.
        return layer


def _reset(layer: Any) -> None:
    if callable(getattr(layer, "zero_grad", None)):
        layer.zero_grad()


def _backward(layer: Any, title: str, upstream: Array | None, cache: Any) -> Any:
    names = argument_names(layer.backward)
    arguments: list[Any] = []
    for number, name in enumerate(names):
        if name.casefold() in CACHE and cache is not None:
            arguments.append(cache)
        elif number == 0 and upstream is not None:
            arguments.append(upstream)
        elif number == 0:
            arguments.append(np.float64(1.0))
        else:
            break
    return call(layer.backward, f"{title}.backward", arguments, {})


def estimator_methods(thing: Any) -> tuple[str, str] | None:
    """Return the names of the methods for the loss and for the gradients, "" where one has both."""
    for both in ("loss_and_gradients", "loss_and_grad", "loss_and_grads", "loss_gradient"):
        if callable(getattr(thing, both, None)):
            return both, ""
    for loss in ("loss", "_loss", "cost"):
        for gradient in ("gradients", "gradient", "grad", "grads", "_gradient", "_gradients"):
            if callable(getattr(thing, loss, None)) and callable(getattr(thing, gradient, None)):
                return loss, gradient
    return None


class EstimatorSubject(Subject):
    """An object with ``loss(x, y)`` and ``gradients(x, y)``, as of a scikit-learn estimator.

    The parameters are its attributes of real numbers, ``coef_`` and ``intercept_`` or whatever
    they are called; gradients come as a dict by name, or in the order of the attributes.
    """

    takes_upstream = False

    def __init__(self, estimator: Any, inputs: Any) -> None:
        title = type(estimator).__name__
        methods = estimator_methods(estimator)
        assert methods is not None
        self.methods = methods
        given = named(inputs, argument_names(getattr(estimator, methods[0])), "input")
        self.arrays = Inputs(given, {}, [])
        self.working = _copied(estimator)
        self.slots = {slot.name: slot for slot in _all_arrays(self.working)}
        values = {name: as_float64(slot.read(), name) for name, slot in self.slots.items()}
        super().__init__(title, values, self.arrays.constants, list(given))
        loss = getattr(estimator, methods[0])
        self.frozen = Frozen([self.working, loss])
        self.constants_in_reach = numbers_in_reach([loss, estimator])

    def _call(self, method: str, values: Arrays) -> Any:
        for name, slot in self.slots.items():
            slot.write(np.array(values[name]))
        title = f"{self.title}.{method}"
        function = getattr(self.working, method)
        given = {n: np.array(v) if is_real(v) else v for n, v in self.constants.items()}
        return call(function, title, *self.arrays.arguments(function, title, given))

    def forward(self, values: Arrays) -> Array:
        """Return the loss."""
        self.frozen.restore()
        found = self._call(self.methods[0], values)
        return output_array(found if self.methods[1] else found[0], self.title).reshape(())

    def backward(self, values: Arrays, upstream: Array | None, times: int = 1) -> list[Arrays]:
        """Return the gradients of the attributes."""
        self.frozen.restore()
        parameters = Inputs({}, dict(self.values), None)
        found = []
        for _ in range(times):
            if self.methods[1]:
                result = self._call(self.methods[1], values)
            else:
                result = self._call(self.methods[0], values)[1]
            if isinstance(result, Mapping):
                known = {name.strip("_"): name for name in self.values}
                result = {known.get(str(key).strip("_"), key): v for key, v in result.items()}
            found.append(gradients_by_name(result, parameters, self.title))
        return found

    def with_rows(self, rows: Array) -> Subject | None:
        """Return the estimator with some of the samples."""
        cut = {
            name: value[rows] if isinstance(value, np.ndarray) else value
            for name, value in self.constants.items()
        }
        return EstimatorSubject(self.working, cut)

    def with_constants(self, changed: Mapping[str, Any]) -> Subject | None:
        """Return the estimator with other data."""
        return EstimatorSubject(self.working, {**self.constants, **changed})
