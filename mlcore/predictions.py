"""Predictions in a file: CSV, .npz or HDF5, whole or not at all."""

from __future__ import annotations

import csv
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore.data.dataset import Dataset
from mlcore.data.files import atomic_hdf5, atomic_write
from mlcore.kernels.errors import InputError
from mlcore.model import Sequential

SUFFIXES = (".csv", ".npz", ".h5", ".hdf5")


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return where to write, or say why that cannot be.

    Raises
    ------
    InputError
        For a suffix of no known format, a file that exists, or a folder that does not, or that
        cannot be written to.
    """
    target = Path(path).expanduser()
    if target.suffix.casefold() not in SUFFIXES:
        raise InputError(f"{target} does not say its format: end it in {', '.join(SUFFIXES)}")
    if target.exists():
        raise InputError(f"{target} already exists: name a new file")
    if not target.parent.is_dir():
        raise InputError(f"the folder {target.parent} does not exist: make it first")
    try:
        tempfile.TemporaryFile(dir=target.parent).close()
    except OSError as error:
        raise InputError(f"cannot write to the folder {target.parent}: {error.strerror}") from error
    return target


def write(model: Sequential, data: Dataset, target: Path) -> None:
    """Write a row a sample: `predicted` and `probabilities`, or `outputs` of a regression.

    A hinge loss knows no probabilities, so there `outputs` stand beside what is predicted.
    """
    columns = _columns(model, data)
    suffix = target.suffix.casefold()
    if suffix in (".h5", ".hdf5"):
        with atomic_hdf5(target) as file:
            for name, values in columns.items():
                file[name] = values
        return
    with atomic_write(target) as temporary:
        if suffix == ".csv":
            _write_csv(temporary, columns)
        else:
            with temporary.open("wb") as archive:
                # The stub takes any unpacked dict for savez_compressed's own options.
                np.savez_compressed(archive, **columns)  # type: ignore[arg-type]


def _columns(model: Sequential, data: Dataset) -> dict[str, NDArray[Any]]:
    if model.loss is not None and model.loss.by_sign:
        return {"predicted": model.predict_classes(data), "outputs": model.predict(data)}
    if model.loss is not None and model.loss.link is None:
        return {"outputs": model.predict(data)}
    return {
        "predicted": model.predict_classes(data),
        "probabilities": model.predict_proba(data),
    }


def _write_csv(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    table = {name: values.reshape(len(values), -1) for name, values in columns.items()}
    head = ["index"]
    for name, values in table.items():
        wide = values.shape[1] > 1
        head += [f"{name}_{at}" if wide else name for at in range(values.shape[1])]
    rows = zip(*(values.tolist() for values in table.values()), strict=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for index, row in enumerate(rows):
            writer.writerow([index, *(value for part in row for value in part)])
