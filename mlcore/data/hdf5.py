"""HDF5 files with a dataset of inputs and one of targets, as the notebooks keep them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcore.data.compressed import is_xz, pack_xz, read_xz
from mlcore.data.dataset import Dataset
from mlcore.data.files import atomic_hdf5, require_file
from mlcore.data.targets import as_targets
from mlcore.kernels.errors import InputError, nearest


def read_hdf5(
    path: str | os.PathLike[str],
    *,
    x_name: str = "xdata",
    y_name: str = "ydata",
    scale: float | None = None,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """Read one set of samples from an HDF5 file.

    Parameters
    ----------
    path
        The file; one that is compressed by xz as a whole is unpacked in memory.
    x_name, y_name
        Its datasets: inputs (n, ...) of any integer or floating dtype and byte order, and targets
        (n,) or (n, k), see `mlcore.data.targets.as_targets`.
    scale
        Factor from inputs to network input. Default: the file's own, else 1/255 for uint8, else 1.
    name
        What messages call the set. Default: the file's name.
    class_names
        Default: the file's own, if it has them.

    Returns
    -------
    Dataset
        Inputs in the file's dtype, (n, features), C-contiguous.

    Raises
    ------
    MissingFileError
        There is no such file.
    InputError
        It is not HDF5 or is cut short; a dataset is missing, empty, not numeric or only partly
        stored; the lengths differ; integer targets are not one-hot.
    """
    import h5py

    path = require_file(Path(path).expanduser())
    content = read_xz(path) if is_xz(path) else path
    if content is path and not h5py.is_hdf5(path):
        raise InputError(f"{path} is not an HDF5 file, or its beginning is damaged")
    try:
        with h5py.File(content, "r") as file:
            x_data = _find(file, x_name, path, "x_name")
            y_data = _find(file, y_name, path, "y_name")
            if x_data.shape[0] != y_data.shape[0]:
                raise InputError(
                    f"{path}: dataset {x_name!r} has {x_data.shape[0]:,} rows but {y_name!r} has "
                    f"{y_data.shape[0]:,}; they must be the same"
                )
            inputs, targets = _read(x_data, path), _read(y_data, path)
            own_scale = x_data.attrs.get("scale")
            own_shape = x_data.attrs.get("image_shape")
            own_names = y_data.attrs.get("class_names")
    except InputError:
        raise
    # Damage comes out of h5py as any of these, by where in the file it is.
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as HDF5, it is damaged or cut short: {error}"
        ) from error
    if class_names is None and own_names is not None:
        class_names = [_text(label) for label in np.atleast_1d(own_names)]
    try:
        shape = None if own_shape is None else [int(side) for side in np.atleast_1d(own_shape)]
        factor = scale if scale is not None or own_scale is None else float(own_scale)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: the attributes 'scale' and 'image_shape' of {x_name!r} must be numbers"
        ) from error
    return Dataset(
        inputs,
        as_targets(targets, where=f"{path}, dataset {y_name!r}"),
        scale=factor,
        name=name if name is not None else path.name,
        class_names=class_names,
        image_shape=shape if inputs.ndim <= 2 else None,
    )


def write_hdf5(
    path: str | os.PathLike[str],
    dataset: Dataset,
    *,
    x_name: str = "xdata",
    y_name: str = "ydata",
    one_hot_labels: bool = False,
    attributes: Mapping[str, str] | None = None,
    extra: Mapping[str, NDArray[Any]] | None = None,
    chunk_rows: int | None = None,
) -> None:
    """Write one set of samples to an HDF5 file, compressed, whole or not at all.

    The same content gives the same bytes: no times are stored.

    Parameters
    ----------
    path
        The file; one that is there is replaced. Where the name ends in ``.xz``, the file is
        compressed as a whole instead of its arrays: a sixth smaller for images, slower to read.
    dataset
        Inputs are written as (n, features) in their own dtype, with `scale`, `image_shape` and
        `class_names` as attributes.
    x_name, y_name
        What the datasets are called.
    one_hot_labels
        Write labels as uint8 rows (n, classes), as the notebooks do, and not as int32 (n,).
    attributes
        Text to keep with the file: source, licence.
    extra
        Further datasets by name.
    chunk_rows
        Rows a compressed block holds. Default: what makes a block of about 1 MB.

    Raises
    ------
    InputError
        The set has no samples, `x_name` is `y_name`, a label does not fit a one-hot row, or the
        place cannot be written to.
    """
    if not len(dataset):
        raise InputError(f"{dataset.name} has no samples to write to {path}")
    if x_name == y_name:
        raise InputError(f"x_name and y_name are both {x_name!r}; they must differ")
    targets = dataset.one_hot() if one_hot_labels else dataset.targets
    arrays = {x_name: dataset.inputs, y_name: targets, **(extra or {})}
    as_a_whole = Path(path).suffix == ".xz"
    with atomic_hdf5(path, pack_xz if as_a_whole else None) as file:
        for key, value in (attributes or {}).items():
            file.attrs[key] = value
        for key, array in arrays.items():
            rows = chunk_rows or max(1, 2**20 // max(1, array[:1].nbytes))
            block = (min(rows, len(array)), *array.shape[1:])
            gzip = {"chunks": block, "compression": "gzip", "compression_opts": 9}
            file.create_dataset(key, data=array, track_times=False, **({} if as_a_whole else gzip))
        if dataset.image_shape is not None:
            file[x_name].attrs["image_shape"] = np.array(dataset.image_shape, dtype=np.int64)
        file[x_name].attrs["scale"] = dataset.scale
        if dataset.class_names is not None:
            encoded = [label.encode() for label in dataset.class_names]
            file[y_name].attrs["class_names"] = np.array(encoded, dtype=np.bytes_)


def _find(file: Any, name: str, path: Path, option: str) -> Any:
    """Return the dataset `name` of an open file, once it is known that it can be read."""
    import h5py

    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        present: list[str] = []
        file.visititems(
            lambda key, item: present.append(_text(key)) if isinstance(item, h5py.Dataset) else None
        )
        if not present:
            raise InputError(f"{path} holds no dataset at all, expected {name!r}")
        raise InputError(
            f"{path} has no dataset {name!r}.{nearest(name, present)} "
            f"It holds {', '.join(present)}; choose one with {option}."
        )
    where = f"{path}, dataset {name!r}"
    if found.dtype.kind not in "buif":
        raise InputError(f"{where} has dtype {found.dtype}, expected integers or floats")
    if not found.shape or not math.prod(found.shape):
        raise InputError(f"{where} is empty: its shape is {found.shape}, expected (n, ...)")
    _require_stored(found, where)
    return found


def _require_stored(found: Any, where: str) -> None:
    """Refuse a dataset whose header promises more than the file holds, before allocating it."""
    if found.is_virtual or found.external:
        return
    if found.chunks is None:
        unit, stored = "bytes", found.id.get_storage_size()
        promised = math.prod(found.shape) * found.dtype.itemsize
    else:
        unit, stored = "blocks", found.id.get_num_chunks()
        blocks = zip(found.shape, found.chunks, strict=True)
        promised = math.prod(-(-side // block) for side, block in blocks)
    if stored != promised:
        raise InputError(
            f"{where} is only partly stored: its shape {found.shape} needs {promised:,} {unit}, "
            f"the file holds {stored:,}"
        )


def _read(found: Any, path: Path) -> NDArray[Any]:
    try:
        values: NDArray[Any] = found.astype(found.dtype.newbyteorder("="))[()]
    except MemoryError as error:
        raise InputError(
            f"{path}, dataset {found.name!r} of shape {found.shape} does not fit into memory"
        ) from error
    return values


def _text(label: Any) -> str:
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
