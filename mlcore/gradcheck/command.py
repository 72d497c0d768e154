"""What `mlcore gradcheck FILE.py:NAME` needs: the code from the file, and arrays to run it with."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mlcore.data.files import atomic_write
from mlcore.gradcheck.checking import check
from mlcore.gradcheck.models import check_model, is_mlcore_model
from mlcore.gradcheck.report import Report
from mlcore.kernels.errors import InputError, MissingFileError, unknown

HINT = (
    "as x=20x4,w=4x3,y=20:3 (shapes; y whole numbers below 3), a .npz file, or a name in the file"
)


def run(
    target: str,
    inputs: str | None = None,
    params: str | None = None,
    backward: str | None = None,
    seed: int = 0,
    **options: Any,
) -> Report:
    """Check NAME of FILE.py.

    Parameters
    ----------
    target : str
        "FILE.py:NAME": a function, an object or a class with forward and backward, a model.
    inputs, params : str, optional
        Shapes, a .npz file, or a name in the file; by default `inputs` and `params` of the file.
    backward : str, optional
        The backward function's name; by default that of a function named as the forward one
        with "backward" for "forward", where there is one.
    seed : int
        Of random inputs.
    **options
        As for `mlcore.gradcheck.check`.
    """
    file, _, name = target.rpartition(":")
    if not file or not name:
        raise InputError(f"{target!r} must be FILE.py:NAME, such as layers.py:Dense")
    module = load(file)
    thing = attribute(module, name, file)
    rng = np.random.default_rng(seed)
    given = _given(inputs, "inputs", module, file, rng)
    parameters = _given(params, "params", module, file, rng)
    partner = _partner(module, name, backward, file)
    if given is None and parameters is None:
        raise InputError(f"say what goes in with --inputs, {HINT}")
    if is_mlcore_model(thing):
        if not isinstance(given, dict) or not {"x", "y"} <= set(given):
            raise InputError("a model takes --inputs with x and y")
        return check_model(thing, given["x"], given["y"], seed=seed, **options)
    if isinstance(thing, (list, tuple)) or hasattr(thing, "layers"):
        return check_model(thing, given, seed=seed, **options)
    return check(thing, partner, given, parameters, seed=seed, **options)


def load(file: str) -> ModuleType:
    """Run a file of Python, and say in a line what is wrong with it."""
    path = Path(file)
    if not path.is_file():
        raise MissingFileError(f"there is no file {file}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__)
                  if Path(frame.filename).name == path.name]  # fmt: skip
        line = getattr(error, "lineno", None) or (frames[-1].lineno if frames else None)
        place = f", line {line}" if line else ""
        raise InputError(f"{file}{place}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
    return module


def attribute(module: ModuleType, name: str, file: str) -> Any:
    """Return something by name, or say which name is near."""
    known = [each for each in vars(module) if not each.startswith("_")]
    if not hasattr(module, name):
        raise unknown(f"name in {file}", name, known)
    return getattr(module, name)


def _partner(
    module: ModuleType, name: str, backward: str | None, file: str
) -> Callable[..., Any] | None:
    if backward is not None:
        found: Callable[..., Any] = attribute(module, backward, file)
        return found
    if "forward" not in name:
        return None
    return getattr(module, name.replace("forward", "backward"), None)


def _given(
    text: str | None, default: str, module: ModuleType, file: str, rng: np.random.Generator
) -> Any:
    """Return arrays from what was written on the command line, or from the file itself."""
    if text is None:
        return _made(getattr(module, default, None))
    if text.endswith(".npz"):
        try:
            with np.load(text) as stored:
                return dict(stored)
        except FileNotFoundError:
            raise MissingFileError(f"there is no file {text}") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{text} is no file of arrays: {error}") from error
    if "=" not in text:
        return _made(attribute(module, text, file))
    return dict(_drawn(part, rng) for part in text.split(","))


def _made(found: Any) -> Any:
    return found() if callable(found) else found


def _drawn(part: str, rng: np.random.Generator) -> tuple[str, Any]:
    """Return a name, and numbers of the shape that was asked for."""
    name, _, size = part.strip().partition("=")
    shape, _, below = size.partition(":")
    try:
        if "." in size:
            return name, float(size)
        lengths = tuple(int(length) for length in shape.split("x"))
        if min(lengths) < 0 or not name:
            raise ValueError
        if below:
            return name, rng.integers(0, int(below), lengths)
    except ValueError:
        raise InputError(f"--inputs {part.strip()!r} cannot be read: write it {HINT}") from None
    return name, rng.standard_normal(lengths)


def write_json(report: Report, path: str | os.PathLike[str]) -> None:
    """Write `Report.as_dict` to a file, whole or not at all."""
    with atomic_write(path) as temporary:
        Path(temporary).write_text(json.dumps(report.as_dict(), indent=1, default=str) + "\n")
