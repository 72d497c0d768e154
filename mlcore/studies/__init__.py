"""The studies: each is one file of this package, and one command runs it.

A study trains some networks, tabulates, plots and concludes. `mlcore study list` names them,
`mlcore study run NAME` runs one; from Python:

>>> from mlcore import studies
>>> result = studies.run("noise-mlp", quick=True)  # doctest: +SKIP
>>> print(result)                                  # doctest: +SKIP

Any module of this package with a function under `mlcore.studies.study.study` is found by itself.
"""

from __future__ import annotations

import functools
import os
import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlcore.kernels.errors import unknown

if TYPE_CHECKING:
    from mlcore.studies.result import Result
    from mlcore.studies.study import Study

__all__ = ["find", "names", "run"]


@functools.cache
def _studies() -> dict[str, Study]:
    """Return every study by its name, in the order of their labels."""
    from mlcore.studies.study import Study

    modules = [
        import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
    ]
    found = [each for module in modules for each in vars(module).values() if type(each) is Study]
    return {study.name: study for study in sorted(found, key=lambda study: study.order)}


def names() -> list[str]:
    """Return the names of all studies, in the order of their labels: A1, A2, ..."""
    return list(_studies())


def find(name: str) -> Study:
    """Return the study of a name.

    Raises
    ------
    InputError
        If there is none; the message names the nearest.
    """
    if name not in _studies():
        raise unknown("study", name, _studies())
    return _studies()[name]


def run(
    name: str,
    quick: bool = False,
    seeds: int | None = None,
    workers: int | None = None,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    plots: bool = True,
    progress: bool = False,
    **settings: Any,
) -> Result:
    """Run a study.

    Parameters
    ----------
    name : str
        One of `names()`.
    quick : bool
        Whether to take less data, fewer epochs, seeds or networks, to be done in seconds. The
        networks and what is measured stay the same.
    seeds : int, optional
        How many seeds to repeat with, 1 or more; by default the study's own number. What is
        repeated says `Study.repeats`.
    workers : int, optional
        How many processor cores to use, 1 or more; by default as many as mlcore has threads.
    data : path, optional
        A folder that holds ``mnist/`` or ``fashion-mnist/``, or the set itself, as for
        `mlcore.data.load`; by default ``$MLCORE_DATA`` and the cache are looked at.
    out : path, optional
        A folder to save the result into, see `Result.save`; it must not hold files yet.
    plots : bool
        Whether to draw, which needs matplotlib; without matplotlib nothing is drawn either, and
        the result says so.
    progress : bool
        Whether to tell on standard error what is being done.
    **settings
        Those of the study, as ``networks=1000``; `Study.settings` has them with their defaults.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        For an unknown study or setting, with the nearest name; for a value of another type than
        the default's; for seeds where the study cannot repeat; for data that are not there; and
        for a folder that cannot be used.
    """
    from mlcore.studies.result import new_folder

    study = find(name)
    started = study.start(quick, seeds, workers, data, plots, progress, settings)
    if out is None:
        return study.finish(started)
    with new_folder(out) as folder:
        result = study.finish(started)
        result.save(folder)
    return result
