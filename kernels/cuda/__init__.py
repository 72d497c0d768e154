"""The kernels in CUDA C++: the text that a compiler is given.

The files name each other with ``#include``; `source` puts them together, so that the text of a
file is all that its compiled form depends on. Nothing in here needs CUDA.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mlcore.kernels.table import ACTIVATIONS

FOLDER = Path(__file__).parent
FILES = tuple(sorted(path.stem for path in FOLDER.glob("*.cu")))
TYPES = {"float32": "float", "float64": "double"}
# Products and sums are rounded one by one, as on a processor: a fused one could make a variance
# negative, and what the tests compute with another compiler would not be what the device computes.
OPTIONS = ("--fmad=false",)

_INCLUDE = re.compile(r'^#include "([\w.]+)"\n', re.MULTILINE)
_KERNEL = re.compile(r"^KERNEL\((\w+),([^{]*)\)\n", re.MULTILINE)
_PARAMETER = re.compile(
    r"GIVEN\((?P<given>\w+), (?P<setting>\w+)\)|(?:const )?(?P<type>\w+) (?P<star>\*?)(?P<name>\w+)"
)


@dataclass(frozen=True)
class Parameter:
    """What a kernel takes.

    Attributes
    ----------
    name, type : str
        As they are declared; the type without ``const`` and without the star.
    pointer : bool
        Whether it is an array.
    given : bool
        Whether it is a setting, passed as a place on the device and a value: ``GIVEN``.
    """

    name: str
    type: str
    pointer: bool = False
    given: bool = False


def _expanded(name: str, seen: set[str]) -> str:
    if name in seen:
        return ""
    seen.add(name)
    text = (FOLDER / name).read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda found: _expanded(found[1], seen), text)


@cache
def source(file: str) -> str:
    """Return the text of one of `FILES`, to be compiled with ``-DREAL=`` a type of `TYPES`."""
    codes = ", ".join(name.upper() for name in ACTIVATIONS)
    return f"enum {{ {codes} }};\n" + _expanded(f"{file}.cu", set())


@cache
def kernels(file: str) -> dict[str, tuple[Parameter, ...]]:
    """Return the kernels in one of `FILES`, and what each takes after `stopped`."""
    text = (FOLDER / f"{file}.cu").read_text(encoding="utf-8")
    return {
        found[1]: tuple(_parameter(part) for part in _PARAMETER.finditer(found[2]))
        for found in _KERNEL.finditer(text)
    }


def _parameter(part: re.Match[str]) -> Parameter:
    if part["given"]:
        return Parameter(part["setting"], part["given"], given=True)
    return Parameter(part["name"], part["type"], pointer=bool(part["star"]))
