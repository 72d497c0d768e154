"""mlcore's own kernels: every row of the kernel table that says how it is differentiated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlcore import kernels
from mlcore.gradcheck.checking import check_subject
from mlcore.gradcheck.compare import Limits
from mlcore.gradcheck.report import Report
from mlcore.gradcheck.subject import Array, Arrays, Subject
from mlcore.kernels import ACTIVATIONS, TABLE, Backend
from mlcore.kernels.errors import InputError, unknown
from mlcore.kernels.table import Arguments, Case, Dims, Gradient, Row


class KernelSubject(Subject):
    """A backward kernel and the forward kernel that it belongs to.

    Parameters
    ----------
    backend : Backend
    row : Row
        Of the backward kernel, with a `gradient`.
    dims, case : dict
        Lengths of the axes and settings, as the row's `sizes` and `cases` have them.
    rng : numpy.random.Generator
        Of the inputs.
    """

    def __init__(
        self, backend: Backend, row: Row, dims: Dims, case: Case, rng: np.random.Generator
    ) -> None:
        if row.gradient is None:
            raise InputError(f"the kernel {row.name} has no derivative to check")
        self.rule: Gradient = row.gradient
        self.backend, self.row, self.case = backend, row, case
        self.arguments = row.generate(rng, dims, np.float64, case)
        self.inputs = self._forward_arguments(TABLE[self.rule.forward], dims, rng)
        self.takes_upstream = self.rule.upstream is not None
        values = {
            name: self.inputs[name].copy()
            for name, gradient in self.rule.pairs.items()
            if self.arguments[gradient] is not None and self.inputs[name] is not None
        }
        others = {
            name: value
            for name, value in self.inputs.items()
            if name not in values and name not in TABLE[self.rule.forward].outputs()
        }
        shown = {name: value for name, value in case.items() if not isinstance(value, float)}
        settings = ", ".join(str(value) for value in shown.values() if value != "absent")
        title = f"{row.name} of {backend.name}{f' ({settings})' if settings else ''}"
        super().__init__(title, values, others, [])

    def _forward_arguments(self, forward: Row, dims: Dims, rng: np.random.Generator) -> Arguments:
        settings = {
            name: value
            for name, value in self.arguments.items()
            if value is not None and not isinstance(value, np.ndarray)
        }
        case = {**forward.cases[0], **self.case, **settings}
        made = forward.generate(rng, dims, np.float64, case)
        for name in forward.arguments:
            if name in self.arguments and name not in forward.outputs():
                made[name] = self.arguments[name]
        if "pre" in made:
            made["pre"] = np.empty_like(made["out"])
        return made

    def _go_forward(self, values: Arrays) -> Arguments:
        given = {**self.inputs, **{name: value.copy() for name, value in values.items()}}
        for name in TABLE[self.rule.forward].outputs():
            if given.get(name) is not None:
                given[name] = given[name].copy()
        self.backend.call(self.rule.forward, **given)
        return given

    def forward(self, values: Arrays) -> Array:
        """Return the output; of a loss, the mean, weighted where there are weights."""
        given = self._go_forward(values)
        output: Array = given[self.rule.output]
        if self.takes_upstream:
            return output
        weights = given.get("weights")
        total = float(output.size if weights is None else np.sum(weights))
        return np.asarray(output.sum() / total if total else output.sum())

    def backward(self, values: Arrays, upstream: Array | None, times: int = 1) -> list[Arrays]:
        """Return the gradients from the backward kernel."""
        given = self._go_forward(values)
        found = []
        for _ in range(times):
            handed = self._backward_arguments(given, values)
            if self.rule.upstream is not None:
                handed[self.rule.upstream] = np.array(upstream)
            self.backend.call(self.row.name, **handed)
            found.append({n: handed[self.rule.pairs[n]].copy() for n in self.values})
        return found

    def _backward_arguments(self, given: Arguments, values: Arrays) -> Arguments:
        handed = dict(self.arguments)
        for name, spec in self.row.arguments.items():
            if spec is None or handed[name] is None:
                continue
            if spec.role != "in":
                handed[name] = np.full_like(handed[name], np.nan)
            elif name == "stored":
                kept = ACTIVATIONS[self.case["activation"]].stored
                before = "pre" if "pre" in given else "x"
                handed[name] = given["out" if kept == "output" else before]
            elif name in given:
                handed[name] = given[name]
        return handed


def check_kernel(
    name: str,
    backend: str | None = None,
    *,
    dims: Mapping[str, int] | None = None,
    case: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Report:
    """Check a kernel of the table: every setting it is tested with, on small arrays.

    Parameters
    ----------
    name : str
        Of a row with a gradient: "linear_backward", "activation_backward", "mse", ...
    backend : str, optional
        By default the one that mlcore uses.
    dims : dict of str to int, optional
        Lengths by letter of the row; by default a small entry of its `sizes`.
    case : dict, optional
        Settings; by default all of the row's, up to the first that fails.
    seed : int

    Returns
    -------
    Report
        Of the first setting that fails, or of the last.

    Raises
    ------
    InputError
        For an unknown kernel, one without a derivative, and an unknown backend.
    """
    checkable = {row.name for row in TABLE.values() if row.gradient is not None}
    if name not in checkable:
        raise unknown("kernel with a derivative", name, checkable)
    row, chosen = TABLE[name], kernels.get(backend)
    sizes = dict(dims) if dims is not None else small_sizes(row)[0]
    cases = (case,) if case is not None else row.cases
    report = Report(name)
    for number, settings in enumerate(cases):
        if settings.get("grad") == "absent":
            continue
        rng = np.random.default_rng([seed, number])
        subject = KernelSubject(chosen, row, sizes, settings, rng)
        report = check_subject(subject, Limits(), seed)
        if not report:
            break
    return report


def small_sizes(row: Row, most: int = 400) -> list[Dims]:
    """Return the sizes of a row that make small arrays, those with several of each in front."""
    volumes = [(size, int(np.prod(list(size.values())))) for size in row.sizes]
    small = [(size, volume) for size, volume in volumes if 0 < volume <= most]
    return [
        size for size, _ in sorted(small, key=lambda each: (min(each[0].values()) < 2, each[1]))
    ]
