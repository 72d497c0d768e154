"""NumPy archives: one set as x and y, or train and test parts under the names Keras uses."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore.data.compressed import most_unpacked
from mlcore.data.dataset import Dataset, Splits
from mlcore.data.files import atomic_write, require_file
from mlcore.data.targets import as_targets
from mlcore.kernels.errors import InputError, nearest

_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

# The suffixes that name a part, the one that is written first.
_PARTS = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}


def read_npz(
    path: str | os.PathLike[str],
    *,
    x_name: str = "xdata",
    y_name: str = "ydata",
    scale: float | None = None,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Splits:
    """Read a NumPy archive. Nothing in it is unpickled.

    Parameters
    ----------
    path
        The file.
    x_name, y_name
        Its arrays. Where the file does not have both, `xdata` and `ydata`, then `x` and `y`, then
        Keras' `x_train`, `y_train`, `x_test`, `y_test` (and `x_val`, `y_val`) are looked for.
    scale
        Factor from inputs to network input. Default: the file's own array `scale`, else 1/255 for
        uint8, else 1.
    name
        What messages call the set. Default: the file's name.
    class_names
        Default: the file's own array `class_names`, if it has one.

    Returns
    -------
    Splits
        With `train` alone, or with the parts the file has.

    Raises
    ------
    MissingFileError
        There is no such file.
    InputError
        It is not an archive or is damaged, has none of these names, an array is empty, not numeric
        or cut short, or the lengths differ. Sizes are checked before memory is taken.
    """
    path = require_file(Path(path).expanduser())
    label = name if name is not None else path.name
    try:
        with zipfile.ZipFile(path) as archive:
            members = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
            pairs = _pairs(members, path, x_name, y_name)
            arrays = {
                part: tuple(_read(archive, members[key], f"{path}, array {key!r}") for key in keys)
                for part, keys in pairs.items()
            }
            if scale is None and "scale" in members:
                scale = _own_scale(archive, members["scale"], path)
            if class_names is None and "class_names" in members:
                class_names = _own_class_names(archive, members["class_names"], path)
    # An encrypted member is a RuntimeError, an unknown compression a NotImplementedError, which is
    # one too, and an offset outside the file an OSError.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise InputError(f"{path} is damaged or is not a NumPy archive: {error}") from error
    parts = {}
    for part, (inputs, targets) in arrays.items():
        x_key, y_key = pairs[part]
        if len(inputs) != len(targets):
            raise InputError(
                f"{path}: array {x_key!r} has {len(inputs):,} rows but {y_key!r} has "
                f"{len(targets):,}; they must be the same"
            )
        parts[part] = Dataset(
            inputs,
            as_targets(targets, where=f"{path}, array {y_key!r}"),
            scale=scale,
            name=label if len(pairs) == 1 else f"{label} {part}",
            class_names=class_names,
        )
    return Splits(**parts, name=label, source=str(path))


def write_npz(
    path: str | os.PathLike[str],
    data: Dataset | Splits,
    *,
    x_name: str = "x",
    y_name: str = "y",
    one_hot_labels: bool = False,
) -> None:
    """Write a compressed NumPy archive, whole or not at all.

    Parameters
    ----------
    path
        The file; one that is there is replaced.
    data
        A set is written as `x_name` and `y_name`; parts as `x_train`, `y_train` and so on. Images
        keep their shape, (n, height, width). `scale` and `class_names` are written beside them
        where they are not what reading would make of the file anyway.
    x_name, y_name
        What the arrays of a single set are called.
    one_hot_labels
        Write labels as uint8 rows (n, classes) and not as int32 (n,).

    Raises
    ------
    InputError
        There are no samples, or the place cannot be written to.
    """
    parts = data.parts() if isinstance(data, Splits) else {"train": data}
    whole = len(parts) == 1
    arrays: dict[str, NDArray[Any]] = {}
    for part, dataset in parts.items():
        if not len(dataset):
            raise InputError(f"{dataset.name} has no samples to write to {path}")
        x_key, y_key = (x_name, y_name) if whole else (f"x_{part}", f"y_{part}")
        if x_key == y_key:
            raise InputError(f"x_name and y_name are both {x_name!r}; they must differ")
        shape = dataset.image_shape or dataset.inputs.shape[1:]
        arrays[x_key] = dataset.inputs.reshape(len(dataset), *shape)
        arrays[y_key] = dataset.one_hot() if one_hot_labels else dataset.targets
    train = parts["train"]
    if train.scale != Dataset(train.inputs[:1], train.targets[:1]).scale:
        arrays["scale"] = np.array(train.scale)
    if train.class_names is not None:
        arrays["class_names"] = np.array(train.class_names)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        # The stub takes any unpacked dict for savez_compressed's own options.
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _pairs(
    members: Mapping[str, zipfile.ZipInfo], path: Path, x_name: str, y_name: str
) -> dict[str, tuple[str, str]]:
    """Return for each part of the file the names of its inputs and its targets."""
    for pair in ((x_name, y_name), ("xdata", "ydata"), ("x", "y")):
        if members.keys() >= set(pair):
            return {"train": pair}
    found = {}
    for part, suffixes in _PARTS.items():
        for suffix in suffixes:
            if members.keys() >= {f"x_{suffix}", f"y_{suffix}"}:
                found[part] = (f"x_{suffix}", f"y_{suffix}")
                break
    if "train" not in found:
        absent = y_name if x_name in members else x_name
        raise InputError(
            f"{path} has no arrays {x_name!r} and {y_name!r}, x and y, or x_train and y_train."
            f"{nearest(absent, members)} It holds {', '.join(members) or 'no array at all'}; "
            "choose with x_name and y_name."
        )
    return found


def _read(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str, kinds: str = "buif"
) -> NDArray[Any]:
    try:
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            if version not in _HEADER_READERS:
                raise InputError(f"{where} has .npy version {version}, expected 1.0 or 2.0")
            shape, _, dtype = _HEADER_READERS[version](file)
            expected = file.tell() + math.prod(shape) * dtype.itemsize
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where} is not an .npy array: {error}") from error
    if dtype.kind not in kinds:
        raise InputError(f"{where} has dtype {dtype}, expected integers or floats")
    if kinds == "buif" and (not shape or not math.prod(shape)):
        raise InputError(f"{where} is empty: its shape is {shape}, expected (n, ...)")
    if expected != info.file_size or expected > most_unpacked(info.compress_size):
        raise InputError(
            f"{where} has another size than it should: its shape {shape} of {dtype} needs "
            f"{expected:,} bytes, it has {min(info.file_size, most_unpacked(info.compress_size)):,}"
        )
    with archive.open(info) as file:
        values: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return values


def _own_scale(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> float:
    value = _read(archive, info, f"{path}, array 'scale'", kinds="f")
    if value.size != 1:
        raise InputError(f"{path}, array 'scale' has shape {value.shape}, expected one number")
    return float(value.reshape(()))


def _own_class_names(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path
) -> tuple[str, ...]:
    names = _read(archive, info, f"{path}, array 'class_names'", kinds="U")
    return tuple(str(each) for each in names.reshape(-1))
