"""The check as an assertion, for pytest and unittest."""

from __future__ import annotations

from typing import Any

from mlcore.gradcheck.checking import check
from mlcore.gradcheck.report import Report


def assert_gradients_match(
    forward: Any, backward: Any = None, inputs: Any = None, params: Any = None, **options: Any
) -> Report:
    """Raise AssertionError with the whole report where gradients are wrong.

    Parameters
    ----------
    forward, backward, inputs, params, **options
        As for `mlcore.gradcheck.check`.

    Returns
    -------
    Report
        Where they are right.

    Raises
    ------
    AssertionError
    """
    # pytest leaves frames with this name out of tracebacks.
    __tracebackhide__ = True
    report = check(forward, backward, inputs, params, **options)
    if not report:
        raise AssertionError(f"\n{report}")
    return report
