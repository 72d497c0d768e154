"""Writing a data set in another format."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mlcore.data.dataset import Dataset
from mlcore.data.folder import IDX_PREFIXES, find_idx, find_parts
from mlcore.data.hdf5 import write_hdf5
from mlcore.data.idx import idx_ending, write_idx
from mlcore.data.loading import load
from mlcore.data.npz import write_npz
from mlcore.kernels.errors import InputError, MissingFileError, unknown

_BY_SUFFIX = {".h5": "hdf5", ".hdf5": "hdf5", ".npz": "npz"}
_FORMATS = ("hdf5", "idx", "npz")


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    format: str | None = None,
    overwrite: bool = False,
    one_hot_labels: bool = False,
    x_name: str = "xdata",
    y_name: str = "ydata",
) -> tuple[Path, ...]:
    """Read a data set and write it in another format, whole or not at all.

    Inputs are written as they were read, bit for bit. IDX has no place for class names and
    `scale`: those a reader cannot know by itself are lost there, and there only.

    Parameters
    ----------
    source
        What `mlcore.data.load` takes: a name, a file or a folder.
    destination
        ``name.h5`` for a set of one part; ``name.npz`` for any; a name without suffix is a folder,
        and needs `format`.
    format
        ``"hdf5"`` (a folder gets train.h5, validation.h5, test.h5), ``"npz"`` (a folder gets
        train.npz and so on) or ``"idx"`` (always a folder, of .gz files). Default: by the suffix of
        `destination`.
    overwrite
        Replace files that are there.
    one_hot_labels
        Write labels as uint8 rows (n, classes) to HDF5 and .npz, as the notebooks have them.
    x_name, y_name
        The arrays of the source, and of an HDF5 destination.

    Returns
    -------
    tuple of pathlib.Path
        The files written.

    Raises
    ------
    MissingFileError
        The source, or the folder the destination is to stand in, does not exist.
    InputError
        The source cannot be read, the format is unknown or cannot hold it, or something is there
        and `overwrite` is false. Nothing was written.
    """
    target = Path(destination).expanduser()
    chosen, is_folder = _choose(target, format)
    if not target.absolute().parent.is_dir():
        raise MissingFileError(
            f"cannot write {target}: the folder {target.absolute().parent} does not exist"
        )
    if target.is_dir() != is_folder and target.exists():
        kind = "a folder" if target.is_dir() else "a file"
        raise InputError(f"{target} is {kind} already; choose another name")
    if target.exists() and not is_folder and not overwrite:
        raise InputError(f"{target} is there already; choose another name, or ask to overwrite it")
    splits = load(source, x_name=x_name, y_name=y_name)
    if chosen == "hdf5" and not is_folder and len(splits.parts()) > 1:
        raise InputError(
            f"{splits.name} has the parts {', '.join(splits.parts())}, and an HDF5 file holds one: "
            f"name a folder and give the format hdf5, or name a file ending in .npz"
        )

    def to_hdf5(path: Path, part: Dataset) -> None:
        write_hdf5(path, part, x_name=x_name, y_name=y_name, one_hot_labels=one_hot_labels)

    if not is_folder:
        if chosen == "hdf5":
            to_hdf5(target, splits.train)
        else:
            write_npz(target, splits, one_hot_labels=one_hot_labels)
        return (target,)
    writers: dict[str, Callable[[Path], None]] = {}
    for part, dataset in splits.parts().items():
        if chosen == "idx":
            writers |= _idx_writers(part, dataset)
        elif chosen == "hdf5":
            writers[f"{part}.h5"] = partial(to_hdf5, part=dataset)
        else:
            writers[f"{part}.npz"] = partial(write_npz, data=dataset, one_hot_labels=one_hot_labels)
    return _write_folder(target, writers, overwrite)


def _choose(target: Path, format: str | None) -> tuple[str, bool]:
    """Return the format to write, and whether it goes into a folder."""
    by_suffix = _BY_SUFFIX.get(target.suffix.casefold())
    if format is None:
        if by_suffix is None:
            raise InputError(
                f"the name {target} does not say which format is meant: end it in .h5 or .npz, or "
                "give the format hdf5, npz or idx for a folder"
            )
        return by_suffix, False
    if format not in _FORMATS:
        raise unknown("format", format, _FORMATS)
    if by_suffix is not None and by_suffix != format:
        raise InputError(f"the name {target} asks for {by_suffix}, the format given is {format}")
    return format, by_suffix is None


def _idx_writers(part: str, dataset: Dataset) -> dict[str, Callable[[Path], None]]:
    """Return by file name what writes the images and labels of one part."""
    shape = dataset.image_shape or dataset.inputs.shape[1:]
    images = dataset.inputs.reshape(len(dataset), *shape)
    labels = dataset.targets
    # MNIST's own label files are bytes; so are these wherever the labels fit.
    if dataset.labelled and labels.min() >= 0 and labels.max() <= 255:
        labels = labels.astype("uint8")
    prefix = IDX_PREFIXES[part]
    return {
        f"{prefix}-images-{idx_ending(images)}.gz": partial(write_idx, values=images),
        f"{prefix}-labels-{idx_ending(labels)}.gz": partial(write_idx, values=labels),
    }


def _write_folder(
    target: Path, writers: dict[str, Callable[[Path], None]], overwrite: bool
) -> tuple[Path, ...]:
    """Write all files into a folder under a temporary name, then move them into place."""
    target = target.resolve()
    if target.is_dir():
        _require_replaceable(target, set(writers), overwrite)
    temporary = target.parent / f".{target.name}-{os.urandom(4).hex()}.tmp"
    try:
        temporary.mkdir()
        for name, write in writers.items():
            write(temporary / name)
        if target.is_dir():
            for name in writers:
                (temporary / name).replace(target / name)
        else:
            temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return tuple(target / name for name in writers)


def _require_replaceable(target: Path, names: set[str], overwrite: bool) -> None:
    """Refuse a folder whose data files would be replaced unasked, or mixed with the new ones."""
    pairs = find_idx(target).values()
    there = {path.name for path in find_parts(target).values()}
    there |= {path.name for pair in pairs for path in pair.values()}
    if there & names and not overwrite:
        raise InputError(
            f"{target} holds {min(there & names)} already; choose another folder, or ask to "
            "overwrite it"
        )
    if there - names:
        raise InputError(
            f"{target} holds {min(there - names)}, which would be mixed with the new files; choose "
            "another folder"
        )
