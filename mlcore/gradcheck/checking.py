"""The check itself: differences, probes, diagnosis, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlcore.gradcheck.compare import Limits, compare
from mlcore.gradcheck.context import Context
from mlcore.gradcheck.diagnosis import diagnose
from mlcore.gradcheck.differences import COARSE, Projection, measured_noise, takes_complex
from mlcore.gradcheck.extremes import extreme_logits
from mlcore.gradcheck.finding import Finding, listed
from mlcore.gradcheck.functions import Inputs, LossFunction, Pair, argument_names, named
from mlcore.gradcheck.probes import OF_ALGEBRA, OF_STATE, OF_THE_RIGHT, Passes, same_output_twice
from mlcore.gradcheck.report import Report
from mlcore.gradcheck.samples import independent_samples
from mlcore.gradcheck.subject import Array, Arrays, Subject
from mlcore.kernels.errors import InputError, is_number, unknown

# Faults of values: differences agree with the gradient, and the function is wrong.
OF_VALUES = [independent_samples, extreme_logits]


def check(
    forward: Any,
    backward: Callable[..., Any] | None = None,
    inputs: Any = None,
    params: Any = None,
    *,
    wrt: Sequence[str] | None = None,
    rtol: float = 1e-6,
    atol: float = 0.0,
    max_elements: int = 2000,
    seed: int = 0,
) -> Report:
    """Compare gradients with measured slopes, and name the fault where they differ.

    Parameters
    ----------
    forward : callable or object
        With `backward`: ``forward(x, w, b)`` returns the output, or (output, cache). Without it:
        a function that returns (loss, gradients), or an object with methods ``forward(x)`` and
        ``backward(grad)``, see `check_layer`.
    backward : callable, optional
        Returns the gradients of all arrays of real numbers, in their order or as a dict by name.
        Its arguments are told by their names: those of `forward`'s arguments, ``cache``, ``out``
        for the output; another one is the gradient of the output.
    inputs : dict, array or tuple of arrays
        What goes in, by the names of `forward`'s arguments. The first axis is the batch. Whole
        numbers are labels and not differentiated; other things than arrays are handed on.
    params : dict, array or tuple of arrays, optional
        The parameters, likewise; a function of one dict gets them as a dict.
    wrt : sequence of str, optional
        The arrays to check; by default all of real numbers whose gradient comes back.
    rtol, atol : float
        How far gradients may be off, beside the error of the measurement.
    max_elements : int
        Up to so many elements in all are compared one by one, more along random directions first.
    seed : int
        Of the upstream gradient and the directions.

    Returns
    -------
    Report
        True where the gradients are right.

    Raises
    ------
    InputError
        For what cannot be checked: functions that raise, gradients of which it cannot be told
        whose they are, arrays with NaN.

    Notes
    -----
    All is computed in float64, on copies; random generators are held still and set back. See
    `mlcore.gradcheck.differences` for how slopes are measured.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcore import gradcheck
    >>> x, w = np.ones((3, 2)), np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> forward = lambda x, w: x @ w
    >>> backward = lambda grad, x, w: {"x": grad @ w, "w": x.T @ grad}
    >>> gradcheck.check(forward, backward, {"x": x, "w": w}).fault
    'transposed'
    """
    subject = subject_of(forward, backward, inputs, params, wrt)
    return check_subject(subject, _limits(rtol, atol, max_elements), seed)


def check_limits(options: dict[str, Any]) -> tuple[Limits, int, Sequence[str] | None]:
    """Return the limits, the seed and wrt among the options of `check`.

    Raises
    ------
    InputError
        For an option that there is not.
    """
    known = {"rtol": 1e-6, "atol": 0.0, "max_elements": 2000, "seed": 0, "wrt": None}
    for name in options:
        if name not in known:
            raise unknown("option", name, known)
    chosen = {**known, **options}
    limits = _limits(chosen["rtol"], chosen["atol"], chosen["max_elements"])
    return limits, chosen["seed"], chosen["wrt"]


def _limits(rtol: float, atol: float, max_elements: int) -> Limits:
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (is_number(value) and value >= 0):
            raise InputError(f"{name} must be 0 or more, not {value!r}")
    if not (is_number(max_elements) and max_elements >= 1):
        raise InputError(f"max_elements must be 1 or more, not {max_elements!r}")
    return Limits(float(rtol), float(atol), int(max_elements))


def subject_of(
    forward: Any,
    backward: Callable[..., Any] | None,
    inputs: Any,
    params: Any,
    wrt: Sequence[str] | None,
) -> Subject:
    """Return what is to be checked, from what a caller gave."""
    from mlcore.gradcheck.objects import as_subject

    if backward is not None:
        if not (callable(forward) and callable(backward)):
            raise InputError("forward and backward must be functions")
        return Pair(forward, backward, _arrays(forward, inputs, params, wrt))
    found = as_subject(forward, inputs, wrt)
    if found is not None:
        if params is not None:
            raise InputError(f"{found.title} brings its own parameters: leave params out")
        return found
    if not callable(forward):
        raise InputError(
            f"{type(forward).__name__} cannot be checked: give a function, or an object with "
            "forward and backward"
        )
    return LossFunction(forward, _arrays(forward, inputs, params, wrt))


def _arrays(
    function: Callable[..., Any], inputs: Any, params: Any, wrt: Sequence[str] | None
) -> Inputs:
    names = argument_names(function)
    given = named(inputs, names, "input")
    rest = [name for name in names if name not in given]
    return Inputs(given, named(params, rest, "param"), wrt)


def check_subject(subject: Subject, limits: Limits, seed: int) -> Report:
    """Check anything that is a `Subject`."""
    # A stream of its own: the caller's numbers may come from the same seed.
    rng = np.random.default_rng([seed, *b"gradcheck"])
    try:
        with np.errstate(all="ignore"):
            return _Check(subject, limits, rng).run()
    finally:
        subject.frozen.restore_all()


class _Check:
    def __init__(self, subject: Subject, limits: Limits, rng: np.random.Generator) -> None:
        self.subject = subject
        self.limits = limits
        self.rng = rng
        self.report = Report(subject.title, notes=list(subject.notes))

    def run(self) -> Report:
        report, subject = self.report, self.subject
        subject.frozen.restore_all()
        output = subject.forward(subject.values)
        subject.frozen.learn()
        report.findings += same_output_twice(subject)
        if report.findings:
            report.tried.append("forward called three times with the same random state")
            return report
        upstream = self.rng.standard_normal(output.shape) if subject.takes_upstream else None
        passes = self._passes(upstream)
        if not passes.first:
            raise InputError(f"{subject.title}: backward returns no gradients")
        projection = Projection(subject, np.ones(output.shape) if upstream is None else upstream)
        passes.noise = projection.noise = self._noise(projection, output)
        analytic = {name: np.real(each) for name, each in passes.first.items()}
        complex_step = takes_complex(projection, self.rng)
        report.comparisons = compare(projection, analytic, self.limits, complex_step, self.rng)
        self._tell(projection, complex_step, passes)
        self._judge(projection, passes)
        return report

    def _passes(self, upstream: Array | None) -> Passes:
        subject = self.subject
        second: Arrays | None
        try:
            first, second = subject.backward(subject.values, upstream, times=2)
        except InputError:
            # A cache that is used up says so in the second call; the first has to work.
            first, second = subject.backward(subject.values, upstream)[0], None
        return Passes(subject, upstream, first, second)

    def _noise(self, projection: Projection, output: Array) -> float:
        noise = measured_noise(projection, self.rng)
        single = float(np.finfo(np.float32).eps)
        return max(noise, single / 2) if output.dtype == np.float32 else noise

    def _judge(self, projection: Projection, passes: Passes) -> None:
        report, rng = self.report, self.rng
        state = [finding for probe in OF_STATE for finding in probe(passes, rng)]
        values = [finding for probe in OF_VALUES for finding in probe(passes, rng)]
        wrong = [name for name, each in report.comparisons.items() if not each.passed]
        context = Context(self.subject, projection, report.comparisons)
        serious = [finding for finding in [*state, *values] if finding.serious]
        if wrong and not serious:
            explained = diagnose(context)
            if all(finding.fault == "unknown" for finding in explained):
                algebra = [finding for probe in OF_ALGEBRA for finding in probe(passes, rng)]
                explained = algebra + explained if algebra else explained
            report.findings += explained
        report.findings += [*state, *values]
        if not wrong and not serious:
            for probe in [*OF_ALGEBRA, *OF_THE_RIGHT]:
                report.findings += probe(passes, rng)
            self._precision(projection, passes)
        report.findings.sort(key=lambda finding: not finding.serious)
        report.tried.append(
            "backward called twice after one forward pass, and with upstream gradients of zero "
            "and of a sum"
            if passes.upstream is not None
            else "backward called twice"
        )
        report.tried.append("inputs compared before and after")
        report.tried.append(
            "targets swapped between samples, and logits of +-800, where they apply"
        )

    def _precision(self, projection: Projection, passes: Passes) -> None:
        names = [name for name, each in passes.first.items() if each.dtype == np.float32]
        if projection.noise > COARSE:
            self.report.findings.append(
                Finding(
                    "float32",
                    "The function computes in float32: its values are rounded to "
                    f"{projection.noise:.0e} of their size, so measured slopes are good to "
                    "some 1e-3 only. Nothing beyond that is wrong; differences of this size are "
                    "no fault.",
                    "For a sharp answer compute in float64: leave out dtype=float32 and "
                    ".astype(numpy.float32).",
                    serious=False,
                    details={"noise": projection.noise},
                )
            )
        elif names:
            self.report.findings.append(
                Finding(
                    "float32",
                    f"The gradient of {listed(names)} is float32, so it is compared to 1e-3 only.",
                    "For a sharp answer compute backward in float64.",
                    tuple(names),
                    serious=False,
                )
            )

    def _tell(self, projection: Projection, complex_step: bool, passes: Passes) -> None:
        report = self.report
        directions = [each for each in report.comparisons.values() if each.by_direction]
        how = "the complex step" if complex_step else "central differences with steps of 1e-5"
        if len(directions) == len(report.comparisons):
            how = "slopes along random directions"
        report.tried.append(
            f"{how} in float64, and a ladder of steps from 0.1 to 6e-9 where they left a doubt "
            f"({projection.evaluations:,} evaluations)"
        )
        # The gradient of a loss with respect to the data is of no use to most people.
        data = self.subject.batched if passes.upstream is None else []
        silent = [n for n in self.subject.values if n not in passes.first and n not in data]
        if silent:
            report.notes.append(f"backward returns no gradient of {listed(silent)}: not checked.")
        if self.subject.frozen.random:
            report.notes.append("the random numbers of forward were held still.")
        left = sum(len(each.left_out) for each in report.comparisons.values())
        if left:
            report.notes.append(
                f"{left} element{'s were' if left > 1 else ' was'} left out: at a kink the slopes "
                "on the two sides differ, and neither is wrong."
            )
