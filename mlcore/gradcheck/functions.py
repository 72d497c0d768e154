"""Plain functions: a forward and a backward, or one that returns a loss and its gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlcore.gradcheck.randomness import Frozen, arrays_in_reach, numbers_in_reach
from mlcore.gradcheck.subject import Array, Arrays, Subject, as_float64, output_array
from mlcore.kernels.errors import InputError, unknown

Function = Callable[..., Any]

# What people call the arguments that are not arrays of the forward pass.
UPSTREAM = {"grad", "dout", "dy", "upstream", "grad_output", "grad_out", "delta", "dl", "d_out"}
CACHE = {"cache", "caches", "saved", "ctx", "context", "memory", "stored", "state", "kept"}
OUTPUT = {"out", "output", "outputs"}
DICTIONARY = {"params", "parameters", "weights", "theta", "p", "model"}


def is_real(value: Any) -> bool:
    """Tell whether a value is an array that can be differentiated."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def named(given: Any, names: Sequence[str], what: str) -> dict[str, Any]:
    """Return inputs or parameters by name; lists of numbers become arrays.

    Parameters
    ----------
    given : dict, array, tuple or list of arrays, or None
    names : sequence of str
        Those of the function's arguments, for what comes without a name.
    what : str
        How an error calls it.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        many = isinstance(given, tuple) or (
            isinstance(given, list) and any(isinstance(item, np.ndarray) for item in given)
        )
        items = list(given) if many else [given]
        if len(items) > len(names):
            names = [*names, *(f"{what}{at}" for at in range(len(names), len(items)))]
        given = dict(zip(names, items, strict=False))
    return {str(name): _as_array(value) for name, value in given.items()}


def _as_array(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and not isinstance(value, str):
        array = np.asarray(value)
        return array if array.dtype.kind in "fiub" else value
    return value


def signature(function: Function) -> list[inspect.Parameter]:
    """Return the arguments of a function; none where Python cannot tell."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def argument_names(function: Function) -> list[str]:
    """Return the names of the arguments that can be given by place."""
    return [
        parameter.name
        for parameter in signature(function)
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]


def _required(function: Function) -> list[str]:
    return [
        parameter.name
        for parameter in signature(function)
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
    ]


def _find(name: str, known: Mapping[str, Any]) -> str | None:
    """Return the key that a name stands for, whatever its case."""
    if name in known:
        return name
    matches = [key for key in known if key.casefold() == name.casefold()]
    return matches[0] if len(matches) == 1 else None


class Inputs:
    """The arrays that go into functions, and how a function wants them handed over.

    Parameters
    ----------
    inputs, params : dict
        By name; what is no array of real numbers is handed over as it is.
    wrt : sequence of str, optional
        What to differentiate; by default every array of real numbers.
    """

    def __init__(
        self, inputs: dict[str, Any], params: dict[str, Any], wrt: Sequence[str] | None
    ) -> None:
        both = {**inputs, **params}
        if len(both) < len(inputs) + len(params):
            twice = sorted(set(inputs) & set(params))
            raise InputError(f"{', '.join(twice)} is among the inputs and among the params")
        for name in wrt or ():
            if name not in both:
                raise unknown("name in wrt", name, both)
        chosen = [name for name, value in both.items() if is_real(value)] if wrt is None else wrt
        self.inputs, self.params = list(inputs), list(params)
        self.values = {n: as_float64(both[n], n) for n in both if n in chosen}
        self.constants = {n: value for n, value in both.items() if n not in chosen}

    @property
    def names(self) -> list[str]:
        """All names, inputs first."""
        return [*self.inputs, *self.params]

    def arguments(
        self, function: Function, title: str, given: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return positional and named arguments for a function of the inputs and parameters."""
        wanted, required = argument_names(function), _required(function)
        if not wanted:
            return [given[name] for name in self.names], {}
        by_name = {name: _find(name, given) for name in wanted}
        if all(by_name[name] for name in required) and set(by_name.values()) >= set(given):
            return [], {name: given[key] for name, key in by_name.items() if key}
        params = {name: given[name] for name in self.params}
        for name in wanted:
            if params and name in DICTIONARY and name not in given:
                rest = iter([n for n in self.inputs if _find(n, dict.fromkeys(wanted)) is None])
                found: dict[str, Any] = {name: params}
                for other in wanted:
                    key = _find(other, dict.fromkeys(self.inputs))
                    if other != name and key is None and other in required:
                        key = next(rest, None)
                    if other != name and key is not None:
                        found[other] = given[key]
                return [], found
        if len(required) <= len(self.names) <= len(wanted):
            return [given[name] for name in self.names], {}
        if params and len(required) <= len(self.inputs) + 1 <= len(wanted):
            return [*(given[name] for name in self.inputs), params], {}
        raise InputError(
            f"{title} takes ({', '.join(wanted)}), and what was given is named "
            f"({', '.join(self.names)}): use the function's own names"
        )


def gradients_by_name(result: Any, arrays: Inputs, title: str) -> Arrays:
    """Return what a backward pass gave, by the names of what it belongs to.

    Raises
    ------
    InputError
        Where it cannot be told which gradient is whose.
    """
    known = list(arrays.values)
    if isinstance(result, Mapping):
        found = {}
        for key, value in result.items():
            name = _owner(str(key), known)
            if name is None and str(key) not in arrays.constants:
                raise unknown(f"gradient from {title}", key, known)
            if name is not None and value is not None:
                found[name] = _gradient(value, name, title)
        return found
    if not isinstance(result, (tuple, list)) or _is_numbers(result):
        result = (result,)
    learnt = [name for name in arrays.params if name in arrays.values]
    orders = [known, arrays.names, arrays.inputs, learnt]
    fitting = [names for names in orders if len(names) == len(result)] or [known]
    if len(result) > len(fitting[0]):
        raise InputError(
            f"{title} returns {len(result)} gradients for ({', '.join(known)}): return one "
            "for each in this order, or a dict by name"
        )

    def fits(names: list[str]) -> bool:
        pairs = zip(names, result, strict=False)
        return all(n in arrays.values and np.shape(g) == arrays.values[n].shape for n, g in pairs)

    names = next((names for names in fitting if fits(names)), fitting[0])
    return {
        name: _gradient(value, name, title)
        for name, value in zip(names, result, strict=False)
        if value is not None and name in arrays.values
    }


def _is_numbers(result: Any) -> bool:
    return isinstance(result, list) and all(isinstance(item, (int, float)) for item in result)


def _owner(key: str, known: Sequence[str]) -> str | None:
    """Return the array that a gradient's name belongs to: w, dw, d_w, grad_w, w_grad."""
    by_fold = {name.casefold(): name for name in known}
    for name in by_fold:
        spelled = {name, f"d{name}", f"d_{name}", f"g{name}", f"grad_{name}", f"grad{name}",
                   f"{name}_grad", f"{name}_gradient", f"delta_{name}"}  # fmt: skip
        if key.casefold() in spelled:
            return by_fold[name]
    return None


def _gradient(value: Any, name: str, title: str) -> Array:
    try:
        array = np.array(value)
    except ValueError as error:
        raise InputError(f"{title}: the gradient of {name} is no array: {error}") from error
    if array.dtype.kind not in "fiubc":
        raise InputError(
            f"{title}: the gradient of {name} is {type(value).__name__}, not an array of numbers"
        )
    return array if array.dtype.kind in "fc" else array.astype(np.float64)


def call(function: Function, title: str, arguments: list[Any], by_name: dict[str, Any]) -> Any:
    """Call the user's function, and say with which shapes it failed."""
    try:
        with np.errstate(all="ignore"):
            return function(*arguments, **by_name)
    except InputError:
        raise
    except Exception as error:
        given = [*enumerate(arguments), *by_name.items()]
        shapes = ", ".join(f"{name} {np.shape(v)}" for name, v in given if is_real(v))
        given_shapes = f" (given {shapes})" if shapes else ""
        raise InputError(f"{title} raises {type(error).__name__}: {error}{given_shapes}") from error


class FunctionSubject(Subject):
    """What the two kinds of functions share: arrays handed over as copies, and watched."""

    functional = True

    def __init__(self, title: str, arrays: Inputs, functions: Sequence[Function]) -> None:
        super().__init__(title, arrays.values, arrays.constants, arrays.inputs)
        self.arrays = arrays
        self.frozen = Frozen(functions)
        self.constants_in_reach = numbers_in_reach(functions)
        self.arrays_in_reach = arrays_in_reach(functions)

    def fresh(self, values: Arrays) -> dict[str, Any]:
        """Return copies of all arrays, which the functions may do with what they like."""
        return {
            name: np.array(item) if isinstance(item, np.ndarray) else item
            for name, item in {**self.constants, **values}.items()
        }

    def watch_all(self, given: dict[str, Any], during: str) -> None:
        """Note which of the arrays handed out are no longer what they were."""
        arrays = {name: item for name, item in given.items() if isinstance(item, np.ndarray)}
        every = {**self.constants, **self.values}
        kept = {name: every[name] for name in arrays}
        self.watch(arrays, kept, during)

    def again(self, inputs: dict[str, Any], params: dict[str, Any]) -> Subject:
        """Return the same functions with other arrays."""
        raise NotImplementedError

    def with_rows(self, rows: Array) -> Subject | None:
        """Return the functions with some of the samples."""
        batch = self.batch
        every = {**self.values, **self.constants}
        cut = {
            name: every[name][rows]
            if isinstance(every[name], np.ndarray) and every[name].shape[:1] == (batch,)
            else every[name]
            for name in self.arrays.inputs
        }
        return self.again(cut, {name: every[name] for name in self.arrays.params})

    def with_constants(self, changed: Mapping[str, Any]) -> Subject | None:
        """Return the functions with other constants."""
        every = {**self.values, **self.constants, **changed}
        return self.again(
            {name: every[name] for name in self.arrays.inputs},
            {name: every[name] for name in self.arrays.params},
        )


class Pair(FunctionSubject):
    """A forward and a backward function.

    ``forward(x, w, b)`` returns the output or (output, cache); ``backward(grad, cache)``, or with
    any of the names of `forward`'s arguments, returns the gradients.
    """

    def __init__(self, forward: Function, backward: Function, arrays: Inputs) -> None:
        title = getattr(forward, "__name__", "forward")
        super().__init__(title, arrays, (forward, backward))
        self.functions = forward, backward
        self.learn()

    def learn(self) -> None:
        """Go through once, to see what kind of output there is and what backward takes."""
        output, _, _ = self._run(self.values)
        self.scalar = output.ndim == 0
        self.takes_upstream = not self.scalar or self._upstream_name() is not None

    def _upstream_name(self) -> str | None:
        """Return the argument of backward that takes the gradient of the output, if any."""
        names = argument_names(self.functions[1])
        for name in names:
            if name.casefold() in UPSTREAM and name not in self.arrays.names:
                return name
        known = {**self.values, **self.constants}
        free = [
            name
            for name in names
            if _find(name, known) is None
            and name.casefold() not in CACHE | OUTPUT | DICTIONARY
            and name in _required(self.functions[1])
        ]
        return free[0] if free else None

    def _run(self, values: Arrays) -> tuple[Array, Any, dict[str, Any]]:
        forward, given = self.functions[0], self.fresh(values)
        title = self.title
        result = call(forward, title, *self.arrays.arguments(forward, title, given))
        cache = None
        if isinstance(result, tuple) and len(result) > 1:
            result, cache = result[0], result[1] if len(result) == 2 else result[1:]
        return output_array(result, title), cache, given

    def forward(self, values: Arrays) -> Array:
        """Return the output of the forward function."""
        self.frozen.restore()
        return self._run(values)[0]

    def backward(self, values: Arrays, upstream: Array | None, times: int = 1) -> list[Arrays]:
        """Return the gradients of `times` calls of backward after one of forward."""
        self.frozen.restore()
        output, cache, given = self._run(values)
        if values is self.values:
            self.watch_all(given, "the forward pass")
        backward = self.functions[1]
        title = getattr(backward, "__name__", "backward")
        before = self.frozen.look() if times > 1 else None
        found = []
        for _ in range(times):
            handed = None if upstream is None else np.array(upstream)
            arguments = self._arguments(backward, title, given, output, cache, handed)
            found.append(gradients_by_name(call(backward, title, *arguments), self.arrays, title))
            if values is self.values:
                self.watch_all(given, "the backward pass")
                if handed is not None and not np.array_equal(handed, np.asarray(upstream)):
                    self.overwritten.setdefault("the upstream gradient", "the backward pass")
        if before is not None:
            self.backward_draws = self.frozen.moved_since(before)
        return found

    def _arguments(
        self, backward: Function, title: str, given: dict[str, Any], output: Array, cache: Any,
        upstream: Array | None,
    ) -> tuple[list[Any], dict[str, Any]]:  # fmt: skip
        names = argument_names(backward)
        if not names:
            first = [upstream if self.takes_upstream else None, cache]
            return [item for item in first if item is not None], {}
        named: dict[str, Any] = {}
        required, free_for_cache = _required(backward), cache is not None
        leader = self._upstream_name()
        if leader is not None:
            named[leader] = upstream if upstream is not None else np.float64(1.0)
        for name in names:
            key, fold = _find(name, given), name.casefold()
            if name == leader:
                continue
            if key is not None:
                named[name] = given[key]
            elif fold in CACHE and cache is not None:
                named[name], free_for_cache = cache, False
            elif fold in OUTPUT:
                named[name] = output
            elif fold in DICTIONARY and self.arrays.params:
                named[name] = {key: given[key] for key in self.arrays.params}
            elif name in required and free_for_cache:
                named[name], free_for_cache = cache, False
            elif name in required:
                raise InputError(
                    f"{title} has an argument {name!r} that nothing was given for: it can take "
                    "the gradient of the output, the cache that forward returned beside it, "
                    f"`out`, or {', '.join(self.arrays.names)}"
                )
        return [], named

    def again(self, inputs: dict[str, Any], params: dict[str, Any]) -> Subject:
        """Return the pair with other arrays."""
        return Pair(*self.functions, Inputs(inputs, params, list(self.values)))


class LossFunction(FunctionSubject):
    """A function that returns (loss, gradients)."""

    takes_upstream = False

    def __init__(self, function: Function, arrays: Inputs) -> None:
        title = getattr(function, "__name__", "function")
        super().__init__(title, arrays, (function,))
        self.function = function
        loss, _, _ = self._run(self.values)
        if loss.ndim:
            raise InputError(
                f"{title} returns a loss of shape {loss.shape}; the loss must be one number"
            )

    def _run(self, values: Arrays) -> tuple[Array, Any, dict[str, Any]]:
        given = self.fresh(values)
        result = call(
            self.function, self.title, *self.arrays.arguments(self.function, self.title, given)
        )
        if not (isinstance(result, tuple) and len(result) == 2):
            raise InputError(
                f"{self.title} returns {type(result).__name__}; without a backward function it "
                "must return (loss, gradients)"
            )
        loss = output_array(result[0], self.title)
        return loss.reshape(()) if loss.size == 1 else loss, result[1], given

    def forward(self, values: Arrays) -> Array:
        """Return the loss."""
        self.frozen.restore()
        return self._run(values)[0]

    def backward(self, values: Arrays, upstream: Array | None, times: int = 1) -> list[Arrays]:
        """Return the gradients of `times` calls of the function."""
        self.frozen.restore()
        found = []
        for _ in range(times):
            _, gradients, given = self._run(values)
            if values is self.values:
                self.watch_all(given, "the function")
            arrays = self.arrays
            if isinstance(gradients, np.ndarray) and arrays.params and len(arrays.params) == 1:
                gradients = {arrays.params[0]: gradients}
            found.append(gradients_by_name(gradients, arrays, self.title))
        return found

    def again(self, inputs: dict[str, Any], params: dict[str, Any]) -> Subject:
        """Return the function with other arrays."""
        return LossFunction(self.function, Inputs(inputs, params, list(self.values)))
