"""Sequences of coin flips made up by people, and by a machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlcore.data import Dataset
from mlcore.data.files import require_file
from mlcore.kernels.errors import InputError
from mlcore.studies.study import Run

LENGTH, SWITCH = 20, 0.6


def flips(run: Run, count: int, seed: int) -> tuple[Dataset, Dataset]:
    """Return three quarters of the sequences to train on and the rest to validate, shuffled.

    Those of the user's HDF5 file, if there is one, or `count` made up for either kind. Inputs are
    bits (n, length), targets 1 for a machine and 0 for people, (n, 1) float.
    """
    if run.data is not None and run.data.is_file():
        human, machine = read(run.data)
        run.uses(f"{run.data.name}, {len(human):,} by people, {len(machine):,} by a machine")
    else:
        generator = np.random.Generator(np.random.PCG64(seed))
        human, machine = chain(generator, count, SWITCH), chain(generator, count, 0.5)
        run.uses(f"generated, {count:,} of either kind, p(switch) {SWITCH} for people")
    x = np.concatenate([human, machine]).astype(np.float32)
    y = np.repeat([0.0, 1.0], [len(human), len(machine)])[:, None]
    order = np.random.Generator(np.random.PCG64(seed + 1)).permutation(len(x))
    cut = len(x) * 3 // 4
    return (
        Dataset(x[order[:cut]], y[order[:cut]], name="flips to train on"),
        Dataset(x[order[cut:]], y[order[cut:]], name="flips to validate"),
    )


def chain(generator: np.random.Generator, count: int, switch: float) -> NDArray[np.uint8]:
    """Return (count, 20) bits: the first is fair, each other differs with probability `switch`."""
    turns = generator.random((count, LENGTH)) < switch
    turns[:, 0] = generator.random(count) < 0.5
    bits: NDArray[np.uint8] = (turns.cumsum(axis=1) % 2).astype(np.uint8)
    return bits


def read(path: Path) -> list[NDArray[np.uint8]]:
    """Return the datasets ``human`` and ``machine`` of an HDF5 file, (n, length) zeros and ones.

    Raises
    ------
    InputError
        If the file is none, lacks one of them, or holds something else.
    """
    import h5py

    try:
        with h5py.File(require_file(path), "r") as file:
            found = {name: np.asarray(file[name]) for name in ("human", "machine") if name in file}
    except (OSError, TypeError, RuntimeError) as error:
        raise InputError(f"{path} is not an HDF5 file of sequences: {error}") from error
    for name in ("human", "machine"):
        if name not in found:
            raise InputError(f"{path} has no dataset {name!r}: it needs `human` and `machine`")
        if found[name].ndim != 2 or found[name].size == 0 or not np.isin(found[name], (0, 1)).all():
            raise InputError(f"{path}: {name} must be (sequences, length) of zeros and ones")
    if found["human"].shape[1] != found["machine"].shape[1]:
        raise InputError(f"{path}: the sequences of human and machine differ in length")
    return [found[name].astype(np.uint8) for name in ("human", "machine")]


def by_switches(train: Dataset, held: Dataset) -> float:
    """Return the accuracy on `held` of the best threshold on the number of switches.

    The number of switches is all that tells such a chain from fair flips, so nothing does better
    but by chance.
    """

    def switches(data: Dataset) -> NDArray[np.int64]:
        count: NDArray[np.int64] = np.abs(np.diff(data.x, axis=1)).sum(axis=1).astype(np.int64)
        return count

    def right(data: Dataset, limit: int) -> float:
        return float(np.mean((switches(data) < limit) == (data.y[:, 0] == 1)))

    limit = max(range(train.x.shape[1] + 1), key=lambda limit: right(train, limit))
    return right(held, limit)
