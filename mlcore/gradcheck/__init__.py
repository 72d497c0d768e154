"""Gradient checks that name the fault, for mlcore's own code and for anybody's.

    from mlcore import gradcheck

    report = gradcheck.check(forward, backward, {"x": x, "w": w, "b": b})
    print(report)

`check` takes functions and objects, `check_layer`, `check_model` and `check_kernel` take what
their names say, `assert_gradients_match` is for tests. See docs/gradcheck.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlcore.gradcheck.checking import check
    from mlcore.gradcheck.finding import Finding
    from mlcore.gradcheck.models import check_layer, check_model
    from mlcore.gradcheck.report import Report
    from mlcore.gradcheck.table_rows import check_kernel
    from mlcore.gradcheck.testing import assert_gradients_match
else:
    from mlcore.lazy import attach

    __getattr__, __dir__ = attach(
        __name__,
        names={
            "checking": ["check"],
            "finding": ["Finding"],
            "models": ["check_layer", "check_model"],
            "report": ["Report"],
            "table_rows": ["check_kernel"],
            "testing": ["assert_gradients_match"],
        },
    )

__all__ = [
    "Finding",
    "Report",
    "assert_gradients_match",
    "check",
    "check_kernel",
    "check_layer",
    "check_model",
]
