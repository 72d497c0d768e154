"""What `mlcore sweep` does: the runs of `mlcore train` for every setting of a TOML file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mlcore.config import RunConfig, read_toml
from mlcore.data import load
from mlcore.kernels.errors import InputError
from mlcore.run import Interrupted, score
from mlcore.sweeps.results import SEED, Results
from mlcore.sweeps.running import sweep
from mlcore.sweeps.settings import Setting, grid

TABLE = "sweep"


def run(
    path: str | os.PathLike[str],
    *,
    seeds: int,
    workers: int | None,
    out: str | os.PathLike[str],
    retry: bool = False,
    progress: bool = True,
) -> Results:
    """Train with every combination of the lists in the table ``[sweep]`` of a configuration.

    What stands outside the table is part of every setting, so that `out` tells it apart too.

    Raises
    ------
    InputError
        For a file without the table, an unknown setting or a value that cannot be, naming the
        file, and as `mlcore.sweeps.sweep` does, before anything runs.
    Interrupted
        On Ctrl-C.
    """
    settings = _settings(path)
    try:
        return sweep(
            measured, settings, seeds=seeds, workers=workers, out=out, retry=retry,
            progress=progress,
        )  # fmt: skip
    except KeyboardInterrupt as stopped:
        raise Interrupted(str(stopped)) from None


def measured(seed: int, **setting: Any) -> dict[str, float]:
    """Train as a configuration says, see `mlcore.run.score`."""
    return score(RunConfig().changed(**setting, seed=seed))


def _settings(path: str | os.PathLike[str]) -> list[Setting]:
    """Return the settings of a file, each of which `mlcore train` would take."""
    base = {name.replace("-", "_"): value for name, value in read_toml(path).items()}
    lists = base.pop(TABLE, None)
    try:
        if not isinstance(lists, dict) or not lists:
            raise InputError(f"it has no table [{TABLE}] with lists of what to try")
        tried = grid(**{name.replace("-", "_"): values for name, values in lists.items()})
        if SEED in {**base, **tried[0]}:
            raise InputError("the seeds of a sweep are chosen by --seeds, not in the file")
        settings = [{**base, **chosen} for chosen in tried]
        for data in {RunConfig().changed(**setting).data for setting in settings}:
            load(data)
    except InputError as error:
        raise InputError(f"{Path(path)}: {error}") from error
    return settings
