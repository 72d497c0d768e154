"""The compiled backend: Cython kernels, and C where Cython has no words.

Importing it raises ImportError, with the reason, where it was not built.
"""

from __future__ import annotations

from pathlib import Path

try:
    from mlcore.kernels.native import _kernels
except ImportError as error:
    report = Path(__file__).with_name("build_failure.txt")
    if report.exists():
        why = f"not built when mlcore was installed: {report.read_text('utf-8').strip()}"
    else:
        why = f"its compiled module cannot be loaded: {error}"
    raise ImportError(why) from error

__all__ = ["_kernels"]
