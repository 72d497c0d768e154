"""Modules of PyTorch, and of what looks like it, checked through their own autograd."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from mlcore.gradcheck.functions import argument_names, call, is_real, named
from mlcore.gradcheck.randomness import Frozen
from mlcore.gradcheck.subject import Array, Arrays, Subject, as_float64
from mlcore.kernels.errors import InputError


def is_module(thing: Any) -> bool:
    """Tell whether an object has parameters with autograd, without importing PyTorch."""
    return callable(getattr(thing, "named_parameters", None)) and callable(thing)


class ModuleSubject(Subject):
    """A module: its output, and what ``output.backward(grad)`` writes.

    The parameters of a copy in double precision are checked, and every input of real numbers.
    """

    def __init__(self, module: Any, inputs: Any) -> None:
        title = type(module).__name__
        given = named(inputs, argument_names(module.forward), "input")
        if not given:
            raise InputError(f"{title}: give the inputs of forward, inputs={{'x': array}}")
        self.module = copy.deepcopy(module).double()
        self.parameters = dict(self.module.named_parameters())
        self.given = {
            n: v.detach().numpy() if hasattr(v, "detach") else v for n, v in given.items()
        }
        values = {name: as_float64(v, name) for name, v in self.given.items() if is_real(v)}
        for name, parameter in self.parameters.items():
            values[name] = as_float64(parameter.detach().numpy(), name)
        super().__init__(title, values, {}, list(given))
        self.frozen = Frozen([])
        self.notes.append("a copy of the module in double precision was checked.")

    def _run(self, values: Arrays) -> tuple[Any, dict[str, Any]]:
        import torch

        for name, parameter in self.parameters.items():
            parameter.data = torch.from_numpy(np.array(values[name], np.float64))
            parameter.grad = None
        tensors = {
            name: torch.from_numpy(np.array(values.get(name, value)))
            if isinstance(value, np.ndarray) else value
            for name, value in self.given.items()
        }  # fmt: skip
        for name in values:
            if name in tensors:
                tensors[name].requires_grad_(True)
        return call(self.module, self.title, list(tensors.values()), {}), tensors

    def forward(self, values: Arrays) -> Array:
        """Return the output."""
        self.frozen.restore()
        return np.array(self._run(values)[0].detach().numpy())

    def backward(self, values: Arrays, upstream: Array | None, times: int = 1) -> list[Arrays]:
        """Return the gradients that autograd writes."""
        import torch

        found = []
        for _ in range(times):
            self.frozen.restore()
            output, tensors = self._run(values)
            output.backward(torch.from_numpy(np.array(upstream)).reshape(output.shape))
            graded = {**self.parameters, **tensors}
            found.append(
                {
                    name: graded[name].grad.detach().numpy().copy()
                    for name in self.values
                    if graded[name].grad is not None
                }
            )
        return found
