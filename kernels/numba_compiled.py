"""How the Numba backend compiles a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mlcore.kernels.errors import MissingExtraError

try:
    from numba import njit
except ModuleNotFoundError as error:
    raise MissingExtraError('Numba is not installed: pip install "mlcore[numba]"') from error

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Return `function` compiled at its first call, and kept on disk where that can be."""
    # Without fastmath, which would let the compiler assume that there is no NaN.
    options: dict[str, Any] = {"fastmath": False, "nogil": True, "error_model": "numpy"}
    try:
        made: Function = njit(cache=True, **options)(function)
    except RuntimeError:  # There is no folder to keep the machine code in.
        made = njit(**options)(function)
    return made
