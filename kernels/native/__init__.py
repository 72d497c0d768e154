"""The compiled backends: one set of kernels an instruction set, and the executor above them.

``kernels()`` gives the module of the best instruction set that this processor has, or of the one
that the environment variable ``MLCORE_ISA`` names. Where a module was not built it raises
ImportError with the reason.
"""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mlcore.kernels.errors import InputError, unknown
from mlcore.kernels.table import TABLE

# From the best to the one that every processor has; on another kind of machine the compiler's
# own choice of vectors is the baseline.
ON_ARM = platform.machine() in ("aarch64", "arm64")
INSTRUCTION_SETS = ("neon",) if ON_ARM else ("avx512", "avx2", "baseline")


def load(instruction_set: str) -> ModuleType:
    """Return the kernels of an instruction set: a module with a callable for every row.

    Raises
    ------
    ImportError
        Where they were not built, or not from these sources, or this processor cannot run them.
    """
    engine = _module("_engine")
    if not engine.has(instruction_set):
        raise ImportError(f"this processor has no {instruction_set}")
    module = _module(f"_{instruction_set}")
    if not hasattr(module, "ROWS"):
        raise ImportError("it was built from older sources: run `pip install -e .`")
    for name, functions in module.ROWS.items():
        if not hasattr(module, name):
            kernel = engine.Kernel(TABLE[name], functions, module.ACTIVATION_CODES)
            setattr(module, name, kernel)
    return module


def program(kernels: ModuleType, *, single: bool, scratch_bytes: int) -> Any:
    """Return an empty program of the compiled executor for the kernels of an instruction set."""
    return _module("_engine").Program(kernels.ENGINE, single, scratch_bytes)


def predictor() -> Callable[[Any, Any, Any], bool]:
    """Return the function that runs a program which predicts; see `_engine.predict`."""
    function: Callable[[Any, Any, Any], bool] = _module("_engine").predict
    return function


def berth(*given: Any) -> Any:
    """Return the place where networks lie while one program trains them; see `many.pxi`."""
    return _module("_engine").Berth(*given)


def many(*given: Any, **settings: Any) -> tuple[Any, dict[str, int]]:
    """Return the trainings of many networks, and what the codes of their ends mean."""
    engine = _module("_engine")
    return engine.Many(*given, **settings), engine.ENDINGS


def kernels() -> ModuleType:
    """Return the kernels of the chosen instruction set.

    Raises
    ------
    ImportError
        Where none was built.
    InputError
        Where ``MLCORE_ISA`` names an unknown one, or one that cannot be used.
    """
    asked = os.environ.get("MLCORE_ISA")
    if asked:
        if asked not in INSTRUCTION_SETS:
            raise unknown("instruction set in MLCORE_ISA", asked, INSTRUCTION_SETS)
        try:
            return load(asked)
        except ImportError as error:
            raise InputError(f"MLCORE_ISA is {asked}: {error}") from error
    for name in INSTRUCTION_SETS[:-1]:
        try:
            return load(name)
        except ImportError:
            continue
    return load(INSTRUCTION_SETS[-1])


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ImportError as error:
        report = Path(__file__).with_name(f"{name}.failure.txt")
        if report.exists():
            why = f"not built when mlcore was installed: {report.read_text('utf-8').strip()}"
        else:
            why = f"its compiled module cannot be loaded: {error}"
        raise ImportError(why) from error
