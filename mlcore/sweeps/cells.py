"""How a value of a setting or a figure is written in a cell of a CSV file, and read again.

A cell is JSON, but for text that nothing else could be mistaken for, which stands as it is. Every
float keeps its last bit. An empty cell is a value that is not there. Two values are one and the
same setting when their cells are the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import numpy as np

from mlcore.kernels.errors import InputError

# Of larger arrays the cell holds a checksum.
ELEMENTS_SHOWN = 16
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def setting_cell(name: str, value: Any) -> str:
    """Return the cell of a setting's value, the same for the same value in every run.

    Parameters
    ----------
    name : str
        What messages call the setting.
    value : object
        Numbers, texts, None, lists, tuples, dicts and arrays; functions and classes by their
        name, and other objects, such as optimizers, by their ``repr``.

    Raises
    ------
    InputError
        If the ``repr`` holds an address, which differs from run to run.
    """
    return _cell(value, lambda part: _described(name, part))


def figure_cell(name: str, value: Any) -> str:
    """Return the cell of a figure that was measured.

    Raises
    ------
    InputError
        If it is not a number, a text, None, or a list, dict or array of these.
    """

    def refuse(part: Any) -> Any:
        if isinstance(part, np.generic | np.ndarray) and part.dtype.kind in "buifU":
            return part.tolist()
        raise InputError(
            f"the figure {name!r} holds a {type(part).__name__}; a figure is a number, a text, "
            "None, or a list of these"
        )

    return _cell(value, refuse)


def read(cell: str) -> Any:
    """Return the value of a cell: what JSON says, else the text itself."""
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _cell(value: Any, default: Callable[[Any], Any]) -> str:
    if isinstance(value, str) and value and value.isprintable() and read(value) == value:
        return value
    try:
        text = json.dumps(value, default=default, ensure_ascii=False)
        # A cell is one line of UTF-8, whatever stands in it, so that half a line can be told.
        return text if text.isprintable() else json.dumps(value, default=default)
    except InputError:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"a {type(value).__name__} cannot be written in a cell: {error}") from None


def _described(name: str, value: Any) -> Any:
    """Return what stands in JSON for a value that JSON has no word for."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.size <= ELEMENTS_SHOWN and value.dtype.kind in "buifU":
            return value.tolist()
        checksum = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:12]
        return f"array {value.dtype} {'x'.join(map(str, value.shape))} {checksum}"
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    text = repr(value)
    if ADDRESS.search(text):
        raise InputError(
            f"the setting {name!r} has the value {ADDRESS.sub('', text)}, which cannot be told "
            "from others of its kind: give it a __repr__, or give a name, and look the object up "
            "by it in the function"
        )
    return text
