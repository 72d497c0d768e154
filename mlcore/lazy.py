"""Names of a package that are imported when they are first asked for (PEP 562).

Most programs use a part of what a package offers, and all of it takes longer to import than NumPy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def attach(
    package: str, names: Mapping[str, Iterable[str]], modules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a package.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    names : mapping of str to iterable of str
        By module of the package, the names that are taken from it. None may be the name of a
        module: importing that module would put it in the name's place.
    modules : iterable of str
        The modules of the package that are public themselves.
    """
    homes = {name: module for module, found in names.items() for name in found}
    known = {*homes, *modules}
    loaded = vars(sys.modules[package])

    def find(name: str) -> Any:
        if name not in known:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(f"{package}.{homes.get(name, name)}")
        loaded[name] = getattr(module, name) if name in homes else module
        return loaded[name]

    def listed() -> list[str]:
        return sorted({*loaded, *known})

    return find, listed
